"""The warehouse system: an ordered source that numbers its messages of returned goods, units found and units lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from operator import attrgetter

from invengine.client import AsyncSource, Draft, StockState, commands
from invengine.simulate.promotion.clock import ProcessClock
from invengine.simulate.promotion.command_sender import CommandSender
from invengine.simulate.promotion.sales import Adjusted, Returned

SOURCE = "warehouse-system"


async def deliver_all(sender: CommandSender, source: AsyncSource, facts: Iterable[Returned | Adjusted]) -> None:
    """Sends every fact at its time, in order."""
    async with asyncio.TaskGroup() as group:
        for fact in sorted(facts, key=attrgetter("at_s")):
            await sender.clock.until(fact.at_s)
            group.create_task(_deliver(sender, source, fact))


async def _deliver(sender: CommandSender, source: AsyncSource, fact: Returned | Adjusted) -> None:
    decision = await sender.send_message(source, message(fact, sender.clock))
    if decision.accepted:
        for sku, location, units in fact.lines:
            sender.tally.stock[sku, location] += units


def message(fact: Returned | Adjusted, clock: ProcessClock) -> Draft[object]:
    """The command of a fact. It has no key: its number in the source's stream identifies it."""
    if isinstance(fact, Returned):
        state = StockState.DAMAGED if fact.damaged else None
        return commands.return_(fact.lines, state=state, reference=fact.reference, issue_time=clock.issue_time)
    reason = "found" if fact.lines[0].quantity > 0 else "lost"
    return commands.adjust(fact.lines, reason_code=reason, reference=fact.reference, issue_time=clock.issue_time)
