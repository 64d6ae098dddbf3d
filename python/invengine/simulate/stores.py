"""Stores: tills sell by themselves, and what they sold is uploaded every fifteen minutes, one batch a store.

So the ledger hears of a till's sale late, and what it refuses then has left the building. The tally keeps those units
(`Tally.short`); the audit finds out which of them were still there when the till sold them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from invengine.client import Draft, commands
from invengine.simulate.desk import Desk, Told
from invengine.simulate.sales import Place, Sale
from invengine.simulate.shoppers import FULFILLED, REFUSED
from invengine.simulate.tally import Short

BATCH_SALES = 300
"""Sales of one upload: two commands each stay below the 1,000 of a batch."""


class Stores:
    """All stores: they share one connection, as behind a retailer's store gateway."""

    def __init__(self, desk: Desk, upload_every_s: float) -> None:
        self._desk = desk
        self._pace = desk.pace
        self._every_s = upload_every_s

    async def serve(self, sales: Iterable[Sale]) -> None:
        """Uploads until everything that was sold is told."""
        for at_s, sold in uploads(sales, self._every_s):
            await self._pace.until(at_s)
            for batch in _by_store(sold):
                await self._upload(batch)

    async def _upload(self, sold: list[Sale]) -> None:
        taken = await self._desk.upload([self._reserve(sale) for sale in sold])
        held = []
        before: Counter[Place] = Counter()
        for sale, told in zip(sold, taken, strict=True):
            self._count(sale, told, before)
            if told.accepted:
                held.append(sale)
        steps = [self._step(sale, step) for sale in held for step in ("allocate", "fulfill")]
        if steps:
            done = await self._desk.upload(steps)
            for told in done[1::2]:
                self._desk.tally.orders[FULFILLED if told.accepted else told.reason] += 1

    def _reserve(self, sale: Sale) -> Draft[object]:
        return commands.reserve(
            sale.lines,
            ttl_s=sale.hold_s,
            allow_partial=True,
            key=f"{sale.order}/reserve",
            issue_time=self._pace.issue_time,
            holder=sale.order,
        )

    def _step(self, sale: Sale, step: str) -> Draft[object]:
        make = {"allocate": commands.allocate, "fulfill": commands.fulfill}[step]
        key = f"{sale.order}/reserve"
        issued = self._pace.issue_time
        return make(reservation_key=key, key=f"{sale.order}/{step}", issue_time=issued, order_ref=sale.order)

    def _count(self, sale: Sale, told: Told, before: Counter[Place]) -> None:
        """Counts how a sale ended; `before` are the units that earlier sales of the same upload took."""
        taken = Counter({(line.sku, line.location): line.quantity for line in told.hold.lines} if told.hold else {})
        short = []
        for line in sale.lines:
            place = (line.sku, line.location)
            if line.quantity > taken[place]:
                short.append(Short(sale.at_s, place, line.quantity - taken[place], before[place] + taken[place]))
        before.update(taken)
        self._desk.tally.short += short
        if told.hold is None:
            self._desk.tally.orders[REFUSED] += 1
        elif short:
            self._desk.tally.parts += 1


def uploads(sales: Iterable[Sale], every_s: float) -> Iterator[tuple[float, list[Sale]]]:
    """When each upload leaves, and the sales since the one before it."""
    found: dict[int, list[Sale]] = defaultdict(list)
    for sale in sales:
        found[int(sale.at_s // every_s) + 1].append(sale)
    for number in sorted(found):
        yield number * every_s, found[number]


def _by_store(sales: Iterable[Sale]) -> Iterator[list[Sale]]:
    stores: dict[str, list[Sale]] = defaultdict(list)
    for sale in sales:
        stores[sale.lines[0].location].append(sale)
    for sold in stores.values():
        for start in range(0, len(sold), BATCH_SALES):
            yield sold[start : start + BATCH_SALES]
