"""Explicit batches: drafts into SubmitRequests of lawful size, answers back into outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from invengine.client import arguments, decode
from invengine.client.commands import Draft
from invengine.client.results import Outcome
from invengine.client.stream import BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, framed
from invengine.errors import InvalidArgument
from invengine.v1.reservation_service_pb2 import SubmitResponse

METHOD = "/invengine.v1.ReservationService/Submit"


def requests(drafts: Iterable[Draft[Any]]) -> Iterator[bytes]:
    """Serialized SubmitRequests with all the drafts (sealed before), in order."""
    frames: list[bytes] = []
    size = 0
    for draft in drafts:
        frame = framed(draft.kind.submit_field, draft.request.SerializeToString())
        if frames and (len(frames) >= BATCH_COMMANDS_MAX or size + len(frame) > BATCH_BYTES_MAX):
            yield b"".join(frames)
            frames, size = [], 0
        frames.append(frame)
        size += len(frame)
    if frames:
        yield b"".join(frames)


def check(drafts: Iterable[Draft[Any]]) -> list[Draft[Any]]:
    """The drafts as a list, all of them commands on holds."""
    wanted = list(arguments.each(drafts, "drafts"))
    for number, draft in enumerate(wanted):
        if not isinstance(draft, Draft):
            raise InvalidArgument(f"drafts[{number}]", f"a draft, such as commands.reserve(...); got {draft!r}")
        if not draft.kind.submit_field:
            raise InvalidArgument(f"drafts[{number}]", f"a command on holds; got {draft.kind.name!r}")
    return wanted


def outcomes(answer: bytes) -> list[Outcome]:
    """The outcomes of one SubmitResponse."""
    return [decode.outcome_of(each) for each in SubmitResponse.FromString(answer).outcomes]


def located(drafts: Iterable[Draft[Any]], outcomes: list[Outcome]) -> list[Outcome]:
    """The outcomes, with rejections that say which line of their command they are about."""
    for draft, outcome in zip(drafts, outcomes, strict=False):
        if outcome.rejection is not None:
            draft.locate(outcome.rejection)
    return outcomes
