"""Every way into one ledger at the same time: there is one order for all of them, and no way round its checks."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from invengine.client import Client
from invengine.v1 import catalog_service_pb2 as catalog
from invengine.v1 import types_pb2 as types

from ..conformance import methods
from ..conformance.server import server_environment
from .crew import audit, crew
from .house import PLACES, SKUS, House, house
from .kills import await_events

ROUNDS = 12


@pytest.mark.case("G01")
def test_every_way_in_at_once_has_one_order(tmp_path: Path) -> None:
    with house(tmp_path, "--journal", "file") as place:
        place.start()
        place.furnish()
        with crew([place.orders(1, 12), place.orders(2, 12, channel="web")]) as callers:
            await_events(place, 100)
            commands = [_command_line(place) for _ in range(3)]
            with Client(place.address) as client:
                for _ in range(ROUNDS):
                    client.receive([(SKUS[0], PLACES[0], 1)])
                    _through_the_python_service(place)
            assert [command.wait(60) for command in commands] == [0, 0, 0]
            await_events(place, 100)
            calls = callers.stop()
        auditor, _ = audit(place, calls)
        kinds = {event.WhichOneof("fact") for event in place.events()}
        assert kinds >= {"item_upserted", "stock_changed", "reserved", "source_registered"}
        assert auditor.levels[SKUS[1], PLACES[1]].on_hand > 0


def _command_line(place: House) -> subprocess.Popen[bytes]:
    line = f"{SKUS[1]}@{PLACES[1]}=2"
    command = [sys.executable, "-m", "invengine.cli", "stock", "receive", line, "--target", place.address]
    return subprocess.Popen(command, cwd=place.room, env=server_environment({}), stdout=subprocess.DEVNULL)


def _through_the_python_service(place: House) -> None:
    context = types.CommandContext(idempotency_key=uuid.uuid4().hex)
    items = [catalog.Item(sku=f"new-{uuid.uuid4().hex[:8]}")]
    place.call(methods.UPSERT_ITEMS, catalog.UpsertItemsRequest(context=context, items=items))
