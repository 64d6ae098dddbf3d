"""A desk whose engine is a few lines of Python: enough to see what a role asks for, and in which order."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from invengine.client import Draft, Hold, HoldLine, LineState, Receipt, commands
from invengine.errors import InsufficientStock, KeyCancelled, Rejected, ReservationNotFound
from invengine.simulate.answers import Answer
from invengine.simulate.desk import Desk, Row, Told
from invengine.simulate.pace import Clock, Pace
from invengine.simulate.tally import Tally


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time leaps to the next timer when there is nothing to do: hours of waiting take no time.

    So the order of events depends on their times alone, however busy the machine is.
    """

    _leapt_s = 0.0

    def time(self) -> float:
        """The loop's own time."""
        return super().time() + self._leapt_s

    def _run_once(self) -> None:
        loop = cast(Any, self)
        if not loop._ready and loop._scheduled:
            self._leapt_s += max(0.0, loop._scheduled[0].when() - self.time())
        cast(Any, super())._run_once()


class PaperDesk:
    """Holds by the key that made them; `stock` units of everything together."""

    def __init__(self, stock: int) -> None:
        self.pace = Pace(Clock(1.0, lambda: asyncio.get_running_loop().time()))
        self.tally = Tally()
        self.stock = stock
        self.asked: list[tuple[str, str]] = []
        """Kind and key of every command, in order."""
        self.batches: list[int] = []
        self._holds: dict[str, Hold] = {}
        self._cancelled: set[str] = set()
        self._told: dict[str, Told] = {}

    def as_desk(self) -> Desk:
        """The same, for those who want a Desk."""
        return cast(Desk, self)

    def play(self, scene: Callable[[], Coroutine[Any, Any, None]]) -> Counter[str]:
        """Plays a scene from second 0, and gives how all orders ended. Nobody really waits."""

        async def played() -> None:
            self.pace.clock.start(datetime(2026, 11, 27, tzinfo=UTC), 0.0)
            await scene()

        with asyncio.Runner(loop_factory=LeapingLoop) as runner:
            runner.run(played())
        return self.tally.orders

    async def ask(self, draft: Draft[Any], due_s: float | None = None) -> Told:
        """The answer of the few lines below."""
        await asyncio.sleep(0)
        return self._answer(draft)

    async def upload(self, drafts: Sequence[Draft[Any]]) -> list[Told]:
        """Answers in order."""
        self.batches.append(len(drafts))
        return [self._answer(draft) for draft in drafts]

    async def columns(self, rows: Sequence[Row], ttl_s: float) -> list[Answer]:
        """Answers in order; it takes a moment, so that others gather meanwhile."""
        self.batches.append(len(rows))
        await asyncio.sleep(1.0)
        found = []
        for row in rows:
            told = self._answer(commands.reserve([row[:3]], key=row.key))
            hold = told.hold.reservation_id if told.hold else ""
            found.append(Answer("reserve", row.key, "web", int(told.accepted), hold, told.reason))
        return found

    def _answer(self, draft: Draft[Any]) -> Told:
        self.asked.append((draft.kind.name, draft.key))
        if draft.key not in self._told:
            try:
                self._told[draft.key] = Told(Receipt(1, 1, False), self._decide(draft))
            except Rejected as no:
                self._told[draft.key] = Told(None, rejection=no)
        return self._told[draft.key]

    def _decide(self, draft: Draft[Any]) -> tuple[Hold, ...]:
        if draft.kind.name == "reserve":
            return (self._reserve(draft),)
        target = draft.request.target
        hold = next(
            (
                hold
                for key, hold in self._holds.items()
                if key == target.reservation_key or hold.reservation_id == target.reservation_id
            ),
            None,
        )
        if hold is None and draft.kind.name == "release":
            self._cancelled.add(target.reservation_key)
            return ()
        if hold is None:
            raise ReservationNotFound
        return (hold,)

    def _reserve(self, draft: Draft[Any]) -> Hold:
        if draft.key in self._cancelled:
            raise KeyCancelled
        lines = []
        for line in draft.request.lines:
            units = min(line.quantity, self.stock)
            if units < line.quantity and not draft.request.allow_partial:
                raise InsufficientStock
            if units:
                self.stock -= units
                lines.append(HoldLine(line.sku, line.location, units, LineState.RESERVED, units))
        if not lines:
            raise InsufficientStock
        hold = Hold(f"R{len(self._holds)}", 1, 0, False, tuple(lines), Receipt(1, 1, False))
        self._holds[draft.key] = hold
        return hold
