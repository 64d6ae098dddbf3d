"""Batches the callers of a flash sale: those who arrive while the last batch is in flight are sent together.

Each caller still has a key, an answer and a behaviour of their own; only the call to the engine is shared. One columnar
batch costs little more than one call, so a rush of many thousands per second passes through one client process.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable
from typing import NamedTuple

from invengine.simulate.promotion.command_sender import BATCH_ROWS, CommandSender, Row
from invengine.simulate.promotion.sales import Sale
from invengine.simulate.promotion.shoppers import REFUSED_FLASH, Shoppers

BATCHES_AT_ONCE = 2
SECOND_CLICK_S = 2.0


class _Caller(NamedTuple):
    """A waiting caller. `number` keeps the order of those who arrive at the same time."""

    at_s: float
    number: int
    sale: Sale
    again: bool = False
    second_click: bool = False

    @property
    def row(self) -> Row:
        """The caller's request. A second click is the same intent, so it has the same key."""
        line = self.sale.lines[0]
        step = "reserve-again" if self.again else "reserve"
        return Row(line.sku, line.location, line.quantity, f"{self.sale.order}/{step}", self.at_s)


class FlashBatcher:
    """The callers of one channel. Those who get a hold continue as shoppers do."""

    def __init__(self, sender: CommandSender, shoppers: Shoppers) -> None:
        self._sender = sender
        self._clock = sender.clock
        self._shoppers = shoppers
        self._queue: list[_Caller] = []
        self._arrivals = 0
        self._batches_in_flight = 0
        self._changed = asyncio.Event()

    async def serve(self, sales: Iterable[Sale]) -> None:
        """Sends each caller at their time; returns when the last one is done."""
        for sale in sales:
            self._enqueue(sale, sale.at_s)
            if sale.double_click:
                self._enqueue(sale, sale.at_s + SECOND_CLICK_S, second_click=True)
        async with asyncio.TaskGroup() as group:
            while self._queue or self._batches_in_flight:
                if not self._queue or self._batches_in_flight >= BATCHES_AT_ONCE:
                    self._changed.clear()
                    await self._changed.wait()
                    continue
                await self._clock.until(self._queue[0].at_s)
                self._batches_in_flight += 1
                group.create_task(self._send_batch(self._next_batch(), group))

    def _enqueue(self, sale: Sale, at_s: float, *, again: bool = False, second_click: bool = False) -> None:
        self._arrivals += 1
        heapq.heappush(self._queue, _Caller(at_s, self._arrivals, sale, again, second_click))

    def _next_batch(self) -> list[_Caller]:
        """The callers who have arrived, as many as fit; all holds of a batch last equally long."""
        now_s = self._clock.now_s
        batch: list[_Caller] = []
        while self._queue and self._queue[0].at_s <= now_s and len(batch) < BATCH_ROWS:
            if batch and self._queue[0].sale.hold_s != batch[0].sale.hold_s:
                break
            batch.append(heapq.heappop(self._queue))
        return batch

    async def _send_batch(self, batch: list[_Caller], group: asyncio.TaskGroup) -> None:
        held_s = self._clock.now_s
        answers = await self._sender.reserve_columns([caller.row for caller in batch], batch[0].sale.hold_s)
        for caller, answer in zip(batch, answers, strict=True):
            if caller.second_click:
                continue
            if answer.accepted:
                group.create_task(self._shoppers.continue_sale(caller.sale, answer.reservation_id, held_s))
            elif caller.sale.comes_back_after_s and not caller.again:
                self._enqueue(caller.sale, caller.sale.at_s + caller.sale.comes_back_after_s, again=True)
            else:
                self._sender.tally.orders[REFUSED_FLASH] += 1
        self._batches_in_flight -= 1
        self._changed.set()
