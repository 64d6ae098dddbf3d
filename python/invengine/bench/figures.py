"""Figures: one number of a run with its spread over the rounds, as JSON and as a table, and what each must be."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

PER_S = "reservations/s"
LINES_PER_S = "lines/s"
OPERATIONS_PER_S = "operations/s"
RATIO = "ratio"
NS = "ns"
US = "us"
MS = "ms"
S = "s"
SNAPSHOTS_PER_S = "snapshots/s"
UNITS = "units"
LEVELS = "levels"
CPU_S_PER_MILLION = "s/million"
SHARE = "share"
CALLS = "calls"
MIB = "MiB"
BYTES = "bytes"

_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of the rounds with the smallest and the largest. It exists only if every check passed."""

    id: str
    figure: float
    unit: str
    min: float
    max: float
    rounds: int

    def as_json(self) -> dict[str, Any]:
        """The object that `invengine bench --json` prints."""
        return {**asdict(self), "checks": "passed"}


@dataclass(frozen=True, slots=True)
class Goal:
    """The goal of a figure: at least or at most this."""

    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        """True if the value is good enough."""
        enough = self.at_least is None or value >= self.at_least
        return enough and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        if self.at_least is not None and self.at_least == self.at_most:
            return f"= {_readable(self.at_least)}"
        sign, limit = (">=", self.at_least) if self.at_least is not None else ("<=", self.at_most or 0.0)
        return f"{sign} {_readable(limit)}"


GOALS: dict[str, Goal] = {
    "P1.ledger": Goal(at_least=1_800_000),
    "P2.ratio_bare": Goal(at_least=0.85),
    "P2.ratio_redis_50x1": Goal(at_least=2),
    "P2.ratio_redis": Goal(at_least=4),
    "P3.batched": Goal(at_least=900_000),
    "P3.uniform": Goal(at_least=500_000),
    "P3.ratio_redis": Goal(at_least=15),
    "P4.unary": Goal(at_least=1),
    "P4.batched": Goal(at_least=1),
    "P5.unary": Goal(at_least=0.85),
    "P5.batched": Goal(at_least=0.85),
    "J1.ratio_file": Goal(at_least=0.3),
    "P6.over_sync_us": Goal(at_most=250),
    "P8.ratio_asyncio": Goal(at_least=6),
    "P8.ratio_columns": Goal(at_least=50),
    "P13.ratio_file": Goal(at_most=2),
    "P13.ratio_redis": Goal(at_most=2),
    "C1.version_ms": Goal(at_most=200),
    "C1.help_ms": Goal(at_most=200),
    "C1.availability_ms": Goal(at_most=200),
    "D1.failed_calls": Goal(at_least=0, at_most=0),
    "D1.memory_mib": Goal(at_most=600),
    "E1.writer_added": Goal(at_most=0.1),
    "P11.unary": Goal(at_most=0.5),
    "P11.batched": Goal(at_most=0.5),
    "P7.over_3_syncs_us": Goal(at_most=2_000),
    "P9.one": Goal(at_least=500_000),
    "P9.columns": Goal(at_least=2_000_000),
    "P12.added_p99_us": Goal(at_most=2_000),
    "P15.level_bytes": Goal(at_most=128),
    "P15.reservation_bytes": Goal(at_most=160),
    "P16.batched_bytes": Goal(at_most=64),
    "P16.unary_bytes": Goal(at_most=64),
    "P17.ledger": Goal(at_most=4),
    "P17.unary": Goal(at_most=1.15),
    "P19.unary": Goal(at_least=0.8),
    "P19.batched": Goal(at_least=0.8),
    "P20.state_ms": Goal(at_most=1_000),
    "P20.hot_page_ms": Goal(at_most=5_000),
    "P20.cold_page_ms": Goal(at_most=5_000),
    "P20.page_mib": Goal(at_most=32),
    "P10.goodput_ratio": Goal(at_least=0.9),
    "P10.oversold_units": Goal(at_least=0, at_most=0),
    "P10.sold_ratio": Goal(at_least=1, at_most=1),
}

ON_ANY_MACHINE = frozenset(
    {"D1.failed_calls", "D1.memory_mib", "P20.page_mib", "P10.oversold_units", "P10.sold_ratio"}
    | {name for name in GOALS if name.endswith("_bytes")}
)
"""Goals that hold or not however busy the machine is: they state what was done, or how large, not how fast."""

COLUMNS = ("id", "figure", "unit", "min", "max", "rounds", "must")


def figure(name: str, unit: str, values: Iterable[float]) -> Figure:
    """The figure of one value per round. Raises ValueError if there are none."""
    measured = list(values)
    if not measured:
        raise ValueError(f"{name} was not measured")
    shown = (_short(value) for value in (statistics.median(measured), min(measured), max(measured)))
    middle, least, most = shown
    return Figure(name, middle, unit, least, most, len(measured))


def ratio(name: str, above: Sequence[float], below: Sequence[float]) -> Figure:
    """The figure of a comparison: each round is divided by itself, so that a slow hour slows both sides."""
    return figure(name, RATIO, [over / under for over, under in zip(above, below, strict=True)])


def row(found: Figure, *, judged: bool = True) -> list[str]:
    """The cells of a table under COLUMNS. On a busy machine a goal is neither held nor missed, but for units sold."""
    goal = GOALS.get(found.id)
    must = "" if goal is None else f"{goal} {_word(goal, found, judged=judged)}"
    numbers = [_readable(value) for value in (found.figure, found.min, found.max)]
    return [found.id, numbers[0], found.unit, numbers[1], numbers[2], str(found.rounds), must]


def _word(goal: Goal, found: Figure, *, judged: bool) -> str:
    if not judged and found.id not in ON_ANY_MACHINE:
        return "not judged"
    return "held" if goal.holds(found.figure) else "MISSED"


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _readable(value: float) -> str:
    if value == 0 or abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
