"""Counts the instructions of one plain reserve and its allocate, and compares them with instructions.json.

So no feature makes the plain path dearer unseen. The commands are those of benchmark P1, executed by
`Ledger::execute_all` under callgrind, which counts exactly; the digest is not part of it. Seeds of hash tables differ
from run to run, which changes the count by less than 0.1 %. The figure belongs to one version of rustc: with another
one it is shown and not compared. `--write` stores a new figure.
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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIGURE = ROOT / "tools" / "instructions.json"
PAIRS = 20_000
LEVELS = 1_000
# More than this is a change that somebody has to want.
TOLERANCE = 0.03
BUILD = ("cargo", "build", "--release", "--quiet", "-p", "invengine-load", "--example", "ledger")


def instructions_per_pair() -> float:
    """The instructions of one reserve and its allocate."""
    subprocess.run([*BUILD, *(["--locked"] if os.environ.get("CI") else [])], cwd=ROOT, check=True)
    program = ROOT / "target" / "release" / "examples" / "ledger"
    with tempfile.TemporaryDirectory() as directory:
        out = f"--callgrind-out-file={directory}/out"
        command = ["valgrind", "--tool=callgrind", out, "--toggle-collect=*execute_all*", str(program)]
        counted = subprocess.run([*command, str(2 * PAIRS), str(LEVELS)], capture_output=True, text=True, check=True)
    if "checks passed" not in counted.stdout:
        raise SystemExit(f"the run was not correct: {counted.stdout}")
    collected = re.search(r"Collected : (\d+)", counted.stderr)
    if collected is None or int(collected.group(1)) == 0:
        raise SystemExit(f"callgrind counted nothing: {counted.stderr}")
    return int(collected.group(1)) / PAIRS


def main() -> int:
    """Compares, or stores the figure with `--write`."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--write", action="store_true", help="store the figure of this tree")
    write = arguments.parse_args().write
    if shutil.which("valgrind") is None:
        print("instructions: not counted, because valgrind is not installed (apt-get install valgrind)")
        return 1 if os.environ.get("CI") else 0
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    found = round(instructions_per_pair())
    if write:
        FIGURE.write_text(json.dumps({"rustc": rustc, "instructions_per_pair": found}, indent=2) + "\n")
    figure = json.loads(FIGURE.read_text())
    change = found / figure["instructions_per_pair"] - 1
    print(f"instructions: {found} for a reserve and its allocate, {change:+.1%} of {figure['instructions_per_pair']}")
    if rustc != figure["rustc"]:
        print(f"instructions: not compared, because the figure is for rustc {figure['rustc']} and this is {rustc}")
        return 0
    if change > TOLERANCE:
        print(f"instructions: more than {TOLERANCE:.0%} dearer; if that is worth it, run {Path(__file__).name} --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
