"""What is known of sources: their numbers, their claims, and what they own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from invengine.client.results.entities import SourceProfile
from invengine.client.results.stock import StockState


class ClaimReason(IntEnum):
    """Why a number has no effect. UNSPECIFIED stands for a reason that this version does not know.

    NOT_OWNER: its sender does not own the state there. AS_OF_STALE: it is a count from before the last physical change.
    """

    UNSPECIFIED = 0
    NOT_OWNER = 1
    AS_OF_STALE = 2


@dataclass(frozen=True, slots=True)
class Claim:
    """The newest number that a writer stated about a state of a level, and that has no effect.

    `source_id` is empty for commands that come from no source. `ledger_quantity` is what the ledger has there now,
    `sequence` the position of the claim in the journal, `time` when it arrived, and `event_time` as of when it is, None
    if that was not said.
    """

    source_id: str
    sku: str
    location: str
    state: StockState
    quantity: int
    ledger_quantity: int
    reason: ClaimReason
    sequence: int
    time: datetime
    event_time: datetime | None

    @property
    def difference(self) -> int:
        """Units that the writer states above those of the ledger; negative if it states fewer."""
        return self.quantity - self.ledger_quantity


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns a state at a location: the name of a source, of a kind such as WMS, or `operator`; empty for nobody."""

    location: str
    state: StockState
    owner: str


@dataclass(frozen=True, slots=True)
class Source:
    """A registered source: its epoch, the last number applied in it, its profile, and what is kept of it.

    `claims`, `parked`, `waiting` and `dead_letters` are numbers of its claims and of its messages; `parked_since` and
    `waiting_since` say when the oldest of them came, None if there is none.
    """

    source_id: str
    epoch: int
    sequence: int
    profile: SourceProfile | None
    claims: int
    parked: int = 0
    parked_since: datetime | None = None
    waiting: int = 0
    waiting_since: datetime | None = None
    dead_letters: int = 0
