"""Time is in the journal: what the machine's clock does changes nothing that was promised, to the millisecond."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from . import methods, requests
from .clock import COMPILERS, WallClock, standing_at, start_with
from .own import journal_of, own_target
from .refused import Refused
from .server import server_environment
from .shop import Shop, figures
from .targets import SERVERS, TARGETS, ServerTarget

START_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
STEPS_MS = {"2 hours back": -2 * HOUR_MS, "2 seconds back": -2_000, "a day ahead": DAY_MS}
WAIT_S = 20.0

has_compiler = pytest.mark.needs_tool(*COMPILERS)


@pytest.mark.case("D01")
@has_compiler
@pytest.mark.parametrize("kind", TARGETS)
def test_the_millisecond_of_the_end_decides(kind: str, tmp_path: Path) -> None:
    with standing_at(START_MS, kind, tmp_path) as target:
        shop = Shop(target)
        sku, scarce = shop.item(9), shop.item(3)
        holds = [shop.hold((sku, shop.here, 1), ttl_s=1) for _ in range(3)]
        answer = shop.reserve((scarce, shop.here, 3), ttl_s=1)
        end_ms = answer.hold.expire_time.ToMilliseconds()
    for hold, after_ms in zip(holds, (-1, 0, 1), strict=True):
        with standing_at(end_ms + after_ms, kind, tmp_path) as target:
            shop.target = target
            allocated = shop.allocate(hold)
            assert allocated.holds[0].reacquired == (after_ms >= 0)
            (event,) = target.read_events(allocated.receipt.sequence, 1)
            assert event.time.ToMilliseconds() == end_ms + after_ms
    with standing_at(end_ms + 1, kind, tmp_path) as target:
        shop.target = target
        shop.hold((scarce, shop.here, 2))
        late = requests.allocate(shop.context(), requests.by_id(answer.hold.reservation_id))
        shop.refused(methods.ALLOCATE, late, "INSUFFICIENT_STOCK", sku=scarce, requested=3, available=1)


@pytest.mark.case("D02", "D03")
@has_compiler
@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("step", list(STEPS_MS))
def test_a_step_of_the_wall_clock_moves_no_end(kind: str, step: str, tmp_path: Path) -> None:
    clock = WallClock(tmp_path / "clock")
    target = start_with(clock, kind, tmp_path)
    try:
        shop = Shop(target)
        sku = shop.item(9)
        long = shop.hold((sku, shop.here, 1), ttl_s=3600)
        # It outlives the watch on the clock by a little, so that its end comes after the step.
        short = shop.reserve((sku, shop.here, 2), ttl_s=2)
        before = _moments(target)
        clock.step(STEPS_MS[step])
        event = shop.end_of(short.hold, short.receipt.sequence)
        late_ms = event.time.ToMilliseconds() - short.hold.expire_time.ToMilliseconds()
        assert 0 <= late_ms <= 1100, "the end came at its time in engine time"
        after = _moments(target)
        # Engine time passed as the monotonic clock did, which this process shares.
        assert after[0] - before[2] - 1 <= after[1] - before[1] <= after[2] - before[0] + 1
        assert shop.reservation(long).lines[0].reserved == 1
        assert figures(shop.level(sku)) == (9, 1, 0, 8)
        _await_alarm(target)
        times = [event.time.ToMilliseconds() for event in target.read_events()]
        assert times == sorted(times)
    finally:
        target.close()


def _moments(target: ServerTarget) -> tuple[float, int, float]:
    """Engine time between two readings of the monotonic clock, ms."""
    return time.monotonic() * 1000, target.engine_time_ms(), time.monotonic() * 1000


def _await_alarm(target: ServerTarget) -> None:
    """The operator is informed that the clock of the server jumped."""
    end = time.monotonic() + WAIT_S
    while "the wall clock jumped by" not in target.server.log.read_text(encoding="utf-8"):
        assert time.monotonic() < end, "nobody was told of the jump"
        target.digest()


@pytest.mark.case("D04")
@pytest.mark.parametrize("kind", SERVERS)
def test_a_hold_that_expires_while_the_server_is_stopped(kind: str, tmp_path: Path) -> None:
    with own_target(kind, tmp_path) as target:
        assert isinstance(target, ServerTarget)
        shop = Shop(target)
        sku = shop.item(5)
        # Long enough for a slow machine to stop the server before they fall due.
        first, second = (shop.reserve((sku, shop.here, 2), ttl_s=ttl_s) for ttl_s in (3, 3.2))
        late = requests.reserve(shop.context(), (sku, shop.here, 5))
        before = _moments(target)
        target.server.pause()
        soonest_ms = first.hold.expire_time.ToMilliseconds() - before[1] + before[0]
        assert time.monotonic() * 1000 < soonest_ms, "the holds were over before the server stood"
        waiting = target.start_raw(methods.RESERVE.path, late.SerializeToString())
        due_ms = second.hold.expire_time.ToMilliseconds() - before[1] + before[2]
        time.sleep(max(0.0, due_ms / 1000 - time.monotonic()) + 0.2)
        assert not waiting.done()
        target.server.resume()
        # The first answer after the pause knows that the holds have expired.
        answer = methods.RESERVE.answer.FromString(waiting.result(WAIT_S))
        assert figures(shop.level(sku)) == (5, 5, 0, 0)
        ends = [shop.end_of(each.hold, each.receipt.sequence) for each in (first, second)]
        assert ends[0].sequence < ends[1].sequence
        times = [event.time.ToMilliseconds() for event in target.read_events()]
        assert times == sorted(times)
        (made,) = target.read_events(answer.receipt.sequence, 1)
        assert made.time.ToMilliseconds() >= second.hold.expire_time.ToMilliseconds()


@pytest.mark.case("D06")
@has_compiler
@pytest.mark.parametrize("kind", TARGETS)
def test_what_expired_while_the_engine_was_down_ends_first_and_in_order(kind: str, tmp_path: Path) -> None:
    ttls_s = (3, 1, 2, 1, 3, 2, 1)
    with standing_at(START_MS, kind, tmp_path) as target:
        shop = Shop(target)
        sku = shop.item(len(ttls_s))
        holds = [shop.reserve((sku, shop.here, 1), ttl_s=ttl_s).hold for ttl_s in ttls_s]
        end = target.digest()[1]
    with standing_at(START_MS + HOUR_MS, kind, tmp_path) as target:
        shop.target = target
        # Before any other decision they have expired, journalled or not.
        shop.hold((sku, shop.here, len(ttls_s)), ttl_s=60)
        expected = sorted(holds, key=lambda hold: hold.expire_time.ToMilliseconds())
        shop.end_of(expected[-1], end)
        events = target.read_events(end + 1)
    # In the order of their ends, and of their making where those are equal.
    written = [event.expired.reservation_id for event in events if event.HasField("expired")]
    assert written == [hold.reservation_id for hold in expected]


@pytest.mark.case("D09")
@has_compiler
def test_another_clock_and_another_place_give_the_same_digest(tmp_path: Path) -> None:
    with own_target("embedded", tmp_path) as target:
        shop = Shop(target)
        sku = shop.item(9, there=9)
        hold = shop.hold((sku, shop.here, 2), ttl_s=1)
        shop.allocate(shop.hold((sku, shop.here, 3)), order_ref="order")
        shop.expired((sku, shop.there, 1))
        shop.call(methods.COUNT, requests.count(shop.context(), (sku, shop.here, 4)))
        assert shop.reservation(hold).lines[0].expired == 2
    # What fell due at the end is in the journal now, and nothing else will be.
    report = _verified(tmp_path, {})
    clock = WallClock(tmp_path / "clock")
    for zone, step_ms in (("Pacific/Kiritimati", 400 * DAY_MS), ("America/St_Johns", -4000 * DAY_MS), ("UTC", 0)):
        clock.step(step_ms)
        more = {**clock.environment, "TZ": zone, "LC_ALL": "C"}
        assert _verified(tmp_path, more) == report


_VERIFY = "import sys; from invengine import _core; print(_core.verify(sys.argv[1], None))"


def _verified(directory: Path, environment: dict[str, str]) -> tuple[str, int]:
    command = [sys.executable, "-c", _VERIFY, str(journal_of(directory))]
    found = subprocess.run(
        command, env=server_environment(environment), capture_output=True, text=True, check=True, timeout=60
    )
    report = json.loads(found.stdout)
    return report["digest"], report["sequence"]


@pytest.mark.case("D10")
@pytest.mark.parametrize("kind", SERVERS)
def test_a_deadline_that_passes_while_the_command_waits(kind: str, tmp_path: Path) -> None:
    calls = 100
    with own_target(kind, tmp_path) as target:
        assert isinstance(target, ServerTarget)
        shop = Shop(target)
        sku = shop.item(calls)
        asked = [requests.reserve(shop.context(), (sku, shop.here, 1)) for _ in range(calls)]
        target.server.pause()
        started = [target.start_raw(methods.RESERVE.path, each.SerializeToString(), timeout_s=0.3) for each in asked]
        ends = [_end_of(each.exception(WAIT_S)) for each in started]
        target.server.resume()
        assert set(ends) <= {"DEADLINE_EXCEEDED"}
        # The outcome is unknown; with the same key it is executed once.
        answers = [shop.call(methods.RESERVE, each) for each in asked]
        made = [event.context.idempotency_key for event in target.read_events() if event.HasField("reserved")]
        assert sorted(made) == sorted(each.context.idempotency_key for each in asked)
        assert len({answer.hold.reservation_id for answer in answers}) == calls
        assert figures(shop.level(sku)) == (calls, calls, 0, 0)


def _end_of(ended: BaseException | None) -> str:
    return ended.code.name if isinstance(ended, Refused) else str(getattr(getattr(ended, "code", None), "name", ended))


@pytest.mark.case("D10")
def test_a_deadline_that_is_refused_is_not_executed(tmp_path: Path) -> None:
    calls = 3000
    with own_target("embedded", tmp_path) as target:
        shop = Shop(target)
        sku = shop.item(calls)
        asked = [requests.reserve(shop.context(), (sku, shop.here, 1)) for _ in range(calls)]
        started = [target.start_raw(methods.RESERVE.path, each.SerializeToString(), timeout_s=0.001) for each in asked]
        ends = [each.exception(WAIT_S) for each in started]
        refused = [each for each, end in zip(asked, ends, strict=True) if isinstance(end, Refused)]
        assert {end.reason for end in ends if isinstance(end, Refused)} <= {"DEADLINE", "OVERLOADED"}
        for each in refused:
            assert not shop.outcome(each.context.idempotency_key).known
        assert shop.level(sku).reserved == calls - len(refused)
