"""The project's own programs, each in a group of its own, so that an interrupted run leaves none of them behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.faults.redis_server import programs as redis_programs

from .totals import ROOT, FoundError

THREADS = os.cpu_count() or 1
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# As fast as a release, built in a part of the time.
PROFILE = "simulate"


class Ended(NamedTuple):
    """The exit code and output of a program."""

    code: int
    output: str


def run(*commands: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> list[Ended]:
    """Runs programs side by side and waits for all of them."""
    inherited = {**os.environ, **(environment or {})}
    running: list[subprocess.Popen[str]] = []
    try:
        running.extend(_started(command, inherited) for command in commands)
        outputs = [process.communicate()[0] for process in running]
        return [Ended(process.returncode, output) for process, output in zip(running, outputs, strict=True)]
    finally:
        for process in running:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _started(command: Sequence[str | Path], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def passed(*command: str | Path, environment: Mapping[str, str] | None = None) -> str:
    """The output of a program; raises FoundError with its end if it fails."""
    (ended,) = run(command, environment=environment)
    if ended.code:
        shown = " ".join(str(word) for word in command)
        settings = "".join(f"{name}={value} " for name, value in (environment or {}).items())
        raise FoundError(f"exit code {ended.code}: {ended.output[-500:]}", f"{settings}{shown}")
    return ended.output


@cache
def built(package: str) -> Path:
    """A program of the workspace."""
    passed("cargo", "build", "--quiet", "--locked", "--profile", PROFILE, "-p", package)
    return TARGET / PROFILE / package


def redis_environment() -> dict[str, str]:
    """Where the Rust tests find each kind of Redis that is installed."""
    return {f"INVENGINE_{name.upper()}_SERVER": path for name, path in redis_programs().items()}


def rust_tests(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """One pass of Rust tests."""
    return passed("cargo", "test", "--locked", *arguments, environment={**redis_environment(), **(environment or {})})


class Simulated(NamedTuple):
    """The result of a run of the fault simulator."""

    hours: float
    recoveries: int
    faults: Counter[str]
    """How often each class of faults happened; 0 for those that never did."""
    failed_seed: int | None
    why: str


def simulated(output: str) -> Simulated:
    """Parses the closing lines of the fault simulator; raises FoundError if they are missing."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            return _from_json(json.loads(line), output)
    hours = re.search(r"^simulated hours: ([\d.]+)", output, re.MULTILINE)
    recoveries = re.search(r"^crash-recoveries: (\d+)", output, re.MULTILINE)
    if hours is None or recoveries is None:
        raise FoundError(f"the simulator did not finish: {output[-500:]}")
    faults = Counter({name: int(count) for name, count in re.findall(r"(\w+) (\d+)", _line(output, "faults: "))})
    faults.update(dict.fromkeys(_line(output, "FAILED: these never happened: ").split(", "), 0))
    del faults[""]
    return Simulated(float(hours[1]), int(recoveries[1]), faults, *_failed(output))


def _from_json(report: dict[str, object], output: str) -> Simulated:
    # Marks are rare branches of the engine: like a class of faults, each must have been hit.
    counts: Counter[str] = Counter()
    for part in (report.get("faults"), report.get("marks")):
        counts.update({str(name): int(count) for name, count in part.items()} if isinstance(part, dict) else {})
    hours, recoveries = (float(str(report.get(name, 0))) for name in ("hours", "recoveries"))
    return Simulated(hours, int(recoveries), counts, *_failed(output))


def _failed(output: str) -> tuple[int | None, str]:
    found = re.search(r"^FAILED seed (\d+): (.*)", output, re.MULTILINE)
    return (int(found[1]), found[2]) if found else (None, "")


def _line(output: str, start: str) -> str:
    return next((line[len(start) :] for line in output.splitlines() if line.startswith(start)), "")
