"""MoveQuantity: units get another state at their level. on_hand does not change, what can be sold does."""

from __future__ import annotations

import itertools
from functools import partial

import pytest

from invengine.v1 import types_pb2 as types

from . import methods, requests
from .shop import Shop, adds_up, figures

ON_HAND = types.STOCK_STATE_ON_HAND
STATES = {
    ON_HAND: "on_hand",
    types.STOCK_STATE_DAMAGED: "damaged",
    types.STOCK_STATE_RETURNED: "returned",
    types.STOCK_STATE_QUALITY_CONTROL: "quality_control",
}
PAIRS = list(itertools.permutations(STATES, 2))


def units_in(level: types.InventoryLevel, state: int) -> int:
    """Units in one state alone: on_hand stands for those that can be sold."""
    if state == ON_HAND:
        return level.on_hand - level.damaged - level.returned - level.quality_control
    return int(getattr(level, STATES[types.StockState.ValueType(state)]))


def in_state(shop: Shop, units: int, state: types.StockState.ValueType) -> str:
    """An item with units in this state, and one that can be sold."""
    sku = shop.item(1)
    shop.call(methods.RECEIVE, requests.receive(shop.context(), (sku, shop.here, units), state=state))
    return sku


@pytest.mark.parametrize(("before", "after"), PAIRS, ids=lambda state: STATES[state])
def test_units_move_from_each_state_to_each_other(
    shop: Shop, before: types.StockState.ValueType, after: types.StockState.ValueType
) -> None:
    sku = in_state(shop, 5, before)
    old = shop.level(sku)
    request = requests.move_quantity(shop.context(), (sku, shop.here, 3), from_state=before, to_state=after)
    (new,) = shop.call(methods.MOVE_QUANTITY, request).levels
    assert new == shop.level(sku)
    adds_up(new)
    changes = {state: units_in(new, state) - units_in(old, state) for state in STATES}
    assert changes == {state: {before: -3, after: 3}.get(state, 0) for state in STATES}
    assert (new.on_hand, new.reserved, new.allocated) == (old.on_hand, 0, 0)


@pytest.mark.parametrize("state", STATES, ids=lambda state: STATES[state])
def test_more_than_is_in_that_state_is_refused(shop: Shop, state: types.StockState.ValueType) -> None:
    sku = in_state(shop, 5, state)
    there = units_in(shop.level(sku), state)
    to_state = types.STOCK_STATE_DAMAGED if state == ON_HAND else ON_HAND
    request = requests.move_quantity(
        shop.context(), (sku, shop.here, 1), (sku, shop.here, there), from_state=state, to_state=to_state
    )
    refused = partial(shop.refused, methods.MOVE_QUANTITY, request, "INSUFFICIENT_STOCK")
    refused(sku=sku, location=shop.here, requested=there, available=there - 1)
    assert units_in(shop.level(sku), state) == there


def test_nothing_can_be_moved_where_nothing_ever_was(shop: Shop) -> None:
    sku = shop.item()
    request = requests.move_quantity(shop.context(), (sku, shop.there, 1))
    shop.refused(
        methods.MOVE_QUANTITY, request, "INSUFFICIENT_STOCK", sku=sku, location=shop.there, requested=1, available=0
    )


def test_holds_do_not_keep_units_from_being_moved(shop: Shop) -> None:
    sku = shop.item(5)
    hold = shop.hold((sku, shop.here, 4))
    (level,) = shop.call(methods.MOVE_QUANTITY, requests.move_quantity(shop.context(), (sku, shop.here, 3))).levels
    assert (level.on_hand, level.damaged, level.available, level.reserved, level.oversold) == (5, 3, 0, 4, 2)
    back = requests.move_quantity(
        shop.context(), (sku, shop.here, 3), from_state=types.STOCK_STATE_DAMAGED, to_state=ON_HAND
    )
    assert figures(shop.call(methods.MOVE_QUANTITY, back).levels[0]) == (5, 4, 0, 1)
    assert shop.reservation(hold).lines[0].reserved == 4


def test_a_later_line_moves_on_what_an_earlier_one_moved(shop: Shop) -> None:
    sku = shop.item(2)
    request = requests.move_quantity(shop.context(), (sku, shop.here, 2), (sku, shop.here, 2))
    request.lines[1].from_state = types.STOCK_STATE_DAMAGED
    request.lines[1].to_state = types.STOCK_STATE_QUALITY_CONTROL
    levels = shop.call(methods.MOVE_QUANTITY, request).levels
    assert [(level.damaged, level.quality_control) for level in levels] == [(0, 2), (0, 2)]


def test_all_lines_or_none(shop: Shop) -> None:
    one, two = shop.item(5), shop.item(1)
    request = requests.move_quantity(shop.context(), (one, shop.here, 5), (two, shop.here, 2))
    shop.refused(
        methods.MOVE_QUANTITY, request, "INSUFFICIENT_STOCK", sku=two, location=shop.here, requested=2, available=1
    )
    assert (shop.level(one).damaged, shop.level(two).damaged) == (0, 0)


def test_each_line_is_an_event(shop: Shop) -> None:
    one, two = shop.item(5), shop.item(5)
    context = shop.context(reason_code="water", reference="report-7")
    answer = shop.call(methods.MOVE_QUANTITY, requests.move_quantity(context, (one, shop.here, 2), (two, shop.here, 1)))
    events = shop.target.read_events(answer.receipt.sequence - 1, 2)
    facts = [event.stock_moved for event in events]
    assert [(fact.sku, fact.location, fact.quantity) for fact in facts] == [(one, shop.here, 2), (two, shop.here, 1)]
    assert {(fact.from_state, fact.to_state) for fact in facts} == {(ON_HAND, types.STOCK_STATE_DAMAGED)}
    assert {(event.context.reason_code, event.context.reference) for event in events} == {("water", "report-7")}


def test_a_repeat_gets_the_same_answer_and_moves_nothing(shop: Shop) -> None:
    sku = shop.item(5)
    request = requests.move_quantity(shop.context(reason_code="water"), (sku, shop.here, 2))
    first = shop.call(methods.MOVE_QUANTITY, request)
    again = shop.call(methods.MOVE_QUANTITY, request)
    assert (again.receipt.replayed, again.levels) == (True, first.levels)
    assert shop.level(sku).damaged == 2
    for field, changed in (("lines.quantity", 3), ("context.reason_code", "fire"), ("context.reference", "other")):
        other = methods.MOVE_QUANTITY.request()
        other.CopyFrom(request)
        if field == "lines.quantity":
            other.lines[0].quantity = int(changed)
        else:
            setattr(other.context, field.partition(".")[2], changed)
        refused = partial(shop.refused, methods.MOVE_QUANTITY, other, "IDEMPOTENCY_KEY_REUSED")
        refused(sequence=first.receipt.sequence, field=field)
    known = shop.outcome(request.context.idempotency_key)
    assert list(known.outcome.levels) == list(first.levels)
