"""A reservation's version: one more for each change, and a condition that commands may set."""

from __future__ import annotations

import pytest

from invengine.v1.types_pb2 import HoldTarget

from . import methods, requests
from .commands import COMMANDS
from .shop import Shop, check_rejected, figures


def test_each_change_is_one_version(shop: Shop) -> None:
    sku = shop.item(9, there=9)
    hold = shop.hold((sku, shop.here, 6))
    part = requests.by_id(hold.reservation_id, (sku, shop.here, 1))
    versions = [
        shop.call(methods.EXTEND, requests.extend(shop.context(), hold, 60)).holds[0].version,
        shop.call(methods.AMEND, requests.amend(shop.context(), hold, (sku, shop.here, 7))).holds[0].version,
        shop.allocate(part).holds[0].version,
        shop.release(part).holds[0].version,
        shop.fulfill(part).holds[0].version,
        shop.call(methods.TRANSFER, requests.transfer(shop.context(), part, shop.there)).holds[0].version,
        shop.release(hold).holds[0].version,
    ]
    assert versions == list(range(2, 9))
    assert shop.reservation(hold).version == 8


def test_a_refusal_and_a_repeat_are_no_change(shop: Shop) -> None:
    sku = shop.item(9)
    hold = shop.hold((sku, shop.here, 6))
    request = requests.allocate(shop.context(), requests.by_id(hold.reservation_id, (sku, shop.here, 2)))
    shop.call(methods.ALLOCATE, request)
    assert shop.call(methods.ALLOCATE, request).receipt.replayed
    too_many = requests.by_id(hold.reservation_id, (sku, shop.here, 7))
    shop.refused(methods.RELEASE, requests.release(shop.context(), too_many), "EXCEEDS_OUTSTANDING")
    assert shop.reservation(hold).version == 2


def test_a_change_of_stock_is_no_change_of_the_hold(shop: Shop) -> None:
    sku = shop.item(9)
    hold = shop.hold((sku, shop.here, 6))
    shop.call(methods.COUNT, requests.count(shop.context(), (sku, shop.here, 2)))
    assert shop.reservation(hold).version == 1


@pytest.mark.case("C13")
@pytest.mark.parametrize("command", list(COMMANDS))
@pytest.mark.parametrize("way", ["id", "key"])
def test_a_stale_version_is_refused(shop: Shop, command: str, way: str) -> None:
    sku = shop.item(9, there=9)
    context = shop.context()
    hold = shop.reserve((sku, shop.here, 6), context=context).hold
    shop.call(methods.EXTEND, requests.extend(shop.context(), requests.by_id(hold.reservation_id), 60))

    def named(version: int) -> HoldTarget:
        if way == "id":
            return requests.by_id(hold.reservation_id, version=version)
        return requests.by_key(context.idempotency_key, version=version)

    method, make = COMMANDS[command]
    for stale in (1, 3, 2**32 + 2, 2**53 - 1):
        shop.refused(method, make(shop, named(stale), sku), "STALE_VERSION", expected=stale, actual=2)
    assert figures(shop.level(sku)) == (9, 6, 0, 3)
    assert shop.call(method, make(shop, named(2), sku)).holds[0].version == 3


def test_of_two_who_read_the_same_version_one_wins(shop: Shop) -> None:
    sku = shop.item(9)
    hold = shop.hold((sku, shop.here, 6))
    target = requests.by_id(hold.reservation_id, version=shop.reservation(hold).version)
    first, second = shop.submit(
        requests.amend(shop.context(), target, (sku, shop.here, 4)),
        requests.amend(shop.context(), target, (sku, shop.here, 5)),
    )
    assert first.holds[0].version == 2
    check_rejected(second, "STALE_VERSION", expected=1, actual=2)
    assert shop.level(sku).reserved == 4
