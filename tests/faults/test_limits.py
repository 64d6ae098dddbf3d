"""A server without file descriptors or without its turn on the processor: it sheds, it recovers, it loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from ..conformance.redis_server import wait_until
from .caller_process import OPTIONS
from .kills import await_events
from .limits import SMALL_FILES, few_files, starved
from .server_fixture import server_fixture
from .workers import audit, workers

CONNECT_S = 1.0
FILES_LEFT = 4
IDLE_CONNECTIONS_MAX = 50
EXIT_FAULT = 5
END_S = 30.0


@pytest.mark.case("I06")
def test_a_server_without_file_descriptors_serves_existing_connections(tmp_path: Path) -> None:
    with server_fixture(tmp_path, "--journal", "file") as place, idle_connections() as others:
        place.start()
        place.add_stock()
        with workers([place.caller_config(1, 12), place.caller_config(2, 12, channel="web")]) as callers:
            await_events(place, 300)
            with grpc.insecure_channel(place.address, options=OPTIONS) as known:
                # A channel connects with its first call, which must be before files are few.
                first = place.digest_over(known)[1]
                with few_files(place.running.process.pid, FILES_LEFT):
                    while connects(place.address, others):
                        assert len(others) <= IDLE_CONNECTIONS_MAX
                    wait_until("commands of old callers", lambda: place.digest_over(known)[1] > first + 300)
            wait_until("room for new callers", lambda: connects(place.address, others))
            calls = callers.stop()
        audit(place, calls)
        assert len(place.incarnations) == 1


@pytest.mark.case("I06")
def test_a_journal_without_file_descriptors_ends_the_server_and_loses_nothing(tmp_path: Path) -> None:
    with server_fixture(tmp_path, "--journal", "file", environment=SMALL_FILES) as place:
        place.start()
        place.add_stock()
        with workers([place.caller_config(1, 12), place.caller_config(2, 12, channel="web")]) as callers:
            await_events(place, 300)
            with few_files(place.running.process.pid, 0):
                # The next journal file cannot be opened.
                assert place.running.process.wait(END_S) == EXIT_FAULT
            place.start()
            await_events(place, 300)
            calls = callers.stop()
        audit(place, calls)


@contextmanager
def idle_connections() -> Iterator[list[grpc.Channel]]:
    """Connections that stay open until the end."""
    channels: list[grpc.Channel] = []
    try:
        yield channels
    finally:
        for channel in channels:
            channel.close()


def connects(address: str, kept: list[grpc.Channel]) -> bool:
    """Whether one more connection is accepted."""
    channel = grpc.insecure_channel(address, options=OPTIONS)
    kept.append(channel)
    try:
        grpc.channel_ready_future(channel).result(timeout=CONNECT_S)
    except grpc.FutureTimeoutError:
        return False
    return True


@pytest.mark.case("I06")
def test_a_server_without_processor_time_is_slow_and_correct(tmp_path: Path) -> None:
    with server_fixture(tmp_path, "--journal", "file") as place:
        place.start()
        place.add_stock()
        with workers([place.caller_config(1, 12), place.caller_config(2, 12, channel="web")]) as callers:
            await_events(place, 300)
            with starved():
                await_events(place, 300)
            await_events(place, 300)
            calls = callers.stop()
        audit(place, calls)
        assert len(place.incarnations) == 1
