"""Calls that arrive twice: a retry, a double click, a webhook that is delivered again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from invengine.v1 import types_pb2 as types

from ..conformance import methods, requests
from ..conformance.commands import AnyMethod
from ..conformance.shop import Shop, figures

Make = Callable[[Shop, str, types.HoldTarget], tuple[AnyMethod, Any]]

# Of an item with 9 units of which a hold has 4, 2 of them allocated: the level after one call.
CALLS: dict[str, tuple[Make, tuple[int, int, int, int]]] = {
    "release": (lambda s, sku, hold: (methods.RELEASE, requests.release(s.context(), hold)), (9, 0, 0, 9)),
    "fulfill": (lambda s, sku, hold: (methods.FULFILL, requests.fulfill(s.context(), hold)), (5, 0, 0, 5)),
    "allocate": (lambda s, sku, hold: (methods.ALLOCATE, requests.allocate(s.context(), hold)), (9, 0, 4, 5)),
    "reserve": (
        lambda s, sku, hold: (methods.RESERVE, requests.reserve(s.context(), (sku, s.here, 1))),
        (9, 3, 2, 4),
    ),
    "receive": (
        lambda s, sku, hold: (methods.RECEIVE, requests.receive(s.context(), (sku, s.here, 3))),
        (12, 2, 2, 8),
    ),
    "return": (lambda s, sku, hold: (methods.RETURN, requests.give_back(s.context(), (sku, s.here, 3))), (12, 2, 2, 8)),
    "adjust": (lambda s, sku, hold: (methods.ADJUST, requests.adjust(s.context(), (sku, s.here, -3))), (6, 2, 2, 2)),
}


@pytest.mark.parametrize("call", list(CALLS))
def test_a_duplicate_call_does_not_compensate_twice(shop: Shop, call: str) -> None:
    """magento/inventory PR#2420: a duplicate call compensates twice, and stock appears out of nowhere."""
    make, expected = CALLS[call]
    sku = shop.item(9)
    hold = shop.hold((sku, shop.here, 4))
    shop.allocate(requests.by_id(hold.reservation_id, (sku, shop.here, 2)))
    method, request = make(shop, sku, hold)
    # Twenty at the same time, and once more after everything has ended.
    answers = [*shop.target.outcomes(method, [request] * 20), shop.call(method, request)]
    assert sum(not answer.receipt.replayed for answer in answers) == 1
    assert len({answer.receipt.sequence for answer in answers}) == 1
    assert figures(shop.level(sku)) == expected


@pytest.mark.case("C04")
@pytest.mark.parametrize("command", ["release", "fulfill"])
def test_a_compensation_under_another_key_finds_nothing_left(shop: Shop, command: str) -> None:
    """magento/inventory PR#2420: cancelled by the shopper and by the payment provider, each with its own key."""
    sku = shop.item(9)
    hold = shop.hold((sku, shop.here, 4))
    make, _ = CALLS[command]
    (method, first), (_, second) = make(shop, sku, hold), make(shop, sku, hold)
    assert shop.call(method, first).holds[0].version == 2
    reason = "ALREADY_RELEASED" if command == "release" else "ALREADY_FULFILLED"
    shop.refused(method, second, reason, reservation=hold.reservation_id)
    assert shop.level(sku).reserved == 0


@pytest.mark.case("C09")
def test_a_compensation_that_overtakes_its_reserve(shop: Shop) -> None:
    """magento/inventory PR#2420: the release arrives before the retry of the reserve, and the hold would leak."""
    sku, context = shop.item(9), shop.context()
    for _ in range(2):
        assert shop.release(requests.by_key(context.idempotency_key)).key_cancelled
    shop.refused(methods.RESERVE, requests.reserve(context, (sku, shop.here, 4)), "KEY_CANCELLED")
    assert figures(shop.level(sku)) == (9, 0, 0, 9)
