"""Many who want the same at the same time: the last unit is sold once, and an outdated read takes nothing."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest

from invengine.v1.reservation_service_pb2 import ReserveResponse

from . import methods, requests
from .refused import Refused
from .shop import Shop, figures

CALLERS = 256
THREADS, ROUNDS = 8, 25


@pytest.mark.case("C01")
def test_the_last_unit_goes_to_one_of_256(shop: Shop) -> None:
    sku = shop.item(1)
    asked = [requests.reserve(shop.context(), (sku, shop.here, 1)) for _ in range(CALLERS)]
    outcomes = shop.target.outcomes(methods.RESERVE, asked)
    refused = [outcome.reason for outcome in outcomes if isinstance(outcome, Refused)]
    assert refused == ["INSUFFICIENT_STOCK"] * (CALLERS - 1)
    assert sum(isinstance(outcome, ReserveResponse) for outcome in outcomes) == 1
    assert figures(shop.level(sku)) == (1, 1, 0, 0)


@pytest.mark.case("C02")
def test_a_reserve_of_what_was_read_never_oversells(shop: Shop) -> None:
    sku, units = shop.item(20), 20
    with ThreadPoolExecutor(THREADS) as crowd:
        found = list(crowd.map(lambda _: _read_and_reserve(shop, sku), range(THREADS)))
    reported = list(itertools.chain.from_iterable(found))
    assert any(reported), "some got what they read"
    assert not all(reported), "and some came too late"
    assert figures(shop.level(sku)) == (units, 0, 0, units)


def _read_and_reserve(shop: Shop, sku: str) -> list[bool]:
    """Reads, takes everything that was read, and releases it, repeatedly: whether it was still available."""
    query, got = methods.GET_AVAILABILITY.request(), []
    query.queries.add(sku=sku, location=shop.here)
    seen = 0
    for _ in range(ROUNDS):
        answer = shop.call(methods.GET_AVAILABILITY, query)
        assert answer.sequence >= seen, "a read that is behind what was acknowledged"
        available = answer.availabilities[0].available
        assert 0 <= available <= 20
        request = requests.reserve(shop.context(), (sku, shop.here, max(1, available)))
        (outcome,) = shop.target.outcomes(methods.RESERVE, [request])
        got.append(isinstance(outcome, ReserveResponse))
        if isinstance(outcome, Refused):
            assert outcome.reason == "INSUFFICIENT_STOCK"
        else:
            seen = shop.release(requests.by_id(outcome.hold.reservation_id)).receipt.sequence
    return got
