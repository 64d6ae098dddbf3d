"""P13: how long commits wait while a snapshot is written, divided by how long they wait otherwise, on both journals."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from invengine.bench import figures, generator, redis_peer
from invengine.bench.checks import check_and_end, require
from invengine.bench.figures import Figure, figure, ratio
from invengine.bench.generator import Shape, Target
from invengine.bench.rounds import SECONDS, Plan, Sample, interleaved, values
from invengine.bench.server import Server, fill, serving, started
from invengine.errors import Unimplemented

OPEN_LOOP = Shape(4, 256)
RATE_PER_S = 4_000.0
"""Far below the server's capacity: the latency is measured, not the throughput."""
HOLDS_SHAPE = Shape(1, 4, "submit", 1_000)
HOLDS_S = 2.0
"""How long holds are created before the measurement: hundreds of thousands, so that a snapshot has much to write."""
OF_REDIS = ("P13.ratio_redis", "P13.redis_p999_us", "P13.redis_snapshots_s")


@dataclass(slots=True)
class Contender:
    """A server with its holds, and the snapshots that were written while callers waited."""

    name: str
    server: Server
    target: Target
    written: list[float] = field(default_factory=list)
    """Snapshots a second of each run."""

    def create_holds(self) -> None:
        """Creates the holds. Raises Unimplemented if the journal keeps no snapshots."""
        with self.server.client() as client:
            client.create_snapshot()
        plan = self.target.plan
        plan.step(f"holds of {self.name}")
        self.target.saturate(HOLDS_SHAPE, HOLDS_S * plan.seconds / SECONDS)

    def quiet(self) -> Sample:
        """The p99.9 latency in microseconds."""
        return self.target.latency_open(OPEN_LOOP, RATE_PER_S)

    def busy(self) -> Sample:
        """The same while one snapshot after the other is written."""
        with snapshots(self.server) as written:
            found = self.target.latency_open(OPEN_LOOP, RATE_PER_S)
        require("P13", written.failed)
        self.written.append(written.count / self.target.plan.seconds)
        return found


@dataclass(slots=True)
class SnapshotCounts:
    """The results of the thread that requests snapshots."""

    count: int = 0
    failed: list[str] = field(default_factory=list)


@contextmanager
def snapshots(server: Server) -> Iterator[SnapshotCounts]:
    """Until the block ends there is always a snapshot being written; at least one is finished."""
    written, stop = SnapshotCounts(), threading.Event()

    def write() -> None:
        try:
            with server.client() as client:
                while not stop.is_set() or not written.count:
                    client.create_snapshot()
                    written.count += 1
        except Exception as error:
            written.failed.append(f"a snapshot failed: {error}")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield written
    finally:
        stop.set()
        writer.join()


def beside_commits(plan: Plan) -> list[Figure]:
    """P13: p99.9 of unary Reserves at a fixed rate, with and without snapshots, in turns."""
    with serving(plan, "snapshots") as server:
        of_file = _measured(plan, Contender("file", server, Target(plan, "file", server.address, server.pid)))
    if not redis_peer.is_installed():
        plan.leave_out(OF_REDIS, redis_peer.NEEDS)
        return of_file
    with redis_peer.running_redis(plan, plan.cores.load) as (_, port):
        journal = ["--journal", "redis", "--redis-url", f"redis://127.0.0.1:{port}"]
        with started(plan, "snapshots-redis", journal) as server:
            fill(server)
            try:
                target = Target(plan, "redis", server.address, server.pid)
                return of_file + _measured(plan, Contender("redis", server, target))
            except Unimplemented:
                plan.leave_out(OF_REDIS, "snapshots of the Redis journal")
                return of_file


def _measured(plan: Plan, contender: Contender) -> list[Figure]:
    contender.create_holds()
    runs = {"sync": lambda: generator.sync_us(plan), "quiet": contender.quiet, "busy": contender.busy}
    found = {name: values(samples) for name, samples in interleaved(plan, runs).items()}
    check_and_end("P13", contender.server, contender.target.records)
    name = contender.name
    return [
        ratio(f"P13.ratio_{name}", found["busy"], found["quiet"]),
        figure(f"P13.{name}_p999_us", figures.US, found["quiet"]),
        figure(f"P13.{name}_snapshots_s", figures.SNAPSHOTS_PER_S, contender.written),
        figure(f"P13.{name}_sync_us", figures.US, found["sync"]),
    ]
