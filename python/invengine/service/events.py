"""ReadEvents: durable events from a position on, and with `follow` new ones as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from invengine.service.bounds import Bound, BoundReachedError
from invengine.service.calls import call_metadata, check_size
from invengine.service.edge import Context
from invengine.service.methods import Method
from invengine.service.ports import EnginePort
from invengine.service.refusals import draining, overloaded
from invengine.v1 import journal_service_pb2

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

# Every reader occupies a thread while it waits for events.
READERS_MAX = 32
EVENTS_A_MESSAGE = 500
WAIT_MS = 250
# How long a reader whose filter matches nothing is not told how far it was read to.
PROGRESS_INTERVAL_S = 1.0
# How long a reader that is up to date, and got nothing from the last events, lets new ones come.
IDLE_PAUSE_S = 0.025


class EventReaders:
    """Streams the journal to at most `READERS_MAX` callers at once."""

    def __init__(self, engine: EnginePort) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="invengine-events")
        self._readers = 0
        self._stopping = False

    def stop(self) -> None:
        """Ends every stream with DRAINING, within WAIT_MS."""
        self._stopping = True
        self._threads.shutdown(wait=False)

    async def read(self, method: Method, payload: bytes, context: Context) -> None:
        """Writes events until the end of the requested range. Refusals are raised as RefusedError."""
        check_size(payload, method.bytes_max)
        if self._readers >= READERS_MAX:
            refusal = overloaded(f"{READERS_MAX} callers already read events.")
            raise BoundReachedError(Bound.READER_REFUSED, refusal)
        self._readers += 1
        try:
            await self._stream(payload, context)
        finally:
            self._readers -= 1

    async def _stream(self, payload: bytes, context: Context) -> None:
        sequence, left, follow = await self._in_thread(
            self._engine.begin_events, payload, call_metadata(context).ledger
        )
        wanted = journal_service_pb2.ReadEventsRequest.FromString(payload).filter.SerializeToString()
        progress = _Progress(context)
        end: int | None = None
        while left is None or left > 0:
            batch = EVENTS_A_MESSAGE if left is None else min(left, EVENTS_A_MESSAGE)
            wait_ms = WAIT_MS if follow else 0
            message = await self._in_thread(self._engine.read_events, sequence, batch, wait_ms, wanted)
            answer = journal_service_pb2.ReadEventsResponse.FromString(message)
            # Without `follow` the stream ends at what was durable when it began, however fast the journal grows.
            end = answer.durable_sequence if end is None else end
            has_read = answer.read_through.sequence >= sequence
            if has_read:
                progress.message = message
                sequence = answer.read_through.sequence + 1
                left = None if left is None else left - len(answer.events)
            await progress.send(now=bool(answer.events))
            if not follow and (not has_read or sequence > end):
                break
            if has_read and not answer.events and sequence > answer.durable_sequence:
                await asyncio.sleep(IDLE_PAUSE_S)
        await progress.send(now=True)

    async def _in_thread(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Runs an engine call, which may block on the disk, in a thread."""
        if self._stopping:
            raise draining()
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


class _Progress:
    """Tells a reader how far it was read to: with events at once, without any once a second."""

    def __init__(self, context: Context) -> None:
        self.message: bytes | None = None
        self._context = context
        self._sent_s = time.monotonic()

    async def send(self, *, now: bool) -> None:
        if self.message is not None and (now or time.monotonic() - self._sent_s >= PROGRESS_INTERVAL_S):
            await self._context.write(self.message)
            self.message, self._sent_s = None, time.monotonic()
