"""Sends the commands of a client process to the engine: retries with the same key, looks up outcomes, records answers.

Whatever happens to the server, every command ends with one of two decisions: it was accepted, or it was refused. After
an outage the sender asks the server about every acceptance that it ever got.
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
from invengine.simulate.audit import LevelKey
from invengine.simulate.promotion.answers import Answer, AnswerLog
from invengine.simulate.promotion.clock import ProcessClock
from invengine.simulate.promotion.tally import Tally

T = TypeVar("T")

ATTEMPT_S = 2.0
PAUSE_S = 0.2
OUTAGE_MAX_S = 60.0
"""A server that is down for this long does not come back: the client process ends with the error."""
LOOK_UPS_AT_ONCE = 32
BATCH_ROWS = 1_000
"""Maximum rows of one columnar batch."""


class Decision:
    """The engine's final decision on one command."""

    __slots__ = ("holds", "receipt", "rejection")

    def __init__(
        self, receipt: Receipt | None, holds: tuple[Hold, ...] = (), rejection: InvengineError | None = None
    ) -> None:
        self.receipt = receipt
        self.holds = holds
        self.rejection = rejection

    @property
    def accepted(self) -> bool:
        """True if it was accepted."""
        return self.receipt is not None

    @property
    def hold(self) -> Hold | None:
        """The hold that it created or changed; None if it was refused."""
        return self.holds[0] if self.holds else None

    @property
    def reason(self) -> str:
        """Why it was refused; empty if it was not."""
        return "" if self.rejection is None else self.rejection.reason


class Row(NamedTuple):
    """One row of a columnar batch; `due_s` is when it should have been sent."""

    sku: str
    location: str
    quantity: int
    key: str
    due_s: float


class CommandSender:
    """Sends the commands of one process. `scope` is that of its keys: its channel, or `source:` and a source's name."""

    def __init__(self, client: AsyncClient, log: AnswerLog, clock: ProcessClock, tally: Tally, scope: str) -> None:
        self.client = client
        self.clock = clock
        self.tally = tally
        self._log = log
        self._scope = scope
        self._seen: dict[str, Answer] = {}
        self._accepted: list[tuple[int, Answer]] = []
        """With the issue_time of each, in milliseconds."""
        self._messages: dict[str, Draft[Any]] = {}

    async def send(self, draft: Draft[Any], due_s: float | None = None) -> Decision:
        """Sends one command that has a key until it is decided; `due_s` is when it should have been sent."""
        sent_at, began_s = time.perf_counter(), self.clock.now_s
        decision = await self._send_until_decided(draft)
        self._measure(draft.kind.name, sent_at, began_s, due_s)
        self._record(draft, draft.key, decision)
        return decision

    async def send_batch(self, drafts: Sequence[Draft[Any]]) -> list[Decision]:
        """Sends many commands as one batch until it is answered; one decision for each."""
        sent_at, began_s = time.perf_counter(), self.clock.now_s
        outcomes = await self._retry(lambda: self.client.submit(drafts, timeout_s=ATTEMPT_S))
        self.tally.uploads_ms.append((time.perf_counter() - sent_at) * 1000)
        self.tally.uploads_at_s.append(began_s)
        found = [_decision_of(outcome) for outcome in outcomes]
        for draft, decision in zip(drafts, found, strict=True):
            self._record(draft, draft.key, decision)
        return found

    async def reserve_columns(self, rows: Sequence[Row], ttl_s: float) -> list[Answer]:
        """Reserves one line per row in one batch until every row is answered; one answer for each."""
        sent_at, began_s = time.perf_counter(), self.clock.now_s
        answers: dict[str, Answer] = {}
        left = list(rows)
        while left:
            issued = self.clock.issue_time
            for row, answer in zip(left, await self._columns(left, ttl_s, issued), strict=True):
                if answer.reason and isinstance(error_from_reason(0, answer.reason), Fault):
                    self.tally.faults[answer.reason] += 1
                    continue
                answers[row.key] = answer
                # Columns do not state whether an acceptance is a repeat; it is one if it was seen before.
                self.tally.replayed += answer.accepted and answer == self._seen.get(row.key)
                self._record_answer(answer, round(issued.timestamp() * 1000), ((row.sku, row.location), row.quantity))
            left = [row for row in left if row.key not in answers]
            if left:
                await asyncio.sleep(PAUSE_S)
        self._measure_rows(rows, (time.perf_counter() - sent_at) * 1000, began_s)
        return [answers[row.key] for row in rows]

    async def _columns(self, rows: Sequence[Row], ttl_s: float, issued: datetime) -> list[Answer]:
        names, places, units, keys, _ = zip(*rows, strict=True)
        found = await self._retry(
            lambda: self.client.submit_reserves(
                names, places, units, keys=keys, ttl_s=ttl_s, issue_time=issued, timeout_s=ATTEMPT_S
            )
        )
        decision = zip(found.keys, found.sequences, found.reservation_ids, found.reasons, strict=True)
        return [Answer("reserve", key, self._scope, sequence, hold, reason) for key, sequence, hold, reason in decision]

    async def send_message(self, source: AsyncSource, draft: Draft[Any]) -> Decision:
        """Sends one numbered message; the source repeats it by itself, in order, until it is answered."""
        sent_at, began_s = time.perf_counter(), self.clock.now_s
        self.tally.calls += 1
        try:
            decision = _decision_of_answer(await source.send(draft, OUTAGE_MAX_S))
        except Rejected as rejection:
            decision = Decision(None, rejection=rejection)
        self._measure(draft.kind.name, sent_at, began_s, None)
        place = draft.request.context.source
        name = f"{place.epoch}/{place.sequence}"
        self._messages[name] = draft
        self._record(draft, name, decision)
        return decision

    async def verify_answers(self) -> None:
        """Asks the server about every acceptance so far; one that is unknown or different there is counted as lost.

        One that is older than the dedupe window is left to the audit of the journal.
        """
        slots = asyncio.Semaphore(LOOK_UPS_AT_ONCE)
        about = await self._retry(lambda: self.client.server_info(timeout_s=ATTEMPT_S))
        remembered_ms = (about.engine_time.timestamp() - about.effective_dedupe_window_s) * 1000

        async def one(answer: Answer) -> None:
            async with slots:
                known = await self._retry(lambda: self._known(answer))
            self.tally.looked_up += 1
            if known != (answer.sequence, answer.reservation_id):
                self.tally.lost.append(f"{answer.scope} {answer.key}: answered {answer}, later {known}")

        async with asyncio.TaskGroup() as group:
            for issued_ms, answer in list(self._accepted):
                if issued_ms > remembered_ms:
                    group.create_task(one(answer))

    async def _known(self, answer: Answer) -> tuple[int, str] | None:
        """Position and hold of an answer as the server knows it now."""
        if answer.key in self._messages:
            try:
                # A message has no key to look up: sent again unchanged, it gets the same answer.
                decision = _decision_of_answer(await self.client.send(self._messages[answer.key], ATTEMPT_S))
            except SequenceConsumed:
                return answer.sequence, answer.reservation_id
        else:
            known = await self.client.get_outcome(answer.key, timeout_s=ATTEMPT_S)
            if known.outcome is None:
                return None
            decision = _decision_of(known.outcome)
        return None if decision.receipt is None else (decision.receipt.sequence, _hold_id(decision))

    async def _send_until_decided(self, draft: Draft[Any]) -> Decision:
        while True:
            try:
                return _decision_of_answer(
                    await self._retry(lambda: self.client.send(draft, ATTEMPT_S), OutcomeUnknown)
                )
            except Rejected as rejection:
                return Decision(None, rejection=rejection)
            except OutcomeUnknown as fault:
                self.tally.faults[fault.reason] += 1
                decision = await self._find_outcome(draft.key)
                if decision is not None:
                    self.tally.unknown_resolved += 1
                    return decision

    async def _find_outcome(self, key: str) -> Decision | None:
        """The outcome of a key, once the server answers; None if it has none yet, so that the command is sent again."""
        known = await self._retry(lambda: self.client.get_outcome(key, timeout_s=ATTEMPT_S))
        return _decision_of(known.outcome) if known.known and known.outcome is not None else None

    async def _retry(self, call: Callable[[], Awaitable[T]], except_for: type[Fault] | None = None) -> T:
        """Repeats a call until it is answered; a fault of the kind `except_for` is raised."""
        deadline = time.monotonic() + OUTAGE_MAX_S
        while True:
            self.tally.calls += 1
            try:
                return await call()
            except Fault as fault:
                if (except_for is not None and isinstance(fault, except_for)) or time.monotonic() > deadline:
                    raise
                self.tally.faults[fault.reason or type(fault).__name__] += 1
                await asyncio.sleep(PAUSE_S)

    def _measure(self, kind: str, sent_at: float, began_s: float, due_s: float | None) -> None:
        took_ms = (time.perf_counter() - sent_at) * 1000
        if kind != "reserve":
            self.tally.command_ms.append(took_ms)
            self.tally.command_at_s.append(began_s)
            return
        waited_ms = 0.0 if due_s is None else max(0.0, began_s - due_s) / self.clock.shared.scale * 1000
        self.tally.reserve_ms.append(took_ms)
        self.tally.reserve_late_ms.append(took_ms + waited_ms)
        self.tally.at_s.append(began_s)

    def _measure_rows(self, rows: Sequence[Row], took_ms: float, began_s: float) -> None:
        for row in rows:
            waited_ms = max(0.0, began_s - row.due_s) / self.clock.shared.scale * 1000
            self.tally.flash_ms.append(took_ms + waited_ms)
            self.tally.flash_at_s.append(began_s)

    def _record(self, draft: Draft[Any], key: str, decision: Decision) -> None:
        kind, issued_ms = draft.kind.name, stamp_ms(draft.request.context.issue_time)
        receipt, rejection = decision.receipt, decision.rejection
        if receipt is not None:
            self.tally.replayed += receipt.replayed
            lines = [((line.sku, line.location), line.quantity) for hold in decision.holds for line in hold.lines]
            self._record_answer(Answer(kind, key, self._scope, receipt.sequence, _hold_id(decision)), issued_ms, *lines)
            return
        if isinstance(rejection, InsufficientStock) and 0 < rejection.requested <= rejection.available:
            self.tally.false_refusals += 1
        self._record_answer(Answer(kind, key, self._scope, 0, "", decision.reason), issued_ms)

    def _record_answer(self, answer: Answer, issued_ms: int, *lines: tuple[LevelKey, int]) -> None:
        """Records an answer, and counts it with its lines if it is the first one of its key."""
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


def _hold_id(decision: Decision) -> str:
    return decision.holds[0].reservation_id if decision.holds else ""


def _decision_of_answer(answer: Any) -> Decision:
    """The decision in an answer of the client: a Hold, Changes or StockChanges."""
    holds = (answer,) if isinstance(answer, Hold) else tuple(getattr(answer, "holds", ()))
    return Decision(answer.receipt, holds)


def _decision_of(outcome: Outcome) -> Decision:
    return Decision(outcome.receipt, outcome.holds, outcome.rejection)
