"""A desk whose engine is a few lines of Python: enough to see what a role asks for, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from invengine.client import Draft, Hold, HoldLine, LineState, Receipt
from invengine.errors import InsufficientStock, KeyCancelled, Rejected, ReservationNotFound
from invengine.simulate.desk import Desk, Told
from invengine.simulate.pace import Clock, Pace
from invengine.simulate.tally import Tally


class PaperDesk:
    """Holds by the key that made them; `stock` units of everything together."""

    def __init__(self, stock: int, scale: float = 50_000.0) -> None:
        clock = Clock(scale)
        clock.start(datetime(2026, 11, 27, tzinfo=UTC), 0.0)
        self.pace = Pace(clock)
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

    async def ask(self, draft: Draft[Any], due_s: float | None = None) -> Told:
        """The answer of the few lines below."""
        await asyncio.sleep(0)
        return self._answer(draft)

    async def upload(self, drafts: Sequence[Draft[Any]]) -> list[Told]:
        """Answers in order."""
        self.batches.append(len(drafts))
        return [self._answer(draft) for draft in drafts]

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
