"""Stock transfers: shipped, received and closed by commands of their own, otherwise entities like all others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Unpack

from invengine.client import arguments, contract, decode, results
from invengine.client.descriptors import CommandMethod, ListMethod, ReadMethod
from invengine.client.draft import CommandFields, Draft, Kind
from invengine.client.entities import EntityKind, Reference
from invengine.client.reads import Pages, Read
from invengine.errors import InvalidArgument

if TYPE_CHECKING:
    from invengine.client.results import Receipt, StockState, StockTransfer, TransferChange, TransferRemainder

__all__ = ["close_transfer", "delete_stock_transfers", "receive_transfer", "ship_transfer"]

ShipmentTuple = tuple[str, int]
"""(sku, quantity)."""
ArrivalTuple = tuple[str, int] | tuple[str, int, "StockState"]
"""(sku, quantity), or with the state that the units arrive in."""

_SHIP = Kind("ship", "inventory", "ShipTransfer", decode.transfer_changed)
_ARRIVE = Kind("receive_transfer", "inventory", "ReceiveTransfer", decode.transfer_changed)
_CLOSE = Kind("close_transfer", "inventory", "CloseTransfer", decode.transfer_changed)
_TRANSFERS = EntityKind(lambda: results.StockTransfer, "inventory", "StockTransfers", decode.stock_transfer)


def ship_transfer(
    transfer: str,
    lines: Iterable[ShipmentTuple],
    *,
    from_location: str,
    to_location: str,
    **fields: Unpack[CommandFields],
) -> Draft[TransferChange]:
    """Ships goods from one location to another: a new stock transfer.

    The units leave the sellable stock of the origin and are in transit at the destination. More than there is to sell
    is InsufficientStock; holds do not keep goods from leaving. `event_time` says when they left.

    transfer: its name, such as the number of the document; TransferState if there is one of this name.
    lines: each (sku, quantity), each item once.
    from_location: the location that they leave.
    to_location: another location.
    """
    request = contract.inventory.ShipTransferRequest(
        transfer=arguments.nonempty(transfer, "transfer"),
        from_location=arguments.nonempty(from_location, "from_location"),
        to_location=arguments.nonempty(to_location, "to_location"),
    )
    for sku, quantity in _rows(lines, (2,), "(sku, quantity)"):
        request.lines.add(sku=sku, quantity=quantity)
    return Draft(_SHIP, request, fields)


def receive_transfer(
    transfer: str,
    lines: Iterable[ArrivalTuple] | None = None,
    *,
    whole: bool = False,
    expected_version: int | None = None,
    **fields: Unpack[CommandFields],
) -> Draft[TransferChange]:
    """Receives goods of a stock transfer, in parts or whole.

    More than was shipped, or another item, is accepted, and counts as an adjustment. What arrives after the transfer
    was closed reverses the closing.

    transfer: its name.
    lines: what arrived, each (sku, quantity), or (sku, quantity, state) for units that cannot be sold.
    whole: True instead of lines: everything that is on its way arrived and can be sold.
    expected_version: refuse (StaleVersion) unless the transfer has this version, 1 or more; any if omitted.
    """
    request = contract.inventory.ReceiveTransferRequest(
        transfer=arguments.nonempty(transfer, "transfer"), whole=arguments.flag(whole, "whole")
    )
    if (lines is None) is not whole:
        raise InvalidArgument("lines", "what arrived, or whole=True for all that is on its way; one of them")
    for row in () if lines is None else _rows(lines, (2, 3), "(sku, quantity) or (sku, quantity, state)"):
        request.lines.add(sku=row[0], quantity=row[1], state=row[2] if len(row) == 3 else 0)
    _expect(request, expected_version)
    return Draft(_ARRIVE, request, fields)


def close_transfer(
    transfer: str,
    remainder: TransferRemainder,
    *,
    expected_version: int | None = None,
    **fields: Unpack[CommandFields],
) -> Draft[TransferChange]:
    """Closes a stock transfer: what has not arrived will not. TransferState if nothing is on its way.

    transfer: its name.
    remainder: a `TransferRemainder`: LOST, or SENT_BACK if the units are at the origin again, which cancels them.
    expected_version: refuse (StaleVersion) unless the transfer has this version, 1 or more; any if omitted.
    """
    if not isinstance(remainder, results.TransferRemainder):
        raise InvalidArgument("remainder", f"a TransferRemainder, LOST or SENT_BACK; got {remainder!r}")
    number: Any = remainder.value
    name = arguments.nonempty(transfer, "transfer")
    request = contract.inventory.CloseTransferRequest(transfer=name, remainder=number)
    _expect(request, expected_version)
    return Draft(_CLOSE, request, fields)


def _expect(request: Any, version: int | None) -> None:
    if version is not None:
        request.expected_version = arguments.positive(version, "expected_version", "any version")


def _rows(lines: Any, sizes: tuple[int, ...], form: str) -> Iterator[tuple[Any, ...]]:
    given = list(arguments.items_of(lines, "lines"))
    if not given:
        raise InvalidArgument("lines", "at least one")
    for number, line in enumerate(given):
        field = f"lines[{number}]"
        if not isinstance(line, tuple | list) or len(line) not in sizes:
            raise InvalidArgument(field, f"{form}; got {line!r}")
        row: list[Any] = [arguments.text(line[0], f"{field}.sku"), arguments.integer(line[1], f"{field}.quantity")]
        if len(line) == 3:
            if not isinstance(line[2], results.StockState):
                raise InvalidArgument(f"{field}.state", f"a StockState; got {line[2]!r}")
            row.append(line[2].value)
        yield tuple(row)


def get_stock_transfer(transfer: str, *, timeout_s: float | None = None) -> Read[StockTransfer]:
    """One stock transfer.

    transfer: its name.
    """
    return _TRANSFERS.get(transfer, timeout_s)


def list_stock_transfers(*, page_size: int = 1000) -> Pages[StockTransfer]:
    """All stock transfers, in the order they were first shipped; fetches page after page."""
    return _TRANSFERS.pages(page_size)


def delete_stock_transfers(
    transfers: Iterable[Reference[StockTransfer]], **fields: Unpack[CommandFields]
) -> Draft[Receipt]:
    """Deletes stock transfers, atomically: 1 to 1,000. Refused (EntityInUse) while units of one are on their way.

    transfers: each a name, or (name, version) or a `StockTransfer` that was read, to be deleted only if it still has
        that version (else StaleVersion).
    """
    return _TRANSFERS.delete(transfers, "transfers", fields)


class StockTransferCommands:
    """The commands on stock transfers, as methods."""

    ship_transfer = CommandMethod(ship_transfer)
    receive_transfer = CommandMethod(receive_transfer)
    close_transfer = CommandMethod(close_transfer)


class StockTransferReads:
    """The reads of stock transfers, as methods."""

    get_stock_transfer = ReadMethod(get_stock_transfer)
    list_stock_transfers = ListMethod(list_stock_transfers)
