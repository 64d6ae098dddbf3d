"""Clients of the engine: `Client` for threads, `AsyncClient` for asyncio, and their arguments and results.

Both give every command a key, repeat it with that key until the deadline, and return small frozen values or raise the
errors of `invengine.errors`.

The module of a name is loaded on first use: a `Client` loads nothing of asyncio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invengine.client.asynchronous import AsyncClient
    from invengine.client.blocking import Client
    from invengine.client.columns import ReserveColumns
    from invengine.client.draft import CommandFields, Draft
    from invengine.client.fold import StockFold
    from invengine.client.numbering import StateFileError
    from invengine.client.operation import AsyncOperation, Operation
    from invengine.client.results import (
        Availabilities,
        Availability,
        Changes,
        Channel,
        Digest,
        Event,
        Hold,
        HoldLine,
        HoldSummary,
        Item,
        KnownOutcome,
        Level,
        Line,
        LineState,
        Location,
        LocationGroup,
        LookAlike,
        Outcome,
        Position,
        Receipt,
        Registration,
        Reservation,
        ReservationLine,
        ServerDescription,
        StockChanges,
        StockState,
        Upserted,
    )
    from invengine.client.source_async import AsyncSource
    from invengine.client.source_blocking import OrderedSource
    from invengine.positions import JournalPosition

__all__ = [
    "AsyncClient",
    "AsyncOperation",
    "AsyncSource",
    "Availabilities",
    "Availability",
    "Changes",
    "Channel",
    "Client",
    "CommandFields",
    "Digest",
    "Draft",
    "Event",
    "Hold",
    "HoldLine",
    "HoldSummary",
    "Item",
    "JournalPosition",
    "KnownOutcome",
    "Level",
    "Line",
    "LineState",
    "Location",
    "LocationGroup",
    "LookAlike",
    "Operation",
    "OrderedSource",
    "Outcome",
    "Position",
    "Receipt",
    "Registration",
    "Reservation",
    "ReservationLine",
    "ReserveColumns",
    "ServerDescription",
    "StateFileError",
    "StockChanges",
    "StockFold",
    "StockState",
    "Upserted",
]

_MODULE_OF_NAME = {
    "AsyncClient": "invengine.client.asynchronous",
    "AsyncOperation": "invengine.client.operation",
    "AsyncSource": "invengine.client.source_async",
    "Client": "invengine.client.blocking",
    "CommandFields": "invengine.client.draft",
    "Draft": "invengine.client.draft",
    "JournalPosition": "invengine.positions",
    "Operation": "invengine.client.operation",
    "OrderedSource": "invengine.client.source_blocking",
    "ReserveColumns": "invengine.client.columns",
    "StateFileError": "invengine.client.numbering",
    "StockFold": "invengine.client.fold",
}
_MODULES = ("columns", "commands", "results")


def __getattr__(name: str) -> Any:
    if name in __all__:
        found = getattr(import_module(_MODULE_OF_NAME.get(name, "invengine.client.results")), name)
    elif name in _MODULES:
        found = import_module(f"invengine.client.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
