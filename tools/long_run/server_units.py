"""Units of the long run with whole servers: killed, stopped, suspended, with failing disks, sent malformed messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import grpc
from tests.conformance.redis_server import redis_server
from tests.faults.close_under_load import CloseUnderLoad
from tests.faults.kills import FaultRounds, await_events
from tests.faults.limits import rss_bytes
from tests.faults.malformed import Sender, unwanted
from tests.faults.prefork import Prefork
from tests.faults.redis_server import programs
from tests.faults.server_fixture import ServerFixture, server_fixture
from tests.faults.shutdown_endings import unexpected_endings
from tests.faults.takeover import take_over
from tests.faults.tracing import injected
from tests.faults.workers import audit, tries, workers

from .totals import FoundError
from .units import UnitContext, UnitResult

ROUNDS = 20
TURNS = 2
EVENTS_MAX = 200
START_S_MAX = 0.2
CLOSINGS = 100
MESSAGES = 50_000
WARM_UP = 5_000
RSS_GROWTH_MAX = 16 << 20
ZOMBIE_SLEEP_S = 60.0
TRY_S = 1.0
PAUSE_S = 0.05
EXIT_POISONED = 5
# Frequent snapshots, and on disk small files: a kill meets them too.
SNAPSHOTS = {"INVENGINE_SNAPSHOT_JOURNAL_BYTES": str(1 << 16), "INVENGINE_SNAPSHOT_INTERVAL_MS": "0"}
SMALL_FILES = {"INVENGINE_JOURNAL_FILE_BYTES": str((4 << 20) + (1 << 16))}
DISK_FAULTS = (
    ("fdatasync", "error=EIO"),
    ("pwrite64", "error=EIO"),
    ("pwrite64,fdatasync", "error=EROFS"),
)


@cache
def prefork() -> Prefork:
    """Returns the one starter of all units."""
    return Prefork()


@contextmanager
def served(context: UnitContext, *flags: str) -> Iterator[ServerFixture]:
    """A server with its stock, on files or as the flags say, with or without snapshots depending on the seed."""
    busy = SNAPSHOTS if "redis" in flags else SNAPSHOTS | SMALL_FILES
    environment = context.rng.choice(({}, busy))
    with server_fixture(context.directory / "server", *flags, environment=environment, prefork=prefork()) as server:
        server.start()
        server.add_stock()
        yield server


def fault_rounds(context: UnitContext, server: ServerFixture) -> FaultRounds:
    """Returns short rounds of faults on a server."""
    return FaultRounds(server, context.rng, first_seed=context.seed, events_max=EVENTS_MAX, start_s_max=START_S_MAX)


def kills(context: UnitContext) -> UnitResult:
    """SIGKILLs of a server on files, or of a server on Redis, of its Redis, and of both."""
    kind = context.rng.choice(["file", "file", *programs()])
    if kind == "file":
        with served(context, "--journal", "file") as server:
            rounds = fault_rounds(context, server)
            for _ in range(TURNS):
                rounds.play(ROUNDS, rounds.kill)
        return UnitResult({"kills": rounds.faults}, Counter(files=rounds.faults, recovering=rounds.killed_early))
    with (
        redis_server(programs()[kind], context.directory / "redis") as redis,
        served(context, "--journal", "redis", "--redis-url", redis.url) as server,
    ):
        rounds = fault_rounds(context, server)

        def kill_redis() -> None:
            redis.kill()
            redis.start()

        def kill_both() -> None:
            server.kill()
            kill_redis()
            server.start()

        def kill_some() -> None:
            context.rng.choice((rounds.kill, rounds.kill, kill_redis, kill_both))()

        rounds.play(ROUNDS, kill_some)
    return UnitResult({"kills": rounds.faults}, Counter({kind: rounds.faults, "recovering": rounds.killed_early}))


def drains(context: UnitContext) -> UnitResult:
    """SIGTERMs under full load: callers see success or UNAVAILABLE, and nothing that was acknowledged is lost."""
    door = context.rng.choice(("native", "native", "python"))
    with served(context, "--journal", "file", "--door", door) as server:
        rounds = fault_rounds(context, server)

        def stop() -> None:
            server.running.stop()
            server.start()

        strange = unexpected_endings(tries(rounds.play(ROUNDS, stop)), door)
        if strange:
            raise FoundError(f"{door} door: callers saw {sorted(strange)} while servers ended")
    return UnitResult({"drains": rounds.faults}, Counter({f"{door} door": rounds.faults}))


def closings(context: UnitContext) -> UnitResult:
    """Engines that are closed while batches are in flight."""
    rounds = CloseUnderLoad(context.directory, context.rng)
    rounds.play(CLOSINGS)
    return UnitResult(
        {"closings": CLOSINGS}, Counter({f"batches {name or 'open'}": n for name, n in rounds.endings.items()})
    )


def sleepers(context: UnitContext) -> UnitResult:
    """On each kind of Redis a server that is suspended for a minute under load while another claims its rounds."""
    kinds = programs()
    with ThreadPoolExecutor(len(kinds)) as pool:
        running = [pool.submit(_sleeper, context.directory / kind, kinds[kind], context.seed) for kind in kinds]
        for one in running:
            one.result()
    return UnitResult({"sleepers": len(kinds)}, Counter(kinds.keys()))


def _sleeper(directory: Path, program: str, seed: int) -> None:
    with redis_server(program, directory / "redis") as redis:
        flags = ("--journal", "redis", "--redis-url", redis.url)
        with (
            server_fixture(directory / "first", *flags) as first,
            server_fixture(directory / "second", *flags) as second,
        ):
            first.start()
            first.add_stock()
            second.choose_address()
            both = [first.address, second.address]
            config = replace(first.caller_config(seed, 8, pause_s=PAUSE_S), addresses=both, try_s=TRY_S)
            with workers([config]) as callers:
                await_events(first, 200)
                while_paused = take_over(first, second, ZOMBIE_SLEEP_S)
                await_events(second, 200)
                calls = callers.stop()
            if grpc.StatusCode.OK in while_paused.reads + while_paused.writes:
                raise FoundError("a server answered after its ledger was claimed")
            second.incarnations += first.incarnations
            auditor, _ = audit(second, calls)
            if [epoch for _, epoch in auditor.epochs] != [1, 2]:
                raise FoundError(f"writers of the journal: {auditor.epochs}")


def messages(context: UnitContext) -> UnitResult:
    """Damaged messages: none may end the server, change anything, or make it grow."""
    with server_fixture(context.directory / "server", "--journal", "file", prefork=prefork()) as server:
        pid = server.start().process.pid
        before = server.digest()
        sender = Sender(server.address, context.seed)
        sender.send(WARM_UP)
        rss = rss_bytes(pid)
        sender.send(MESSAGES - WARM_UP)
        sender.close()
        grown = rss_bytes(pid) - rss
        if unwanted(sender.answers) or server.digest() != before or grown > RSS_GROWTH_MAX:
            raise FoundError(f"damaged messages: {dict(sender.answers)}, memory grew by {grown} bytes")
        server.running.stop()
    return UnitResult({"messages": MESSAGES}, Counter({name or "OK": count for name, count in sender.answers.items()}))


def disks(context: UnitContext) -> UnitResult:
    """Servers whose disk fails under load, through strace: they end, and what they acknowledged is not lost."""
    calls, fault = context.rng.choice(DISK_FAULTS)
    with served(context, "--journal", "file") as server:
        rounds = fault_rounds(context, server)

        def fail() -> None:
            with injected(server.running.process.pid, calls, fault):
                code = server.running.process.wait(60)
            if code != EXIT_POISONED:
                raise FoundError(f"after {calls} {fault} the server ended with {code}")
            server.start()

        rounds.play(ROUNDS // 2, fail)
    return UnitResult({"disks": rounds.faults}, Counter({f"{calls} {fault}": rounds.faults}))
