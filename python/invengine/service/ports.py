"""The part of `invengine._core.Engine` that the service calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

OnDone = Callable[[int, bytes], None]


class EnginePort(Protocol):
    """An engine as the service sees it. Payloads, answers and statuses are serialized protobuf messages."""

    def wait_open(self, timeout_ms: int) -> bool:
        """Whether the engine has recovered, after waiting up to `timeout_ms`. Blocks. Raises if it cannot be opened."""

    def start_call(
        self,
        method: str,
        payload: bytes,
        on_done: OnDone,
        *,
        idempotency_key: str = "",
        ledger: str = "",
        timeout_ms: int = 0,
    ) -> None:
        """Starts a unary call without blocking; an engine thread calls `on_done(code, answer_or_status)` later."""

    def begin_events(self, payload: bytes, ledger: str = "") -> tuple[int, int | None, bool]:
        """Parses a ReadEventsRequest: first sequence, most events (None: no limit), whether to follow.

        Blocks. Raises the refusal of an invalid field, or of a position that is not in this history.
        """

    def read_events(self, from_sequence: int, limit: int, wait_ms: int, only: bytes = b"") -> bytes:
        """Returns durable events as a ReadEventsResponse, after waiting up to `wait_ms` for the first. Blocks.

        They are as many as fit into a message that every client accepts, at most `limit`, of those that match an
        EventFilter; the next call continues after `read_through`.
        """

    def stats(self) -> str:
        """Returns the engine's counters as JSON."""

    def drain(self) -> None:
        """Refuses new commands (DRAINING) and answers the accepted ones. Blocks until then."""

    def close(self) -> None:
        """Drains, syncs and closes the engine."""
