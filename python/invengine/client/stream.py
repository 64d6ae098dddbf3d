"""Sends many commands over one SubmitStream, in batches, without a timer.

Commands that arrive while a batch is in flight form the next one. A second, third and fourth batch follow at once if
enough commands are waiting, so that neither side waits for the other under load. Messages are raw bytes: a command is
encoded once, a batch is their concatenation, an answer is parsed once.

Every command gets exactly one result: its outcome, or the error that replaced its answer. Nothing is sent again
here; `retry` decides that for each command.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from invengine.client.connection import error_of
from invengine.client.framing import BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, outcomes_in
from invengine.errors import (
    AnswerOverdue,
    ClientClosed,
    ConnectionLost,
    DeadlineExceeded,
    InternalFault,
    InvengineError,
)

METHOD = "/invengine.v1.ReservationService/SubmitStream"
IN_FLIGHT_MAX = 4
WAITING_MIN = 256
"""The number of waiting commands at which another batch is sent while one is in flight."""
STALLED_S = 5.0
"""A stream is closed if a deadline passes and its oldest batch has been without an answer for this long."""

_OPENING: Any = object()
"""Placeholder for the call while it is being opened."""
_END: Any = getattr(aio, "EOF")  # noqa: B009 - the published type stubs lack it

Result = Any
"""What `framing.outcomes_in` gives, or an InvengineError."""
Entry = tuple[bytes, "asyncio.Future[Result]", float]
"""Framed command, its future, its deadline."""


class CommandStream:
    """Batches the commands of one event loop.

    `open_call` connects and opens a SubmitStream call of raw bytes. The commands that wait get the error that it
    raises: nothing was sent.
    """

    def __init__(self, open_call: Callable[[], Awaitable[Any]]) -> None:
        self._open_call = open_call
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Entry] = deque()
        self._in_flight: deque[tuple[list[Entry], float]] = deque()
        self._wake = asyncio.Event()
        self._call: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_at = float("inf")
        self._closed = False

    def put(self, frame: bytes, deadline: float) -> asyncio.Future[Result]:
        """Queues one framed command; the future gets its one result by `deadline` (on the loop's clock)."""
        future: asyncio.Future[Result] = self._loop.create_future()
        if self._closed:
            future.set_result(ClientClosed("the client is closed"))
            return future
        self._waiting.append((frame, future, deadline))
        if deadline < self._sweep_at:
            self._schedule_sweep(deadline)
        if self._call is None:
            self._start()
        elif not self._in_flight or len(self._waiting) >= WAITING_MIN:
            self._wake.set()
        return future

    async def close(self) -> None:
        """Ends the stream. Commands without an answer get ConnectionLost: their outcome is unknown."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        call, self._call = self._call, None
        if call is _OPENING:
            for task in self._tasks:
                task.cancel()
        elif call is not None:
            call.cancel()
        self._fail_in_flight(ConnectionLost("the client was closed before the answer arrived"))
        while self._waiting:
            _settle(self._waiting.popleft()[1], ClientClosed("the client was closed before the command was sent"))
        self._wake.set()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self) -> None:
        self._call = _OPENING
        self._spawn(self._open())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self) -> None:
        try:
            call = await self._open_call()
        except (InvengineError, aio.UsageError) as failure:
            closed = ClientClosed("the client is closed")
            self._call = None
            while self._waiting:
                _settle(self._waiting.popleft()[1], failure if isinstance(failure, InvengineError) else closed)
            return
        self._call = call
        self._wake.set()
        self._spawn(self._write(call))
        self._spawn(self._read(call))

    async def _write(self, call: Any) -> None:
        try:
            while self._call is call:
                batch = self._next_batch()
                if not batch:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                self._in_flight.append((batch, self._loop.time()))
                await call.write(b"".join([entry[0] for entry in batch]))
        except (grpc.RpcError, asyncio.InvalidStateError, asyncio.CancelledError):
            # The reader gets the same end together with its status, and passes it to the waiting commands.
            if self._closed:
                raise

    def _next_batch(self) -> list[Entry]:
        waiting, in_flight = self._waiting, len(self._in_flight)
        if in_flight >= IN_FLIGHT_MAX or (in_flight and len(waiting) < WAITING_MIN):
            return []
        batch: list[Entry] = []
        size = 0
        while waiting and len(batch) < BATCH_COMMANDS_MAX:
            entry = waiting[0]
            size += len(entry[0])
            if batch and size > BATCH_BYTES_MAX:
                break
            waiting.popleft()
            if entry[1].done():  # The caller gave up before it was sent.
                size -= len(entry[0])
                continue
            batch.append(entry)
        return batch

    async def _read(self, call: Any) -> None:
        error: InvengineError = ConnectionLost("the server ended the stream")
        try:
            while (answer := await call.read()) is not _END:
                if not self._answer(answer):
                    error = InternalFault("the server's answers do not match the commands")
                    break
            else:
                if await call.code() is not grpc.StatusCode.OK:
                    error = error_of(await _status(call))
        except aio.AioRpcError as failure:
            error = error_of(failure)
        except DecodeError:
            error = InternalFault("the server's answer is not a SubmitStreamResponse")
        except (asyncio.CancelledError, asyncio.InvalidStateError):
            pass  # Cancelled here: by a stall, by close(), or because the event loop ends.
        finally:
            self._ended(call, error)

    def _ended(self, call: Any, error: InvengineError) -> None:
        call.cancel()
        if self._call is not call:
            return
        self._call = None
        self._wake.set()
        self._fail_in_flight(error)
        task = asyncio.current_task()
        loop_ends = task is not None and task.cancelling() > 0
        if self._waiting and not self._closed and not loop_ends:
            self._start()

    def _answer(self, answer: bytes) -> bool:
        """Passes the outcomes of one batch to the waiting commands. False if their number does not match."""
        outcomes = outcomes_in(answer)
        if not self._in_flight or len(outcomes) != len(self._in_flight[0][0]):
            return False
        batch, _ = self._in_flight.popleft()
        for entry, outcome in zip(batch, outcomes, strict=True):
            future = entry[1]
            if not future.done():
                future.set_result(outcome)
        if self._waiting:
            self._wake.set()
        return True

    def _fail_in_flight(self, error: InvengineError) -> None:
        while self._in_flight:
            for _, future, _ in self._in_flight.popleft()[0]:
                _settle(future, error)

    def _schedule_sweep(self, deadline: float) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep_at = deadline
        self._sweep = self._loop.call_at(deadline, self._sweep_deadlines)

    def _sweep_deadlines(self) -> None:
        """Ends the commands whose deadline has passed, and sets the timer for the next."""
        now = self._loop.time()
        earliest = float("inf")
        stalled = False
        for batch, sent_at in self._in_flight:
            for _, future, deadline in batch:
                if future.done():
                    continue
                if deadline <= now:
                    _settle(future, AnswerOverdue("the deadline passed while the answer was awaited"))
                    stalled = stalled or now - sent_at >= STALLED_S
                else:
                    earliest = min(earliest, deadline)
        for _, future, deadline in self._waiting:
            if deadline <= now:
                _settle(future, DeadlineExceeded("the deadline passed before the command was sent"))
            else:
                earliest = min(earliest, deadline)
        self._sweep, self._sweep_at = None, float("inf")
        if earliest < float("inf"):
            self._schedule_sweep(earliest)
        if stalled and self._call not in (None, _OPENING):
            self._call.cancel()


def _settle(future: asyncio.Future[Result], result: Result) -> None:
    if not future.done():
        future.set_result(result)


async def _status(call: Any) -> aio.AioRpcError:
    code, details = await call.code(), await call.details()
    return aio.AioRpcError(code, aio.Metadata(), await call.trailing_metadata(), details, None)
