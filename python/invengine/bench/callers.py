"""Callers in Python, as people write them: asyncio with automatic batching, columns, and redis-py with the script."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
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
class Tally:
    """What came of the calls of one thread."""

    from_s: float
    until_s: float
    accepted: int = 0
    measured: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    @classmethod
    def starting(cls, spec: Spec) -> Tally:
        """A tally whose measured part begins after the warm-up."""
        from_s = time.monotonic() + spec.warm_up_s
        return cls(from_s, from_s + spec.seconds)

    def goes_on(self) -> bool:
        """True until the time is over."""
        return time.monotonic() < self.until_s

    def took(self, units: int) -> None:
        """Counts accepted reserves."""
        self.accepted += units
        if self.from_s <= time.monotonic() < self.until_s:
            self.measured += units

    def no(self, reason: str) -> None:
        """Counts one refusal."""
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def add(self, other: Tally) -> None:
        """Adds the counts of another."""
        self.accepted += other.accepted
        self.measured += other.measured
        for reason, count in other.refused.items():
            self.refused[reason] = self.refused.get(reason, 0) + count


def with_asyncio(spec: Spec) -> dict[str, Any]:
    """`callers` tasks on one AsyncClient, one reserve after the other each."""
    return asyncio.run(_reserve(spec))


async def _reserve(spec: Spec) -> dict[str, Any]:
    async with AsyncClient(spec.target) as client:
        await client.availability(sku(), LOCATION)
        tally = Tally.starting(spec)
        line = (sku(), LOCATION, 1)

        async def caller() -> None:
            while tally.goes_on():
                await client.reserve([line], ttl_s=TTL_S)
                tally.took(1)

        await asyncio.gather(*(caller() for _ in range(spec.callers)))
    return _report(spec, tally)


def with_columns(spec: Spec) -> dict[str, Any]:
    """`callers` threads on one Client, which reserve `batch` rows at a time."""
    with Client(spec.target) as client:
        client.availability(sku(), LOCATION)
        skus = [sku()] * spec.batch

        def call(tally: Tally, _: int) -> None:
            found = client.submit_reserves(skus, LOCATION, ttl_s=TTL_S)
            taken = sum(found.accepted)
            tally.took(taken)
            if taken < spec.batch:
                tally.no(next(reason for reason in found.reasons if reason))

        return _report(spec, _in_threads(spec, lambda: call))


def with_redis(spec: Spec) -> dict[str, Any]:
    """`callers` threads with one connection each, which call the script."""
    import redis

    host, _, port = spec.target.rpartition(":")
    script = redis_peer.SCRIPT.read_text(encoding="utf-8")
    ttl_ms, window_ms = str(TTL_MS), str(redis_peer.KEY_WINDOW_MS)
    numbers = itertools.count()

    def connect() -> Callable[[Tally, int], None]:
        client: Any = redis.Redis(host, int(port), single_connection_client=True)
        loaded = client.script_load(script)
        prefix = f"key:{spec.name}:{next(numbers)}:"

        def call(tally: Tally, number: int) -> None:
            key = f"{prefix}{number}"
            said = client.evalsha(loaded, 3, redis_peer.STOCK, redis_peer.HOLDS, key, "1", ttl_ms, window_ms)
            if said == b"INSUFFICIENT_STOCK":
                tally.no("INSUFFICIENT_STOCK")
            else:
                tally.took(1)

        return call

    return _report(spec, _in_threads(spec, connect))


def _in_threads(spec: Spec, connect: Callable[[], Callable[[Tally, int], None]]) -> Tally:
    """Calls from `callers` threads until the time is over; the first error of a thread is raised."""
    total = Tally.starting(spec)
    tallies: list[Tally] = []
    errors: list[BaseException] = []

    def work() -> None:
        tally = Tally(total.from_s, total.until_s)
        tallies.append(tally)
        try:
            call = connect()
            for number in itertools.count():
                if not tally.goes_on():
                    return
                call(tally, number)
        except BaseException as error:  # Whatever ends a thread ends the run.
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(spec.callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    for tally in tallies:
        total.add(tally)
    return total


def _report(spec: Spec, tally: Tally) -> dict[str, Any]:
    return {
        "accepted": tally.accepted,
        "measured": tally.measured,
        "seconds": spec.seconds,
        "refused": tally.refused,
        "cpu_s": time.process_time(),
    }
