"""ReadEvents: durable events from a position on, and with `follow` those to come."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from google.protobuf.message import DecodeError

from invengine.service.calls import check_size
from invengine.service.edge import Context
from invengine.service.methods import Method
from invengine.service.ports import EnginePort
from invengine.service.refusals import bad_field, draining, malformed, overloaded
from invengine.v1 import journal_service_pb2

# Every reader occupies one thread while it waits for events.
READERS_MAX = 32
EVENTS_A_MESSAGE = 500
WAIT_MS = 250


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
        """Writes events until the end of what was asked for. Refusals are raised as RefusedError."""
        check_size(payload, method.bytes_max)
        request = _parse(payload)
        if self._readers >= READERS_MAX:
            raise overloaded(f"{READERS_MAX} callers already read events.")
        self._readers += 1
        try:
            await self._stream(request, context)
        finally:
            self._readers -= 1

    async def _stream(self, request: journal_service_pb2.ReadEventsRequest, context: Context) -> None:
        sequence = max(1, request.from_sequence)
        left = request.limit or None
        end: int | None = None
        while left is None or left > 0:
            batch = EVENTS_A_MESSAGE if left is None else min(left, EVENTS_A_MESSAGE)
            payload = await self._batch(sequence, batch, WAIT_MS if request.follow else 0)
            answer = journal_service_pb2.ReadEventsResponse.FromString(payload)
            # Without `follow` the stream ends at what was durable when it began, however fast the journal grows.
            end = answer.durable_sequence if end is None else end
            if answer.events:
                await context.write(payload)
                sequence = answer.events[-1].sequence + 1
                left = None if left is None else left - len(answer.events)
            if not request.follow and (not answer.events or sequence > end):
                return

    async def _batch(self, sequence: int, limit: int, wait_ms: int) -> bytes:
        if self._stopping:
            raise draining()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._engine.read_events, sequence, limit, wait_ms)


def _parse(payload: bytes) -> journal_service_pb2.ReadEventsRequest:
    try:
        request = journal_service_pb2.ReadEventsRequest.FromString(payload)
    except DecodeError:
        raise malformed("ReadEventsRequest") from None
    if request.from_sequence < 0:
        raise bad_field("from_sequence", "must be 0 or more; 0 means from the first event.")
    if request.limit < 0:
        raise bad_field("limit", "must be 0 or more; 0 means no limit.")
    return request
