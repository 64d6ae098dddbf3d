"""Counts the instructions and allocations of the plain paths, and compares the instructions with instructions.json.

So no feature makes a plain path dearer unseen. One is a reserve and its allocate by the ledger alone: the commands
are those of benchmark P1, executed by `Ledger::execute_all`; the digest is not part of it. The other is a reserve of
a batch of 1,000, from the bytes of the request to the bytes of the answer. callgrind counts exactly, but seeds of
hash tables differ from run to run, which changes the count by less than 0.1 %. The figures belong to one version of
rustc: with another one they are shown and not compared. `--door` counts the second path too, and `--write` stores new
figures of both.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "tools" / "instructions.json"
# More than this is a change that somebody has to want.
TOLERANCE = 0.03
ALLOCATIONS = {"malloc", "calloc", "realloc"}


@dataclass(frozen=True)
class Plain:
    """A plain path: the program that takes it, the function that is counted, and how often the path is taken."""

    name: str
    what: str
    crate: str
    example: str
    arguments: tuple[int, ...]
    function: str
    times: int


PAIRS = 20_000
BATCHES = 20
MEASURED = (
    Plain(
        name="instructions_per_pair",
        what="a reserve and its allocate",
        crate="load",
        example="ledger",
        arguments=(2 * PAIRS, 1_000),
        function="execute_all",
        times=PAIRS,
    ),
    Plain(
        name="instructions_per_batched_reserve",
        what="a reserve of a batch",
        crate="node",
        example="submit",
        arguments=(BATCHES,),
        function="submit_batch",
        times=1_000 * BATCHES,
    ),
)


def count(path: Plain) -> tuple[float, float]:
    """The instructions and the allocations of one such path."""
    build = ["cargo", "build", "--release", "--quiet", "-p", f"invengine-{path.crate}", "--example", path.example]
    subprocess.run([*build, *(["--locked"] if os.environ.get("CI") else [])], cwd=ROOT, check=True)
    program = ROOT / "target" / "release" / "examples" / path.example
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "out"
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", f"--toggle-collect=*{path.function}*"]
        command = [*tool, str(program), *map(str, path.arguments)]
        counted = subprocess.run(command, capture_output=True, text=True, check=True)
        profile = out.read_text(encoding="utf-8")
    if "checks passed" not in counted.stdout:
        raise SystemExit(f"the run was not correct: {counted.stdout}")
    collected = re.search(r"Collected : (\d+)", counted.stderr)
    if collected is None or int(collected.group(1)) == 0:
        raise SystemExit(f"callgrind counted nothing: {counted.stderr}")
    return int(collected.group(1)) / path.times, allocations(profile) / path.times


def allocations(profile: str) -> int:
    """The calls of the allocator in a profile, which names each function once and then only by its number."""
    names: dict[str, str] = {}
    calls = 0
    called = ""
    for line in profile.splitlines():
        if function := re.match(r"(c?)fn=\((\d+)\)(?: (.*))?", line):
            names.setdefault(function.group(2), function.group(3) or "")
            called = names[function.group(2)] if function.group(1) else ""
        elif line.startswith("calls=") and called in ALLOCATIONS:
            calls += int(line.removeprefix("calls=").split()[0])
    return calls


def main() -> int:
    """Compares, or stores the figures with `--write`."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--write", action="store_true", help="store the figures of this tree")
    arguments.add_argument(
        "--door", action="store_true", help="count the batched door too, which takes a release build"
    )
    chosen = arguments.parse_args()
    if shutil.which("valgrind") is None:
        print("instructions: not counted, because valgrind is not installed (apt-get install valgrind)")
        return 1 if os.environ.get("CI") else 0
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    found = {path: count(path) for path in (MEASURED if chosen.door or chosen.write else MEASURED[:1])}
    if chosen.write:
        stored = {"rustc": rustc, **{path.name: round(instructions) for path, (instructions, _) in found.items()}}
        FIGURES.write_text(json.dumps(stored, indent=2) + "\n")
    figures = json.loads(FIGURES.read_text())
    return max([compare(path, *counts, figures, rustc) for path, counts in found.items()])


def compare(path: Plain, instructions: float, allocated: float, figures: dict[str, int | str], rustc: str) -> int:
    """Shows the figures of a path; 1 if it has become dearer."""
    expected = int(figures[path.name])
    change = instructions / expected - 1
    counts = f"{instructions:.0f} and {allocated:.1f} allocations for {path.what}"
    print(f"instructions: {counts}, {change:+.1%} of {expected}")
    if rustc != figures["rustc"]:
        print(f"instructions: not compared, because the figure is for rustc {figures['rustc']} and this is {rustc}")
        return 0
    if change > TOLERANCE:
        print(f"instructions: more than {TOLERANCE:.0%} dearer; if that is worth it, run {Path(__file__).name} --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
