"""The clock of the stream: it runs with engine time and stops with it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from invengine.simulate.promotion.clock import ProcessClock, SharedClock

STARTED = datetime(2026, 11, 27, 6, tzinfo=UTC)


class Wall:
    """A wall clock that a test turns."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_it_runs_many_times_faster_from_its_start() -> None:
    wall = Wall()
    clock = SharedClock(100.0, wall)
    assert not clock.runs
    assert clock.now_s < -1e6
    clock.start(STARTED, in_s=2.0)
    assert clock.now_s == pytest.approx(-200.0)
    wall.now_s += 5.0
    assert clock.now_s == pytest.approx(300.0)
    # Engine time was STARTED when the clock was set, and 200 s later at second 0.
    assert clock.engine_ms(clock.now_s) == pytest.approx((STARTED + timedelta(seconds=500)).timestamp() * 1000)


def test_it_stops_while_the_server_is_down_and_resumes_by_engine_time() -> None:
    wall = Wall()
    clock = SharedClock(100.0, wall)
    clock.start(STARTED, in_s=0.0)
    wall.now_s += 3.0
    clock.stop()
    wall.now_s += 60.0
    assert clock.now_s == pytest.approx(300.0)
    assert (clock.runs, clock.outages) == (False, 0)
    clock.resume(STARTED + timedelta(seconds=290))
    assert clock.now_s == pytest.approx(290.0)
    assert (clock.runs, clock.outages) == (True, 1)
    wall.now_s += 1.0
    assert clock.now_s == pytest.approx(390.0)


def test_commands_are_never_stamped_in_the_future() -> None:
    wall = Wall()
    clock = SharedClock(1000.0, wall)
    clock.start(STARTED, in_s=0.0)
    wall.now_s += 1.0
    engine_time = STARTED + timedelta(seconds=1000)
    assert engine_time - timedelta(seconds=60) < ProcessClock(clock).issue_time < engine_time


def test_waiting_ends_at_its_time() -> None:
    clock = SharedClock(1000.0)

    async def wait() -> float:
        clock.start(STARTED, in_s=0.0)
        await ProcessClock(clock).until(50.0)
        return clock.now_s

    assert asyncio.run(wait()) >= 50.0


def test_what_expires_in_an_outage_waits_for_its_end() -> None:
    shared = SharedClock(1000.0)

    async def wait() -> list[str]:
        seen: list[str] = []
        clock = ProcessClock(shared)

        async def customer() -> None:
            await clock.until(10.0)
            seen.append("customer")

        async def watcher() -> None:
            await clock.outage()
            seen.append("back")

        shared.start(STARTED, in_s=0.0)
        shared.stop()
        async with asyncio.TaskGroup() as group:
            group.create_task(customer())
            group.create_task(watcher())
            await asyncio.sleep(0.12)
            assert seen == []
            shared.resume(STARTED + timedelta(seconds=5))
        return seen

    assert sorted(asyncio.run(wait())) == ["back", "customer"]
