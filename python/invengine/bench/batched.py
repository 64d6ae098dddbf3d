"""P3 and P5: batches of Reserves over SubmitStream, beside Redis with pipelines; and what durability costs."""

from __future__ import annotations

from contextlib import ExitStack

from invengine.bench import figures, generator, redis_peer, unary
from invengine.bench.checks import check_and_end, require
from invengine.bench.figures import Figure, figure, ratio
from invengine.bench.generator import Shape, Target
from invengine.bench.redis_peer import RedisShape
from invengine.bench.rounds import Plan, interleaved, values
from invengine.bench.server import serving

STREAM = "submit_stream"
SHAPES = (Shape(1, 4, STREAM, 1_000), Shape(2, 4, STREAM, 1_000), Shape(2, 8, STREAM, 1_000))
REDIS_SHAPES = (RedisShape(50, 32), RedisShape(50, 128), RedisShape(8, 256))
OF_REDIS = ("P3.redis_pipelined", "P3.ratio_redis")


def saturated(plan: Plan) -> list[Figure]:
    """P3: batches as fast as they are answered, beside pipelined Redis, each loaded as suits it best."""
    with ExitStack() as stack:
        server = stack.enter_context(serving(plan, "batched"))
        engine = Target(plan, "engine", server.address, server.pid)
        shape = engine.best(SHAPES)
        contenders = {"sync": lambda: generator.sync_us(plan), "engine": lambda: engine.saturate(shape)}
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
        figure("P3.sync_us", figures.US, values(found["sync"])),
        *unary.cpu_figures("P3", found["engine"]),
    ]
    if redis:
        peers = values(found["redis"])
        return [*measured, figure("P3.redis_pipelined", figures.PER_S, peers), ratio("P3.ratio_redis", rates, peers)]
    plan.leave_out(OF_REDIS, redis_peer.NEEDS)
    return measured


def durability(plan: Plan) -> list[Figure]:
    """P5: the file journal divided by the memory journal, one reserve a call and in batches."""
    with serving(plan, "durable") as durable, serving(plan, "memory", durable=False) as memory:
        on_disk = Target(plan, "durable", durable.address, durable.pid)
        in_memory = Target(plan, "memory", memory.address, memory.pid)
        unary_shape, batched_shape = on_disk.best(unary.SHAPES), on_disk.best(SHAPES)
        contenders = {
            "sync": lambda: generator.sync_us(plan),
            "unary_durable": lambda: on_disk.saturate(unary_shape),
            "unary_memory": lambda: in_memory.saturate(unary_shape),
            "batched_durable": lambda: on_disk.saturate(batched_shape),
            "batched_memory": lambda: in_memory.saturate(batched_shape),
        }
        found = interleaved(plan, contenders)
        check_and_end("P5", durable, on_disk.records)
        check_and_end("P5", memory, in_memory.records)
    rates = {name: values(samples) for name, samples in found.items()}
    compared = [ratio(f"P5.{kind}", rates[f"{kind}_durable"], rates[f"{kind}_memory"]) for kind in ("unary", "batched")]
    measured = [figure(f"P5.{name}", figures.PER_S, rates[name]) for name in contenders if name != "sync"]
    cpu = [each for name in contenders if name != "sync" for each in unary.cpu_figures(f"P5.{name}", found[name])]
    return [*compared, *measured, figure("P5.sync_us", figures.US, rates["sync"]), *cpu]
