"""The position of one event in the history of one ledger, as a reader of events keeps it."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Self

LEDGER_CHARS_MAX = 128
NUMBER_MAX = 2**63 - 1

_TEXT = re.compile(
    r"(?P<ledger>.+)@(?P<writer_epoch>0|[1-9][0-9]*):(?P<sequence>0|[1-9][0-9]*)~(?P<check>[0-9a-f]{8})", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class JournalPosition:
    """The position of one event: ledger, writer epoch and sequence. Store it whole, and pass it as `after` to continue.

    A sequence alone may identify another event once a backup was restored; with the writer epoch a position identifies
    one event for ever, and one that is no longer in the ledger's history is refused instead of being continued from.
    `str()` gives its text, to be stored anywhere, and `parse` reads it back. Raises ValueError if it cannot be a
    position.

    ledger: the name of the ledger.
    text: the text that `str()` of a position returned.
    """

    ledger: str
    writer_epoch: int
    sequence: int

    def __post_init__(self) -> None:
        if not isinstance(self.ledger, str):
            raise TypeError("ledger is the name of the ledger")
        if not 1 <= len(self.ledger) <= LEDGER_CHARS_MAX or not self.ledger.isprintable():
            raise ValueError(f"ledger is 1 to {LEDGER_CHARS_MAX} printable characters, not {self.ledger!r}")
        for name in ("writer_epoch", "sequence"):
            number = getattr(self, name)
            if not isinstance(number, int) or isinstance(number, bool):
                raise TypeError(f"{name} is a whole number, not {number!r}")
            if not 0 <= number <= NUMBER_MAX:
                raise ValueError(f"{name} is 0 to {NUMBER_MAX}, not {number}")
        if (self.writer_epoch == 0) != (self.sequence == 0):
            raise ValueError("writer_epoch and sequence are both 0, before the first event, or neither is")

    @classmethod
    def start(cls, ledger: str) -> Self:
        """The position before the first event."""
        return cls(ledger, 0, 0)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The position that `str()` turned into this text. Raises ValueError if it was truncated or altered since."""
        found = _TEXT.fullmatch(text)
        position = found and cls(found["ledger"], int(found["writer_epoch"]), int(found["sequence"]))
        if position is None or str(position) != text:
            raise ValueError(
                f"not a position, or one that was cut or altered: {text[:200]!r}; it looks like {cls('main', 1, 31)}"
            )
        return position

    def __str__(self) -> str:
        text = f"{self.ledger}@{self.writer_epoch}:{self.sequence}"
        return f"{text}~{zlib.crc32(text.encode()):08x}"
