"""SIGKILL of servers under load, again and again on one journal: nothing acknowledged is lost, nothing done twice."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import pytest

from invengine import _core

from ..conformance.redis_server import redis_server
from .kills import FaultRounds, cut_off
from .redis_server import programs
from .server_fixture import server_fixture

SEED = 20_261
FILE_KILLS = 36
REDIS_KILLS = 7
TURNS = 2


@pytest.mark.case("E01", "E05", "A09", "A14", "A15", "G02")
@pytest.mark.timeout(240)
def test_kills_of_a_server_on_files(tmp_path: Path) -> None:
    with server_fixture(tmp_path, "--journal", "file") as server:
        server.start()
        server.add_stock()
        rounds = FaultRounds(server, random.Random(SEED))
        for _ in range(TURNS):
            calls = rounds.play(FILE_KILLS // TURNS, rounds.kill)
            assert cut_off(calls) > FILE_KILLS // TURNS
        digest, sequence = server.digest()
        assert len(server.incarnations) == FILE_KILLS + 1
        # Those that were killed while they recovered are writers too.
        assert {each.epoch for each in server.incarnations} <= {epoch for _, epoch in rounds.auditor.epochs}
        server.running.stop()
    report = json.loads(_core.verify(str(tmp_path / "journal"), sequence))
    assert report["digest"] == digest


@pytest.mark.case("E01", "A09", "A15")
@pytest.mark.timeout(240)
@pytest.mark.needs_tool("redis-server")
@pytest.mark.parametrize("kind", programs())
def test_kills_of_a_server_and_of_its_redis(kind: str, tmp_path: Path) -> None:
    with (
        redis_server(programs()[kind], tmp_path / "redis") as redis,
        server_fixture(tmp_path, "--journal", "redis", "--redis-url", redis.url) as server,
    ):
        server.start()
        server.add_stock()
        rounds = FaultRounds(server, random.Random(f"{SEED}{kind}"))

        def kill_redis() -> None:
            redis.kill()
            redis.start()

        def kill_both() -> None:
            server.signal(signal.SIGKILL)
            kill_redis()
            rounds.kill()

        rounds.play(REDIS_KILLS - 2, rounds.kill)
        lives = len(server.incarnations)
        rounds.play(3, kill_redis)
        # The server outlived its Redis each time.
        assert len(server.incarnations) == lives
        rounds.play(2, kill_both)
