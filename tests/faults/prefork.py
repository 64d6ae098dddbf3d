"""Starts servers fast: each is forked from a process that has already loaded the modules.

The tests start servers as users do. The long run starts thousands, and most of a start is Python importing modules.
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

MODULES = ["__main__", "invengine.cli.app", "invengine.service.lifetime", "tests.faults.prefork"]


class ForkedServer:
    """A forked server."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
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


class Prefork:
    """Starts servers like `start_server` and `Popen`. One per process is enough."""

    def __init__(self) -> None:
        self._fork = multiprocessing.get_context("forkserver")
        # With "__main__": otherwise every server would run the main module again.
        self._fork.set_forkserver_preload(MODULES)

    def spawn(self, directory: Path, *flags: str, environment: Mapping[str, str]) -> ForkedServer:
        """Starts a server without waiting for it."""
        return self._fork_server(directory, ("--metrics-address", "", *flags), environment, None)

    def start(self, directory: Path, *flags: str, environment: Mapping[str, str] | None = None) -> ServerProcess:
        """Starts a server and waits until it accepts calls."""
        reader, writer = self._fork.Pipe(duplex=False)
        with reader:
            with writer:
                process = self._fork_server(
                    directory, ("--metrics-address", "", *flags, "--json"), environment or {}, writer
                )
            line = _first_line(reader)
        log = directory / "server.log"
        if not line.endswith(b"\n"):
            process.kill()
            raise AssertionError(f"the server was not ready (exit code {process.wait()}):\n{_tail(log)}")
        ready = json.loads(line)
        return ServerProcess(process, ready["address"], ready, log)

    def _fork_server(
        self, directory: Path, flags: tuple[str, ...], environment: Mapping[str, str], ready: Connection | None
    ) -> ForkedServer:
        process = self._fork.Process(target=_serve, args=(directory, flags, server_environment(environment), ready))
        process.start()
        return ForkedServer(process)


def _first_line(output: Connection) -> bytes:
    """The first line that the server itself prints, without messages of Python."""
    line = b""
    while not line.endswith(b"\n") and output.poll(READY_WITHIN_S):
        more = os.read(output.fileno(), 1 << 16)
        if not more:
            break
        line += more
    return line


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2_000:] if log.exists() else ""


def _serve(directory: Path, flags: tuple[str, ...], environment: Mapping[str, str], ready: Connection | None) -> None:
    """Turns the forked process into `invengine serve`."""
    from invengine.cli import main

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    log = os.open("server.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 2)
    os.dup2(log if ready is None else ready.fileno(), 1)
    os.close(log)
    sys.exit(main(["serve", *flags]))
