"""Random numbers that depend on names only: the same seed and name give the same in every process and run."""

from __future__ import annotations

import hashlib
import random


def dice(seed: int, *names: str) -> random.Random:
    """Random numbers for one thing that has a name."""
    return random.Random(number(seed, *names))  # noqa: S311 - a simulation, not a secret


def number(seed: int, *names: str) -> int:
    """A 64-bit number for one thing that has a name."""
    text = "/".join((str(seed), *names)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def share(seed: int, *names: str) -> float:
    """A number from 0 to below 1 for one thing that has a name."""
    return number(seed, *names) / 2**64


def pick(weights: dict[str, float], at: float) -> str:
    """The name at which the running sum of the weights passes `at` (0 to below 1)."""
    left = at * sum(weights.values())
    for name, weight in weights.items():
        left -= weight
        if left < 0:
            return name
    return next(reversed(weights))


def lognormal(roll: random.Random, median: float, sigma: float = 0.6) -> float:
    """A time around a median, with the long tail that people's times have."""
    return float(median * roll.lognormvariate(0.0, sigma))
