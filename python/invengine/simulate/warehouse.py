"""The warehouse system: an ordered source that numbers its messages of returned goods, units found and units lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from operator import attrgetter

from invengine.client import AsyncSource, Draft, StockState, commands
from invengine.simulate.desk import Desk
from invengine.simulate.pace import Pace
from invengine.simulate.sales import Adjusted, Returned

SOURCE = "warehouse-system"


async def deliver_all(desk: Desk, source: AsyncSource, facts: Iterable[Returned | Adjusted]) -> None:
    """Tells every fact at its time, in order."""
    async with asyncio.TaskGroup() as group:
        for fact in sorted(facts, key=attrgetter("at_s")):
            await desk.pace.until(fact.at_s)
            group.create_task(_deliver(desk, source, fact))


async def _deliver(desk: Desk, source: AsyncSource, fact: Returned | Adjusted) -> None:
    told = await desk.deliver(source, message(fact, desk.pace))
    if told.accepted:
        for sku, location, units in fact.lines:
            desk.tally.stock[sku, location] += units


def message(fact: Returned | Adjusted, pace: Pace) -> Draft[object]:
    """The command of a fact. It has no key: its number in the source's line is its identity."""
    if isinstance(fact, Returned):
        state = StockState.DAMAGED if fact.damaged else None
        return commands.return_(fact.lines, state=state, reference=fact.reference, issue_time=pace.issue_time)
    reason = "found" if fact.lines[0].quantity > 0 else "lost"
    return commands.adjust(fact.lines, reason_code=reason, reference=fact.reference, issue_time=pace.issue_time)
