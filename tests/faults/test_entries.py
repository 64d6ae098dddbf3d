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
from .kills import await_events
from .server_fixture import LOCATIONS, SKUS, ServerFixture, server_fixture
from .workers import audit, workers

ROUNDS = 12


@pytest.mark.case("G01")
def test_every_way_in_at_once_has_one_order(tmp_path: Path) -> None:
    with server_fixture(tmp_path, "--journal", "file") as server:
        server.start()
        server.add_stock()
        with workers([server.caller_config(1, 12), server.caller_config(2, 12, channel="web")]) as callers:
            await_events(server, 100)
            commands = [_command_line(server) for _ in range(3)]
            with Client(server.address) as client:
                for _ in range(ROUNDS):
                    client.receive([(SKUS[0], LOCATIONS[0], 1)])
                    _through_the_python_service(server)
            assert [command.wait(60) for command in commands] == [0, 0, 0]
            await_events(server, 100)
            calls = callers.stop()
        auditor, _ = audit(server, calls)
        kinds = {event.WhichOneof("fact") for event in server.events()}
        assert kinds >= {"item_upserted", "stock_changed", "reserved", "source_registered"}
        assert auditor.levels[SKUS[1], LOCATIONS[1]].on_hand > 0


def _command_line(server: ServerFixture) -> subprocess.Popen[bytes]:
    line = f"{SKUS[1]}@{LOCATIONS[1]}=2"
    command = [sys.executable, "-m", "invengine.cli", "stock", "receive", line, "--target", server.address]
    return subprocess.Popen(command, cwd=server.directory, env=server_environment({}), stdout=subprocess.DEVNULL)


def _through_the_python_service(server: ServerFixture) -> None:
    context = types.CommandContext(idempotency_key=uuid.uuid4().hex)
    items = [catalog.Item(sku=f"new-{uuid.uuid4().hex[:8]}")]
    server.call(methods.UPSERT_ITEMS, catalog.UpsertItemsRequest(context=context, items=items))
