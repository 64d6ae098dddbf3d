"""P20: the past: a level of a million at a moment near a snapshot, and the first page of what changed a level."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

from invengine.bench import figures
from invengine.bench.checks import check_and_end, require
from invengine.bench.door import rss_of
from invengine.bench.figures import Figure, figure
from invengine.bench.generator import Shape, Target
from invengine.bench.rounds import SECONDS, Plan
from invengine.bench.server import LOCATION, Server, fill, serving, sku
from invengine.bench.sizes import ITEMS, STORES
from invengine.client import Client

EVENTS = 10_000_000
TAIL = 50_000
"""Events between the snapshot and the moment."""
BATCHES = Shape(1, 4, "submit", 1_000)
PAGE = 100
SAMPLE_S = 0.005
SNAPSHOT_S = 600.0
MIB = 1 << 20


def past(plan: Plan) -> list[Figure]:
    """P20: each question is asked once a round, so that no round finds what the one before left in memory."""
    return _states(plan) + _changes(plan)


def _states(plan: Plan) -> list[Figure]:
    """One level at a moment, folded from a snapshot of a million levels."""
    stores = STORES[: max(1, round(len(STORES) * plan.seconds / SECONDS))]
    plan.step(f"{ITEMS * len(stores):,} levels")
    with serving(plan, "levels", items=ITEMS) as server:
        fill(server, ITEMS, stores)
        target = Target(plan, "levels", server.address, server.pid, skus={"count": ITEMS})
        with server.client() as client:
            snapshot = client.create_snapshot()
            target.reserve(BATCHES, TAIL)
            moments = [snapshot + TAIL * (number + 1) // plan.rounds for number in range(plan.rounds)]
            times = [_ms(partial(client.get_level_at, sku(), LOCATION, moment)) for moment in moments]
        check_and_end("P20", server, target.records)
    return [figure("P20.state_ms", figures.MS, times)]


def _changes(plan: Plan) -> list[Figure]:
    """A page of a level that changes all the time, and of one that changed only before all the others."""
    count = round(EVENTS * plan.seconds / SECONDS / 1_000) * 1_000
    plan.step(f"{count:,} events")
    with serving(plan, "events", items=2) as server:
        target = Target(plan, "events", server.address, server.pid)
        target.reserve(BATCHES, count)
        hot, cold, grown = [], [], []
        with server.client() as client:
            # One that is due would be written meanwhile, and take memory of its own.
            client.create_snapshot(timeout_s=SNAPSHOT_S)
            for _ in range(plan.rounds):
                with growth(server) as memory:
                    hot.append(_ms(partial(_page, client, 0, PAGE)))
                    cold.append(_ms(partial(_page, client, 1, 1)))
                grown.append(memory["bytes"] / MIB)
        check_and_end("P20", server, target.records)
    return [
        figure("P20.hot_page_ms", figures.MS, hot),
        figure("P20.cold_page_ms", figures.MS, cold),
        figure("P20.page_mib", figures.MIB, grown),
    ]


def _page(client: Client, item: int, lines: int) -> None:
    found = list(islice(client.list_history(sku(item), LOCATION, page_size=PAGE), lines))
    require("P20", [] if len(found) == lines else [f"{len(found)} changes of {sku(item)} were found, not {lines}"])


def _ms(ask: Callable[[], Any]) -> float:
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1_000


@contextmanager
def growth(server: Server) -> Iterator[dict[str, int]]:
    """By how many bytes the process of the server was larger at most than before the block."""
    before, ended = rss_of(server.pid), threading.Event()
    found = {"bytes": 0}

    def sample() -> None:
        while not ended.wait(SAMPLE_S):
            found["bytes"] = max(found["bytes"], rss_of(server.pid) - before)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield found
    finally:
        ended.set()
        sampler.join()
