"""An engine made of functions, for tests of the service alone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from invengine.service.refusals import malformed, refused
from invengine.v1 import journal_service_pb2

Answer = Callable[[bytes], bytes]


@dataclass
class Call:
    """A call as the service passed it on."""

    method: str
    payload: bytes
    metadata: dict[str, Any]


class CallError(Exception):
    """Raised with (code, status), as the native engine does."""


@dataclass
class FakeEngine:
    """Answers by table, from another thread, after `delay_s`."""

    answers: dict[str, Answer] = field(default_factory=dict)
    delay_s: float = 0.0
    events: int = 0
    calls: list[Call] = field(default_factory=list)
    counters: dict[str, Any] = field(default_factory=dict)
    drained: bool = False

    def wait_open(self, timeout_ms: int) -> bool:
        return True

    def start_call(self, method: str, payload: bytes, on_done: Callable[[int, bytes], None], **metadata: Any) -> None:
        self.calls.append(Call(method, payload, metadata))
        answer = self.answers.get(method)
        if answer is None:
            on_done(*refusal("UNKNOWN_SKU", grpc.StatusCode.NOT_FOUND))
            return
        threading.Thread(target=self._answer, args=(answer, payload, on_done), daemon=True).start()

    def _answer(self, answer: Answer, payload: bytes, on_done: Callable[[int, bytes], None]) -> None:
        time.sleep(self.delay_s)
        try:
            body = answer(payload)
        except CallError as error:
            on_done(*error.args)
        else:
            on_done(0, body)

    def begin_events(self, payload: bytes, ledger: str = "") -> tuple[int, int | None, bool]:
        try:
            request = journal_service_pb2.ReadEventsRequest.FromString(payload)
        except DecodeError:
            raise malformed("ReadEventsRequest") from None
        self.calls.append(Call("begin_events", payload, {"ledger": ledger}))
        return max(1, request.from_sequence), request.limit or None, request.follow

    def read_events(self, from_sequence: int, limit: int, wait_ms: int, only: bytes = b"") -> bytes:
        if from_sequence > self.events:
            time.sleep(wait_ms / 1000)
        answer = journal_service_pb2.ReadEventsResponse(durable_sequence=self.events)
        for sequence in range(from_sequence, min(self.events, from_sequence + limit - 1) + 1):
            answer.events.add(sequence=sequence)
            answer.read_through.sequence = sequence
        return answer.SerializeToString()

    def stats(self) -> str:
        return json.dumps(self.counters)

    def drain(self) -> None:
        self.drained = True

    def close(self) -> None:
        self.drained = True


def refusal(reason: str, code: grpc.StatusCode) -> tuple[int, bytes]:
    """A refusal as an engine returns it."""
    return int(code.value[0]), refused(code, reason, "Do something else.").status
