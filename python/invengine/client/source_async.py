"""An ordered source for asyncio: a window of messages in flight, settled in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from invengine.client import arguments, commands, recording
from invengine.client.draft import Draft
from invengine.client.methods import AsyncCommands
from invengine.client.numbering import (
    RECORDED_AT_ONCE,
    Message,
    NumberedSource,
    Numbering,
    StateFile,
    consumes_number,
    resume_position,
)
from invengine.client.results import MessageOutcome, Position, Registration
from invengine.errors import DeadlineExceeded, Fault, InvengineError, Rejected, SequenceGap, StaleEpoch

if TYPE_CHECKING:
    from invengine.client.asynchronous import AsyncClient

T = TypeVar("T")

WINDOW = 32
"""Messages in flight at once."""


class AsyncSource(NumberedSource, AsyncCommands):
    """Numbers the messages of one external system and delivers them in order, each exactly once.

    Messages are numbered in the order in which their sends begin; up to `window` are in flight. One that arrives too
    early (SEQUENCE_GAP) is sent again when the one before it is answered. See `OrderedSource`.
    """

    def __init__(
        self,
        client: AsyncClient,
        numbering: Numbering,
        file: StateFile | None,
        registration: Registration | None,
        window: int = WINDOW,
    ) -> None:
        super().__init__(numbering, file, registration)
        self._client = client
        self._slots = asyncio.Semaphore(window)
        self._progress = asyncio.Event()
        self._recovery = asyncio.Lock()
        self._recording = asyncio.Lock()

    @classmethod
    async def open(
        cls,
        client: AsyncClient,
        source_id: str,
        *,
        epoch: int | None = None,
        sequence: int | None = None,
        state_file: str | PathLike[str] | None = None,
        window: int = WINDOW,
    ) -> AsyncSource:
        """Continues in a stored epoch or registers a new one; see `AsyncClient.source`."""
        arguments.positive(window, "window", str(WINDOW))
        file = None if state_file is None else StateFile(state_file)
        known = resume_position(source_id, epoch, sequence, file)
        if known is not None:
            return cls(client, Numbering(source_id, known.epoch, known.sequence), file, None, window)
        registration = await client.register_source(source_id)
        source = cls(client, Numbering(source_id, registration.epoch, 0), file, registration, window)
        source._save()
        return source

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to undo: what was delivered stays delivered."""

    @property
    def position(self) -> Position:
        """Epoch and last sequence up to which everything is answered; store it across a restart."""
        return self._numbering.position

    def send(self, draft: Draft[T], timeout_s: float | None = None) -> Coroutine[Any, Any, T]:
        """Delivers one draft as the next message."""
        return self._send(draft, timeout_s)

    async def _send(self, draft: Draft[T], timeout_s: float | None) -> T:
        deadline = time.monotonic() + draft.time_s(timeout_s, self._client.timeout_s)
        if self._recording.locked():
            async with self._recording:
                pass
        async with self._slots:
            if self._numbering.abandoned:
                await self._settle_abandoned(deadline)
            answer: T = await self._deliver(self._numbering.add(draft), deadline)
            return answer

    async def record(self, messages: Iterable[Draft[Any]], *, timeout_s: float | None = None) -> list[MessageOutcome]:
        """Sends messages in order, as the next ones of this source; one outcome each, and no rejection is raised.

        Each is a draft of `messages` with a `key`, its id; the source gives it its number. What cannot be applied is
        kept by the ledger and holds up nothing behind it. What has no answer (OutcomeUnknown), or is REFUSED while a
        later message is kept, is sent again before the next message. PARKED means that the ledger lacks earlier
        messages: send again what comes after the number that `list_sources` has.

        messages: drafts of messages, such as `messages.goods_received(...)`.
        """
        wanted, found = recording.check(messages, numbered=False), list[MessageOutcome]()
        time_s = arguments.timeout(self._client.timeout_s if timeout_s is None else timeout_s, "timeout_s")
        async with self._recording:
            for start in range(0, len(wanted), RECORDED_AT_ONCE):
                deadline = time.monotonic() + time_s
                await self._wait_until_alone(deadline)
                if self._numbering.abandoned:
                    await self._settle_abandoned(deadline)
                found += await self._record(wanted[start : start + RECORDED_AT_ONCE], deadline)
        return found

    async def _wait_until_alone(self, deadline: float) -> None:
        """Waits for the answers to commands under way: the number of one may still change, that of a message cannot."""
        while self._numbering.in_flight:
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0.0)):
                    await self._progress.wait()
            except TimeoutError:
                raise DeadlineExceeded("the commands before these messages were not answered in time") from None

    async def _record(self, drafts: list[Draft[Any]], deadline: float) -> list[MessageOutcome]:
        numbered, outcomes = self._numbered(drafts), list[MessageOutcome]()
        try:
            await self._client._record(drafts, max(deadline - time.monotonic(), 0.0), outcomes)
        except BaseException as error:
            self._unanswered(numbered[len(outcomes) :], error)
            raise
        finally:
            self._concluded(numbered[: len(outcomes)], outcomes)
            self._notify()
        return outcomes

    async def _settle_abandoned(self, deadline: float) -> None:
        async with self._recovery:
            for message in self._numbering.abandoned:
                try:
                    await self._deliver(message, deadline)
                except Fault as error:
                    # A new message must not overtake it.
                    raise DeadlineExceeded(
                        "an earlier message still has no answer, so this one was not sent"
                    ) from error
                except (StaleEpoch, SequenceGap):
                    raise
                except Rejected:
                    pass  # It is answered now; its own caller got OutcomeUnknown.

    async def _deliver(self, message: Message, deadline: float) -> Any:
        resent = False
        try:
            while True:
                epoch, first = self._numbering.epoch, self._numbering.is_first(message)
                try:
                    answer = await self._attempt(message, deadline)
                    break
                except SequenceGap as gap:
                    if not first:
                        await self._wait_until_first(message, deadline)
                    elif resent:
                        raise
                    else:
                        resent = True
                        await self._resend(gap, message, deadline)
                except StaleEpoch:
                    if epoch == self._numbering.epoch:
                        raise  # Another incarnation took over; otherwise this one registered again in the meantime.
        except InvengineError as error:
            await self._refused(message, error, deadline)
            raise
        except BaseException:
            self._abandon(message)
            raise
        self._settle(message)
        return answer

    async def _attempt(self, message: Message, deadline: float) -> Any:
        self._numbering.stamp(message)
        left_s = max(deadline - time.monotonic(), 0.0)
        if not message.recorded:
            return await self._client.send(message.draft, left_s)
        (outcome,) = await self._client.record_messages([message.draft], timeout_s=left_s)
        return recording.raised(outcome)

    async def _wait_until_first(self, message: Message, deadline: float) -> None:
        """Waits until everything before the message is answered, and settles abandoned messages itself."""
        while not self._numbering.is_first(message):
            if any(each.number < message.number for each in self._numbering.abandoned):
                await self._settle_abandoned(deadline)
                continue
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0.0)):
                    await self._progress.wait()
            except TimeoutError:
                raise DeadlineExceeded("the message before this one was not answered in time") from None

    async def _resend(self, gap: SequenceGap, message: Message, deadline: float) -> None:
        earlier = self._numbering.answered_from(gap.expected, message.number)
        if earlier is None:
            raise gap
        for each in earlier:
            try:
                await self._attempt(each, deadline)
            except InvengineError as error:
                if not consumes_number(error, self._numbering.source_id):
                    raise

    async def _refused(self, message: Message, error: InvengineError, deadline: float) -> None:
        if consumes_number(error, self._numbering.source_id):
            self._settle(message)
        elif isinstance(error, Fault) and (error.outcome_unknown or message.uncertain):
            self._abandon(message)
        elif message.recorded:
            self._give_up(message)
            self._notify()
        else:
            if not self._numbering.withdraw(message):
                draft = commands.register_source(self._numbering.source_id)
                registration = await self._client.send(draft, max(deadline - time.monotonic(), 1.0))
                self._numbering.restart(registration.epoch)
                self._save()
            self._notify()

    def _settle(self, message: Message) -> None:
        self._numbering.settle(message)
        self._save()
        self._notify()

    def _abandon(self, message: Message) -> None:
        self._numbering.abandon(message)
        self._notify()

    def _notify(self) -> None:
        """Wakes the messages that wait for an earlier one."""
        progress, self._progress = self._progress, asyncio.Event()
        progress.set()
