"""Rounds of SIGKILL under load on one ledger: used by the tests and, many more of them, by `make soak`."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import grpc

from invengine.simulate.audit import Auditor

from ..conformance.redis_server import wait_until
from .caller_process import OPTIONS
from .history_checker import KINDS
from .record import ACCEPTED, Call
from .server_fixture import CALL_S, ServerFixture
from .workers import audit, tries, workers

THREADS = 16
EVENTS_MAX = 900
REPEATED_MAX = 200
START_S_MAX = 0.7


@dataclass(slots=True)
class FaultRounds:
    """Rounds of faults on one server under load, with the auditor of its ledger."""

    server: ServerFixture
    chance: random.Random
    auditor: Auditor = field(default_factory=Auditor)
    first_seed: int = 0
    turn: int = 0
    calls: int = 0
    faults: int = 0
    killed_early: int = 0
    """SIGKILLs of servers that had not started completely."""
    events_max: int = EVENTS_MAX
    """Most events between two faults."""
    start_s_max: float = START_S_MAX
    """The longest time after which a starting server is killed."""

    def play(self, rounds: int, fault: Callable[[], None]) -> list[Call]:
        """Starts callers, causes a fault in the middle of each round, stops the callers, and checks everything."""
        self.turn += 1
        seed = self.first_seed + 2 * self.turn
        configs = [self.server.caller_config(seed + one, THREADS, channel=("", "web")[one]) for one in range(2)]
        with workers(configs) as callers:
            for _ in range(rounds):
                await_events(self.server, self.chance.randint(20, self.events_max))
                fault()
                self.faults += 1
            await_events(self.server, 20)
            calls = callers.stop()
        audit(self.server, calls, self.auditor)
        repeat_commands(self.server, calls, self.chance)
        self.calls += len(calls)
        return calls

    def kill(self) -> None:
        """SIGKILL, sometimes again while it recovers, then a start."""
        self.server.kill()
        for _ in range(self.chance.choice((0, 0, 0, 1, 2, 3))):
            kill_while_it_starts(self.server, self.chance.uniform(0.0, self.start_s_max))
            self.killed_early += 1
        self.server.start()


def await_events(server: ServerFixture, count: int) -> None:
    """Waits until this many more events are durable, which shows that the load is running."""
    first = server.digest()[1]
    wait_until(f"{count} events", lambda: server.digest()[1] >= first + count, within_s=60.0)


def kill_while_it_starts(server: ServerFixture, after_s: float) -> None:
    """Starts the server and kills it while it starts."""
    process = server.spawn()
    with suppress(subprocess.TimeoutExpired):
        process.wait(after_s)
    process.kill()
    process.wait()


def repeat_commands(server: ServerFixture, calls: Sequence[Call], chance: random.Random) -> None:
    """Repeats some accepted commands: each gets the answer that it got before."""
    accepted = [call for call in calls if call.outcome == ACCEPTED]
    with grpc.insecure_channel(server.address, options=OPTIONS) as channel:
        for call in chance.sample(accepted, min(REPEATED_MAX, len(accepted))):
            service = "InventoryService" if call.path == "Receive" else "ReservationService"
            method = channel.unary_unary(f"/invengine.v1.{service}/{call.path}", None, None)
            again = KINDS[call.path][1].FromString(method(call.body, timeout=CALL_S))
            first = KINDS[call.path][1].FromString(call.answer)
            assert again.receipt.replayed, f"{call.path} of {call.who} was executed again"
            for answer in (first, again):
                answer.receipt.replayed = False
                answer.receipt.durable_sequence = 0
                # Levels are reported as they are now, not as they were.
                if call.path == "Receive":
                    answer.ClearField("levels")
            assert again == first


def cut_off(calls: Sequence[Call]) -> int:
    """Counts attempts that ended without an answer because the server died."""
    return tries(calls)["UNAVAILABLE TRANSPORT"]
