"""Server processes for tests."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import invengine

READY_WITHIN_S = 60.0
END_WITHIN_S = 30.0
STOPPED_WITHIN_S = 20.0


class Running(Protocol):
    """A process, as `subprocess.Popen` has it."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""

    def wait(self, timeout: float | None = None, /) -> int:
        """Its exit code, once it has ended; raises `subprocess.TimeoutExpired`."""

    def kill(self) -> None:
        """SIGKILL."""

    def terminate(self) -> None:
        """SIGTERM."""


@dataclass(slots=True)
class ServerProcess:
    """One running server. `address` is where it accepts calls."""

    process: Running
    address: str
    ready: dict[str, Any]
    log: Path

    def terminate(self) -> None:
        """Asks it to drain and end."""
        self.process.terminate()

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(END_WITHIN_S)

    def kill(self) -> None:
        """SIGKILL, like a power cut."""
        self.process.kill()
        self.process.wait(END_WITHIN_S)

    def pause(self) -> None:
        """SIGSTOP; none of its threads runs when this returns."""
        pause(self.process.pid)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Stops it and requires exit code 0."""
        if self.process.poll() is None:
            self.terminate()
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not end within {END_WITHIN_S:.0f} s:\n{self._tail()}") from None
        assert code == 0, f"the server ended with {code}:\n{self._tail()}"

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-40:])


def pause(pid: int) -> None:
    """Suspends a process, and waits until each of its threads is stopped.

    The signal stops the thread that receives it, and that thread the others. On a busy machine this takes a while, in
    which they would still send answers.
    """
    os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + STOPPED_WITHIN_S
    while not all(_is_stopped(thread) for thread in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < end, f"process {pid} is not stopped after {STOPPED_WITHIN_S:.0f} s"
        time.sleep(0.001)


def _is_stopped(thread: Path) -> bool:
    try:
        # The state follows the name, which is in parentheses and may have some itself.
        return (thread / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] in "TtXZ"
    except (FileNotFoundError, ProcessLookupError):
        return True


def start_server(
    directory: Path, *flags: str, environment: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
) -> ServerProcess:
    """Starts `invengine serve` on a free port, in its own directory, and waits until it accepts calls.

    `prefix` is a program that starts it, with its arguments.
    """
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "server.log"
    program = [*prefix, sys.executable, "-m", "invengine.cli"]
    command = [*program, "serve", "--address", "127.0.0.1:0", "--metrics-address", ""]
    with log.open("a", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [*command, *flags, "--json"],
            cwd=directory,
            env=server_environment(environment or {}),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    line = _first_line(process)
    if not line:
        process.kill()
        code = process.wait(END_WITHIN_S)
        raise AssertionError(f"the server was not ready (exit code {code}):\n{log.read_text(encoding='utf-8')}")
    ready = json.loads(line)
    return ServerProcess(process, ready["address"], ready, log)


def server_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of a server of the tests."""
    # The settings of the person who runs the tests must not affect them.
    own = {name: value for name, value in os.environ.items() if not name.startswith("INVENGINE_")}
    package = str(Path(invengine.__file__).resolve().parents[1])
    path = os.pathsep.join(entry for entry in (package, own.get("PYTHONPATH", "")) if entry)
    return {**own, "PYTHONPATH": path, **more}


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + READY_WITHIN_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if selector.select(0.2):
                return process.stdout.readline()
            if process.poll() is not None:
                return process.stdout.readline()
    return ""
