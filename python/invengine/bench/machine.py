"""The cores that servers and callers are pinned to, and programs that run on one of them until a block ends."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from invengine.cli.exits import UsageProblemError
from invengine.simulate.server import environment as environment

READY_WITHIN_S = 60.0
END_WITHIN_S = 120.0
TAIL_LINES = 20


@dataclass(frozen=True, slots=True)
class Cores:
    """One core for what is measured, another for its callers."""

    server: int
    load: int


class ProgramError(Exception):
    """A program of a benchmark failed; the message has the end of its output."""


def cores() -> Cores:
    """The first and the last core that this process may use. Raises UsageProblemError if there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise UsageProblemError("a benchmark needs two cores: one for the server, one for its callers")
    return Cores(allowed[0], allowed[-1])


@dataclass(slots=True)
class Program:
    """A running program. What it writes to stderr is in `log`."""

    process: subprocess.Popen[bytes]
    name: str
    log: Path
    unread: bytes = b""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def line(self, part: str = "") -> str:
        """The next line of its stdout that contains `part`. Raises ProgramError if it ends or stays silent."""
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            text, newline, rest = self.unread.partition(b"\n")
            if newline:
                self.unread = rest
                if part in text.decode("utf-8", "replace"):
                    return text.decode("utf-8", "replace").strip()
            elif not self._read(deadline):
                raise ProgramError(f"{self.name} was not ready: {self.tail()}")

    def _read(self, deadline: float) -> bool:
        """Reads available output, waiting for it until the deadline. False if there is none any more."""
        out = self.process.stdout
        if out is None:
            raise ProgramError(f"{self.name} has no output to read")
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return False
        found = os.read(out.fileno(), 65_536)
        self.unread += found
        return bool(found)

    def end(self) -> None:
        """Asks it to end and waits. Raises ProgramError if it does not, or fails."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise ProgramError(f"{self.name} did not end within {END_WITHIN_S:.0f} s: {self.tail()}") from None
        if code != 0:
            raise ProgramError(f"{self.name} ended with {code}: {self.tail()}")

    def tail(self) -> str:
        """The last lines of its stderr."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return " | ".join(lines[-TAIL_LINES:]) or "no output"


@contextmanager
def running(name: str, command: Sequence[str], core: int, directory: Path) -> Iterator[Program]:
    """A program pinned to a core, with stdin open; killed at the end of the block if it still runs."""
    log = directory / f"{name}.log"
    with log.open("a", encoding="utf-8") as errors, pinned(core):
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    with process:
        try:
            yield Program(process, name, log)
        finally:
            if process.poll() is None:
                process.kill()


def answer_of(name: str, command: Sequence[str], core: int | None, text: str, timeout_s: float) -> str:
    """What a program, on a core or on all, answers on stdout to `text` on stdin. Raises ProgramError if it fails."""
    with nullcontext() if core is None else pinned(core):
        process = subprocess.Popen(
            command,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    with process:
        try:
            out, errors = process.communicate(text, timeout_s)
        except subprocess.TimeoutExpired:
            raise ProgramError(f"{name} did not end within {timeout_s:.0f} s") from None
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode != 0:
        output = " | ".join(errors.splitlines()[-TAIL_LINES:])
        raise ProgramError(f"{name} ended with {process.returncode}: {output or 'it output nothing'}")
    return out


def worker(kind: str) -> list[str]:
    """The command line of one of our own callers, which runs in a process of its own."""
    return [sys.executable, "-m", "invengine.bench.worker", kind]


def memory_available() -> int:
    """Bytes that programs can still take without anything being swapped out."""
    facts = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    return 1024 * int(facts["MemAvailable"].split()[0])


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """This thread on one core; programs that it starts meanwhile stay there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
