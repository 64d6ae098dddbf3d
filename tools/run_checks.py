"""Runs the checks of `make test` one after the other and ends with a summary of each runner's result.

Each argument is a make target. All of them run even if one fails, so that one run shows everything that is wrong.
Tests that need a program which is not installed are listed as not run; with CI=true that is an error.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Where the test runners record what they could not run: one line each.
NOT_RUN_VARIABLE = "INVENGINE_NOT_RUN"
# The line with which each runner ends its own work. Harnesses without a single test are left out.
CLOSING = re.compile(
    r"^test result: (?!ok\. 0 passed; 0 failed)|^=* ?(\d+ \w+, )*\d+ (passed|failed|errors?|deselected)\b.* in [\d.]+s"
    r"|^Success: |^Found \d+ error|^All checks passed|^\d+ files? already formatted|^make: \*\*\*"
)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(slots=True)
class Check:
    """One make target, its exit code and the last lines of its runners."""

    target: str
    code: int = 0
    seconds: float = 0.0
    closing: list[str] = field(default_factory=list)


def run(target: str, environment: dict[str, str]) -> Check:
    """Runs one target, passing its output on as it comes."""
    check = Check(target)
    print(f"\n── make {target}", flush=True)
    started = time.monotonic()
    command = [os.environ.get("MAKE", "make"), "--no-print-directory", target]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            plain = COLOUR.sub("", line).strip()
            if CLOSING.search(plain):
                check.closing.append(plain.strip("= "))
    check.code = process.returncode
    check.seconds = time.monotonic() - started
    return check


def summary(checks: list[Check], not_run: list[str]) -> str:
    """The result of every check, and at the end what was not run and why."""
    lines = ["", "── summary"]
    for check in checks:
        lines.append(f"{'passed' if check.code == 0 else 'FAILED'}  {check.target}  ({check.seconds:.0f} s)")
        lines += [f"          {line}" for line in check.closing]
    lines += [f"not run  {line}" for line in not_run] or ["not run  nothing: every test ran"]
    return "\n".join(lines)


def main(targets: list[str]) -> int:
    """Runs every target; 0 if all passed and, with CI=true, nothing was left out."""
    handle, path = tempfile.mkstemp(prefix="invengine-not-run-")
    os.close(handle)
    notes = Path(path)
    try:
        environment = {**os.environ, NOT_RUN_VARIABLE: path}
        checks = [run(target, environment) for target in targets]
        not_run = sorted(set(notes.read_text(encoding="utf-8").splitlines()))
    finally:
        notes.unlink()
    print(summary(checks, not_run), flush=True)
    failed = [check.target for check in checks if check.code]
    if failed:
        print(f"failed: {', '.join(failed)}")
        return 1
    if not_run and os.environ.get("CI") == "true":
        print("failed: with CI=true every test must run; install what is missing (.ci/run does)")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
