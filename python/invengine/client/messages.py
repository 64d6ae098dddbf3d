"""The messages that a source can send, by their names in the contract: each has the arguments of its command.

`messages.goods_received([("mug", "wh-1", 2)], key="delivery-17")` is the draft of a receive. As a message it needs a
`key`, the id of the message; a source gives it its number, and `record_messages` of a client wants it in `source`.
"""

from __future__ import annotations

from invengine.client import commands

__all__ = [
    "cycle_count_adjusted",
    "goods_received",
    "reservation_created",
    "return_received",
    "stock_adjusted",
    "stock_level_reported",
    "stock_moved",
    "transfer_closed",
    "transfer_received",
    "transfer_shipped",
]

goods_received = commands.receive
return_received = commands.return_
stock_level_reported = commands.set_quantity
cycle_count_adjusted = commands.count
stock_adjusted = commands.adjust
stock_moved = commands.move_quantity
transfer_shipped = commands.ship_transfer
transfer_received = commands.receive_transfer
transfer_closed = commands.close_transfer
reservation_created = commands.reserve
