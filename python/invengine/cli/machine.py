"""The resources of this machine for a server: clock, files and memory. What is unknown is None."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_STATUS_UNSYNCHRONISED = 0x40
_STATE_ERROR = 5


class _ClockState(ctypes.Structure):
    """`struct timex` of Linux, as far as it is read here."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("error_max_us", ctypes.c_long),
        ("error_us", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 512),
    )


def machine_facts() -> dict[str, Any]:
    """Returns clock, open files and memory, as plain values."""
    synchronised, error_ms = clock_state()
    return {
        "now_ms": time.time_ns() // 1_000_000,
        "clock_synchronised": synchronised,
        "clock_error_ms": error_ms,
        "files_max": open_files_max(),
        "memory_bytes": memory_bytes(),
    }


def clock_state() -> tuple[bool | None, int | None]:
    """Returns whether the clock is synchronised, and its maximum error in milliseconds."""
    state = _ClockState()
    try:
        # With no modes set it only reads.
        found = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(state))
    except (AttributeError, OSError):
        return None, None
    if found < 0:
        return None, None
    synchronised = found != _STATE_ERROR and not state.status & _STATUS_UNSYNCHRONISED
    return synchronised, state.error_max_us // 1000


def open_files_max() -> int | None:
    """Returns how many files this process may have open."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def memory_bytes(root: Path = Path("/")) -> int | None:
    """Returns the memory that this process may use: that of the machine, or the limit of its control group."""
    try:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
    return min([machine, *_group_limits(root)])


def _group_limits(root: Path) -> Iterator[int]:
    """Yields the limits of the control group and its ancestors, of both versions."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    groups = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if not controllers:
            places = [(groups, "memory.max"), (groups / "unified", "memory.max")]
        elif "memory" in controllers.split(","):
            places = [(groups / "memory", "memory.limit_in_bytes")]
        else:
            continue
        for top, file in places:
            path = Path(name.lstrip("/"))
            for group in (path, *path.parents):
                yield from _number_in(top / group / file)


def _number_in(path: Path) -> Iterator[int]:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return
    if text.isdecimal():
        yield int(text)
