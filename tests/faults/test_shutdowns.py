"""SIGTERM under full load: what was taken is answered, the rest is refused, and the next server goes on from there."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from .closings import Closings
from .crew import tries
from .house import house
from .kills import Ledger
from .shutdowns import surprises

STOPS = 6
CLOSINGS = 40


@pytest.mark.case("I01", "G05")
@pytest.mark.parametrize("door", ["native", "python"])
def test_a_drain_under_load_loses_nothing(door: str, tmp_path: Path) -> None:
    with house(tmp_path, "--journal", "file", "--door", door) as place:
        place.start()
        place.furnish()
        ledger = Ledger(place, random.Random(7))

        def stop() -> None:
            place.running.stop()
            place.start()

        calls = ledger.play(STOPS, stop)
        assert surprises(tries(calls), door) == set()
        assert tries(calls)
        assert len(place.reigns) == STOPS + 1


@pytest.mark.case("G05", "A15")
def test_an_engine_that_is_closed_amid_batches_tells_the_truth(tmp_path: Path) -> None:
    closings = Closings(tmp_path, random.Random(11))
    closings.play(CLOSINGS)
    assert closings.endings["answered"] > CLOSINGS
