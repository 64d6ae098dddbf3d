"""What `verify` says of a journal: the engine's own code folds it again from its first event, without a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HOLDS: tuple[Any, ...] = (True, 0, "held", "ok", [])


@dataclass(frozen=True, slots=True)
class Refold:
    """A journal folded again up to a sequence."""

    sequence: int
    digest: str
    oversold_units: int
    broken: tuple[str, ...]
    """Invariants that did not hold."""
    counts: Mapping[str, Any]
    time_ms: float


def refold(directory: Path, at_sequence: int | None = None) -> Refold:
    """Folds the journal in `directory`, up to a sequence or to its end."""
    from invengine import _core

    return read(json.loads(_core.verify(str(directory), at_sequence)))


def read(report: Mapping[str, Any]) -> Refold:
    """A report of `verify` as a value."""
    return Refold(
        sequence=int(report["sequence"]),
        digest=str(report["digest"]),
        oversold_units=int(report["oversold_units_by_reserve"]),
        broken=tuple(broken(report.get("invariants", {}))),
        counts=report.get("counts", {}),
        time_ms=float(report.get("time_ms", 0.0)),
    )


def broken(invariants: Any) -> list[str]:
    """Names of the invariants that do not hold, from an object of names or a list of {name, holds}."""
    if isinstance(invariants, Mapping):
        return [f"{name}: {value}" for name, value in invariants.items() if value is False or value not in _HOLDS]
    return [str(each["name"]) for each in invariants if each.get("holds") is not True]
