"""What became of the messages of a source, and those that are kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

from invengine.client.results.receipts import Receipt
from invengine.client.results.sources import Position
from invengine.errors import InvengineError


class MessageDisposition(IntEnum):
    """What became of a message. UNSPECIFIED stands for something that this version does not know.

    APPLIED: now or before (`receipt.replayed`). PARKED: it came before its turn, and is applied when the messages
    before it have come. WAITING: it names what is not known yet, and is applied when that exists, within 24 hours; then
    it becomes a dead letter. DEAD_LETTER: it was refused, and is kept for a person to see. REFUSED: it was refused and
    is not kept.
    """

    UNSPECIFIED = 0
    APPLIED = 1
    PARKED = 2
    WAITING = 3
    DEAD_LETTER = 4
    REFUSED = 5


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """The answer to one message of a source.

    `receipt` is its position in the journal, which is the id of a dead letter; None if the message was refused.
    `claimed_lines` are the indexes, from 0, of the lines that were only recorded as claims. `rejection` says why it is
    a dead letter or was refused; otherwise it is None.
    """

    disposition: MessageDisposition
    receipt: Receipt | None
    claimed_lines: tuple[int, ...] = ()
    rejection: InvengineError | None = None

    @property
    def is_kept(self) -> bool:
        """True unless it was refused: the source has told this message, and need not send it again."""
        return self.disposition is not MessageDisposition.REFUSED


@dataclass(frozen=True, slots=True)
class AwaitedEntity:
    """What a message waits for: its kind, such as `stock_transfer`, and its name."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message of a source that was not applied when it came.

    `sequence` is the position of its event in the journal, and of a dead letter its id; `position` is its number in the
    source, and `message_id` its id. `time` is when it came; of a dead letter that waited before, when it was given up.
    `event_time` is when it happened in the outside world, None if that was not said. `body` is the name of what it
    reports, such as `goods_received`, and `description` says it in one line. `waits_for` is set if it waits,
    `rejection` if it is a dead letter. `message` is the SourceMessage itself.
    """

    sequence: int
    position: Position
    message_id: str
    time: datetime
    event_time: datetime | None
    body: str
    description: str
    waits_for: AwaitedEntity | None
    rejection: InvengineError | None
    message: Any = field(repr=False, compare=False)
