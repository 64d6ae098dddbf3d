"""Every entry at the same time: single calls, batches, a client; one serialized path, and the stock is sold once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from invengine.client import Client
from invengine.errors import InsufficientStock
from invengine.v1.reservation_service_pb2 import ReserveResponse

from . import methods, requests
from .shop import Shop, figures
from .targets import ServerTarget

UNITS, EACH = 60, 50


@pytest.mark.case("G01")
def test_every_way_in_meets_the_same_check(server_shop: Shop) -> None:
    sku = server_shop.item(UNITS)
    start = server_shop.target.digest()[1]
    with ThreadPoolExecutor(3) as ways:
        found = [ways.submit(way, server_shop, sku) for way in (_calls, _batches, _client)]
        won = sum(each.result() for each in found)
    assert won == UNITS
    assert figures(server_shop.level(sku)) == (UNITS, UNITS, 0, 0)
    events = server_shop.target.read_events(start + 1)
    lines = [line for event in events for line in event.reserved.lines if line.sku == sku]
    assert sum(line.quantity for line in lines) == UNITS
    assert [event.sequence for event in events] == list(range(start + 1, start + 1 + len(events)))


def _calls(shop: Shop, sku: str) -> int:
    asked = [requests.reserve(shop.context(), (sku, shop.here, 1)) for _ in range(EACH)]
    return sum(isinstance(each, ReserveResponse) for each in shop.target.outcomes(methods.RESERVE, asked))


def _batches(shop: Shop, sku: str) -> int:
    outcomes = []
    for _ in range(EACH // 10):
        outcomes += shop.submit(*(requests.reserve(shop.context(), (sku, shop.here, 1)) for _ in range(10)))
    return sum(not outcome.HasField("rejection") for outcome in outcomes)


def _client(shop: Shop, sku: str) -> int:
    assert isinstance(shop.target, ServerTarget)
    won = 0
    with Client(shop.target.server.address) as client:
        for _ in range(EACH):
            try:
                client.reserve([(sku, shop.here, 1)])
            except InsufficientStock:
                continue
            won += 1
    return won
