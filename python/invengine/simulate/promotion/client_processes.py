"""The client processes as the coordinator sees them: started together, watched, and ended whatever happens."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from invengine.simulate.promotion.client_process import READY, ProcessSettings, run_client_process
from invengine.simulate.promotion.clock import SharedClock
from invengine.simulate.promotion.roles import Role
from invengine.simulate.promotion.tally import Tally

READY_WITHIN_S = 90.0
END_WITHIN_S = 10.0


class ClientProcessError(Exception):
    """A client process ended without its tally; its traceback is on stderr."""


class ClientProcesses:
    """One process for each role. Leaving the context ends those that still run."""

    def __init__(self, roles: Sequence[Role], process_settings: ProcessSettings, clock: SharedClock) -> None:
        context = multiprocessing.get_context("spawn")  # grpc does not survive a fork.
        self._processes: dict[Any, tuple[str, Any]] = {}
        self.tallies: dict[str, Tally] = {}
        for role in roles:
            mine, theirs = context.Pipe(duplex=False)
            process = context.Process(
                target=run_client_process, args=(role, process_settings, clock, theirs), name=role.name, daemon=True
            )
            process.start()
            theirs.close()  # Only the process holds its end: when it dies, reading here ends at once.
            self._processes[mine] = (role.name, process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for wire, (_, process) in self._processes.items():
            if kind is not None:
                process.terminate()
            process.join(END_WITHIN_S)
            if process.is_alive():
                process.kill()
                process.join()
            wire.close()

    @property
    def pids(self) -> list[int]:
        """The client processes."""
        return [process.pid for _, process in self._processes.values()]

    def wait_ready(self) -> None:
        """Returns when every process is connected and waits for the clock."""
        deadline = time.monotonic() + READY_WITHIN_S
        for wire, (name, _) in self._processes.items():
            if not wire.poll(max(0.0, deadline - time.monotonic())):
                raise ClientProcessError(f"the client process {name!r} was not ready within {READY_WITHIN_S:.0f} s")
            if _received(wire, name) != READY:
                raise ClientProcessError(f"the client process {name!r} sent an unexpected message")

    def poll(self, seconds: float) -> bool:
        """Receives tallies for at most this long; True once every role has sent its own."""
        waiting = {wire: name for wire, (name, _) in self._processes.items() if name not in self.tallies}
        for wire in wait(list(waiting), seconds):
            name = waiting[wire]
            self.tallies[name] = _received(wire, name)
        return len(self.tallies) == len(self._processes)


def _received(wire: Any, name: str) -> Any:
    with suppress(EOFError, OSError):
        assert isinstance(wire, Connection)
        return wire.recv()
    raise ClientProcessError(f"the client process {name!r} ended early: its error is above")
