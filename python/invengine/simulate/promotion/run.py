"""`invengine simulate promotion`: from baskets to a report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from invengine.cli.machine_load import Watch
from invengine.simulate.promotion import plots, wording
from invengine.simulate.promotion.assumptions import Assumptions, FlashSale
from invengine.simulate.promotion.baskets import strong_weekend, whole_year
from invengine.simulate.promotion.coordinator import Bar, Evidence, Plan, direct
from invengine.simulate.promotion.findings import AROUND_KILL_S, report_of
from invengine.simulate.promotion.marketplaces import OVERTAKEN
from invengine.simulate.promotion.sales import Stream
from invengine.simulate.promotion.weekend import stream_of
from invengine.simulate.report import page
from invengine.simulate.report.page import Figure

WEEKEND_SCALE = 1440.0
"""Two days in two minutes."""
YEAR_SCALE = 20_000.0
KILL_AT = 0.43
"""Share of the stream after which the server is killed; on the weekend that is during the flash sale."""
LEAD = (
    "Real baskets through a real server: five channels and a flash sale on one ledger, which was killed in the middle. "
    "Beside it the fragmented way: the same customers, and every channel sells from a copy of the stock of its own."
)


@dataclass(frozen=True, slots=True)
class PromotionOptions:
    """Options of a promotion."""

    directory: Path
    full: bool = False
    scale: float | None = None
    seed: int = 1
    flash: FlashSale = field(default_factory=FlashSale)


def run(options: PromotionOptions, say: Callable[[str], None], bar: Bar) -> dict[str, Any]:
    """Runs the promotion, writes the report into the directory and returns it."""
    say("reading the baskets")
    stream, assumptions = _stream(options)
    baskets = sum(not sale.flash for sale in stream.sales)
    say(f"{stream.title}: {baskets:,} baskets, {len(stream.sales) - baskets:,} callers of the flash sale")
    scale = options.scale or (YEAR_SCALE if options.full else WEEKEND_SCALE)
    plan = Plan(stream, assumptions, scale, options.directory, kill_at_s=stream.seconds * KILL_AT)
    watch = Watch()
    evidence = direct(plan, say, bar)
    say(wording.overtaken(evidence.tally.orders[OVERTAKEN]))
    return write(replace(evidence, load=watch.load()))


def _stream(options: PromotionOptions) -> tuple[Stream, Assumptions]:
    assumptions = replace(Assumptions(), flash=options.flash)
    if options.full:
        assumptions = replace(assumptions, volume=1.0)
        return stream_of(whole_year(), assumptions, options.seed), assumptions
    return stream_of(strong_weekend(assumptions.volume), assumptions, options.seed), assumptions


def write(evidence: Evidence) -> dict[str, Any]:
    """Writes report.json and report.html into the directory of the plan and returns the report."""
    directory = evidence.plan.directory
    report = report_of(evidence)
    (directory / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    drawings = plots.plots_of(evidence)
    (directory / "report.html").write_text(_page(report, drawings), encoding="utf-8")
    return report


def headline(report: dict[str, Any]) -> list[tuple[str, float, float]]:
    """The results of both ways: name, invengine, the fragmented way."""
    engine, fragmented = report["engine"], report["fragmented"]
    return [
        ("oversold units", engine["oversold_units"], fragmented["oversold_units"]),
        ("cancelled orders", engine["cancelled_orders"], fragmented["cancelled_orders"]),
        ("false sold-outs", engine["false_sold_outs"], fragmented["false_sold_outs"]),
        ("units sold", engine["units_sold"], fragmented["units_sold"]),
        ("flash item: units sold", engine["flash_sold"], fragmented["flash_sold"]),
        ("flash item: oversold units", engine["oversold_units"], fragmented["flash_oversold"]),
    ]


def figures(report: dict[str, Any]) -> list[Figure]:
    """The numbers that a reader looks for first, each with what it is of."""
    engine, latency, throughput = report["engine"], report["latency_ms"], report["throughput"]
    same = "equal" if engine["digest_live"] == engine["digest_refolded"] else "DIFFERENT"
    flash, baskets = engine["reserves"]["flash_sale"], engine["reserves"]["baskets"]
    decided = engine["accepted"] + sum(engine["refused"].values())
    return [
        Figure("reserves accepted", page.number(engine["accepted"]), f"of {decided:,} that were decided"),
        Figure("reserves refused in the flash sale", page.number(flash["refused"]), _decided(flash)),
        Figure("reserves of baskets refused", page.number(baskets["refused"]), _decided(baskets)),
        Figure("holds expired", page.number(engine["expired"]), f"of {engine['accepted']:,} holds"),
        Figure(
            "holds taken again by late payments", page.number(engine["reacquired"]), f"of {engine['expired']:,} expired"
        ),
        Figure("answers given again (replayed)", page.number(engine["replayed"]), f"of {throughput['calls']:,} calls"),
        Figure("acknowledged answers lost", str(engine["lost_acknowledged"]), f"of {engine['acknowledged']:,}"),
        Figure("digest, live and re-folded", same, f"of {engine['digest_at']:,} events, just before the kill"),
        Figure(
            "recovery of the journal", f"{engine['recovery_ms']:,.1f} ms", f"of {engine['recovered_events']:,} events"
        ),
        Figure("from SIGKILL to the next answer", f"{engine['down_ms']:,.0f} ms", "of one kill"),
        Figure("reserves in the busiest second", page.number(throughput["reserves_per_s_peak"]), "flash sale included"),
        *_spread("p50 / p99 of a basket's reserve", latency, "reserve"),
        *_spread("p50 / p99 of a flash caller's wait", latency, "flash_since_due"),
    ]


def _decided(part: dict[str, int]) -> str:
    return f"of {part['accepted'] + part['refused']:,} there"


def _spread(name: str, latency: dict[str, Any], kind: str) -> list[Figure]:
    """A time over all calls, and over those not affected by the kill; each with the number of calls."""
    every, calm, around = latency[kind], latency[f"{kind}_without_outage"], latency[f"{kind}_around_outage"]
    left_out = f"of {calm['count']:,} calls, without the {around['count']:,} around the kill"
    return [
        Figure(name, f"{every['p50']:,.1f} / {every['p99']:,.1f} ms", f"of all {every['count']:,} calls"),
        Figure(f"{name}, away from the kill", f"{calm['p50']:,.1f} / {calm['p99']:,.1f} ms", left_out),
    ]


def _page(report: dict[str, Any], drawings: dict[str, str]) -> str:
    stream, engine = report["stream"], report["engine"]
    refused = [
        (kind, reason, count) for kind, found in engine["refused_by_command"].items() for reason, count in found.items()
    ]
    parts = [(part.replace("_", " "), each["accepted"], each["refused"]) for part, each in engine["reserves"].items()]
    latency = [(wording.LATENCY_NAMES[name], *found.values()) for name, found in report["latency_ms"].items()]
    checks = [(check["name"], page.Verdict.of(check), check["found"]) for check in report["checks"]]
    explanations = "".join(page.paragraph(text) for text in wording.CHECKING)
    ends = [(wording.end_of_order(end), count) for end, count in engine["orders"].items()]
    orders = wording.ORDERS.format(parts=engine["orders_in_part"])
    sections = [
        (
            "One ledger, and the fragmented way",
            page.table(["", "invengine", "own copies"], headline(report))
            + page.paragraph(wording.OWN_COPIES)
            + page.paragraph(wording.CANCELLED),
        ),
        ("In numbers", page.cards(figures(report))),
        ("Seen over time", page.plots(drawings)),
        ("Checks", explanations + page.table(["what must hold", "", "found"], checks)),
        ("How orders ended", page.paragraph(orders) + page.table(["end", "orders"], ends)),
        (
            "Reserves accepted and refused",
            page.table(["", "accepted", "refused"], parts)
            + page.table(["command", "refused because", "commands"], refused),
        ),
        (
            "How long calls took, ms",
            page.paragraph(wording.LATENCY.format(around_s=AROUND_KILL_S))
            + page.table(["", "p50", "p90", "p99", "p99.9", "max", "calls"], latency),
        ),
        ("What was played", page.table(["", ""], _flat(stream))),
        ("Assumptions", page.table(["of", "assumed", ""], wording.assumptions(report["assumptions"]))),
    ]
    return page.page(report["title"], LEAD, sections, passed=report["passed"], notice=report["notice"])


def _flat(values: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for name, value in values.items():
        shown = ", ".join(f"{key} {count:,}" for key, count in value.items()) if isinstance(value, dict) else value
        found.append((name.replace("_", " "), page.number(shown) if isinstance(shown, int | float) else str(shown)))
    return found
