"""Runs the long stages of docs/RELIABILITY.md: `make soak MINUTES=60`, over as many runs as needed.

Each stage has a goal and a share of the time, and works in units of a minute or less. Every unit is added up in
docs/soak.json when it is done: a run continues where the last one ended, on whatever machine that was, and one that is
interrupted (Ctrl-C, SIGTERM) loses its current unit. At its end docs/RELIABILITY.md says what was tried and how
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

from tools.long_run import report  # noqa: E402
from tools.long_run import totals as totals_file  # noqa: E402
from tools.long_run.stages import STAGES, Stage  # noqa: E402
from tools.long_run.totals import Failure, Totals  # noqa: E402
from tools.long_run.units import UnitContext  # noqa: E402

KEPT = ROOT / "target" / "soak"
TOTALS = ROOT / "docs" / "soak.json"
DOCUMENT = ROOT / "docs" / "RELIABILITY.md"
FAILURES_MAX = 3
WHY_CHARACTERS = 600


class Interrupted(BaseException):
    """The run was interrupted."""


def play(stage: Stage, totals: Totals, seed: int) -> bool:
    """Runs one unit, adds up its result, and returns whether it passed."""
    with tempfile.TemporaryDirectory(prefix="invengine-soak-", ignore_cleanup_errors=True) as directory:
        context = UnitContext(seed, Path(directory), dict(totals.line(stage.name).facts))
        started = time.monotonic()
        try:
            done = stage.unit(context)
        except Exception as error:
            traceback.print_exc()
            failure = _failure(stage, context, error)
            totals.fail(stage.name, time.monotonic() - started, failure)
            print(f"{stage.name}: FAILED: {failure.why}\n  {failure.reproduce}\n  {failure.kept}", flush=True)
            return False
        took = time.monotonic() - started
    totals.add(stage.name, took, *done)
    line = totals.line(stage.name)
    lines = ", ".join(f"{count:,.0f} {name}" for name, count in done.done.items())
    print(f"{stage.name}: {lines} in {took:.0f} s; {line.done:,.0f} of {stage.goal:,}", flush=True)
    return True


def _failure(stage: Stage, context: UnitContext, error: Exception) -> Failure:
    """Records the failure, and keeps what the unit left for the investigation."""
    kept = KEPT / f"{stage.name}-{context.seed}"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(context.directory, kept, ignore_dangling_symlinks=True)
    why = _anywhere(" ".join(str(error).split()))[:WHY_CHARACTERS] or type(error).__name__
    reproduce = getattr(error, "reproduce", "") or f"make soak ARGS='--stage {stage.name} --seed {context.seed}'"
    return Failure(totals_file.commit(), context.seed, why, _anywhere(reproduce), _anywhere(str(kept)))


def _anywhere(text: str) -> str:
    """The text without the path of this tree: the totals are shared with other machines."""
    return text.replace(f"{ROOT}/", "")


def chosen(names: list[str], totals: Totals) -> list[Stage]:
    """The stages to work on: those that were named, or those that have not reached their goal and can be tried here."""
    if names:
        return [stage for stage in STAGES if stage.name in names]
    missing = [stage for stage in STAGES if totals.line(stage.name).done < stage.goal]
    return [stage for stage in missing if not stage.needs or shutil.which(stage.needs)]


def work(names: list[str], minutes: float, totals: Totals) -> bool:
    """Runs the next unit of the stage that is furthest below its share, until the time is up or all is done."""
    end, well = time.monotonic() + 60 * minutes, True
    spent: dict[str, float] = {}
    failures: dict[str, int] = {}
    while time.monotonic() < end:
        # A stage that fails again and again is not run any more.
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
    """Runs for the given minutes, writes the document, reports what is missing; 1 if any unit failed."""
    names = [stage.name for stage in STAGES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="for how long units are begun; 0 only tells")
    parser.add_argument("--stage", action="append", default=[], choices=names, help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, help="work one unit of the stage with this seed, and add up nothing")
    asked = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    if asked.seed is not None:
        return not all(play(stage, Totals(TOTALS), asked.seed) for stage in STAGES if stage.name in asked.stage)
    totals, well = totals_file.load(TOTALS), True
    try:
        well = work(asked.stage, asked.minutes, totals)
    except Interrupted:
        print("interrupted: everything but the last unit is added up", flush=True)
    report.write(DOCUMENT, totals, STAGES)
    print(report.closing_lines(totals, STAGES))
    return not well or bool(report.never(totals, STAGES))


if __name__ == "__main__":
    raise SystemExit(main())
