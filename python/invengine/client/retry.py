"""Decides when to send, wait or give up: one generator that both the sync and the asyncio client drive.

It does no I/O, and its clock is an argument. It yields `Attempt` or `Pause` and receives the result: None after a
pause, the error after a failed attempt. After a successful attempt it is dropped. When another attempt is pointless, it
raises the error for the caller.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import NamedTuple

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


def _random() -> float:
    # Only a call that is repeated needs the module, and it takes long to load.
    from random import random

    return random()  # noqa: S311 - it spreads retries, it hides nothing


class Attempt(NamedTuple):
    """Send the call now with this timeout."""

    timeout_s: float


class Pause(NamedTuple):
    """Wait this long, then continue."""

    seconds: float


Attempts = Generator[Attempt | Pause, InvengineError | None, None]


def is_repeatable(error: InvengineError) -> bool:
    """True if the same bytes may be sent again and may succeed."""
    return error.retryable or (error.code == _RESOURCE_EXHAUSTED and error.retry_after_s is not None)


def pause_s(error: InvengineError, failures: int, jitter: Callable[[], float] = _random) -> float:
    """Returns the wait after the n-th failure: what the server asked for, or else 0.5 s x 2^n up to 5 s, with jitter.

    A command that did not fit the answer of its batch need not wait: each batch executes at least one.
    """
    if isinstance(error, Overloaded) and error.answer_full:
        return 0.0
    if error.retry_after_s is not None:
        return error.retry_after_s * (1 + 0.25 * jitter())
    ceiling: float = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** (failures - 1))
    return ceiling * (0.5 + 0.5 * jitter())


def may_be_reissued(error: Rejected) -> bool:
    """True if a command with a key that the client generated may be sent again with that key and a later issue_time.

    The key was not remembered and nothing was executed. After an attempt with unknown outcome it is not repeated,
    because the ledger may have forgotten that attempt.
    """
    return isinstance(error, DedupeWindowExpired) and error.__cause__ is None


def attempts(
    deadline_s: float,
    *,
    key: str | None,
    clock: Callable[[], float] = time.monotonic,
    jitter: Callable[[], float] = _random,
    failed: InvengineError | None = None,
    unknown: InvengineError | None = None,
) -> Attempts:
    """Yields the attempts and pauses of one call until `deadline_s` (on `clock`).

    `key` is the idempotency key of a command, "" for a numbered message of a source or a batch, and None for a read: a
    read without an answer has no unknown outcome. `failed` is the error of a first attempt that the caller made itself;
    `unknown` is the error of earlier attempts over another path whose outcome is unknown.
    """
    failures = 0
    error, previous = failed, None
    while True:
        if error is None:
            left_s = deadline_s - clock()
            if left_s <= 0:
                # After a pause that took longer than there was time, the failure that it followed says more.
                late = previous or DeadlineExceeded("the deadline passed before an attempt could be made")
                raise _final(late, unknown, key)
            error = yield Attempt(left_s)
            if error is None:
                return
        failures += 1
        if error.outcome_unknown:
            unknown = error
        if not is_repeatable(error):
            # A rejection settles earlier attempts of unknown outcome, since a key has one outcome; a fault does not.
            if isinstance(error, Rejected):
                raise error from unknown
            raise _final(error, unknown, key)
        wait_s = pause_s(error, failures, jitter)
        if clock() + wait_s >= deadline_s:
            raise _final(error, unknown, key)
        yield Pause(wait_s)
        error, previous = None, error


class Retries:
    """The retries of a call whose attempts its caller makes itself, each until it fails."""

    def __init__(self, key: str | None) -> None:
        self._key = key
        self._attempts: Attempts | None = None

    def succeeded(self) -> None:
        """Forgets the failures: the next one is a first one again."""
        self._attempts = None

    def pause_s(self, error: InvengineError, deadline_s: float) -> float:
        """Returns how long to wait before `resume`; raises the error when another attempt is pointless.

        The deadline is that of the first failure.
        """
        if self._attempts is None:
            self._attempts = attempts(deadline_s, key=self._key, failed=error)
            step = next(self._attempts)
        else:
            step = self._attempts.send(error)
        assert isinstance(step, Pause), step
        return step.seconds

    def resume(self) -> None:
        """Ends the pause; raises the failure that it followed if it took longer than there was time."""
        assert self._attempts is not None
        next(self._attempts)


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
    """Returns the error that a read raises: it changes nothing, so its outcome is never unknown."""
    if isinstance(error, OutcomeUnknown):
        failure = Unavailable("the server failed before it answered: ask again", metadata=error.metadata)
        failure.__cause__ = error
        return failure
    error.outcome_unknown = False
    return error
