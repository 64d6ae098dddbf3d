"""J1: the Redis journal divided by the file journal, both with every frame synced, in batches."""

from __future__ import annotations

from contextlib import ExitStack

from invengine.bench import figures, generator, redis_peer, unary
from invengine.bench.checks import check_and_end, require, same_state
from invengine.bench.figures import Figure, figure, ratio
from invengine.bench.generator import Shape, Target
from invengine.bench.rounds import Plan, interleaved, values
from invengine.bench.server import fill, serving, started

SUBMIT = "submit"
SHAPES = (Shape(1, 4, SUBMIT, 1_000), Shape(2, 4, SUBMIT, 1_000), Shape(2, 8, SUBMIT, 1_000))
OF_REDIS = ("J1.ratio_file", "J1.redis")


def redis_beside_file(plan: Plan) -> list[Figure]:
    """J1: batches as fast as they are answered, on a journal in files and on one in Redis with `appendfsync always`."""
    if not redis_peer.is_installed():
        plan.leave_out(OF_REDIS, redis_peer.NEEDS)
        return []
    with ExitStack() as stack:
        on_file = stack.enter_context(serving(plan, "file"))
        _, port = stack.enter_context(redis_peer.running_redis(plan, plan.cores.load))
        journal = ["--journal", "redis", "--redis-url", f"redis://127.0.0.1:{port}"]
        on_redis = stack.enter_context(started(plan, "redis-journal", journal))
        fill(on_redis)
        named = (("file", on_file), ("redis", on_redis))
        targets = [Target(plan, name, server.address, server.pid) for name, server in named]
        shapes = [target.best(SHAPES) for target in targets]
        found = interleaved(
            plan,
            {
                "sync": lambda: generator.sync_us(plan),
                "file": lambda: targets[0].saturate(shapes[0]),
                "redis": lambda: targets[1].saturate(shapes[1]),
            },
        )
        check_and_end("J1", on_file, targets[0].records)
        before = check_and_end("J1", on_redis, targets[1].records)
        with started(plan, "recovered", journal) as recovered, recovered.client() as client:
            after = client.digest()
        require("J1", same_state(before, after.digest, after.sequence))
    rates = {name: values(samples) for name, samples in found.items()}
    return [
        ratio("J1.ratio_file", rates["redis"], rates["file"]),
        figure("J1.file", figures.PER_S, rates["file"]),
        figure("J1.redis", figures.PER_S, rates["redis"]),
        figure("J1.sync_us", figures.US, rates["sync"]),
        *unary.cpu_figures("J1", found["redis"]),
    ]
