"""SIGSTOP for seconds, of the server and of its Redis, and a server that resumes after another took its ledger."""

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
from .caller_process import OPTIONS, CallerConfig
from .kills import await_events
from .record import ACCEPTED
from .redis_server import programs
from .server_fixture import LOCATIONS, SCARCE, ServerFixture, server_fixture
from .takeover import take_over
from .workers import audit, tries, workers

PAUSE_S = 3.0
TRY_S = 1.0


@pytest.fixture(params=programs())
def redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis, then a Valkey."""
    with redis_server(programs()[request.param], tmp_path / "redis") as server:
        yield server


def _caller_configs(server: ServerFixture, *, more: str = "") -> list[CallerConfig]:
    addresses = [server.address, more] if more else [server.address]
    both = (server.caller_config(1, 16), server.caller_config(2, 16, channel="web"))
    return [replace(config, addresses=addresses, try_s=TRY_S) for config in both]


@pytest.mark.case("D04")
def test_a_suspended_server_on_files_continues(tmp_path: Path) -> None:
    with server_fixture(tmp_path, "--journal", "file") as server:
        server.start()
        server.add_stock()
        with workers(_caller_configs(server)) as callers:
            await_events(server, 500)
            _stop(server, PAUSE_S)
            await_events(server, 500)
            calls = callers.stop()
        auditor, _ = audit(server, calls)
        assert len(auditor.epochs) == 1


def _stop(server: ServerFixture, seconds: float) -> None:
    server.running.pause()
    time.sleep(seconds)
    server.signal(signal.SIGCONT)


@pytest.mark.case("D04")
@pytest.mark.needs_tool("redis-server")
def test_a_suspended_server_on_redis_continues(redis: RedisServer, tmp_path: Path) -> None:
    with server_fixture(tmp_path, "--journal", "redis", "--redis-url", redis.url) as server:
        server.start()
        server.add_stock()
        with workers(_caller_configs(server)) as callers:
            await_events(server, 300)
            _stop(server, PAUSE_S)
            await_events(server, 300)
            calls = callers.stop()
        auditor, _ = audit(server, calls)
        assert len(auditor.epochs) == 1


@pytest.mark.case("F16", "G03")
@pytest.mark.needs_tool("redis-server")
def test_a_suspended_redis_continues(redis: RedisServer, tmp_path: Path) -> None:
    flags = ("--journal", "redis", "--redis-url", redis.url)
    with server_fixture(tmp_path, *flags, environment={"INVENGINE_IN_FLIGHT_MAX": "16"}) as server:
        server.start()
        server.add_stock()
        with workers(_caller_configs(server)) as callers:
            await_events(server, 300)
            redis.signal(signal.SIGSTOP)
            wait_until("a read that is refused", lambda: not _reads(server))
            redis.signal(signal.SIGCONT)
            wait_until("a read that is answered", lambda: _reads(server))
            await_events(server, 300)
            calls = callers.stop()
        auditor, _ = audit(server, calls)
        assert len(auditor.epochs) == 1
        assert tries(calls)["RESOURCE_EXHAUSTED OVERLOADED"]


def _reads(server: ServerFixture) -> bool:
    """Whether a read is answered now."""
    query = availability.AvailabilityQuery(sku=SCARCE[0], location=LOCATIONS[0])
    request = availability.GetAvailabilityRequest(queries=[query])
    with grpc.insecure_channel(server.address, options=OPTIONS) as channel:
        call = channel.unary_unary(methods.GET_AVAILABILITY.path, None, None)
        try:
            call(request.SerializeToString(), timeout=TRY_S)
        except grpc.RpcError:
            return False
        return True


@pytest.mark.case("F05", "G03")
@pytest.mark.needs_tool("redis-server")
def test_a_suspended_server_that_lost_its_ledger_answers_nothing(redis: RedisServer, tmp_path: Path) -> None:
    flags = ("--journal", "redis", "--redis-url", redis.url)
    with server_fixture(tmp_path / "first", *flags) as first, server_fixture(tmp_path / "second", *flags) as second:
        first.start()
        first.add_stock()
        second.choose_address()
        with workers(_caller_configs(first, more=second.address)) as callers:
            await_events(first, 500)
            while_paused = take_over(first, second, PAUSE_S)
            await_events(second, 300)
            calls = callers.stop()
        assert grpc.StatusCode.OK not in while_paused.reads + while_paused.writes
        second.incarnations += first.incarnations
        auditor, _ = audit(second, calls)
        assert [epoch for _, epoch in auditor.epochs] == [1, 2]
        assert {call.server for call in calls if call.outcome == ACCEPTED} == {first.address, second.address}
