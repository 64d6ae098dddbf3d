"""The gate of a flash sale: callers who came while the last batch was under way are let in together.

Each caller still has a key, an answer and a course of their own; only the way to the engine is shared. One batch of
columns costs little more than one call, so a rush of many thousands a second passes through one client process.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable
from typing import NamedTuple

from invengine.simulate.desk import BATCH_ROWS, Desk, Row
from invengine.simulate.sales import Sale
from invengine.simulate.shoppers import REFUSED_FLASH, Shoppers

BATCHES_AT_ONCE = 2
SECOND_CLICK_S = 2.0


class _Caller(NamedTuple):
    """Somebody at the gate. `number` keeps the order of those who come at the same time."""

    at_s: float
    number: int
    sale: Sale
    again: bool = False
    second_click: bool = False

    @property
    def row(self) -> Row:
        """What the caller asks for. A second click is the same intention, so it has the same key."""
        line = self.sale.lines[0]
        step = "reserve-again" if self.again else "reserve"
        return Row(line.sku, line.location, line.quantity, f"{self.sale.order}/{step}", self.at_s)


class Gate:
    """The callers of one channel. Those who get something go on as shoppers do."""

    def __init__(self, desk: Desk, shoppers: Shoppers) -> None:
        self._desk = desk
        self._pace = desk.pace
        self._shoppers = shoppers
        self._queue: list[_Caller] = []
        self._came = 0
        self._under_way = 0
        self._moved = asyncio.Event()

    async def serve(self, sales: Iterable[Sale]) -> None:
        """Lets each caller come at their time; returns when the last one is done."""
        for sale in sales:
            self._expect(sale, sale.at_s)
            if sale.double_click:
                self._expect(sale, sale.at_s + SECOND_CLICK_S, second_click=True)
        async with asyncio.TaskGroup() as group:
            while self._queue or self._under_way:
                if not self._queue or self._under_way >= BATCHES_AT_ONCE:
                    self._moved.clear()
                    await self._moved.wait()
                    continue
                await self._pace.until(self._queue[0].at_s)
                self._under_way += 1
                group.create_task(self._let_in(self._next_batch(), group))

    def _expect(self, sale: Sale, at_s: float, *, again: bool = False, second_click: bool = False) -> None:
        self._came += 1
        heapq.heappush(self._queue, _Caller(at_s, self._came, sale, again, second_click))

    def _next_batch(self) -> list[_Caller]:
        """Everybody who is there by now, as many as fit; all of a batch hold for the same time."""
        now_s = self._pace.now_s
        batch: list[_Caller] = []
        while self._queue and self._queue[0].at_s <= now_s and len(batch) < BATCH_ROWS:
            if batch and self._queue[0].sale.hold_s != batch[0].sale.hold_s:
                break
            batch.append(heapq.heappop(self._queue))
        return batch

    async def _let_in(self, batch: list[_Caller], group: asyncio.TaskGroup) -> None:
        held_s = self._pace.now_s
        answers = await self._desk.columns([caller.row for caller in batch], batch[0].sale.hold_s)
        for caller, answer in zip(batch, answers, strict=True):
            if caller.second_click:
                continue
            if answer.accepted:
                group.create_task(self._shoppers.go_on(caller.sale, answer.reservation_id, held_s))
            elif caller.sale.comes_back_after_s and not caller.again:
                self._expect(caller.sale, caller.sale.at_s + caller.sale.comes_back_after_s, again=True)
            else:
                self._desk.tally.orders[REFUSED_FLASH] += 1
        self._under_way -= 1
        self._moved.set()
