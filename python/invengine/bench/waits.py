"""P7 and P12: how long callers wait near saturation, and while very many holds expire."""

from __future__ import annotations

from invengine.bench import figures, generator, unary
from invengine.bench.checks import check_and_end
from invengine.bench.figures import Figure, figure
from invengine.bench.generator import Target
from invengine.bench.rounds import Plan, Sample, interleaved, values
from invengine.bench.server import serving

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
