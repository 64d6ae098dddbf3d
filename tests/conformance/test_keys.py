"""A key names one intention: executed once, answered always alike, refused with another body."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from invengine.v1 import reservation_service_pb2 as reservations

from . import methods, requests
from .refused import Refused
from .shop import Shop, check_rejected, figures, refusal_of
from .targets import KEY


def replay_of(answer: reservations.ReserveResponse) -> reservations.ReserveResponse:
    """The same answer given again."""
    again = reservations.ReserveResponse()
    again.CopyFrom(answer)
    again.receipt.replayed = True
    return again


@pytest.mark.case("A01")
def test_a_thousand_repeats_have_one_effect_and_one_answer(shop: Shop) -> None:
    sku = shop.item(5)
    request = requests.reserve(shop.context(), (sku, shop.here, 2))
    first = shop.call(methods.RESERVE, request)
    assert not first.receipt.replayed
    assert first.receipt.durable_sequence == first.receipt.sequence
    before = shop.target.digest()
    expected = replay_of(first)
    for _ in range(999):
        assert shop.call(methods.RESERVE, request) == expected
    assert shop.target.digest() == before
    assert figures(shop.level(sku)) == (5, 2, 0, 3)


def test_a_repeat_is_answered_as_it_was_whatever_happened_since(shop: Shop) -> None:
    sku = shop.item(5)
    request = requests.reserve(shop.context(), (sku, shop.here, 2))
    first = shop.call(methods.RESERVE, request)
    shop.allocate(requests.by_id(first.hold.reservation_id))
    shop.fulfill(requests.by_id(first.hold.reservation_id))
    assert shop.call(methods.RESERVE, request) == replay_of(first)


@pytest.mark.case("A02")
def test_64_at_once_have_one_effect_and_one_answer(shop: Shop) -> None:
    sku = shop.item(100)
    request = requests.reserve(shop.context(), (sku, shop.here, 1))
    answers = shop.target.outcomes(methods.RESERVE, [request] * 64)
    accepted = [answer for answer in answers if isinstance(answer, reservations.ReserveResponse)]
    assert len(accepted) == 64, answers
    assert sorted(answer.receipt.replayed for answer in accepted) == [False] + [True] * 63
    assert len({replay_of(answer).SerializeToString(deterministic=True) for answer in accepted}) == 1
    assert shop.level(sku).reserved == 1


Change = Callable[[reservations.ReserveRequest, Shop], None]


def _other_units(request: reservations.ReserveRequest, shop: Shop) -> None:
    request.lines[0].quantity += 1


def _other_location(request: reservations.ReserveRequest, shop: Shop) -> None:
    request.lines[0].location = shop.there


def _one_line_more(request: reservations.ReserveRequest, shop: Shop) -> None:
    request.lines.add(sku=request.lines[0].sku, location=shop.there, quantity=1)


def _other_ttl(request: reservations.ReserveRequest, shop: Shop) -> None:
    request.ttl.seconds = 77


def _partial(request: reservations.ReserveRequest, shop: Shop) -> None:
    request.allow_partial = True


def _other_order(request: reservations.ReserveRequest, shop: Shop) -> None:
    request.context.order_ref = "another"


def _other_holder(request: reservations.ReserveRequest, shop: Shop) -> None:
    request.context.holder = "another"


# What a change is called in the refusal.
OTHER_BODIES: dict[Change, str] = {
    _other_units: "lines.quantity",
    _other_location: "lines",
    _one_line_more: "lines",
    _other_ttl: "ttl",
    _partial: "allow_partial",
    _other_order: "context.order_ref",
    _other_holder: "context.holder",
}


@pytest.mark.case("A03")
@pytest.mark.parametrize("change", OTHER_BODIES, ids=lambda change: change.__name__.strip("_"))
def test_a_key_with_another_body_is_refused(
    shop: Shop, change: Callable[[reservations.ReserveRequest, Shop], None]
) -> None:
    sku = shop.item(9, there=9)
    request = requests.reserve(shop.context(order_ref="one", holder="one"), (sku, shop.here, 2))
    first = shop.call(methods.RESERVE, request)
    change(request, shop)
    refusal = shop.refused(methods.RESERVE, request, "IDEMPOTENCY_KEY_REUSED", sequence=first.receipt.sequence)
    assert refusal.metadata.get("field") == OTHER_BODIES[change]


@pytest.mark.case("A03")
def test_a_key_with_another_command_is_refused(shop: Shop) -> None:
    sku = shop.item(9)
    context = shop.context()
    first = shop.reserve((sku, shop.here, 2), context=context)
    request = requests.release(context, requests.by_id(first.hold.reservation_id))
    shop.refused(methods.RELEASE, request, "IDEMPOTENCY_KEY_REUSED")
    shop.refused(methods.RECEIVE, requests.receive(context, (sku, shop.here, 2)), "IDEMPOTENCY_KEY_REUSED")


def test_a_key_of_a_refused_command_with_another_body(shop: Shop) -> None:
    sku = shop.item(1)
    request = requests.reserve(shop.context(), (sku, shop.here, 2))
    shop.refused(methods.RESERVE, request, "INSUFFICIENT_STOCK")
    request.lines[0].quantity = 1
    shop.refused(methods.RESERVE, request, "IDEMPOTENCY_KEY_REUSED")


@pytest.mark.case("A04")
def test_the_same_intention_in_other_bytes(shop: Shop) -> None:
    one, two = shop.item(9), shop.item(9)
    context = shop.context()
    request = requests.reserve(context, (one, shop.here, 3), (two, shop.here, 2))
    first = shop.call(methods.RESERVE, request)
    same = [
        requests.reserve(context, (two, shop.here, 2), (one, shop.here, 3)),
        requests.reserve(context, (one, shop.here, 1), (two, shop.here, 2), (one, shop.here, 2)),
        requests.reserve(context, (one, shop.here, 3), (two, shop.here, 2), ttl_s=15 * 60),
    ]
    for other in same:
        assert shop.call(methods.RESERVE, other) == replay_of(first)
    # Fields in another order on the wire: the lines first, then the shared fields.
    shared, whole = reservations.ReserveRequest(context=context), reservations.ReserveRequest(lines=request.lines)
    answer = shop.target.call_raw(methods.RESERVE.path, whole.SerializeToString() + shared.SerializeToString())
    assert reservations.ReserveResponse.FromString(answer) == replay_of(first)
    # A field that has its default value, written out: allow_partial = false.
    answer = shop.target.call_raw(methods.RESERVE.path, request.SerializeToString() + b"\x20\x00")
    assert reservations.ReserveResponse.FromString(answer) == replay_of(first)


def test_when_and_by_whom_it_was_sent_is_not_the_intention(shop: Shop) -> None:
    sku = shop.item(9)
    request = requests.reserve(shop.context(), (sku, shop.here, 1))
    first = shop.call(methods.RESERVE, request)
    request.context.issue_time.GetCurrentTime()
    assert shop.call(methods.RESERVE, request) == replay_of(first)
    context = request.context
    context.event_time.GetCurrentTime()
    context.actor = context.causation = context.reason_code = context.reference = "another worker"
    context.remember_refusal = True
    assert shop.call(methods.RESERVE, request) == replay_of(first)


def test_the_reason_and_the_document_are_part_of_what_happened_to_stock(shop: Shop) -> None:
    sku = shop.item()
    context = shop.context(actor="ann", reason_code="delivery", reference="note-1")
    request = requests.receive(context, (sku, shop.here, 5))
    first = shop.call(methods.RECEIVE, request)
    request.context.actor = "bob"
    assert shop.call(methods.RECEIVE, request).receipt.sequence == first.receipt.sequence
    for field, value in (("reason_code", "return"), ("reference", "note-2")):
        other = requests.receive(context, (sku, shop.here, 5))
        setattr(other.context, field, value)
        shop.refused(methods.RECEIVE, other, "IDEMPOTENCY_KEY_REUSED", field=f"context.{field}")


def test_keys_of_different_writers_are_different_keys(shop: Shop) -> None:
    sku = shop.item(9)
    key = shop.name("key")
    web, app = shop.channel(), shop.channel()
    contexts = [shop.context(key, channel=channel) for channel in ("", web, app)]
    answers = [shop.reserve((sku, shop.here, 1), context=context) for context in contexts]
    assert len({answer.hold.reservation_id for answer in answers}) == 3
    assert not any(answer.receipt.replayed for answer in answers)
    for channel, answer in zip(("", web, app), answers, strict=True):
        found = shop.outcome(key, channel=channel)
        assert found.outcome.holds[0].reservation_id == answer.hold.reservation_id
    # By key a hold is found in the scope of the command's own writer.
    request = requests.release(shop.context(channel=app), requests.by_key(key))
    assert shop.call(methods.RELEASE, request).holds[0].reservation_id == answers[2].hold.reservation_id


def test_the_key_of_the_metadata_counts_where_the_message_has_none(shop: Shop) -> None:
    sku = shop.item(9)
    key = shop.name("key")
    request = requests.reserve(requests.NO_CONTEXT, (sku, shop.here, 1))
    first = shop.call(methods.RESERVE, request, metadata={KEY: key})
    assert shop.call(methods.RESERVE, request, metadata={KEY: key}) == replay_of(first)
    request.context.idempotency_key = key
    assert shop.call(methods.RESERVE, request) == replay_of(first)


def test_the_key_of_the_message_goes_before_that_of_the_metadata(shop: Shop) -> None:
    key, other = shop.name("key"), shop.name("key")
    request = requests.reserve(shop.context(key), (shop.item(9), shop.here, 1))
    shop.call(methods.RESERVE, request, metadata={KEY: other})
    assert shop.outcome(key).known
    assert not shop.outcome(other).known


def test_the_metadata_gives_no_key_to_the_commands_of_a_batch(shop: Shop) -> None:
    batch = requests.submit(requests.reserve(requests.NO_CONTEXT, (shop.item(9), shop.here, 1)))
    answer = shop.call(methods.SUBMIT, batch, metadata={KEY: shop.name("key")})
    check_rejected(answer.outcomes[0], "INVALID_FIELD")


def test_a_bad_key_in_the_metadata(shop: Shop) -> None:
    request = requests.reserve(requests.NO_CONTEXT, (shop.item(9), shop.here, 1))
    shop.refused(methods.RESERVE, request, "INVALID_FIELD", metadata={KEY: "k" * 129})


@pytest.mark.case("A07")
def test_a_refusal_is_remembered_after_stock_arrived(shop: Shop) -> None:
    sku = shop.item(1)
    request = requests.reserve(shop.context(), (sku, shop.here, 2))
    shop.refused(methods.RESERVE, request, "INSUFFICIENT_STOCK", available=1)
    shop.call(methods.RECEIVE, requests.receive(shop.context(), (sku, shop.here, 9)))
    shop.refused(methods.RESERVE, request, "INSUFFICIENT_STOCK", available=1)
    assert shop.reserve((sku, shop.here, 2)).hold.version == 1


@pytest.mark.case("C16")
def test_an_unknown_name_is_remembered_after_it_was_created(shop: Shop) -> None:
    sku = shop.name("sku-later")
    request = requests.receive(shop.context(), (sku, shop.here, 2))
    shop.refused(methods.RECEIVE, request, "UNKNOWN_SKU", sku=sku)
    create = methods.UPSERT_ITEMS.request(context=shop.context())
    create.items.add(sku=sku)
    shop.call(methods.UPSERT_ITEMS, create)
    shop.refused(methods.RECEIVE, request, "UNKNOWN_SKU", sku=sku)
    shop.call(methods.RECEIVE, requests.receive(shop.context(), (sku, shop.here, 2)))


@pytest.mark.case("C09")
def test_a_released_key_that_was_never_seen_is_cancelled(shop: Shop) -> None:
    sku = shop.item(5)
    context = shop.context()
    release = requests.release(shop.context(), requests.by_key(context.idempotency_key))
    answer = shop.call(methods.RELEASE, release)
    assert answer.key_cancelled
    assert not answer.holds
    late = requests.reserve(context, (sku, shop.here, 1))
    shop.refused(methods.RESERVE, late, "KEY_CANCELLED")
    shop.refused(methods.RESERVE, late, "KEY_CANCELLED")
    assert figures(shop.level(sku)) == (5, 0, 0, 5)
    found = shop.outcome(context.idempotency_key)
    assert found.key_cancelled
    # The release itself is an intention like any other.
    again = shop.call(methods.RELEASE, release)
    assert again.receipt.replayed
    assert again.key_cancelled
    second = shop.release(requests.by_key(context.idempotency_key))
    assert second.key_cancelled
    check_rejected(shop.submit(late)[0], "KEY_CANCELLED")


def test_only_release_cancels_a_key(shop: Shop) -> None:
    context = shop.context()
    target = requests.by_key(context.idempotency_key)
    for method, request in (
        (methods.EXTEND, requests.extend(shop.context(), target)),
        (methods.ALLOCATE, requests.allocate(shop.context(), target)),
        (methods.FULFILL, requests.fulfill(shop.context(), target)),
        (methods.TRANSFER, requests.transfer(shop.context(), target, shop.there)),
    ):
        assert refusal_of(shop.target, method.path, request.SerializeToString()).reason == "RESERVATION_NOT_FOUND"
    assert shop.reserve((shop.item(1), shop.here, 1), context=context).hold.version == 1


@pytest.mark.case("A10")
def test_a_late_duplicate_of_a_release_leaves_the_next_hold_alone(shop: Shop) -> None:
    sku = shop.item(1)
    first = shop.hold((sku, shop.here, 1))
    release = requests.release(shop.context(), first)
    answer = shop.call(methods.RELEASE, release)
    second = shop.hold((sku, shop.here, 1))
    again = shop.call(methods.RELEASE, release)
    assert again.receipt.replayed
    assert again.holds == answer.holds
    assert again.receipt.sequence == answer.receipt.sequence
    assert shop.reservation(second).lines[0].reserved == 1


def test_the_outcome_of_a_key_can_be_looked_up(shop: Shop) -> None:
    sku = shop.item(3)
    accepted, refused, received = shop.context(), shop.context(), shop.context()
    answer = shop.reserve((sku, shop.here, 2), context=accepted)
    shop.refused(methods.RESERVE, requests.reserve(refused, (sku, shop.here, 9)), "INSUFFICIENT_STOCK")
    stock = shop.call(methods.RECEIVE, requests.receive(received, (sku, shop.here, 4)))

    found = shop.outcome(accepted.idempotency_key)
    assert found.known
    assert list(found.outcome.holds) == [answer.hold]
    assert found.outcome.receipt == replay_of(answer).receipt
    found = shop.outcome(refused.idempotency_key)
    assert found.known
    check_rejected(found.outcome, "INSUFFICIENT_STOCK", requested=9, available=1)
    found = shop.outcome(received.idempotency_key)
    assert list(found.outcome.levels) == list(stock.levels)
    found = shop.outcome(shop.name("never"))
    assert not found.known
    assert not found.key_cancelled
    assert not found.HasField("outcome")


@pytest.mark.case("A06")
def test_a_command_older_than_what_is_remembered_is_refused(shop: Shop) -> None:
    info = shop.call(methods.GET_SERVER_INFO, methods.GET_SERVER_INFO.request())
    window_ms = info.effective_dedupe_window.ToMilliseconds()
    assert window_ms > 0
    request = requests.reserve(shop.context(), (shop.item(1), shop.here, 1))
    old = Timestamp()
    old.FromMilliseconds(info.engine_time.ToMilliseconds() - window_ms - 3_600_000)
    request.context.issue_time.CopyFrom(old)
    refused = shop.refused(methods.RESERVE, request, "DEDUPE_WINDOW_EXPIRED")
    assert refused.metadata["window"]
    request.context.issue_time.CopyFrom(info.engine_time)
    assert shop.call(methods.RESERVE, request).hold.version == 1


@pytest.mark.case("A02")
def test_repeats_race_their_original(shop: Shop) -> None:
    sku = shop.item(1000)
    same = [requests.reserve(shop.context(), (sku, shop.here, 1)) for _ in range(20)]
    answers = shop.target.outcomes(methods.RESERVE, same * 5)
    assert not [answer for answer in answers if isinstance(answer, Refused)]
    assert shop.level(sku).reserved == 20
