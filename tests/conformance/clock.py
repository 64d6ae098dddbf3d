"""Wall clocks that a test sets, with a preloaded library, and engines whose time does not pass.

The library moves only CLOCK_REALTIME, and only for the processes that load it, like a step of the machine's clock.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .own import journal_of
from .server import start_server
from .targets import EmbeddedTarget, ServerTarget, Target

STANDING = 1e-9
"""Engine time does not pass: an hour is 4 µs."""

COMPILERS = ("cc", "gcc", "clang")
_SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

/* What the file that WALL_CLOCK names says: whether the wall clock stands still, its time or its step in ms, and
   whether something keeps it right: 1 yes, 2 no, 0 as the machine says. */
static int64_t asked[3];

static int look(void) {
    const char *path = getenv("WALL_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    int whole = read(file, asked, sizeof asked) == sizeof asked;
    close(file);
    return whole;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    long ended = syscall(SYS_clock_gettime, clock, now);
    if (ended == 0 && clock == CLOCK_REALTIME && look()) {
        int64_t nanos = asked[1] * 1000000 + (asked[0] ? 0 : now->tv_sec * 1000000000 + now->tv_nsec);
        now->tv_sec = nanos / 1000000000;
        now->tv_nsec = nanos % 1000000000;
    }
    return (int)ended;
}

int adjtimex(struct timex *state) {
    long answer = syscall(SYS_adjtimex, state);
    if (look() && asked[2] != 0) {
        state->status = asked[2] == 1 ? state->status & ~STA_UNSYNC : state->status | STA_UNSYNC;
        answer = asked[2] == 1 ? TIME_OK : TIME_ERROR;
    }
    return (int)answer;
}
"""


class WallClock:
    """A wall clock for other processes; it may be moved while they run."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        source, self._library, self._file = directory / "clock.c", directory / "clock.so", directory / "time"
        source.write_text(_SOURCE, encoding="utf-8")
        compiler = next(found for name in COMPILERS if (found := shutil.which(name)))
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", self._library, source], check=True, timeout=60)
        self._said = (False, 0, 0)
        self.step(0)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to have this clock."""
        return {"LD_PRELOAD": str(self._library), "WALL_CLOCK": str(self._file)}

    def step(self, by_ms: int) -> None:
        """Moves the clock to this distance from the machine's, with which it runs on."""
        self._write(False, by_ms, self._said[2])

    def stand(self, at_ms: int) -> None:
        """Stops the clock at this time."""
        self._write(True, at_ms, self._said[2])

    def synchronised(self, keeps: bool) -> None:
        """Has the kernel say whether something keeps the clock right."""
        self._write(self._said[0], self._said[1], 1 if keeps else 2)

    def _write(self, stands: bool, value_ms: int, kept: int) -> None:
        self._said = (stands, value_ms, kept)
        new = self._file.with_suffix(".new")
        new.write_bytes(struct.pack("=qqq", stands, value_ms, kept))
        # Nobody reads one half of it.
        new.replace(self._file)


def start_with(clock: WallClock, kind: str, directory: Path, *flags: str) -> ServerTarget:
    """A server on the file journal in `directory` that has this wall clock."""
    place = ("--door", kind, "--journal", "file", "--directory", str(journal_of(directory)))
    return ServerTarget(kind, start_server(directory, *place, *flags, environment=clock.environment))


@contextmanager
def standing_at(moment_ms: int, kind: str, directory: Path) -> Iterator[Target]:
    """A target on the file journal in `directory` whose time does not pass, never before the end of the journal."""
    if kind == "embedded":
        directory.mkdir(parents=True, exist_ok=True)
        settings = {"journal": "file", "directory": str(journal_of(directory))}
        target: Target = EmbeddedTarget(**settings, wall_time_ms=moment_ms, time_scale=STANDING)
    else:
        clock = WallClock(directory / "clock")
        clock.stand(moment_ms)
        target = start_with(clock, kind, directory, "--time-scale", f"{STANDING:.9f}")
    try:
        yield target
    finally:
        target.close()
