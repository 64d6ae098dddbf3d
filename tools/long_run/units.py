"""The context of one unit of work, and its result."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias


@dataclass(slots=True)
class UnitContext:
    """One unit: its seed, which determines its choices, a directory of its own, and the facts counted before."""

    seed: int
    directory: Path
    facts: Mapping[str, int] = field(default_factory=dict)
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)


class UnitResult(NamedTuple):
    """The amount that a unit did, by stage, and counts of what happened in it, by name."""

    done: Mapping[str, float]
    facts: Counter[str]


Unit: TypeAlias = Callable[[UnitContext], UnitResult]
