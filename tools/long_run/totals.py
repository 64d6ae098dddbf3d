"""The totals of the long run so far: added up in one file, so that a run continues where the last one ended.

The file is replaced as a whole after every unit of work: a run that is interrupted loses its current unit and
nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FAILURES_KEPT = 50
# Of the file. It rises when stages count something else than before.
VERSION = 2


class FoundError(Exception):
    """A test has failed. `reproduce` is a shorter command that reproduces it, if there is one."""

    def __init__(self, why: str, reproduce: str = "") -> None:
        super().__init__(why)
        self.reproduce = reproduce


@dataclass(frozen=True, slots=True)
class Failure:
    """One unit that found something."""

    commit: str
    seed: int
    why: str
    reproduce: str
    """A command."""
    kept: str
    """The directory with everything that it left."""


@dataclass(slots=True)
class StageTotals:
    """The totals of one stage."""

    done: float = 0.0
    seconds: float = 0.0
    units: int = 0
    facts: Counter[str] = field(default_factory=Counter)
    """Counts of what happened in it, by name."""
    failures: list[Failure] = field(default_factory=list)
    failed: int = 0

    @property
    def rate(self) -> float:
        """How much of it is done in a second; 0 if none was."""
        return self.done / self.seconds if self.done and self.seconds else 0.0


@dataclass(slots=True)
class Totals:
    """The totals of all stages, and the file that keeps them."""

    path: Path
    lines: dict[str, StageTotals] = field(default_factory=dict)
    commits: Counter[str] = field(default_factory=Counter)
    """Units by the commit that they tried."""

    def line(self, stage: str) -> StageTotals:
        """The totals of a stage."""
        return self.lines.setdefault(stage, StageTotals())

    def add(self, stage: str, seconds: float, done: Mapping[str, float], facts: Mapping[str, int]) -> None:
        """Adds a unit of a stage; it may have done something for other stages too."""
        line = self.line(stage)
        line.units += 1
        line.seconds += seconds
        line.facts.update(facts)
        for name, count in done.items():
            self.line(name).done = round(self.line(name).done + count, 3)
        self.commits[commit()] += 1

    def fail(self, stage: str, seconds: float, failure: Failure) -> None:
        """Writes down a unit that found something."""
        line = self.line(stage)
        line.units += 1
        line.seconds += seconds
        line.failed += 1
        line.failures = [*line.failures, failure][-FAILURES_KEPT:]
        self.commits[failure.commit] += 1

    def save(self) -> None:
        """Replaces the file atomically; a reader sees the old one or the new one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".new")
        stages = {name: _kept(line) for name, line in self.lines.items()}
        with draft.open("w", encoding="utf-8") as file:
            json.dump({"version": VERSION, "stages": stages, "commits": self.commits}, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)


def load(path: Path) -> Totals:
    """The totals so far; none if there is no file, or one that counted something else."""
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if kept.get("version") != VERSION:
        return Totals(path)
    lines = {name: _line(line) for name, line in kept["stages"].items()}
    return Totals(path, lines, Counter(kept["commits"]))


def _kept(line: StageTotals) -> dict[str, Any]:
    return {
        "done": line.done,
        "seconds": round(line.seconds, 1),
        "units": line.units,
        "facts": dict(line.facts),
        "failures": [asdict(failure) for failure in line.failures],
        "failed": line.failed,
    }


def _line(kept: dict[str, Any]) -> StageTotals:
    failures = [Failure(**failure) for failure in kept.pop("failures")]
    return StageTotals(**{**kept, "facts": Counter(kept["facts"]), "failures": failures})


def commit() -> str:
    """The commit of the tree, with a plus if it was modified; files that the long run writes do not count."""
    named = _git("describe", "--always", "--exclude=*")
    written = (":!docs/soak.json", ":!docs/RELIABILITY.md")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *written)
    return (named or "unknown") + ("+" if changed else "")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=False, capture_output=True, text=True).stdout.strip()
