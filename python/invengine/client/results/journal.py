"""What the journal says: its events and the digest of the state that they make."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

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
