"""A flash sale as people see it: live in the terminal, and afterwards as a table and a page."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from invengine.cli.machine_load import Load
from invengine.simulate.flash_sale.sale import GOODPUT_RATIO_MIN, FlashSaleResult, FlashSaleSettings, Step
from invengine.simulate.report import page, plots
from invengine.simulate.report.page import Figure
from invengine.simulate.report.screen import facts, say, verdicts

STEPS_SHOWN = 60
_ANSWERS = ("accepted", "refused", "failed", "allocated", "released")
_TITLES = {
    "capacity": "measuring what it accepts",
    "sold out": "measuring what it answers after a sell-out",
    "sale": "the sale",
}
_BARS = " ▁▂▃▄▅▆▇█"
_ROWS = (
    ("callers", "arrived", "bold"),
    ("gave up in the queue", "gave_up", "dim"),
    ("reserved", "accepted", "green"),
    ("refused: sold out", "refused", "yellow"),
    ("overload, faults", "failed", "red"),
    ("paid", "allocated", "cyan"),
    ("released", "released", "magenta"),
)


@contextmanager
def live(settings: FlashSaleSettings, *, shown: bool) -> Iterator[Step | None]:
    """Shows every step as it comes if stderr is a terminal; yields the callback that receives the steps."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    view = LiveView(settings.interval_ms)
    with Live(view.render(), console=Console(stderr=True), refresh_per_second=10, transient=True) as screen:

        def on_step(stage: str, step: Mapping[str, Any]) -> None:
            view.add(stage, step)
            screen.update(view.render())

        yield on_step


class LiveView:
    """The last steps of the run, one row of bars for each figure."""

    def __init__(self, interval_ms: int) -> None:
        self._per_s = 1000 / interval_ms
        self._stage = ""
        self._steps: deque[Mapping[str, Any]] = deque(maxlen=STEPS_SHOWN)

    def add(self, stage: str, step: Mapping[str, Any]) -> None:
        """Adds one step; those of an earlier stage are dropped."""
        if stage != self._stage:
            self._steps.clear()
            self._stage = stage
        self._steps.append(step)

    def render(self) -> RenderableType:
        """The current view."""
        if not self._steps:
            return Text("starting")
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(min_width=20)
        table.add_column(justify="right", min_width=10)
        table.add_column(min_width=STEPS_SHOWN, no_wrap=True)
        for name, field, style in _ROWS:
            values = [step[field] * self._per_s for step in self._steps]
            table.add_row(name, f"{values[-1]:,.0f}/s", Text(bars(values), style=style))
        p99 = [step["latency_us_p99"] / 1000 for step in self._steps]
        table.add_row("answer, p99", f"{p99[-1]:,.1f} ms", Text(bars(p99), style="blue"))
        title = _TITLES.get(self._stage, self._stage)
        return Group(Text(f"{title}, {self._steps[-1]['at_ms'] / 1000:.1f} s", style="bold"), table)


def bars(values: list[float]) -> str:
    """A row of bars, the highest value full."""
    most = max(values, default=0.0)
    return "".join(_BARS[0 if most <= 0 else round(value / most * (len(_BARS) - 1))] for value in values)


def report_of(result: FlashSaleResult, settings: FlashSaleSettings, load: Load | None = None) -> dict[str, Any]:
    """The report as JSON; `load` is that of other programs on the machine."""
    return {
        "title": "Flash sale",
        "passed": result.passed,
        "checks": [check._asdict() for check in result.checks],
        "machine": None if load is None else load.as_json(),
        "capacity_per_s": result.capacity_per_s,
        "peak_per_s": result.peak_per_s,
        "offered_per_s": result.offered_per_s,
        "goodput_per_s": result.goodput_per_s,
        "goodput_ratio": result.goodput_ratio,
        "stock": result.stock,
        "sold_units": result.sold_units,
        "sold_ratio": result.sold_ratio,
        "oversold_units": result.oversold_units,
        "phases_ms": result.phases,
        "sale": dict(result.report),
        "capacity": dict(result.capacity_report),
        "settings": {
            name: str(value) if isinstance(value, Path) else value for name, value in asdict(settings).items()
        },
    }


def show(result: FlashSaleResult, report: dict[str, Any], console: Console, notice: str = "") -> None:
    """Prints the result."""
    console.print()
    say(notice, console)
    console.print(facts(figures(result)))
    console.print()
    console.print(verdicts(report["checks"]))


def figures(result: FlashSaleResult) -> list[Figure]:
    """The numbers that a reader looks for first, each with what it is of."""
    window, latency = result.report["window"], result.report["latency_us"]
    callers = f"of {page.number(int(window['arrived']))} callers"
    units = f"of {page.number(result.stock)} units of the hot item"
    return [
        Figure("accepts in a closed loop", f"{result.capacity_per_s:,.0f}/s", "reserves alone"),
        Figure("answers in a closed loop, most", f"{result.peak_per_s:,.0f}/s", "the peak: yes or no"),
        Figure("offered in the rush", f"{result.offered_per_s:,.0f}/s", "callers, whatever the server does"),
        Figure("answered in time in the rush", f"{result.goodput_per_s:,.0f}/s", "the goodput: yes or no"),
        Figure("goodput ÷ peak", f"{result.goodput_ratio:.2f}", f"at least {GOODPUT_RATIO_MIN}"),
        Figure("sold for good", page.number(result.sold_units), units),
        Figure("oversold", page.number(result.oversold_units), units),
        Figure("gave up in the queue", page.number(int(window["gave_up"])), callers),
        Figure("refused, sold out", page.number(int(window["refused"])), callers),
        Figure(
            "since due, p50 / p99",
            f"{latency['p50'] / 1000:,.1f} / {latency['p99'] / 1000:,.1f} ms",
            f"of {sum(int(window[kind]) for kind in _ANSWERS):,} answers, yes or no",
        ),
    ]


def write(directory: Path, result: FlashSaleResult, report: dict[str, Any], notice: str = "") -> None:
    """Writes flash-sale.json and flash-sale.html into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "flash-sale.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    drawings = {
        "Callers and answers a second": plots.drawn(lambda axes: _rates(axes, result)),
        "How long an answer took": plots.drawn(lambda axes: _latency(axes, result)),
    }
    checks = [(check["name"], page.Verdict.of(check), check["found"]) for check in report["checks"]]
    reasons = sorted(result.report["by_reason"].items())
    settings = page.preformatted(json.dumps(report["settings"], indent=2))
    sections = [
        ("In numbers", page.cards(figures(result))),
        ("Second by second", page.plots(drawings)),
        ("Checks", page.table(["what must hold", "", "found"], checks)),
        ("Refusals by reason", page.table(["reason", "refusals"], reasons)),
        ("Settings", page.folded("every number", settings)),
    ]
    lead = f"{result.offered_per_s:,.0f} callers a second at a server that can answer {result.peak_per_s:,.0f}."
    judged = all(check.judged for check in result.checks)
    text = page.page("Flash sale", lead, sections, passed=result.passed, all_judged=judged, notice=notice)
    (directory / "flash-sale.html").write_text(text, encoding="utf-8")


def _series(result: FlashSaleResult) -> tuple[list[float], Callable[[str], list[float]]]:
    steps = result.report["timeline"]
    width_ms = steps[1]["at_ms"] - steps[0]["at_ms"] if len(steps) > 1 else 1
    seconds = [step["at_ms"] / 1000 for step in steps]
    return seconds, lambda field: [step[field] * 1000 / width_ms for step in steps]


def _rates(axes: Any, result: FlashSaleResult) -> None:
    seconds, rate = _series(result)
    for name, field, colour in (
        ("callers", "arrived", plots.CALM),
        ("refused: sold out", "refused", plots.OTHER),
        ("reserved", "accepted", plots.ENGINE),
        ("paid", "allocated", "#0284c7"),
    ):
        axes.plot(seconds, rate(field), color=colour, label=name)
    axes.axhline(result.peak_per_s, color="#0f172a", linestyle=":", linewidth=1, label="most answers, closed loop")
    axes.set_yscale("symlog", linthresh=100)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds")
    axes.set_ylabel("a second")
    axes.legend(**plots.ABOVE)


def _latency(axes: Any, result: FlashSaleResult) -> None:
    steps = result.report["timeline"]
    seconds = [step["at_ms"] / 1000 for step in steps]
    for field, name, colour in (("latency_us_p99", "p99", plots.OTHER), ("latency_us_p50", "p50", plots.ENGINE)):
        axes.plot(seconds, [step[field] / 1000 for step in steps], color=colour, label=name)
    axes.set_xlabel("seconds")
    axes.set_ylabel("ms since it should have left")
    axes.legend(**plots.ABOVE)
