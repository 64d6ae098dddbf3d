"""Expiry is exact: a hold past its time is never counted, its end is an event, and a late payment is safe."""

from __future__ import annotations

import pytest

from invengine.v1 import types_pb2 as types
from invengine.v1.journal_service_pb2 import Event
from invengine.v1.reservation_service_pb2 import AllocateResponse

from . import methods, requests
from .aged import Aged
from .refused import Refused
from .shop import Shop, figures

TICK_MS = 100
LATE_MS = 1000


def made_ms(shop: Shop, sequence: int) -> int:
    """Engine time of an event."""
    (event,) = shop.target.read_events(sequence, 1)
    return event.time.ToMilliseconds()


@pytest.mark.parametrize("ttl_ms", [1000, 1001, 1099, 1100, 2500, 60_000, 30 * 86_400_000])
def test_the_end_is_the_time_to_live_rounded_up_to_a_tick(shop: Shop, ttl_ms: int) -> None:
    answer = shop.reserve((shop.item(1), shop.here, 1), ttl_s=ttl_ms / 1000)
    due_ms = made_ms(shop, answer.receipt.sequence) + ttl_ms
    assert answer.hold.expire_time.ToMilliseconds() == -(-due_ms // TICK_MS) * TICK_MS
    assert answer.hold.expire_time.nanos % (TICK_MS * 1_000_000) == 0


def test_without_a_time_to_live_a_hold_lasts_15_minutes(shop: Shop) -> None:
    answer = shop.reserve((shop.item(1), shop.here, 1))
    left_ms = answer.hold.expire_time.ToMilliseconds() - made_ms(shop, answer.receipt.sequence)
    assert 15 * 60_000 <= left_ms < 15 * 60_000 + TICK_MS
    found = shop.reservation(requests.by_id(answer.hold.reservation_id))
    assert found.create_time.ToMilliseconds() == made_ms(shop, answer.receipt.sequence)


@pytest.mark.parametrize("ttl_ms", [1000, 3_600_000])
def test_extend_counts_from_now(shop: Shop, ttl_ms: int) -> None:
    first = shop.hold((shop.item(1), shop.here, 1), ttl_s=600)
    answer = shop.call(methods.EXTEND, requests.extend(shop.context(), first, ttl_ms / 1000))
    due_ms = made_ms(shop, answer.receipt.sequence) + ttl_ms
    assert answer.holds[0].expire_time.ToMilliseconds() == -(-due_ms // TICK_MS) * TICK_MS
    assert shop.reservation(first).expire_time == answer.holds[0].expire_time


def test_a_read_counts_a_hold_until_its_end_and_not_after(shop: Shop) -> None:
    sku = shop.item(5)
    answer = shop.reserve((sku, shop.here, 2), ttl_s=1)
    end_ms = answer.hold.expire_time.ToMilliseconds()
    token = requests.by_id(answer.hold.reservation_id)
    seen = {True: 0, False: 0}
    while not seen[False]:
        before_ms = shop.target.engine_time_ms()
        available, reserved = shop.available(sku), shop.level(sku).reserved
        line = shop.reservation(token).lines[0]
        after_ms = shop.target.engine_time_ms()
        if before_ms >= end_ms:
            assert (available, reserved, line.reserved, line.expired) == (5, 0, 0, 2)
        elif after_ms < end_ms:
            assert (available, reserved, line.reserved, line.expired) == (3, 2, 2, 0)
        seen[before_ms < end_ms] += 1
    assert seen[True]


def test_a_decision_counts_a_hold_until_its_end_and_not_after(shop: Shop) -> None:
    sku = shop.item(1)
    first = shop.reserve((sku, shop.here, 1), ttl_s=1)
    end_ms = first.hold.expire_time.ToMilliseconds()
    refusals = 0
    while True:
        before_ms = shop.target.engine_time_ms()
        (outcome,) = shop.target.outcomes(methods.RESERVE, [requests.reserve(shop.context(), (sku, shop.here, 1))])
        if not isinstance(outcome, Refused):
            break
        assert outcome.reason == "INSUFFICIENT_STOCK"
        assert before_ms < end_ms
        refusals += 1
    assert refusals
    assert made_ms(shop, outcome.receipt.sequence) >= end_ms


@pytest.mark.case("D01")
def test_allocate_and_expiry_never_both_win(shop: Shop) -> None:
    holds = 30
    sku = shop.item(holds)
    batch = [requests.reserve(shop.context(), (sku, shop.here, 1), ttl_s=1) for _ in range(holds)]
    made = [outcome.holds[0] for outcome in shop.submit(*batch)]
    end_ms = made[0].expire_time.ToMilliseconds()
    answers: list[AllocateResponse] = []
    for number, hold in enumerate(made):
        # From 100 ms before the end of the first until 50 ms after it; the first at once, the last certainly late.
        while number and shop.target.engine_time_ms() < end_ms - 100 + number * 5:
            pass
        if number == holds - 1:
            shop.wait_until(hold.expire_time)
        answers.append(shop.allocate(requests.by_id(hold.reservation_id)))
    for hold, answer in zip(made, answers, strict=True):
        late = made_ms(shop, answer.receipt.sequence) >= hold.expire_time.ToMilliseconds()
        assert answer.holds[0].reacquired == late
        assert answer.holds[0].version == (3 if late else 2)
    assert {answer.holds[0].reacquired for answer in answers} == {True, False}
    assert figures(shop.level(sku)) == (holds, 0, holds, 0)


@pytest.mark.case("D05")
def test_the_expiry_is_an_event_of_its_own(shop: Shop) -> None:
    one, two = sorted([shop.item(5), shop.item(5)])
    answer = shop.reserve((two, shop.here, 2), (one, shop.here, 1), ttl_s=1)
    event = shop.end_of(answer.hold, answer.receipt.sequence)
    assert not event.HasField("context")
    # Nobody touched the item in between: it is the engine's own tick that ends the hold.
    late_ms = event.time.ToMilliseconds() - answer.hold.expire_time.ToMilliseconds()
    assert 0 <= late_ms <= LATE_MS + TICK_MS
    assert [(line.sku, line.location, line.quantity) for line in event.expired.lines] == [
        (one, shop.here, 1),
        (two, shop.here, 2),
    ]
    found = shop.reservation(requests.by_id(answer.hold.reservation_id))
    assert found.version == 2
    assert [(line.reserved, line.expired) for line in found.lines] == [(0, 1), (0, 2)]


def test_holds_end_in_the_order_of_their_times(shop: Shop) -> None:
    sku = shop.item(9)
    later = shop.reserve((sku, shop.here, 1), ttl_s=2)
    sooner = shop.reserve((sku, shop.here, 1), ttl_s=1)
    start = sooner.receipt.sequence
    assert shop.end_of(sooner.hold, start).sequence < shop.end_of(later.hold, start).sequence


def test_only_what_is_still_reserved_ends(shop: Shop) -> None:
    sku = shop.item(9)
    answer = shop.reserve((sku, shop.here, 6), ttl_s=2)
    token = answer.hold.reservation_id
    shop.allocate(requests.by_id(token, (sku, shop.here, 1)))
    shop.fulfill(requests.by_id(token, (sku, shop.here, 1)))
    shop.allocate(requests.by_id(token, (sku, shop.here, 2)))
    shop.release(requests.by_id(token, (sku, shop.here, 1)))
    event = shop.end_of(answer.hold, answer.receipt.sequence)
    assert [line.quantity for line in event.expired.lines] == [2]
    line = shop.reservation(requests.by_id(token)).lines[0]
    assert (line.reserved, line.allocated, line.released, line.expired, line.fulfilled) == (0, 2, 1, 2, 1)
    assert figures(shop.level(sku)) == (8, 0, 2, 6)


def test_an_extended_hold_outlives_its_first_end_and_a_shortened_one_does_not(shop: Shop) -> None:
    sku = shop.item(9)
    long = shop.reserve((sku, shop.here, 2), ttl_s=2).hold
    short = shop.reserve((sku, shop.here, 3), ttl_s=3600).hold
    shop.call(methods.EXTEND, requests.extend(shop.context(), requests.by_id(long.reservation_id), 3600))
    answer = shop.call(methods.EXTEND, requests.extend(shop.context(), requests.by_id(short.reservation_id), 2))
    shop.end_of(short, answer.receipt.sequence)
    assert shop.target.engine_time_ms() >= long.expire_time.ToMilliseconds()
    assert figures(shop.level(sku)) == (9, 2, 0, 7)
    shop.allocate(requests.by_id(long.reservation_id))


@pytest.mark.case("D07")
def test_many_that_expire_at_once_are_freed_at_once(shop: Shop) -> None:
    holds = 1000
    sku = shop.item(holds)
    batch = [requests.reserve(shop.context(), (sku, shop.here, 1), ttl_s=1) for _ in range(holds)]
    outcomes = shop.submit(*batch)
    start = outcomes[0].receipt.sequence
    shop.wait_until(max((outcome.holds[0].expire_time for outcome in outcomes), key=lambda end: end.ToNanoseconds()))
    # Whether or not a single Expired event has been written.
    assert figures(shop.level(sku)) == (holds, 0, 0, holds)
    shop.hold((sku, shop.here, holds))
    ours = {outcome.holds[0].reservation_id for outcome in outcomes}
    ended: list[str] = []

    def is_last(event: Event) -> bool:
        if event.expired.reservation_id in ours:
            ended.append(event.expired.reservation_id)
        return len(ended) == holds

    shop.event_after(start, is_last)
    assert sorted(ended) == sorted(ours)


def test_paid_late_and_the_units_are_there(aged: Aged) -> None:
    old, shop = aged.take(), aged.shop
    request = requests.allocate(shop.context(order_ref=shop.name("paid")), old.target)
    answer = shop.call(methods.ALLOCATE, request)
    assert answer.holds[0].reacquired
    assert answer.holds[0].version == 3
    assert [(line.quantity, line.state) for line in answer.holds[0].lines] == [(3, types.LINE_STATE_ALLOCATED)]
    (event,) = shop.target.read_events(answer.receipt.sequence, 1)
    assert event.allocated.reacquired
    assert event.allocated.order_ref == request.context.order_ref
    line = shop.reservation(old.target).lines[0]
    assert (line.quantity, line.allocated, line.expired) == (3, 3, 0)
    assert figures(shop.level(old.sku)) == (5, 0, 3, 2)


@pytest.mark.case("D01")
def test_paid_late_and_the_units_are_gone(aged: Aged) -> None:
    old, shop = aged.take(), aged.shop
    other = shop.hold((old.sku, shop.here, 4))
    request = requests.allocate(shop.context(), old.target)
    refused = shop.refused(methods.ALLOCATE, request, "INSUFFICIENT_STOCK", sku=old.sku, requested=3, available=1)
    assert refused.metadata["location"] == shop.here
    # What is left can be taken, and all of it once there are enough units again.
    assert shop.allocate(requests.by_id(old.target.reservation_id, (old.sku, shop.here, 1))).holds[0].reacquired
    shop.release(other)
    assert shop.allocate(old.target).holds[0].lines[0].quantity == 2
    assert figures(shop.level(old.sku)) == (5, 0, 3, 2)


def test_late_lines_are_taken_again_all_or_none(shop: Shop) -> None:
    one, two = shop.item(3), shop.item(3)
    hold = shop.expired((one, shop.here, 2), (two, shop.here, 2))
    shop.hold((two, shop.here, 2))
    request = requests.allocate(shop.context(), hold)
    shop.refused(methods.ALLOCATE, request, "INSUFFICIENT_STOCK", sku=two, requested=2, available=1)
    assert figures(shop.level(one)) == (3, 0, 0, 3)
    answer = shop.allocate(requests.by_id(hold.reservation_id, (one, shop.here, 0)))
    assert answer.holds[0].reacquired
    assert figures(shop.level(one)) == (3, 0, 2, 1)


def test_a_return_never_revives_a_hold(aged: Aged) -> None:
    old, shop = aged.take(), aged.shop
    shop.call(methods.RETURN, requests.give_back(shop.context(), (old.sku, shop.here, 3)))
    line = shop.reservation(old.target).lines[0]
    assert (line.reserved, line.expired) == (0, 3)
    assert figures(shop.level(old.sku)) == (8, 0, 0, 8)
