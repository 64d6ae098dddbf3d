"""Rounds of SIGKILL under load on one ledger that goes on: used by the tests and, many more of them, by `make soak`."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import grpc

from invengine.simulate.audit import Auditor

from ..conformance.redis_server import wait_until
from .crew import audit, crew, tries
from .house import CALL_S, House
from .record import ACCEPTED, Call
from .shopper import OPTIONS
from .testimony import KINDS

THREADS = 16
EVENTS_MAX = 900
ASKED_AGAIN = 200
START_S_MAX = 0.7


@dataclass(slots=True)
class Ledger:
    """A house with the books that are kept over it, through many turns of rounds."""

    house: House
    chance: random.Random
    auditor: Auditor = field(default_factory=Auditor)
    first_seed: int = 0
    turn: int = 0
    calls: int = 0
    faults: int = 0
    killed_early: int = 0
    """SIGKILLs of servers that had not come up yet."""
    events_max: int = EVENTS_MAX
    """Most events between two faults."""
    start_s_max: float = START_S_MAX
    """When a starting server is killed at the latest."""

    def play(self, rounds: int, fault: Callable[[], None]) -> list[Call]:
        """Sends callers out, does a fault in the middle of each round, lets them end, and judges everything."""
        self.turn += 1
        seed = self.first_seed + 2 * self.turn
        orders = [self.house.orders(seed + one, THREADS, channel=("", "web")[one]) for one in range(2)]
        with crew(orders) as callers:
            for _ in range(rounds):
                await_events(self.house, self.chance.randint(20, self.events_max))
                fault()
                self.faults += 1
            await_events(self.house, 20)
            calls = callers.stop()
        audit(self.house, calls, self.auditor)
        ask_again(self.house, calls, self.chance)
        self.calls += len(calls)
        return calls

    def kill(self) -> None:
        """SIGKILL, sometimes again while it recovers, then a start."""
        self.house.kill()
        for _ in range(self.chance.choice((0, 0, 0, 1, 2, 3))):
            kill_while_it_starts(self.house, self.chance.uniform(0.0, self.start_s_max))
            self.killed_early += 1
        self.house.start()


def await_events(house: House, count: int) -> None:
    """Waits until this many more events are durable: the load is really under way."""
    first = house.digest()[1]
    wait_until(f"{count} events", lambda: house.digest()[1] >= first + count, within_s=60.0)


def kill_while_it_starts(house: House, after_s: float) -> None:
    """Starts the server and kills it at some moment of its start."""
    process = house.spawn()
    with suppress(subprocess.TimeoutExpired):
        process.wait(after_s)
    process.kill()
    process.wait()


def ask_again(house: House, calls: Sequence[Call], chance: random.Random) -> None:
    """Repeats some acknowledged commands: each gets the answer that it got before."""
    accepted = [call for call in calls if call.outcome == ACCEPTED]
    with grpc.insecure_channel(house.address, options=OPTIONS) as channel:
        for call in chance.sample(accepted, min(ASKED_AGAIN, len(accepted))):
            service = "InventoryService" if call.path == "Receive" else "ReservationService"
            method = channel.unary_unary(f"/invengine.v1.{service}/{call.path}", None, None)
            again = KINDS[call.path][1].FromString(method(call.body, timeout=CALL_S))
            first = KINDS[call.path][1].FromString(call.answer)
            assert again.receipt.replayed, f"{call.path} of {call.who} was done again"
            for answer in (first, again):
                answer.receipt.replayed = False
                answer.receipt.durable_sequence = 0
                # A level is told as it is now, not as it was.
                if call.path == "Receive":
                    answer.ClearField("levels")
            assert again == first


def cut_off(calls: Sequence[Call]) -> int:
    """Calls whose try ended without a word: a server died under them."""
    return tries(calls)["UNAVAILABLE TRANSPORT"]
