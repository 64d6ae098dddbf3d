"""Processes of shoppers: started, stopped, and the calls that they recorded."""

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
from .house import House
from .record import Call
from .shopper import Orders
from .testimony import Judge

ROOT = Path(__file__).resolve().parents[2]
STOP_S = 60.0


class Crew:
    """Some processes that ask at once."""

    def __init__(self, orders: Iterable[Orders]) -> None:
        self._orders = list(orders)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Sends them out."""
        package = str(Path(invengine.__file__).resolve().parents[1])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), package))}
        for orders in self._orders:
            command = [sys.executable, "-m", "tests.faults.shopper", json.dumps(asdict(orders))]
            self._processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE))

    def stop(self) -> list[Call]:
        """Lets them end what they asked and gives all that they recorded."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.close()
        codes = [process.wait(STOP_S) for process in self._processes]
        assert not any(codes), f"callers ended with {codes}"
        return [call for orders in self._orders for call in record.read(Path(orders.file))]

    def end(self) -> None:
        """Kills what still runs."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()


@contextmanager
def crew(orders: Iterable[Orders]) -> Iterator[Crew]:
    """Callers who are sent out at once; none is left afterwards."""
    found = Crew(orders)
    try:
        found.start()
        yield found
    finally:
        found.end()


def audit(place: House, calls: Sequence[Call], auditor: Auditor | None = None) -> tuple[Auditor, Judge]:
    """Reads the journal of a running server, judges the calls by it, and requires that nothing is wrong."""
    auditor = auditor or Auditor()
    judge = Judge(auditor)
    auditor.take_all(place.events(auditor.sequence))
    judge.hear(calls, place.reigns)
    # Holds may fall due between two reads. Left alone, the server and the books come to agree.
    wait_until("agreement of the levels with the events", lambda: _levels_agree(place, auditor))
    auditor.recount()
    assert auditor.findings == [], f"{auditor.finding_count} findings:\n" + "\n".join(auditor.findings)
    return auditor, judge


def _levels_agree(place: House, auditor: Auditor) -> bool:
    auditor.take_all(place.events(auditor.sequence))
    return auditor.differences(place.levels()) == []


def tries(calls: Iterable[Call]) -> Counter[str]:
    """How tries without an answer ended."""
    return Counter(ending for call in calls for ending in call.tries)
