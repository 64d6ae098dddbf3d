"""The totals of the long run for people: a table in docs/RELIABILITY.md, and the last lines of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .stages import Stage
from .totals import StageTotals, Totals

FIRST, LAST = "<!-- soak: written by `make soak` -->", "<!-- end of soak -->"
FACTS_LISTED = 40


def write(document: Path, totals: Totals, stages: Sequence[Stage]) -> None:
    """Puts the totals between the marks of a document."""
    text = document.read_text(encoding="utf-8")
    before, first, rest = text.partition(FIRST)
    _, last, after = rest.partition(LAST)
    if not first or not last:
        raise ValueError(f"{document.name} has no lines `{FIRST}` and `{LAST}` to write between")
    document.write_text(f"{before}{FIRST}\n{_text(totals, stages)}\n{LAST}{after}", encoding="utf-8")


def _text(totals: Totals, stages: Sequence[Stage]) -> str:
    parts = [_table(totals, stages), _facts(totals, stages), _failures(totals, stages)]
    return "\n\n".join(part for part in parts if part)


def _table(totals: Totals, stages: Sequence[Stage]) -> str:
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


def _facts(totals: Totals, stages: Sequence[Stage]) -> str:
    """What happened, by stage."""
    lines = []
    for stage in stages:
        facts = [f"{name} {count:,}" for name, count in totals.line(stage.name).facts.most_common(FACTS_LISTED)]
        if facts and stage.name != "planted":
            lines.append(f"- `{stage.name}`: {', '.join(facts)}")
    return "\n".join(["What happened in them:", "", *lines]) if lines else ""


def _failures(totals: Totals, stages: Sequence[Stage]) -> str:
    rows = [
        f"| `{stage.name}` | {failure.commit} | {failure.seed} | {failure.why[:160].replace('|', '/')} |"
        for stage in stages
        for failure in totals.line(stage.name).failures
    ]
    return "\n".join(["| stage | commit | seed | what it found |", "|---|---|---|---|", *rows]) if rows else ""


def closing_lines(totals: Totals, stages: Sequence[Stage]) -> str:
    """What is missing, how long that will take at the rates so far, and what never happened."""
    lines = [_missing(stage, totals.line(stage.name)) for stage in stages]
    whole = [stage.goal / totals.line(stage.name).rate for stage in stages if totals.line(stage.name).rate]
    unknown = [stage.name for stage in stages if not totals.line(stage.name).rate]
    lines.append(
        f"the whole column: {sum(whole) / 60:.0f} min at these rates"
        + (f", without {', '.join(unknown)}" if unknown else "")
    )
    missed = never(totals, stages)
    lines += [f"FAILED: these never happened: {', '.join(missed)}"] if missed else []
    return "\n".join(line for line in lines if line)


def never(totals: Totals, stages: Sequence[Stage]) -> list[str]:
    """What should have happened in the stages that reached their goals, but did not."""
    done = [line for stage in stages if (line := totals.line(stage.name)).done >= stage.goal]
    counts: Counter[str] = Counter()
    for line in done:
        counts.update(line.facts)
    return [name for name, count in counts.items() if not count]


def _missing(stage: Stage, line: StageTotals) -> str:
    left = stage.goal - line.done
    if left <= 0:
        return f"{stage.name}: {line.done:,.0f} of {stage.goal:,}, done"
    rest = f", {left / line.rate / 60:.1f} min more" if line.rate else ""
    return f"{stage.name}: {line.done:,.0f} of {stage.goal:,}{rest}"
