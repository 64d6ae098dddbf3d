"""What a process may use, read and lowered from outside: memory, file descriptors, turns on the processor."""

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
# A frame may have 1 MiB, so that a file of little more is full after some hundred events.
SMALL_FILES = {"INVENGINE_JOURNAL_FILE_BYTES": str((1 << 20) + (1 << 16))}


def rss_bytes(pid: int) -> int:
    """Memory that a process really holds."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES


def open_files(pid: int) -> int:
    """File descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextmanager
def few_files(pid: int, more: int) -> Iterator[None]:
    """Until the block ends the process may open only a few files more than it has now."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_files(pid) + more, before[1]))
    try:
        yield
    finally:
        # It may have ended for want of them.
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@contextmanager
def starved() -> Iterator[None]:
    """Until the block ends others want every core, many of them for each."""
    spin = [sys.executable, "-c", "while True: pass"]
    spinners = [subprocess.Popen(spin) for _ in range(SPINNERS * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Callable[[str], None]]:
    """Until the block ends there is a file system of this size at a place; gives what makes it larger."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)], check=True)

    def grow(larger: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={larger}", str(place)], check=True)

    try:
        yield grow
    finally:
        subprocess.run(["umount", str(place)], check=True)
