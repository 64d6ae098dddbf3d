"""Fixtures of the client's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scripted_peer import Peer


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A server with the answers of the test."""
    with Peer() as running:
        yield running


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries wait a tenth of a second at most, so that a test of ten retries takes one second."""
    monkeypatch.setattr("invengine.client.retry.BACKOFF_FIRST_S", 0.02)
    monkeypatch.setattr("invengine.client.retry.BACKOFF_MAX_S", 0.1)
