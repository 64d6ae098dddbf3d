"""The plots of a promotion."""

from __future__ import annotations

from typing import Any

from invengine.simulate.promotion.coordinator import Evidence
from invengine.simulate.promotion.findings import percentile
from invengine.simulate.report.plots import ABOVE, ENGINE, OTHER, drawn, thinned

BUCKETS = 120
HOUR_S = 3600.0


def plots_of(evidence: Evidence) -> dict[str, str]:
    """Every plot by its title."""
    return {
        "The flash item: where its units are": drawn(lambda axes: _flash(axes, evidence)),
        "Oversold units, hour by hour": drawn(lambda axes: _oversold(axes, evidence)),
        "What synchronising more often would do": drawn(lambda axes: _by_factor(axes, evidence)),
        "Reserves sent per second of the wall clock": drawn(lambda axes: _rate(axes, evidence)),
        "How long the reserve of a basket took": drawn(lambda axes: _latency(axes, evidence)),
        "How long callers of the flash sale waited": drawn(lambda axes: _waits(axes, evidence)),
    }


def _flash(axes: Any, evidence: Evidence) -> None:
    samples = thinned(evidence.auditor.history[evidence.plan.stream.flash_place][1:])
    hours = [(sample.time_ms - evidence.epoch_ms) / 1000 / HOUR_S for sample in samples]
    total = evidence.plan.stream.opening.get(evidence.plan.stream.flash_place, 0)
    parts = (
        ("sold and gone", [total - sample.on_hand for sample in samples], "#475569"),
        ("allocated", [sample.allocated for sample in samples], ENGINE),
        ("reserved", [sample.reserved for sample in samples], "#f59e0b"),
        ("available", [max(0, sample.room) for sample in samples], "#bae6fd"),
    )
    axes.stackplot(
        hours,
        *[values for _, values, _ in parts],
        labels=[name for name, _, _ in parts],
        colors=[c for _, _, c in parts],
    )
    _mark_kill(axes, evidence)
    opens = evidence.plan.assumptions.flash.starts_s / HOUR_S - 0.5
    axes.set_xlim(max(0.0, opens), max(hours[-1], opens + 1.0))
    axes.set_xlabel("hours of engine time")
    axes.set_ylabel("units")
    axes.legend(**ABOVE)


def _oversold(axes: Any, evidence: Evidence) -> None:
    end = evidence.plan.stream.seconds / HOUR_S
    series = thinned(evidence.fragmented.series)
    hours = [0.0, *(at_s / HOUR_S for at_s, _ in series), max(end, series[-1][0] / HOUR_S if series else end)]
    units = [0, *(units for _, units in series), evidence.fragmented.oversold_units]
    axes.step(hours, units, where="post", color=OTHER, label="every channel with its own copy")
    engine = evidence.at_end.oversold_units
    axes.plot([0, hours[-1]], [0, engine], color=ENGINE, linewidth=2.5, label="invengine")
    _mark_kill(axes, evidence)
    axes.set_xlabel("hours of engine time")
    axes.set_ylabel("units sold that were not there")
    axes.legend(**ABOVE)


def _by_factor(axes: Any, evidence: Evidence) -> None:
    factors = sorted(evidence.oversold_by_factor)
    names = ["as assumed" if factor == 1.0 else f"every interval ×{factor:g}" for factor in factors]
    units = [*(evidence.oversold_by_factor[factor] for factor in factors), evidence.at_end.oversold_units]
    bars = axes.barh([*names, "invengine"], units, color=[OTHER] * len(factors) + [ENGINE])
    axes.bar_label(bars, padding=3, fmt="{:,.0f}")
    axes.margins(x=0.12)
    axes.set_xlabel("oversold units")
    axes.invert_yaxis()


def _rate(axes: Any, evidence: Evidence) -> None:
    scale = evidence.plan.scale
    counts: dict[int, int] = {}
    for at_s in (*evidence.tally.at_s, *evidence.tally.flash_at_s):
        second = int(at_s / scale)
        counts[second] = counts.get(second, 0) + 1
    seconds = range(max(counts, default=0) + 1)
    axes.bar(seconds, [counts.get(second, 0) for second in seconds], width=1.0, color=ENGINE)
    axes.axvline(evidence.outage.killed_at_s / scale, color="#0f172a", linestyle=":", linewidth=1)
    axes.set_yscale("symlog", linthresh=10)
    axes.set_xlabel("seconds of the wall clock")
    axes.set_ylabel("reserves")


def _latency(axes: Any, evidence: Evidence) -> None:
    width = evidence.plan.stream.seconds / BUCKETS
    buckets: dict[int, list[float]] = {}
    for at_s, took_ms in zip(evidence.tally.at_s, evidence.tally.reserve_ms, strict=True):
        buckets.setdefault(int(at_s / width), []).append(took_ms)
    at = sorted(buckets)
    hours = [(bucket + 0.5) * width / HOUR_S for bucket in at]
    for share, name, colour in ((0.99, "p99", OTHER), (0.5, "p50", ENGINE)):
        axes.plot(hours, [percentile(sorted(buckets[bucket]), share) for bucket in at], color=colour, label=name)
    axes.set_yscale("log")
    _mark_kill(axes, evidence)
    axes.set_xlabel("hours of engine time")
    axes.set_ylabel("ms on the wall clock")
    axes.legend(**ABOVE)


def _waits(axes: Any, evidence: Evidence) -> None:
    waits = thinned(sorted(evidence.tally.flash_ms))
    shares = [100 * (at + 1) / len(waits) for at in range(len(waits))]
    axes.plot(waits, shares, color=ENGINE)
    axes.set_xscale("log")
    axes.set_xlabel("ms on the wall clock, from when each came")
    axes.set_ylabel("% of the callers")


def _mark_kill(axes: Any, evidence: Evidence) -> None:
    at = evidence.outage.killed_at_s / HOUR_S
    axes.axvline(at, color="#0f172a", linestyle=":", linewidth=1)
    place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "xytext": (3, -2)}
    axes.annotate("SIGKILL", (at, 1.0), fontsize=8, va="top", annotation_clip=True, **place)
