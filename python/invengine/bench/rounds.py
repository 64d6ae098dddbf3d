"""How a benchmark is measured: rounds of every contender in turn, A B A B, so that a slow minute hits all alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from invengine.bench.machine import Cores

S = TypeVar("S")

ROUNDS = 5
SECONDS = 3.0
QUICK_ROUNDS = 2
QUICK_SECONDS = 1.0
WARM_UP_S = 0.5
TRIAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Table:
    """What a benchmark found beside its figures: rows of the same columns."""

    columns: tuple[str, ...]
    rows: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one benchmark may use: where it writes, its cores, how many rounds of how many seconds."""

    room: Path
    cores: Cores
    rounds: int = ROUNDS
    seconds: float = SECONDS
    step: Callable[[str], None] = lambda _: None
    """Told before each run what it is."""
    not_run: list[tuple[str, str]] = field(default_factory=list)
    """Figures without a value, each with what it needs."""

    tables: list[Table] = field(default_factory=list)
    """What explains the figures."""

    def leave_out(self, figures: Iterable[str], needs: str) -> None:
        """Notes figures that cannot be measured here."""
        self.not_run.extend((figure, needs) for figure in figures)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run gave: its value, and where measured the CPU that it took."""

    value: float
    cpu_s_per_million: float = 0.0
    """CPU of the server for a million accepted reserves."""
    client_busy: float = 0.0
    """Share of the time that the caller was on its core. Near 1, it is the caller that limits the value."""


def interleaved(plan: Plan, contenders: Mapping[str, Callable[[], Sample]]) -> dict[str, list[Sample]]:
    """What each contender gave in each round."""
    found: dict[str, list[Sample]] = {name: [] for name in contenders}
    for number in range(plan.rounds):
        for name, run in contenders.items():
            plan.step(f"round {number + 1} of {plan.rounds}: {name}")
            found[name].append(run())
    return found


def values(samples: Iterable[Sample]) -> list[float]:
    """The values of the rounds."""
    return [sample.value for sample in samples]


def best(candidates: Iterable[S], rate: Callable[[S], float]) -> S:
    """The candidate with the highest rate. Each side of a comparison may choose the shape of load that suits it."""
    measured = [(rate(candidate), candidate) for candidate in candidates]
    return max(measured, key=lambda pair: pair[0])[1]
