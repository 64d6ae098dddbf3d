"""P2 and P6: one durable Reserve a call of one hot item, saturated beside its yardsticks, and alone."""

from __future__ import annotations

from contextlib import ExitStack

from invengine.bench import bare, figures, generator, redis_peer
from invengine.bench.checks import check_and_end, require
from invengine.bench.figures import Figure, figure, ratio
from invengine.bench.generator import Shape, Target
from invengine.bench.redis_peer import RedisShape
from invengine.bench.rounds import Plan, Sample, interleaved, values
from invengine.bench.server import serving

SHAPES = (Shape(8, 64), Shape(4, 256), Shape(8, 256))
FIFTY = Shape(50, 1)
REDIS_SHAPES = (RedisShape(200), RedisShape(500), RedisShape(1_000))
REDIS_FIFTY = RedisShape(50)
OF_REDIS = ("P2.redis_50x1", "P2.ratio_redis_50x1", "P2.redis", "P2.ratio_redis")


def saturated(plan: Plan) -> list[Figure]:
    """P2: the door with the engine behind it, beside the bare listener and Redis, each loaded as suits it best."""
    with ExitStack() as stack:
        server = stack.enter_context(serving(plan, "unary"))
        listener = stack.enter_context(bare.listening(plan))
        engine = Target(plan, "engine", server.address, server.pid)
        yardstick = Target(plan, "bare", listener.address, listener.pid)
        shape, bare_shape = engine.best(SHAPES), yardstick.best(SHAPES)
        contenders = {
            "sync": lambda: generator.sync_us(plan),
            "engine": lambda: engine.saturate(shape),
            "bare": lambda: yardstick.saturate(bare_shape),
            "engine_50x1": lambda: engine.saturate(FIFTY),
        }
        redis = stack.enter_context(redis_peer.serving(plan)) if redis_peer.is_installed() else None
        if redis:
            redis_shape = redis.best(REDIS_SHAPES)
            contenders |= {
                "redis_50x1": lambda: redis.saturate(REDIS_FIFTY),
                "redis": lambda: redis.saturate(redis_shape),
            }
        found = interleaved(plan, contenders)
        require("P2", yardstick.records.findings + (redis.findings() if redis else []))
        check_and_end("P2", server, engine.records)
    if not redis:
        plan.leave_out(OF_REDIS, redis_peer.NEEDS)
    return _own_figures(found) + (_redis_figures(found) if redis else [])


def _own_figures(found: dict[str, list[Sample]]) -> list[Figure]:
    engine, listener, fifty = (values(found[name]) for name in ("engine", "bare", "engine_50x1"))
    return [
        figure("P2.saturated", figures.PER_S, engine),
        figure("P2.bare_listener", figures.PER_S, listener),
        ratio("P2.ratio_bare", engine, listener),
        figure("P2.connections_50x1", figures.PER_S, fifty),
        figure("P2.sync_us", figures.US, values(found["sync"])),
        *cpu_figures("P2", found["engine"]),
        *cpu_figures("P2.bare_listener", found["bare"]),
        *cpu_figures("P2.connections_50x1", found["engine_50x1"]),
    ]


def _redis_figures(found: dict[str, list[Sample]]) -> list[Figure]:
    engine, redis = values(found["engine"]), values(found["redis"])
    fifty, redis_fifty = values(found["engine_50x1"]), values(found["redis_50x1"])
    return [
        figure("P2.redis_50x1", figures.PER_S, redis_fifty),
        ratio("P2.ratio_redis_50x1", fifty, redis_fifty),
        figure("P2.redis", figures.PER_S, redis),
        ratio("P2.ratio_redis", engine, redis),
    ]


def cpu_figures(name: str, samples: list[Sample]) -> list[Figure]:
    """The CPU time that the runs took on the server's core, and how busy the callers were."""
    return [
        figure(f"{name}.cpu_s_per_million", figures.CPU_S_PER_MILLION, [each.cpu_s_per_million for each in samples]),
        figure(f"{name}.client_busy", figures.SHARE, [each.client_busy for each in samples]),
    ]


def idle(plan: Plan) -> list[Figure]:
    """P6: how long one caller on an idle server waits, beyond the sync that no durable answer can do without."""
    with serving(plan, "idle") as server:
        engine = Target(plan, "idle", server.address, server.pid)
        found = interleaved(plan, {"sync": lambda: generator.sync_us(plan), "engine": engine.latency_alone})
        check_and_end("P6", server, engine.records)
    waited, syncs = values(found["engine"]), values(found["sync"])
    over = [wait - sync for wait, sync in zip(waited, syncs, strict=True)]
    return [
        figure("P6.unary_p50_us", figures.US, waited),
        figure("P6.sync_us", figures.US, syncs),
        figure("P6.over_sync_us", figures.US, over),
    ]
