"""Servers that start fast: forked from a process that has loaded the modules, so that each pays only for its own start.

The tests start servers as people do. The long run starts thousands, and most of a start is Python reading its files.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from ..conformance.server import READY_WITHIN_S, ServerProcess, server_environment

MODULES = ["__main__", "invengine.cli.app", "invengine.service.lifetime", "tests.faults.nursery"]


class Nursling:
    """A forked server."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None, /) -> int:
        """Its exit code, once it has ended; raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("invengine serve", timeout or 0.0)
        return self._process.exitcode

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()


class Nursery:
    """Starts servers as `start_server` and `Popen` would. One for a whole process is enough."""

    def __init__(self) -> None:
        self._fork = multiprocessing.get_context("forkserver")
        # With "__main__": else every server would run the program's first lines again.
        self._fork.set_forkserver_preload(MODULES)

    def spawn(self, room: Path, *flags: str, environment: Mapping[str, str]) -> Nursling:
        """A server that nobody waits for."""
        return self._begin(room, ("--metrics-address", "", *flags), environment, None)

    def start(self, room: Path, *flags: str, environment: Mapping[str, str] | None = None) -> ServerProcess:
        """A server that takes calls."""
        ours, theirs = self._fork.Pipe(duplex=False)
        with ours:
            with theirs:
                process = self._begin(room, ("--metrics-address", "", *flags, "--json"), environment or {}, theirs)
            line = _first_line(ours)
        log = room / "server.log"
        if not line.endswith(b"\n"):
            process.kill()
            raise AssertionError(f"the server was not ready (exit code {process.wait()}):\n{_end(log)}")
        ready = json.loads(line)
        return ServerProcess(process, ready["address"], ready, log)

    def _begin(
        self, room: Path, flags: tuple[str, ...], environment: Mapping[str, str], ready: Connection | None
    ) -> Nursling:
        process = self._fork.Process(target=_serve, args=(room, flags, server_environment(environment), ready))
        process.start()
        return Nursling(process)


def _first_line(output: Connection) -> bytes:
    """What the server itself prints, no message of Python's."""
    line = b""
    while not line.endswith(b"\n") and output.poll(READY_WITHIN_S):
        more = os.read(output.fileno(), 1 << 16)
        if not more:
            break
        line += more
    return line


def _end(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2_000:] if log.exists() else ""


def _serve(room: Path, flags: tuple[str, ...], environment: Mapping[str, str], ready: Connection | None) -> None:
    """What a forked server does: it becomes `invengine serve`."""
    from invengine.cli import main

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(room)
    log = os.open("server.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 2)
    os.dup2(log if ready is None else ready.fileno(), 1)
    os.close(log)
    sys.exit(main(["serve", *flags]))
