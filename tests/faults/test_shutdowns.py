"""SIGTERM under full load: accepted calls are answered, the rest is refused, and the next server continues."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from .close_under_load import CloseUnderLoad
from .kills import FaultRounds
from .server_fixture import server_fixture
from .shutdown_endings import unexpected_endings
from .workers import tries

STOPS = 6
CLOSINGS = 40


@pytest.mark.case("I01", "G05")
@pytest.mark.parametrize("door", ["native", "python"])
def test_a_drain_under_load_loses_nothing(door: str, tmp_path: Path) -> None:
    with server_fixture(tmp_path, "--journal", "file", "--door", door) as server:
        server.start()
        server.add_stock()
        rounds = FaultRounds(server, random.Random(7))

        def stop() -> None:
            server.running.stop()
            server.start()

        calls = rounds.play(STOPS, stop)
        assert unexpected_endings(tries(calls), door) == set()
        assert tries(calls)
        assert len(server.incarnations) == STOPS + 1


@pytest.mark.case("G05", "A15")
def test_an_engine_that_is_closed_amid_batches_answers_correctly(tmp_path: Path) -> None:
    closings = CloseUnderLoad(tmp_path, random.Random(11))
    closings.play(CLOSINGS)
    assert closings.endings["answered"] > CLOSINGS
