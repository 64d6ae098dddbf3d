"""A small flash sale for real, against a server by its address."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from invengine.simulate.flash_sale import view
from invengine.simulate.flash_sale.sale import FlashSaleSettings, run
from invengine.simulate.server import Server

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("flash")) as server:
        server.start()
        yield server
        server.stop()


def small(server: Server) -> FlashSaleSettings:
    """A sale of a few seconds: its rate means nothing here, what it sells does."""
    return FlashSaleSettings(
        target=server.address,
        journal=server.directory,
        connections=2,
        streams=16,
        items=10,
        hold_ms=1_000,
        pays_after_ms=(20, 200),
        capacity_ms=600,
        base_ms=300,
        rush_ms=2_500,
        after_ms=1_000,
        stock_s=0.1,
    )


def test_the_hot_item_is_sold_out_to_the_last_unit_and_not_beyond(server: Server, tmp_path: Path) -> None:
    stages = []
    settings = small(server)
    result = run(settings, lambda stage, step: stages.append(stage))
    kept = [check for check in result.checks if not check.name.startswith("goodput")]
    assert [check for check in kept if not check.holds] == []
    assert len(kept) == len(result.checks) - 1
    assert (result.oversold_units, result.sold_units) == (0, result.stock)
    assert result.report["by_reason"]["INSUFFICIENT_STOCK"] > 0
    assert set(stages) == {"capacity", "sold out", "sale"}
    report = view.report_of(result, settings)
    view.write(tmp_path, result, report)
    assert (tmp_path / "flash-sale.html").read_text(encoding="utf-8").count("<svg") == 2


def test_a_second_sale_on_the_same_server_has_names_of_its_own(server: Server) -> None:
    result = run(small(server))
    assert result.sold_units == result.stock
