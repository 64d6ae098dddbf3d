"""The weekend's clock: seconds of the stream, the wall clock and engine time, the same for every client process.

Engine time runs many times faster than the wall clock, and stands still while the server is down (it goes on where its
journal ends). The stream must do the same, or an outage of one second would last half an hour for its shoppers. So the
director keeps one clock in memory that all client processes see, stops it when it kills the server and sets it by
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
_LOOK_AGAIN_S = 0.05
_ISSUED_BEFORE_S = 0.02
"""Commands are stamped this much earlier on the wall clock, so that no stamp ever lies in the future."""


class Clock:
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
        """Second 0 comes in `in_s` seconds of the wall clock, counted from now, when it is `engine_time`."""
        self._cells[_ENGINE_MS] = _ms(engine_time) + in_s * self.scale * 1000
        self._cells[_ORIGIN] = self._monotonic() + in_s
        self._cells[_STOPPED_AT] = _RUNNING

    def stop(self) -> None:
        """The server is down: time stands still."""
        self._cells[_STOPPED_AT] = self.now_s

    def go_on(self, engine_time: datetime) -> None:
        """The server is back, and it is `engine_time` there."""
        now_s = (_ms(engine_time) - self._cells[_ENGINE_MS]) / 1000
        self._cells[_ORIGIN] = self._monotonic() - now_s / self.scale
        self._cells[_OUTAGES] += 1
        self._cells[_STOPPED_AT] = _RUNNING


class Pace:
    """Waits by a clock, in the event loop of one client process."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    @property
    def now_s(self) -> float:
        """Seconds of the stream since its start."""
        return self.clock.now_s

    @property
    def issue_time(self) -> datetime:
        """What a command that is issued now is stamped with: engine time, and never later."""
        early_s = self.now_s - _ISSUED_BEFORE_S * self.clock.scale
        return datetime.fromtimestamp(self.clock.engine_ms(early_s) / 1000, UTC)

    async def until(self, at_s: float) -> None:
        """Waits for a moment of the stream."""
        clock = self.clock
        while True:
            left_s = (at_s - clock.now_s) / clock.scale
            if left_s <= 0:
                return
            await asyncio.sleep(left_s if clock.runs else _LOOK_AGAIN_S)

    async def outage(self) -> None:
        """Waits until the server came back once more."""
        before = self.clock.outages
        while True:
            if self.clock.outages > before:
                return
            await asyncio.sleep(_LOOK_AGAIN_S)


def _ms(moment: datetime) -> float:
    return (moment - _EPOCH).total_seconds() * 1000
