"""The results of the client: small frozen values. Times are UTC datetimes; quantities are whole units."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, NamedTuple

from invengine.client.times import from_ms
from invengine.errors import InvengineError
from invengine.positions import JournalPosition


class Line(NamedTuple):
    """Units of one item at one location. A plain tuple (sku, location, quantity) works as well."""

    sku: str
    location: str
    quantity: int = 1


class LineState(IntEnum):
    """Where the units of a reservation line are."""

    UNSPECIFIED = 0
    RESERVED = 1
    ALLOCATED = 2
    RELEASED = 3
    EXPIRED = 4
    FULFILLED = 5


class StockState(IntEnum):
    """The part of the stock that a physical command changes. on_hand is everything, the others are parts of it."""

    ON_HAND = 1
    DAMAGED = 2
    RETURNED = 3
    QUALITY_CONTROL = 4

    @property
    def field(self) -> str:
        """The field of a level that holds its units."""
        return self.name.lower()

    @property
    def is_unsellable(self) -> bool:
        """True for a part of on_hand that cannot be sold."""
        return self is not StockState.ON_HAND


class Receipt(NamedTuple):
    """The receipt of an accepted command: its position, what is durable, and whether the answer was given before."""

    sequence: int
    durable_sequence: int
    replayed: bool


class LookAlike(NamedTuple):
    """A name of a command that people may confuse with an older one of its kind. It was created nevertheless."""

    name: str
    older_name: str


class Upserted(Receipt):
    """The receipt of an Upsert, with those of its names that people may confuse with older ones.

    `versions` are those that the entries have now, in their order; items, locations and channels have none.
    """

    look_alikes: tuple[LookAlike, ...] = ()
    versions: tuple[int, ...] = ()

    def __new__(
        cls, receipt: Receipt, look_alikes: tuple[LookAlike, ...] = (), versions: tuple[int, ...] = ()
    ) -> Upserted:
        """Creates it from a receipt; it remains a tuple like every receipt."""
        made = super().__new__(cls, *receipt)
        made.look_alikes = look_alikes
        made.versions = versions
        return made

    def __getnewargs__(self) -> tuple[Receipt]:
        return (Receipt(*self),)


class HoldLine(NamedTuple):
    """What one command did to one line: `quantity` units moved into `state`, `outstanding` are still held."""

    sku: str
    location: str
    quantity: int
    state: LineState
    outstanding: int


@dataclass(frozen=True, slots=True)
class Hold:
    """What one command did to one reservation."""

    reservation_id: str
    version: int
    expire_time_ms: int
    reacquired: bool
    lines: tuple[HoldLine, ...]
    receipt: Receipt

    @property
    def expire_time(self) -> datetime:
        """When the units that are still reserved expire."""
        return from_ms(self.expire_time_ms)


@dataclass(frozen=True, slots=True)
class HoldSummary:
    """What one command did to holds in total, if listing every one of them would exceed the maximum answer.

    `client.list_reservations(order=...)` returns their current state, page after page. What the command did to each of
    them is in `client.read_events(first_sequence, limit=last_sequence - first_sequence + 1)`: its events have its key
    (or its source) in their context. Events of other commands may precede the first of them.
    """

    reservations: int
    lines: int
    units: dict[LineState, int]
    """Units that it moved, by their state now; for extend and amend the reserved units of the lines."""
    first_sequence: int
    last_sequence: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What an accepted command did to the holds it named."""

    receipt: Receipt
    holds: tuple[Hold, ...]
    """One per reservation; empty if there is a `summary`, or if a release only left a tombstone."""
    key_cancelled: bool = False
    """True if a release found no hold under its key and left a tombstone."""
    summary: HoldSummary | None = None
    """The totals if there were too many holds to list; None if `holds` has them all."""

    @property
    def hold(self) -> Hold:
        """The only hold that changed. ValueError if there are none or several."""
        return _only(self.holds, self.summary)


def _only(holds: tuple[Hold, ...], summary: HoldSummary | None) -> Hold:
    if summary is not None:
        raise ValueError(f"{summary.reservations} holds changed, too many to name each: look at the `summary`")
    (only,) = holds
    return only


@dataclass(frozen=True, slots=True)
class Level:
    """The quantities of one item at one location.

    on_hand + oversold = available + reserved + allocated + unsellable; none is negative.
    """

    sku: str
    location: str
    on_hand: int
    reserved: int
    allocated: int
    damaged: int
    returned: int
    quality_control: int
    in_transit: int
    available: int
    oversold: int

    @property
    def unsellable(self) -> int:
        """Units on hand that cannot be sold: damaged, returned and in quality control."""
        return sum(getattr(self, state.field) for state in StockState if state.is_unsellable)


@dataclass(frozen=True, slots=True)
class StockChanges:
    """The levels that an accepted physical command changed, as they are after it."""

    receipt: Receipt
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one command of a batch, or what a key did: accepted with a receipt, or refused with a rejection."""

    receipt: Receipt | None
    holds: tuple[Hold, ...]
    levels: tuple[Level, ...]
    key_cancelled: bool
    rejection: InvengineError | None
    summary: HoldSummary | None = None
    """The totals if there were too many holds to list; None if `holds` has them all."""
    versions: tuple[int, ...] = ()
    """The versions of the entities that it put, in its order; items, locations and channels have none."""

    @property
    def accepted(self) -> bool:
        """True if the command was accepted."""
        return self.rejection is None

    @property
    def hold(self) -> Hold:
        """The only hold that changed. Raises the rejection if there is one, ValueError if holds are none or several."""
        if self.rejection is not None:
            raise self.rejection
        return _only(self.holds, self.summary)


@dataclass(frozen=True, slots=True)
class KnownOutcome:
    """What the ledger knows about a key.

    If not `known`, no command with this key has an outcome; it may still arrive. To ensure that it is never executed,
    release by that key, which leaves a tombstone.
    """

    known: bool
    outcome: Outcome | None
    key_cancelled: bool
    sequence: int


class ReservationLine(NamedTuple):
    """The current state of a line: quantity = reserved + allocated + released + expired + fulfilled."""

    sku: str
    location: str
    quantity: int
    reserved: int
    allocated: int
    released: int
    expired: int
    fulfilled: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """The current state of a reservation. Texts are empty if they were not given."""

    reservation_id: str
    version: int
    expire_time: datetime
    create_time: datetime
    channel: str
    order_ref: str
    holder: str
    key: str
    lines: tuple[ReservationLine, ...]
    lines_omitted: int = 0
    """Lines after the first 2,000, which only a reservation of an earlier version can have."""


class Availability(NamedTuple):
    """Units of one item at one location that may be held now: 0 without stock, None if a name is unknown."""

    sku: str
    location: str
    available: int | None
    unknown_sku: bool = False
    """The catalogue has no such item."""
    unknown_location: bool = False
    """The catalogue has no such location."""


class Availabilities(list[Availability]):
    """Results in the order of the queries, and the position of the ledger at which they were read.

    The ledger is durable to `durable_sequence`, which may be a little below `sequence`. More than 1,000 queries are
    sent in several requests, and both are then those of the earliest; later results may be newer. Both are 0 without
    queries.
    """

    def __init__(self, entries: Iterable[Availability] = (), sequence: int = 0, durable_sequence: int = 0) -> None:
        super().__init__(entries)
        self.sequence = sequence
        self.durable_sequence = durable_sequence


@dataclass(frozen=True, slots=True)
class Item:
    """An item for sale. `display_name` and `gtin` (14 digits) are optional."""

    sku: str
    display_name: str = ""
    gtin: str = ""


@dataclass(frozen=True, slots=True)
class Location:
    """A place with stock. `display_name` and `gln` (13 digits) are optional."""

    location: str
    display_name: str = ""
    gln: str = ""


@dataclass(frozen=True, slots=True)
class Channel:
    """A sales channel. `display_name` is optional."""

    channel: str
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class LocationGroup:
    """Locations that are promised as one, 1 to 1,000, in the order in which they are asked.

    `version` is 1 at first and one more with each put and deletion. In a put it is the version that the group must have
    (else StaleVersion): that of an earlier read, 0 if there must be none, None for any.
    """

    group: str
    locations: tuple[str, ...]
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """The new epoch of a source, and the last sequence that was applied in the epoch before it."""

    epoch: int
    previous_epoch: int
    previous_sequence: int
    receipt: Receipt
    look_alikes: tuple[LookAlike, ...] = ()


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a message of a source."""

    source_id: str
    epoch: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Digest:
    """Hash of all ledger state (32 hexadecimal characters) at one durable sequence."""

    digest: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Event:
    """One fact of the journal.

    `kind` is the name of the fact in the contract, such as "reserved"; `fact` and `context` are the protobuf messages
    of it (`context` is None for what the engine did by itself). `time` is that of the command, or of the engine's own
    action.
    """

    sequence: int
    time: datetime
    writer_epoch: int
    kind: str
    fact: Any
    context: Any | None
    ledger: str = ""

    @property
    def position(self) -> JournalPosition:
        """Its position in the history: store it once the event is handled, and continue `after` it.

        ValueError if the server is too old to name its ledger.
        """
        if not self.ledger:
            raise ValueError("the server is too old to know positions, it does not name its ledger: update it")
        return JournalPosition(self.ledger, self.writer_epoch, self.sequence)


@dataclass(frozen=True, slots=True)
class ServerDescription:
    """The server, its guarantees and its limits."""

    version: str
    ledger: str
    writer_epoch: int
    journal: str
    loss_window: str
    sequence: int
    durable_sequence: int
    engine_time: datetime
    time_scale: float
    effective_dedupe_window_s: float
    command_bytes_max: int
    submit_bytes_max: int
    submit_commands_max: int
    lines_max: int
    recovery_time_s: float
    recovered_events: int
    door: str
    snapshot_sequence: int
    snapshot_time: datetime | None
    first_sequence: int
    lost_events: int
    clock_offset_s: float
    answer_bytes_max: int
    command_answer_bytes_max: int
    reservation_lines_max: int
    effective_refusal_window_s: float = 0.0
    refusal_bytes: int = 0
    refusal_bytes_max: int = 0
