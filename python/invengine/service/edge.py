"""The edge of the service: whatever a handler raises becomes one well-formed refusal.

grpc.aio would send the text of an exception to the caller. So every handler runs inside `guard`, which lets only three
things out: the answer, a refusal with its ErrorInfo, and INTERNAL with an incident id whose cause is in the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, NoReturn, Protocol, TypeVar

import grpc
import structlog

from invengine.service.bounds import Bound, BoundReachedError, Bounds
from invengine.service.refusals import DETAILS_KEY, RefusedError, bad_field, draining, from_exception, incident

Context = grpc.aio.ServicerContext[Any, Any]
Answer = TypeVar("Answer")
Message = TypeVar("Message")

# Counted as HTTP/2 does, as the native door counts them.
METADATA_BYTES_MAX = 64 << 10
_ENTRY_BYTES = 32

# Far longer than the event loop needs between two waiting calls.
_QUIET_S = 0.05

_log = structlog.get_logger("invengine.service")


class CallMeter(Protocol):
    """Receives every call once, when it has ended."""

    def observe(self, method: str, code: str, seconds: float) -> None:
        """Records one call; `code` is a canonical name such as OK or NOT_FOUND."""


class NoMeter:
    """Records nothing."""

    def observe(self, method: str, code: str, seconds: float) -> None:
        """Does nothing."""


class EndedCalls:
    """Counts calls that ended, and passes them on to another meter; `bounds` counts those that a bound refused."""

    def __init__(self, meter: CallMeter) -> None:
        self._meter = meter
        self._count = 0
        self.bounds = Bounds()

    def observe(self, method: str, code: str, seconds: float) -> None:
        """Records one call."""
        self._count += 1
        self._meter.observe(method, code, seconds)

    async def settle(self, limit_s: float) -> None:
        """Returns once no call has ended for a short while, at the latest after `limit_s`."""
        until, before = time.monotonic() + limit_s, -1
        while self._count != before and time.monotonic() < until:
            before = self._count
            await asyncio.sleep(_QUIET_S)


async def guard(method: str, context: Context, meter: EndedCalls, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Awaits a handler's work and returns its answer, or ends the call with a refusal."""
    started = time.perf_counter()
    code = "CANCELLED"
    try:
        if _metadata_bytes(context) > METADATA_BYTES_MAX:
            work.close()
            rule = f"at most {METADATA_BYTES_MAX} bytes for all of it; send less"
            raise BoundReachedError(Bound.METADATA_REFUSED, bad_field("metadata", rule))
        answer = await work
        code = "OK"
        return answer
    except (grpc.aio.AbortError, asyncio.CancelledError):
        raise
    except Exception as error:
        if isinstance(error, BoundReachedError):
            meter.bounds.acted(error.bound)
        refusal = _refusal_of(method, error)
        code = refusal.code.name
        await abort(context, refusal)
    finally:
        meter.observe(method, code, time.perf_counter() - started)


async def until_stopping(stopping: asyncio.Event, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Awaits the work of a stream that may never end; raises DRAINING once `stopping` is set."""
    working, stop = asyncio.create_task(work), asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((working, stop), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise draining()
        return working.result()
    finally:
        await _ended(working, stop)


async def while_serving(stopping: asyncio.Event, messages: AsyncIterator[Message]) -> AsyncIterator[Message]:
    """Yields the messages of a stream as they come; raises DRAINING instead of the next one once `stopping` is set."""
    stop = asyncio.create_task(stopping.wait())
    try:
        while True:
            read = asyncio.ensure_future(anext(messages, None))
            try:
                await asyncio.wait((read, stop), return_when=asyncio.FIRST_COMPLETED)
                if not read.done():
                    raise draining()
                message = read.result()
            finally:
                await _ended(read)
            if message is None:
                return
            yield message
    finally:
        stop.cancel()


async def _ended(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _metadata_bytes(context: Context) -> int:
    return sum(len(key) + len(value) + _ENTRY_BYTES for key, value in context.invocation_metadata() or ())


async def abort(context: Context, refusal: RefusedError) -> NoReturn:
    """Ends the call with this refusal."""
    await context.abort(refusal.code, refusal.message, trailing_metadata=((DETAILS_KEY, refusal.status),))


def _refusal_of(method: str, error: Exception) -> RefusedError:
    known = from_exception(error)
    if known is not None:
        return known
    number, answer = incident()
    _log.error("incident", incident=number, method=method, exc_info=error)
    return answer
