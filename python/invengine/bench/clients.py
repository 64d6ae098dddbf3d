"""P8: the Python client beside redis-py with the Lua script, both durable, each in one process on the same core."""

from __future__ import annotations

import dataclasses
import json
from contextlib import ExitStack
from typing import Any

from invengine.bench import callers, figures, generator, machine, redis_peer
from invengine.bench.checks import CallerRecords, check_and_end, require
from invengine.bench.figures import Figure, figure, ratio
from invengine.bench.redis_peer import RedisPeer
from invengine.bench.rounds import WARM_UP_S, Plan, Sample, interleaved, values
from invengine.bench.server import Server, serving, sku

TASKS = 1_000
THREADS = 8
BATCH = 100
TIMEOUT_S = 60.0
OF_REDIS = ("P8.redis_py", "P8.ratio_asyncio", "P8.ratio_columns")


def python(plan: Plan) -> list[Figure]:
    """P8: asyncio with automatic batching, and columns in explicit batches of 100."""
    with ExitStack() as stack:
        server = stack.enter_context(serving(plan, "python"))
        records = CallerRecords()
        contenders = {
            "sync": lambda: generator.sync_us(plan),
            "asyncio": lambda: _call_engine(plan, "asyncio", server, records, TASKS, 1),
            "columns": lambda: _call_engine(plan, "columns", server, records, THREADS, BATCH),
        }
        redis = stack.enter_context(redis_peer.serving(plan)) if redis_peer.is_installed() else None
        if redis:
            contenders["redis_py"] = lambda: _call_redis(plan, redis)
        found = interleaved(plan, contenders)
        require("P8", redis.findings() if redis else [])
        check_and_end("P8", server, records)
    rates = {name: values(samples) for name, samples in found.items()}
    measured = [figure(f"P8.{name}", figures.PER_S, rates[name]) for name in contenders if name != "sync"]
    measured.append(figure("P8.sync_us", figures.US, rates["sync"]))
    if not redis:
        plan.leave_out(OF_REDIS, redis_peer.NEEDS)
        return measured
    compared = [ratio(f"P8.ratio_{name}", rates[name], rates["redis_py"]) for name in ("asyncio", "columns")]
    return [*measured, *compared]


def _call_engine(plan: Plan, kind: str, server: Server, records: CallerRecords, count: int, batch: int) -> Sample:
    spec = callers.Spec(server.address, kind, count, plan.seconds, WARM_UP_S, batch)
    report = _run(plan, kind, spec)
    records.accepted[sku()] += report["accepted"]
    records.add_faults(kind, refused=report["refused"])
    return _sample(report)


def _call_redis(plan: Plan, redis: RedisPeer) -> Sample:
    redis.runs += 1
    spec = callers.Spec(redis.address, f"py-{redis.runs}", THREADS, plan.seconds, WARM_UP_S)
    report = _run(plan, "redis", spec)
    redis.reserves += report["accepted"]
    require("P8", [f"redis refused {report['refused']}"] if report["refused"] else [])
    return _sample(report)


def _run(plan: Plan, kind: str, spec: callers.Spec) -> dict[str, Any]:
    text = json.dumps(dataclasses.asdict(spec))
    answer = machine.answer_of(kind, machine.worker(kind), plan.cores.load, text, plan.seconds + TIMEOUT_S)
    report: dict[str, Any] = json.loads(answer)
    return report


def _sample(report: dict[str, Any]) -> Sample:
    return Sample(report["measured"] / report["seconds"])
