"""Files for imports, ledgers that get them, and ledgers that fail on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from invengine import Client, Engine
from invengine.client import Item, Level, Location
from invengine.service.refusals import refused
from invengine.v1 import reservation_service_pb2

from .scripted import CommandLine, Ran, scripted


@contextmanager
def ledger(
    skus: Sequence[str] = (), locations: Sequence[str] = (), around: Callable[[Engine], Any] | None = None
) -> Iterator[Client]:
    """A client of a ledger with these items and locations. `around` puts something between its engine and the door."""
    engine = Engine.open(json.dumps({"journal": "memory"}))
    with scripted(around(engine) if around else engine) as address, Client(address, timeout_s=20) as client:
        for at in range(0, len(skus), 1000):
            client.upsert_items([Item(sku) for sku in skus[at : at + 1000]])
        if locations:
            client.upsert_locations([Location(name) for name in locations])
        yield client


def run(line: CommandLine, client: Client, *arguments: str) -> Ran:
    """Runs a command against the server of a client."""
    return line.run(*arguments, "--target", client._target)


def told(ran: Ran) -> dict[int, str]:
    """The bad lines that a run with --json has told."""
    (report,) = ran.objects
    assert report["bad"] == len(report["bad_lines"])
    return {each["line"]: each["problem"] for each in report["bad_lines"]}


def counts(ran: Ran) -> dict[str, int]:
    """What a run with --json says became of the lines, which adds up."""
    (report,) = ran.objects
    names = ("importable", "already_done", "left_out", "bad")
    assert report["lines"] == sum(report[name] for name in names), report
    return {name: report[name] for name in ("lines", "imported", *names)}


def write(path: Path, header: str, *rows: str) -> Path:
    """Writes a file and returns it."""
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def quantities(client: Client) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    """The physical stock of each level: on_hand, damaged, returned, quality_control."""

    def units(level: Level) -> tuple[int, int, int, int]:
        return level.on_hand, level.damaged, level.returned, level.quality_control

    return {(each.sku, each.location): units(each) for each in client.list_levels()}


class Between:
    """An engine as it is, behind a door; what is between is in the subclasses."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


class Failing(Between):
    """Refuses every call of one method after the first few, as a server with a full disk does."""

    method, left = "SetQuantity", 3

    def start_call(self, method: str, payload: bytes, on_done: Callable[[int, bytes], None], **more: Any) -> None:
        if method.endswith(f"/{self.method}"):
            if self.left == 0:
                full = refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "JOURNAL_FULL", "The disk is full.", {})
                on_done(full.code.value[0], full.status)
                return
            self.left -= 1
        self.engine.start_call(method, payload, on_done, **more)


class Silent(Between):
    """Executes every command of one method, and loses all of its answers."""

    method = "SetQuantity"

    def start_call(self, method: str, payload: bytes, on_done: Callable[[int, bytes], None], **more: Any) -> None:
        def lost(_code: int, _answer: bytes) -> None:
            unknown = refused(grpc.StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN", "Nobody knows.", {})
            on_done(unknown.code.value[0], unknown.status)

        self.engine.start_call(method, payload, lost if method.endswith(f"/{self.method}") else on_done, **more)


class Forgetful(Between):
    """Knows no key any more, as a day after it was used."""

    def start_call(self, method: str, payload: bytes, on_done: Callable[[int, bytes], None], **more: Any) -> None:
        if method.endswith("/GetOutcome"):
            on_done(0, reservation_service_pb2.GetOutcomeResponse().SerializeToString())
            return
        self.engine.start_call(method, payload, on_done, **more)


class Meddling(Between):
    """Lets somebody else change the stock between the check of a file and its first command."""

    method = "SetQuantity"
    meddle: Callable[[Engine], None] | None = None

    def start_call(self, method: str, payload: bytes, on_done: Callable[[int, bytes], None], **more: Any) -> None:
        if method.endswith(f"/{self.method}") and self.meddle is not None:
            meddle, self.meddle = self.meddle, None
            meddle(self.engine)
        self.engine.start_call(method, payload, on_done, **more)
