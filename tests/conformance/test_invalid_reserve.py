"""INVALID_FIELD in each of its forms on Reserve: the field is named, and nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from invengine.v1 import types_pb2 as types
from invengine.v1.reservation_service_pb2 import ReserveRequest

from . import methods, requests
from .shop import Shop, check_rejected

UNITS_MAX = 2**53 - 1
SEQUENCE_MAX = 2**53 - 1
YEAR_S = 31_557_600


@dataclass(frozen=True, slots=True)
class Case:
    """One way to spoil a good request, and the fields that the refusal names."""

    name: str
    spoil: Callable[[ReserveRequest], object]
    fields: tuple[str, ...]


def _key(value: str) -> Callable[[ReserveRequest], object]:
    return lambda request: setattr(request.context, "idempotency_key", value)


def _units(value: int) -> Callable[[ReserveRequest], object]:
    return lambda request: setattr(request.lines[0], "quantity", value)


def _ttl(seconds: int, nanos: int = 0) -> Callable[[ReserveRequest], object]:
    return lambda request: request.ttl.CopyFrom(Duration(seconds=seconds, nanos=nanos))


def _sku(value: str) -> Callable[[ReserveRequest], object]:
    return lambda request: setattr(request.lines[0], "sku", value)


def _location(value: str) -> Callable[[ReserveRequest], object]:
    return lambda request: setattr(request.lines[0], "location", value)


def _text(field: str, value: str) -> Callable[[ReserveRequest], object]:
    return lambda request: setattr(request.context, field, value)


def _source(**position: int | str) -> Callable[[ReserveRequest], object]:
    whole = types.SourcePosition(**{"source_id": "erp", "epoch": 1, "sequence": 1, **position})  # type: ignore[arg-type]
    return lambda request: request.context.source.CopyFrom(whole)


def _time(field: str, value: Timestamp) -> Callable[[ReserveRequest], object]:
    return lambda request: getattr(request.context, field).CopyFrom(value)


def _again(units: int) -> Callable[[ReserveRequest], object]:
    return lambda request: request.lines.add(
        sku=request.lines[0].sku, location=request.lines[0].location, quantity=units
    )


def _repeat(times: int) -> Callable[[ReserveRequest], object]:
    return lambda request: request.lines.extend([request.lines[0]] * (times - 1))


def _cases() -> Iterator[Case]:
    key = ("context.idempotency_key",)
    yield Case("no key and no source", _key(""), key)
    for size in (129, 255, 256):
        yield Case(f"key of {size} bytes", _key("k" * size), key)
    yield Case("key with NUL", _key("a\0b"), key)
    yield Case("key with CRLF", _key("a\r\nb"), key)
    yield Case("key with a newline at its end", _key("abc\n"), key)
    yield Case("key with DEL", _key("a\x7fb"), key)
    yield Case("key that is not ASCII", _key("schlüssel"), key)
    yield Case("no lines", lambda request: request.ClearField("lines"), ("lines",))
    yield Case("1,001 lines", _repeat(1001), ("lines",))
    units = ("lines[0].quantity",)
    for value in (0, -1, -(2**63), UNITS_MAX + 1, 2**63 - 1):
        yield Case(f"quantity {value}", _units(value), units)
    yield Case("a sum over the limit", _again(UNITS_MAX), ("lines[1].quantity",))
    yield Case("an empty sku", _sku(""), ("lines[0].sku",))
    yield Case("a sku of 129 characters", _sku("s" * 129), ("lines[0].sku",))
    yield Case("a sku with a control character", _sku("a\tb"), ("lines[0].sku",))
    yield Case("a sku with NUL", _sku("a\0"), ("lines[0].sku",))
    yield Case("no location", _location(""), ("lines[0].location",))
    yield Case("a location of 129 characters", _location("l" * 129), ("lines[0].location",))
    yield Case("a location with a newline", _location("a\nb"), ("lines[0].location",))
    ttl = ("ttl",)
    yield Case("ttl 0", _ttl(0), ttl)
    yield Case("a ttl below zero", _ttl(-1), ttl)
    yield Case("a ttl below 1 s", _ttl(0, 999_000_000), ttl)
    yield Case("a ttl above 30 days", _ttl(30 * 86_400, 1), ttl)
    yield Case("a ttl of 100 years", _ttl(100 * YEAR_S), ttl)
    yield Case("the longest duration there is", _ttl(315_576_000_000), ttl)
    yield Case("a ttl with too many nanos", _ttl(60, 1_000_000_000), ttl)
    yield Case("a ttl with two signs", _ttl(60, -1), ttl)
    for field in ("order_ref", "holder", "actor", "reason_code", "reference", "causation"):
        yield Case(f"{field} of 129 characters", _text(field, "x" * 129), (f"context.{field}",))
        yield Case(f"{field} with a control character", _text(field, "a\x01b"), (f"context.{field}",))
    yield Case("a channel of 129 characters", _text("channel", "c" * 129), ("context.channel",))
    yield Case("a channel with a control character", _text("channel", "c\x1b"), ("context.channel",))
    yield Case("a time with too many nanos", _time("issue_time", Timestamp(nanos=10**9)), ("context.issue_time",))
    yield Case("a time below year 1", _time("event_time", Timestamp(seconds=-(10**12))), ("context.event_time",))
    yield Case("a source without a name", _source(source_id=""), ("context.source.source_id",))
    yield Case("a source epoch 0", _source(epoch=0), ("context.source.epoch",))
    yield Case("a source epoch below zero", _source(epoch=-1), ("context.source.epoch",))
    for value in (0, -1, SEQUENCE_MAX + 1, 2**63 - 1):
        yield Case(f"source sequence {value}", _source(sequence=value), ("context.source.sequence",))
    yield Case("replace_own for nobody", lambda request: setattr(request, "replace_own", True), ("context.holder",))


CASES = list(_cases())


def _good(shop: Shop) -> ReserveRequest:
    return requests.reserve(shop.context(), (shop.item(5), shop.here, 1))


@pytest.mark.case("A12", "B09", "C15", "D08")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_field_is_named_and_nothing_changes(shop: Shop, case: Case) -> None:
    request = _good(shop)
    case.spoil(request)
    refused = shop.refused(methods.RESERVE, request, "INVALID_FIELD")
    assert set(refused.fields) == set(case.fields)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_same_holds_inside_a_batch_and_the_batch_goes_on(shop: Shop, case: Case) -> None:
    bad = _good(shop)
    case.spoil(bad)
    good = _good(shop)
    first, second = shop.submit(bad, good)
    refused = check_rejected(first, "INVALID_FIELD")
    assert [any(field.endswith(wanted) for field in refused.fields) for wanted in case.fields] == [True]
    assert second.holds[0].version == 1


def test_every_bad_field_is_named_at_once(shop: Shop) -> None:
    request = _good(shop)
    request.lines.add(sku="", location=shop.here, quantity=0)
    request.ttl.seconds = -5
    request.context.actor = "x" * 200
    refused = shop.refused(methods.RESERVE, request, "INVALID_FIELD")
    assert set(refused.fields) == {"lines[1].sku", "lines[1].quantity", "ttl", "context.actor"}


@pytest.mark.case("A08")
def test_a_bad_field_does_not_use_up_its_key(shop: Shop) -> None:
    request = _good(shop)
    request.lines[0].quantity = 0
    shop.refused(methods.RESERVE, request, "INVALID_FIELD")
    assert not shop.outcome(request.context.idempotency_key).known
    request.lines[0].quantity = 2
    answer = shop.call(methods.RESERVE, request)
    assert not answer.receipt.replayed
    assert answer.hold.lines[0].quantity == 2


@pytest.mark.case("A12")
@pytest.mark.parametrize("key", ["k", "k" * 128, "{a}{b}", "a b", "~!@#$%^&*()_+|\\\"'<>?;:"])
def test_every_printable_key_is_a_key(shop: Shop, key: str) -> None:
    # Keys are not the test's own here, so the operator's other keys are kept away by a channel.
    context = shop.context(key, channel=shop.channel())
    answer = shop.reserve((shop.item(1), shop.here, 1), context=context)
    assert answer.hold.version == 1
    assert shop.outcome(key, channel=context.channel).known


@pytest.mark.case("D08")
@pytest.mark.parametrize("ttl_s", [1, 30 * 86_400])
def test_the_shortest_and_the_longest_ttl_are_taken(shop: Shop, ttl_s: int) -> None:
    answer = shop.reserve((shop.item(1), shop.here, 1), ttl_s=ttl_s)
    shop.release(requests.by_id(answer.hold.reservation_id))


def test_1000_lines_are_taken(shop: Shop) -> None:
    skus = shop.items(1000, on_hand=1)
    answer = shop.reserve(*((sku, shop.here, 1) for sku in skus))
    assert [line.sku for line in answer.hold.lines] == sorted(skus)


def test_the_largest_quantity_is_understood(shop: Shop) -> None:
    sku = shop.item(1)
    request = requests.reserve(shop.context(), (sku, shop.here, UNITS_MAX))
    shop.refused(methods.RESERVE, request, "INSUFFICIENT_STOCK", requested=UNITS_MAX, available=1)


def test_a_location_group_comes_later(shop: Shop) -> None:
    request = _good(shop)
    request.lines[0].ClearField("location")
    request.lines[0].location_group = "eu"
    shop.refused(methods.RESERVE, request, "UNIMPLEMENTED")


def test_a_location_and_a_group_exclude_each_other(shop: Shop) -> None:
    request = _good(shop)
    request.lines[0].location_group = "eu"
    refused = shop.refused(methods.RESERVE, request, "INVALID_FIELD")
    assert any(field.startswith("lines[0].location") for field in refused.fields)
