"""What the journal says: its events, the digest of the state that they make, and levels at earlier moments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from invengine.client.results.stock import Level, StockState
from invengine.positions import JournalPosition


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
class PastLevel:
    """The quantities of one item at one location at a moment of the past.

    `sequence` and `writer_epoch` are those of the last event before or at the moment: of a command all events or none.
    `time` is the moment itself, or for a position the time of its event; None before the first event.
    """

    level: Level
    sequence: int
    writer_epoch: int
    time: datetime | None
    ledger: str = ""

    @property
    def position(self) -> JournalPosition:
        """The position of the last event, complete."""
        return JournalPosition(self.ledger, self.writer_epoch, self.sequence)


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One change of a level: the event, and the quantities before and after it.

    Quantities are None where they are unknown: the event that would tell them is not kept any more. A hold that has
    expired counts as reserved until its Expired event, so that each line follows from the one before it.
    """

    event: Event
    before: Level | None
    after: Level | None

    @property
    def changes(self) -> dict[str, int]:
        """By how much each quantity changed, by its name; without those that stayed. Empty if that is unknown."""
        if self.before is None or self.after is None:
            return {}
        names = ["on_hand", "reserved", "allocated"]
        names += [state.field for state in StockState if state.is_unsellable] + ["available", "oversold"]
        changed = {name: getattr(self.after, name) - getattr(self.before, name) for name in names}
        return {name: units for name, units in changed.items() if units}
