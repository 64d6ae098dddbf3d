"""Holds named by their order or by the key that made them: all of an order in one step, and only those."""

from __future__ import annotations

import pytest

from invengine.v1.types_pb2 import HoldTarget

from . import methods, requests
from .aged import Aged
from .commands import BY_ORDER, COMMANDS
from .shop import Shop, figures


def _order(shop: Shop, holds: int) -> tuple[str, str, list[HoldTarget]]:
    """An item with 20 units, an order and its holds of 2 units each, in the order they were made."""
    sku, order = shop.item(20), shop.name("order")
    return sku, order, [shop.hold((sku, shop.here, 2), order_ref=order) for _ in range(holds)]


@pytest.mark.parametrize("command", BY_ORDER)
def test_all_holds_of_an_order_in_one_step(shop: Shop, command: str) -> None:
    sku, order, holds = _order(shop, 3)
    other = shop.hold((sku, shop.here, 1), order_ref=shop.name("order"))
    method, make = COMMANDS[command]
    answer = shop.call(method, make(shop, requests.by_order(order), sku))
    assert [hold.reservation_id for hold in answer.holds] == [hold.reservation_id for hold in holds]
    assert {hold.version for hold in answer.holds} == {2}
    assert shop.reservation(other).version == 1
    if command == "extend":
        assert len({hold.expire_time.ToMilliseconds() for hold in answer.holds}) == 1
    expected = {
        "extend": (20, 7, 0, 13),
        "allocate": (20, 1, 6, 13),
        "release": (20, 1, 0, 19),
        "fulfill": (14, 1, 0, 13),
    }
    assert figures(shop.level(sku)) == expected[command]


@pytest.mark.parametrize("command", BY_ORDER)
def test_the_events_of_an_order_are_neighbours(shop: Shop, command: str) -> None:
    sku, order, holds = _order(shop, 3)
    method, make = COMMANDS[command]
    answer = shop.call(method, make(shop, requests.by_order(order), sku))
    events = shop.target.read_events(answer.receipt.sequence - 2, 3)
    facts = [getattr(event, str(event.WhichOneof("fact"))) for event in events]
    assert [fact.reservation_id for fact in facts] == [hold.reservation_id for hold in holds]
    assert len({event.context.idempotency_key for event in events}) == 1


@pytest.mark.parametrize("command", BY_ORDER)
def test_holds_with_nothing_possible_are_left_out(shop: Shop, command: str) -> None:
    sku, order, (released, fulfilled, good) = _order(shop, 3)
    shop.release(released)
    shop.fulfill(fulfilled)
    method, make = COMMANDS[command]
    answer = shop.call(method, make(shop, requests.by_order(order), sku))
    assert [hold.reservation_id for hold in answer.holds] == [good.reservation_id]
    assert shop.reservation(released).version == shop.reservation(fulfilled).version == 2


@pytest.mark.parametrize("command", BY_ORDER)
@pytest.mark.parametrize("newest", ["ALREADY_RELEASED", "ALREADY_FULFILLED"])
def test_if_nothing_is_possible_fulfilled_precedes_released(shop: Shop, command: str, newest: str) -> None:
    sku, order, (first, second) = _order(shop, 2)
    released, fulfilled = (second, first) if newest == "ALREADY_RELEASED" else (first, second)
    # Neither the order in which they were made nor that in which they ended is what counts.
    shop.release(released)
    shop.fulfill(fulfilled)
    method, make = COMMANDS[command]
    request = make(shop, requests.by_order(order), sku)
    shop.refused(method, request, "ALREADY_FULFILLED", reservation=fulfilled.reservation_id)


def test_a_hold_gets_its_order_when_it_is_allocated(shop: Shop) -> None:
    sku, order = shop.item(5), shop.name("order")
    hold = shop.hold((sku, shop.here, 2))
    by_order = requests.by_order(order)
    shop.refused(methods.FULFILL, requests.fulfill(shop.context(), by_order), "RESERVATION_NOT_FOUND")
    shop.allocate(hold, order_ref=order)
    assert shop.reservation(hold).order_ref == order
    assert [found.reservation_id for found in shop.fulfill(by_order).holds] == [hold.reservation_id]


def test_an_order_includes_what_was_allocated_for_it(shop: Shop) -> None:
    sku, order = shop.item(9), shop.name("order")
    first = shop.hold((sku, shop.here, 2), order_ref=order)
    second = shop.hold((sku, shop.here, 3))
    shop.allocate(second, order_ref=order)
    found = shop.release(requests.by_order(order)).holds
    assert {hold.reservation_id for hold in found} == {first.reservation_id, second.reservation_id}
    assert figures(shop.level(sku)) == (9, 0, 0, 9)


def test_allocate_by_order_keeps_the_order(shop: Shop) -> None:
    sku, order, (hold,) = _order(shop, 1)
    shop.allocate(requests.by_order(order))
    assert shop.reservation(hold).order_ref == order
    assert figures(shop.level(sku)) == (20, 0, 2, 18)


def test_an_expired_hold_of_an_order_is_taken_again(aged: Aged) -> None:
    old, shop = aged.take(), aged.shop
    fresh = shop.hold((old.sku, shop.here, 1), order_ref=old.order_ref)
    answer = shop.allocate(requests.by_order(old.order_ref))
    assert [(hold.reservation_id, hold.reacquired) for hold in answer.holds] == [
        (old.target.reservation_id, True),
        (fresh.reservation_id, False),
    ]
    assert figures(shop.level(old.sku)) == (5, 0, 4, 1)


@pytest.mark.parametrize("command", ["extend", "release", "fulfill"])
def test_an_expired_hold_of_an_order_is_left_out_otherwise(aged: Aged, command: str) -> None:
    old, shop = aged.take(), aged.shop
    fresh = shop.hold((old.sku, shop.here, 1), order_ref=old.order_ref)
    method, make = COMMANDS[command]
    answer = shop.call(method, make(shop, requests.by_order(old.order_ref), old.sku))
    assert [hold.reservation_id for hold in answer.holds] == [fresh.reservation_id]


def test_a_late_order_is_taken_again_all_or_none(aged: Aged) -> None:
    old, shop = aged.take(), aged.shop
    fresh = shop.hold((old.sku, shop.here, 1), order_ref=old.order_ref)
    shop.hold((old.sku, shop.here, 2))
    request = requests.allocate(shop.context(), requests.by_order(old.order_ref))
    shop.refused(methods.ALLOCATE, request, "INSUFFICIENT_STOCK", sku=old.sku, requested=3, available=2)
    assert shop.reservation(fresh).version == 1
    # The shopper may pay for what is certain, and release the rest.
    assert len(shop.allocate(fresh).holds) == 1


def test_late_holds_of_an_order_are_summed_before_the_check(shop: Shop) -> None:
    sku, order = shop.item(4), shop.name("order")
    batch = [requests.reserve(shop.context(order_ref=order), (sku, shop.here, 2), ttl_s=1) for _ in range(2)]
    shop.wait_until(shop.submit(*batch)[1].holds[0].expire_time)
    shop.hold((sku, shop.here, 1))
    request = requests.allocate(shop.context(), requests.by_order(order))
    shop.refused(methods.ALLOCATE, request, "INSUFFICIENT_STOCK", sku=sku, requested=4, available=3)
    assert figures(shop.level(sku)) == (4, 1, 0, 3)


def test_a_whole_order_over_many_items_and_places(shop: Shop) -> None:
    order = shop.name("order")
    skus = sorted(shop.items(20, on_hand=5))
    shop.call(methods.RECEIVE, requests.receive(shop.context(), *((sku, shop.there, 5) for sku in skus)))
    for place in (shop.here, shop.there):
        shop.hold(*((sku, place, 2) for sku in skus), order_ref=order)
    for act in (shop.allocate, shop.fulfill):
        answer = act(requests.by_order(order))
        assert [len(hold.lines) for hold in answer.holds] == [20, 20]
    assert {figures(shop.level(sku, place)) for sku in skus for place in (shop.here, shop.there)} == {(3, 0, 0, 3)}


def test_a_key_names_the_hold_of_its_writer_only(shop: Shop) -> None:
    sku, channel = shop.item(5), shop.channel()
    context = shop.context(channel=channel)
    hold = shop.reserve((sku, shop.here, 2), context=context).hold
    target = requests.by_key(context.idempotency_key)
    # The operator's key of the same name is another one.
    shop.refused(methods.ALLOCATE, requests.allocate(shop.context(), target), "RESERVATION_NOT_FOUND")
    assert shop.allocate(target, channel=channel).holds[0].reservation_id == hold.reservation_id


def test_the_key_of_a_command_that_made_no_hold(shop: Shop) -> None:
    sku, context = shop.item(5), shop.context()
    shop.call(methods.RECEIVE, requests.receive(context, (sku, shop.here, 1)))
    target = requests.by_key(context.idempotency_key)
    shop.refused(methods.ALLOCATE, requests.allocate(shop.context(), target), "RESERVATION_NOT_FOUND")


@pytest.mark.parametrize("command", list(COMMANDS))
def test_the_key_of_a_reserve_that_was_refused(shop: Shop, command: str) -> None:
    sku, context = shop.item(1), shop.context()
    shop.refused(methods.RESERVE, requests.reserve(context, (sku, shop.here, 2)), "INSUFFICIENT_STOCK")
    method, make = COMMANDS[command]
    request = make(shop, requests.by_key(context.idempotency_key), sku)
    if command == "release":
        # Its hold was never made, and now it never will be.
        assert not shop.call(method, request).holds
    else:
        shop.refused(method, request, "RESERVATION_NOT_FOUND")
    assert figures(shop.level(sku)) == (1, 0, 0, 1)
