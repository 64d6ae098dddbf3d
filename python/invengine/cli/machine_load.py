"""Measures how much of this machine other programs used during a measurement: on a busy one, speed means nothing."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OTHERS_MAX = 0.15
"""Share of the cores that others may use before a figure of speed means nothing."""
BEFORE_S = 0.5
_PROC_STAT = Path("/proc/stat")
_clock = time.monotonic
# Fields of the line `cpu` of /proc/stat, in ticks.
_USER, _NICE, _SYSTEM, _STEAL = 0, 1, 2, 7


@dataclass(frozen=True, slots=True)
class Load:
    """The use by others, as shares of all cores over the measured time."""

    cores: int
    others_share: float
    """Other programs of this machine."""
    steal_share: float
    """Other guests of the host that this machine runs on."""

    @property
    def quiet(self) -> bool:
        """True if figures of speed are meaningful."""
        return self.others_share + self.steal_share <= OTHERS_MAX

    def __str__(self) -> str:
        took = f"other programs took {self.others_share:.0%} of its {self.cores} cores"
        return f"{took}, its host {self.steal_share:.0%}; at most {OTHERS_MAX:.0%} together leave speed to be judged"

    def as_json(self) -> dict[str, Any]:
        """Returns the facts for a report."""
        return {
            "quiet": self.quiet,
            "others_share": round(self.others_share, 3),
            "steal_share": round(self.steal_share, 3),
            "cores": self.cores,
        }


@dataclass(frozen=True, slots=True)
class _Ticks:
    busy: int
    steal: int
    own_s: float
    at_s: float


class Watch:
    """Measures from its creation on. Programs that this process starts count as its own once they have ended."""

    def __init__(self) -> None:
        self._began = _ticks()

    def load(self, *, own: bool = True) -> Load | None:
        """Returns the use by others until now; None if unknown. Without `own` everything counts as that of others."""
        began, now = self._began, _ticks()
        if began is None or now is None or now.at_s <= began.at_s:
            return None
        cores = os.cpu_count() or 1
        there_s = (now.at_s - began.at_s) * cores
        ticks_per_s = os.sysconf("SC_CLK_TCK")
        own_s = now.own_s - began.own_s if own else 0.0
        others_s = (now.busy - began.busy) / ticks_per_s - own_s
        steal_s = (now.steal - began.steal) / ticks_per_s
        return Load(cores, _share(others_s / there_s), _share(steal_s / there_s))


def load_before() -> Load | None:
    """Measures the use by others now, before anything is started, for half a second."""
    watch = Watch()
    time.sleep(BEFORE_S)
    return watch.load()


def verdict(load: Load | None) -> str:
    """Returns a sentence for people if speed must not be judged; empty if it may be."""
    if load is None:
        return "How busy this machine was cannot be measured here: figures of speed are not to be judged."
    return "" if load.quiet else f"The machine was too busy to judge speed: {load}."


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))


def _ticks() -> _Ticks | None:
    try:
        line = _PROC_STAT.read_text(encoding="ascii").partition("\n")[0]
        fields = [int(text) for text in line.split()[1:9]]
        busy = fields[_USER] + fields[_NICE] + fields[_SYSTEM]
        steal = fields[_STEAL]
    except (OSError, ValueError, IndexError):
        return None
    return _Ticks(busy, steal, sum(os.times()[:4]), _clock())
