"""Units that were sold twice, or not at all: check and hold are one step, and the step is the ledger's."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from invengine.client import AsyncClient
from invengine.errors import InsufficientStock
from invengine.v1.reservation_service_pb2 import ReserveResponse

from ..conformance import methods, requests
from ..conformance.aged import Aged
from ..conformance.commands import AnyMethod
from ..conformance.refused import Refused
from ..conformance.requests import HoldRequest
from ..conformance.shop import Shop, figures
from ..conformance.targets import ServerTarget

CALLERS = 10_000


@pytest.mark.case("C01")
@pytest.mark.parametrize(("callers", "units"), [(CALLERS, 1), (1000, 100)])
def test_two_shoppers_buy_the_last_unit(shop: Shop, callers: int, units: int) -> None:
    """magento/magento2#25653, saleor/saleor#543, vendurehq/vendure#3508, Sylius/Sylius#3138: the last unit, twice.

    1,000 callers on 100 units sold 980 of them in Medusa 2.21.
    """
    sku = shop.item(units)
    alone = callers if not isinstance(shop.target, ServerTarget) else callers // 4
    asked = [requests.reserve(shop.context(), (sku, shop.here, 1)) for _ in range(alone)]
    with ThreadPoolExecutor(1) as crowd:
        # Most come in batches over streams of several connections, the others one call each, all at the same time.
        gathered = crowd.submit(_gathered, shop, sku, callers - alone)
        outcomes = shop.target.outcomes(methods.RESERVE, asked)
        won = gathered.result()
    refused = [found for found in outcomes if isinstance(found, Refused)]
    assert {found.reason for found in refused} <= {"INSUFFICIENT_STOCK"}
    winners = [found.hold.reservation_id for found in outcomes if isinstance(found, ReserveResponse)] + won
    assert len(winners) == len(set(winners)) == units
    assert figures(shop.level(sku)) == (units, units, 0, 0)


def _gathered(shop: Shop, sku: str, callers: int) -> list[str]:
    """Callers on four asyncio clients: the holds that they got."""
    if not callers or not isinstance(shop.target, ServerTarget):
        return []
    return asyncio.run(_crowd(shop.target.server.address, sku, shop.here, callers))


async def _crowd(address: str, sku: str, place: str, callers: int) -> list[str]:
    clients = [AsyncClient(address, timeout_s=60) for _ in range(4)]

    async def call(number: int) -> str | None:
        try:
            return (await clients[number % 4].reserve([(sku, place, 1)])).reservation_id
        except InsufficientStock:
            return None

    try:
        found = await asyncio.gather(*(call(number) for number in range(callers)))
    finally:
        for client in clients:
            await client.close()
    return [token for token in found if token]


@pytest.mark.case("C02")
def test_a_read_followed_by_a_reserve_needs_no_lock(shop: Shop) -> None:
    """medusajs/medusa#16569: the lock is in the caller, and a caller that forgets it oversells."""
    sku, units = shop.item(40), 40
    query = methods.GET_AVAILABILITY.request()
    query.queries.add(sku=sku, location=shop.here)
    seen = [
        found
        for found in shop.target.outcomes(methods.GET_AVAILABILITY, [query] * 30)
        if not isinstance(found, Refused)
    ]
    # All read the same number and ask for half of it.
    asked = [
        requests.reserve(shop.context(), (sku, shop.here, answer.availabilities[0].available // 2)) for answer in seen
    ]
    outcomes = shop.target.outcomes(methods.RESERVE, asked)
    assert sum(isinstance(found, ReserveResponse) for found in outcomes) == 2
    assert figures(shop.level(sku)) == (units, units, 0, 0)


def test_no_command_goes_round_the_check(aged: Aged) -> None:
    """medusajs/medusa#16569: another way to the same units that does not check them."""
    old, shop = aged.take(), aged.shop
    sku = old.sku
    mine = shop.hold((sku, shop.here, 1))
    elsewhere = shop.hold((sku, shop.there, 3))
    others = shop.hold((shop.item(5), shop.here, 1))
    shop.hold((sku, shop.here, 4))
    assert figures(shop.level(sku)) == (5, 5, 0, 0)
    context = shop.context
    ways: list[tuple[AnyMethod, HoldRequest]] = [
        (methods.RESERVE, requests.reserve(context(), (sku, shop.here, 1))),
        (methods.RESERVE, requests.reserve(context(), (sku, shop.here, 1), allow_partial=True)),
        (methods.RESERVE, requests.reserve(context(holder="me"), (sku, shop.here, 1), replace_own=True)),
        (methods.AMEND, requests.amend(context(), mine, (sku, shop.here, 2))),
        (methods.AMEND, requests.amend(context(), others, (sku, shop.here, 1))),
        (methods.ALLOCATE, requests.allocate(context(), old.target)),
        (methods.ALLOCATE, requests.allocate(context(), requests.by_order(old.order_ref))),
        (methods.TRANSFER, requests.transfer(context(), elsewhere, shop.here)),
    ]
    for method, request in ways:
        shop.refused(method, request, "INSUFFICIENT_STOCK", sku=sku, location=shop.here)
    again = [request for _, request in ways]
    for request in again:
        request.context.idempotency_key = shop.name("key")
    reasons = [outcome.rejection.reason for outcome in shop.submit(*again)]
    assert reasons == ["INSUFFICIENT_STOCK"] * len(ways)
    assert figures(shop.level(sku)) == (5, 5, 0, 0)


@pytest.mark.case("C06")
@pytest.mark.parametrize("allow_partial", [False, True])
def test_two_lines_on_the_same_stock_are_checked_together(shop: Shop, allow_partial: bool) -> None:
    """medusajs/medusa#16502: two lines of one request on the same stock are checked apart, each against all of it."""
    sku = shop.item(5)
    lines = [(sku, shop.here, 4), (shop.item(9), shop.here, 1), (sku, shop.here, 4)]
    request = requests.reserve(shop.context(), *lines, allow_partial=allow_partial)
    if not allow_partial:
        shop.refused(methods.RESERVE, request, "INSUFFICIENT_STOCK", sku=sku, requested=8, available=5)
        assert figures(shop.level(sku)) == (5, 0, 0, 5)
        return
    taken = {line.sku: line.quantity for line in shop.call(methods.RESERVE, request).hold.lines}
    assert taken[sku] == 5
    assert figures(shop.level(sku)) == (5, 5, 0, 0)


def test_two_lines_that_leave_the_same_stock_are_checked_together(shop: Shop) -> None:
    """medusajs/medusa#16502, on the way out: an adjustment of two lines, and an order of two holds."""
    sku, order = shop.item(5), shop.name("order")
    request = requests.adjust(shop.context(), (sku, shop.here, -3), (sku, shop.here, -3))
    shop.refused(methods.ADJUST, request, "INSUFFICIENT_STOCK", sku=sku)
    for _ in range(2):
        shop.allocate(shop.hold((sku, shop.here, 2), order_ref=order))
    shop.call(methods.COUNT, requests.count(shop.context(), (sku, shop.here, 3)))
    leave = requests.fulfill(shop.context(), requests.by_order(order))
    shop.refused(methods.FULFILL, leave, "INSUFFICIENT_STOCK", sku=sku, requested=4, available=3)
    assert (shop.level(sku).on_hand, shop.level(sku).allocated) == (3, 4)
