"""What `_core` encodes and decodes for the client is what protobuf would: byte for byte, and value for value."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from scripted_peer import mutated

from invengine.client import commands, decode, framing, reserving, results
from invengine.client.draft import Kind
from invengine.errors import InvalidArgument
from invengine.v1 import reservation_service_pb2 as reservation
from invengine.v1 import types_pb2 as types

NOW_NS = 1_700_000_000_123_456_789
LONG = "x" * 300
Arguments = dict[str, Any]

RESERVES: tuple[tuple[list[tuple[str, str, int]], Arguments], ...] = (
    ([("mug", "wh-1", 1)], {}),
    ([("mug", "wh-1", 1), ("cup", "wh-2", 2**63 - 1)], {"ttl_s": 900}),
    ([("", "", 0)], {"ttl_s": 0}),
    ([("mug", "wh-1", -(2**63))], {"ttl_s": -1.5}),
    ([(LONG, LONG, 128)], {"ttl_s": 0.000_000_001, "allow_partial": True}),
    ([("mug", "wh-1", 1)] * 100, {"ttl_s": 315_576_000_000.0, "replace_own": True}),
    ([("mug", "wh-1", 1)], {"key": "k", "channel": "web", "actor": "ann", "timeout_s": 1.0, "holder": None}),
    ([("mug", "wh-1", 1)], {"order_ref": "o", "holder": "h", "reason_code": "r", "reference": "d", "causation": LONG}),
)


def random_reserves(number: int) -> Iterator[tuple[list[tuple[str, str, int]], Arguments]]:
    """Reserves as nobody would write them, always the same."""
    draw = random.Random(7)

    def text() -> str:
        return "".join(chr(draw.randrange(1, 128)) for _ in range(draw.choice((1, 5, 60, 127, 128, 200))))

    for _ in range(number):
        lines = [
            (text(), text(), draw.randrange(-(2**63), 2**63) >> draw.randrange(64)) for _ in range(draw.choice((1, 3)))
        ]
        fields: Arguments = {name: text() for name in sorted(reserving._TEXTS) if draw.random() < 0.3}
        fields["ttl_s"] = draw.choice((None, 1, draw.random() * 10 ** draw.randrange(-9, 9)))
        fields |= {name: draw.random() < 0.5 for name in ("allow_partial", "replace_own")}
        yield lines, fields


def by_protobuf(lines: Any, fields: Arguments, key: str) -> tuple[bytes, Any]:
    """The bytes of the same reserve from its message, and the message."""
    draft = commands.reserve(lines, **fields)
    if not draft.request.context.idempotency_key:
        draft.request.context.idempotency_key = key
    return draft.frame(NOW_NS, "app", "bob"), draft.request


@pytest.mark.parametrize("number", range(len(RESERVES)))
def test_a_reserve_has_the_bytes_of_protobuf(number: int) -> None:
    compare_encoding(*RESERVES[number])


def test_any_reserve_has_the_bytes_of_protobuf() -> None:
    for lines, fields in random_reserves(2_000):
        compare_encoding(lines, fields)


def compare_encoding(lines: Any, fields: Arguments) -> None:
    """Encodes a reserve both ways."""
    draft = commands.reserve(lines, **fields)
    assert isinstance(draft, reserving.PlainReserve)
    assert draft.is_anonymous == (fields.get("key") is None)
    frame = draft.frame(NOW_NS, "app", "bob")
    expected, message = by_protobuf(lines, fields, draft.key)
    assert frame == expected
    assert draft.frame(NOW_NS + 1, "other", "other") == frame
    assert not draft.is_anonymous
    assert draft.request == message
    assert draft.key == message.context.idempotency_key
    assert draft.frame(NOW_NS + 1, "other", "other") == frame


@pytest.mark.parametrize("key", ["order-1/1-reserve", "größe"])
@pytest.mark.parametrize("looked_at", [False, True])
def test_a_reserve_that_gets_its_key_later_has_the_bytes_of_protobuf(key: str, looked_at: bool) -> None:
    draft = commands.reserve([("mug", "wh-1", 1)], channel="web")
    assert draft.is_unnamed
    if looked_at:
        assert not draft.request.context.idempotency_key
    draft.name_key(key)
    assert (draft.key, draft.is_unnamed, draft.is_anonymous) == (key, False, False)
    expected, message = by_protobuf([("mug", "wh-1", 1)], {"channel": "web", "key": key}, "")
    assert draft.frame(NOW_NS, "app", "bob") == expected
    assert draft.request == message


def test_what_is_changed_in_the_message_is_sent() -> None:
    draft = commands.reserve([("mug", "wh-1", 1)], key="k")
    draft.request.context.source.source_id = "erp"
    (command,) = reservation.SubmitRequest.FromString(draft.frame(NOW_NS)).commands
    assert (command.reserve.context.source.source_id, command.reserve.context.idempotency_key) == ("erp", "k")


@pytest.mark.parametrize(
    ("lines", "fields"),
    [
        ([("größe", "wh-1", 1)], {}),
        ([("mug", "wh-1", 1)], {"holder": "Zoë"}),
        ([("mug", "wh-1", 1)], {"key": "k", "issue_time": datetime.now(UTC)}),
    ],
)
def test_any_other_reserve_goes_by_its_message(lines: Any, fields: Arguments) -> None:
    draft = commands.reserve(lines, **fields)
    assert not isinstance(draft, reserving.PlainReserve)
    (command,) = reservation.SubmitRequest.FromString(draft.frame(NOW_NS)).commands
    assert command.reserve == draft.request


def test_half_a_surrogate_is_refused_at_once() -> None:
    with pytest.raises(InvalidArgument, match=r"lines\[0\]\.sku"):
        commands.reserve([("\ud800", "wh-1", 1)])


@pytest.mark.parametrize(
    "fields", [{"key": ""}, {"holder": 5}, {"timeout_s": "soon"}, {"ttl_s": "soon"}, {"nonsense": "x"}, {"ttl_s": True}]
)
def test_a_wrong_argument_is_refused_at_once(fields: Arguments) -> None:
    with pytest.raises(InvalidArgument):
        commands.reserve([("mug", "wh-1", 1)], **fields)


def line(number: int) -> Any:
    """A LineChange."""
    unknown: Any = number % 9
    return types.LineChange(sku=f"sku-{number}", location="wh-ö", quantity=number, state=unknown, outstanding=-number)


def hold(number: int) -> Any:
    """A HoldChange."""
    change = types.HoldChange(reservation_id=f"id-{number}", version=number, reacquired=number % 2 == 0)
    change.lines.extend(line(each) for each in range(number % 4))
    if number % 3:
        change.expire_time.seconds, change.expire_time.nanos = number * 10**9 - 5, number * 999_999_9
    return change


def answer(number: int) -> Any:
    """A SubmitStreamResponse with outcomes of every kind."""
    receipt = types.Receipt(sequence=number, durable_sequence=-number, replayed=number % 2 == 1)
    rejection = types.Rejection(code=9, reason="INSUFFICIENT_STOCK", message="no", metadata={"sku": "mug"})
    outcomes = [
        reservation.Outcome(receipt=receipt, holds=[hold(each) for each in range(number % 5)]),
        reservation.Outcome(receipt=receipt, holds=[hold(number)]),
        reservation.Outcome(rejection=rejection),
        reservation.Outcome(receipt=receipt, key_cancelled=True),
        reservation.Outcome(receipt=receipt, levels=[types.InventoryLevel(sku="mug")]),
        reservation.Outcome(),
    ]
    return reservation.SubmitStreamResponse(outcomes=outcomes[: 1 + number % 6], durable_sequence=number)


def values(read: Callable[[bytes], list[Any]], payload: bytes) -> str:
    """The outcomes of an answer in full, or that it is malformed."""
    try:
        found = [decode.outcome_of(each) for each in read(payload)]
    except DecodeError:
        return "malformed"
    return "\n".join(f"{each!r} {each.rejection and vars(each.rejection)}" for each in found)


def outcomes_by_protobuf(payload: bytes) -> list[Any]:
    """The outcomes as messages."""
    return list(reservation.SubmitStreamResponse.FromString(payload).outcomes)


def test_outcomes_have_the_values_of_protobuf() -> None:
    for number in range(100):
        payload = answer(number).SerializeToString()
        assert values(framing.outcomes_in, payload) == values(outcomes_by_protobuf, payload)
    found = framing.outcomes_in(answer(7).SerializeToString())
    assert [type(each) for each in found] == [bytes, bytes]


def test_a_value_made_by_core_is_that_of_its_class() -> None:
    by_message = decode.hold_of(hold(2), results.Receipt(1, 2, False))
    outcome = reservation.Outcome(receipt=types.Receipt(sequence=1, durable_sequence=2), holds=[hold(2)])
    found = commands._RESERVE.result_in(outcome.SerializeToString())
    assert (type(found), found, hash(found)) == (results.Hold, by_message, hash(by_message))
    assert [type(each) for each in (found.receipt, *found.lines)] == [results.Receipt, *[results.HoldLine] * 2]
    assert pickle.loads(pickle.dumps(found)) == copy.copy(found) == dataclasses.replace(found) == by_message
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.version = 7  # type: ignore[misc]
    changes = commands._RELEASE.result_in(outcome.SerializeToString())
    assert (type(changes), changes) == (results.Changes, decode.changed(outcome))
    assert changes.key_cancelled is False


def test_mutated_outcomes_have_the_values_of_protobuf() -> None:
    draw = random.Random(11)
    for number in range(20_000):
        found = mutated(answer(number % 60).SerializeToString(), draw)
        assert values(framing.outcomes_in, found) == values(outcomes_by_protobuf, found), found


ANSWERS: dict[Kind[Any], Any] = {
    commands._RESERVE: reservation.ReserveResponse,
    commands._EXTEND: reservation.ExtendResponse,
    commands._ALLOCATE: reservation.AllocateResponse,
    commands._RELEASE: reservation.ReleaseResponse,
}


def single_answer(message: Any, number: int) -> bytes:
    """The answer to a single command, with a summary or a cancelled key now and then."""
    found = message(receipt=types.Receipt(sequence=number, durable_sequence=-number, replayed=number % 2 == 1))
    if message is reservation.ReserveResponse:
        found.hold.CopyFrom(hold(number))
    elif number % 7 == 0:
        found.summary.reservations = number
    else:
        found.holds.extend(hold(each) for each in range(number % 4))
    if message is reservation.ReleaseResponse and number % 5 == 0:
        found.key_cancelled = True
    payload: bytes = found.SerializeToString()
    return payload


def result(read: Callable[[], Any]) -> str:
    """What was read, or why it was not."""
    try:
        return repr(read())
    except (DecodeError, IndexError) as error:
        return type(error).__name__


@pytest.mark.parametrize("kind", ANSWERS, ids=lambda kind: kind.name)
def test_single_answers_have_the_values_of_protobuf(kind: Kind[Any]) -> None:
    draw = random.Random(13)
    for number in range(3_000):
        payload = single_answer(ANSWERS[kind], number % 60)
        found = mutated(payload, draw) if number >= 60 else payload
        by_protobuf = result(lambda found=found: kind.result_of(found, native=False))  # type: ignore[misc]
        assert result(lambda found=found: kind.result_of(found)) == by_protobuf, found  # type: ignore[misc]


@pytest.mark.parametrize("holds", [0, 1, 2])
def test_an_outcome_of_any_number_of_holds_has_the_result_of_protobuf(holds: int) -> None:
    receipt = types.Receipt(sequence=1)
    outcome = reservation.Outcome(receipt=receipt, holds=[hold(each) for each in range(holds)])
    for kind in ANSWERS:
        found = result(lambda kind=kind: kind.result_in(outcome.SerializeToString()))  # type: ignore[misc]
        assert found == result(lambda kind=kind: kind.decode(outcome))  # type: ignore[misc]


@pytest.mark.parametrize(
    "outcome",
    [
        "0a02 0805 0a02 1003",  # a receipt that comes twice is merged
        "0a02 0805 1206 1a02 0801 1a02 1001",  # a time that comes twice is merged
        "0a0b 08ff ffff ffff ffff ffff 01",  # the longest number
        "0a0b 08ff ffff ffff ffff ffff 02",  # one that is too long
        "0a03 8a00 05",  # a tag in two bytes
        "0a82 8080 8000 0805",  # a length in five bytes
        "0a82 8080 8080 00 0805",  # a length in six bytes
        "0a02 0805 1205 0a03 eda0 80",  # half a surrogate
        "0a02 0805 120d 1a0b 08ff ffff ffff ffff ff7f",  # a time beyond 64 bits of milliseconds
        "0a02 0805 1208 1a06 0801 10ff ffff 7f",  # negative nanoseconds
        "0b0c",  # a group
    ],
)
def test_unusual_outcomes_have_the_values_of_protobuf(outcome: str) -> None:
    message = bytes.fromhex(outcome)
    payload = bytes([0x0A, len(message)]) + message
    assert values(framing.outcomes_in, payload) == values(outcomes_by_protobuf, payload)


def test_without_the_extension_protobuf_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((framing, "native"), (decode, "reader"), (reserving, "_encoder")):
        monkeypatch.setattr(module, name, lambda: None)
    payload = answer(7).SerializeToString()
    assert values(framing.outcomes_in, payload) == values(outcomes_by_protobuf, payload)
    draft = commands.reserve([("mug", "wh-1", 1)], key="k")
    assert draft.frame(NOW_NS, "app", "bob") == by_protobuf([("mug", "wh-1", 1)], {"key": "k"}, "")[0]
    assert commands._RESERVE.result_of(single_answer(reservation.ReserveResponse, 1)).reservation_id == "id-1"


def test_a_draft_that_could_not_be_encoded_is_still_without_a_key() -> None:
    draft = commands.reserve([("mug", "wh-1", 1)])
    with pytest.raises(UnicodeEncodeError):
        draft.frame(NOW_NS, "\ud800")
    assert (draft.key, draft.is_anonymous) == ("", True)
