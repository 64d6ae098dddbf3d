"""Messages of sources in a file: one a line, each with what becomes of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from invengine.cli.exits import UsageProblemError
from invengine.cli.output import plain
from invengine.client import Client, Draft, MessageOutcome, contract, recording
from invengine.errors import InvalidArgument, InvengineError

BATCH = 1_000
LINE_BYTES_MAX = 4 << 20
PROBLEM_CHARS_MAX = 200


@dataclass(slots=True)
class MessageLine:
    """A line that has anything: a draft to send and then its outcome, or why it is no message."""

    number: int
    draft: Draft[Any] | None
    problem: str = ""
    outcome: MessageOutcome | None = None

    @property
    def message_id(self) -> str:
        """The id of its message; empty if it is none."""
        return "" if self.draft is None else self.draft.key

    @property
    def word(self) -> str:
        """What became of it."""
        return "bad" if self.outcome is None else str(plain(self.outcome.disposition))


@dataclass(slots=True)
class Recorded:
    """How recording a file ended: what ended it before its end, and the first line with a problem."""

    failure: InvengineError | None = None
    first_problem: str = ""
    first_refusal: InvengineError | None = None


def message_lines(path: Path) -> Iterator[MessageLine]:
    """Reads a file line by line; `-` is standard input. Blank lines are no lines."""
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _read(number, line)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageProblemError(f"{path} cannot be read: {error.strerror}") from error
    with file:
        yield file


def _read(number: int, line: bytes) -> MessageLine:
    from google.protobuf.json_format import Parse, ParseError

    if len(line) > LINE_BYTES_MAX:
        return MessageLine(number, None, f"longer than {LINE_BYTES_MAX >> 20} MiB")
    try:
        message: Any = Parse(line.decode("utf-8-sig" if number == 1 else "utf-8"), contract.inventory.SourceMessage())
        if message.WhichOneof("body") is None:
            return MessageLine(number, None, f"no message: it has none of {', '.join(recording.bodies().values())}")
        draft = recording.draft_of(message)
        recording.check_one(draft, "message", recording.bodies(), numbered=True)
    except UnicodeDecodeError as error:
        return MessageLine(number, None, f"no text in UTF-8 (byte {error.start + 1})")
    except ParseError as error:
        return MessageLine(number, None, f"no message: {' '.join(str(error).split())[:PROBLEM_CHARS_MAX]}")
    except RecursionError:
        return MessageLine(number, None, "no message: nested too deeply")
    except InvalidArgument as error:
        violation = error.violations[0]
        field = violation.field.replace("message.key", "context.idempotency_key").replace("message.", "context.")
        return MessageLine(number, None, f"{field}: {violation.description}")
    return MessageLine(number, draft)


def record_lines(client: Client, lines: Iterable[MessageLine], recorded: Recorded) -> Iterator[MessageLine]:
    """Sends the messages of lines in batches and yields each line with what became of it, in order.

    It ends with the first batch that is not answered, and says so in `recorded`.
    """
    batch: list[MessageLine] = []
    for line in lines:
        batch.append(line)
        if len(batch) == BATCH:
            yield from _sent(client, batch, recorded)
            if recorded.failure is not None:
                return
            batch = []
    yield from _sent(client, batch, recorded)


def _sent(client: Client, batch: list[MessageLine], recorded: Recorded) -> Iterator[MessageLine]:
    drafts = [line.draft for line in batch if line.draft is not None]
    outcomes: list[MessageOutcome] = []
    try:
        outcomes = client.record_messages(drafts)
    except InvengineError as error:
        recorded.failure = error
    answered = iter(outcomes)
    for line in batch:
        if line.draft is not None:
            line.outcome = next(answered, None)
            if line.outcome is None:
                return
        refused = line.outcome.rejection if line.outcome is not None and not line.outcome.is_kept else None
        recorded.first_refusal = recorded.first_refusal or refused
        if not recorded.first_problem and (refused is not None or line.outcome is None):
            recorded.first_problem = f"{line.number}: {refused or line.problem}"
        yield line
