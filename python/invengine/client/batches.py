"""Explicit batches: turns drafts into SubmitRequests within the size limits, and answers into outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from invengine.client import arguments, decode
from invengine.client.draft import Draft
from invengine.client.results import Outcome
from invengine.client.stream import BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, framed
from invengine.errors import InternalFault, InvalidArgument, Overloaded
from invengine.v1.reservation_service_pb2 import SubmitResponse

METHOD = "/invengine.v1.ReservationService/Submit"


def request(drafts: Sequence[Draft[Any]], start: int) -> tuple[bytes, int]:
    """Returns a SubmitRequest with as many of the sealed drafts from `start` on as fit, and their number."""
    frames: list[bytes] = []
    size = 0
    for draft in drafts[start : start + BATCH_COMMANDS_MAX]:
        frame = framed(draft.kind.submit_field, draft.request.SerializeToString())
        size += len(frame)
        if frames and size > BATCH_BYTES_MAX:
            break
        frames.append(frame)
    return b"".join(frames), len(frames)


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
    found = [decode.outcome_of(each) for each in SubmitResponse.FromString(answer).outcomes]
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
