"""What the service needs of an engine: the part of `invengine._core.Engine` that it calls."""

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
        """Takes a unary call without blocking; `on_done(code, answer_or_status)` comes later from an engine thread."""

    def begin_events(self, payload: bytes, ledger: str = "") -> tuple[int, int | None, bool]:
        """Gives what a ReadEventsRequest wants: first sequence, most events (None: no limit), whether to follow.

        Blocks. Raises the refusal of a bad field, or of a position that is not in this history.
        """

    def read_events(self, from_sequence: int, limit: int, wait_ms: int) -> bytes:
        """Gives durable events as a ReadEventsResponse, after waiting up to `wait_ms` for the first. Blocks.

        They are as many as fit a message that every client takes, `limit` at most; asking on gives the next ones.
        """

    def stats(self) -> str:
        """Gives the engine's counters as JSON."""

    def drain(self) -> None:
        """Refuses new commands (DRAINING) and answers what was taken. Blocks until then."""

    def close(self) -> None:
        """Drains, syncs and ends the engine."""
