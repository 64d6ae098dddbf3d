"""Which benchmarks there are, by id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from invengine.bench import (
    batched,
    clients,
    door,
    embedded,
    followers,
    history,
    journals,
    ledger,
    sale,
    sizes,
    snapshots,
    startup,
    unary,
    waits,
)
from invengine.bench.figures import Figure
from invengine.bench.rounds import Plan


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark: what it measures, and how. `run` raises CheckFailedError rather than give a figure in doubt."""

    id: str
    title: str
    run: Callable[[Plan], list[Figure]]


BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark("P1", "the ledger alone on one core", ledger.alone),
    Benchmark("P2", "durable unary Reserve, one hot item, beside the bare listener and Redis", unary.saturated),
    Benchmark("P3", "durable batches over SubmitStream, one hot item and 100,000, beside Redis", batched.saturated),
    Benchmark("P4", "one hot item divided by 100,000 items alike, unary and batched", batched.skew),
    Benchmark("P5", "durable divided by not durable, unary and batched", batched.durability),
    Benchmark("P6", "one idle caller, beside the disk's own sync", unary.idle),
    Benchmark("P7", "callers at 80 % of saturation, beside the disk's own sync", waits.loaded),
    Benchmark("P8", "the Python client beside redis-py", clients.python),
    Benchmark("P9", "an engine in the caller's process, acknowledged later", embedded.acknowledged_later),
    Benchmark("J1", "durable batches on the Redis journal, beside the file journal", journals.redis_beside_file),
    Benchmark("P12", "callers while a million holds expire in one second, beside callers without", waits.expiry),
    Benchmark("P13", "commits while a snapshot is written, beside commits without", snapshots.beside_commits),
    Benchmark("C1", "starting the command line, beside an interpreter that does nothing", startup.commands),
    Benchmark(
        "D1", "a caller beside attacks on the door: how long it waits, and what they cost in memory", door.attacked
    ),
    Benchmark("E1", "the writer beside twenty readers of events with filters", followers.beside_writes),
    Benchmark("P10", "a flash sale at ten times the capacity", sale.flash),
    Benchmark("P11", "CPU of a refusal divided by that of a success, unary and batched", batched.refusals),
    Benchmark("P15", "memory of a level, and of a reservation with its key", sizes.memory),
    Benchmark("P16", "journal bytes of a reservation", sizes.journal),
    Benchmark("P17", "ten million levels beside a thousand, the ledger alone and a unary Reserve", ledger.growth),
    Benchmark("P19", "lines of baskets divided by reserves of one line, unary and batched", batched.baskets),
    Benchmark("P20", "the past: a level of a million, and what changed one in ten million events", history.past),
)


def chosen(ids: list[str]) -> list[Benchmark]:
    """The benchmarks that these ids name, in their own order; P2 and P2.ratio_bare both name P2.

    Raises KeyError with the first id that names none.
    """
    known = {benchmark.id for benchmark in BENCHMARKS}
    for name in ids:
        if name.partition(".")[0] not in known:
            raise KeyError(name)
    wanted = {name.partition(".")[0] for name in ids}
    return [benchmark for benchmark in BENCHMARKS if benchmark.id in wanted]


def wanted(figures: list[Figure], ids: list[str]) -> list[Figure]:
    """The figures that these ids name; an id without a suffix names all of its benchmark."""
    return [each for each in figures if each.id in ids or each.id.partition(".")[0] in ids]
