"""The totals of the long run as people read them: a table in docs/RELIABILITY.md, and the last lines of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .stages import Stage
from .tally import Line, Tally

FIRST, LAST = "<!-- soak: written by `make soak` -->", "<!-- end of soak -->"
FACTS_TOLD = 40


def write(document: Path, totals: Tally, stages: Sequence[Stage]) -> None:
    """Puts the totals between the marks of a document."""
    text = document.read_text(encoding="utf-8")
    before, first, rest = text.partition(FIRST)
    _, last, after = rest.partition(LAST)
    if not first or not last:
        raise ValueError(f"{document.name} has no lines `{FIRST}` and `{LAST}` to write between")
    document.write_text(f"{before}{FIRST}\n{_told(totals, stages)}\n{LAST}{after}", encoding="utf-8")


def _told(totals: Tally, stages: Sequence[Stage]) -> str:
    parts = [_table(totals, stages), _facts(totals, stages), _failures(totals, stages)]
    return "\n\n".join(part for part in parts if part)


def _table(totals: Tally, stages: Sequence[Stage]) -> str:
    rows = [
        "| stage | what was tried | how often | goal | minutes | units that found something |",
        "|---|---|---|---|---|---|",
    ]
    for stage in stages:
        line = totals.line(stage.name)
        minutes = f"{line.seconds / 60:.1f}"
        rows.append(
            f"| `{stage.name}` | {stage.what} | {line.done:,.0f} | {stage.goal:,} | {minutes} | {line.failed} |"
        )
    return "\n".join(rows)


def _facts(totals: Tally, stages: Sequence[Stage]) -> str:
    """What happened, by stage."""
    told = []
    for stage in stages:
        facts = [f"{name} {count:,}" for name, count in totals.line(stage.name).facts.most_common(FACTS_TOLD)]
        if facts and stage.name != "planted":
            told.append(f"- `{stage.name}`: {', '.join(facts)}")
    return "\n".join(["What happened in them:", "", *told]) if told else ""


def _failures(totals: Tally, stages: Sequence[Stage]) -> str:
    rows = [
        f"| `{stage.name}` | {failure.commit} | {failure.seed} | {failure.why[:160].replace('|', '/')} |"
        for stage in stages
        for failure in totals.line(stage.name).failures
    ]
    return "\n".join(["| stage | commit | seed | what it found |", "|---|---|---|---|", *rows]) if rows else ""


def closing(totals: Tally, stages: Sequence[Stage]) -> str:
    """What is missing, how long that takes at the rates so far, and what never happened."""
    told = [_missing(stage, totals.line(stage.name)) for stage in stages]
    whole = [stage.goal / totals.line(stage.name).rate for stage in stages if totals.line(stage.name).rate]
    unknown = [stage.name for stage in stages if not totals.line(stage.name).rate]
    told.append(
        f"the whole column: {sum(whole) / 60:.0f} min at these rates"
        + (f", without {', '.join(unknown)}" if unknown else "")
    )
    missed = never(totals, stages)
    told += [f"FAILED: these never happened: {', '.join(missed)}"] if missed else []
    return "\n".join(line for line in told if line)


def never(totals: Tally, stages: Sequence[Stage]) -> list[str]:
    """What stages that reached their goals were to meet, and none of them did."""
    done = [line for stage in stages if (line := totals.line(stage.name)).done >= stage.goal]
    counts: Counter[str] = Counter()
    for line in done:
        counts.update(line.facts)
    return [name for name, count in counts.items() if not count]


def _missing(stage: Stage, line: Line) -> str:
    left = stage.goal - line.done
    if left <= 0:
        return f"{stage.name}: {line.done:,.0f} of {stage.goal:,}, done"
    rest = f", {left / line.rate / 60:.1f} min more" if line.rate else ""
    return f"{stage.name}: {line.done:,.0f} of {stage.goal:,}{rest}"
