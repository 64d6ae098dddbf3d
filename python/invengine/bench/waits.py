"""P7 and P12: how long callers wait near saturation, and while very many holds expire."""

from __future__ import annotations

import time
from dataclasses import replace

from invengine.bench import figures, generator, unary
from invengine.bench.checks import check_and_end, require
from invengine.bench.figures import Figure, figure
from invengine.bench.generator import Target
from invengine.bench.rounds import SECONDS, Plan, Sample, interleaved, values
from invengine.bench.server import LOCATION, STOCK_UNITS, Server, serving, sku
from invengine.bench.sizes import BATCHES
from invengine.bench.snapshots import OPEN_LOOP, RATE_PER_S
from invengine.client import Item

P99 = "p99"
LOADED_SHARE = 0.8
SYNCS_ALLOWED = 3
EXPIRING = "expiring"
HOLDS = 1_000_000
HOLDS_AT_ONCE = 25_000
HOLDS_WITHIN_S = 30.0
"""From the first of the holds to their expiry."""
BEFORE_S = 1.0
"""How long before the holds expire a run starts; its warm-up ends while they are held."""


def loaded(plan: Plan) -> list[Figure]:
    """P7: p99 of unary Reserves in an open loop at 80 % of the rate that a closed loop has just reached."""
    with serving(plan, "loaded") as server:
        engine = Target(plan, "loaded", server.address, server.pid)
        shape, reached = engine.best(unary.SHAPES), [0.0]

        def saturate() -> Sample:
            sample = engine.saturate(shape)
            reached.append(sample.value)
            return sample

        runs = {
            "sync": lambda: generator.sync_us(plan, P99),
            "saturated": saturate,
            "loaded": lambda: engine.latency_open(shape, LOADED_SHARE * reached[-1], P99),
        }
        found = {name: values(samples) for name, samples in interleaved(plan, runs).items()}
        check_and_end("P7", server, engine.records)
    beyond = [wait - SYNCS_ALLOWED * sync for wait, sync in zip(found["loaded"], found["sync"], strict=True)]
    return [
        figure("P7.over_3_syncs_us", figures.US, beyond),
        figure("P7.p99_us", figures.US, found["loaded"]),
        figure("P7.sync_p99_us", figures.US, found["sync"]),
        figure("P7.saturated", figures.PER_S, found["saturated"]),
    ]


def expiry(plan: Plan) -> list[Figure]:
    """P12: p99 of unary Reserves at a fixed rate while a million holds expire in one second, minus p99 without."""
    with serving(plan, "expiry") as server:
        with server.client() as client:
            client.upsert_items([Item(sku(prefix=EXPIRING))])
            client.receive([(sku(prefix=EXPIRING), LOCATION, STOCK_UNITS)])
        long_enough, spread_s = replace(plan, seconds=max(plan.seconds, SECONDS)), list[float]()
        quiet = Target(long_enough, "quiet", server.address, server.pid)
        holds = quiet.on(EXPIRING, {"prefix": EXPIRING})
        runs = {
            "sync": lambda: generator.sync_us(plan, P99),
            "quiet": lambda: quiet.latency_open(OPEN_LOOP, RATE_PER_S, P99),
            "expiring": lambda: _while_expiring(server, quiet, holds, plan.seconds / SECONDS, spread_s),
        }
        found = {name: values(samples) for name, samples in interleaved(plan, runs).items()}
        check_and_end("P12", server, quiet.records)
    added = [during - without for during, without in zip(found["expiring"], found["quiet"], strict=True)]
    return [
        figure("P12.added_p99_us", figures.US, added),
        *(figure(f"P12.{name}_p99_us", figures.US, waits) for name, waits in found.items()),
        figure("P12.spread_s", figures.S, spread_s),
    ]


def _while_expiring(server: Server, quiet: Target, holds: Target, share: float, spread_s: list[float]) -> Sample:
    """The p99 of callers while holds expire that were all held when the run began, and were all gone when it ended."""
    expire_s, count, spread = time.time() + HOLDS_WITHIN_S * max(0.5, share), round(HOLDS * share), 0.0
    for first in range(0, count, HOLDS_AT_ONCE):
        began_s = time.time()
        holds.reserve(BATCHES, min(HOLDS_AT_ONCE, count - first), ttl_ms=round(1_000 * (expire_s - began_s)))
        spread = max(spread, time.time() - began_s)
    spread_s.append(spread)
    held = [_reserved(server)]
    time.sleep(max(0.0, expire_s - BEFORE_S - time.time()))
    sample = quiet.latency_open(OPEN_LOOP, RATE_PER_S, P99)
    held.append(_reserved(server))
    holds.records.released[sku(prefix=EXPIRING)] += count
    require("P12", [] if held == [count, 0] else [f"of {count} holds {held[0]} were held before and {held[1]} after"])
    return sample


def _reserved(server: Server) -> int:
    with server.client() as client:
        return client.get_level(sku(prefix=EXPIRING), LOCATION).reserved
