"""Coordinates a run: a real server, client processes around it, SIGKILL in the middle, and the audit afterwards.

It gathers evidence and judges nothing; `findings` does that.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from invengine.cli.machine_load import Load
from invengine.client import Client, Digest, ServerDescription
from invengine.simulate.audit import Auditor
from invengine.simulate.promotion.answers import AnswerLog, denied, last_answers
from invengine.simulate.promotion.assumptions import Assumptions
from invengine.simulate.promotion.client_process import ProcessSettings
from invengine.simulate.promotion.client_processes import ClientProcesses
from invengine.simulate.promotion.clock import SharedClock
from invengine.simulate.promotion.event_counts import EventCounts
from invengine.simulate.promotion.fragmented import Fragmented, play
from invengine.simulate.promotion.opening import create_opening_state, steps_of
from invengine.simulate.promotion.roles import roles_of
from invengine.simulate.promotion.sales import Stream
from invengine.simulate.promotion.tally import Tally, total
from invengine.simulate.refold import Refold, refold
from invengine.simulate.server import Server, ServerFailedError

START_IN_S = 0.5
POLL_S = 0.1
REST_S = 0.5
LOOKS_MAX = 60
OTHER_FACTORS = (0.2, 0.5, 2.0)
"""Other factors for the intervals of the fragmented model, to show the effect of synchronising more or less often."""
CLOSING_S = 1800.0
"""Engine time after the stream's end at which the last orders are fulfilled, whatever their usual time."""

Bar = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Opens a progress bar with this title and total."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated and how. `directory` gets the journal, the logs and the clients' records of answers."""

    stream: Stream
    assumptions: Assumptions
    scale: float
    directory: Path
    kill_at_s: float
    """Second of the stream at which the server is killed."""


@dataclass(frozen=True, slots=True)
class Outage:
    """The server was killed and came back."""

    digest: Digest
    """Read just before the kill, at a durable sequence."""
    killed_at_s: float
    down_ms: float
    """From SIGKILL to the first answer."""
    recovered: ServerDescription
    """The server's own description after its restart."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that was measured and found."""

    plan: Plan
    tallies: dict[str, Tally]
    tally: Tally
    answers: int
    lost: tuple[str, ...]
    """Acknowledged answers that are missing from the journal or differ there."""
    outage: Outage
    digest: Digest
    """At the end."""
    at_outage: Refold
    at_end: Refold
    auditor: Auditor
    counts: EventCounts
    differences: tuple[str, ...]
    """Levels of the server that differ from those of the events."""
    fragmented: Fragmented
    oversold_by_factor: dict[float, int]
    """Oversold units of the fragmented model, by the factor of its intervals; 1 is as assumed."""
    epoch_ms: float
    """Engine time of second 0 of the stream."""
    played_s: float
    """On the wall clock, from second 0 of the stream to the last answer."""
    load: Load | None = None
    """The load of other programs meanwhile; None where it cannot be measured."""


def direct(plan: Plan, say: Callable[[str], None], bar: Bar) -> Evidence:
    """Runs the plan. `say` gets a line at every stage."""
    answers = _prepare(plan.directory)
    with Server(plan.directory, "--time-scale", f"{plan.scale:g}") as server:
        server.start()
        return _Coordinator(plan, server, answers, say, bar).direct()


def _prepare(directory: Path) -> Path:
    """Empties the directory of what an earlier run left."""
    answers = directory / "answers"
    for old in (directory / "journal", answers):
        shutil.rmtree(old, ignore_errors=True)
    (directory / "server.log").unlink(missing_ok=True)
    answers.mkdir(parents=True)
    return answers


class _Coordinator:
    """One run on a running server."""

    def __init__(self, plan: Plan, server: Server, answers: Path, say: Callable[[str], None], bar: Bar) -> None:
        self._plan = plan
        self._server = server
        self._answers = answers
        self._say = say
        self._bar = bar
        self._clock = SharedClock(plan.scale)

    def direct(self) -> Evidence:
        """Runs everything from the opening stock to the last finding."""
        plan = self._plan
        close_s = plan.stream.seconds + CLOSING_S
        process_settings = ProcessSettings(
            self._server.address, self._answers, plan.assumptions.messages, close_s, outages=1
        )
        with ClientProcesses(roles_of(plan.stream), process_settings, self._clock) as processes:
            with Client(self._server.address, actor="director", timeout_s=30.0) as client:
                self._open(client)
                processes.wait_ready()
                self._say(
                    f"{len(processes.pids)} client processes; "
                    f"engine time runs {plan.scale:g} times faster than the clock"
                )
                self._clock.start(client.server_info().engine_time, START_IN_S)
            began = time.monotonic() + START_IN_S
            outage = self._play(processes)
            played_s = time.monotonic() - began
        return self._audit(processes.tallies, outage, played_s)

    def _open(self, client: Client) -> None:
        stream = self._plan.stream
        self._say(f"creating the opening stock: {len(stream.opening):,} levels, {sum(stream.opening.values()):,} units")
        with AnswerLog(self._answers / "opening.jsonl") as log, self._bar("opening", steps_of(stream)) as step:
            create_opening_state(client, stream, log, step)

    def _play(self, processes: ClientProcesses) -> Outage:
        outage: Outage | None = None
        seconds = int(self._plan.stream.seconds)
        with self._bar("engine time, s", seconds) as step:
            shown = 0
            while not processes.poll(POLL_S) or outage is None:
                if outage is None and self._clock.now_s >= self._plan.kill_at_s:
                    outage = self._kill()
                now = min(max(0, int(self._clock.now_s)), seconds)
                step(now - shown)
                shown = now
        return outage

    def _kill(self) -> Outage:
        """Kills the server in mid-run, restarts it and sets the clock by it."""
        with Client(self._server.address) as client:
            digest = client.digest()
        killed_at = time.monotonic()
        self._server.kill()
        self._clock.stop()
        killed_at_s = self._clock.now_s
        self._server.start()
        with Client(self._server.address) as client:
            recovered = client.server_info()
        self._clock.resume(recovered.engine_time)
        down_ms = (time.monotonic() - killed_at) * 1000
        self._say(
            f"killed with SIGKILL just after sequence {digest.sequence:,}, back {down_ms:,.0f} ms later "
            f"({recovered.recovered_events:,} events recovered in {recovered.recovery_time_s * 1000:,.1f} ms)"
        )
        return Outage(digest, killed_at_s, down_ms, recovered)

    def _audit(self, tallies: dict[str, Tally], outage: Outage, played_s: float) -> Evidence:
        plan, tally = self._plan, total(tallies.values())
        auditor, counts, differences, digest = self._audit_events(tally)
        self._server.stop()
        answers = last_answers(self._answers.glob("*.jsonl"))
        accepted = [answer for answer in answers.values() if answer.accepted]
        self._say("the fragmented way: the same stream, every channel with its own copy of the stock")
        fragmented = play(plan.stream, plan.assumptions.copies)
        others = {clock: play(plan.stream, plan.assumptions.copies, clock).oversold_units for clock in OTHER_FACTORS}
        return Evidence(
            plan=plan,
            tallies=tallies,
            tally=tally,
            answers=len(accepted),
            lost=tuple(text for answer in accepted if (text := denied(answer, auditor.effects))),
            outage=outage,
            digest=digest,
            at_outage=refold(self._server.directory, outage.digest.sequence),
            at_end=refold(self._server.directory),
            auditor=auditor,
            counts=counts,
            differences=tuple(differences),
            fragmented=fragmented,
            oversold_by_factor={1.0: fragmented.oversold_units, **others},
            epoch_ms=self._clock.engine_ms(0.0),
            played_s=played_s,
        )

    def _audit_events(self, tally: Tally) -> tuple[Auditor, EventCounts, list[str], Digest]:
        """The auditor and the counts of every event, how the server's levels differ, and the digest at the end."""
        self._wait_for_last_holds()
        self._say("auditing: every level again from the events, every answer against the journal")
        flash_place = self._plan.stream.flash_place
        auditor = Auditor(history={flash_place, *(short.place for short in tally.short)})
        counts = EventCounts(flash_place)
        with Client(self._server.address, timeout_s=60.0) as client:
            digest = _at_rest(client)
            levels = list(client.list_levels())
            for event in client.read_events(1, limit=digest.sequence):
                auditor.take(event)
                counts.take(event)
        auditor.recount()
        return auditor, counts, auditor.differences(levels), digest

    def _wait_for_last_holds(self) -> None:
        """Returns when every abandoned hold has expired, so that the ledger is idle."""
        clock = self._clock
        over_s = clock.now_s + max((sale.hold_s for sale in self._plan.stream.sales), default=0.0)
        while (left_s := (over_s - clock.now_s) / clock.scale) > 0:
            time.sleep(left_s)


def _at_rest(client: Client) -> Digest:
    """The digest once the last expiry is written, which is so when it is the same twice, some time apart."""
    digest = client.digest()
    for _ in range(LOOKS_MAX):
        time.sleep(REST_S)
        before, digest = digest, client.digest()
        if before == digest:
            return digest
    raise ServerFailedError(f"the ledger does not become idle: it is at sequence {digest.sequence} and still changes")
