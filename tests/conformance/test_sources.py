"""Sources: each message of an outside system is applied once and in order, whatever its network does."""

from __future__ import annotations

from typing import Any

import pytest

from invengine.v1 import reservation_service_pb2 as reservations
from invengine.v1 import source_service_pb2 as sources
from invengine.v1 import types_pb2 as types

from . import methods, requests
from .commands import AnyMethod
from .shop import Shop, check, check_rejected, figures, refusal_of

KEPT = 1024


def message(place: types.SourcePosition, number: int, **fields: str) -> types.CommandContext:
    """Shared fields of the message with this number, without a key unless one is given."""
    context = types.CommandContext(source=place)
    context.source.sequence = number
    for name, value in fields.items():
        setattr(context, name, value)
    return context


def register(shop: Shop, source_id: str) -> sources.RegisterSourceResponse:
    """The next epoch of a source."""
    request = sources.RegisterSourceRequest(context=shop.context(), source_id=source_id)
    return shop.call(methods.REGISTER_SOURCE, request)


def test_each_registration_is_the_next_epoch(shop: Shop) -> None:
    source_id, sku = shop.name("source"), shop.item(9)
    first = register(shop, source_id)
    assert (first.epoch > 0, first.previous_epoch, first.previous_sequence) == (True, 0, 0)
    place = types.SourcePosition(source_id=source_id, epoch=first.epoch)
    for number in (1, 2, 3):
        shop.reserve((sku, shop.here, 1), context=message(place, number))
    second = register(shop, source_id)
    assert (second.epoch, second.previous_epoch, second.previous_sequence) == (first.epoch + 1, first.epoch, 3)
    third = register(shop, source_id)
    assert (third.previous_epoch, third.previous_sequence) == (second.epoch, 0)


def test_a_registration_that_is_sent_again_is_one(shop: Shop) -> None:
    request = sources.RegisterSourceRequest(context=shop.context(), source_id=shop.name("source"))
    first = shop.call(methods.REGISTER_SOURCE, request)
    again = shop.call(methods.REGISTER_SOURCE, request)
    assert again.receipt.replayed
    assert (again.epoch, again.receipt.sequence) == (first.epoch, first.receipt.sequence)


@pytest.mark.case("B01")
def test_messages_are_numbered_from_one_without_a_gap(shop: Shop) -> None:
    sku, place = shop.item(9), shop.source()
    for number in (2, 3, 2**53 - 1):
        request = requests.reserve(message(place, number), (sku, shop.here, 1))
        shop.refused(methods.RESERVE, request, "SEQUENCE_GAP", source=place.source_id, expected=1, got=number)
    for number in (1, 2):
        shop.reserve((sku, shop.here, 1), context=message(place, number))
    late = requests.reserve(message(place, 4), (sku, shop.here, 1))
    shop.refused(methods.RESERVE, late, "SEQUENCE_GAP", expected=3, got=4)
    # The gap is filled, and then the refused one is accepted: it did not use its number.
    shop.reserve((sku, shop.here, 1), context=message(place, 3))
    assert not shop.call(methods.RESERVE, late).receipt.replayed
    assert shop.level(sku).reserved == 4


@pytest.mark.case("B02")
def test_a_repeat_gets_the_outcome_again(shop: Shop) -> None:
    sku, place = shop.item(9), shop.source()
    request = requests.reserve(message(place, 1), (sku, shop.here, 2))
    first = shop.call(methods.RESERVE, request)
    shop.call(methods.RECEIVE, requests.receive(message(place, 2), (sku, shop.here, 1)))
    again = shop.call(methods.RESERVE, request)
    assert again.receipt.replayed
    assert (again.hold, again.receipt.sequence) == (first.hold, first.receipt.sequence)
    assert figures(shop.level(sku)) == (10, 2, 0, 8)


@pytest.mark.case("B02")
def test_every_kind_of_message_is_given_again(shop: Shop) -> None:
    sku, place = shop.item(9), shop.source()
    receive = requests.receive(message(place, 1), (sku, shop.here, 2))
    levels = shop.call(methods.RECEIVE, receive).levels
    hold = shop.hold((sku, shop.here, 2))
    release = requests.release(message(place, 2), hold)
    released = shop.call(methods.RELEASE, release).holds
    assert shop.call(methods.RECEIVE, receive).levels == levels
    again = shop.call(methods.RELEASE, release)
    assert again.receipt.replayed
    assert again.holds == released


@pytest.mark.case("B03")
def test_a_number_with_another_body_is_a_conflict(shop: Shop) -> None:
    sku, place = shop.item(9), shop.source()
    shop.reserve((sku, shop.here, 1), context=message(place, 1))
    for request, field in (
        (requests.reserve(message(place, 1), (sku, shop.here, 2)), "lines.quantity"),
        (requests.reserve(message(place, 1), (sku, shop.here, 1), ttl_s=77), "ttl"),
    ):
        shop.refused(methods.RESERVE, request, "SEQUENCE_CONFLICT", source=place.source_id, sequence=1, field=field)
    receive = requests.receive(message(place, 1), (sku, shop.here, 1))
    shop.refused(methods.RECEIVE, receive, "SEQUENCE_CONFLICT", source=place.source_id, sequence=1, field="command")


@pytest.mark.case("B06", "B07")
def test_an_old_epoch_is_refused_whatever_its_number(shop: Shop) -> None:
    sku, old = shop.item(9), shop.source()
    shop.reserve((sku, shop.here, 1), context=message(old, 1))
    new = shop.source(old.source_id)
    for number in (1, 2, 9):
        request = requests.reserve(message(old, number), (sku, shop.here, 1))
        shop.refused(methods.RESERVE, request, "STALE_EPOCH", source=old.source_id, current=new.epoch)
    # The new epoch starts from one.
    shop.refused(methods.RESERVE, requests.reserve(message(new, 2), (sku, shop.here, 1)), "SEQUENCE_GAP", expected=1)
    assert shop.reserve((sku, shop.here, 1), context=message(new, 1)).hold.version == 1


def test_an_epoch_is_issued_and_never_chosen(shop: Shop) -> None:
    sku, place = shop.item(9), shop.source()
    place.epoch += 1
    request = requests.reserve(message(place, 1), (sku, shop.here, 1))
    shop.refused(methods.RESERVE, request, "STALE_EPOCH", current=place.epoch - 1)


def test_sources_have_lines_of_their_own(shop: Shop) -> None:
    sku, one, two = shop.item(9), shop.source(), shop.source()
    for number in (1, 2):
        for place in (one, two):
            shop.reserve((sku, shop.here, 1), context=message(place, number))
    assert shop.level(sku).reserved == 4


def test_a_refused_message_uses_its_number_and_stays_refused(shop: Shop) -> None:
    sku, place = shop.item(1), shop.source()
    request = requests.reserve(message(place, 1, order_ref="order"), (sku, shop.here, 2))
    check(refusal_of(shop.target, methods.RESERVE.path, request.SerializeToString()), "INSUFFICIENT_STOCK", {})
    sequence = shop.target.digest()[1]
    event = next(
        event for event in reversed(shop.target.read_events(max(1, sequence - 9))) if event.HasField("message_rejected")
    )
    assert event.message_rejected.rejection.reason == "INSUFFICIENT_STOCK"
    assert event.message_rejected.rejection.metadata["available"] == "1"
    assert (event.context.source.source_id, event.context.source.sequence) == (place.source_id, 1)
    assert event.context.order_ref == "order"
    shop.call(methods.RECEIVE, requests.receive(message(place, 2), (sku, shop.here, 9)))
    # Though the stock is there now.
    shop.refused(methods.RESERVE, request, "INSUFFICIENT_STOCK", sku=sku, requested=2, available=1)
    request.lines[0].quantity = 1
    shop.refused(methods.RESERVE, request, "SEQUENCE_CONFLICT", sequence=1)
    assert figures(shop.level(sku)) == (10, 0, 0, 10)


REFUSALS = ("INSUFFICIENT_STOCK", "UNKNOWN_SKU", "UNKNOWN_LOCATION", "RESERVATION_NOT_FOUND", "ALREADY_RELEASED")


@pytest.mark.parametrize("reason", REFUSALS)
def test_each_rejection_of_the_ledger_uses_the_number(shop: Shop, reason: str) -> None:
    sku, place = shop.item(1), shop.source()
    hold = shop.hold((sku, shop.here, 1))
    shop.release(hold)
    cases: dict[str, tuple[AnyMethod, Any]] = {
        "INSUFFICIENT_STOCK": (methods.RESERVE, requests.reserve(message(place, 1), (sku, shop.here, 2))),
        "UNKNOWN_SKU": (methods.RECEIVE, requests.receive(message(place, 1), ("nobody-knows-this", shop.here, 2))),
        "UNKNOWN_LOCATION": (methods.COUNT, requests.count(message(place, 1), (sku, "nobody-knows-this", 2))),
        "RESERVATION_NOT_FOUND": (methods.ALLOCATE, requests.allocate(message(place, 1), requests.by_id("nobody"))),
        "ALREADY_RELEASED": (methods.FULFILL, requests.fulfill(message(place, 1), hold)),
    }
    method, request = cases[reason]
    payload = request.SerializeToString()
    for _ in range(2):
        check(refusal_of(shop.target, method.path, payload), reason, {})
    assert shop.reserve((sku, shop.here, 1), context=message(place, 2)).hold.version == 1


def test_a_bad_field_does_not_use_the_number(shop: Shop) -> None:
    sku, place = shop.item(1), shop.source()
    shop.refused(methods.RESERVE, requests.reserve(message(place, 1), (sku, shop.here, 0)), "INVALID_FIELD")
    assert shop.reserve((sku, shop.here, 1), context=message(place, 1)).hold.version == 1


def test_a_key_that_is_known_already_uses_the_number_of_its_message(shop: Shop) -> None:
    # A source that lost its position registers again and sends from its own records; keys show what was applied.
    sku, old = shop.item(9), shop.source()
    key = shop.name("key")
    first = shop.reserve((sku, shop.here, 1), context=message(old, 1, idempotency_key=key))
    new = shop.source(old.source_id)
    again = shop.reserve((sku, shop.here, 1), context=message(new, 1, idempotency_key=key))
    assert again.receipt.replayed
    assert (again.hold, again.receipt.sequence) == (first.hold, first.receipt.sequence)
    assert shop.level(sku).reserved == 1
    # Its number is used: a repeat gets the same, another message of that number conflicts, the next one is accepted.
    assert shop.reserve((sku, shop.here, 1), context=message(new, 1, idempotency_key=key)).receipt.replayed
    other = requests.reserve(message(new, 1, idempotency_key=shop.name("key")), (sku, shop.here, 2))
    shop.refused(methods.RESERVE, other, "SEQUENCE_CONFLICT", sequence=1)
    assert not shop.reserve((sku, shop.here, 1), context=message(new, 2)).receipt.replayed


def test_a_key_of_a_source_is_its_own(shop: Shop) -> None:
    sku, place = shop.item(9), shop.source()
    key = shop.name("key")
    hold = shop.reserve((sku, shop.here, 1), context=message(place, 1, idempotency_key=key)).hold
    assert not shop.outcome(key).known
    found = shop.outcome(key, source_id=place.source_id)
    assert found.outcome.holds[0].reservation_id == hold.reservation_id
    question = reservations.GetReservationRequest(reservation_key=key, source_id=place.source_id)
    assert shop.call(methods.GET_RESERVATION, question).reservation.reservation_id == hold.reservation_id
    # The operator's key of the same name is another intention.
    assert not shop.reserve((sku, shop.here, 1), context=shop.context(key)).receipt.replayed


def test_a_batch_carries_messages_in_order(shop: Shop) -> None:
    sku, place = shop.item(9), shop.source()
    one, two, gap, three = shop.submit(
        *(requests.reserve(message(place, number), (sku, shop.here, 1)) for number in (1, 2, 4, 3))
    )
    assert [outcome.holds[0].version for outcome in (one, two, three)] == [1, 1, 1]
    check_rejected(gap, "SEQUENCE_GAP", source=place.source_id, expected=3, got=4)


@pytest.mark.case("A06", "B04")
def test_the_last_1024_outcomes_of_an_epoch_are_kept(shop: Shop) -> None:
    count = KEPT + 76
    sku, place = shop.item(count), shop.source()
    batch = [
        requests.reserve(message(place, number), (sku, shop.here, 1), ttl_s=3600) for number in range(1, count + 1)
    ]
    made = [outcome.holds[0] for start in (0, 1000) for outcome in shop.submit(*batch[start : start + 1000])]
    assert len(made) == count
    oldest_kept = count - KEPT
    for number in (oldest_kept + 1, count):
        again = shop.call(methods.RESERVE, batch[number - 1])
        assert again.receipt.replayed
        assert again.hold == made[number - 1]
    for number in (1, oldest_kept):
        shop.refused(methods.RESERVE, batch[number - 1], "SEQUENCE_CONSUMED", source=place.source_id, last=count)
    # A number that is no longer stored is refused whatever is sent with it.
    other = requests.reserve(message(place, 1), (sku, shop.here, 2))
    shop.refused(methods.RESERVE, other, "SEQUENCE_CONSUMED", last=count)
    assert shop.level(sku).reserved == count
