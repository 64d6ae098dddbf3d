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
from .crew import audit, crew, tries
from .house import PLACES, SKUS, House, house
from .kills import await_events
from .limits import SMALL_FILES, rss_bytes, small_disk
from .record import Call
from .shopper import OPTIONS, reason_of
from .tracing import injected

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
    with house(tmp_path, "--journal", "file") as place:
        place.start()
        place.furnish()
        with crew([place.orders(1, 12), place.orders(2, 12, channel="web")]) as callers:
            await_events(place, 300)
            with watched(place) as seen, injected(place.running.process.pid, calls, fault):
                code = place.running.process.wait(POISON_S)
            assert code == EXIT_FAULT
            assert seen[-1] == health_pb2.HealthCheckResponse.NOT_SERVING
            place.start()
            await_events(place, 300)
            recorded = callers.stop()
        audit(place, recorded)
        _only_unavailable(recorded)


@pytest.mark.case("E14")
@pytest.mark.needs_tool("setpriv")
def test_a_directory_that_may_no_longer_be_written_ends_the_server_and_loses_nothing(tmp_path: Path) -> None:
    with house(tmp_path, "--journal", "file", environment=SMALL_FILES) as place:
        place.prefix = PLAIN_USER if os.geteuid() == 0 else ()
        place.start()
        place.furnish()
        directory = tmp_path / "journal"
        with crew([place.orders(1, 12), place.orders(2, 12, channel="web")]) as callers:
            await_events(place, 300)
            with watched(place) as seen:
                # Files that are open go on; the next one cannot be made.
                directory.chmod(0o500)
                code = place.running.process.wait(POISON_S)
            assert code == EXIT_FAULT
            assert seen[-1] == health_pb2.HealthCheckResponse.NOT_SERVING
            before = _journals(directory)
            with pytest.raises(AssertionError, match="fix the disk or its permissions"):
                place.start()
            # The claim of the one that was refused may stand behind it; nothing else is touched.
            after = _journals(directory)
            assert after.keys() == before.keys()
            assert all(after[name].startswith(before[name]) for name in before)
            directory.chmod(0o700)
            place.start()
            await_events(place, 300)
            recorded = callers.stop()
        audit(place, recorded)
        _only_unavailable(recorded)


def _journals(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes().rstrip(b"\0") for file in directory.glob("journal-*")}


@contextmanager
def watched(place: House) -> Iterator[list[int]]:
    """What health said since, newest last."""
    seen: list[int] = []
    with grpc.insecure_channel(place.address, options=OPTIONS) as channel:
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
    with house(tmp_path, "--journal", "file", environment={"INVENGINE_IN_FLIGHT_MAX": "12"}) as place:
        pid = place.start().process.pid
        place.furnish()
        with crew([place.orders(1, 16), place.orders(2, 16, channel="web")]) as callers:
            await_events(place, 500)
            before = rss_bytes(pid)
            with injected(pid, "fdatasync", "delay_enter=500000"):
                for _ in range(6):
                    await_events(place, 1)
                assert rss_bytes(pid) - before < GROWTH_BYTES_MAX
            await_events(place, 500)
            calls = callers.stop()
        audit(place, calls)
        assert tries(calls)["RESOURCE_EXHAUSTED OVERLOADED"]
        assert len(place.reigns) == 1


@pytest.mark.case("E07", "I06")
@pytest.mark.needs_root
def test_a_full_disk_refuses_and_heals(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "journal", "22m") as grow,
        house(tmp_path, "--journal", "file", environment=SMALL_FILES) as place,
    ):
        place.start()
        place.furnish()
        with crew([place.orders(1, 16), place.orders(2, 16, channel="web")]) as callers:
            wait_until("a disk that is full", lambda: _is_full(place), within_s=60.0)
            # Reads go on.
            assert place.levels()
            grow("64m")
            await_events(place, 500)
            calls = callers.stop()
        audit(place, calls)
        assert tries(calls)["RESOURCE_EXHAUSTED JOURNAL_FULL"]
        place.running.stop()


def _is_full(place: House) -> bool:
    line = inventory.StockLine(sku=SKUS[0], location=PLACES[0], quantity=1)
    context = types.CommandContext(idempotency_key=f"full-{time.monotonic_ns()}")
    try:
        place.call(methods.RECEIVE, inventory.ReceiveRequest(context=context, lines=[line]))
    except grpc.RpcError as error:
        return reason_of(error)[0] == "JOURNAL_FULL"
    return False
