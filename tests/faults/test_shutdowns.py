"""SIGTERM under full load: what was taken is answered, the rest is refused, and the next server goes on from there."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from .crew import tries
from .house import house
from .kills import Ledger

STOPS = 6
ALLOWED = {"UNAVAILABLE DRAINING", "UNAVAILABLE TRANSPORT", "UNAVAILABLE RECOVERING", "14 DRAINING", "14 RECOVERING"}
# What grpcio says by itself to calls that reach it in the moment of its end.
BY_GRPCIO = {"native": set[str](), "python": {"CANCELLED TRANSPORT"}}


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
        assert set(tries(calls)) <= ALLOWED | BY_GRPCIO[door]
        assert tries(calls)
        assert len(place.reigns) == STOPS + 1
