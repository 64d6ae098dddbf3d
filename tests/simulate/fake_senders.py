"""A sender whose engine is a few lines of Python: enough to see what a role sends, and in which order."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from invengine.client import Draft, Hold, HoldLine, LineState, Receipt, commands
from invengine.errors import InsufficientStock, KeyCancelled, Rejected, ReservationExpired, ReservationNotFound
from invengine.simulate.promotion.answers import Answer
from invengine.simulate.promotion.clock import ProcessClock, SharedClock
from invengine.simulate.promotion.command_sender import CommandSender, Decision, Row
from invengine.simulate.promotion.tally import Tally


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer when it is idle: hours of waiting take no time.

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


class FakeSender:
    """Holds by the key that made them; `stock` units of everything together."""

    def __init__(self, stock: int) -> None:
        self.clock = ProcessClock(SharedClock(1.0, lambda: asyncio.get_running_loop().time()))
        self.tally = Tally()
        self.stock = stock
        self.asked: list[tuple[str, str]] = []
        """Kind and key of every command, in order."""
        self.expired = False
        """True if every hold has expired by the time of the next command on it."""
        self.batches: list[int] = []
        self._holds: dict[str, Hold] = {}
        self._cancelled: set[str] = set()
        self._decision_of: dict[str, Decision] = {}

    def as_sender(self) -> CommandSender:
        """The same, typed as a CommandSender."""
        return cast(CommandSender, self)

    def play(self, scene: Callable[[], Coroutine[Any, Any, None]]) -> Counter[str]:
        """Plays a scene from second 0, and returns how all orders ended. Nobody really waits."""

        async def played() -> None:
            self.clock.shared.start(datetime(2026, 11, 27, tzinfo=UTC), 0.0)
            await scene()

        with asyncio.Runner(loop_factory=LeapingLoop) as runner:
            runner.run(played())
        return self.tally.orders

    async def send(self, draft: Draft[Any], due_s: float | None = None) -> Decision:
        """The answer of the few lines below."""
        await asyncio.sleep(0)
        return self._answer(draft)

    async def send_batch(self, drafts: Sequence[Draft[Any]]) -> list[Decision]:
        """Answers in order."""
        self.batches.append(len(drafts))
        return [self._answer(draft) for draft in drafts]

    async def reserve_columns(self, rows: Sequence[Row], ttl_s: float) -> list[Answer]:
        """Answers in order; it takes a moment, so that others gather meanwhile."""
        self.batches.append(len(rows))
        await asyncio.sleep(1.0)
        found = []
        for row in rows:
            decision = self._answer(commands.reserve([row[:3]], key=row.key))
            hold = decision.hold.reservation_id if decision.hold else ""
            found.append(Answer("reserve", row.key, "web", int(decision.accepted), hold, decision.reason))
        return found

    def _answer(self, draft: Draft[Any]) -> Decision:
        self.asked.append((draft.kind.name, draft.key))
        if draft.key not in self._decision_of:
            try:
                self._decision_of[draft.key] = Decision(Receipt(1, 1, False), self._decide(draft))
            except Rejected as no:
                self._decision_of[draft.key] = Decision(None, rejection=no)
        return self._decision_of[draft.key]

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
        if self.expired:
            raise ReservationExpired
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
