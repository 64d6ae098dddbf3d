"""Expired holds, created many at a time, so that a run waits for them once and not in every test."""

from __future__ import annotations

from dataclasses import dataclass

from invengine.v1 import catalog_service_pb2 as catalog
from invengine.v1.types_pb2 import HoldTarget

from . import methods, requests
from .shop import Shop
from .targets import Target

ON_HAND = 5
HELD = 3
BATCH = 40


@dataclass(frozen=True, slots=True)
class AgedHold:
    """An expired hold of 3 units of an item that has 5 units here and 5 there."""

    sku: str
    target: HoldTarget
    key: str
    order_ref: str


class Aged:
    """Provides each test with its own expired hold, in one shop."""

    def __init__(self, target: Target) -> None:
        self.shop = Shop(target)
        self._holds: list[AgedHold] = []

    def take(self) -> AgedHold:
        """An expired hold that no other test has."""
        if not self._holds:
            self._holds = self._make()
        return self._holds.pop()

    def _make(self) -> list[AgedHold]:
        shop = self.shop
        names = [(shop.name("aged"), shop.context(order_ref=shop.name("order"))) for _ in range(BATCH)]
        items = [catalog.Item(sku=sku) for sku, _ in names]
        shop.call(methods.UPSERT_ITEMS, catalog.UpsertItemsRequest(context=shop.context(), items=items))
        stock = [(sku, place, ON_HAND) for sku, _ in names for place in (shop.here, shop.there)]
        shop.call(methods.RECEIVE, requests.receive(shop.context(), *stock))
        batch = [requests.reserve(context, (sku, shop.here, HELD), ttl_s=1) for sku, context in names]
        outcomes = shop.submit(*batch)
        shop.wait_until(outcomes[-1].holds[0].expire_time)
        return [
            AgedHold(sku, requests.by_id(found.holds[0].reservation_id), context.idempotency_key, context.order_ref)
            for (sku, context), found in zip(names, outcomes, strict=True)
        ]
