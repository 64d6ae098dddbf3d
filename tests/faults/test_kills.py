"""SIGKILL of servers under load, again and again on one journal: nothing acknowledged is lost, nothing done twice."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import pytest

from invengine import _core

from ..conformance.redis_server import redis_server
from .house import house
from .kills import Ledger, cut_off
from .redis_server import programs

SEED = 20_261
FILE_KILLS = 36
REDIS_KILLS = 7
TURNS = 2


@pytest.mark.case("E01", "E05", "A09", "A14", "A15", "G02")
@pytest.mark.timeout(240)
def test_kills_of_a_server_on_files(tmp_path: Path) -> None:
    with house(tmp_path, "--journal", "file") as place:
        place.start()
        place.furnish()
        ledger = Ledger(place, random.Random(SEED))
        for _ in range(TURNS):
            calls = ledger.play(FILE_KILLS // TURNS, ledger.kill)
            assert cut_off(calls) > FILE_KILLS // TURNS
        digest, sequence = place.digest()
        assert len(place.reigns) == FILE_KILLS + 1
        # Those that were killed while they recovered are writers too.
        assert {reign.epoch for reign in place.reigns} <= {epoch for _, epoch in ledger.auditor.epochs}
        place.running.stop()
    report = json.loads(_core.verify(str(tmp_path / "journal"), sequence))
    assert report["digest"] == digest


@pytest.mark.case("E01", "A09", "A15")
@pytest.mark.timeout(240)
@pytest.mark.needs_tool("redis-server")
@pytest.mark.parametrize("kind", programs())
def test_kills_of_a_server_and_of_its_redis(kind: str, tmp_path: Path) -> None:
    with (
        redis_server(programs()[kind], tmp_path / "redis") as redis,
        house(tmp_path, "--journal", "redis", "--redis-url", redis.url) as place,
    ):
        place.start()
        place.furnish()
        ledger = Ledger(place, random.Random(f"{SEED}{kind}"))

        def kill_redis() -> None:
            redis.kill()
            redis.start()

        def kill_both() -> None:
            place.signal(signal.SIGKILL)
            kill_redis()
            ledger.kill()

        ledger.play(REDIS_KILLS - 2, ledger.kill)
        lives = len(place.reigns)
        ledger.play(3, kill_redis)
        # The server outlived its Redis each time.
        assert len(place.reigns) == lives
        ledger.play(2, kill_both)
