"""Handlers of invengine.v1: bytes in, engine, bytes out. They never block the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from invengine.service.bounds import Bound, BoundReachedError
from invengine.service.edge import Context, while_serving
from invengine.service.methods import BATCH_STREAMS, SERVER_INFO, Method
from invengine.service.ports import EnginePort
from invengine.service.refusals import RefusedError, from_status, too_large
from invengine.v1 import admin_service_pb2

# Batches of one stream that may be in flight at once; further ones stay in the transport.
STREAM_WINDOW = 16

# The longest timeout of a call to the engine; a caller of the door may name a longer one.
TIMEOUT_MS_MAX = 365 * 24 * 3_600_000


class BrokenRefusalError(Exception):
    """Invariant: an engine refuses with a canonical code and a Status that has exactly one ErrorInfo."""


@dataclass(frozen=True, slots=True)
class CallMetadata:
    """What a call carries besides its message. `timeout_ms` 0 means no deadline."""

    idempotency_key: str
    ledger: str
    timeout_ms: int


def call_metadata(context: Context) -> CallMetadata:
    """Reads key, ledger and deadline of a call."""
    metadata = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
    remaining: float | None = context.time_remaining()
    timeout_ms = 0 if remaining is None else max(1, min(int(remaining * 1000), TIMEOUT_MS_MAX))
    return CallMetadata(metadata.get("idempotency-key", ""), metadata.get("invengine-ledger", ""), timeout_ms)


class EngineCalls:
    """The unary methods and the streams of batches of one engine. `door` is the name that GetServerInfo reports.

    Once `stopping` is set, open streams end with DRAINING after the answers to what was accepted.
    """

    def __init__(self, engine: EnginePort, door: str, stopping: asyncio.Event) -> None:
        self._engine = engine
        self._door = door
        self._stopping = stopping

    async def unary(self, method: Method, payload: bytes, context: Context) -> bytes:
        """Answers one call. Refusals are raised as RefusedError."""
        check_size(payload, method.bytes_max)
        answer = await self._start(method.path, payload, call_metadata(context))
        return self._with_door(answer) if method.path == SERVER_INFO else answer

    async def batch_stream(self, method: Method, requests: AsyncIterator[bytes], context: Context) -> None:
        """Answers each message in the order of the requests, with several in flight; the first refusal ends it."""
        waiting: asyncio.Queue[asyncio.Future[bytes] | None] = asyncio.Queue(STREAM_WINDOW)
        reader = asyncio.create_task(self._read_requests(method, requests, call_metadata(context), waiting))
        # Whoever ends the stream first decides its status; what the reader raises afterwards is ignored.
        reader.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            while (outcome := await waiting.get()) is not None:
                await context.write(await outcome)
            await reader
        finally:
            reader.cancel()
            _discard(waiting)

    async def _read_requests(
        self,
        method: Method,
        requests: AsyncIterator[bytes],
        metadata: CallMetadata,
        waiting: asyncio.Queue[asyncio.Future[bytes] | None],
    ) -> None:
        # An error here ends the stream in order: after the answers to the messages before it.
        try:
            async for payload in while_serving(self._stopping, requests):
                check_size(payload, method.bytes_max)
                await waiting.put(self._start(BATCH_STREAMS[method.path], payload, metadata))
        finally:
            await waiting.put(None)

    def _start(self, path: str, payload: bytes, metadata: CallMetadata) -> asyncio.Future[bytes]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()

        def on_done(code: int, answer: bytes) -> None:
            # The loop may be closed because its caller has left; the command's outcome is the same.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, future, code, answer)

        self._engine.start_call(
            path,
            payload,
            on_done,
            idempotency_key=metadata.idempotency_key,
            ledger=metadata.ledger,
            timeout_ms=metadata.timeout_ms,
        )
        return future

    def _with_door(self, answer: bytes) -> bytes:
        reply = admin_service_pb2.GetServerInfoResponse.FromString(answer)
        reply.door = self._door
        return reply.SerializeToString()


def check_size(payload: bytes, limit: int) -> None:
    """Refuses a message over the limit (MESSAGE_TOO_LARGE)."""
    if len(payload) > limit:
        raise BoundReachedError(Bound.MESSAGE_REFUSED, too_large(len(payload), limit))


def _settle(future: asyncio.Future[bytes], code: int, answer: bytes) -> None:
    if future.done():
        return
    if code == 0:
        future.set_result(answer)
        return
    refusal: RefusedError | None = from_status(code, answer)
    future.set_exception(refusal or BrokenRefusalError(code, len(answer)))


def _discard(waiting: asyncio.Queue[asyncio.Future[bytes] | None]) -> None:
    while not waiting.empty():
        future = waiting.get_nowait()
        if future is not None and not future.cancel() and not future.cancelled():
            future.exception()
