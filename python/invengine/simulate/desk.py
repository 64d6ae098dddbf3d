"""The way from a client process to the engine: sends, repeats with the same key, finds out, writes down.

Whatever happens to the server, a desk ends every command with one of two words: it happened, or it was refused. After
an outage it asks the server about every yes that it was ever given.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from invengine.client import AsyncClient, AsyncSource, Draft, Hold, Outcome, Receipt
from invengine.client.times import stamp_ms
from invengine.errors import (
    Fault,
    InsufficientStock,
    InvengineError,
    OutcomeUnknown,
    Rejected,
    SequenceConsumed,
    error_from_reason,
)
from invengine.simulate.answers import Answer, AnswerLog
from invengine.simulate.pace import Pace
from invengine.simulate.sales import Place
from invengine.simulate.tally import Tally

T = TypeVar("T")

ATTEMPT_S = 2.0
PAUSE_S = 0.2
OUTAGE_MAX_S = 60.0
"""A server that stays away for this long does not come back: the client process ends with the error."""
LOOK_UPS_AT_ONCE = 32
BATCH_ROWS = 1_000
"""Most rows of one batch of columns."""


class Told:
    """The engine's final word on one command."""

    __slots__ = ("holds", "receipt", "rejection")

    def __init__(
        self, receipt: Receipt | None, holds: tuple[Hold, ...] = (), rejection: InvengineError | None = None
    ) -> None:
        self.receipt = receipt
        self.holds = holds
        self.rejection = rejection

    @property
    def accepted(self) -> bool:
        """True if it happened."""
        return self.receipt is not None

    @property
    def hold(self) -> Hold | None:
        """The hold that it made or changed; None if it was refused."""
        return self.holds[0] if self.holds else None

    @property
    def reason(self) -> str:
        """Why it was refused; empty if it was not."""
        return "" if self.rejection is None else self.rejection.reason


class Row(NamedTuple):
    """One line of a batch of columns; `due_s` is when it should have left."""

    sku: str
    location: str
    quantity: int
    key: str
    due_s: float


class Desk:
    """One client process's desk. `scope` is where its keys live: its channel, or `source:` and a source's name."""

    def __init__(self, client: AsyncClient, log: AnswerLog, pace: Pace, tally: Tally, scope: str) -> None:
        self.client = client
        self.pace = pace
        self.tally = tally
        self._log = log
        self._scope = scope
        self._seen: dict[str, Answer] = {}
        self._accepted: list[tuple[int, Answer]] = []
        """With the issue_time of each, in milliseconds."""
        self._messages: dict[str, Draft[Any]] = {}

    async def ask(self, draft: Draft[Any], due_s: float | None = None) -> Told:
        """Sends one command that has a key until it is answered; `due_s` is when it should have left."""
        sent_at, began_s = time.perf_counter(), self.pace.now_s
        told = await self._settle(draft)
        self._measure(draft.kind.name, sent_at, began_s, due_s)
        self._note(draft, draft.key, told)
        return told

    async def upload(self, drafts: Sequence[Draft[Any]]) -> list[Told]:
        """Sends many commands as one batch until it is answered; one word for each."""
        sent_at = time.perf_counter()
        outcomes = await self._insist(lambda: self.client.submit(drafts, timeout_s=ATTEMPT_S))
        self.tally.uploads_ms.append((time.perf_counter() - sent_at) * 1000)
        found = [_told(outcome) for outcome in outcomes]
        for draft, told in zip(drafts, found, strict=True):
            self._note(draft, draft.key, told)
        return found

    async def columns(self, rows: Sequence[Row], ttl_s: float) -> list[Answer]:
        """Reserves one line a row in one batch until every row is answered; one answer for each."""
        sent_at, began_s = time.perf_counter(), self.pace.now_s
        answers: dict[str, Answer] = {}
        left = list(rows)
        while left:
            issued = self.pace.issue_time
            for row, answer in zip(left, await self._columns(left, ttl_s, issued), strict=True):
                if answer.reason and isinstance(error_from_reason(0, answer.reason), Fault):
                    self.tally.faults[answer.reason] += 1
                    continue
                answers[row.key] = answer
                # Columns do not say whether a yes was given again; who has one already knows.
                self.tally.replayed += answer.accepted and answer == self._seen.get(row.key)
                self._enter(answer, round(issued.timestamp() * 1000), ((row.sku, row.location), row.quantity))
            left = [row for row in left if row.key not in answers]
            if left:
                await asyncio.sleep(PAUSE_S)
        self._measure_rows(rows, (time.perf_counter() - sent_at) * 1000, began_s)
        return [answers[row.key] for row in rows]

    async def _columns(self, rows: Sequence[Row], ttl_s: float, issued: datetime) -> list[Answer]:
        names, places, units, keys, _ = zip(*rows, strict=True)
        found = await self._insist(
            lambda: self.client.submit_reserves(
                names, places, units, keys=keys, ttl_s=ttl_s, issue_time=issued, timeout_s=ATTEMPT_S
            )
        )
        told = zip(found.keys, found.sequences, found.reservation_ids, found.reasons, strict=True)
        return [Answer("reserve", key, self._scope, sequence, hold, reason) for key, sequence, hold, reason in told]

    async def deliver(self, source: AsyncSource, draft: Draft[Any]) -> Told:
        """Sends one numbered message; the source repeats it by itself, in order, until it is answered."""
        sent_at = time.perf_counter()
        self.tally.calls += 1
        try:
            told = _told_by(await source.send(draft, OUTAGE_MAX_S))
        except Rejected as no:
            told = Told(None, rejection=no)
        self.tally.command_ms.append((time.perf_counter() - sent_at) * 1000)
        place = draft.request.context.source
        name = f"{place.epoch}/{place.sequence}"
        self._messages[name] = draft
        self._note(draft, name, told)
        return told

    async def look_up(self) -> None:
        """Asks the server about every yes so far; what it does not know, or knows otherwise, is lost.

        A yes that is older than keys are remembered is left to the audit of the journal.
        """
        room = asyncio.Semaphore(LOOK_UPS_AT_ONCE)
        about = await self._insist(lambda: self.client.server_info(timeout_s=ATTEMPT_S))
        remembered_ms = (about.engine_time.timestamp() - about.effective_dedupe_window_s) * 1000

        async def one(answer: Answer) -> None:
            async with room:
                known = await self._insist(lambda: self._known(answer))
            self.tally.looked_up += 1
            if known != (answer.sequence, answer.reservation_id):
                self.tally.lost.append(f"{answer.scope} {answer.key}: told {answer}, later {known}")

        async with asyncio.TaskGroup() as group:
            for issued_ms, answer in list(self._accepted):
                if issued_ms > remembered_ms:
                    group.create_task(one(answer))

    async def _known(self, answer: Answer) -> tuple[int, str] | None:
        """Position and hold of an answer as the server knows it now."""
        if answer.key in self._messages:
            try:
                # A message has no key to ask by: sent again as it was, it is answered as it was.
                told = _told_by(await self.client.send(self._messages[answer.key], ATTEMPT_S))
            except SequenceConsumed:
                return answer.sequence, answer.reservation_id
        else:
            known = await self.client.get_outcome(answer.key, timeout_s=ATTEMPT_S)
            if known.outcome is None:
                return None
            told = _told(known.outcome)
        return None if told.receipt is None else (told.receipt.sequence, _hold_id(told))

    async def _settle(self, draft: Draft[Any]) -> Told:
        while True:
            try:
                return _told_by(await self._insist(lambda: self.client.send(draft, ATTEMPT_S), OutcomeUnknown))
            except Rejected as no:
                return Told(None, rejection=no)
            except OutcomeUnknown as fault:
                self.tally.faults[fault.reason] += 1
                told = await self._look(draft.key)
                if told is not None:
                    self.tally.unknown_resolved += 1
                    return told

    async def _look(self, key: str) -> Told | None:
        """What the key did, once somebody answers; None if it did nothing yet, so that it is sent again."""
        known = await self._insist(lambda: self.client.get_outcome(key, timeout_s=ATTEMPT_S))
        return _told(known.outcome) if known.known and known.outcome is not None else None

    async def _insist(self, call: Callable[[], Awaitable[T]], besides: type[Fault] | None = None) -> T:
        """The call's answer, however often it must be made; a fault of the kind `besides` is the caller's."""
        gives_up_at = time.monotonic() + OUTAGE_MAX_S
        while True:
            self.tally.calls += 1
            try:
                return await call()
            except Fault as fault:
                if (besides is not None and isinstance(fault, besides)) or time.monotonic() > gives_up_at:
                    raise
                self.tally.faults[fault.reason or type(fault).__name__] += 1
                await asyncio.sleep(PAUSE_S)

    def _measure(self, kind: str, sent_at: float, began_s: float, due_s: float | None) -> None:
        took_ms = (time.perf_counter() - sent_at) * 1000
        if kind != "reserve":
            self.tally.command_ms.append(took_ms)
            return
        waited_ms = 0.0 if due_s is None else max(0.0, began_s - due_s) / self.pace.clock.scale * 1000
        self.tally.reserve_ms.append(took_ms)
        self.tally.reserve_late_ms.append(took_ms + waited_ms)
        self.tally.at_s.append(began_s)

    def _measure_rows(self, rows: Sequence[Row], took_ms: float, began_s: float) -> None:
        for row in rows:
            waited_ms = max(0.0, began_s - row.due_s) / self.pace.clock.scale * 1000
            self.tally.flash_ms.append(took_ms + waited_ms)
            self.tally.flash_at_s.append(began_s)

    def _note(self, draft: Draft[Any], key: str, told: Told) -> None:
        kind, issued_ms = draft.kind.name, stamp_ms(draft.request.context.issue_time)
        receipt, no = told.receipt, told.rejection
        if receipt is not None:
            self.tally.replayed += receipt.replayed
            lines = [((line.sku, line.location), line.quantity) for hold in told.holds for line in hold.lines]
            self._enter(Answer(kind, key, self._scope, receipt.sequence, _hold_id(told)), issued_ms, *lines)
            return
        if isinstance(no, InsufficientStock) and 0 < no.requested <= no.available:
            self.tally.false_refusals += 1
        self._enter(Answer(kind, key, self._scope, 0, "", told.reason), issued_ms)

    def _enter(self, answer: Answer, issued_ms: int, *lines: tuple[Place, int]) -> None:
        """Writes an answer down, and counts it with its lines if it is the first one of its key."""
        self._log.write(answer)
        before = self._seen.get(answer.key)
        if before is not None and before.accepted:
            if before != answer:
                self.tally.contradictions.append(f"{answer.key}: {before} and then {answer}")
            return
        self._seen[answer.key] = answer
        if answer.accepted:
            self._accepted.append((issued_ms, answer))
            self.tally.accepted[answer.kind] += 1
            for place, units in lines:
                self.tally.count_line(answer.kind, place, units)
        elif before is None:
            self.tally.refused[f"{answer.kind} {answer.reason}"] += 1


def _hold_id(told: Told) -> str:
    return told.holds[0].reservation_id if told.holds else ""


def _told_by(answer: Any) -> Told:
    """A word from an answer of the client: a Hold, Changes or StockChanges."""
    holds = (answer,) if isinstance(answer, Hold) else tuple(getattr(answer, "holds", ()))
    return Told(answer.receipt, holds)


def _told(outcome: Outcome) -> Told:
    return Told(outcome.receipt, outcome.holds, outcome.rejection)
