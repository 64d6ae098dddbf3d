"""Runs of the native load generator, each in a process of its own on the callers' core."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from invengine.bench import machine
from invengine.bench.checks import CallerRecords
from invengine.bench.rounds import TRIAL_S, WARM_UP_S, Plan, Sample, best
from invengine.bench.server import LOCATION, SKU_PREFIX, TTL_MS

TIMEOUT_S = 60.0
SYNCS = 500


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of the load: connections, calls (or batches) in flight on each, reserves in a batch."""

    connections: int
    streams: int
    call: str = "reserve"
    batch: int = 1

    def __str__(self) -> str:
        batch = f" of {self.batch}" if self.batch > 1 else ""
        return f"{self.connections} x {self.streams}{batch}"


@dataclass(slots=True)
class Target:
    """A listener that is called, and the records of its callers over all runs."""

    plan: Plan
    name: str
    address: str
    pid: int
    records: CallerRecords = field(default_factory=CallerRecords)
    skus: Mapping[str, Any] = field(default_factory=dict)
    """The items, where they are not the hot one: fields of `Skus` in rust/load."""
    refusal: str = ""
    """The reason that its callers must get."""
    runs: int = 0

    @property
    def lines(self) -> int:
        """Lines of each reserve."""
        return int(self.skus.get("lines", 1))

    def on(self, name: str, skus: Mapping[str, Any], refusal: str = "") -> Target:
        """The same server, called for other items; both targets have the same records."""
        return Target(self.plan, name, self.address, self.pid, self.records, skus, refusal)

    def saturate(self, shape: Shape, seconds: float | None = None) -> Sample:
        """Lines of decided reserves a second, when each call leaves as soon as another was answered (closed loop)."""
        report = self._run(shape, self.plan.seconds if seconds is None else seconds)
        window = report["window"]
        if not window["seconds"]:
            raise machine.ProgramError(f"{self.name}: nothing was measured, the run ended within its warm-up")
        lines = self.lines * (window["accepted"] + window["refused"])
        return Sample(
            value=lines / window["seconds"],
            cpu_s_per_million=1e6 * sum(report["server_cpu_s"].values()) / max(1, lines),
            client_busy=report["client_cpu_s"] / window["seconds"],
        )

    def reserve(self, shape: Shape, count: int, **more: Any) -> None:
        """Makes exactly so many reserves, as fast as they are answered."""
        report = self._run(shape, TIMEOUT_S, reserves_max=count, **more)
        if report["accepted"] != count:
            self.records.findings.append(f"{self.name}: {report['accepted']} of {count} reserves were accepted")

    def latency_alone(self) -> Sample:
        """The median time in microseconds of one caller's calls, one after the other on an idle server."""
        return Sample(self._run(Shape(1, 1), self.plan.seconds)["latency_us"]["p50"])

    def latency_open(self, shape: Shape, per_s: float, quantile: str = "p999") -> Sample:
        """The p99.9 latency in microseconds in an open loop: callers arrive at this rate, whatever the server does."""
        return Sample(self.open_loop(shape, per_s)["latency_us"][quantile])

    def open_loop(self, shape: Shape, per_s: float) -> dict[str, Any]:
        """The report of the generator on callers who arrive at this rate, whatever the server does."""
        seconds = self.plan.seconds
        return self._run(shape, seconds, pace=_even(per_s, WARM_UP_S + seconds))

    def best(self, shapes: Iterable[Shape]) -> Shape:
        """The shape of load with the highest rate, from one short run each."""
        self.plan.step(f"how to load {self.name}")
        return best(shapes, lambda shape: self.saturate(shape, min(TRIAL_S, self.plan.seconds)).value)

    def _run(self, shape: Shape, seconds: float, **more: Any) -> dict[str, Any]:
        self.runs += 1
        run = f"{self.name}-{self.runs}"
        spec = spec_of(shape, seconds)
        spec["skus"] |= self.skus
        spec["batch"] = max(1, shape.batch // self.lines)
        spec |= more | {
            "target": self.address,
            "key_prefix": run,
            "core": self.plan.cores.load,
            "watch_pid": self.pid,
        }
        command = machine.worker("load")
        answer = machine.answer_of("load", command, self.plan.cores.load, json.dumps(spec), seconds + TIMEOUT_S)
        report: dict[str, Any] = json.loads(answer)
        refused = report["by_reason"].pop(self.refusal, 0)
        if self.refusal and not refused:
            self.records.findings.append(f"{run}: nothing was refused {self.refusal}")
        add_report(self.records, f"{run} ({shape})", report)
        return report


def spec_of(shape: Shape, seconds: float) -> dict[str, Any]:
    """The spec for the generator: one hot item, a closed loop, a warm-up that is not measured."""
    return {
        "connections": shape.connections,
        "streams": shape.streams,
        "call": shape.call,
        "batch": shape.batch,
        "skus": {"prefix": SKU_PREFIX, "count": 1},
        "location": LOCATION,
        "ttl_ms": TTL_MS,
        "duration_ms": round(1_000 * (WARM_UP_S + seconds)),
        "measure_from_ms": round(1_000 * WARM_UP_S),
    }


def _even(per_s: float, seconds: float) -> dict[str, Any]:
    """An open loop at one rate, as of independent callers, who wait for as long as it takes."""
    phase = {"ms": round(1_000 * seconds), "from_per_s": per_s, "to_per_s": per_s}
    return {"phases": [phase], "poisson": True, "queue_patience_ms": round(1_000 * TIMEOUT_S)}


def add_report(records: CallerRecords, run: str, report: Mapping[str, Any]) -> None:
    """Adds the report of a run to the callers' records of its server."""
    for item in report["units"]:
        records.accepted[item["sku"]] += item["accepted"]
        records.released[item["sku"]] += item["released"]
        records.allocated[item["sku"]] += item["allocated"]
    records.keys += report["accepted_keys"]
    records.add_faults(run, broken=report["broken"], unanswered=report["unanswered"], refused=report["by_reason"])


def sync_us(plan: Plan, quantile: str = "p50") -> Sample:
    """The median time in microseconds of an overwrite of 4 KiB and its fdatasync, where the journals are."""
    file = plan.directory / "sync-probe"
    spec = json.dumps({"file": str(file), "writes": SYNCS, "core": plan.cores.server})
    answer = machine.answer_of("sync", machine.worker("sync"), plan.cores.server, spec, TIMEOUT_S)
    file.unlink(missing_ok=True)
    return Sample(json.loads(answer)["sync_us"][quantile])
