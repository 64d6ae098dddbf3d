"""The server under measurement: `invengine serve` on a core of its own, with stock, until a block ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from invengine.bench.machine import Program, running
from invengine.bench.rounds import Plan
from invengine.client import Client, Item, Location

SKU_PREFIX = "sku"
LOCATION = "dc-1"
STOCK_UNITS = 2_000_000_000
CATALOGUE_BATCH = 1_000
TTL_MS = 24 * 3_600_000
TIMEOUT_S = 60.0


@dataclass(slots=True)
class Server:
    """One running server. `directory` is None if its journal is in memory."""

    program: Program
    address: str
    directory: Path | None
    metrics_address: str = ""

    @property
    def pid(self) -> int:
        """Its process id, whose CPU time is watched."""
        return self.program.pid

    def client(self) -> Client:
        """A client for the checks, with a timeout that suits a server that has just been saturated."""
        return Client(self.address, timeout_s=TIMEOUT_S)


def sku(number: int = 0, prefix: str = SKU_PREFIX) -> str:
    """The name that the load generator gives to an item."""
    return f"{prefix}-{number:07d}"


@contextmanager
def serving(plan: Plan, name: str, *, durable: bool = True, metrics: bool = False, items: int = 1) -> Iterator[Server]:
    """A server on the server's core, with a journal of its own and plenty of stock of each item."""
    directory = plan.directory / f"{name}-journal" if durable else None
    journal = ["--journal", "file", "--directory", str(directory)] if durable else ["--journal", "memory"]
    with started(plan, name, journal, directory, metrics=metrics) as server:
        fill(server, items)
        yield server


@contextmanager
def started(
    plan: Plan, name: str, journal: list[str], directory: Path | None = None, *, metrics: bool = False
) -> Iterator[Server]:
    """A server on the server's core, with the journal that these flags name and whatever is in it."""
    metrics_at = "127.0.0.1:0" if metrics else ""
    serve = ["serve", "--json", "--address", "127.0.0.1:0", "--metrics-address", metrics_at]
    command = [sys.executable, "-m", "invengine.cli", *serve, *journal]
    with running(f"{name}-server", command, plan.cores.server, plan.directory) as program:
        ready = json.loads(program.line())
        yield Server(program, ready["address"], directory, ready["metrics_address"])


def fill(server: Server, items: int = 1, locations: Sequence[str] = (LOCATION,)) -> None:
    """Creates the items and the stock of a run on a server."""
    with server.client() as client:
        client.upsert_locations([Location(each) for each in locations])
        for first in range(0, items, CATALOGUE_BATCH):
            skus = [sku(number) for number in range(first, min(items, first + CATALOGUE_BATCH))]
            client.upsert_items([Item(each) for each in skus])
            for location in locations:
                client.receive([(each, location, STOCK_UNITS) for each in skus])
