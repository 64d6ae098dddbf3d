"""Snapshots are written for as long as callers are measured, and a failed one is reported."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from invengine.bench.server import Server
from invengine.bench.snapshots import snapshots


class _Client:
    def __init__(self, error: Exception | None = None) -> None:
        self.asked = 0
        self.error = error

    def create_snapshot(self) -> int:
        self.asked += 1
        if self.error:
            raise self.error
        return self.asked


class _Server(Server):
    def __init__(self, client: _Client) -> None:
        self._client = client

    def client(self) -> Any:
        return nullcontext(self._client)


def test_one_snapshot_at_least_is_written_however_short_the_run() -> None:
    client = _Client()
    with snapshots(_Server(client)) as written:
        pass
    assert written.count == client.asked >= 1
    assert written.failed == []


def test_a_failed_snapshot_is_reported() -> None:
    with snapshots(_Server(_Client(ConnectionError("gone")))) as written:
        pass
    assert written.failed == ["a snapshot failed: gone"]
    assert written.count == 0
