"""Records of calls: what was sent, when, and what was answered, as one line of JSON for each call."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

ACCEPTED, REFUSED, UNKNOWN, READ = "accepted", "refused", "unknown", "read"


@dataclass(slots=True)
class Call:
    """One call of one caller, from its first attempt to its last answer. All processes use the same clock for times."""

    who: str
    path: str
    body: bytes
    server: str = ""
    """The address of the last attempt."""
    begin_ns: int = 0
    end_ns: int = 0
    outcome: str = UNKNOWN
    reason: str = ""
    """The reason of a rejection."""
    answer: bytes = b""
    """The answer, or the Rejection or Status that rejects the call."""
    batched: bool = False
    """Whether the last attempt was part of a batch, which answers with Rejections."""
    tries: list[str] = field(default_factory=list)
    """How each attempt without an answer ended: the code and the reason."""


def lines_of(calls: Iterable[Call]) -> Iterator[str]:
    """Yields calls as lines of a file."""
    for call in calls:
        texts = {name: base64.b64encode(getattr(call, name)).decode() for name in ("body", "answer")}
        yield json.dumps({**asdict(call), **texts}) + "\n"


def read(path: Path) -> list[Call]:
    """Reads the calls of a file, without the incomplete line that a killed caller leaves."""
    found = []
    with path.open(encoding="ascii") as file:
        for line in file:
            if line.endswith("\n"):
                row = json.loads(line)
                row["body"], row["answer"] = (base64.b64decode(row[name]) for name in ("body", "answer"))
                found.append(Call(**row))
    return found
