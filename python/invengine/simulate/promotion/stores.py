"""Stores: tills sell offline, and their sales are uploaded every fifteen minutes, one batch per store.

So the ledger learns of a till's sale late, and the goods it refuses then have already left. The tally keeps those units
(`Tally.short`); the audit finds out which of them were still available when the till sold them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from invengine.client import Draft, commands
from invengine.simulate.audit import LevelKey
from invengine.simulate.promotion.command_sender import CommandSender, Decision
from invengine.simulate.promotion.sales import Sale
from invengine.simulate.promotion.shoppers import FULFILLED, REFUSED
from invengine.simulate.promotion.tally import Shortage

BATCH_SALES = 300
"""Sales of one upload: two commands each stay below the 1,000 of a batch."""


class Stores:
    """All stores: they share one connection, as behind a retailer's store gateway."""

    def __init__(self, sender: CommandSender, upload_every_s: float) -> None:
        self._sender = sender
        self._clock = sender.clock
        self._every_s = upload_every_s

    async def serve(self, sales: Iterable[Sale]) -> None:
        """Uploads until every sale is reported."""
        for at_s, sold in uploads(sales, self._every_s):
            await self._clock.until(at_s)
            for batch in _by_store(sold):
                await self._upload(batch)

    async def _upload(self, sold: list[Sale]) -> None:
        taken = await self._sender.send_batch([self._reserve(sale) for sale in sold])
        held = []
        before: Counter[LevelKey] = Counter()
        for sale, decision in zip(sold, taken, strict=True):
            self._count(sale, decision, before)
            if decision.accepted:
                held.append(sale)
        steps = [self._step(sale, step) for sale in held for step in ("allocate", "fulfill")]
        if steps:
            done = await self._sender.send_batch(steps)
            for decision in done[1::2]:
                self._sender.tally.orders[FULFILLED if decision.accepted else decision.reason] += 1

    def _reserve(self, sale: Sale) -> Draft[object]:
        return commands.reserve(
            sale.lines,
            ttl_s=sale.hold_s,
            allow_partial=True,
            key=f"{sale.order}/reserve",
            issue_time=self._clock.issue_time,
            holder=sale.order,
        )

    def _step(self, sale: Sale, step: str) -> Draft[object]:
        make = {"allocate": commands.allocate, "fulfill": commands.fulfill}[step]
        key = f"{sale.order}/reserve"
        issued = self._clock.issue_time
        return make(reservation_key=key, key=f"{sale.order}/{step}", issue_time=issued, order_ref=sale.order)

    def _count(self, sale: Sale, decision: Decision, before: Counter[LevelKey]) -> None:
        """Counts how a sale ended; `before` has the units that earlier sales of the same upload took."""
        taken = Counter(
            {(line.sku, line.location): line.quantity for line in decision.hold.lines} if decision.hold else {}
        )
        short = []
        for line in sale.lines:
            place = (line.sku, line.location)
            if line.quantity > taken[place]:
                short.append(Shortage(sale.at_s, place, line.quantity - taken[place], before[place] + taken[place]))
        before.update(taken)
        self._sender.tally.short += short
        if decision.hold is None:
            self._sender.tally.orders[REFUSED] += 1
        elif short:
            self._sender.tally.parts += 1


def uploads(sales: Iterable[Sale], every_s: float) -> Iterator[tuple[float, list[Sale]]]:
    """The time of each upload, and the sales since the previous one."""
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
