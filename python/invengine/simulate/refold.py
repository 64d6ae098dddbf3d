"""The report of `verify` on a journal: the engine's own code folds it again from its first event, without a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invengine.cli.check import broken_of


@dataclass(frozen=True, slots=True)
class Refold:
    """A journal folded again up to a sequence."""

    sequence: int
    digest: str
    oversold_units: int
    """Units by which holds exceeded the stock."""
    broken: tuple[str, ...]
    """Invariants that did not hold, and the first places where they did not, in words."""
    counts: Mapping[str, int]
    elapsed_ms: float


def refold(directory: Path, at_sequence: int | None = None) -> Refold:
    """Folds the journal in `directory`, up to a sequence or to its end. It only reads, so a server may run."""
    from invengine import _core

    return read(json.loads(_core.verify(str(directory), at_sequence)))


def read(report: Mapping[str, Any]) -> Refold:
    """A report of `verify` as a value."""
    return Refold(
        sequence=int(report["sequence"]),
        digest=str(report["digest"]),
        oversold_units=int(report["oversold_units_by_reserve"]),
        broken=tuple(broken_of(report)),
        counts=report["counts"],
        elapsed_ms=float(report["elapsed_ms"]),
    )
