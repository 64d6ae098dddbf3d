"""Independent callers: random commands on a few items, holds and locations, from a seed."""

from __future__ import annotations

import random

from invengine.v1 import types_pb2 as types

from ..conformance import methods, requests
from ..conformance.requests import HoldRequest
from ..conformance.shop import Shop

STOCK = (methods.RECEIVE, methods.ADJUST, methods.COUNT)
STATES = (types.STOCK_STATE_ON_HAND, types.STOCK_STATE_ON_HAND, types.STOCK_STATE_DAMAGED, types.STOCK_STATE_RETURNED)


class RandomCommands:
    """Sends batches of random commands. Rejections are expected."""

    def __init__(self, shop: Shop, skus: list[str], seed: int) -> None:
        self.accepted = 0
        self._shop = shop
        self._skus = skus
        self._chance = random.Random(seed)
        self._keys: list[str] = []
        self._orders = [shop.name("order") for _ in range(8)]

    def send(self, commands: int) -> None:
        """Sends one batch on holds, and one physical command."""
        outcomes = self._shop.submit(*(self._command() for _ in range(commands)))
        self.accepted += sum(not outcome.HasField("rejection") for outcome in outcomes)
        self._stock()

    def _command(self) -> HoldRequest:
        chance, shop = self._chance, self._shop
        context = shop.context(order_ref=chance.choice(self._orders), holder=chance.choice("ab"))
        kind = chance.choice(["reserve"] * 4 + ["allocate"] * 2 + ["release", "fulfill", "amend", "transfer", "extend"])
        if kind == "reserve" or not self._keys:
            self._keys.append(context.idempotency_key)
            lines = [self._line() for _ in range(chance.randint(1, 3))]
            flags = {"allow_partial": chance.random() < 0.3, "replace_own": chance.random() < 0.2}
            return requests.reserve(context, *lines, ttl_s=chance.choice([1, 1.2, 600]), **flags)
        target = self._target()
        if kind == "extend":
            return requests.extend(context, target, chance.choice([1, 600]))
        if kind == "amend":
            return requests.amend(context, requests.by_key(self._key()), self._line())
        if kind == "transfer":
            key = requests.by_key(self._key())
            return requests.transfer(context, key, chance.choice([shop.here, shop.there]))
        if kind == "allocate":
            return requests.allocate(context, target)
        return requests.release(context, target) if kind == "release" else requests.fulfill(context, target)

    def _target(self) -> types.HoldTarget:
        if self._chance.random() < 0.1:
            return requests.by_order(self._chance.choice(self._orders))
        return requests.by_key(self._key())

    def _key(self) -> str:
        # Most use a recent key, some an old one.
        recent = self._keys if self._chance.random() < 0.2 else self._keys[-12:]
        return self._chance.choice(recent)

    def _line(self) -> requests.Line:
        shop, chance = self._shop, self._chance
        return chance.choice(self._skus), chance.choice([shop.here, shop.there]), chance.randint(1, 4)

    def _stock(self) -> None:
        shop, chance = self._shop, self._chance
        sku, place, units = self._line()
        state = chance.choice(STATES)
        if chance.random() < 0.5:
            shop.call(methods.RECEIVE, requests.receive(shop.context(), (sku, place, units), state=state))
        elif chance.random() < 0.5:
            shop.call(methods.COUNT, requests.count(shop.context(), (sku, place, 3 * units), state=state))
        else:
            shop.target.outcomes(methods.ADJUST, [requests.adjust(shop.context(), (sku, place, -units), state=state)])
