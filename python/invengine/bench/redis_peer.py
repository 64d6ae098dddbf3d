"""The peer: Redis with every write synced, and one reserve as a Lua script, called by Redis' own load generator."""

from __future__ import annotations

import csv
import importlib.util
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invengine.bench import machine
from invengine.bench.rounds import TRIAL_S, Plan, Sample, best
from invengine.bench.server import STOCK_UNITS, TTL_MS

SCRIPT = Path(__file__).with_name("reserve.lua")
STOCK = "stock:sku-0000000"
HOLDS = "holds:sku-0000000"
KEY_WINDOW_MS = 24 * 3_600_000
NEEDS = "redis-server, redis-benchmark and the Python package redis"
# redis-benchmark draws its numbers below this, so a few keys in a million come twice.
KEYS_DRAWN_FROM = 2_000_000_000
TWICE_SHARE_MAX = 0.01
FIRST_REQUESTS = 20_000
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class RedisShape:
    """The shape of the load: connections, and requests in one pipeline."""

    connections: int
    pipeline: int = 1

    def __str__(self) -> str:
        return f"{self.connections} x {self.pipeline}"


@dataclass(slots=True)
class RedisPeer:
    """A running Redis with the script and the stock in it."""

    plan: Plan
    program: machine.Program
    port: int
    client: Any
    script: str
    reserves: int = 0
    """Number of reserves that its callers requested, over all runs."""
    runs: int = 0

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def saturate(self, shape: RedisShape, seconds: float | None = None) -> Sample:
        """Reserves a second, as redis-benchmark counts them."""
        first = self._rate(shape, FIRST_REQUESTS)
        return Sample(self._rate(shape, round(first * (self.plan.seconds if seconds is None else seconds))))

    def best(self, shapes: Iterable[RedisShape]) -> RedisShape:
        """The shape of load with the highest rate, from one short run each."""
        self.plan.step("how to load redis")
        return best(shapes, lambda shape: self.saturate(shape, min(TRIAL_S, self.plan.seconds)).value)

    def findings(self) -> list[str]:
        """What is wrong with its data after the runs."""
        left, holds = int(self.client.get(STOCK)), int(self.client.zcard(HOLDS))
        # redis-benchmark sends a few more requests than it was asked for.
        sent = int(self.client.info("commandstats")["cmdstat_evalsha"]["calls"])
        found = []
        if left + holds != STOCK_UNITS:
            found.append(f"redis: {left} units left and {holds} held are not the {STOCK_UNITS} of the beginning")
        if sent < self.reserves or not sent * (1 - TWICE_SHARE_MAX) <= holds <= sent:
            found.append(f"redis: of {self.reserves} reserves {sent} were sent and {holds} made")
        persistence = self.client.info("persistence")
        if not persistence["aof_enabled"] or persistence["aof_last_write_status"] != "ok":
            found.append("redis: its append-only file was not written")
        if self.client.config_get("appendfsync")["appendfsync"] != "always":
            found.append("redis: does not sync every write")
        return found

    def _rate(self, shape: RedisShape, requests: int) -> float:
        self.runs += 1
        asked = max(requests, shape.connections * shape.pipeline)
        load = ["-p", str(self.port), "-c", str(shape.connections), "-P", str(shape.pipeline), "-n", str(asked)]
        keys = ["3", STOCK, HOLDS, f"key:{self.runs}:__rand_int__"]
        call = ["EVALSHA", self.script, *keys, "1", str(TTL_MS), str(KEY_WINDOW_MS)]
        command = ["redis-benchmark", *load, "-r", str(KEYS_DRAWN_FROM), "--csv", *call]
        out = machine.answer_of("redis-benchmark", command, self.plan.cores.load, "", TIMEOUT_S)
        self.reserves += asked
        return requests_per_s(out)


def is_installed() -> bool:
    """True if everything that the comparison needs is installed."""
    tools = all(shutil.which(tool) for tool in ("redis-server", "redis-benchmark"))
    return tools and importlib.util.find_spec("redis") is not None


def requests_per_s(out: str) -> float:
    """The rate in the CSV of redis-benchmark. Raises ProgramError if there is none."""
    rows = [row for row in csv.reader(out.splitlines()) if len(row) > 1 and row[0] != "test"]
    try:
        return float(rows[-1][1])
    except (IndexError, ValueError):
        raise machine.ProgramError(f"redis-benchmark gave no rate: {out[-200:]!r}") from None


@contextmanager
def serving(plan: Plan) -> Iterator[RedisPeer]:
    """A Redis that syncs every write, on the server's core and on the disk of the journals, until the block ends."""
    import redis

    script = SCRIPT.read_text(encoding="utf-8")
    with (
        running_redis(plan, plan.cores.server) as (program, port),
        redis.Redis(port=port, decode_responses=True, socket_timeout=TIMEOUT_S) as client,
    ):
        client.set(STOCK, STOCK_UNITS)
        yield RedisPeer(plan, program, port, client, str(client.script_load(script)))


@contextmanager
def running_redis(plan: Plan, core: int) -> Iterator[tuple[machine.Program, int]]:
    """A Redis that syncs every write, and its port, on this core and on the disk of the journals."""
    port = _free_port()
    place = plan.directory / "redis"
    place.mkdir()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(place), "--save", ""]
    # A rewrite of its file in the middle of a run would only slow it.
    durable = ["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]
    with machine.running("redis", [*command, *durable], core, plan.directory) as program:
        program.line("Ready to accept connections")
        yield program, port


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
