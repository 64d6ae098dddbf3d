"""What a caller asked, when, and what it was told: one line of JSON a call, so that an auditor can judge it later."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

ACCEPTED, REFUSED, UNKNOWN, READ = "accepted", "refused", "unknown", "read"


@dataclass(slots=True)
class Call:
    """One intention of one caller, from its first try to its last answer. Times are of one clock for all processes."""

    who: str
    path: str
    body: bytes
    server: str = ""
    """The address of the last try."""
    begin_ns: int = 0
    end_ns: int = 0
    outcome: str = UNKNOWN
    reason: str = ""
    """Why it was refused."""
    answer: bytes = b""
    """The answer, or the Rejection or Status of a refusal."""
    batched: bool = False
    """Whether the last try was part of a batch, whose refusals are Rejections."""
    tries: list[str] = field(default_factory=list)
    """How each try without an answer ended: the code and the reason."""


def lines_of(calls: Iterable[Call]) -> Iterator[str]:
    """Calls as lines of a file."""
    for call in calls:
        texts = {name: base64.b64encode(getattr(call, name)).decode() for name in ("body", "answer")}
        yield json.dumps({**asdict(call), **texts}) + "\n"


def read(path: Path) -> list[Call]:
    """The calls of a file; the half line that a killed caller left is left out."""
    found = []
    with path.open(encoding="ascii") as file:
        for line in file:
            if line.endswith("\n"):
                row = json.loads(line)
                row["body"], row["answer"] = (base64.b64decode(row[name]) for name in ("body", "answer"))
                found.append(Call(**row))
    return found
