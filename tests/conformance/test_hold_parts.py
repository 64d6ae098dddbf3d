"""Lines named by a command: parts of them, the order in which units are taken, and more than there are."""

from __future__ import annotations

import pytest

from invengine.v1 import types_pb2 as types
from invengine.v1.types_pb2 import HoldTarget

from . import methods, requests
from .aged import Aged
from .commands import BY_LINE, COMMANDS
from .shop import Shop, figures


def moved(hold: types.HoldChange) -> list[tuple[str, str, int, int, int]]:
    """Each line of a change: item, location, units, state, outstanding."""
    return [(line.sku, line.location, line.quantity, line.state, line.outstanding) for line in hold.lines]


def parts(shop: Shop, hold: HoldTarget, sku: str, location: str | None = None) -> tuple[int, int, int, int, int]:
    """Units of a line of a hold: reserved, allocated, released, expired, fulfilled."""
    place = location or shop.here
    for line in shop.reservation(hold).lines:
        if (line.sku, line.location) == (sku, place):
            return line.reserved, line.allocated, line.released, line.expired, line.fulfilled
    return 0, 0, 0, 0, 0


def test_a_part_leaves_the_rest_as_it_was(shop: Shop) -> None:
    sku = shop.item(10)
    hold = shop.hold((sku, shop.here, 10))

    def part(units: int) -> HoldTarget:
        return requests.by_id(hold.reservation_id, (sku, shop.here, units))

    allocated, released, fulfilled = shop.allocate(part(3)), shop.release(part(2)), shop.fulfill(part(1))
    assert moved(allocated.holds[0]) == [(sku, shop.here, 3, types.LINE_STATE_ALLOCATED, 10)]
    assert moved(released.holds[0]) == [(sku, shop.here, 2, types.LINE_STATE_RELEASED, 8)]
    assert moved(fulfilled.holds[0]) == [(sku, shop.here, 1, types.LINE_STATE_FULFILLED, 7)]
    assert parts(shop, hold, sku) == (5, 2, 2, 0, 1)
    assert figures(shop.level(sku)) == (9, 5, 2, 2)
    # The rest in one go: release takes both kinds, and nothing is left to fulfill.
    assert moved(shop.release(hold).holds[0]) == [(sku, shop.here, 7, types.LINE_STATE_RELEASED, 0)]
    assert figures(shop.level(sku)) == (9, 0, 0, 9)
    shop.refused(methods.FULFILL, requests.fulfill(shop.context(), hold), "ALREADY_RELEASED")


def _mixed(shop: Shop) -> tuple[str, HoldTarget]:
    """A line with 3 units reserved and 2 allocated, of 8 on hand."""
    sku = shop.item(8)
    hold = shop.hold((sku, shop.here, 5))
    shop.allocate(requests.by_id(hold.reservation_id, (sku, shop.here, 2)))
    assert figures(shop.level(sku)) == (8, 3, 2, 3)
    return sku, hold


@pytest.mark.parametrize(("units", "left"), [(1, (2, 2)), (3, (0, 2)), (4, (0, 1)), (5, (0, 0)), (0, (0, 0))])
def test_release_takes_reserved_units_first(shop: Shop, units: int, left: tuple[int, int]) -> None:
    sku, hold = _mixed(shop)
    answer = shop.release(requests.by_id(hold.reservation_id, (sku, shop.here, units)))
    assert answer.holds[0].lines[0].outstanding == sum(left)
    assert parts(shop, hold, sku)[:2] == left
    assert figures(shop.level(sku)) == (8, *left, 8 - sum(left))


@pytest.mark.parametrize(("units", "left"), [(1, (3, 1)), (2, (3, 0)), (4, (1, 0)), (5, (0, 0)), (0, (0, 0))])
def test_fulfill_takes_allocated_units_first(shop: Shop, units: int, left: tuple[int, int]) -> None:
    sku, hold = _mixed(shop)
    gone = units or 5
    answer = shop.fulfill(requests.by_id(hold.reservation_id, (sku, shop.here, units)))
    assert moved(answer.holds[0]) == [(sku, shop.here, gone, types.LINE_STATE_FULFILLED, 5 - gone)]
    assert parts(shop, hold, sku) == (*left, 0, 0, gone)
    assert figures(shop.level(sku)) == (8 - gone, *left, 3)


def test_allocate_finds_reserved_units_only(shop: Shop) -> None:
    sku, hold = _mixed(shop)
    too_many = requests.by_id(hold.reservation_id, (sku, shop.here, 4))
    shop.refused(
        methods.ALLOCATE,
        requests.allocate(shop.context(), too_many),
        "EXCEEDS_OUTSTANDING",
        sku=sku,
        location=shop.here,
        outstanding=3,
    )
    assert moved(shop.allocate(hold).holds[0]) == [(sku, shop.here, 3, types.LINE_STATE_ALLOCATED, 5)]


@pytest.mark.parametrize("command", BY_LINE)
@pytest.mark.parametrize("units", [4, 2**53 - 1])
def test_more_than_the_line_holds(shop: Shop, command: str, units: int) -> None:
    sku = shop.item(9, there=9)
    hold = shop.hold((sku, shop.here, 3))
    method, make = COMMANDS[command]
    request = make(shop, requests.by_id(hold.reservation_id, (sku, shop.here, units)), sku)
    shop.refused(method, request, "EXCEEDS_OUTSTANDING", sku=sku, location=shop.here, outstanding=3)
    assert figures(shop.level(sku)) == (9, 3, 0, 6)


@pytest.mark.parametrize("command", BY_LINE)
def test_more_than_is_left_of_the_line(shop: Shop, command: str) -> None:
    sku = shop.item(9, there=9)
    hold = shop.hold((sku, shop.here, 5))
    shop.release(requests.by_id(hold.reservation_id, (sku, shop.here, 2)))
    shop.fulfill(requests.by_id(hold.reservation_id, (sku, shop.here, 1)))
    method, make = COMMANDS[command]
    request = make(shop, requests.by_id(hold.reservation_id, (sku, shop.here, 3)), sku)
    shop.refused(method, request, "EXCEEDS_OUTSTANDING", outstanding=2)
    shop.call(method, make(shop, requests.by_id(hold.reservation_id, (sku, shop.here, 2)), sku))


@pytest.mark.parametrize("command", BY_LINE)
def test_one_named_line_that_is_impossible_refuses_all(shop: Shop, command: str) -> None:
    one, two = shop.item(5, there=5), shop.item(5, there=5)
    hold = shop.hold((one, shop.here, 3), (two, shop.here, 3))
    shop.release(requests.by_id(hold.reservation_id, (two, shop.here, 0)))
    method, make = COMMANDS[command]
    both = requests.by_id(hold.reservation_id, (one, shop.here, 1), (two, shop.here, 0))
    shop.refused(method, make(shop, both, one), "ALREADY_RELEASED", reservation=hold.reservation_id)
    assert parts(shop, hold, one) == (3, 0, 0, 0, 0)
    # Whole, the same command leaves the impossible line out.
    answer = shop.call(method, make(shop, hold, one))
    assert [line.sku for line in answer.holds[0].lines] == [one]


@pytest.mark.parametrize("command", BY_LINE)
def test_only_the_named_lines_move(shop: Shop, command: str) -> None:
    one, two = shop.item(5, there=5), shop.item(5, there=5)
    hold = shop.hold((one, shop.here, 3), (two, shop.here, 3))
    method, make = COMMANDS[command]
    answer = shop.call(method, make(shop, requests.by_id(hold.reservation_id, (two, shop.here, 2)), two))
    assert [(line.sku, line.quantity) for line in answer.holds[0].lines] == [(two, 2)]
    assert parts(shop, hold, one) == (3, 0, 0, 0, 0)
    assert parts(shop, hold, two)[0] == 1
    assert figures(shop.level(one)) == (5, 3, 0, 2)


def test_changes_come_sorted_whatever_the_order_of_the_selection(shop: Shop) -> None:
    skus = sorted(shop.item(5, there=5) for _ in range(3))
    lines = [(sku, place, 2) for sku in reversed(skus) for place in (shop.there, shop.here)]
    hold = shop.hold(*lines)
    named = requests.by_id(hold.reservation_id, *((sku, place, 1) for sku, place, _ in lines))
    for answer in (shop.allocate(named), shop.release(named), shop.fulfill(hold)):
        found = [(line.sku, line.location) for line in answer.holds[0].lines]
        assert found == sorted(found)
        assert len(found) == 6


def test_a_part_of_an_expired_line_is_taken_again(aged: Aged) -> None:
    old, shop = aged.take(), aged.shop
    token = old.target.reservation_id
    answer = shop.allocate(requests.by_id(token, (old.sku, shop.here, 2)))
    assert answer.holds[0].reacquired
    assert moved(answer.holds[0]) == [(old.sku, shop.here, 2, types.LINE_STATE_ALLOCATED, 2)]
    assert parts(shop, old.target, old.sku) == (0, 2, 0, 1, 0)
    too_many = requests.allocate(shop.context(), requests.by_id(token, (old.sku, shop.here, 2)))
    shop.refused(methods.ALLOCATE, too_many, "EXCEEDS_OUTSTANDING", outstanding=1)
    # The rest can be taken again too; and what was allocated leaves with it.
    assert shop.allocate(old.target).holds[0].reacquired
    assert moved(shop.fulfill(old.target).holds[0]) == [(old.sku, shop.here, 3, types.LINE_STATE_FULFILLED, 0)]
    assert parts(shop, old.target, old.sku) == (0, 0, 0, 0, 3)
    assert figures(shop.level(old.sku)) == (2, 0, 0, 2)


@pytest.mark.case("C10")
def test_a_part_is_bought_and_the_rest_given_back(shop: Shop) -> None:
    sku = shop.item(5)
    hold = shop.hold((sku, shop.here, 5))
    shop.allocate(requests.by_id(hold.reservation_id, (sku, shop.here, 3)))
    assert figures(shop.level(sku)) == (5, 2, 3, 0)
    shop.release(requests.by_id(hold.reservation_id, (sku, shop.here, 2)))
    assert figures(shop.level(sku)) == (5, 0, 3, 2)
    line = shop.reservation(hold).lines[0]
    assert (line.quantity, line.allocated, line.released) == (5, 3, 2)


@pytest.mark.case("C12")
def test_two_of_ten_are_given_back(shop: Shop) -> None:
    sku = shop.item(10)
    hold = shop.hold((sku, shop.here, 10))
    shop.release(requests.by_id(hold.reservation_id, (sku, shop.here, 2)))
    line = shop.reservation(hold).lines[0]
    assert (line.quantity, line.reserved, line.released) == (10, 8, 2)
    assert figures(shop.level(sku)) == (10, 8, 0, 2)
