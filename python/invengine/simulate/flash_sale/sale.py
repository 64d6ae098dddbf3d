"""`invengine simulate flash-sale`: ten times more callers than a server can answer, nearly all for one item.

It works on any server by its address. Names of items and keys are new in each run, so nothing else is touched.
First two closed loops measure what the server can do: reserves that it accepts, and the mix of a rush whose item is
sold out, since a refusal costs less. Then callers come as they like: few, then within a second ten times the higher of
the two, 90 % of them for one item that has about a second's worth of units. Most pay; 30 % give back or forget, and
those units are sold again.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from invengine.cli.machine_load import Load
from invengine.client import Client, Item, Level, Location
from invengine.simulate.flash_sale.load import LoadFailedError, run_load
from invengine.simulate.refold import Refold, refold
from invengine.simulate.report.checks import Check, all_or

GOODPUT_RATIO_MIN = 0.9
_SPEED = "goodput"
ITEMS_MAX = 1_000
STEP_MS = 1_000
"""How long the rate takes to rise."""
PLENTY = 100_000_000


@dataclass(frozen=True, slots=True)
class FlashSaleSettings:
    """How large a flash sale. The defaults are those of the benchmark."""

    target: str
    """The server, as host:port."""
    journal: Path | None = None
    """Its journal, if it is on this machine: it is folded again at the end. The server must still run."""
    connections: int = 16
    streams: int = 32
    """Calls in flight on each connection."""
    items: int = 1_000
    hot_share: float = 0.9
    times: float = 10.0
    """How many times the capacity is offered."""
    stock_s: float = 1.0
    """Seconds of capacity after which the hot item is sold out."""
    abandon_share: float = 0.3
    hold_ms: int = 2_000
    pays_after_ms: tuple[int, int] = (50, 800)
    capacity_ms: int = 3_000
    base_ms: int = 2_000
    base_share: float = 0.05
    """Of the capacity, before and after the rush."""
    rush_ms: int = 5_000
    after_ms: int = 3_000
    queue_patience_ms: int = 250
    """A caller who finds no free connection for this long gives up."""
    patience_ms: int = 1_000
    """An answer that takes longer is late, and counts for nothing."""
    interval_ms: int = 100
    core: int | None = None
    """The core that the load generator is pinned to."""
    watch_pid: int | None = None
    """The server's process, to measure its CPU."""
    seed: int = 1


@dataclass(frozen=True, slots=True)
class FlashSaleResult:
    """The result of a flash sale."""

    capacity_per_s: float
    """Reserves that were accepted in a closed loop."""
    peak_per_s: float
    """The highest rate of answers, accepted or refused, of a closed loop: reserves, or the mix after the sell-out."""
    offered_per_s: float
    goodput_per_s: float
    """Answers in time, accepted or refused, while `offered_per_s` was offered."""
    stock: int
    sold_units: int
    """Units of the hot item that are allocated in the end, according to the server."""
    oversold_units: int
    report: Mapping[str, Any]
    """The load generator's own report of the sale."""
    capacity_report: Mapping[str, Any]
    phases: tuple[int, int, int, int]
    """When the base, the step, the rush and the end begin, in milliseconds."""
    checks: tuple[Check, ...] = ()

    @property
    def goodput_ratio(self) -> float:
        """Goodput under the rush, as a part of the peak."""
        return self.goodput_per_s / self.peak_per_s if self.peak_per_s else 0.0

    @property
    def sold_ratio(self) -> float:
        """Units sold for good, as a part of the stock."""
        return self.sold_units / self.stock if self.stock else 0.0

    @property
    def passed(self) -> bool:
        """True if every check holds."""
        return not any(check.failed for check in self.checks)


Step = Callable[[str, Mapping[str, Any]], None]
"""Gets the stage and each step of the load generator's timeline."""


def run(settings: FlashSaleSettings, on_step: Step | None = None) -> FlashSaleResult:
    """Measures the capacity, runs the flash sale and checks its result."""
    sale = _Sale(settings, uuid.uuid4().hex[:8])
    with Client(settings.target, actor="flash-sale", timeout_s=30.0) as client:
        sale.open(client)
        capacity_report = run_load(sale.capacity_spec(), _decision_of(on_step, "capacity"))
        # Holds of this run must have expired before the next, or their expiry would be measured too.
        time.sleep(settings.hold_ms / 1000 + 0.2)
        sold_out_report = run_load(sale.sold_out_spec(), _decision_of(on_step, "sold out"))
        capacity, sold_out = _good_per_s(capacity_report), _good_per_s(sold_out_report)
        stock = sale.stock(client, capacity)
        report = run_load(sale.rush_spec(max(capacity, sold_out), stock), _decision_of(on_step, "sale"))
        measured = _Measurements(
            capacity=capacity,
            peak=max(capacity, sold_out),
            stock=stock,
            report=report,
            capacity_report=capacity_report,
            levels=sale.levels(client),
            lost=sale.lost(client, report["accepted_keys"]),
            refolded=None if settings.journal is None else refold(settings.journal, client.digest().sequence),
        )
    return _result_of(sale, measured)


@dataclass(frozen=True, slots=True)
class _Measurements:
    """The results of both runs and the server's state."""

    capacity: float
    peak: float
    stock: int
    report: Mapping[str, Any]
    capacity_report: Mapping[str, Any]
    levels: Mapping[str, Level]
    lost: list[str]
    refolded: Refold | None

    @property
    def units(self) -> dict[str, Mapping[str, int]]:
        """The callers' own ledger by item."""
        return {each["sku"]: each for each in self.report["units"]}


class _Sale:
    """One sale: its names, and the specs for the load generator."""

    def __init__(self, settings: FlashSaleSettings, tag: str) -> None:
        self.settings = settings
        self.prefix = f"flash-{tag}"
        self.warm = f"warm-{tag}"
        self.sold_out = f"gone-{tag}"
        self.location = f"flash-{tag}"

    @property
    def hot(self) -> str:
        """The item in demand."""
        return f"{self.prefix}-0000000"

    def open(self, client: Client) -> None:
        """Creates items and location; every item has plenty of stock, except the hot item and the sold-out one."""
        empty = {f"{name}-{0:07}" for name in (self.prefix, self.sold_out)}
        numbers = range(self.settings.items)
        names = [f"{name}-{number:07}" for name in (self.prefix, self.sold_out) for number in numbers]
        names.append(f"{self.warm}-{0:07}")
        client.upsert_locations([Location(self.location)], key=f"{self.location}/location")
        for start in range(0, len(names), ITEMS_MAX):
            part = names[start : start + ITEMS_MAX]
            client.upsert_items([Item(name) for name in part], key=f"{self.location}/items-{start}")
            lines = [(name, self.location, PLENTY) for name in part if name not in empty]
            client.receive(lines, key=f"{self.location}/plenty-{start}")

    def stock(self, client: Client, capacity: float) -> int:
        """Gives the hot item its units: as many as a second of the rush can take."""
        units = max(1, round(capacity * self.settings.stock_s * self.settings.hot_share))
        client.receive([(self.hot, self.location, units)], key=f"{self.location}/stock")
        return units

    def capacity_spec(self) -> dict[str, Any]:
        """A closed loop of reserves of an item that never sells out."""
        settings = self.settings
        return {
            **self._shared("capacity"),
            "skus": {"prefix": self.warm, "count": 1},
            "duration_ms": settings.capacity_ms,
            "measure_from_ms": settings.capacity_ms // 4,
        }

    def sold_out_spec(self) -> dict[str, Any]:
        """A closed loop of what callers do once the item that they want is sold out: most are refused, others pay."""
        return {
            **self.capacity_spec(),
            "key_prefix": f"{self.location}/sold-out",
            "buyers": self._buyers(abandon_until=0),
            "skus": self._skus(self.sold_out),
        }

    def rush_spec(self, peak: float, stock: int) -> dict[str, Any]:
        """The open loop of the sale."""
        settings = self.settings
        base, most = peak * settings.base_share, peak * settings.times
        rates = [
            (settings.base_ms, base, base),
            (STEP_MS, base, most),
            (settings.rush_ms, most, most),
            (200, most, base),
            (settings.after_ms, base, base),
        ]
        phases = [{"ms": ms, "from_per_s": start, "to_per_s": end} for ms, start, end in rates]
        return {
            **self._shared("sale"),
            "pace": {"phases": phases, "poisson": True, "queue_patience_ms": settings.queue_patience_ms},
            "buyers": self._buyers(abandon_until=stock),
            "skus": self._skus(self.prefix),
            "measure_from_ms": 0,
            "patience_ms": settings.patience_ms,
            "drain_ms": settings.hold_ms + 10_000,
        }

    def _skus(self, prefix: str) -> dict[str, Any]:
        return {"prefix": prefix, "count": self.settings.items, "hot_share": self.settings.hot_share}

    def _buyers(self, abandon_until: int) -> dict[str, Any]:
        first_ms, last_ms = self.settings.pays_after_ms
        return {
            "after_ms_min": first_ms,
            "after_ms_max": last_ms,
            "abandon_share": self.settings.abandon_share,
            "release_share": 0.5,
            "abandon_until": abandon_until,
        }

    def _shared(self, stage: str) -> dict[str, Any]:
        settings = self.settings
        return {
            "target": settings.target,
            "connections": settings.connections,
            "streams": settings.streams,
            "location": self.location,
            "ttl_ms": settings.hold_ms,
            "key_prefix": f"{self.location}/{stage}",
            "core": settings.core,
            "watch_pid": settings.watch_pid,
            "interval_ms": settings.interval_ms,
            "seed": settings.seed,
        }

    def levels(self, client: Client) -> dict[str, Level]:
        """The server's level of every item of the sale, once nothing is reserved any more."""
        deadline = time.monotonic() + self.settings.hold_ms / 1000 + 10.0
        while True:
            found = {level.sku: level for level in client.list_levels(location=self.location)}
            if not any(level.reserved for level in found.values()) or time.monotonic() > deadline:
                return found
            time.sleep(0.1)

    def lost(self, client: Client, keys: Iterable[str]) -> list[str]:
        """Keys of accepted reserves that the server does not know."""
        return [key for key in keys if not client.get_outcome(key).known]


def _good_per_s(report: Mapping[str, Any]) -> float:
    if not report["window"]["seconds"]:
        raise LoadFailedError("nothing was measured: the run ended before its measured part began")
    return float(report["window"]["good"] / report["window"]["seconds"])


def _decision_of(on_step: Step | None, stage: str) -> Callable[[dict[str, Any]], None] | None:
    return None if on_step is None else lambda step: on_step(stage, step)


def _result_of(sale: _Sale, measured: _Measurements) -> FlashSaleResult:
    settings, hot = sale.settings, measured.levels[sale.hot]
    sold = measured.units.get(sale.hot, {}).get("allocated", 0)
    oversold = max(0, sold - measured.stock) + hot.oversold
    rush_from = settings.base_ms + STEP_MS
    rush_to = rush_from + settings.rush_ms
    result = FlashSaleResult(
        capacity_per_s=measured.capacity,
        peak_per_s=measured.peak,
        offered_per_s=measured.peak * settings.times,
        goodput_per_s=goodput_per_s(measured.report["timeline"], settings.interval_ms, rush_from, rush_to),
        stock=measured.stock,
        sold_units=hot.allocated,
        oversold_units=oversold + (0 if measured.refolded is None else measured.refolded.oversold_units),
        report=measured.report,
        capacity_report=measured.capacity_report,
        phases=(0, settings.base_ms, rush_from, rush_to),
    )
    return replace(result, checks=tuple(_checks(result, measured)))


def judged_on(result: FlashSaleResult, load: Load | None) -> FlashSaleResult:
    """The result as it may be judged on a machine with this load: what was sold always, speed only on a quiet one."""
    if load is not None and load.quiet:
        return result
    checks = [check._replace(judged=not check.name.startswith(_SPEED)) for check in result.checks]
    return replace(result, checks=tuple(checks))


def _checks(result: FlashSaleResult, measured: _Measurements) -> list[Check]:
    ratio, report = result.goodput_ratio, result.report
    unequal = [sku for sku, mine in measured.units.items() if mine["allocated"] != measured.levels[sku].allocated]
    broken = [level.sku for level in measured.levels.values() if not adds_up(level)]
    unsound = report["broken"] + report["unanswered"] + result.capacity_report["broken"]
    found = [
        Check(f"{_SPEED} ÷ peak ≥ {GOODPUT_RATIO_MIN}", ratio >= GOODPUT_RATIO_MIN, f"{ratio:.2f}"),
        Check("no unit was oversold", result.oversold_units == 0, f"{result.oversold_units}"),
        Check("sold ÷ stock = 1.000", result.sold_units == result.stock, f"{result.sold_ratio:.3f}"),
        Check("the callers' ledger is the server's", not unequal, all_or(unequal)),
        Check("every level adds up", not broken, all_or(broken)),
        Check("every answer keeps the contract, none is missing", unsound == 0, f"{unsound} do not"),
        Check("accepted reserves are known by their keys", not measured.lost, all_or(measured.lost)),
    ]
    if measured.refolded is not None:
        broken = list(measured.refolded.broken)
        found.append(Check("every invariant held while re-folding", not broken, all_or(broken)))
    return found


def adds_up(level: Level) -> bool:
    """True if on_hand = available + held + unsellable, nothing is negative and there is no shortage."""
    held = level.reserved + level.allocated
    return level.on_hand == level.available + held + level.unsellable and min(level.available, held, level.on_hand) >= 0


def goodput_per_s(timeline: Iterable[Mapping[str, int]], interval_ms: int, from_ms: int, to_ms: int) -> float:
    """Answers in time per second, accepted or refused, over the steps between two moments."""
    inside = [step for step in timeline if from_ms <= step["at_ms"] and step["at_ms"] + interval_ms <= to_ms]
    good = sum(
        step["accepted"] + step["refused"] + step["allocated"] + step["released"] - step["late"] for step in inside
    )
    return good / (len(inside) * interval_ms / 1000) if inside else 0.0
