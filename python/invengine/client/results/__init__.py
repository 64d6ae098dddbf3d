"""The results of the client: small frozen values. Times are UTC datetimes; quantities are whole units."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invengine.client.results import entities
    from invengine.client.results.authority import Claim, ClaimReason, Owner, Source
    from invengine.client.results.availability import Availabilities, Availability
    from invengine.client.results.entities import *  # noqa: F403
    from invengine.client.results.holds import Changes, Hold, HoldLine, HoldSummary, Line, LineState
    from invengine.client.results.journal import Digest, Event, HistoryLine, PastLevel
    from invengine.client.results.messages import AwaitedEntity, KeptMessage, MessageDisposition, MessageOutcome
    from invengine.client.results.outcomes import KnownOutcome, Outcome
    from invengine.client.results.receipts import LookAlike, Receipt, Upserted
    from invengine.client.results.reservations import Reservation, ReservationLine
    from invengine.client.results.server import ServerDescription
    from invengine.client.results.sources import Position, Registration
    from invengine.client.results.stock import Level, StockChanges, StockState
    from invengine.client.results.stock_transfers import (
        StockTransfer,
        StockTransferState,
        TransferChange,
        TransferLine,
        TransferRemainder,
    )

    __all__ = [
        "Availabilities", "Availability", "AwaitedEntity", "Changes", "Claim", "ClaimReason", "Digest", "Event",
        "HistoryLine", "Hold", "HoldLine", "HoldSummary", "KeptMessage", "KnownOutcome", "Level", "Line", "LineState",
        "LookAlike", "MessageDisposition", "MessageOutcome", "Outcome", "Owner", "PastLevel", "Position", "Receipt",
        "Registration", "Reservation", "ReservationLine", "ServerDescription", "Source", "StockChanges", "StockState",
        "StockTransfer", "StockTransferState", "TransferChange", "TransferLine", "TransferRemainder", "Upserted",
    ]  # fmt: skip
    __all__ += entities.__all__

# Making a dataclass takes a millisecond, and a command needs one or two of them: a module is loaded on first use.
_NAMES_OF_MODULE = {
    "authority": ("Claim", "ClaimReason", "Owner", "Source"),
    "availability": ("Availabilities", "Availability"),
    "holds": ("Changes", "Hold", "HoldLine", "HoldSummary", "Line", "LineState"),
    "journal": ("Digest", "Event", "HistoryLine", "PastLevel"),
    "messages": ("AwaitedEntity", "KeptMessage", "MessageDisposition", "MessageOutcome"),
    "outcomes": ("KnownOutcome", "Outcome"),
    "receipts": ("LookAlike", "Receipt", "Upserted"),
    "reservations": ("Reservation", "ReservationLine"),
    "server": ("ServerDescription",),
    "sources": ("Position", "Registration"),
    "stock": ("Level", "StockChanges", "StockState"),
    "stock_transfers": ("StockTransfer", "TransferChange", "TransferLine", "TransferRemainder", "StockTransferState"),
}
_MODULE_OF_NAME = {name: module for module, names in _NAMES_OF_MODULE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return __dir__()
    # The kinds of entities are listed only where they are declared.
    module = import_module(f"{__name__}.{_MODULE_OF_NAME.get(name, 'entities')}")
    if name not in _MODULE_OF_NAME and name not in module.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(module, name)
    return found


def __dir__() -> list[str]:
    return sorted([*_MODULE_OF_NAME, *import_module(f"{__name__}.entities").__all__])
