"""Shoppers of the web shop and the app: each is served the moment that they come, and then goes their own way.

Every sale ends in one word of `Tally.orders`, and every hold in exactly one of fulfilled, released or expired.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from invengine.client import Hold, commands
from invengine.simulate.desk import Desk, Told
from invengine.simulate.sales import Course, Sale

FULFILLED = "fulfilled"
RELEASED = "released by the customer"
EXPIRED = "abandoned, expired"
TOO_LATE = "paid too late, units gone"
REFUSED = "refused"
REFUSED_FLASH = "flash sale, refused"


class Shoppers:
    """The shoppers of one channel. After second `close_s` of the stream nothing waits for its usual time any more."""

    def __init__(self, desk: Desk, close_s: float) -> None:
        self._desk = desk
        self._pace = desk.pace
        self._orders = desk.tally.orders
        self._close_s = close_s

    async def serve(self, sales: Iterable[Sale]) -> None:
        """Lets each shopper come at their time; returns when the last one is done."""
        async with asyncio.TaskGroup() as group:
            for sale in sales:
                await self._pace.until(sale.at_s)
                group.create_task(self._shop(sale))

    async def _shop(self, sale: Sale) -> None:
        hold = await self._hold(sale)
        if hold is None:
            self._orders[REFUSED] += 1
            return
        await self.go_on(sale, hold.reservation_id, self._pace.now_s)

    async def _hold(self, sale: Sale) -> Hold | None:
        """What the shopper gets: everything, or with some shoppers later or less."""
        told = await self._reserve(sale, "reserve", due_s=sale.at_s, twice=sale.double_click)
        if told.hold is None and sale.comes_back_after_s:
            await self._pace.until(sale.at_s + sale.comes_back_after_s)
            told = await self._reserve(sale, "reserve-again")
        if told.hold is None and sale.takes_rest:
            told = await self._reserve(sale, "reserve-rest", allow_partial=True)
            self._desk.tally.parts += told.accepted
        return told.hold

    async def _reserve(
        self, sale: Sale, step: str, *, allow_partial: bool = False, due_s: float | None = None, twice: bool = False
    ) -> Told:
        draft = commands.reserve(
            sale.lines,
            ttl_s=sale.hold_s,
            allow_partial=allow_partial,
            key=f"{sale.order}/{step}",
            issue_time=self._pace.issue_time,
            holder=sale.order,
        )
        if not twice:
            return await self._desk.ask(draft, due_s)
        first, _ = await asyncio.gather(self._desk.ask(draft, due_s), self._desk.ask(draft, due_s))
        return first

    async def go_on(self, sale: Sale, reservation_id: str, held_s: float) -> None:
        """What a shopper does with a hold that they got at second `held_s`: pays, pays late, gives back or forgets."""
        if sale.course is Course.ABANDONS:
            self._orders[EXPIRED] += 1
            return
        await self._pace.until(held_s + sale.ends_after_s)
        if sale.course is Course.CANCELS:
            told = await self._step(sale, "release", reservation_id)
            self._orders[RELEASED if told.accepted else told.reason] += 1
            return
        paid = await self._step(sale, "allocate", reservation_id)
        if not paid.accepted:
            self._orders[TOO_LATE if paid.reason == "INSUFFICIENT_STOCK" else paid.reason] += 1
            return
        await self._pace.until(min(self._pace.now_s + sale.fulfils_after_s, self._close_s))
        told = await self._step(sale, "fulfill", reservation_id)
        self._orders[FULFILLED if told.accepted else told.reason] += 1

    async def _step(self, sale: Sale, step: str, reservation_id: str) -> Told:
        make = {"allocate": commands.allocate, "release": commands.release, "fulfill": commands.fulfill}[step]
        issued = self._pace.issue_time
        draft = make(reservation_id, key=f"{sale.order}/{step}", issue_time=issued, order_ref=sale.order)
        return await self._desk.ask(draft)
