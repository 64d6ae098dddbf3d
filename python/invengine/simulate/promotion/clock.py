"""The weekend's clock: seconds of the stream, the wall clock and engine time, the same for every client process.

Engine time runs many times faster than the wall clock, and stands still while the server is down (it goes on where its
journal ends). The stream must do the same, or an outage of one second would last half an hour for its shoppers. So the
coordinator keeps one clock in memory that all client processes see, stops it when it kills the server and sets it by
engine time when the server is back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing.sharedctypes import RawArray
from typing import Any

_EPOCH = datetime.fromtimestamp(0, UTC)
_ORIGIN, _STOPPED_AT, _ENGINE_MS, _OUTAGES = range(4)
_RUNNING = -1e18
_POLL_S = 0.05
_ISSUED_BEFORE_S = 0.02
"""Commands are stamped this much earlier on the wall clock, so that no issue time is ever in the future."""


class SharedClock:
    """Times of the stream. One process sets it, any number of processes read it."""

    def __init__(self, scale: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.scale = scale
        self._monotonic = monotonic
        self._cells: Any = RawArray("d", 4)
        self._cells[_STOPPED_AT] = -1e9

    @property
    def now_s(self) -> float:
        """Seconds of the stream since its start; below 0 before it."""
        stopped_at: float = self._cells[_STOPPED_AT]
        if stopped_at != _RUNNING:
            return stopped_at
        return float((self._monotonic() - self._cells[_ORIGIN]) * self.scale)

    @property
    def runs(self) -> bool:
        """False before the start and while the server is down."""
        return bool(self._cells[_STOPPED_AT] == _RUNNING)

    @property
    def outages(self) -> int:
        """How often the server came back."""
        return int(self._cells[_OUTAGES])

    def engine_ms(self, at_s: float) -> float:
        """Engine time of a second of the stream, in milliseconds since 1970."""
        return float(self._cells[_ENGINE_MS] + at_s * 1000)

    def start(self, engine_time: datetime, in_s: float) -> None:
        """Starts the clock: second 0 is in `in_s` seconds of the wall clock; engine time is now `engine_time`."""
        self._cells[_ENGINE_MS] = _ms(engine_time) + in_s * self.scale * 1000
        self._cells[_ORIGIN] = self._monotonic() + in_s
        self._cells[_STOPPED_AT] = _RUNNING

    def stop(self) -> None:
        """Stops the clock: the server is down."""
        self._cells[_STOPPED_AT] = self.now_s

    def resume(self, engine_time: datetime) -> None:
        """Resumes the clock: the server is back, and its time is `engine_time`."""
        now_s = (_ms(engine_time) - self._cells[_ENGINE_MS]) / 1000
        self._cells[_ORIGIN] = self._monotonic() - now_s / self.scale
        self._cells[_OUTAGES] += 1
        self._cells[_STOPPED_AT] = _RUNNING


class ProcessClock:
    """Waits by the shared clock, in the event loop of one client process."""

    def __init__(self, clock: SharedClock) -> None:
        self.shared = clock

    @property
    def now_s(self) -> float:
        """Seconds of the stream since its start."""
        return self.shared.now_s

    @property
    def issue_time(self) -> datetime:
        """The issue time of a command that is issued now: engine time or slightly earlier, never later."""
        early_s = self.now_s - _ISSUED_BEFORE_S * self.shared.scale
        return datetime.fromtimestamp(self.shared.engine_ms(early_s) / 1000, UTC)

    async def until(self, at_s: float) -> None:
        """Waits until a second of the stream."""
        clock = self.shared
        while True:
            left_s = (at_s - clock.now_s) / clock.scale
            if left_s <= 0:
                return
            await asyncio.sleep(left_s if clock.runs else _POLL_S)

    async def outage(self) -> None:
        """Waits for the end of the next outage."""
        before = self.shared.outages
        while True:
            if self.shared.outages > before:
                return
            await asyncio.sleep(_POLL_S)


def _ms(moment: datetime) -> float:
    return (moment - _EPOCH).total_seconds() * 1000
