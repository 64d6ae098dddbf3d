"""Whole orders: one call for all lines, nothing locked in between, and counts that never have to wait for them."""

from __future__ import annotations

from invengine.v1.reservation_service_pb2 import ReserveResponse

from ..conformance import methods, requests
from ..conformance.refused import Refused
from ..conformance.shop import Shop, figures

LINES = 200


def test_one_call_takes_a_whole_order_through_its_life(shop: Shop) -> None:
    """tigerbeetle#3382: batches whose members succeed or fail together are missing."""
    skus, order = shop.items(LINES, on_hand=3), shop.name("order")
    hold = shop.hold(*((sku, shop.here, 2) for sku in skus), order_ref=order)
    assert {figures(shop.level(sku)) for sku in skus} == {(3, 2, 0, 1)}
    by_order = requests.by_order(order)
    assert len(shop.allocate(by_order).holds[0].lines) == LINES
    part = requests.by_id(hold.reservation_id, *((sku, shop.here, 1) for sku in skus))
    assert len(shop.fulfill(part).holds[0].lines) == LINES
    assert len(shop.release(by_order).holds[0].lines) == LINES
    assert {figures(shop.level(sku)) for sku in skus} == {(2, 0, 0, 2)}


def test_one_short_line_leaves_the_whole_order_undone(shop: Shop) -> None:
    """tigerbeetle#3382: a group that failed half way leaves what it did before."""
    skus = shop.items(LINES, on_hand=2)
    shop.hold((skus[150], shop.here, 1))
    request = requests.reserve(shop.context(), *((sku, shop.here, 2) for sku in skus))
    shop.refused(methods.RESERVE, request, "INSUFFICIENT_STOCK", sku=skus[150], requested=2, available=1)
    assert {figures(shop.level(sku)) for sku in skus if sku != skus[150]} == {(2, 0, 0, 2)}


def test_orders_with_the_same_items_the_other_way_round(shop: Shop) -> None:
    """magento/magento2#8933, saleor PR#11069: two orders lock the same rows in another order, and both die."""
    one, two = shop.item(150), shop.item(150)
    there, back = [(one, shop.here, 1), (two, shop.here, 1)], [(two, shop.here, 1), (one, shop.here, 1)]
    asked = [requests.reserve(shop.context(), *(there if number % 2 else back)) for number in range(400)]
    outcomes = shop.target.outcomes(methods.RESERVE, asked)
    assert sum(isinstance(found, ReserveResponse) for found in outcomes) == 150
    assert {found.reason for found in outcomes if isinstance(found, Refused)} == {"INSUFFICIENT_STOCK"}
    assert figures(shop.level(one)) == figures(shop.level(two)) == (150, 150, 0, 0)


def test_nothing_is_locked_while_a_shopper_pays(shop: Shop) -> None:
    """magento/magento2#8933: rows are locked from checkout to payment, and everybody else waits for the provider."""
    sku = shop.item(10)
    paying = [shop.hold((sku, shop.here, 1)) for _ in range(5)]
    # In between, other commands change the same item, and the same holds.
    others = [shop.hold((sku, shop.here, 1)) for _ in range(5)]
    shop.call(methods.RECEIVE, requests.receive(shop.context(), (sku, shop.here, 3)))
    shop.call(methods.COUNT, requests.count(shop.context(), (sku, shop.here, 12)))
    shop.call(methods.EXTEND, requests.extend(shop.context(), paying[0], 600))
    for hold in others:
        shop.release(hold)
    for hold in paying:
        shop.allocate(hold)
    assert figures(shop.level(sku)) == (12, 0, 5, 7)


def test_stock_can_be_counted_while_it_is_held(shop: Shop) -> None:
    """frappe/erpnext#49382: an item cannot be counted while anything of it is reserved."""
    sku = shop.item(10)
    reserved = shop.hold((sku, shop.here, 4))
    allocated = shop.hold((sku, shop.here, 3))
    shop.allocate(allocated)
    counted = shop.call(methods.COUNT, requests.count(shop.context(reference="sheet-1"), (sku, shop.here, 9)))
    assert figures(counted.levels[0]) == (9, 4, 3, 2)
    # A shortage is shown and not refused; existing holds remain, and new ones are refused.
    counted = shop.call(methods.COUNT, requests.count(shop.context(reference="sheet-2"), (sku, shop.here, 5)))
    assert (counted.levels[0].available, counted.levels[0].oversold) == (0, 2)
    assert shop.reservation(reserved).lines[0].reserved == 4
    shop.refused(methods.RESERVE, requests.reserve(shop.context(), (sku, shop.here, 1)), "INSUFFICIENT_STOCK")
    shop.release(reserved)
    assert (shop.level(sku).available, shop.level(sku).oversold) == (2, 0)
