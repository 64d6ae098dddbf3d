"""A server without file descriptors or without its turn on the processor: it sheds, it recovers, it loses nothing."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from .crew import audit, crew
from .house import house, wait_until
from .kills import await_events
from .limits import few_files, starved
from .shopper import OPTIONS

CONNECT_S = 1.0
FILES_LEFT = 4


@pytest.mark.case("I06")
def test_a_server_without_file_descriptors_serves_whom_it_knows(tmp_path: Path) -> None:
    small = {"INVENGINE_JOURNAL_FILE_BYTES": str(1 << 20)}
    with house(tmp_path, "--journal", "file", environment=small) as place:
        place.start()
        place.furnish()
        with crew([place.orders(1, 12), place.orders(2, 12, channel="web")]) as callers:
            await_events(place, 300)
            pid = place.running.process.pid
            strangers: list[grpc.Channel] = []
            try:
                with grpc.insecure_channel(place.address, options=OPTIONS) as known:
                    first = place.digest_over(known)[1]
                    with few_files(pid, FILES_LEFT):
                        while _connects(place.address, strangers):
                            assert len(strangers) < 50
                        # Journal files come to their end meanwhile, and no new one can be opened.
                        wait_until("commands of old callers", lambda: place.digest_over(known)[1] > first + 300)
            finally:
                for channel in strangers:
                    channel.close()
            wait_until("room for new callers", lambda: _connects(place.address, []))
            await_events(place, 3_000)
            calls = callers.stop()
        audit(place, calls)


def _connects(address: str, kept: list[grpc.Channel]) -> bool:
    channel = grpc.insecure_channel(address, options=OPTIONS)
    kept.append(channel)
    try:
        grpc.channel_ready_future(channel).result(timeout=CONNECT_S)
    except grpc.FutureTimeoutError:
        return False
    return True


@pytest.mark.case("I06")
def test_a_starved_server_is_slow_and_right(tmp_path: Path) -> None:
    with house(tmp_path, "--journal", "file") as place:
        place.start()
        place.furnish()
        with crew([place.orders(1, 12), place.orders(2, 12, channel="web")]) as callers:
            await_events(place, 300)
            with starved():
                await_events(place, 300)
            await_events(place, 300)
            calls = callers.stop()
        audit(place, calls)
        assert len(place.reigns) == 1
