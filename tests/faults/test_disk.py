"""A disk that fails, fills up or is slow, under a whole server; strace makes its system calls fail."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import types_pb2 as types

from ..conformance import methods
from ..conformance.redis_server import wait_until
from .caller_process import OPTIONS, reason_of
from .kills import await_events
from .limits import SMALL_FILES, rss_bytes, small_disk
from .record import Call
from .server_fixture import LOCATIONS, SKUS, ServerFixture, server_fixture
from .tracing import injected
from .workers import audit, tries, workers

WATCH = "/grpc.health.v1.Health/Watch"
EXIT_FAULT = 5
POISON_S = 30.0
GROWTH_BYTES_MAX = 64 << 20
# Root without the right to ignore permissions.
PLAIN_USER = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")


@pytest.mark.needs_tool("strace")
@pytest.mark.parametrize(
    ("calls", "fault"),
    [
        pytest.param("fdatasync", "error=EIO", marks=pytest.mark.case("E06"), id="syncs fail"),
        pytest.param("pwrite64,fdatasync", "error=EROFS", marks=pytest.mark.case("E14"), id="read-only"),
    ],
)
def test_a_failed_journal_ends_the_server_and_loses_nothing(calls: str, fault: str, tmp_path: Path) -> None:
    with server_fixture(tmp_path, "--journal", "file") as server:
        server.start()
        server.add_stock()
        with workers([server.caller_config(1, 12), server.caller_config(2, 12, channel="web")]) as callers:
            await_events(server, 300)
            with watched(server) as seen, injected(server.running.process.pid, calls, fault):
                code = server.running.process.wait(POISON_S)
            assert code == EXIT_FAULT
            assert seen[-1] == health_pb2.HealthCheckResponse.NOT_SERVING
            server.start()
            await_events(server, 300)
            recorded = callers.stop()
        audit(server, recorded)
        _only_unavailable(recorded)


@pytest.mark.case("E14")
@pytest.mark.needs_tool("setpriv")
def test_a_directory_that_may_no_longer_be_written_ends_the_server_and_loses_nothing(tmp_path: Path) -> None:
    with server_fixture(tmp_path, "--journal", "file", environment=SMALL_FILES) as server:
        server.prefix = PLAIN_USER if os.geteuid() == 0 else ()
        server.start()
        server.add_stock()
        directory = tmp_path / "journal"
        with workers([server.caller_config(1, 12), server.caller_config(2, 12, channel="web")]) as callers:
            await_events(server, 300)
            with watched(server) as seen:
                # Open files still work; the next one cannot be created.
                directory.chmod(0o500)
                code = server.running.process.wait(POISON_S)
            assert code == EXIT_FAULT
            assert seen[-1] == health_pb2.HealthCheckResponse.NOT_SERVING
            before = _journals(directory)
            with pytest.raises(AssertionError, match="fix the disk or its permissions"):
                server.start()
            # The claim of the refused server may be appended; nothing else is touched.
            after = _journals(directory)
            assert after.keys() == before.keys()
            assert all(after[name].startswith(before[name]) for name in before)
            directory.chmod(0o700)
            server.start()
            await_events(server, 300)
            recorded = callers.stop()
        audit(server, recorded)
        _only_unavailable(recorded)


def _journals(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes().rstrip(b"\0") for file in directory.glob("journal-*")}


@contextmanager
def watched(server: ServerFixture) -> Iterator[list[int]]:
    """The health statuses since then, newest last."""
    seen: list[int] = []
    with grpc.insecure_channel(server.address, options=OPTIONS) as channel:
        watch: Any = channel.unary_stream(
            "/grpc.health.v1.Health/Watch", None, health_pb2.HealthCheckResponse.FromString
        )
        stream = watch(health_pb2.HealthCheckRequest().SerializeToString())
        seen.append(next(stream).status)
        assert seen == [health_pb2.HealthCheckResponse.SERVING]
        yield seen
        # It ends with the server.
        with suppress(grpc.RpcError):
            seen.extend(answer.status for answer in stream)


def _only_unavailable(calls: Sequence[Call]) -> None:
    assert {ending.partition(" ")[0] for ending in tries(calls)} == {"UNAVAILABLE"}


@pytest.mark.case("E15")
@pytest.mark.needs_tool("strace")
def test_a_slow_disk_sheds_and_recovers(tmp_path: Path) -> None:
    with server_fixture(tmp_path, "--journal", "file", environment={"INVENGINE_IN_FLIGHT_MAX": "12"}) as server:
        pid = server.start().process.pid
        server.add_stock()
        with workers([server.caller_config(1, 16), server.caller_config(2, 16, channel="web")]) as callers:
            await_events(server, 500)
            before = rss_bytes(pid)
            with injected(pid, "fdatasync", "delay_enter=500000"):
                for _ in range(6):
                    await_events(server, 1)
                assert rss_bytes(pid) - before < GROWTH_BYTES_MAX
            await_events(server, 500)
            calls = callers.stop()
        audit(server, calls)
        assert tries(calls)["RESOURCE_EXHAUSTED OVERLOADED"]
        assert len(server.incarnations) == 1


@pytest.mark.case("E07", "I06")
@pytest.mark.needs_root
def test_a_full_disk_refuses_and_heals(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "journal", "22m") as grow,
        server_fixture(tmp_path, "--journal", "file", environment=SMALL_FILES) as server,
    ):
        server.start()
        server.add_stock()
        with workers([server.caller_config(1, 16), server.caller_config(2, 16, channel="web")]) as callers:
            wait_until("a disk that is full", lambda: _is_full(server), within_s=60.0)
            # Reads continue.
            assert server.levels()
            grow("64m")
            await_events(server, 500)
            calls = callers.stop()
        audit(server, calls)
        assert tries(calls)["RESOURCE_EXHAUSTED JOURNAL_FULL"]
        server.running.stop()


def _is_full(server: ServerFixture) -> bool:
    line = inventory.StockLine(sku=SKUS[0], location=LOCATIONS[0], quantity=1)
    context = types.CommandContext(idempotency_key=f"full-{time.monotonic_ns()}")
    try:
        server.call(methods.RECEIVE, inventory.ReceiveRequest(context=context, lines=[line]))
    except grpc.RpcError as error:
        return reason_of(error)[0] == "JOURNAL_FULL"
    return False
