"""The stages of the long run: what each tests, its goal, its share of the time, and its unit of work."""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass

from tools.mutants import BUGS, LIMIT_SECONDS

from . import server_units
from .programs import THREADS, built, redis_environment, run, rust_tests, simulated
from .totals import FoundError
from .units import Unit, UnitContext, UnitResult

HOURS_A_UNIT = 40
RECOVERIES_A_UNIT = 20_000
SEEDS = 1 << 40
MINUTES_MAX = 10
BUGS_A_UNIT = 6
FUZZ_SECONDS = 4

# Arguments of `cargo test`.
EXHAUSTION = ("-p", "invengine-node", "--test", "journal", "--", "crash::", "damage::", "snapshots::")
ERRORS = ("-p", "invengine-node", "--test", "journal", "any_failing_call", "--", "--nocapture")
FENCES = ("-p", "invengine-node", "--test", "redis", "a_zombie_is_refused_every_time", "--", "--nocapture")


@dataclass(frozen=True, slots=True)
class Stage:
    """One line of the table."""

    name: str
    what: str
    goal: int
    share: int
    unit: Unit
    needs: str = ""
    """A program without which it cannot be tried."""


def hours(context: UnitContext) -> UnitResult:
    """Simulated hours of engines, disks, networks and clocks that fail."""
    return _simulate(context, "--hours", str(HOURS_A_UNIT))


def recoveries(context: UnitContext) -> UnitResult:
    """Simulated crashes, one after the other, and what is recovered afterwards."""
    return _simulate(context, "--short", "--recoveries", str(RECOVERIES_A_UNIT))


def _simulate(context: UnitContext, *asked: str) -> UnitResult:
    program = built("invengine-faults")
    first = context.rng.randrange(SEEDS)
    seeds = ("--seeds", f"{first}..{first + SEEDS}")
    limits = ("--minutes-max", str(MINUTES_MAX), "--threads", str(THREADS), "--json")
    (ended,) = run([program, *asked, *seeds, *limits])
    found = simulated(ended.output)
    if found.failed_seed is not None or ended.code > 1:
        short = "--short " if "--short" in asked else ""
        raise FoundError(found.why or ended.output[-500:], f"{program.name} {short}--seed {found.failed_seed}")
    return UnitResult({"hours": found.hours, "recoveries": found.recoveries}, found.faults)


def errors(context: UnitContext) -> UnitResult:
    """EIO, no space and short writes at each disk call of a run whose frames are drawn from the seed."""
    output = rust_tests(*ERRORS, environment={"INVENGINE_SEED": str(context.seed)})
    return _counted(output, "errors", r"runs with a failing call: (\d+)")


def fences(_: UnitContext) -> UnitResult:
    """Appends of writers whose journal another one has claimed, on every kind of Redis that is installed."""
    return _counted(rust_tests(*FENCES), "fences", r"appends of old writers refused: (\d+)")


def exhaustion(_: UnitContext) -> UnitResult:
    """Every crash point, every cut, every bit, every snapshot, three crashes deep."""
    tests = _counted(rust_tests(*EXHAUSTION), "tests", r"test result: ok\. (\d+) passed").done["tests"]
    return UnitResult({"exhaustion": 1}, Counter(tests=int(tests)))


def _counted(output: str, stage: str, pattern: str) -> UnitResult:
    counts = [int(count) for count in re.findall(pattern, output)]
    if not sum(counts):
        raise FoundError(f"the tests did not report their counts: {output[-300:]}")
    return UnitResult({stage: sum(counts)}, Counter())


def planted(context: UnitContext) -> UnitResult:
    """Some of the planted bugs that were not found yet."""
    left = [bug for bug in BUGS if not context.facts.get(bug)][:BUGS_A_UNIT]
    (ended,) = run([sys.executable, "tools/mutants.py", *left], environment=redis_environment())
    found = dict(re.findall(r"^(\w+): found by \S+ in ([\d.]+) s", ended.output, re.MULTILINE))
    late = [bug for bug, seconds in found.items() if float(seconds) > LIMIT_SECONDS]
    if set(found) != set(left) or late:
        missed = sorted(set(left) - set(found)) + late
        raise FoundError(f"not found: {missed}: {ended.output[-300:]}", f"make mutants ARGS='{' '.join(missed)}'")
    return UnitResult({"planted": len(found)}, Counter(found.keys()))


def fuzzing(context: UnitContext) -> UnitResult:
    """Everything that decodes bytes, with inputs that are guided by the coverage of earlier ones."""
    program = built("invengine-fuzz")
    seeds = [context.rng.randrange(1 << 60) for _ in range(THREADS)]
    commands = [(str(program), "--seconds", str(FUZZ_SECONDS), "--seed", str(seed)) for seed in seeds]
    ended = run(*commands)
    counts: Counter[str] = Counter()
    for one in ended:
        if one.code:
            raise FoundError(one.output[-1_500:], "add the line of digits above to the target's corpus")
        counts.update(
            {name: int(count) for name, count in re.findall(r"^(\w+): (\d+) executions", one.output, re.MULTILINE)}
        )
    return UnitResult({"fuzz": counts.total() - counts["calls"]}, counts)


STAGES = (
    Stage("hours", "simulated hours, no invariant broken", 5_000, 24, hours),
    Stage("recoveries", "simulated crashes and recoveries, nothing acknowledged lost", 500_000, 2, recoveries),
    Stage("kills", "SIGKILLs of servers and of Redis under load", 2_000, 16, server_units.kills),
    Stage("drains", "SIGTERMs under full load (I01)", 100, 1, server_units.drains),
    Stage("closings", "engines closed amid batches (G05)", 1_000, 1, server_units.closings),
    Stage(
        "sleepers",
        "servers that slept 60 s and woke to another owner (F05)",
        4,
        2,
        server_units.sleepers,
        "redis-server",
    ),
    Stage("fences", "appends of old writers, all refused by Redis", 10_000, 1, fences, "redis-server"),
    Stage("messages", "damaged messages: no crash, no UNKNOWN, flat memory", 1_000_000, 6, server_units.messages),
    Stage("errors", "runs with EIO, no space or a half write at some call", 1_000, 1, errors),
    Stage("disks", "servers whose disk failed under load, by strace", 50, 2, server_units.disks, "strace"),
    Stage(
        "exhaustion",
        "every crash point, every cut, every flipped bit, crashes in recovery three deep: all of them",
        1,
        1,
        exhaustion,
    ),
    Stage("planted", f"planted bugs, each found within {LIMIT_SECONDS} s", len(BUGS), 4, planted),
    Stage("fuzz", "inputs of decoders, no crash", 100_000_000, 3, fuzzing),
)
