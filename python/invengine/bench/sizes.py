"""P15 and P16: what a level and a reservation take of memory and of the journal."""

from __future__ import annotations

from pathlib import Path

from invengine.bench import figures
from invengine.bench.checks import check_and_end
from invengine.bench.door import rss_of
from invengine.bench.figures import Figure, figure
from invengine.bench.generator import Shape, Target
from invengine.bench.rounds import SECONDS, Plan, Sample, interleaved, values
from invengine.bench.server import fill, serving

ROUNDS_MAX = 3
"""What is measured hardly varies, and each round has a server of its own."""
ITEMS = 20_000
STORES = tuple(f"store-{number:02d}" for number in range(50))
RESERVATIONS = 1_000_000
BATCHES = Shape(1, 4, "submit", 1_000)
ONE_EACH = Shape(8, 64)


def memory(plan: Plan) -> list[Figure]:
    """P15: how much larger the server's process becomes by levels, and then by reservations with their keys.

    Items, buffers and the first levels and reservations are there before.
    """
    levels, reservations = [], []
    stores, count = STORES[: max(1, round(len(STORES) * plan.seconds / SECONDS))], _count(plan)
    for number in range(min(plan.rounds, ROUNDS_MAX)):
        plan.step(f"round {number + 1}")
        with serving(plan, f"memory-{number}", items=ITEMS) as server:
            target = Target(plan, "memory", server.address, server.pid, skus={"count": ITEMS})
            empty = rss_of(server.pid)
            fill(server, ITEMS, stores)
            filled = rss_of(server.pid)
            levels.append((filled - empty) / (ITEMS * len(stores)))
            target.reserve(BATCHES, count // 10)
            before = rss_of(server.pid)
            target.reserve(BATCHES, count)
            reservations.append((rss_of(server.pid) - before) / count)
            check_and_end("P15", server, target.records)
    return [
        figure("P15.level_bytes", figures.BYTES, levels),
        figure("P15.reservation_bytes", figures.BYTES, reservations),
    ]


def journal(plan: Plan) -> list[Figure]:
    """P16: how much longer the journal becomes by a reservation, in batches and one each call."""
    count = _count(plan) // 5
    with serving(plan, "bytes", items=ITEMS) as server:
        single = Target(plan, "single", server.address, server.pid, skus={"count": ITEMS})

        def grown(shape: Shape) -> Sample:
            before = _written(server.directory)
            single.reserve(shape, count)
            return Sample((_written(server.directory) - before) / count)

        runs = {"batched": lambda: grown(BATCHES), "unary": lambda: grown(ONE_EACH)}
        found = interleaved(plan, runs)
        check_and_end("P16", server, single.records)
    return [figure(f"P16.{name}_bytes", figures.BYTES, values(samples)) for name, samples in found.items()]


def _count(plan: Plan) -> int:
    return round(RESERVATIONS * plan.seconds / SECONDS / 100) * 100


def _written(directory: Path | None) -> int:
    """Bytes of a journal, without the zeros that its files are filled with beforehand."""
    files = () if directory is None else directory.glob("journal-*")
    return sum(len(file.read_bytes().rstrip(b"\0")) for file in files)
