"""`invengine simulate promotion`: from baskets to a report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from invengine.simulate import page, plots
from invengine.simulate.baskets import strong_weekend, whole_year
from invengine.simulate.director import Bar, Evidence, Plan, direct
from invengine.simulate.findings import report_of
from invengine.simulate.habits import FlashSale, Habits
from invengine.simulate.sales import Stream
from invengine.simulate.weekend import stream_of

WEEKEND_SCALE = 1440.0
"""Two days in two minutes."""
YEAR_SCALE = 20_000.0
KILL_AT = 0.43
"""Part of the stream after which the server is killed: on the weekend in the flash sale."""
LEAD = (
    "Real baskets through a real server: five channels and a flash sale on one ledger, which was killed in the middle. "
    "Beside it the fragmented way: the same customers, and every channel sells from a copy of the stock of its own."
)


@dataclass(frozen=True, slots=True)
class Choices:
    """What a caller may choose."""

    room: Path
    full: bool = False
    scale: float | None = None
    seed: int = 1
    flash: FlashSale = field(default_factory=FlashSale)


def run(choices: Choices, say: Callable[[str], None], bar: Bar) -> dict[str, Any]:
    """Plays the promotion, writes the report into the room and gives it."""
    say("reading the baskets")
    stream, habits = _stream(choices)
    baskets = sum(not sale.flash for sale in stream.sales)
    say(f"{stream.title}: {baskets:,} baskets, {len(stream.sales) - baskets:,} callers of the flash sale")
    scale = choices.scale or (YEAR_SCALE if choices.full else WEEKEND_SCALE)
    plan = Plan(stream, habits, scale, choices.room, kill_at_s=stream.seconds * KILL_AT)
    evidence = direct(plan, say, bar)
    return write(evidence)


def _stream(choices: Choices) -> tuple[Stream, Habits]:
    habits = replace(Habits(), flash=choices.flash)
    if choices.full:
        habits = replace(habits, volume=1.0)
        return stream_of(whole_year(), habits, choices.seed), habits
    return stream_of(strong_weekend(habits.volume), habits, choices.seed), habits


def write(evidence: Evidence) -> dict[str, Any]:
    """Writes report.json and report.html into the room of the plan and gives the report."""
    room = evidence.plan.room
    report = report_of(evidence)
    (room / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (room / "report.html").write_text(_page(report, plots.plots_of(evidence)), encoding="utf-8")
    return report


def headline(report: dict[str, Any]) -> list[tuple[str, float, float]]:
    """What both ways led to: name, invengine, the fragmented way."""
    engine, fragmented = report["engine"], report["fragmented"]
    return [
        ("oversold units", engine["oversold_units"], fragmented["oversold_units"]),
        ("cancelled orders", engine["cancelled_orders"], fragmented["cancelled_orders"]),
        ("false sold-outs", engine["false_sold_outs"], fragmented["false_sold_outs"]),
        ("units sold", engine["units_sold"], fragmented["units_sold"]),
        ("flash item: units sold", engine["flash_sold"], fragmented["flash_sold"]),
        ("flash item: oversold units", engine["oversold_units"], fragmented["flash_oversold"]),
    ]


def figures(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The numbers that a reader looks for first: name and value."""
    engine, latency, throughput = report["engine"], report["latency_ms"], report["throughput"]
    same = "equal" if engine["digest_live"] == engine["digest_refolded"] else "DIFFERENT"
    return [
        ("reserves accepted", page.number(engine["accepted"])),
        ("reserves refused", page.number(sum(engine["refused"].values()))),
        ("holds expired", page.number(engine["expired"])),
        ("holds reacquired by late payments", page.number(engine["reacquired"])),
        ("answers given again (replayed)", page.number(engine["replayed"])),
        ("acknowledged answers lost", f"{engine['lost_acknowledged']} of {engine['acknowledged']:,}"),
        (f"digest at {engine['digest_at']:,}, live and re-folded", same),
        ("recovery of the journal", f"{engine['recovery_ms']:,.1f} ms"),
        ("from SIGKILL to the next answer", f"{engine['down_ms']:,.0f} ms"),
        ("reserves in the busiest second", page.number(throughput["reserves_per_s_peak"])),
        ("a basket's reserve took, p50 / p99", _spread(latency["reserve_without_outage"])),
        ("a flash caller waited, p50 / p99", _spread(latency["flash_since_due_without_outage"])),
    ]


def _spread(percentiles: dict[str, float]) -> str:
    return f"{percentiles['p50']:,.1f} / {percentiles['p99']:,.1f} ms"


def _page(report: dict[str, Any], drawings: dict[str, str]) -> str:
    stream, engine = report["stream"], report["engine"]
    refused = [
        (kind, reason, count) for kind, found in engine["refused_by_command"].items() for reason, count in found.items()
    ]
    latency = [(name.replace("_", " "), *found.values()) for name, found in report["latency_ms"].items()]
    checks = [(check["name"], check["holds"], check["found"]) for check in report["checks"]]
    sections = [
        (
            "One ledger, and the fragmented way",
            page.table(["", "invengine", "own copies"], headline(report)) + _notes(),
        ),
        ("Seen over time", page.plots(drawings)),
        ("Checks", page.table(["what must hold", "", "found"], checks)),
        ("How orders ended", page.table(["end", "orders"], engine["orders"].items())),
        ("Refused, by reason", page.table(["command", "reason", "commands"], refused)),
        ("Latency, ms on the wall clock", page.table(["", "p50", "p90", "p99", "p99.9", "max", "calls"], latency)),
        ("What was played", page.table(["", ""], _flat(stream))),
        ("Assumptions", page.folded("every number that is assumed", json.dumps(report["assumptions"], indent=2))),
    ]
    return page.page(report["title"], LEAD, figures(report), sections, passed=report["passed"])


def _notes() -> str:
    return page.paragraph(
        "A cancelled order was promised and could not be kept. In invengine's column these are goods that a till had "
        "sold up to fifteen minutes before it said so, and that a pick-up order had by then. A false sold-out is a "
        "refusal of units that were there."
    )


def _flat(values: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for name, value in values.items():
        shown = ", ".join(f"{key} {count:,}" for key, count in value.items()) if isinstance(value, dict) else value
        found.append((name.replace("_", " "), page.number(shown) if isinstance(shown, int | float) else str(shown)))
    return found
