"""Callers in Python, as people write them: asyncio with automatic batching, columns, and redis-py with the script."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from invengine.bench import redis_peer
from invengine.bench.server import LOCATION, TTL_MS, sku
from invengine.client import AsyncClient, Client

TTL_S = TTL_MS / 1_000


@dataclass(frozen=True, slots=True)
class Spec:
    """One run: whom to call, for how long, how many callers at once, reserves in a batch."""

    target: str
    name: str
    callers: int
    seconds: float
    warm_up_s: float
    batch: int = 1


@dataclass(slots=True)
class CallCounts:
    """The outcomes of one thread's calls."""

    from_s: float
    until_s: float
    accepted: int = 0
    measured: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    @classmethod
    def starting(cls, spec: Spec) -> CallCounts:
        """A tally whose measured part begins after the warm-up."""
        from_s = time.monotonic() + spec.warm_up_s
        return cls(from_s, from_s + spec.seconds)

    def is_running(self) -> bool:
        """True until the time is up."""
        return time.monotonic() < self.until_s

    def add_accepted(self, units: int) -> None:
        """Counts accepted reserves."""
        self.accepted += units
        if self.from_s <= time.monotonic() < self.until_s:
            self.measured += units

    def add_refusal(self, reason: str) -> None:
        """Counts one refusal."""
        self.refused[reason] += 1

    def add(self, other: CallCounts) -> None:
        """Adds the counts of another."""
        self.accepted += other.accepted
        self.measured += other.measured
        self.refused.update(other.refused)


def with_asyncio(spec: Spec) -> dict[str, Any]:
    """`callers` tasks on one AsyncClient, one reserve after the other each."""
    return asyncio.run(_reserve(spec))


async def _reserve(spec: Spec) -> dict[str, Any]:
    async with AsyncClient(spec.target) as client:
        await client.availability(sku(), LOCATION)
        counts = CallCounts.starting(spec)
        line = (sku(), LOCATION, 1)

        async def caller() -> None:
            while counts.is_running():
                await client.reserve([line], ttl_s=TTL_S)
                counts.add_accepted(1)

        await asyncio.gather(*(caller() for _ in range(spec.callers)))
    return _report(spec, counts)


def with_columns(spec: Spec) -> dict[str, Any]:
    """`callers` threads on one Client, which reserve `batch` rows at a time."""
    with Client(spec.target) as client:
        client.availability(sku(), LOCATION)
        skus = [sku()] * spec.batch

        def call(counts: CallCounts, _: int) -> None:
            found = client.submit_reserves(skus, LOCATION, ttl_s=TTL_S)
            taken = sum(found.accepted)
            counts.add_accepted(taken)
            if taken < spec.batch:
                counts.add_refusal(next(reason for reason in found.reasons if reason))

        return _report(spec, _in_threads(spec, lambda: call))


def with_redis(spec: Spec) -> dict[str, Any]:
    """`callers` threads with one connection each, which call the script."""
    import redis

    host, _, port = spec.target.rpartition(":")
    script = redis_peer.SCRIPT.read_text(encoding="utf-8")
    ttl_ms, window_ms = str(TTL_MS), str(redis_peer.KEY_WINDOW_MS)
    numbers = itertools.count()

    def connect() -> Callable[[CallCounts, int], None]:
        client: Any = redis.Redis(host, int(port), single_connection_client=True)
        loaded = client.script_load(script)
        prefix = f"key:{spec.name}:{next(numbers)}:"

        def call(counts: CallCounts, number: int) -> None:
            key = f"{prefix}{number}"
            output = client.evalsha(loaded, 3, redis_peer.STOCK, redis_peer.HOLDS, key, "1", ttl_ms, window_ms)
            if output == b"INSUFFICIENT_STOCK":
                counts.add_refusal("INSUFFICIENT_STOCK")
            else:
                counts.add_accepted(1)

        return call

    return _report(spec, _in_threads(spec, connect))


def _in_threads(spec: Spec, connect: Callable[[], Callable[[CallCounts, int], None]]) -> CallCounts:
    """Calls from `callers` threads until the time is up; the first error of a thread is raised."""
    total = CallCounts.starting(spec)

    def work() -> CallCounts:
        counts, call, numbers = CallCounts(total.from_s, total.until_s), connect(), itertools.count()
        while counts.is_running():
            call(counts, next(numbers))
        return counts

    with ThreadPoolExecutor(spec.callers) as threads:
        for each in [threads.submit(work) for _ in range(spec.callers)]:
            total.add(each.result())
    return total


def _report(spec: Spec, counts: CallCounts) -> dict[str, Any]:
    return {
        "accepted": counts.accepted,
        "measured": counts.measured,
        "seconds": spec.seconds,
        "refused": counts.refused,
        "cpu_s": time.process_time(),
    }
