"""An ordered source for asyncio: a window of messages in flight, settled in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from invengine.client import arguments, commands
from invengine.client.draft import Draft
from invengine.client.methods import AsyncCommands
from invengine.client.numbering import Message, NumberedSource, Numbering, StateFile, consumes_number, resume_position
from invengine.client.results import Position, Registration
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
        async with self._slots:
            if self._numbering.abandoned:
                await self._settle_abandoned(deadline)
            answer: T = await self._deliver(self._numbering.add(draft), deadline)
            return answer

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
        return await self._client.send(message.draft, max(deadline - time.monotonic(), 0.0))

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
