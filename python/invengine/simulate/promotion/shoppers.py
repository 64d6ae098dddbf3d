"""Shoppers of the web shop and the app: each is served on arrival, and then behaves independently.

Every sale ends in one entry of `Tally.orders`, and every hold in exactly one of fulfilled, released or expired.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from invengine.client import Hold, commands
from invengine.simulate.promotion.command_sender import CommandSender, Decision
from invengine.simulate.promotion.sales import Behaviour, Sale

FULFILLED = "fulfilled"
RELEASED = "released by the customer"
EXPIRED = "abandoned, expired"
EXPIRED_BEFORE = "cancelled by the customer, had expired before"
TOO_LATE = "paid too late, units gone"
REFUSED = "refused"
REFUSED_FLASH = "flash sale, refused"


class Shoppers:
    """The shoppers of one channel. After second `close_s` of the stream nothing waits for its usual time any more."""

    def __init__(self, sender: CommandSender, close_s: float) -> None:
        self._sender = sender
        self._clock = sender.clock
        self._orders = sender.tally.orders
        self._close_s = close_s

    async def serve(self, sales: Iterable[Sale]) -> None:
        """Serves each shopper at their time; returns when the last one is done."""
        async with asyncio.TaskGroup() as group:
            for sale in sales:
                await self._clock.until(sale.at_s)
                group.create_task(self._shop(sale))

    async def _shop(self, sale: Sale) -> None:
        hold = await self._hold(sale)
        if hold is None:
            self._orders[REFUSED] += 1
            return
        await self.continue_sale(sale, hold.reservation_id, self._clock.now_s)

    async def _hold(self, sale: Sale) -> Hold | None:
        """The hold that the shopper gets: everything, or for some shoppers later or less."""
        decision = await self._reserve(sale, "reserve", due_s=sale.at_s, twice=sale.double_click)
        if decision.hold is None and sale.comes_back_after_s:
            await self._clock.until(sale.at_s + sale.comes_back_after_s)
            decision = await self._reserve(sale, "reserve-again")
        if decision.hold is None and sale.takes_rest:
            decision = await self._reserve(sale, "reserve-rest", allow_partial=True)
            self._sender.tally.parts += decision.accepted
        return decision.hold

    async def _reserve(
        self, sale: Sale, step: str, *, allow_partial: bool = False, due_s: float | None = None, twice: bool = False
    ) -> Decision:
        draft = commands.reserve(
            sale.lines,
            ttl_s=sale.hold_s,
            allow_partial=allow_partial,
            key=f"{sale.order}/{step}",
            issue_time=self._clock.issue_time,
            holder=sale.order,
        )
        if not twice:
            return await self._sender.send(draft, due_s)
        first, _ = await asyncio.gather(self._sender.send(draft, due_s), self._sender.send(draft, due_s))
        return first

    async def continue_sale(self, sale: Sale, reservation_id: str, held_s: float) -> None:
        """Continues a sale whose hold was taken at second `held_s`: pays, pays late, releases or abandons it."""
        if sale.behaviour is Behaviour.ABANDONS:
            self._orders[EXPIRED] += 1
            return
        await self._clock.until(held_s + sale.ends_after_s)
        if sale.behaviour is Behaviour.CANCELS:
            decision = await self._step(sale, "release", reservation_id)
            # While the server is down a hold may expire, and nothing was promised any more.
            end = EXPIRED_BEFORE if decision.reason == "RESERVATION_EXPIRED" else decision.reason
            self._orders[RELEASED if decision.accepted else end] += 1
            return
        paid = await self._step(sale, "allocate", reservation_id)
        if not paid.accepted:
            self._orders[TOO_LATE if paid.reason == "INSUFFICIENT_STOCK" else paid.reason] += 1
            return
        await self._clock.until(min(self._clock.now_s + sale.fulfils_after_s, self._close_s))
        decision = await self._step(sale, "fulfill", reservation_id)
        self._orders[FULFILLED if decision.accepted else decision.reason] += 1

    async def _step(self, sale: Sale, step: str, reservation_id: str) -> Decision:
        make = {"allocate": commands.allocate, "release": commands.release, "fulfill": commands.fulfill}[step]
        issued = self._clock.issue_time
        draft = make(reservation_id, key=f"{sale.order}/{step}", issue_time=issued, order_ref=sale.order)
        return await self._sender.send(draft)
