"""A real `invengine serve` in a process of its own: started, killed without warning, restarted, stopped in order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

READY_WITHIN_S = 120.0
END_WITHIN_S = 30.0
_POLL_S = 0.005


class ServerFailedError(Exception):
    """The server did not start or did not end well; the message names its log."""


class Server:
    """One server on a file journal. It keeps its address across restarts; leaving the context kills what still runs."""

    def __init__(self, work_directory: Path, *flags: str) -> None:
        self.directory = work_directory / "journal"
        self.address = "127.0.0.1:0"
        self.log = work_directory / "server.log"
        self._work_directory = work_directory
        self._flags = flags
        self._ready_file = work_directory / "server-ready.json"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._running().pid

    def start(self) -> dict[str, Any]:
        """Starts it and returns the facts of its ready file."""
        self._ready_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "invengine.cli", "serve", *self._arguments(), *self._flags]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._work_directory, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        ready = self._wait_ready()
        self.address = str(ready["address"])
        return ready

    def kill(self) -> None:
        """Ends it as a power cut would: SIGKILL, and nothing more is written."""
        process = self._running()
        process.kill()
        process.wait(END_WITHIN_S)

    def stop(self) -> None:
        """Lets it drain and end; raises unless it exits with 0."""
        process = self._running()
        process.terminate()
        try:
            code = process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailedError(f"the server did not end within {END_WITHIN_S:.0f} s: see {self.log}") from None
        if code != 0:
            raise ServerFailedError(f"the server ended with exit code {code}: see {self.log}")

    def _arguments(self) -> Sequence[str]:
        return (
            "--address",
            self.address,
            "--journal",
            "file",
            "--directory",
            str(self.directory.absolute()),
            "--metrics-address",
            "",
            "--ready-file",
            str(self._ready_file.absolute()),
        )

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("Condition failed: the server is started first")
        return self._process

    def _wait_ready(self) -> dict[str, Any]:
        process = self._running()
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(FileNotFoundError):
                ready: dict[str, Any] = json.loads(self._ready_file.read_text(encoding="utf-8"))
                return ready
            time.sleep(_POLL_S)
        if process.poll() is None:
            self.kill()
        last = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise ServerFailedError(f"the server did not start: {''.join(last)[:300]} (see {self.log})")


def environment() -> dict[str, str]:
    """The environment of this simulation's processes, without the settings of the person who runs it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("INVENGINE_")}
    package = str(Path(__file__).resolve().parents[2])
    own["PYTHONPATH"] = os.pathsep.join(entry for entry in (package, own.get("PYTHONPATH", "")) if entry)
    return own
