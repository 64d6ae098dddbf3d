"""Processes of callers: starts and stops them, and returns the calls that they recorded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import invengine
from invengine.simulate.audit import Auditor

from ..conformance.redis_server import wait_until
from . import record
from .caller_process import CallerConfig
from .history_checker import HistoryChecker
from .record import Call
from .server_fixture import ServerFixture

ROOT = Path(__file__).resolve().parents[2]
STOP_S = 60.0


class Workers:
    """Processes that call at the same time."""

    def __init__(self, configs: Iterable[CallerConfig]) -> None:
        self._configs = list(configs)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Starts the processes."""
        package = str(Path(invengine.__file__).resolve().parents[1])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), package))}
        for config in self._configs:
            command = [sys.executable, "-m", "tests.faults.caller_process", json.dumps(asdict(config))]
            self._processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE))

    def stop(self) -> list[Call]:
        """Lets the processes finish their calls and returns everything that they recorded."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.close()
        codes = [process.wait(STOP_S) for process in self._processes]
        assert not any(codes), f"callers ended with {codes}"
        return [call for config in self._configs for call in record.read(Path(config.file))]

    def end(self) -> None:
        """Kills the processes that are still running."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()


@contextmanager
def workers(configs: Iterable[CallerConfig]) -> Iterator[Workers]:
    """Starts the processes together; none is left afterwards."""
    processes = Workers(configs)
    try:
        processes.start()
        yield processes
    finally:
        processes.end()


def audit(
    server: ServerFixture, calls: Sequence[Call], auditor: Auditor | None = None
) -> tuple[Auditor, HistoryChecker]:
    """Reads the journal of a running server, checks the calls against it, and requires that there are no findings."""
    auditor = auditor or Auditor()
    checker = HistoryChecker(auditor)
    auditor.take_all(server.events(auditor.sequence))
    checker.check(calls, server.incarnations)
    # Holds may expire between two reads. Without further calls, the server and the auditor come to agree.
    wait_until("agreement of the levels with the events", lambda: _levels_agree(server, auditor))
    auditor.recount()
    assert auditor.findings == [], f"{auditor.finding_count} findings:\n" + "\n".join(auditor.findings)
    return auditor, checker


def _levels_agree(server: ServerFixture, auditor: Auditor) -> bool:
    auditor.take_all(server.events(auditor.sequence))
    return auditor.differences(server.levels()) == []


def tries(calls: Iterable[Call]) -> Counter[str]:
    """Counts how attempts without an answer ended."""
    return Counter(ending for call in calls for ending in call.tries)
