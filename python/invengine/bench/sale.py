"""P10: a flash sale at ten times the capacity, as `invengine simulate flash-sale` plays it."""

from __future__ import annotations

from invengine.bench import figures, generator
from invengine.bench.checks import check_and_end, require
from invengine.bench.figures import Figure, figure
from invengine.bench.rounds import Plan, interleaved, values
from invengine.bench.server import Server, serving
from invengine.simulate.flash_sale import sale as flash_sale
from invengine.simulate.flash_sale.sale import FlashSaleResult, FlashSaleSettings

ROUNDS_MAX = 3
"""A sale includes a rush and takes longer than other runs."""
JUDGED = ("goodput", "sold")
"""Checks of the simulation that are figures here: they are published whether they are good or not."""


def flash(plan: Plan) -> list[Figure]:
    """P10: answers in time under the rush, relative to the peak; units oversold, and the share of the stock sold."""
    sales: list[FlashSaleResult] = []
    with serving(plan, "sale") as server:
        for number in range(min(plan.rounds, ROUNDS_MAX)):
            plan.step(f"sale {number + 1}")
            sales.append(_sale(plan, server, number))
        synced = interleaved(plan, {"sync": lambda: generator.sync_us(plan)})
        check_and_end("P10", server)
    return [
        figure("P10.goodput_ratio", figures.RATIO, [sale.goodput_ratio for sale in sales]),
        figure("P10.oversold_units", figures.UNITS, [sale.oversold_units for sale in sales]),
        figure("P10.sold_ratio", figures.RATIO, [sale.sold_ratio for sale in sales]),
        figure("P10.peak", figures.PER_S, [sale.peak_per_s for sale in sales]),
        figure("P10.offered", figures.PER_S, [sale.offered_per_s for sale in sales]),
        figure("P10.sync_us", figures.US, values(synced["sync"])),
        figure("P10.cpu_s_per_million", figures.CPU_S_PER_MILLION, [_cpu_s_per_million(sale) for sale in sales]),
    ]


def _sale(plan: Plan, server: Server, number: int) -> FlashSaleResult:
    settings = FlashSaleSettings(
        server.address, journal=server.directory, core=plan.cores.load, watch_pid=server.pid, seed=number + 1
    )
    result = flash_sale.run(settings)
    failed = [check for check in result.checks if not check.holds and not check.name.startswith(JUDGED)]
    require("P10", [f"{check.name}: {check.found}" for check in failed])
    return result


def _cpu_s_per_million(sale: FlashSaleResult) -> float:
    """CPU of the server for a million answers, accepted or refused, while the capacity was measured."""
    report = sale.capacity_report
    used_s: float = sum(report["server_cpu_s"].values())
    answered: int = report["window"]["good"]
    return 1e6 * used_s / max(1, answered)
