"""Abandoned holds that block sales, and payments that arrive after a hold has expired."""

from __future__ import annotations

from ..conformance import methods, requests
from ..conformance.aged import Aged
from ..conformance.shop import Shop, figures


def test_abandoned_carts_do_not_block_sales(shop: Shop) -> None:
    """magento/inventory#2046, woocommerce#26652: leaked holds block stock until somebody cleans up."""
    sku, carts = shop.item(50), 50
    batch = [requests.reserve(shop.context(), (sku, shop.here, 1), ttl_s=1) for _ in range(carts)]
    ends = [outcome.holds[0].expire_time for outcome in shop.submit(*batch)]
    assert shop.available(sku) == 0
    shop.wait_until(ends[-1])
    # Nothing needs to run first: the next read and the next shopper see all units.
    assert shop.available(sku) == 50
    assert figures(shop.level(sku)) == (50, 0, 0, 50)
    shop.hold((sku, shop.here, 50))


def test_the_expiry_of_a_hold_is_reported(shop: Shop) -> None:
    """magento/inventory#2046: the expiry of a hold is not reported, so carts and ledgers disagree."""
    sku = shop.item(5)
    answer = shop.reserve((sku, shop.here, 2), ttl_s=1, context=shop.context(order_ref=shop.name("cart")))
    event = shop.end_of(answer.hold, answer.receipt.sequence)
    assert [(line.sku, line.quantity) for line in event.expired.lines] == [(sku, 2)]


def test_a_shopper_is_not_blocked_by_their_own_hold(shop: Shop) -> None:
    """woocommerce#67354: back from the payment page, the last unit is sold out, because of the shopper's own hold."""
    sku, holder = shop.item(1), shop.name("shopper")
    tokens = set()
    for _ in range(5):
        hold = shop.reserve((sku, shop.here, 1), context=shop.context(holder=holder), replace_own=True).hold
        tokens.add(hold.reservation_id)
    assert len(tokens) == 5
    assert figures(shop.level(sku)) == (1, 1, 0, 0)
    # Nobody else profits from it.
    other = requests.reserve(shop.context(holder=shop.name("shopper")), (sku, shop.here, 1), replace_own=True)
    shop.refused(methods.RESERVE, other, "INSUFFICIENT_STOCK", available=0)


def test_a_late_payment_takes_the_units_again(aged: Aged) -> None:
    """woocommerce PR#67931: paid after the hold has expired, and the units are still available."""
    old, shop = aged.take(), aged.shop
    answer = shop.allocate(old.target, order_ref=shop.name("paid"))
    assert answer.holds[0].reacquired
    shop.fulfill(requests.by_order(shop.reservation(old.target).order_ref))
    assert figures(shop.level(old.sku)) == (2, 0, 0, 2)


def test_a_late_payment_is_refused_with_what_is_left(aged: Aged) -> None:
    """woocommerce PR#67931: paid after the hold has expired, and somebody else has the units now."""
    old, shop = aged.take(), aged.shop
    shop.hold((old.sku, shop.here, 3))
    request = requests.allocate(shop.context(), old.target)
    shop.refused(methods.ALLOCATE, request, "INSUFFICIENT_STOCK", sku=old.sku, requested=3, available=2)
    part = requests.by_id(old.target.reservation_id, (old.sku, shop.here, 2))
    assert shop.allocate(part).holds[0].lines[0].quantity == 2
    assert figures(shop.level(old.sku)) == (5, 3, 2, 0)
