"""Stock transfers: goods on their way from one location to another."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from invengine.client.results.receipts import LookAlike, Receipt


class StockTransferState(IntEnum):
    """Where a stock transfer stands. Late arrivals reverse a closing, so no state is the last one for ever."""

    UNSPECIFIED = 0
    SHIPPED = 1
    PARTLY_RECEIVED = 2
    RECEIVED = 3
    CLOSED_SHORT = 4
    LOST = 5
    CANCELLED = 6


class TransferRemainder(IntEnum):
    """What becomes of the units that have not arrived when a transfer is closed."""

    LOST = 1
    SENT_BACK = 2


@dataclass(frozen=True, slots=True)
class TransferLine:
    """One item of a stock transfer: units that left, arrived, are lost, are at the origin again, are on their way."""

    sku: str
    shipped: int
    received: int
    lost: int
    sent_back: int
    in_transit: int


@dataclass(frozen=True, slots=True)
class StockTransfer:
    """Goods that left one location for another. `ship_time` is the event time of the command, else its engine time."""

    transfer: str
    from_location: str
    to_location: str
    ship_time: datetime
    state: StockTransferState
    lines: tuple[TransferLine, ...]
    version: int


@dataclass(frozen=True, slots=True)
class TransferChange:
    """The stock transfer that an accepted command shipped or changed, as it is after it."""

    receipt: Receipt
    transfer: StockTransfer
    look_alikes: tuple[LookAlike, ...] = ()
    """Its name, if it is new and people may mistake it for that of an older transfer."""
