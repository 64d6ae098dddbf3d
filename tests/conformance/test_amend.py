"""Amend: new reserved quantities in one step. Lowering releases units, raising needs available units."""

from __future__ import annotations

import pytest

from invengine.v1 import types_pb2 as types
from invengine.v1.reservation_service_pb2 import AmendResponse
from invengine.v1.types_pb2 import HoldTarget

from . import methods, requests
from .aged import Aged
from .requests import Line
from .shop import Shop, figures


def amend(shop: Shop, target: HoldTarget, *lines: Line) -> types.HoldChange:
    """What an amendment did to its one hold."""
    answer: AmendResponse = shop.call(methods.AMEND, requests.amend(shop.context(), target, *lines))
    (hold,) = answer.holds
    return hold


def line_of(shop: Shop, target: HoldTarget, sku: str, location: str | None = None) -> types.ReservationLine:
    """The line of a hold."""
    (found,) = (
        line for line in shop.reservation(target).lines if (line.sku, line.location) == (sku, location or shop.here)
    )
    return found


def test_lowering_gives_units_back(shop: Shop) -> None:
    sku = shop.item(9)
    hold = shop.hold((sku, shop.here, 5))
    answer = amend(shop, hold, (sku, shop.here, 3))
    assert answer.version == 2
    assert [(line.sku, line.quantity, line.outstanding) for line in answer.lines] == [(sku, 3, 3)]
    line = line_of(shop, hold, sku)
    assert (line.quantity, line.reserved, line.released) == (5, 3, 2)
    assert figures(shop.level(sku)) == (9, 3, 0, 6)


def test_raising_takes_more(shop: Shop) -> None:
    sku = shop.item(9)
    hold = shop.hold((sku, shop.here, 5))
    answer = amend(shop, hold, (sku, shop.here, 9))
    assert [(line.quantity, line.state, line.outstanding) for line in answer.lines] == [
        (9, types.LINE_STATE_RESERVED, 9)
    ]
    line = line_of(shop, hold, sku)
    assert (line.quantity, line.reserved) == (9, 9)
    assert figures(shop.level(sku)) == (9, 9, 0, 0)


def test_raising_after_lowering(shop: Shop) -> None:
    sku = shop.item(9)
    hold = shop.hold((sku, shop.here, 5))
    amend(shop, hold, (sku, shop.here, 1))
    assert amend(shop, hold, (sku, shop.here, 4)).version == 3
    line = line_of(shop, hold, sku)
    assert (line.quantity, line.reserved, line.released) == (8, 4, 4)
    assert figures(shop.level(sku)) == (9, 4, 0, 5)


def test_raising_without_available_units_changes_nothing(shop: Shop) -> None:
    one, two = shop.item(9), shop.item(5)
    hold = shop.hold((one, shop.here, 5), (two, shop.here, 3))
    request = requests.amend(shop.context(), hold, (one, shop.here, 1), (two, shop.here, 6))
    shop.refused(methods.AMEND, request, "INSUFFICIENT_STOCK", sku=two, location=shop.here)
    assert figures(shop.level(one)) == (9, 5, 0, 4)
    assert figures(shop.level(two)) == (5, 3, 0, 2)


def test_the_units_of_the_hold_count_as_available_to_it(shop: Shop) -> None:
    sku = shop.item(5)
    hold = shop.hold((sku, shop.here, 4))
    assert amend(shop, hold, (sku, shop.here, 5)).lines[0].outstanding == 5


def test_zero_removes_a_line(shop: Shop) -> None:
    one, two = shop.item(5), shop.item(5)
    hold = shop.hold((one, shop.here, 2), (two, shop.here, 2))
    answer = amend(shop, hold, (one, shop.here, 0))
    assert [(line.sku, line.quantity, line.outstanding) for line in answer.lines] == [(one, 0, 0)]
    assert line_of(shop, hold, one).released == 2
    assert line_of(shop, hold, two).reserved == 2
    assert figures(shop.level(one)) == (5, 0, 0, 5)
    # A removed line is gone: only a reserved line gets a new quantity.
    line = requests.by_id(hold.reservation_id, (one, shop.here, 0))
    shop.refused(methods.ALLOCATE, requests.allocate(shop.context(), line), "ALREADY_RELEASED")
    shop.refused(methods.AMEND, requests.amend(shop.context(), hold, (one, shop.here, 1)), "ALREADY_RELEASED")


def test_zero_of_every_line_ends_the_hold(shop: Shop) -> None:
    sku = shop.item(5)
    hold = shop.hold((sku, shop.here, 2))
    amend(shop, hold, (sku, shop.here, 0))
    assert figures(shop.level(sku)) == (5, 0, 0, 5)
    shop.refused(methods.RELEASE, requests.release(shop.context(), hold), "ALREADY_RELEASED")


def test_a_line_can_be_added(shop: Shop) -> None:
    one, two = shop.item(5), shop.item(5, there=5)
    hold = shop.hold((one, shop.here, 2))
    answer = amend(shop, hold, (two, shop.there, 3), (two, shop.here, 1))
    assert [(line.sku, line.location, line.quantity) for line in answer.lines] == sorted(
        [(two, shop.here, 1), (two, shop.there, 3)]
    )
    found = [(line.sku, line.location, line.reserved) for line in shop.reservation(hold).lines]
    assert found == sorted([(one, shop.here, 2), (two, shop.here, 1), (two, shop.there, 3)])
    assert figures(shop.level(two, shop.there)) == (5, 3, 0, 2)
    # The new lines live and end with the hold.
    assert len(shop.release(hold).holds[0].lines) == 3


def test_an_added_line_needs_available_units(shop: Shop) -> None:
    one, two = shop.item(5), shop.item(2)
    hold = shop.hold((one, shop.here, 2))
    request = requests.amend(shop.context(), hold, (one, shop.here, 1), (two, shop.here, 3))
    shop.refused(methods.AMEND, request, "INSUFFICIENT_STOCK", sku=two, location=shop.here, available=2)


def test_an_added_line_needs_a_known_name(shop: Shop) -> None:
    hold = shop.hold((shop.item(5), shop.here, 2))
    request = requests.amend(shop.context(), hold, ("nobody-knows-this", shop.here, 1))
    shop.refused(methods.AMEND, request, "UNKNOWN_SKU", sku="nobody-knows-this")


def test_lines_that_are_not_named_stay(shop: Shop) -> None:
    one, two = shop.item(5), shop.item(5)
    hold = shop.hold((one, shop.here, 2), (two, shop.here, 2))
    answer = amend(shop, hold, (one, shop.here, 4))
    assert [line.sku for line in answer.lines] == [one]
    assert line_of(shop, hold, two).reserved == 2


def test_the_end_of_the_hold_stays(shop: Shop) -> None:
    sku = shop.item(5)
    first = shop.reserve((sku, shop.here, 2), ttl_s=3600).hold
    answer = amend(shop, requests.by_id(first.reservation_id), (sku, shop.here, 3))
    assert answer.expire_time == first.expire_time


@pytest.mark.parametrize("units", [2, 4])
def test_allocated_units_stay_out_of_it(shop: Shop, units: int) -> None:
    sku = shop.item(9)
    hold = shop.hold((sku, shop.here, 5))
    shop.allocate(requests.by_id(hold.reservation_id, (sku, shop.here, 2)))
    answer = amend(shop, hold, (sku, shop.here, units))
    assert [(line.quantity, line.outstanding) for line in answer.lines] == [(units, units + 2)]
    assert figures(shop.level(sku)) == (9, units, 2, 7 - units)


@pytest.mark.case("C08")
def test_a_new_quantity_equal_to_the_old_one(shop: Shop) -> None:
    sku = shop.item(9)
    hold = shop.hold((sku, shop.here, 5))
    level = shop.level(sku)
    first = amend(shop, hold, (sku, shop.here, 5))
    assert shop.level(sku) == level
    line = line_of(shop, hold, sku)
    assert (line.quantity, line.reserved, line.released) == (5, 5, 0)
    assert shop.reservation(hold).version == first.version


def test_several_lines_move_in_one_step(shop: Shop) -> None:
    skus = sorted(shop.items(30, on_hand=5))
    hold = shop.hold(*((sku, shop.here, 2) for sku in skus))
    wanted = {sku: number % 4 for number, sku in enumerate(skus)}
    answer = amend(shop, hold, *((sku, shop.here, units) for sku, units in wanted.items()))
    assert answer.version == 2
    assert [shop.level(sku).reserved for sku in skus] == list(wanted.values())
    assert [line.sku for line in answer.lines] == sorted(line.sku for line in answer.lines)


def test_a_line_cannot_be_added_to_an_ended_hold(aged: Aged) -> None:
    old, shop = aged.take(), aged.shop
    request = requests.amend(shop.context(), old.target, (old.sku, shop.there, 1))
    shop.refused(methods.AMEND, request, "RESERVATION_EXPIRED", reservation=old.target.reservation_id)


def test_an_amendment_shows_in_the_journal(shop: Shop) -> None:
    one, two = sorted([shop.item(9), shop.item(9)])
    hold = shop.hold((one, shop.here, 5), (two, shop.here, 5))
    answer = shop.call(methods.AMEND, requests.amend(shop.context(), hold, (two, shop.here, 7), (one, shop.here, 0)))
    (event,) = shop.target.read_events(answer.receipt.sequence, 1)
    assert event.amended.reservation_id == hold.reservation_id
    assert [(line.sku, line.quantity) for line in event.amended.lines] == [(one, 0), (two, 7)]
