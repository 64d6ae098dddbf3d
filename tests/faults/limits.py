"""Reads and lowers the resources of a process from outside: memory, file descriptors, processor time."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SPINNERS = 8
# A frame may have 1 MiB, so a file that is only a little larger is full after some hundred events.
SMALL_FILES = {"INVENGINE_JOURNAL_FILE_BYTES": str((1 << 20) + (1 << 16))}


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES


def open_files(pid: int) -> int:
    """Number of open file descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextmanager
def few_files(pid: int, more: int) -> Iterator[None]:
    """Until the block ends, the process may open only `more` files more than it has open now."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_files(pid) + more, before[1]))
    try:
        yield
    finally:
        # It may have exited for lack of descriptors.
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@contextmanager
def starved() -> Iterator[None]:
    """Until the block ends, many other processes compete for every core."""
    spin = [sys.executable, "-c", "while True: pass"]
    spinners = [subprocess.Popen(spin) for _ in range(SPINNERS * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Callable[[str], None]]:
    """Mounts a file system of this size until the block ends; yields a function that enlarges it."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(path)], check=True)

    def grow(larger: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={larger}", str(path)], check=True)

    try:
        yield grow
    finally:
        subprocess.run(["umount", str(path)], check=True)
