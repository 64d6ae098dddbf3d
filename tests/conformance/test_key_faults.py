"""A key whose caller or engine died, or whose day has passed: the first answer or a rejection, no second effect."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from invengine.v1.reservation_service_pb2 import ReserveRequest

from . import methods, requests, wire
from .clock import COMPILERS, standing_at
from .conftest import REDIS, Targets
from .own import journal_of, open_server, own_target
from .server import server_environment
from .shop import Shop, figures
from .targets import SERVERS, TARGETS

START_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


@pytest.mark.case("A06")
@pytest.mark.needs_tool(*COMPILERS)
@pytest.mark.parametrize("kind", TARGETS)
def test_a_duplicate_that_comes_after_a_day_is_not_executed(kind: str, tmp_path: Path) -> None:
    with standing_at(START_MS, kind, tmp_path) as target:
        shop = Shop(target)
        sku = shop.item(9)
        request = requests.reserve(shop.context(), (sku, shop.here, 2))
        request.context.issue_time.FromMilliseconds(START_MS)
        hold = shop.call(methods.RESERVE, request).hold
        shop.fulfill(requests.by_id(hold.reservation_id))
    # Keys go in two generations: after a day the command's is the older one, and the next day it is gone.
    with standing_at(START_MS + 25 * HOUR_MS, kind, tmp_path) as target:
        shop.target = target
        first = shop.event_after(0, lambda event: event.HasField("keys_forgotten"))
        assert shop.call(methods.RESERVE, request).receipt.replayed
    with standing_at(START_MS + 50 * HOUR_MS, kind, tmp_path) as target:
        shop.target = target
        shop.event_after(first.sequence, lambda event: event.HasField("keys_forgotten"))
        shop.refused(methods.RESERVE, request, "DEDUPE_WINDOW_EXPIRED")
        assert figures(shop.level(sku)) == (7, 0, 0, 7)


def _check_retry(directory: Path, kind: str, shop: Shop, request: ReserveRequest) -> None:
    """After a restart the retry gets the first answer from the journal."""
    with own_target(kind, directory) as target:
        shop.target = target
        (made,) = [event for event in target.read_events() if event.HasField("reserved")]
        answer = shop.call(methods.RESERVE, request)
        assert answer.receipt.replayed
        assert answer.receipt.sequence == made.sequence
        assert answer.hold.reservation_id == made.reserved.reservation_id
        assert answer.hold.expire_time == made.reserved.expire_time
        assert figures(shop.level(request.lines[0].sku)) == (9, 2, 0, 7)
        assert sum(event.HasField("reserved") for event in target.read_events()) == 1


@pytest.mark.case("A09", "A15")
@pytest.mark.parametrize("kind", SERVERS)
def test_a_caller_that_disconnected_before_the_answer_repeats_the_call(kind: str, tmp_path: Path) -> None:
    target = open_server(kind, tmp_path)
    shop = Shop(target)
    request = requests.reserve(shop.context(), (shop.item(9), shop.here, 2), ttl_s=3600)
    sequence = target.digest()[1]
    body = wire.message(request.SerializeToString())
    with wire.asked(target.server.address, methods.RESERVE.path, body, {}):
        # The caller has read nothing when the command is durable, and never will.
        (event,) = target.follow_events(sequence + 1, 1)
    assert event.context.idempotency_key == request.context.idempotency_key
    target.server.kill()
    target.disconnect()
    _check_retry(tmp_path, kind, shop, request)


_DIES_BEFORE_IT_TELLS = """
import os, signal, sys
from invengine import _core
engine = _core.Engine.open(sys.argv[1])
engine.call("/invengine.v1.ReservationService/Reserve", bytes.fromhex(sys.argv[2]))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.case("A09", "A15")
def test_a_process_that_died_with_its_engine_before_it_answered(tmp_path: Path) -> None:
    with own_target("embedded", tmp_path) as target:
        shop = Shop(target)
        request = requests.reserve(shop.context(), (shop.item(9), shop.here, 2), ttl_s=3600)
    settings = json.dumps({"journal": "file", "directory": str(journal_of(tmp_path))})
    command = [sys.executable, "-c", _DIES_BEFORE_IT_TELLS, settings, request.SerializeToString().hex()]
    ran = subprocess.run(command, env=server_environment(os.environ), check=False, timeout=60)
    assert ran.returncode == -signal.SIGKILL
    _check_retry(tmp_path, "embedded", shop, request)


@pytest.mark.case("A12")
@pytest.mark.needs_tool("redis-server")
def test_no_key_reaches_a_name_in_redis(targets: Targets) -> None:
    shop = Shop(targets.get(REDIS))
    sku = shop.item(9)
    tag = shop.name("key")
    for key in (f"{{{tag}}}", f"{tag}{{}}", f"{{{{{tag}}}}} *", f"{tag} DEL '*'"):
        request = requests.reserve(shop.context(key), (sku, shop.here, 1))
        shop.call(methods.RESERVE, request)
        assert shop.call(methods.RESERVE, request).receipt.replayed
    for key in (f"{tag}\r\nDEL x", f"{tag}\0"):
        bad = requests.reserve(shop.context(key), (sku, shop.here, 1))
        shop.refused(methods.RESERVE, bad, "INVALID_FIELD")
    names = targets.redis.ask("KEYS", "*")
    assert names.startswith(b"*")
    assert b"invengine" in names
    assert tag.encode() not in names
