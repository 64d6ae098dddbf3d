"""TransferReservation: a promise moves to another location, if there is room. It moves no goods."""

from __future__ import annotations

import pytest

from invengine.v1 import types_pb2 as types
from invengine.v1.types_pb2 import HoldTarget

from . import methods, requests
from .refused import Refused
from .shop import Shop, figures


def transfer(shop: Shop, target: HoldTarget) -> types.HoldChange:
    """What a transfer there did to its one hold."""
    (hold,) = shop.call(methods.TRANSFER, requests.transfer(shop.context(), target, shop.there)).holds
    return hold


def outstanding(shop: Shop, target: HoldTarget) -> dict[str, tuple[int, int]]:
    """Reserved and allocated units of a hold by location, where there are any."""
    return {
        line.location: (line.reserved, line.allocated)
        for line in shop.reservation(target).lines
        if line.reserved or line.allocated
    }


def test_a_whole_hold_moves(shop: Shop) -> None:
    one, two = sorted([shop.item(5, there=5), shop.item(5, there=5)])
    hold = shop.hold((one, shop.here, 2), (two, shop.here, 3))
    answer = transfer(shop, hold)
    assert answer.version == 2
    assert [(line.sku, line.location, line.quantity, line.outstanding) for line in answer.lines] == [
        (one, shop.there, 2, 2),
        (two, shop.there, 3, 3),
    ]
    assert {line.state for line in answer.lines} == {types.LINE_STATE_RESERVED}
    assert figures(shop.level(two)) == (5, 0, 0, 5)
    assert figures(shop.level(two, shop.there)) == (5, 3, 0, 2)


def test_a_part_moves_and_the_rest_stays(shop: Shop) -> None:
    sku = shop.item(5, there=5)
    hold = shop.hold((sku, shop.here, 5))
    answer = transfer(shop, requests.by_id(hold.reservation_id, (sku, shop.here, 2)))
    assert [(line.location, line.quantity, line.outstanding) for line in answer.lines] == [(shop.there, 2, 2)]
    found = {line.location: line.quantity for line in shop.reservation(hold).lines}
    assert found == {shop.here: 3, shop.there: 2}
    assert outstanding(shop, hold) == {shop.here: (3, 0), shop.there: (2, 0)}
    assert figures(shop.level(sku)) == (5, 3, 0, 2)
    assert figures(shop.level(sku, shop.there)) == (5, 2, 0, 3)


def test_it_merges_with_the_line_at_the_target(shop: Shop) -> None:
    sku = shop.item(5, there=5)
    hold = shop.hold((sku, shop.here, 3), (sku, shop.there, 1))
    answer = transfer(shop, requests.by_id(hold.reservation_id, (sku, shop.here, 2)))
    assert [(line.location, line.quantity, line.outstanding) for line in answer.lines] == [(shop.there, 2, 3)]
    assert outstanding(shop, hold) == {shop.here: (1, 0), shop.there: (3, 0)}
    answer = transfer(shop, requests.by_id(hold.reservation_id, (sku, shop.here, 0)))
    assert outstanding(shop, hold) == {shop.there: (4, 0)}
    assert figures(shop.level(sku, shop.there)) == (5, 4, 0, 1)


def test_allocated_units_stay_allocated(shop: Shop) -> None:
    sku = shop.item(5, there=5)
    hold = shop.hold((sku, shop.here, 5))
    shop.allocate(requests.by_id(hold.reservation_id, (sku, shop.here, 2)))
    answer = transfer(shop, hold)
    assert {(line.state, line.quantity, line.outstanding) for line in answer.lines} == {
        (types.LINE_STATE_RESERVED, 3, 5),
        (types.LINE_STATE_ALLOCATED, 2, 5),
    }
    assert outstanding(shop, hold) == {shop.there: (3, 2)}
    assert figures(shop.level(sku)) == (5, 0, 0, 5)
    assert figures(shop.level(sku, shop.there)) == (5, 3, 2, 0)


def test_what_ended_stays_where_it_ended(shop: Shop) -> None:
    sku = shop.item(9, there=9)
    hold = shop.hold((sku, shop.here, 5))
    shop.release(requests.by_id(hold.reservation_id, (sku, shop.here, 1)))
    shop.fulfill(requests.by_id(hold.reservation_id, (sku, shop.here, 1)))
    transfer(shop, hold)
    found = {line.location: line for line in shop.reservation(hold).lines}
    assert (found[shop.here].quantity, found[shop.here].released, found[shop.here].fulfilled) == (2, 1, 1)
    assert (found[shop.there].quantity, found[shop.there].reserved) == (3, 3)


def test_without_available_units_nothing_moves(shop: Shop) -> None:
    one, two = shop.item(5, there=5), shop.item(5, there=1)
    hold = shop.hold((one, shop.here, 2), (two, shop.here, 2))
    request = requests.transfer(shop.context(), hold, shop.there)
    refused = shop.refused(methods.TRANSFER, request, "INSUFFICIENT_STOCK", sku=two, requested=2, available=1)
    assert refused.metadata["location"] == shop.there
    assert outstanding(shop, hold) == {shop.here: (2, 0)}
    assert figures(shop.level(one, shop.there)) == (5, 0, 0, 5)
    # What fits can be moved by itself.
    transfer(shop, requests.by_id(hold.reservation_id, (two, shop.here, 1)))
    assert figures(shop.level(two, shop.there)) == (1, 1, 0, 0)


def test_a_location_that_never_had_the_item_has_no_stock(shop: Shop) -> None:
    sku = shop.item(5)
    hold = shop.hold((sku, shop.here, 2))
    request = requests.transfer(shop.context(), hold, shop.there)
    shop.refused(methods.TRANSFER, request, "INSUFFICIENT_STOCK", location=shop.there, requested=2, available=0)


def test_it_moves_no_goods_and_no_end(shop: Shop) -> None:
    sku = shop.item(5, there=5)
    first = shop.reserve((sku, shop.here, 2), ttl_s=3600).hold
    answer = transfer(shop, requests.by_id(first.reservation_id))
    assert answer.expire_time == first.expire_time
    assert (shop.level(sku).on_hand, shop.level(sku, shop.there).on_hand) == (5, 5)


def test_a_moved_hold_goes_on_at_its_new_place(shop: Shop) -> None:
    sku = shop.item(5, there=5)
    hold = shop.hold((sku, shop.here, 3))
    transfer(shop, hold)
    old = requests.by_id(hold.reservation_id, (sku, shop.here, 1))
    with pytest.raises(Refused):
        shop.allocate(old)
    shop.allocate(hold)
    shop.fulfill(requests.by_id(hold.reservation_id, (sku, shop.there, 2)))
    shop.release(hold)
    assert figures(shop.level(sku)) == (5, 0, 0, 5)
    assert figures(shop.level(sku, shop.there)) == (3, 0, 0, 3)


def test_a_promise_that_cannot_be_kept_moves_away(shop: Shop) -> None:
    sku = shop.item(5, there=5)
    hold = shop.hold((sku, shop.here, 4))
    shop.call(methods.COUNT, requests.count(shop.context(), (sku, shop.here, 1)))
    assert shop.level(sku).oversold == 3
    transfer(shop, requests.by_id(hold.reservation_id, (sku, shop.here, 3)))
    assert (shop.level(sku).oversold, shop.level(sku).available) == (0, 0)
    assert figures(shop.level(sku, shop.there)) == (5, 3, 0, 2)


def test_to_its_own_location_nothing_changes(shop: Shop) -> None:
    sku = shop.item(5, there=5)
    hold = shop.hold((sku, shop.there, 3))
    assert transfer(shop, hold).version == 1
    assert outstanding(shop, hold) == {shop.there: (3, 0)}
    assert figures(shop.level(sku, shop.there)) == (5, 3, 0, 2)


def test_a_transfer_shows_in_the_journal(shop: Shop) -> None:
    sku = shop.item(5, there=5)
    hold = shop.hold((sku, shop.here, 3))
    answer = shop.call(methods.TRANSFER, requests.transfer(shop.context(), hold, shop.there))
    (event,) = shop.target.read_events(answer.receipt.sequence, 1)
    fact = event.transferred
    assert (fact.reservation_id, fact.to_location) == (hold.reservation_id, shop.there)
    assert [(line.sku, line.location, line.quantity) for line in fact.lines] == [(sku, shop.here, 3)]
