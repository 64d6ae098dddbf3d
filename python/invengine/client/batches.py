"""Explicit batches: turns drafts into SubmitRequests within the size limits, and answers into outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from invengine.client import arguments, decode
from invengine.client.draft import Draft
from invengine.client.framing import BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, outcomes_in
from invengine.errors import InternalFault, InvalidArgument, Overloaded

if TYPE_CHECKING:
    from invengine.client.results import Outcome

METHOD = "/invengine.v1.ReservationService/Submit"


def request(frames: Sequence[bytes], start: int) -> tuple[bytes, int]:
    """Returns a SubmitRequest with as many of the commands from `start` on as fit, and their number."""
    size, end = 0, start
    for frame in frames[start : start + BATCH_COMMANDS_MAX]:
        size += len(frame)
        if end > start and size > BATCH_BYTES_MAX:
            break
        end += 1
    return b"".join(frames[start:end]), end - start


def check(drafts: Iterable[Draft[Any]]) -> list[Draft[Any]]:
    """Returns the drafts as a list; InvalidArgument unless all are commands on holds."""
    wanted = list(arguments.items_of(drafts, "drafts"))
    for number, draft in enumerate(wanted):
        if not isinstance(draft, Draft):
            raise InvalidArgument(f"drafts[{number}]", f"a draft, such as commands.reserve(...); got {draft!r}")
        if not draft.kind.submit_field:
            raise InvalidArgument(f"drafts[{number}]", f"a command on holds; got {draft.kind.name!r}")
    return wanted


def outcomes(answer: bytes, asked: int) -> list[Outcome]:
    """Returns the outcomes of one SubmitResponse, without the commands at its end that did not fit the answer.

    There is always at least one: the server executes the first command of a batch whatever the size of its answer.
    InternalFault if their number is not `asked`, since they cannot be assigned to the commands.
    """
    found = [decode.outcome_of(each) for each in outcomes_in(answer)]
    if len(found) != asked:
        raise InternalFault("the server's answers do not match the commands")
    while len(found) > 1 and _is_left_out(found[-1]):
        found.pop()
    return found


def located(drafts: Iterable[Draft[Any]], outcomes: list[Outcome]) -> list[Outcome]:
    """Adds to each rejection which line of its command it is about, and returns the outcomes."""
    for draft, outcome in zip(drafts, outcomes, strict=False):
        if outcome.rejection is not None:
            draft.locate(outcome.rejection)
    return outcomes


def _is_left_out(outcome: Outcome) -> bool:
    return isinstance(outcome.rejection, Overloaded) and outcome.rejection.answer_full
