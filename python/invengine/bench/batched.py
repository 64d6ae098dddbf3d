"""P3, P4, P5, P11 and P19: batches beside Redis with pipelines, and reserves beside those of another kind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from invengine.bench import figures, generator, redis_peer, unary
from invengine.bench.checks import check_and_end, require
from invengine.bench.figures import Figure, figure, ratio
from invengine.bench.generator import Shape, Target
from invengine.bench.redis_peer import RedisShape
from invengine.bench.rounds import Plan, Sample, interleaved, values
from invengine.bench.server import LOCATION, serving, sku
from invengine.client import Item

STREAM = "submit_stream"
ITEMS = 100_000
SOLD_OUT = "sold-out"
BASKET_LINES = 10
"""Rounded, the mean of a year of real baskets of a supermarket."""
SHAPES = (Shape(1, 4, STREAM, 1_000), Shape(2, 4, STREAM, 1_000), Shape(2, 8, STREAM, 1_000))
REDIS_SHAPES = (RedisShape(50, 32), RedisShape(50, 128), RedisShape(8, 256))
OF_REDIS = ("P3.redis_pipelined", "P3.ratio_redis")


def saturated(plan: Plan) -> list[Figure]:
    """P3: batches as fast as they are answered, beside pipelined Redis, each loaded as suits it best."""
    with ExitStack() as stack:
        server = stack.enter_context(serving(plan, "batched", items=ITEMS))
        engine = Target(plan, "engine", server.address, server.pid)
        uniform = engine.on("uniform", {"count": ITEMS})
        shape, uniform_shape = engine.best(SHAPES), uniform.best(SHAPES)
        contenders = {
            "sync": lambda: generator.sync_us(plan),
            "engine": lambda: engine.saturate(shape),
            "uniform": lambda: uniform.saturate(uniform_shape),
        }
        redis = stack.enter_context(redis_peer.serving(plan)) if redis_peer.is_installed() else None
        if redis:
            redis_shape = redis.best(REDIS_SHAPES)
            contenders["redis"] = lambda: redis.saturate(redis_shape)
        found = interleaved(plan, contenders)
        require("P3", redis.findings() if redis else [])
        check_and_end("P3", server, engine.records)
    rates = values(found["engine"])
    measured = [
        figure("P3.batched", figures.PER_S, rates),
        figure("P3.uniform", figures.PER_S, values(found["uniform"])),
        figure("P3.sync_us", figures.US, values(found["sync"])),
        *unary.cpu_figures("P3", found["engine"]),
        *unary.cpu_figures("P3.uniform", found["uniform"]),
    ]
    if redis:
        peers = values(found["redis"])
        return [*measured, figure("P3.redis_pipelined", figures.PER_S, peers), ratio("P3.ratio_redis", rates, peers)]
    plan.leave_out(OF_REDIS, redis_peer.NEEDS)
    return measured


def durability(plan: Plan) -> list[Figure]:
    """P5: the file journal divided by the memory journal."""
    with serving(plan, "durable") as durable, serving(plan, "memory", durable=False) as memory:
        on_disk = Target(plan, "durable", durable.address, durable.pid)
        in_memory = Target(plan, "memory", memory.address, memory.pid)
        measured = divided("P5", on_disk, in_memory)
        check_and_end("P5", durable, on_disk.records)
        check_and_end("P5", memory, in_memory.records)
    return measured


def skew(plan: Plan) -> list[Figure]:
    """P4: one hot item divided by all items alike, on one server."""
    with serving(plan, "skew", items=ITEMS) as server:
        hot = Target(plan, "hot", server.address, server.pid)
        measured = divided("P4", hot, hot.on("uniform", {"count": ITEMS}))
        check_and_end("P4", server, hot.records)
    return measured


def baskets(plan: Plan) -> list[Figure]:
    """P19: lines of reserves of ten lines divided by reserves of one line; a batch has the same number of lines."""
    with serving(plan, "baskets", items=ITEMS) as server:
        single = Target(plan, "single", server.address, server.pid, skus={"count": ITEMS})
        measured = divided("P19", single.on("baskets", {"count": ITEMS, "lines": BASKET_LINES}), single)
        check_and_end("P19", server, single.records)
    return measured


def refusals(plan: Plan) -> list[Figure]:
    """P11: CPU of the server for a refusal of an item that is sold out, divided by that for a success."""
    with serving(plan, "refusals") as server:
        with server.client() as client:
            client.upsert_items([Item(sku(prefix=SOLD_OUT))])
            client.receive([(sku(prefix=SOLD_OUT), LOCATION, 1)])
        success = Target(plan, "success", server.address, server.pid)
        refusal = success.on("refusal", {"prefix": SOLD_OUT}, "INSUFFICIENT_STOCK")
        measured = divided("P11", refusal, success, lambda sample: sample.cpu_s_per_million)
        check_and_end("P11", server, success.records)
    return measured


def divided(
    name: str, above: Target, below: Target, of: Callable[[Sample], float] = lambda sample: sample.value
) -> list[Figure]:
    """The lines a second of one target divided by those of another, one reserve a call and in batches, in turns.

    Both are loaded as suits the first.
    """
    plan, kinds = above.plan, {"unary": above.best(unary.SHAPES), "batched": above.best(SHAPES)}
    runs = {
        f"{kind}_{target.name}": partial(target.saturate, shape)
        for kind, shape in kinds.items()
        for target in (above, below)
    }
    found = interleaved(plan, {"sync": lambda: generator.sync_us(plan), **runs})
    unit = figures.LINES_PER_S if above.lines > 1 else figures.PER_S
    compared = {run: [of(sample) for sample in samples] for run, samples in found.items()}
    return [
        *(ratio(f"{name}.{kind}", *(compared[f"{kind}_{side.name}"] for side in (above, below))) for kind in kinds),
        *(figure(f"{name}.{run}", unit, values(found[run])) for run in runs),
        figure(f"{name}.sync_us", figures.US, values(found["sync"])),
        *(each for run in runs for each in unary.cpu_figures(f"{name}.{run}", found[run])),
    ]
