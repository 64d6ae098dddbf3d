"""Time without a server: holds that expire while it is down, and a journal read under another clock."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from invengine import _core
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import journal_service_pb2 as journal
from invengine.v1 import reservation_service_pb2 as reservations

from ..conformance import methods
from ..conformance.methods import A, Method, Q
from ..conformance.server import server_environment
from .kills import await_events
from .server_fixture import LOCATIONS, SKUS, ServerFixture, server_fixture
from .workers import audit, workers

HOLDS = 40
OPEN = """
import json, sys
from invengine import _core
from invengine.v1.journal_service_pb2 import GetDigestResponse
report = json.loads(_core.verify(sys.argv[1], None))
# The clock of the new owner shows 1970: engine time continues from the journal.
engine = _core.Engine.open(json.dumps({"journal": "file", "directory": sys.argv[1], "wall_time_ms": 1}))
answer = GetDigestResponse.FromString(engine.call("/invengine.v1.JournalService/GetDigest", b""))
engine.close()
print(json.dumps([[report["digest"], report["sequence"]], [answer.digest, answer.sequence]]))
"""


@pytest.mark.case("D06")
def test_holds_that_expire_while_the_server_is_down_have_ended_before_it_serves(tmp_path: Path) -> None:
    with server_fixture(tmp_path, "--journal", "file") as server:
        server.start()
        server.add_stock()
        asked = [_hold(server, number) for number in range(HOLDS)]
        last = server.digest()[1]
        server.kill()
        ends = [answer.hold.expire_time.ToMilliseconds() for answer in asked]
        time.sleep(max(0.0, max(ends) / 1000 - time.time()))
        server.start()
        # The first answer of the new server knows it already, and a late payment takes the units again.
        level = next(found for found in server.levels() if (found.sku, found.location) == (SKUS[0], LOCATIONS[0]))
        assert level.reserved == 0
        target = methods.ALLOCATE.request()
        target.context.idempotency_key = "late"
        target.target.reservation_id = asked[0].hold.reservation_id
        assert server.call(methods.ALLOCATE, target).holds[0].reacquired
        events = list(server.events(last))
        expired = [event.expired.reservation_id for event in events if event.WhichOneof("fact") == "expired"]
        assert sorted(expired) == sorted(answer.hold.reservation_id for answer in asked)
        due = {answer.hold.reservation_id: answer.hold.expire_time.ToMilliseconds() for answer in asked}
        assert [due[name] for name in expired] == sorted(due.values())
        assert [event.WhichOneof("fact") for event in events][-1] == "allocated"


def _hold(server: ServerFixture, number: int) -> reservations.ReserveResponse:
    request = reservations.ReserveRequest()
    request.context.idempotency_key = f"hold-{number}"
    request.lines.add(sku=SKUS[0], location=LOCATIONS[0], quantity=1)
    # They end at different moments, later ones first.
    request.ttl.FromMilliseconds(1_000 + 100 * (number * 7 % 10))
    return server.call(methods.RESERVE, request)


MANY = 20_000
BATCH = 1_000
START_MS = 1_800_000_000_000
TTL_S = 60


@pytest.mark.case("D06")
def test_everything_that_expired_meanwhile_is_journalled_before_the_first_command(tmp_path: Path) -> None:
    with _engine(tmp_path, START_MS) as engine:
        _stock(engine, MANY)
        for first in range(0, MANY, BATCH):
            commands = [reservations.Command(reserve=_reserve(f"h{n}")) for n in range(first, first + BATCH)]
            answer = _asked(engine, methods.SUBMIT, reservations.SubmitRequest(commands=commands))
            assert all(outcome.holds for outcome in answer.outcomes)
        before = _asked(engine, methods.GET_DIGEST, methods.GET_DIGEST.request()).sequence
    with _engine(tmp_path, START_MS + 2_000 * TTL_S) as engine:
        # The first read sees a journal that already has it.
        assert _asked(engine, methods.GET_DIGEST, methods.GET_DIGEST.request()).sequence == before + MANY
        first_answer = _asked(engine, methods.RESERVE, _reserve("first", MANY))
        kinds = [event.WhichOneof("fact") for event in _events(engine, before)]
    assert kinds == ["expired"] * MANY + ["reserved"]
    assert first_answer.receipt.sequence == before + MANY + 1


@contextmanager
def _engine(directory: Path, wall_time_ms: int) -> Iterator[_core.Engine]:
    settings = {
        "journal": "file",
        "directory": str(directory / "journal"),
        "wall_time_ms": wall_time_ms,
        "auto_create": True,
    }
    engine = _core.Engine.open(json.dumps(settings))
    try:
        yield engine
    finally:
        engine.close()


def _asked(engine: _core.Engine, method: Method[Q, A], request: Q) -> A:
    return method.answer.FromString(engine.call(method.path, request.SerializeToString()))


def _stock(engine: _core.Engine, units: int) -> None:
    request = inventory.ReceiveRequest()
    request.context.idempotency_key = "stock"
    request.lines.add(sku=SKUS[0], location=LOCATIONS[0], quantity=units)
    _asked(engine, methods.RECEIVE, request)


def _reserve(key: str, units: int = 1) -> reservations.ReserveRequest:
    request = reservations.ReserveRequest()
    request.context.idempotency_key = key
    request.lines.add(sku=SKUS[0], location=LOCATIONS[0], quantity=units)
    request.ttl.FromSeconds(TTL_S)
    return request


def _events(engine: _core.Engine, after: int) -> Iterator[journal.Event]:
    while True:
        page = journal.ReadEventsResponse.FromString(engine.read_events(after + 1, 1_000, 0)).events
        if not page:
            return
        yield from page
        after = page[-1].sequence


@pytest.mark.case("D09")
def test_a_journal_read_under_another_clock_gives_the_same_digest(tmp_path: Path) -> None:
    with server_fixture(tmp_path, "--journal", "file") as server:
        server.start()
        server.add_stock()
        with workers([server.caller_config(1, 8)]) as callers:
            await_events(server, 1_500)
            calls = callers.stop()
        audit(server, calls)
        server.running.stop()
        server.start()
        reported = list(server.digest())
        server.kill()
    for zone in ("UTC", "Pacific/Auckland", "America/St_Johns"):
        copy = tmp_path / zone.replace("/", "-")
        shutil.copytree(tmp_path / "journal", copy)
        assert _folded(copy, zone) == [reported, reported]


def _folded(journal: Path, zone: str) -> list[list[object]]:
    """Digest and position as verify and a new owner find them."""
    command = [sys.executable, "-c", OPEN, str(journal)]
    environment = server_environment({"TZ": zone})
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    positions: list[list[object]] = json.loads(found.stdout)
    return positions
