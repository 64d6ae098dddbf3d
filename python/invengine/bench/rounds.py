"""How a benchmark is measured: rounds of every contender in turn, A B A B, so that a slow minute affects all alike."""

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
    """The resources of one benchmark: its directory, its cores, the number of rounds and their seconds."""

    directory: Path
    cores: Cores
    rounds: int = ROUNDS
    seconds: float = SECONDS
    step: Callable[[str], None] = lambda _: None
    """Called before each run with a description of it."""
    not_run: list[tuple[str, str]] = field(default_factory=list)
    """Figures without a value, each with what it needs."""

    tables: list[Table] = field(default_factory=list)
    """What explains the figures."""

    def leave_out(self, figures: Iterable[str], needs: str) -> None:
        """Records figures that cannot be measured here."""
        self.not_run.extend((figure, needs) for figure in figures)


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of one run: its value, and where measured its CPU time."""

    value: float
    cpu_s_per_million: float = 0.0
    """CPU of the server for a million lines that were decided."""
    client_busy: float = 0.0
    """Share of the time that the caller used its core. Near 1, the caller limits the value."""


def interleaved(plan: Plan, contenders: Mapping[str, Callable[[], Sample]]) -> dict[str, list[Sample]]:
    """The samples of each contender, one per round."""
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
