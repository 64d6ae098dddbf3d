"""A marketplace and its connector: messages arrive late, twice and in the wrong order, and each takes effect once.

Orders, confirmations of payment and cancellations are messages of their own. A duplicate carries the same key and gets
the same answer. A cancellation that overtakes its order leaves a tombstone, so the order is refused when it comes. A
confirmation that overtakes its order finds no hold; the connector then tries again under a new key.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Any

from invengine.client import Draft, commands
from invengine.simulate.promotion.assumptions import Messages
from invengine.simulate.promotion.chance import dice
from invengine.simulate.promotion.command_sender import CommandSender, Decision
from invengine.simulate.promotion.sales import Behaviour, Sale
from invengine.simulate.promotion.shoppers import EXPIRED, FULFILLED, REFUSED, RELEASED, TOO_LATE

TRIES = 16
TRY_AGAIN_S = 120.0
OVERTAKEN = "cancelled before the order came"
NO_HOLD_YET = "RESERVATION_NOT_FOUND"


class Marketplace:
    """The connector of one marketplace. After second `close_s` of the stream nothing waits for its usual time."""

    def __init__(self, sender: CommandSender, messages: Messages, close_s: float) -> None:
        self._sender = sender
        self._clock = sender.clock
        self._orders = sender.tally.orders
        self._messages = messages
        self._close_s = close_s

    async def serve(self, sales: Iterable[Sale]) -> None:
        """Sends the messages of each sale; returns when the last one is done."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for sale in sales:
                await self._clock.until(sale.at_s)
                group.create_task(self._sale(sale))

    async def _sale(self, sale: Sale) -> None:
        roll = dice(sale.seed, sale.order)
        order_s = sale.at_s + roll.uniform(*self._messages.order_delay_s)
        if sale.behaviour is Behaviour.CANCELS:
            await self._cancelled(sale, order_s, roll)
        elif sale.behaviour is Behaviour.ABANDONS:
            decision = await self._at(order_s, self._reserve(sale), roll)
            self._orders[EXPIRED if decision.accepted else REFUSED] += 1
        else:
            await self._paid(sale, order_s, roll)

    async def _cancelled(self, sale: Sale, order_s: float, roll: random.Random) -> None:
        cancel_s = order_s + sale.ends_after_s
        if roll.random() < self._messages.cancel_overtakes_chance:
            order_s, cancel_s = cancel_s, order_s
        taken, _ = await asyncio.gather(
            self._at(order_s, self._reserve(sale), roll), self._at(cancel_s, self._step(sale, "release"), roll)
        )
        if taken.reason == "KEY_CANCELLED":
            self._orders[OVERTAKEN] += 1
        else:
            self._orders[RELEASED if taken.accepted else REFUSED] += 1

    async def _paid(self, sale: Sale, order_s: float, roll: random.Random) -> None:
        confirm_s = self._confirm_s(sale, order_s, roll)
        if roll.random() < self._messages.confirm_overtakes_chance:
            order_s, confirm_s = confirm_s, order_s
        order = self._group.create_task(self._at(order_s, self._reserve(sale), roll))
        paid = await self._confirm(confirm_s, sale, order, roll)
        taken = await order
        if not taken.accepted:
            self._orders[REFUSED] += 1
        elif paid is None or not paid.accepted:
            reason = "" if paid is None else paid.reason
            self._orders[TOO_LATE if reason == "INSUFFICIENT_STOCK" else f"not confirmed {reason}"] += 1
        else:
            fulfil_s = min(self._clock.now_s + sale.fulfils_after_s, self._close_s)
            done = await self._at(fulfil_s, self._step(sale, "fulfill"), roll)
            self._orders[FULFILLED if done.accepted else done.reason] += 1

    def _confirm_s(self, sale: Sale, order_s: float, roll: random.Random) -> float:
        """When the confirmation arrives: minutes later, or for a late payer after the hold has expired."""
        if sale.behaviour is Behaviour.PAYS_LATE:
            return order_s + sale.hold_s * roll.uniform(1.05, 1.5)
        return order_s + roll.uniform(*self._messages.confirm_s)

    async def _confirm(
        self, at_s: float, sale: Sale, order: asyncio.Task[Decision], roll: random.Random
    ) -> Decision | None:
        """The answer to the confirmation; None if the order was refused, so that there is nothing to confirm."""
        decision = None
        for attempt in range(TRIES):
            await self._clock.until(at_s + attempt * TRY_AGAIN_S)
            if order.done() and not order.result().accepted:
                return None
            draft = self._step(sale, "allocate", "" if attempt == 0 else f"-{attempt + 1}")
            decision = await self._at(at_s, draft, roll)
            if decision.reason != NO_HOLD_YET:
                break
        return decision

    async def _at(self, at_s: float, draft: Draft[Any], roll: random.Random) -> Decision:
        """Sends a message at its time, and randomly a second time some time later."""
        again_s = roll.uniform(*self._messages.duplicate_s) if roll.random() < self._messages.duplicate_chance else 0.0
        await self._clock.until(at_s)
        decision = await self._sender.send(draft)
        if again_s:
            self._group.create_task(self._again(at_s + again_s, draft))
        return decision

    async def _again(self, at_s: float, draft: Draft[Any]) -> None:
        await self._clock.until(at_s)
        await self._sender.send(draft)

    def _reserve(self, sale: Sale) -> Draft[Any]:
        return commands.reserve(
            sale.lines,
            ttl_s=sale.hold_s,
            allow_partial=sale.takes_rest,
            key=f"{sale.order}/reserve",
            issue_time=self._clock.issue_time,
            holder=sale.order,
        )

    def _step(self, sale: Sale, step: str, suffix: str = "") -> Draft[Any]:
        make = {"allocate": commands.allocate, "release": commands.release, "fulfill": commands.fulfill}[step]
        return make(
            reservation_key=f"{sale.order}/reserve",
            key=f"{sale.order}/{step}{suffix}",
            issue_time=self._clock.issue_time,
            order_ref=sale.order,
        )
