"""A server with answers by script, and a way to run the command line against it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from invengine import Engine
from invengine.cli import main
from invengine.service import PythonService
from invengine.service.refusals import refused
from invengine.v1 import journal_service_pb2
from invengine.v1.types_pb2 import JournalPosition

Script = dict[str, Any]


@dataclass
class ScriptedEngine:
    """Answers each method by name with a message, or a refusal; remembers what it was asked."""

    script: Script
    events: list[journal_service_pb2.Event] = field(default_factory=list)
    asked: list[tuple[str, bytes]] = field(default_factory=list)

    def wait_open(self, timeout_ms: int) -> bool:
        """It has nothing to recover."""
        return True

    def start_call(self, method: str, payload: bytes, on_done: Callable[[int, bytes], None], **_: Any) -> None:
        name = method.rpartition("/")[2]
        self.asked.append((name, payload))
        answer = self.script[name]
        if isinstance(answer, Exception):
            on_done(answer.code.value[0], answer.status)  # type: ignore[attr-defined]
        else:
            on_done(0, answer.SerializeToString())

    def begin_events(self, payload: bytes, ledger: str = "") -> tuple[int, int | None, bool]:
        request = journal_service_pb2.ReadEventsRequest.FromString(payload)
        self.asked.append(("ReadEvents", payload))
        return max(1, request.from_sequence, request.after.sequence + 1), request.limit or None, request.follow

    def read_events(self, from_sequence: int, limit: int, wait_ms: int, only: bytes = b"") -> bytes:
        found = [event for event in self.events if event.sequence >= from_sequence][:limit]
        answer = journal_service_pb2.ReadEventsResponse(events=found, durable_sequence=len(self.events), ledger="main")
        if found:
            answer.read_through.CopyFrom(JournalPosition(ledger="main", writer_epoch=1, sequence=found[-1].sequence))
        return answer.SerializeToString()

    def stats(self) -> str:
        return "{}"

    def drain(self) -> None:
        self.script.clear()

    def close(self) -> None:
        self.script.clear()

    def request(self, kind: Any) -> Any:
        """The one request that was sent, as a message of this type."""
        ((_, payload),) = self.asked
        return kind.FromString(payload)


def no(reason: str, code: grpc.StatusCode, **metadata: str) -> Exception:
    """A refusal to script."""
    return refused(code, reason, "Not like this.", metadata)


@contextmanager
def scripted(engine: ScriptedEngine | Engine) -> Iterator[str]:
    """Serves the script, or a ledger, from a thread and yields the address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> PythonService:
        service = PythonService(engine)
        await service.listen("127.0.0.1:0")
        return service

    service = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield service.address
    finally:
        asyncio.run_coroutine_threadsafe(service.stop(100), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@dataclass
class Ran:
    """One command that was run."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """What it printed, as JSON objects."""
        return [json.loads(line) for line in self.out.splitlines()]


class CommandLine:
    """Runs `invengine` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *arguments: str) -> Ran:
        """Runs one command line."""
        self._capsys.readouterr()
        code = main(list(arguments))
        printed = self._capsys.readouterr()
        return Ran(int(code), printed.out, printed.err)

    def ask(self, engine: ScriptedEngine, *arguments: str) -> Ran:
        """Runs one command against a scripted server."""
        with scripted(engine) as address:
            return self.run(*arguments, "--target", address, "--timeout-ms", "5000")
