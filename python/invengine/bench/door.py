"""D1: how long a caller waits while others attack the door, what that costs in memory, and which bound acts."""

from __future__ import annotations

import dataclasses
import http.client
import json
import re
import resource
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from invengine.bench import bystander, figures, machine
from invengine.bench.attacks import ATTACKS, BEGUN, STRONG, Spec
from invengine.bench.checks import CallerRecords, check_and_end
from invengine.bench.figures import Figure, figure
from invengine.bench.rounds import Plan, Table
from invengine.bench.server import LOCATION, Server, serving, sku
from invengine.client import Item

ROUNDS_MAX = 3
"""Each attack has a server of its own and takes longer than other runs."""
PEACE = "peace"
STRONG_WITHIN_S = 20.0
"""How long an attack may take until what it does once is done."""
LEVELS = 1_000
"""Levels beside that of the run, so that there is something long to ask for."""
LOOK_S = 0.005
FILES = 16_384
PATIENCE_S = 60.0
SCRAPE_S = 10.0
MIB = 1 << 20
ACTED = re.compile(r'^invengine_door_bounds_total\{bound="(\w+)"\} (\S+)$', re.MULTILINE)

COLUMNS = ("attack", "calls", "p50_us", "p99_us", "max_us", "refused", "rss_before", "rss_growth", "sent", "bounds")


@dataclass(slots=True)
class Run:
    """What one round of one attack came to. Memory is in bytes."""

    took_us: list[int]
    refused: int
    rss_before: int
    rss_growth: int
    sent: int
    bounds: Counter[str]

    @property
    def p99_us(self) -> float:
        """The time that 99 of 100 calls did not exceed."""
        return _quantile(self.took_us, 0.99)


@dataclass(slots=True)
class Memory:
    """The memory that a process had before something, and the most that it had meanwhile."""

    before: int
    most: int = field(default=0)

    @property
    def growth(self) -> int:
        """By how much it was more."""
        return max(0, self.most - self.before)


def attacked(plan: Plan) -> list[Figure]:
    """D1: a caller who reserves and releases, in peace and beside each attack, each time on a fresh server."""
    found: dict[str, list[Run]] = {name: [] for name in (PEACE, *ATTACKS)}
    with many_files():
        for number in range(min(plan.rounds, ROUNDS_MAX)):
            for name, runs in found.items():
                plan.step(f"round {number + 1}: {name}")
                runs.append(run(plan, name, number))
    plan.tables.append(Table(COLUMNS, [_row(name, runs) for name, runs in found.items()]))
    rounds = list(zip(*found.values(), strict=True))
    return [
        figure("D1.failed_calls", figures.CALLS, [sum(each.refused for each in runs) for runs in rounds]),
        figure("D1.memory_mib", figures.MIB, [max(each.rss_growth for each in runs) / MIB for runs in rounds]),
        figure("D1.peace_p99_us", figures.US, [each.p99_us for each in found[PEACE]]),
        figure("D1.worst_p99_us", figures.US, [max(each.p99_us for each in runs) for runs in rounds]),
        figure("D1.worst_us", figures.US, [max(max(each.took_us) for each in runs) for runs in rounds]),
    ]


def run(plan: Plan, name: str, number: int) -> Run:
    """One attack, or peace, on a server of its own. Raises CheckFailedError if a check of the ledger fails."""
    with serving(plan, f"door-{name}-{number}", metrics=True) as server:
        _fill(server)
        with watched(server.pid) as memory, talking(plan, "bystander", {"target": server.address}) as caller:
            caller.hear(bystander.BEGUN)
            sent = _attack(plan, name, server, caller)
            report = caller.report()
        bounds = bounds_of(server.metrics_address)
        check_and_end("D1", server, CallerRecords(accepted=Counter({sku(): report["held"]})))
    refused = sum(report["refused"].values())
    return Run(report["took_us"], refused, memory.before, memory.growth, sent, bounds)


def bounds_of(address: str) -> Counter[str]:
    """How often each bound of a door acted, from the metrics of its server."""
    connection = http.client.HTTPConnection(address, timeout=SCRAPE_S)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode("utf-8")
    finally:
        connection.close()
    acted = {bound: int(float(count)) for bound, count in ACTED.findall(text)}
    return Counter({bound: count for bound, count in acted.items() if count})


@contextmanager
def watched(pid: int) -> Iterator[Memory]:
    """Looks at the memory of a process until the block ends."""
    memory, stop = Memory(rss_of(pid)), threading.Event()

    def look() -> None:
        while not stop.wait(LOOK_S):
            memory.most = max(memory.most, rss_of(pid))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield memory
    finally:
        stop.set()
        watcher.join()


def rss_of(pid: int) -> int:
    """Bytes of memory that a process has; 0 if it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0
    return pages * resource.getpagesize()


@contextmanager
def many_files() -> Iterator[None]:
    """As many open files as this process may have, for the programs that it starts meanwhile: a door takes 4,096
    connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@dataclass(slots=True)
class Worker:
    """A program of ours that is talked to, one line at a time."""

    program: machine.Program

    def say(self, line: str) -> None:
        """Tells it something."""
        if self.program.process.stdin is not None:
            self.program.process.stdin.write(line.encode() + b"\n")
            self.program.process.stdin.flush()

    def hear(self, part: str) -> str:
        """What it says that contains `part`."""
        return self.program.line(part)

    def report(self) -> dict[str, Any]:
        """Has it end, and gives the object that it says last."""
        if self.program.process.stdin is not None:
            self.program.process.stdin.close()
        report: dict[str, Any] = json.loads(self.hear("{"))
        self.program.process.wait(PATIENCE_S)
        return report


@contextmanager
def talking(plan: Plan, kind: str, spec: dict[str, Any]) -> Iterator[Worker]:
    """A worker on the callers' core with its task."""
    with machine.running(kind, machine.worker(kind), plan.cores.load, plan.directory) as program:
        worker = Worker(program)
        worker.say(json.dumps(spec))
        yield worker


def _attack(plan: Plan, name: str, server: Server, caller: Worker) -> int:
    """Attacks until what is done once is done and for the time of a run; gives the bytes that were sent."""
    if name == PEACE:
        caller.say(bystander.NOW)
        time.sleep(plan.seconds)
        return 0
    spec = Spec(name, server.address, plan.seconds + STRONG_WITHIN_S)
    with talking(plan, "attack", dataclasses.asdict(spec)) as attack:
        attack.hear(BEGUN)
        caller.say(bystander.NOW)
        attack.hear(STRONG)
        time.sleep(plan.seconds)
        sent: int = attack.report()["sent"]
    return sent


def _fill(server: Server) -> None:
    skus = [f"{number:04d}-{'x' * 50}" for number in range(LEVELS)]
    with server.client() as client:
        client.upsert_items([Item(each) for each in skus])
        client.receive([(each, LOCATION, 1) for each in skus])


def _row(name: str, runs: list[Run]) -> dict[str, Any]:
    took_us = [each for one in runs for each in one.took_us]
    bounds: Counter[str] = sum((one.bounds for one in runs), Counter())
    return {
        "attack": name,
        "calls": len(took_us),
        "p50_us": round(_quantile(took_us, 0.5)),
        "p99_us": round(_quantile(took_us, 0.99)),
        "max_us": max(took_us),
        "refused": sum(one.refused for one in runs),
        "rss_before": f"{statistics.median(one.rss_before for one in runs) / MIB:.0f} MiB",
        "rss_growth": f"{max(one.rss_growth for one in runs) / MIB:.0f} MiB",
        "sent": f"{statistics.median(one.sent for one in runs) / MIB:.0f} MiB",
        "bounds": ", ".join(f"{bound} {count}" for bound, count in bounds.most_common()) or "-",
    }


def _quantile(values: list[int], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
