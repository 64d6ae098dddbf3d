"""The answers that a client process got: one line of a local file for every acknowledged answer.

The file is the client's own record. After a crash of the server each line is compared with what the server then knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from invengine.simulate.audit import Effect


class Answer(NamedTuple):
    """One acknowledged answer. An accepted one has a sequence and no reason, a refused one a reason and sequence 0."""

    kind: str
    key: str
    """The command's key; for a numbered message of a source its epoch and number, such as "1/17"."""
    scope: str
    """The channel; for messages of a source `source:` and its name."""
    sequence: int
    reservation_id: str = ""
    reason: str = ""

    @property
    def accepted(self) -> bool:
        """True if the command was accepted."""
        return not self.reason


def denied(answer: Answer, effects: Mapping[tuple[str, str], Sequence[Effect]]) -> str:
    """How the events contradict an accepted answer; empty if they agree with it."""
    found = effects.get((answer.scope, answer.key))
    if not found:
        return f"{answer.scope} {answer.key}: told {answer}, but no event is of that key"
    last = found[-1]
    if last.sequence != answer.sequence or answer.reservation_id not in ("", last.subject):
        return f"{answer.scope} {answer.key}: told {answer}, but the journal has {last}"
    return ""


class AnswerLog:
    """Appends answers to a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, answer: Answer) -> None:
        """Appends one answer."""
        self._file.write(json.dumps(answer) + "\n")


def read_answers(path: Path) -> Iterator[Answer]:
    """Every whole line of a log, in order."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield Answer(*json.loads(line))


def last_answers(paths: Iterable[Path]) -> dict[tuple[str, str], Answer]:
    """The last answer of every key, by (scope, key).

    A refusal may be followed by an acceptance of the same key: refusals are forgotten when the server stops, so a
    repeat is decided again. An acceptance is final.
    """
    found: dict[tuple[str, str], Answer] = {}
    for path in paths:
        for answer in read_answers(path):
            name = (answer.scope, answer.key)
            if name not in found or not found[name].accepted:
                found[name] = answer
    return found
