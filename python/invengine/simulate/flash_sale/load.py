"""The load generator in a process of its own: JSON in, JSON out, and its steps while it runs.

`python -m invengine.simulate.flash_sale.load` reads a `Spec` of rust/load from standard input and prints its `Report`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from invengine.simulate.server import environment

POLL_S = 0.1
END_WITHIN_S = 120.0
"""In addition to the time that the spec itself takes."""


class LoadFailedError(Exception):
    """The load generator could not run; the message is that of the generator."""


def run_load(spec: Mapping[str, Any], on_step: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
    """Runs a spec and returns its report. `on_step` gets each step of the timeline soon after its end."""
    with tempfile.TemporaryDirectory(prefix="invengine-load-") as directory:
        steps = Path(directory) / "steps.jsonl"
        steps.touch()
        whole = {**spec, "progress_file": str(steps)} if on_step is not None else dict(spec)
        with (Path(directory) / "report.json").open("w+b") as out, (Path(directory) / "error").open("w+b") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "invengine.simulate.flash_sale.load"],
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
            )
            try:
                _feed(process, whole)
                _wait(process, steps, on_step, _seconds(spec) + END_WITHIN_S)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            if process.returncode != 0:
                raise LoadFailedError(_last_line(err) or f"the load generator ended with {process.returncode}")
            out.seek(0)
            report: dict[str, Any] = json.loads(out.read())
            return report


def _feed(process: subprocess.Popen[bytes], spec: Mapping[str, Any]) -> None:
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(json.dumps(spec).encode())


def _wait(
    process: subprocess.Popen[bytes], steps: Path, on_step: Callable[[dict[str, Any]], None] | None, seconds: float
) -> None:
    deadline = time.monotonic() + seconds
    with steps.open(encoding="utf-8") as file:
        rest = ""
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_S)
            *lines, rest = (rest + file.read()).split("\n")
            for line in lines:
                if on_step is not None:
                    on_step(json.loads(line))


def _seconds(spec: Mapping[str, Any]) -> float:
    phases = (spec.get("pace") or {}).get("phases", [])
    run_ms = sum(phase["ms"] for phase in phases) if phases else spec.get("duration_ms", 1_000)
    return float(run_ms + spec.get("drain_ms", 10_000)) / 1000


def _last_line(file: IO[bytes]) -> str:
    file.seek(0)
    lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def main() -> None:
    """The load process itself."""
    from invengine import _core

    print(_core.load_run(sys.stdin.read()))


if __name__ == "__main__":
    main()
