"""Injects faults with strace: system calls of a running process fail, or are slow."""

from __future__ import annotations

import selectors
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

ATTACH_S = 20.0


@contextmanager
def injected(pid: int, calls: str, fault: str) -> Iterator[None]:
    """Until the block ends, these system calls of a process have this fault: `error=EIO`, `delay_enter=500000`."""
    command = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]
    with subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.PIPE) as tracer:
        try:
            _wait_until_attached(tracer)
            yield
        finally:
            # SIGINT detaches it; a SIGKILL could kill the traced process too.
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=ATTACH_S)


def _wait_until_attached(tracer: subprocess.Popen[bytes]) -> None:
    assert tracer.stderr is not None
    with selectors.DefaultSelector() as selector:
        selector.register(tracer.stderr, selectors.EVENT_READ)
        end = time.monotonic() + ATTACH_S
        while time.monotonic() < end and selector.select(ATTACH_S):
            line = tracer.stderr.readline()
            if b"attached" in line:
                return
            assert line, "strace could not attach"
    raise AssertionError("strace did not attach")
