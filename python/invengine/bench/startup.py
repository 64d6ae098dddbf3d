"""C1: how long a command takes from start to end, next to an interpreter that does nothing."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

from invengine.bench import figures, machine
from invengine.bench.checks import check_and_end, require
from invengine.bench.figures import Figure, figure
from invengine.bench.rounds import Plan, Sample, interleaved, values
from invengine.bench.server import serving
from invengine.client import Client, Item, Location

TIMEOUT_S = 60.0


def commands(plan: Plan) -> list[Figure]:
    """C1: `--version`, `--help` and `availability` against a server, each as a process of its own.

    As where invengine is installed every module is compiled beforehand; in a source tree it may not be.
    """
    with serving(plan, "startup") as server, tempfile.TemporaryDirectory() as compiled:
        with Client(server.address) as client:
            client.upsert_items([Item("MUG")])
            client.upsert_locations([Location("berlin")])
            client.receive([("MUG", "berlin", 1)])
        lines = {
            "python": ["-c", "pass"],
            "version": ["-m", "invengine.cli", "--version"],
            "help": ["-m", "invengine.cli", "--help"],
            "availability": ["-m", "invengine.cli", "availability", "MUG", "--target", server.address],
        }
        environment = {**machine.environment(), "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        runs = {name: _timed(plan, name, line, environment) for name, line in lines.items()}
        for compile_all in runs.values():
            compile_all()
        found = interleaved(plan, runs)
        check_and_end("C1", server)
    return [figure(f"C1.{name}_ms", figures.MS, values(samples)) for name, samples in found.items()]


def _timed(plan: Plan, name: str, line: Sequence[str], environment: Mapping[str, str]) -> Callable[[], Sample]:
    def run() -> Sample:
        with machine.pinned(plan.cores.load):
            began = time.perf_counter()
            ended = subprocess.run(
                [sys.executable, *line], env=environment, capture_output=True, timeout=TIMEOUT_S, check=False
            )
            took_ms = (time.perf_counter() - began) * 1000
        output = ended.stderr.decode("utf-8", "replace").strip()
        require("C1", [f"{name} ended with {ended.returncode}: {output}"] if ended.returncode else [])
        return Sample(took_ms)

    return run
