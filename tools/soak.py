"""Runs the long-run column of docs/RELIABILITY.md: `make soak MINUTES=60`, over as many runs as it takes.

Each stage has a goal and a share of the time. What was done is added up in target/soak.json, so that a run goes on
where the last one ended; then docs/RELIABILITY.md says what was tried and how often, and the output what is missing. A
stage that finds something wrong is written down as failed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.conformance.redis_server import redis_server  # noqa: E402
from tests.faults.house import house  # noqa: E402
from tests.faults.kills import Ledger  # noqa: E402
from tests.faults.limits import rss_bytes  # noqa: E402
from tests.faults.malformed import Sender, unwanted  # noqa: E402
from tests.faults.owners import take_over  # noqa: E402
from tests.faults.redis_server import programs  # noqa: E402
from tests.faults.tracing import injected  # noqa: E402

STATE = ROOT / "target" / "soak.json"
DOCUMENT = ROOT / "docs" / "RELIABILITY.md"
FIRST, LAST = "<!-- soak: written by `make soak` -->", "<!-- end of soak -->"

ROUNDS = 25
MESSAGES = 50_000
ZOMBIE_SLEEP_S = 60.0
RSS_GROWTH_MAX = 64 << 20
# Rust tests by stage: arguments of `cargo test`, and how much one pass of them counts.
EXHAUSTION = ("-p", "invengine-node", "--test", "journal_crash", "--test", "journal_damage")
ERRORS = ("-p", "invengine-node", "--test", "journal_faults")
FENCES = ("-p", "invengine-node", "--test", "journal_redis_faults", "a_zombie_is_refused_every_time")
FENCED_A_PASS = 1_000


@dataclass(frozen=True, slots=True)
class Stage:
    """One line of the table: what is tried, how often is enough, its part of the time, and how it is done."""

    name: str
    goal: int
    share: int
    run: Callable[[float], int]
    """Works for about so many seconds and gives how often it was done."""


class FoundError(Exception):
    """Something is wrong with what is tested."""


def kills(seconds: float) -> int:
    """SIGKILLs of a server on files, under load, judged by the auditor in blocks."""
    end, done = time.monotonic() + seconds, 0
    while done == 0 or time.monotonic() < end:
        seed = random.randrange(1 << 30)
        with tempfile.TemporaryDirectory() as room, house(Path(room), "--journal", "file") as place:
            place.start()
            place.furnish()
            ledger = Ledger(place, random.Random(seed))
            while (time.monotonic() < end and ledger.turn < 8) or ledger.turn == 0:
                ledger.play(ROUNDS, ledger.kill)
                done += ROUNDS
    return done


def sleepers(seconds: float) -> int:
    """Servers on Redis that sleep for a minute while another claims their ledger."""
    end, done = time.monotonic() + seconds, 0
    while done == 0 or time.monotonic() < end:
        program = list(programs().values())[done % len(programs())]
        with tempfile.TemporaryDirectory() as room, redis_server(program, Path(room) / "redis") as redis:
            flags = ("--journal", "redis", "--redis-url", redis.url)
            with house(Path(room) / "first", *flags) as first, house(Path(room) / "second", *flags) as second:
                first.start()
                first.furnish()
                asleep = take_over(first, second, ZOMBIE_SLEEP_S)
                if grpc.StatusCode.OK in asleep.reads + asleep.writes:
                    raise FoundError("a server answered after its ledger was claimed")
        done += 1
    return done


def messages(seconds: float) -> int:
    """Damaged messages: none may end the server, change anything, or make it grow."""
    end, done = time.monotonic() + seconds, 0
    with tempfile.TemporaryDirectory() as room, house(Path(room), "--journal", "file") as place:
        pid = place.start().process.pid
        before = place.digest()
        sender = Sender(place.address, random.randrange(1 << 30))
        sender.send(MESSAGES)
        rss, done = rss_bytes(pid), MESSAGES
        while time.monotonic() < end:
            sender.send(MESSAGES)
            done += MESSAGES
        sender.close()
        if unwanted(sender.answers) or place.digest() != before or rss_bytes(pid) - rss > RSS_GROWTH_MAX:
            raise FoundError(f"damaged messages: {sender.answers}, {rss} to {rss_bytes(pid)} bytes")
    return done


def failed_syncs(seconds: float) -> int:
    """Servers whose fdatasync fails under load, through strace, and that recover."""
    end, done = time.monotonic() + seconds, 0
    with tempfile.TemporaryDirectory() as room, house(Path(room), "--journal", "file") as place:
        place.start()
        place.furnish()
        ledger = Ledger(place, random.Random(done))

        def fail() -> None:
            with injected(place.running.process.pid, "fdatasync", "error=EIO"):
                place.running.process.wait(60)
            place.start()

        while done == 0 or time.monotonic() < end:
            ledger.play(5, fail)
            done += 5
    return done


def cargo_tests(arguments: tuple[str, ...], a_pass: int) -> Callable[[float], int]:
    """Passes of some Rust tests, one after the other."""

    def run(seconds: float) -> int:
        end, done = time.monotonic() + seconds, 0
        while done == 0 or time.monotonic() < end:
            output("cargo", "test", "--quiet", "--locked", *arguments)
            done += a_pass
        return done

    return run


def planted(_: float) -> int:
    """The bank of planted bugs."""
    found = re.search(r"planted bugs found: (\d+) of (\d+)", output(os.environ.get("MAKE", "make"), "mutants"))
    if found is None or found[1] != found[2]:
        raise FoundError("a planted bug was not found")
    return int(found[1])


def fuzzing(seconds: float) -> int:
    """Decoders under inputs that are steered by what earlier ones came to."""
    end, done, executions = time.monotonic() + seconds, 0, 1_000_000
    while done == 0 or time.monotonic() < end:
        seed = str(random.randrange(1 << 30))
        command = ("cargo", "run", "--quiet", "--release", "--locked", "-p", "invengine-fuzz", "--")
        targets = output(*command, "--executions", str(executions), "--seed", seed).strip().splitlines()
        done += executions * len(targets)
    return done


def output(*command: str) -> str:
    """What a program of the project prints; FoundError with its end if it fails."""
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        raise FoundError(f"{' '.join(command)}: {(done.stdout + done.stderr)[-1500:]}")
    return done.stdout


STAGES = (
    Stage("SIGKILLs of servers under load", 2_000, 8, kills),
    Stage("servers that slept 60 s and woke fenced", 10, 2, sleepers),
    Stage("damaged messages", 1_000_000, 2, messages),
    Stage("failed syncs under a whole server", 100, 2, failed_syncs),
    Stage("appends of old writers refused by Redis", 10_000, 1, cargo_tests(FENCES, FENCED_A_PASS)),
    Stage("passes of EIO, ENOSPC and short writes on each call", 50, 1, cargo_tests(ERRORS, 1)),
    Stage("passes of crash points, cuts, flipped bits, crashes in recovery", 3, 1, cargo_tests(EXHAUSTION, 1)),
    Stage("planted bugs found", 15, 2, planted),
    Stage("inputs of decoders", 100_000_000, 2, fuzzing),
)


def load() -> dict[str, dict[str, int | str]]:
    """The totals of all runs so far."""
    return json.loads(STATE.read_text(encoding="utf-8")) if STATE.exists() else {}


def play(stage: Stage, seconds: float, totals: dict[str, dict[str, int | str]]) -> bool:
    """Runs one stage, adds what it did, and says whether all was well."""
    line = totals.setdefault(stage.name, {"done": 0, "failed": 0, "last": ""})
    try:
        added = stage.run(seconds)
    except (FoundError, AssertionError, subprocess.SubprocessError) as error:
        line["failed"], line["last"] = int(line["failed"]) + 1, str(error)[:400]
        print(f"{stage.name}: FAILED: {error}", flush=True)
        return False
    line["done"] = int(line["done"]) + added
    print(f"{stage.name}: {added:,} more, {line['done']:,} of {stage.goal:,}", flush=True)
    return True


def table(totals: dict[str, dict[str, int | str]]) -> str:
    """The totals as Markdown."""
    rows = ["| what was tried | how often | goal of the long run | failed runs |", "|---|---|---|---|"]
    for stage in STAGES:
        line = totals.get(stage.name, {"done": 0, "failed": 0})
        rows.append(f"| {stage.name} | {line['done']:,} | {stage.goal:,} | {line['failed']} |")
    return "\n".join(rows)


def write_document(totals: dict[str, dict[str, int | str]]) -> None:
    """Puts the table into docs/RELIABILITY.md."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(FIRST)
    _, _, after = rest.partition(LAST)
    DOCUMENT.write_text(f"{before}{FIRST}\n{table(totals)}\n{LAST}{after}", encoding="utf-8")


def main() -> int:
    """Gives each stage that has not reached its goal its share of the time; 1 if any found something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long all stages together may take")
    parser.add_argument("--only", action="append", default=[], help="part of the name of a stage; may be repeated")
    asked = parser.parse_args()
    totals = load()
    open_stages = [stage for stage in STAGES if int(totals.get(stage.name, {}).get("done", 0)) < stage.goal]
    chosen = [stage for stage in open_stages if not asked.only or any(part in stage.name for part in asked.only)]
    shares = sum(stage.share for stage in chosen)
    well = True
    for stage in chosen:
        well &= play(stage, 60 * asked.minutes * stage.share / shares, totals)
        STATE.parent.mkdir(parents=True, exist_ok=True)
        STATE.write_text(json.dumps(totals, indent=1) + "\n", encoding="utf-8")
    write_document(totals)
    for stage in STAGES:
        missing = stage.goal - int(totals.get(stage.name, {}).get("done", 0))
        if missing > 0:
            print(f"missing: {missing:,} {stage.name}")
    return not well


if __name__ == "__main__":
    raise SystemExit(main())
