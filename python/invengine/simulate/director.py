"""Directs the weekend: a real server, client processes around it, SIGKILL in the middle, and the audit afterwards.

It gathers evidence and judges nothing; `findings` does that.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from invengine.client import Client, Digest, ServerDescription
from invengine.simulate.answers import AnswerLog, last_answers
from invengine.simulate.audit import Auditor, Question
from invengine.simulate.crew import Crew
from invengine.simulate.fragmented import Fragmented, play
from invengine.simulate.habits import Habits
from invengine.simulate.opening import open_shop, steps_of
from invengine.simulate.pace import Clock
from invengine.simulate.performer import Script
from invengine.simulate.refold import Refold, refold
from invengine.simulate.roles import roles_of
from invengine.simulate.sales import Stream
from invengine.simulate.server import Server
from invengine.simulate.tally import Tally, total

START_IN_S = 0.5
LOOK_S = 0.1
PACES = (0.2, 0.5, 1.0, 2.0)
"""How the intervals of the fragmented way are stretched, to show what synchronising more often would do."""
CLOSING_S = 1800.0
"""Engine time after the stream's end at which the last orders are fulfilled, whatever their usual time."""

Bar = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Opens a progress bar: what it is of, and its total."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is played and how. `room` is a directory for the journal, the logs and the clients' own memories."""

    stream: Stream
    habits: Habits
    scale: float
    room: Path
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
    """What the server said of itself first."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that was seen and found out."""

    plan: Plan
    tallies: dict[str, Tally]
    tally: Tally
    answers: int
    lost: tuple[str, ...]
    """Acknowledged answers that the journal does not have, or has otherwise."""
    outage: Outage
    digest: Digest
    """At the end."""
    at_outage: Refold
    at_end: Refold
    auditor: Auditor
    differences: tuple[str, ...]
    """Levels of the server that are not those of the events."""
    fragmented: Fragmented
    oversold_by_pace: dict[float, int]
    """Oversold units of the fragmented way, by how its intervals are stretched; 1 is as usual."""
    epoch_ms: float
    """Engine time of second 0 of the stream."""
    played_s: float
    """On the wall clock, from second 0 of the stream to the last answer."""


def direct(plan: Plan, say: Callable[[str], None], bar: Bar) -> Evidence:
    """Plays the plan. `say` gets a line at every stage."""
    answers = _prepare(plan.room)
    clock = Clock(plan.scale)
    with Server(plan.room, "--time-scale", f"{plan.scale:g}") as server:
        server.start()
        script = Script(server.address, answers, plan.habits.messages, plan.stream.seconds + CLOSING_S, outages=1)
        with Crew(roles_of(plan.stream), script, clock) as crew:
            say(f"opening the shop: {len(plan.stream.opening):,} levels, {sum(plan.stream.opening.values()):,} units")
            with Client(server.address, actor="director", timeout_s=30.0) as client:
                with AnswerLog(answers / "opening.jsonl") as log, bar("opening", steps_of(plan.stream)) as step:
                    open_shop(client, plan.stream, log, step)
                crew.wait_ready()
                say(f"{len(crew.pids)} client processes; engine time runs {plan.scale:g} times faster than the clock")
                clock.start(client.server_info().engine_time, START_IN_S)
            began = time.monotonic() + START_IN_S
            outage = _play(plan, clock, server, crew, say, bar)
            played_s = time.monotonic() - began
        return _audit(plan, clock, server, crew.tallies, outage, played_s, say)


def _prepare(room: Path) -> Path:
    """An empty room; what an earlier run left there goes."""
    answers = room / "answers"
    for directory in (room / "journal", answers):
        shutil.rmtree(directory, ignore_errors=True)
    (room / "server.log").unlink(missing_ok=True)
    answers.mkdir(parents=True)
    return answers


def _play(plan: Plan, clock: Clock, server: Server, crew: Crew, say: Callable[[str], None], bar: Bar) -> Outage:
    outage: Outage | None = None
    with bar("the weekend", int(plan.stream.seconds)) as step:
        shown = 0
        while not crew.poll(LOOK_S) or outage is None:
            if outage is None and clock.now_s >= plan.kill_at_s:
                outage = _kill(clock, server)
                say(f"killed with SIGKILL at sequence {outage.digest.sequence:,} and later, back {_took(outage)}")
            now = min(max(0, int(clock.now_s)), int(plan.stream.seconds))
            step(now - shown)
            shown = now
    return outage


def _took(outage: Outage) -> str:
    recovery_ms = outage.recovered.recovery_time_s * 1000
    return (
        f"{outage.down_ms:,.0f} ms later "
        f"({outage.recovered.recovered_events:,} events recovered in {recovery_ms:,.1f} ms)"
    )


def _kill(clock: Clock, server: Server) -> Outage:
    """Kills the server in the middle of everything, starts it again and sets the clock by it."""
    with Client(server.address) as client:
        digest = client.digest()
    killed_at = time.monotonic()
    server.kill()
    clock.stop()
    killed_at_s = clock.now_s
    server.start()
    with Client(server.address) as client:
        recovered = client.server_info()
    clock.go_on(recovered.engine_time)
    return Outage(digest, killed_at_s, (time.monotonic() - killed_at) * 1000, recovered)


def _audit(
    plan: Plan,
    clock: Clock,
    server: Server,
    tallies: dict[str, Tally],
    outage: Outage,
    played_s: float,
    say: Callable[[str], None],
) -> Evidence:
    tally = total(tallies.values())
    shorts = {Question(clock.engine_ms(short.at_s), short.place) for short in tally.short}
    auditor = Auditor(plan.stream.flash_place, shorts)
    with Client(server.address, timeout_s=60.0) as client:
        _wait_for_last_holds(plan, clock)
        say("auditing: every level again from the events, every answer against the journal")
        digest = client.digest()
        levels = list(client.list_levels())
        auditor.take_all(client.read_events(1, limit=digest.sequence))
    auditor.close()
    server.stop()
    say("the fragmented way: the same stream, every channel with its own copy of the stock")
    fragmented = play(plan.stream, plan.habits.copies)
    by_pace = {pace: play(plan.stream, plan.habits.copies, pace).oversold_units for pace in PACES if pace != 1.0}
    by_pace[1.0] = fragmented.oversold_units
    answers = last_answers((plan.room / "answers").glob("*.jsonl"))
    accepted = [answer for answer in answers.values() if answer.accepted]
    return Evidence(
        plan=plan,
        tallies=tallies,
        tally=tally,
        answers=len(accepted),
        lost=tuple(text for answer in accepted if (text := auditor.denies(answer))),
        outage=outage,
        digest=digest,
        at_outage=refold(server.directory, outage.digest.sequence),
        at_end=refold(server.directory),
        auditor=auditor,
        differences=tuple(auditor.differences(levels)),
        fragmented=fragmented,
        oversold_by_pace=by_pace,
        epoch_ms=clock.engine_ms(0.0),
        played_s=played_s,
    )


def _wait_for_last_holds(plan: Plan, clock: Clock) -> None:
    """Returns when whatever was abandoned has expired, so that the ledger is at rest."""
    over_s = clock.now_s + max((sale.hold_s for sale in plan.stream.sales), default=0.0) + 60.0
    while (left_s := (over_s - clock.now_s) / clock.scale) > 0:
        time.sleep(left_s)
