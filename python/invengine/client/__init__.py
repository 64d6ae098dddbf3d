"""Clients of the engine: `Client` for threads, `AsyncClient` for asyncio, and the values they take and give.

Both give every command a key, repeat it with that key until the deadline, and answer with small frozen values or
raise the errors of `invengine.errors`.
"""

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
