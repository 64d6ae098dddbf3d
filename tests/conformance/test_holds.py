"""Each cell of the table of holds: what a command does to a line, by where its units are and by how the hold is named.

Every hold of these tests is 3 units here of an item that has 5 units here and 5 there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import pytest

from invengine.v1.types_pb2 import HoldTarget

from . import requests
from .aged import HELD, ON_HAND, Aged
from .commands import BY_LINE, BY_ORDER, COMMANDS
from .shop import Shop, figures

Figures: TypeAlias = tuple[int, int, int, int]
"""on_hand, reserved, allocated, available."""

UNTOUCHED: Figures = (5, 0, 0, 5)

# What the levels here and there are afterwards.
POSSIBLE: dict[tuple[str, str], tuple[Figures, Figures]] = {
    ("reserved", "extend"): ((5, 3, 0, 2), UNTOUCHED),
    ("reserved", "amend"): ((5, 2, 0, 3), UNTOUCHED),
    ("reserved", "allocate"): ((5, 0, 3, 2), UNTOUCHED),
    ("reserved", "release"): (UNTOUCHED, UNTOUCHED),
    ("reserved", "fulfill"): ((2, 0, 0, 2), UNTOUCHED),
    ("reserved", "transfer"): (UNTOUCHED, (5, 3, 0, 2)),
    ("expired", "allocate"): ((5, 0, 3, 2), UNTOUCHED),
    ("allocated", "release"): (UNTOUCHED, UNTOUCHED),
    ("allocated", "fulfill"): ((2, 0, 0, 2), UNTOUCHED),
    ("allocated", "transfer"): (UNTOUCHED, (5, 0, 3, 2)),
}
REASONS = {
    "expired": "RESERVATION_EXPIRED",
    "allocated": "ALREADY_ALLOCATED",
    "released": "ALREADY_RELEASED",
    "fulfilled": "ALREADY_FULFILLED",
}
STATES = ("reserved", *REASONS)
REFUSED = [(state, command) for state in STATES for command in COMMANDS if (state, command) not in POSSIBLE]
# The version that a hold has in each state, each change being one more.
VERSIONS = {"reserved": 1, "expired": 2, "allocated": 2}


@dataclass(frozen=True, slots=True)
class Held:
    """A hold in some state, and every way to name it."""

    shop: Shop
    sku: str
    token: str
    names: dict[str, HoldTarget]


def _held(shop: Shop, aged: Aged, state: str) -> Held:
    if state == "expired":
        old = aged.take()
        return _named(aged.shop, old.sku, old.target.reservation_id, old.key, old.order_ref)
    sku = shop.item(ON_HAND, there=ON_HAND)
    context = shop.context(order_ref=shop.name("order"))
    token = shop.reserve((sku, shop.here, HELD), context=context).hold.reservation_id
    if state == "allocated":
        shop.allocate(requests.by_id(token))
    elif state == "released":
        shop.release(requests.by_id(token))
    elif state == "fulfilled":
        shop.fulfill(requests.by_id(token))
    return _named(shop, sku, token, context.idempotency_key, context.order_ref)


def _named(shop: Shop, sku: str, token: str, key: str, order_ref: str) -> Held:
    names = {
        "id": requests.by_id(token),
        "key": requests.by_key(key),
        "order": requests.by_order(order_ref),
        "all of a line": requests.by_id(token, (sku, shop.here, 0)),
        "units of a line": requests.by_key(key, (sku, shop.here, HELD)),
    }
    return Held(shop, sku, token, names)


def _ways(command: str) -> list[str]:
    ways = ["id", "key"]
    ways += ["order"] if command in BY_ORDER else []
    return ways + (["all of a line", "units of a line"] if command in BY_LINE else [])


ACCEPTED_ROWS = [(*cell, way) for cell in POSSIBLE for way in _ways(cell[1])]
REFUSED_ROWS = [(*cell, way) for cell in REFUSED for way in _ways(cell[1])]


def test_the_table_is_whole() -> None:
    assert len(POSSIBLE) + len(REFUSED) == len(STATES) * len(COMMANDS) == 30


@pytest.mark.case("C05")
@pytest.mark.parametrize(("state", "command", "way"), ACCEPTED_ROWS)
def test_what_is_possible(shop: Shop, aged: Aged, state: str, command: str, way: str) -> None:
    held = _held(shop, aged, state)
    here, there = POSSIBLE[state, command]
    method, make = COMMANDS[command]
    answer = held.shop.call(method, make(held.shop, held.names[way], held.sku))
    (hold,) = answer.holds
    assert hold.reservation_id == held.token
    assert hold.version == VERSIONS[state] + 1
    assert hold.reacquired == (state == "expired")
    assert figures(held.shop.level(held.sku)) == here
    assert figures(held.shop.level(held.sku, held.shop.there)) == there
    assert held.shop.available(held.sku) == here[3]
    assert held.shop.reservation(requests.by_id(held.token)).version == hold.version


@pytest.mark.case("C05")
@pytest.mark.parametrize(("state", "command", "way"), REFUSED_ROWS)
def test_what_is_not(shop: Shop, aged: Aged, state: str, command: str, way: str) -> None:
    held = _held(shop, aged, state)
    levels = held.shop.level(held.sku), held.shop.level(held.sku, held.shop.there)
    method, make = COMMANDS[command]
    request = make(held.shop, held.names[way], held.sku)
    refused = held.shop.refused(method, request, REASONS[state], reservation=held.token)
    assert state in refused.metadata["state"].lower()
    assert (held.shop.level(held.sku), held.shop.level(held.sku, held.shop.there)) == levels


@pytest.mark.parametrize("command", list(COMMANDS))
@pytest.mark.parametrize("last", ["released", "fulfilled"])
def test_what_happened_last_to_the_last_unit_decides(shop: Shop, command: str, last: str) -> None:
    sku = shop.item(5)
    hold = shop.hold((sku, shop.here, 3))
    part = requests.by_id(hold.reservation_id, (sku, shop.here, 2))
    if last == "released":
        shop.fulfill(part)
        shop.release(hold)
    else:
        shop.release(part)
        shop.fulfill(hold)
    method, make = COMMANDS[command]
    shop.refused(method, make(shop, hold, sku), REASONS[last], reservation=hold.reservation_id)


@pytest.mark.parametrize("command", list(COMMANDS))
def test_releasing_part_of_a_late_line_gives_up_the_rest(aged: Aged, command: str) -> None:
    old, shop = aged.take(), aged.shop
    part = requests.by_id(old.target.reservation_id, (old.sku, shop.here, 1))
    assert shop.allocate(part).holds[0].reacquired
    shop.release(part)
    method, make = COMMANDS[command]
    request = make(shop, old.target, old.sku)
    shop.refused(method, request, "ALREADY_RELEASED", reservation=old.target.reservation_id)


def test_the_whole_is_every_line_that_the_command_can_act_on(shop: Shop) -> None:
    one, two = sorted([shop.item(5), shop.item(5)])
    hold = shop.hold((one, shop.here, 3), (two, shop.here, 3))
    shop.allocate(requests.by_id(hold.reservation_id, (one, shop.here, 0)))
    # Extend and allocate find the second line only, release and fulfill both.
    assert [line.sku for line in shop.allocate(hold).holds[0].lines] == [two]
    assert [line.sku for line in shop.fulfill(hold).holds[0].lines] == [one, two]
    assert figures(shop.level(one)) == figures(shop.level(two)) == (2, 0, 0, 2)


def test_a_hold_is_extended_for_the_line_that_is_still_reserved(shop: Shop) -> None:
    one, two = shop.item(5), shop.item(5)
    hold = shop.hold((one, shop.here, 3), (two, shop.here, 3))
    shop.allocate(requests.by_id(hold.reservation_id, (one, shop.here, 0)))
    assert len(shop.call(COMMANDS["extend"][0], requests.extend(shop.context(), hold, 60)).holds) == 1
    shop.allocate(hold)
    shop.refused(COMMANDS["extend"][0], requests.extend(shop.context(), hold, 60), "ALREADY_ALLOCATED")


@pytest.mark.parametrize("command", ["extend", "allocate", "release", "fulfill", "transfer"])
def test_the_refusal_of_a_whole_is_that_of_its_first_line(shop: Shop, command: str) -> None:
    first, second = sorted([shop.item(5), shop.item(5)])
    hold = shop.hold((second, shop.here, 3), (first, shop.here, 3))
    shop.fulfill(requests.by_id(hold.reservation_id, (first, shop.here, 0)))
    shop.release(requests.by_id(hold.reservation_id, (second, shop.here, 0)))
    method, make = COMMANDS[command]
    shop.refused(method, make(shop, hold, first), "ALREADY_FULFILLED", reservation=hold.reservation_id)


def test_an_ended_hold_can_still_be_looked_at(shop: Shop) -> None:
    sku = shop.item(5)
    hold = shop.hold((sku, shop.here, 3))
    shop.fulfill(requests.by_id(hold.reservation_id, (sku, shop.here, 1)))
    shop.release(hold)
    found = shop.reservation(hold)
    assert found.version == 3
    assert (found.lines[0].fulfilled, found.lines[0].released, found.lines[0].reserved) == (1, 2, 0)
