"""The way from a client process to the engine: sends, repeats with the same key, finds out, writes down.

Whatever happens to the server, a desk ends every command with one of two words: it happened, or it was refused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, TypeVar

from invengine.client import AsyncClient, AsyncSource, Draft, Hold, Outcome, Receipt
from invengine.errors import Fault, InsufficientStock, InvengineError, OutcomeUnknown, Rejected
from invengine.simulate.answers import Answer, AnswerLog
from invengine.simulate.pace import Pace
from invengine.simulate.tally import Tally

T = TypeVar("T")

ATTEMPT_S = 2.0
PAUSE_S = 0.2


class Told:
    """The engine's final word on one command."""

    __slots__ = ("holds", "receipt", "rejection")

    def __init__(self, receipt: Receipt | None, holds: tuple[Hold, ...], rejection: InvengineError | None) -> None:
        self.receipt = receipt
        self.holds = holds
        self.rejection = rejection

    @property
    def hold(self) -> Hold | None:
        """The hold that it made or changed; None if it was refused."""
        return self.holds[0] if self.holds else None


class Desk:
    """One client process's desk. `scope` is where its keys live: its channel, or `source:` and a source's name."""

    def __init__(self, client: AsyncClient, log: AnswerLog, pace: Pace, tally: Tally, scope: str) -> None:
        self.client = client
        self.pace = pace
        self.tally = tally
        self._log = log
        self._scope = scope
        self._seen: dict[str, Answer] = {}

    async def ask(
        self, draft: Draft[Any], due_s: float | None = None, via: AsyncClient | AsyncSource | None = None
    ) -> Told:
        """Sends one command that has a key until it is answered; `due_s` is when it should have left."""
        sent_at, began_s = time.perf_counter(), self.pace.now_s
        told = await self._settle(draft, via or self.client)
        self._measure(draft.kind.name, sent_at, began_s, due_s)
        self._note(draft.kind.name, draft.key, told)
        return told

    async def upload(self, drafts: Sequence[Draft[Any]]) -> list[Told]:
        """Sends many commands as one batch until it is answered; one word for each."""
        sent_at = time.perf_counter()
        while True:
            self.tally.calls += 1
            try:
                outcomes = await self.client.submit(drafts, timeout_s=ATTEMPT_S)
                break
            except Fault as fault:
                await self._wait_out(fault)
        self.tally.uploads_ms.append((time.perf_counter() - sent_at) * 1000)
        found = [_told(outcome) for outcome in outcomes]
        for draft, told in zip(drafts, found, strict=True):
            self._note(draft.kind.name, draft.key, told)
        return found

    async def _settle(self, draft: Draft[Any], via: AsyncClient | AsyncSource) -> Told:
        while True:
            self.tally.calls += 1
            try:
                answer = await via.send(draft, ATTEMPT_S)
                return Told(answer.receipt, _holds(answer), None)
            except Rejected as no:
                return Told(None, (), no)
            except OutcomeUnknown as fault:
                self.tally.faults[fault.reason] += 1
                told = await self._look(draft.key)
                if told is not None:
                    self.tally.unknown_resolved += 1
                    return told
            except Fault as fault:
                await self._wait_out(fault)

    async def _look(self, key: str) -> Told | None:
        """What the key did, once somebody answers; None if it did nothing yet, so that it is sent again."""
        if self._scope.startswith("source:"):
            return None  # A source sends again by itself.
        while True:
            try:
                known = await self.client.get_outcome(key, timeout_s=ATTEMPT_S)
                return _told(known.outcome) if known.known and known.outcome is not None else None
            except Fault as fault:
                await self._wait_out(fault)

    async def _wait_out(self, fault: Fault) -> None:
        self.tally.faults[fault.reason or type(fault).__name__] += 1
        await asyncio.sleep(PAUSE_S)

    def _measure(self, kind: str, sent_at: float, began_s: float, due_s: float | None) -> None:
        took_ms = (time.perf_counter() - sent_at) * 1000
        if kind != "reserve":
            self.tally.command_ms.append(took_ms)
            return
        waited_ms = 0.0 if due_s is None else max(0.0, began_s - due_s) / self.pace.scale * 1000
        self.tally.reserve_ms.append(took_ms)
        self.tally.reserve_late_ms.append(took_ms + waited_ms)
        self.tally.at_s.append(began_s)

    def _note(self, kind: str, key: str, told: Told) -> None:
        """Writes the answer down, and counts it if it is the first one of its key."""
        receipt, no = told.receipt, told.rejection
        if receipt is not None:
            self.tally.replayed += receipt.replayed
            name = told.holds[0].reservation_id if told.holds else ""
            answer = Answer(kind, key, self._scope, receipt.sequence, name)
        else:
            answer = Answer(kind, key, self._scope, 0, "", no.reason if no is not None else "")
            if isinstance(no, InsufficientStock) and 0 < no.requested <= no.available:
                self.tally.false_refusals += 1
        self._log.write(answer)
        before = self._seen.get(key)
        self._seen[key] = answer
        if before is None or (not before.accepted and answer.accepted):
            self._count(kind, answer, told)
        elif before != answer and before.accepted:
            self.tally.contradictions.append(f"{key}: {before} and then {answer}")

    def _count(self, kind: str, answer: Answer, told: Told) -> None:
        if not answer.accepted:
            self.tally.refused[f"{kind} {answer.reason}"] += 1
            return
        self.tally.accepted[kind] += 1
        for hold in told.holds:
            for line in hold.lines:
                place = (line.sku, line.location)
                if kind == "reserve":
                    self.tally.units_reserved += line.quantity
                elif kind == "allocate":
                    self.tally.allocated[place] += line.quantity
                elif kind == "fulfill":
                    self.tally.fulfilled[place] += line.quantity
                    self.tally.allocated[place] -= line.quantity


def _holds(answer: Any) -> tuple[Hold, ...]:
    if isinstance(answer, Hold):
        return (answer,)
    return tuple(getattr(answer, "holds", ()))


def _told(outcome: Outcome) -> Told:
    return Told(outcome.receipt, outcome.holds, outcome.rejection)
