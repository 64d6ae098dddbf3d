"""Physical commands: receive, return, adjust, set and count. Facts are always accepted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import types_pb2 as types
from invengine.v1.journal_service_pb2 import (
    STOCK_CHANGE_KIND_ADJUSTED,
    STOCK_CHANGE_KIND_COUNTED,
    STOCK_CHANGE_KIND_RECEIVED,
    STOCK_CHANGE_KIND_RETURNED,
    STOCK_CHANGE_KIND_SET,
)

from . import methods, requests
from .commands import AnyMethod
from .shop import Shop, figures

STATES = {
    "damaged": types.STOCK_STATE_DAMAGED,
    "returned": types.STOCK_STATE_RETURNED,
    "quality_control": types.STOCK_STATE_QUALITY_CONTROL,
}
STOCK: dict[str, tuple[AnyMethod, Callable[..., Any], int]] = {
    "receive": (methods.RECEIVE, requests.receive, STOCK_CHANGE_KIND_RECEIVED),
    "return": (methods.RETURN, requests.give_back, STOCK_CHANGE_KIND_RETURNED),
    "adjust": (methods.ADJUST, requests.adjust, STOCK_CHANGE_KIND_ADJUSTED),
    "set": (methods.SET_QUANTITY, requests.set_quantity, STOCK_CHANGE_KIND_SET),
    "count": (methods.COUNT, requests.count, STOCK_CHANGE_KIND_COUNTED),
}
RELATIVE = ("receive", "return", "adjust")
ABSOLUTE = ("set", "count")


def change(shop: Shop, command: str, *lines: requests.Line, **more: Any) -> list[types.InventoryLevel]:
    """The levels after a physical command."""
    method, make, _ = STOCK[command]
    return list(shop.call(method, make(shop.context(), *lines, **more)).levels)


@pytest.mark.parametrize("command", RELATIVE)
def test_more_of_an_item(shop: Shop, command: str) -> None:
    sku = shop.item(5)
    (level,) = change(shop, command, (sku, shop.here, 3))
    assert level == shop.level(sku)
    assert figures(level) == (8, 0, 0, 8)


@pytest.mark.parametrize("command", ABSOLUTE)
@pytest.mark.parametrize("units", [0, 2, 5, 9])
def test_an_absolute_quantity(shop: Shop, command: str, units: int) -> None:
    sku = shop.item(5)
    (level,) = change(shop, command, (sku, shop.here, units))
    assert level == shop.level(sku)
    assert figures(level) == (units, 0, 0, units)


@pytest.mark.parametrize("command", list(STOCK))
@pytest.mark.parametrize("state", list(STATES))
def test_unsellable_units_are_on_hand_and_not_available(shop: Shop, command: str, state: str) -> None:
    sku = shop.item(5)
    (level,) = change(shop, command, (sku, shop.here, 3), state=STATES[state])
    assert getattr(level, state) == 3
    assert figures(level) == (8, 0, 0, 5)
    refused = requests.reserve(shop.context(), (sku, shop.here, 6))
    shop.refused(methods.RESERVE, refused, "INSUFFICIENT_STOCK", available=5)


@pytest.mark.parametrize("command", ABSOLUTE)
def test_an_absolute_quantity_of_a_part_changes_the_part_and_the_whole(shop: Shop, command: str) -> None:
    sku = shop.item(5)
    change(shop, command, (sku, shop.here, 4), state=types.STOCK_STATE_DAMAGED)
    (level,) = change(shop, command, (sku, shop.here, 1), state=types.STOCK_STATE_DAMAGED)
    assert (level.on_hand, level.damaged, level.available) == (6, 1, 5)


def test_fewer_of_an_item(shop: Shop) -> None:
    sku = shop.item(5)
    (level,) = change(shop, "adjust", (sku, shop.here, -3))
    assert figures(level) == (2, 0, 0, 2)


def test_fewer_of_a_part(shop: Shop) -> None:
    sku = shop.item(5)
    change(shop, "receive", (sku, shop.here, 3), state=types.STOCK_STATE_RETURNED)
    (level,) = change(shop, "adjust", (sku, shop.here, -2), state=types.STOCK_STATE_RETURNED)
    assert (level.on_hand, level.returned, level.available) == (6, 1, 5)


def test_fewer_of_the_whole_leave_the_parts(shop: Shop) -> None:
    sku = shop.item(5)
    change(shop, "receive", (sku, shop.here, 3), state=types.STOCK_STATE_DAMAGED)
    (level,) = change(shop, "adjust", (sku, shop.here, -6))
    assert (level.on_hand, level.damaged, level.available, level.oversold) == (2, 3, 0, 1)


@pytest.mark.parametrize("delta", [-6, -(2**53 - 1)])
def test_nothing_goes_below_zero(shop: Shop, delta: int) -> None:
    sku = shop.item(5)
    request = requests.adjust(shop.context(), (sku, shop.here, delta))
    shop.refused(methods.ADJUST, request, "INSUFFICIENT_STOCK", sku=sku, location=shop.here, available=5)


def test_no_part_goes_below_zero(shop: Shop) -> None:
    sku = shop.item(5)
    change(shop, "receive", (sku, shop.here, 2), state=types.STOCK_STATE_DAMAGED)
    request = requests.adjust(shop.context(), (sku, shop.here, -3), state=types.STOCK_STATE_DAMAGED)
    shop.refused(methods.ADJUST, request, "INSUFFICIENT_STOCK", sku=sku, location=shop.here, available=2)
    assert shop.level(sku).damaged == 2


def test_lines_of_one_level_count_together(shop: Shop) -> None:
    sku = shop.item(3)
    request = requests.adjust(shop.context(), (sku, shop.here, -2), (sku, shop.here, -2))
    shop.refused(methods.ADJUST, request, "INSUFFICIENT_STOCK", sku=sku)
    levels = change(shop, "adjust", (sku, shop.here, -2), (sku, shop.here, 4))
    assert {figures(level) for level in levels} == {(5, 0, 0, 5)}
    levels = change(shop, "receive", (sku, shop.here, 1), (sku, shop.here, 1), (sku, shop.here, 1))
    assert {figures(level) for level in levels} == {(8, 0, 0, 8)}


def test_one_bad_line_refuses_all(shop: Shop) -> None:
    one, two = shop.item(5), shop.item(5)
    request = requests.adjust(shop.context(), (one, shop.here, -1), (two, shop.here, -6))
    shop.refused(methods.ADJUST, request, "INSUFFICIENT_STOCK", sku=two, available=5)
    assert shop.level(one).on_hand == 5


@pytest.mark.parametrize("command", list(STOCK))
def test_levels_come_in_the_order_of_the_lines(shop: Shop, command: str) -> None:
    skus = shop.items(30, on_hand=5)
    lines = [(sku, place, number + 1) for number, sku in enumerate(skus) for place in (shop.there, shop.here)]
    levels = change(shop, command, *reversed(lines))
    assert [(level.sku, level.location) for level in levels] == [(sku, place) for sku, place, _ in reversed(lines)]
    assert levels == [shop.level(sku, place) for sku, place, _ in reversed(lines)]


@pytest.mark.parametrize("command", ABSOLUTE)
def test_compare_and_swap(shop: Shop, command: str) -> None:
    sku = shop.item(5)
    method, make, _ = STOCK[command]
    for expected in (4, 6, 0):
        request = make(shop.context(), (sku, shop.here, 9), expected=expected)
        shop.refused(method, request, "QUANTITY_STALE", expected=expected, actual=5)
    (level,) = change(shop, command, (sku, shop.here, 9), expected=5)
    assert level.on_hand == 9


@pytest.mark.parametrize("command", ABSOLUTE)
def test_compare_and_swap_of_a_part(shop: Shop, command: str) -> None:
    sku = shop.item(5)
    method, make, _ = STOCK[command]
    damaged = types.STOCK_STATE_DAMAGED
    request = make(shop.context(), (sku, shop.here, 2), expected=5, state=damaged)
    shop.refused(method, request, "QUANTITY_STALE", expected=5, actual=0)
    (level,) = change(shop, command, (sku, shop.here, 2), expected=0, state=damaged)
    assert (level.damaged, level.on_hand) == (2, 7)


@pytest.mark.parametrize("command", ABSOLUTE)
def test_one_stale_line_refuses_all(shop: Shop, command: str) -> None:
    one, two = shop.item(5), shop.item(6)
    method, make, _ = STOCK[command]
    request = make(shop.context(), (one, shop.here, 9), (two, shop.here, 9), expected=5)
    shop.refused(method, request, "QUANTITY_STALE", expected=5, actual=6)
    assert shop.level(one).on_hand == 5


def test_holds_do_not_change_the_expected_quantity(shop: Shop) -> None:
    # The expectation is of the quantity that is set, not of what is available.
    sku = shop.item(5)
    shop.hold((sku, shop.here, 3))
    (level,) = change(shop, "set", (sku, shop.here, 4), expected=5)
    assert figures(level) == (4, 3, 0, 1)


@pytest.mark.parametrize("command", ABSOLUTE)
def test_the_whole_and_its_parts_can_be_counted_together(shop: Shop, command: str) -> None:
    sku = shop.item(5)
    method, make, _ = STOCK[command]
    request = make(shop.context(), (sku, shop.here, 10))
    request.lines.add(sku=sku, location=shop.here, quantity=2, state=types.STOCK_STATE_DAMAGED)
    shop.call(method, request)
    level = shop.level(sku)
    assert (level.on_hand, level.damaged, level.available) == (10, 2, 8)


@pytest.mark.case("C14")
@pytest.mark.parametrize("command", ["adjust", "set", "count"])
def test_a_shortage_is_shown_and_never_refused(shop: Shop, command: str) -> None:
    sku = shop.item(9)
    reserved = shop.hold((sku, shop.here, 4))
    allocated = shop.hold((sku, shop.here, 3))
    shop.allocate(allocated)
    (level,) = change(shop, command, (sku, shop.here, -7 if command == "adjust" else 2))
    assert (level.on_hand, level.reserved, level.allocated, level.available, level.oversold) == (2, 4, 3, 0, 5)
    assert shop.available(sku) == 0
    request = requests.reserve(shop.context(), (sku, shop.here, 1))
    shop.refused(methods.RESERVE, request, "INSUFFICIENT_STOCK", available=0)
    # What is given back covers the shortage first.
    shop.release(reserved)
    assert (shop.level(sku).available, shop.level(sku).oversold) == (0, 1)
    (level,) = change(shop, "receive", (sku, shop.here, 3))
    assert (level.available, level.oversold) == (2, 0)


@pytest.mark.case("C14")
def test_holds_survive_a_shortage(shop: Shop) -> None:
    sku = shop.item(5)
    hold = shop.hold((sku, shop.here, 4))
    change(shop, "count", (sku, shop.here, 1))
    shop.call(methods.EXTEND, requests.extend(shop.context(), hold, 60))
    shop.allocate(hold)
    assert (shop.level(sku).allocated, shop.level(sku).oversold) == (4, 3)
    raising = requests.amend(shop.context(), shop.hold((shop.item(5), shop.here, 1)), (sku, shop.here, 1))
    shop.refused(methods.AMEND, raising, "INSUFFICIENT_STOCK", sku=sku)


def test_missing_goods_cannot_leave(shop: Shop) -> None:
    sku = shop.item(5)
    hold = shop.hold((sku, shop.here, 4))
    shop.allocate(hold)
    change(shop, "count", (sku, shop.here, 1))
    request = requests.fulfill(shop.context(), hold)
    shop.refused(methods.FULFILL, request, "INSUFFICIENT_STOCK", sku=sku, location=shop.here, requested=4, available=1)
    shop.fulfill(requests.by_id(hold.reservation_id, (sku, shop.here, 1)))
    level = shop.level(sku)
    assert (level.on_hand, level.allocated, level.oversold) == (0, 3, 3)


@pytest.mark.parametrize("command", list(STOCK))
def test_every_fact_is_an_event_of_each_line(shop: Shop, command: str) -> None:
    one, two = shop.item(5), shop.item(5)
    method, make, kind = STOCK[command]
    request = make(shop.context(reason_code="why"), (one, shop.here, 7), (two, shop.here, 1))
    answer = shop.call(method, request)
    events = shop.target.read_events(answer.receipt.sequence - 1, 2)
    facts = [event.stock_changed for event in events]
    assert [(fact.sku, fact.location, fact.kind) for fact in facts] == [(one, shop.here, kind), (two, shop.here, kind)]
    assert [fact.delta for fact in facts] == ([2, -4] if command in ABSOLUTE else [7, 1])
    assert {fact.state for fact in facts} == {types.STOCK_STATE_ON_HAND}
    assert {event.context.reason_code for event in events} == {"why"}


@pytest.mark.parametrize("command", ABSOLUTE)
def test_a_count_without_a_difference_is_an_event_too(shop: Shop, command: str) -> None:
    sku = shop.item(5)
    method, make, kind = STOCK[command]
    context = shop.context()
    answer: inventory.CountResponse = shop.call(method, make(context, (sku, shop.here, 5)))
    (event,) = shop.target.read_events(answer.receipt.sequence, 1)
    assert event.context.idempotency_key == context.idempotency_key
    fact = event.stock_changed
    assert (fact.sku, fact.location, fact.kind, fact.delta) == (sku, shop.here, kind, 0)
    assert shop.outcome(context.idempotency_key).known


def test_a_return_is_a_new_fact(shop: Shop) -> None:
    sku = shop.item(5)
    hold = shop.hold((sku, shop.here, 2))
    shop.fulfill(hold)
    level = change(shop, "return", (sku, shop.here, 1), state=types.STOCK_STATE_RETURNED)[0]
    assert (level.on_hand, level.returned, level.available) == (4, 1, 3)
    assert (shop.reservation(hold).lines[0].fulfilled, shop.reservation(hold).version) == (2, 2)


def test_more_can_come_back_than_was_sold(shop: Shop) -> None:
    # The engine does not argue with the counter; who sold it is another system's question.
    sku = shop.item()
    assert figures(change(shop, "return", (sku, shop.here, 7))[0]) == (7, 0, 0, 7)


def test_1000_lines_in_one_step(shop: Shop) -> None:
    skus = shop.items(1000, on_hand=2)
    levels = change(shop, "adjust", *((sku, shop.here, -1) for sku in skus))
    assert {figures(level) for level in levels} == {(1, 0, 0, 1)}
    request = requests.adjust(shop.context(), *((sku, shop.here, -1 if sku != skus[999] else -2) for sku in skus))
    shop.refused(methods.ADJUST, request, "INSUFFICIENT_STOCK", sku=skus[999])
    assert shop.level(skus[0]).on_hand == 1
