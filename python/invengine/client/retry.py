"""When to send, when to wait, when to give up: one generator that the sync and the asyncio client both drive.

It does no I/O and reads no clock of its own. It yields `Attempt` or `Pause` and is sent what came of it: nothing after
a pause, the error after a failed attempt. After a successful attempt it is simply dropped. When there is no sense in
going on, it raises what the caller is to see.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from invengine.errors import (
    DeadlineExceeded,
    DedupeWindowExpired,
    InvengineError,
    OutcomeUnknown,
    Overloaded,
    Rejected,
    Unavailable,
)

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 5.0

_RESOURCE_EXHAUSTED = 8


class Attempt(NamedTuple):
    """Send the call now and give it this long."""

    timeout_s: float


class Pause(NamedTuple):
    """Wait this long, then go on."""

    seconds: float


Turn = Generator[Attempt | Pause, InvengineError | None, None]


def worth_repeating(error: InvengineError) -> bool:
    """True if the same bytes may be sent again and may fare better."""
    return error.retryable or (error.code == _RESOURCE_EXHAUSTED and error.retry_after_s is not None)


def pause_s(error: InvengineError, failures: int, jitter: Callable[[], float] = random.random) -> float:
    """How long to wait after the n-th failure: what the server asked for, else 0.5 s x 2^n up to 5 s, jittered.

    What an answer had no room for need not wait: each batch has room for one at least.
    """
    if isinstance(error, Overloaded) and error.answer_full:
        return 0.0
    if error.retry_after_s is not None:
        return error.retry_after_s * (1 + 0.25 * jitter())
    ceiling: float = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** (failures - 1))
    return ceiling * (0.5 + 0.5 * jitter())


def is_unmarked(context: Any) -> bool:
    """True for a command with no key, number or issue_time of its caller: nobody else can ask for it again."""
    return not (context.idempotency_key or context.HasField("source") or context.HasField("issue_time"))


def may_be_issued_anew(error: Rejected) -> bool:
    """True if a command whose key its own call made may be sent again with the key and a later issue_time.

    The key was not remembered and nothing was done; what an earlier attempt left open could be forgotten, and is not
    tried again.
    """
    return isinstance(error, DedupeWindowExpired) and error.__cause__ is None


def turn(
    deadline_s: float,
    *,
    key: str | None,
    clock: Callable[[], float] = time.monotonic,
    jitter: Callable[[], float] = random.random,
    failed: InvengineError | None = None,
    unknown: InvengineError | None = None,
) -> Turn:
    """The life of one call until `deadline_s` (on `clock`).

    `key` is the idempotency key of a command, "" for a numbered message of a source or a batch, and None for a read: a
    read that got no answer has no outcome that could be unknown. `failed` is what came of a first attempt that the
    caller made by itself; `unknown` is what attempts on another way left open.
    """
    failures = 0
    error = failed
    while True:
        if error is None:
            left_s = deadline_s - clock()
            if left_s <= 0:
                raise _final(DeadlineExceeded("the deadline passed before an attempt could be made"), unknown, key)
            error = yield Attempt(left_s)
            if error is None:
                return
        failures += 1
        if error.outcome_unknown:
            unknown = error
        if not worth_repeating(error):
            # The ledger's no settles what earlier attempts left open, because a key has one outcome; a fault does not.
            if isinstance(error, Rejected):
                raise error from unknown
            raise _final(error, unknown, key)
        wait_s = pause_s(error, failures, jitter)
        if clock() + wait_s >= deadline_s:
            raise _final(error, unknown, key)
        yield Pause(wait_s)
        error = None


def _final(error: InvengineError, unknown: InvengineError | None, key: str | None) -> InvengineError:
    if key is None:
        return _of_read(error)
    if unknown is None:
        return error
    final = OutcomeUnknown(
        f"the command may have been executed; repeat it with the key {key!r} or ask get_outcome({key!r})"
        if key
        else "it may have been executed; send the very same again: what was done is not done twice",
        metadata=unknown.metadata,
    )
    final.key = key
    final.__cause__ = unknown
    return final


def _of_read(error: InvengineError) -> InvengineError:
    """What a read raises: it changes nothing, so nothing about it is unknown but its answer."""
    if isinstance(error, OutcomeUnknown):
        failure = Unavailable("the server failed before it answered: ask again", metadata=error.metadata)
        failure.__cause__ = error
        return failure
    error.outcome_unknown = False
    return error
