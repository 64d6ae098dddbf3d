"""Explicit batches: turns drafts into SubmitRequests within the size limits, and answers into outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from invengine.client import arguments, contract, decode
from invengine.client.draft import Draft
from invengine.errors import InternalFault, InvalidArgument, Overloaded

if TYPE_CHECKING:
    from invengine.client.results import Outcome

METHOD = "/invengine.v1.ReservationService/Submit"
BATCH_COMMANDS_MAX = 1_000
BATCH_BYTES_MAX = 2 * 1024 * 1024


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _head(field: int, length: int) -> bytes:
    inner = bytes([field << 3 | 2]) + _varint(length)
    return b"\x0a" + _varint(len(inner) + length) + inner


_SHORT = 512
_HEADS: list[list[bytes]] = [[] for _ in range(8)]
"""The bytes before a payload of each length below _SHORT, by field. Those of a field are computed on first use."""


def _heads(field: int) -> list[bytes]:
    _HEADS[field] = [_head(field, length) for length in range(_SHORT)]
    return _HEADS[field]


def framed(field: int, payload: bytes) -> bytes:
    """One element of `SubmitStreamRequest.commands` (also of SubmitRequest): Command{field: payload}."""
    length = len(payload)
    return ((_HEADS[field] or _heads(field))[length] if length < _SHORT else _head(field, length)) + payload


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
    found = [decode.outcome_of(each) for each in contract.reservation.SubmitResponse.FromString(answer).outcomes]
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
