"""E1: what twenty readers of events with filters cost the writer, at a fixed rate of reserves.

The readers run in a process of their own; they are told nothing but how far they were read to.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc

from invengine.bench import figures, machine
from invengine.bench.figures import Figure, figure
from invengine.bench.rounds import Plan, Sample, interleaved, values
from invengine.client.events import METHOD
from invengine.v1 import journal_service_pb2 as journal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invengine.bench.server import Server

BEGUN = "begun"
READERS = 20
RATE_PER_S = 4_000.0
WRITER = ("invengine-door", "invengine-commit")
"""The threads that decide and write; what reads for the followers are others."""


def beside_writes(plan: Plan) -> list[Figure]:
    """E1: CPU of the writer's threads for a million reserves with the readers, relative to that without."""
    from invengine.bench.checks import check_and_end
    from invengine.bench.generator import Target
    from invengine.bench.server import serving
    from invengine.bench.snapshots import OPEN_LOOP

    with serving(plan, "followed") as server:
        target = Target(plan, "followed", server.address, server.pid)
        all_s: dict[str, list[float]] = {"alone": [], "followed": []}

        def run(name: str) -> Sample:
            report = target.open_loop(OPEN_LOOP, RATE_PER_S)
            used, reserves = report["server_cpu_s"], max(1, report["window"]["accepted"])
            all_s[name].append(1e6 * sum(used.values()) / reserves)
            return Sample(1e6 * sum(used.get(each, 0.0) for each in WRITER) / reserves)

        def followed() -> Sample:
            with _following(plan, server):
                return run("followed")

        runs = {"alone": lambda: run("alone"), "followed": followed}
        found = {name: values(samples) for name, samples in interleaved(plan, runs).items()}
        check_and_end("E1", server, target.records)
    return [
        figure("E1.writer_added", figures.SHARE, _added(found)),
        figure("E1.server_added", figures.SHARE, _added(all_s)),
        *(figure(f"E1.writer_{name}", figures.CPU_S_PER_MILLION, found[name]) for name in found),
        *(figure(f"E1.server_{name}", figures.CPU_S_PER_MILLION, all_s[name]) for name in all_s),
    ]


def _added(found: Mapping[str, list[float]]) -> list[float]:
    return [beside / alone - 1 for alone, beside in zip(found["alone"], found["followed"], strict=True)]


@contextmanager
def _following(plan: Plan, server: Server) -> Iterator[None]:
    with machine.running("followers", machine.worker("followers"), plan.cores.load, plan.directory) as program:
        if program.process.stdin is not None:
            program.process.stdin.write(json.dumps({"target": server.address}).encode() + b"\n")
            program.process.stdin.flush()
        program.line(BEGUN)
        yield


def main() -> int:
    """Follows the server of the first line of stdin until it is ended."""
    target = json.loads(sys.stdin.readline())["target"]
    with grpc.insecure_channel(target) as channel:
        # Names that no event has: each event is read and compared, and none is sent.
        streams: list[Any] = [
            channel.unary_stream(METHOD, None, None)(_request(f"nobody-{number}").SerializeToString())
            for number in range(READERS)
        ]
        for stream in streams:
            next(stream)
        print(BEGUN, flush=True)
        sys.stdin.read()
        for stream in streams:
            stream.cancel()
    return 0


def _request(name: str) -> journal.ReadEventsRequest:
    """A reader that has caught up, or is about to: the journal of a run is short."""
    origins = journal.CommandOrigins(channels=[name], actors=[name])
    conditions = journal.EventFilter(types=["reserved", "stock_changed"], skus=[name], not_caused_by=origins)
    return journal.ReadEventsRequest(follow=True, filter=conditions)
