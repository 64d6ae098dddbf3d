"""The edge of the service: whatever a handler raises becomes one well-formed refusal.

grpc.aio would send the text of an exception to the caller. So every handler runs inside `guard`, which lets only three
things out: the answer, a refusal with its ErrorInfo, and INTERNAL with an incident id whose cause stands in the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, NoReturn, Protocol, TypeVar

import grpc
import structlog

from invengine.service.refusals import DETAILS_KEY, RefusedError, from_exception, incident

Context = grpc.aio.ServicerContext[Any, Any]
Answer = TypeVar("Answer")

# Far longer than the loop needs from one waiting call to the next.
_QUIET_S = 0.05

_log = structlog.get_logger("invengine.service")


class CallMeter(Protocol):
    """Told once about every call that ended."""

    def observe(self, method: str, code: str, seconds: float) -> None:
        """Records one call; `code` is a canonical name such as OK or NOT_FOUND."""


class NoMeter:
    """Records nothing."""

    def observe(self, method: str, code: str, seconds: float) -> None:
        """Does nothing."""


class EndedCalls:
    """Counts calls that ended, and passes them on to another meter."""

    def __init__(self, meter: CallMeter) -> None:
        self._meter = meter
        self._count = 0

    def observe(self, method: str, code: str, seconds: float) -> None:
        """Records one call."""
        self._count += 1
        self._meter.observe(method, code, seconds)

    async def settle(self, limit_s: float) -> None:
        """Returns once no call has ended for a moment, at the latest after `limit_s`."""
        until, before = time.monotonic() + limit_s, -1
        while self._count != before and time.monotonic() < until:
            before = self._count
            await asyncio.sleep(_QUIET_S)


async def guard(method: str, context: Context, meter: CallMeter, work: Awaitable[Answer]) -> Answer:
    """Awaits a handler's work and gives its answer, or ends the call with a refusal."""
    started = time.perf_counter()
    code = "CANCELLED"
    try:
        answer = await work
        code = "OK"
        return answer
    except (grpc.aio.AbortError, asyncio.CancelledError):
        raise
    except Exception as error:
        refusal = _refusal_of(method, error)
        code = refusal.code.name
        await abort(context, refusal)
    finally:
        meter.observe(method, code, time.perf_counter() - started)


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
