"""What one unit of work is given, and what it gives back."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias


@dataclass(slots=True)
class Turn:
    """One unit: its seed, from which every choice of it comes, a directory of its own, and what was done before."""

    seed: int
    room: Path
    facts: Mapping[str, int] = field(default_factory=dict)
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)


class Done(NamedTuple):
    """How much a unit did, by stage, and what happened in it, by name."""

    done: Mapping[str, float]
    facts: Counter[str]


Unit: TypeAlias = Callable[[Turn], Done]
