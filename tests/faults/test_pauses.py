"""SIGSTOP for seconds, of the server and of its Redis, and a server that wakes to find that another has its ledger."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from invengine.v1 import availability_service_pb2 as availability

from ..conformance import methods
from ..conformance.redis_server import RedisServer, redis_server, wait_until
from .crew import audit, crew, tries
from .house import PLACES, SCARCE, House, house
from .kills import await_events
from .owners import take_over
from .record import ACCEPTED
from .redis_server import programs
from .shopper import OPTIONS, Orders

PAUSE_S = 3.0
TRY_S = 1.0


@pytest.fixture(params=programs())
def redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis, then a Valkey."""
    with redis_server(programs()[request.param], tmp_path / "redis") as server:
        yield server


def _orders(place: House, *, more: str = "") -> list[Orders]:
    addresses = [place.address, more] if more else [place.address]
    both = (place.orders(1, 16), place.orders(2, 16, channel="web"))
    return [replace(orders, addresses=addresses, try_s=TRY_S) for orders in both]


@pytest.mark.case("D04")
def test_a_server_on_files_that_was_stopped_goes_on(tmp_path: Path) -> None:
    with house(tmp_path, "--journal", "file") as place:
        place.start()
        place.furnish()
        with crew(_orders(place)) as callers:
            await_events(place, 500)
            _stop(place, PAUSE_S)
            await_events(place, 500)
            calls = callers.stop()
        auditor, _ = audit(place, calls)
        assert len(auditor.epochs) == 1


def _stop(place: House, seconds: float) -> None:
    place.running.pause()
    time.sleep(seconds)
    place.signal(signal.SIGCONT)


@pytest.mark.case("D04")
@pytest.mark.needs_tool("redis-server")
def test_a_server_on_redis_that_was_stopped_goes_on(redis: RedisServer, tmp_path: Path) -> None:
    with house(tmp_path, "--journal", "redis", "--redis-url", redis.url) as place:
        place.start()
        place.furnish()
        with crew(_orders(place)) as callers:
            await_events(place, 300)
            _stop(place, PAUSE_S)
            await_events(place, 300)
            calls = callers.stop()
        auditor, _ = audit(place, calls)
        assert len(auditor.epochs) == 1


@pytest.mark.case("F16", "G03")
@pytest.mark.needs_tool("redis-server")
def test_a_redis_that_was_stopped_goes_on(redis: RedisServer, tmp_path: Path) -> None:
    flags = ("--journal", "redis", "--redis-url", redis.url)
    with house(tmp_path, *flags, environment={"INVENGINE_IN_FLIGHT_MAX": "16"}) as place:
        place.start()
        place.furnish()
        with crew(_orders(place)) as callers:
            await_events(place, 300)
            redis.signal(signal.SIGSTOP)
            wait_until("a read that is refused", lambda: not _reads(place))
            redis.signal(signal.SIGCONT)
            wait_until("a read that is answered", lambda: _reads(place))
            await_events(place, 300)
            calls = callers.stop()
        auditor, _ = audit(place, calls)
        assert len(auditor.epochs) == 1
        assert tries(calls)["RESOURCE_EXHAUSTED OVERLOADED"]


def _reads(place: House) -> bool:
    """Whether a read is answered now."""
    query = availability.AvailabilityQuery(sku=SCARCE[0], location=PLACES[0])
    request = availability.GetAvailabilityRequest(queries=[query])
    with grpc.insecure_channel(place.address, options=OPTIONS) as channel:
        call = channel.unary_unary(methods.GET_AVAILABILITY.path, None, None)
        try:
            call(request.SerializeToString(), timeout=TRY_S)
        except grpc.RpcError:
            return False
        return True


@pytest.mark.case("F05", "G03")
@pytest.mark.needs_tool("redis-server")
def test_a_server_that_slept_while_another_claimed_is_silent(redis: RedisServer, tmp_path: Path) -> None:
    flags = ("--journal", "redis", "--redis-url", redis.url)
    with house(tmp_path / "first", *flags) as first, house(tmp_path / "second", *flags) as second:
        first.start()
        first.furnish()
        second.settle_down()
        with crew(_orders(first, more=second.address)) as callers:
            await_events(first, 500)
            asleep = take_over(first, second, PAUSE_S)
            await_events(second, 300)
            calls = callers.stop()
        assert grpc.StatusCode.OK not in asleep.reads + asleep.writes
        second.reigns += first.reigns
        auditor, _ = audit(second, calls)
        assert [epoch for _, epoch in auditor.epochs] == [1, 2]
        assert {call.server for call in calls if call.outcome == ACCEPTED} == {first.address, second.address}
