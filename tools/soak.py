"""Runs the long column of docs/RELIABILITY.md: `make soak MINUTES=60`, over as many runs as it takes.

Each stage has a goal and a share of the time, and works in units of a minute or less. Every unit is added up in
docs/soak.json when it is done: a run goes on where the last one ended, on whatever machine that was, and one that is
interrupted (Ctrl-C, SIGTERM) loses the unit that it was at. At its end docs/RELIABILITY.md says what was tried and how
often. A unit that finds something is kept with its seed and everything that it left, and the exit code is 1; so it is
where the goals are reached and a class of faults never happened.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.long_run import report, tally  # noqa: E402
from tools.long_run.stages import STAGES, Stage  # noqa: E402
from tools.long_run.tally import Failure, Tally  # noqa: E402
from tools.long_run.units import Turn  # noqa: E402

KEPT = ROOT / "target" / "soak"
TOTALS = ROOT / "docs" / "soak.json"
DOCUMENT = ROOT / "docs" / "RELIABILITY.md"
FAILURES_MAX = 3
WHY_CHARACTERS = 600


class Interrupted(BaseException):
    """Somebody wants the run to end now."""


def play(stage: Stage, totals: Tally, seed: int) -> bool:
    """Works one unit, adds it up, and says whether all was well."""
    with tempfile.TemporaryDirectory(prefix="invengine-soak-", ignore_cleanup_errors=True) as room:
        turn = Turn(seed, Path(room), dict(totals.line(stage.name).facts))
        started = time.monotonic()
        try:
            done = stage.unit(turn)
        except Exception as error:
            traceback.print_exc()
            failure = _failure(stage, turn, error)
            totals.fail(stage.name, time.monotonic() - started, failure)
            print(f"{stage.name}: FAILED: {failure.why}\n  {failure.reproduce}\n  {failure.kept}", flush=True)
            return False
        took = time.monotonic() - started
    totals.add(stage.name, took, *done)
    line = totals.line(stage.name)
    told = ", ".join(f"{count:,.0f} {name}" for name, count in done.done.items())
    print(f"{stage.name}: {told} in {took:.0f} s; {line.done:,.0f} of {stage.goal:,}", flush=True)
    return True


def _failure(stage: Stage, turn: Turn, error: Exception) -> Failure:
    """What is written down, and what the unit left kept for whoever looks for the reason."""
    kept = KEPT / f"{stage.name}-{turn.seed}"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(turn.room, kept, ignore_dangling_symlinks=True)
    why = _anywhere(" ".join(str(error).split()))[:WHY_CHARACTERS] or type(error).__name__
    reproduce = getattr(error, "reproduce", "") or f"make soak ARGS='--stage {stage.name} --seed {turn.seed}'"
    return Failure(tally.commit(), turn.seed, why, _anywhere(reproduce), _anywhere(str(kept)))


def _anywhere(text: str) -> str:
    """The same without the place of this tree: the totals go with it to other machines."""
    return text.replace(f"{ROOT}/", "")


def chosen(names: list[str], totals: Tally) -> list[Stage]:
    """The stages to work on: those that were named, or those that have not reached their goal and can be tried here."""
    if names:
        return [stage for stage in STAGES if stage.name in names]
    missing = [stage for stage in STAGES if totals.line(stage.name).done < stage.goal]
    return [stage for stage in missing if not stage.needs or shutil.which(stage.needs)]


def work(names: list[str], minutes: float, totals: Tally) -> bool:
    """Gives the next unit to the stage that had the least of its share, until the time is over or all is done."""
    end, well = time.monotonic() + 60 * minutes, True
    spent: dict[str, float] = {}
    failures: dict[str, int] = {}
    while time.monotonic() < end:
        # What finds something again and again has said what it has to say.
        stages = [stage for stage in chosen(names, totals) if failures.get(stage.name, 0) < FAILURES_MAX]
        if not stages:
            break
        stage = min(stages, key=lambda stage: spent.get(stage.name, 0.0) / stage.share)
        started = time.monotonic()
        if not play(stage, totals, random.SystemRandom().randrange(1 << 32)):
            well = False
            failures[stage.name] = failures.get(stage.name, 0) + 1
        spent[stage.name] = spent.get(stage.name, 0.0) + time.monotonic() - started
        totals.save()
    return well


def _interrupt(_: int, __: FrameType | None) -> None:
    raise Interrupted


def main() -> int:
    """Works for the minutes, writes the document, tells what is missing; 1 if any unit found something."""
    names = [stage.name for stage in STAGES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="for how long units are begun; 0 only tells")
    parser.add_argument("--stage", action="append", default=[], choices=names, help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, help="work one unit of the stage with this seed, and add up nothing")
    asked = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    if asked.seed is not None:
        return not all(play(stage, Tally(TOTALS), asked.seed) for stage in STAGES if stage.name in asked.stage)
    totals, well = tally.load(TOTALS), True
    try:
        well = work(asked.stage, asked.minutes, totals)
    except Interrupted:
        print("interrupted: everything but the last unit is added up", flush=True)
    report.write(DOCUMENT, totals, STAGES)
    print(report.closing(totals, STAGES))
    return not well or bool(report.never(totals, STAGES))


if __name__ == "__main__":
    raise SystemExit(main())
