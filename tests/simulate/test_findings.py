"""The report: its keys, and that each check fails when it should."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from invengine.cli.machine_load import Load
from invengine.client import Digest, ServerDescription
from invengine.simulate.audit import NOTHING, Auditor
from invengine.simulate.promotion import run, wording
from invengine.simulate.promotion.assumptions import Assumptions
from invengine.simulate.promotion.coordinator import Evidence, Outage, Plan
from invengine.simulate.promotion.event_counts import EventCounts
from invengine.simulate.promotion.findings import late_sales, percentile, report_of
from invengine.simulate.promotion.fragmented import Fragmented
from invengine.simulate.promotion.sales import Behaviour, Line, Sale, Stream
from invengine.simulate.promotion.tally import Shortage, Tally
from invengine.simulate.refold import read

from .facts import PLACE, START, Journal

EPOCH_MS = START.timestamp() * 1000
REFOLD = {
    "sequence": 5,
    "digest": "d5",
    "oversold_units_by_reserve": 0,
    "invariants": {"levels add up": True},
    "broken": [],
    "counts": {"reservations": 1},
    "elapsed_ms": 1.5,
}


def evidence(free: Path) -> Evidence:
    """One customer of one unit, a kill, and nothing wrong."""
    journal = Journal()
    journal.stock(3)
    journal.reserved("a", 1, at_s=10, ends_s=900)
    journal.allocated("a", 1, at_s=20)
    journal.fulfilled("a", 1, at_s=30)
    auditor, counts = Auditor(), EventCounts(PLACE)
    for event in journal.events:
        auditor.take(event)
        counts.take(event)
    sale = Sale("a", "web", 10.0, (Line(*PLACE, 1),), 900.0, Behaviour.PAYS, 10.0, 10.0)
    stream = Stream("one customer", 3600.0, (sale,), (), (), {PLACE: 3}, {PLACE[0]: "Mug"}, PLACE, 1)
    tally = Tally(accepted=Counter(reserve=1, allocate=1, fulfill=1), looked_up=3, units_reserved=1)
    tally.refused["reserve INSUFFICIENT_STOCK"] = 2
    tally.fulfilled[PLACE] = 1
    tally.orders["fulfilled"] = 1
    for at_s, took_ms in ((10.0, 2.0), (1800.0, 900.0), (3000.0, 4.0)):
        tally.at_s.append(at_s)
        tally.reserve_ms.append(took_ms)
        tally.reserve_late_ms.append(took_ms)
    return Evidence(
        plan=Plan(stream, Assumptions(), 100.0, free, 1800.0),
        tallies={"web": tally},
        tally=tally,
        answers=3,
        lost=(),
        outage=Outage(Digest("d3", 3), 1800.0, 850.0, description()),
        digest=Digest("d5", 5),
        at_outage=replace(read(REFOLD), sequence=3, digest="d3"),
        at_end=read(REFOLD),
        auditor=auditor,
        counts=counts,
        differences=(),
        fragmented=Fragmented(oversold_units=4, cancelled_orders=3, series=[(5.0, 4)]),
        oversold_by_factor={0.5: 1, 1.0: 4},
        epoch_ms=EPOCH_MS,
        played_s=36.0,
    )


def description() -> ServerDescription:
    """The description of the server after the kill."""
    return ServerDescription(
        *("1", "main", 2, "file", "none", 3, 3, START, 100.0, 86400.0, 1, 1, 1000, 1000),
        0.012,
        3,
        "native",
        *(0, None, 1, 0, 0.0, 4 << 20, 2 << 20, 2000),
    )


def test_the_report_has_what_was_asked_for(tmp_path: Path) -> None:
    report = report_of(evidence(tmp_path))
    assert report["passed"], report["checks"]
    engine = report["engine"]
    assert (engine["accepted"], engine["refused"]) == (1, {"INSUFFICIENT_STOCK": 2})
    assert (engine["expired"], engine["reacquired"], engine["replayed"]) == (0, 0, 0)
    assert (engine["oversold_units"], engine["lost_acknowledged"]) == (0, 0)
    assert (engine["digest_at"], engine["digest_live"], engine["digest_refolded"]) == (3, "d3", "d3")
    assert engine["recovery_ms"] == pytest.approx(12.0)
    assert report["fragmented"]["oversold_units"] == 4
    assert report["throughput"]["commands"] == 5
    assert report["latency_ms"]["reserve"]["max"] == 900.0
    assert report["latency_ms"]["reserve_without_outage"]["max"] == 4.0
    assert json.loads(json.dumps(report))["engine"] == engine


def _oversold(seen: Evidence) -> Evidence:
    return replace(seen, at_end=replace(seen.at_end, oversold_units=1))


def _lost(seen: Evidence) -> Evidence:
    return replace(seen, lost=("web a/reserve",))


def _digest(seen: Evidence) -> Evidence:
    return replace(seen, at_outage=replace(seen.at_outage, digest="other"))


def _invariant(seen: Evidence) -> Evidence:
    return replace(seen, at_end=replace(seen.at_end, broken=("levels add up",)))


def _ledger(seen: Evidence) -> Evidence:
    seen.tally.fulfilled[PLACE] += 1
    return seen


def _forgotten(seen: Evidence) -> Evidence:
    seen.tally.lost.append("web a/reserve")
    return seen


def _left(seen: Evidence) -> Evidence:
    seen.auditor.levels[PLACE].reserved += 1
    return seen


@pytest.mark.parametrize("spoil", [_oversold, _lost, _digest, _invariant, _ledger, _forgotten, _left])
def test_what_is_wrong_fails_a_check(tmp_path: Path, spoil: Any) -> None:
    report = report_of(spoil(evidence(tmp_path)))
    assert not report["passed"]
    assert [check["name"] for check in report["checks"] if not check["holds"]] != []


def test_the_page_stands_alone(tmp_path: Path) -> None:
    run.write(evidence(tmp_path))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == 6
    # The only addresses in it are the names of XML's own vocabularies.
    assert {part.split('"')[0] for part in page.split('"http')[1:]} <= {
        "://www.w3.org/2000/svg",
        "://www.w3.org/1999/xlink",
        "://purl.org/dc/elements/1.1/",
        "://creativecommons.org/ns#",
        "://www.w3.org/1999/02/22-rdf-syntax-ns#",
        "://purl.org/dc/dcmitype/StillImage",
    }
    assert "<script" not in page
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["passed"] is True


def test_only_goods_that_were_there_when_the_till_sold_them_came_late(tmp_path: Path) -> None:
    seen = evidence(tmp_path)
    seen.tally.short += [Shortage(60.0, PLACE, 2), Shortage(90.0, PLACE, 1), Shortage(95.0, PLACE, 1, sold_before=2)]
    rooms = {60.0: 1, 90.0: 0, 95.0: 2}
    seen.auditor.history[PLACE] = [
        NOTHING._replace(time_ms=int(EPOCH_MS + at_s * 1000), room=room) for at_s, room in rooms.items()
    ]
    assert late_sales(seen) == {60.0: 1}
    assert report_of(seen)["engine"]["cancelled_orders"] == 1


def _twice(seen: Evidence) -> Evidence:
    seen.tally.orders["refused"] += 1
    return seen


def test_an_order_that_is_counted_twice_fails_a_check(tmp_path: Path) -> None:
    failed = [check["name"] for check in report_of(_twice(evidence(tmp_path)))["checks"] if not check["holds"]]
    assert failed == ["every order is counted once, by how it ended"]


def test_a_latency_is_reported_with_and_without_the_calls_around_the_kill(tmp_path: Path) -> None:
    """The kill makes callers wait: leaving them out is fair only beside the figure that has them."""
    seen = evidence(tmp_path)
    seen.tally.flash_at_s.append(1800.0)
    seen.tally.flash_ms.append(700.0)
    latency = report_of(seen)["latency_ms"]
    assert {name: found["count"] for name, found in latency.items() if "reserve" in name or "flash" in name} == {
        "reserve": 3,
        "reserve_without_outage": 2,
        "reserve_around_outage": 1,
        "reserve_since_due": 3,
        "reserve_since_due_without_outage": 2,
        "reserve_since_due_around_outage": 1,
        "flash_since_due": 1,
        "flash_since_due_without_outage": 0,
        "flash_since_due_around_outage": 1,
    }
    assert set(wording.LATENCY_NAMES) == set(latency)
    parts = {name for name in latency if not name.endswith(("_without_outage", "_around_outage"))}
    assert {f"{name}{part}" for name in parts for part in ("", "_without_outage", "_around_outage")} == set(latency)
    shown = {(figure.name, figure.value, figure.of) for figure in run.figures(report_of(seen))}
    assert ("p50 / p99 of a basket's reserve", "4.0 / 900.0 ms", "of all 3 calls") in shown
    away = "p50 / p99 of a basket's reserve, away from the kill"
    assert (away, "2.0 / 4.0 ms", "of 2 calls, without the 1 around the kill") in shown
    assert all(figure.of for figure in run.figures(report_of(seen)))


def test_other_commands_and_uploads_are_parted_by_the_kill_too(tmp_path: Path) -> None:
    seen = evidence(tmp_path)
    for at_s, took_ms in ((10.0, 2.0), (1800.0, 3727.0)):
        seen.tally.command_at_s.append(at_s)
        seen.tally.command_ms.append(took_ms)
        seen.tally.uploads_at_s.append(at_s)
        seen.tally.uploads_ms.append(took_ms)
    latency = report_of(seen)["latency_ms"]
    for name in ("other_commands", "store_upload"):
        assert (latency[name]["max"], latency[name]["count"]) == (3727.0, 2)
        assert (latency[f"{name}_without_outage"]["max"], latency[f"{name}_without_outage"]["count"]) == (2.0, 1)


def test_an_end_of_an_order_is_said_in_words(tmp_path: Path) -> None:
    seen = evidence(tmp_path)
    reasons = ["RESERVATION_EXPIRED", "not confirmed ALREADY_RELEASED", "ENTITY_IN_USE"]
    for end in reasons:
        seen.tally.orders[end] = 1
    run.write(seen)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "the hold had expired" in page
    assert "not confirmed the hold was released before" in page
    assert "entity in use" in page
    ends = page[page.index("How orders ended") : page.index("Reserves accepted and refused")]
    assert re.findall(r"[A-Z]+_[A-Z]+", ends) == []


def test_every_assumption_has_a_name_of_its_own() -> None:
    rows = [(area, name) for area, name, _ in wording.assumptions(Assumptions().listed())]
    assert len(rows) == len(set(rows))
    bare = {"late", "duplicate", "comes back", "takes rest", "cover", "sync", "delay", "hold"}
    assert [name for _, name in rows if name in bare or "_" in name] == []
    assert ("stock at the start", "stock, as a multiple of what a usual weekend sells there") in rows


def test_rejections_are_counted_by_flash_sale_and_baskets(tmp_path: Path) -> None:
    seen = evidence(tmp_path)
    flash = Tally(accepted=Counter(reserve=5), refused=Counter({"reserve INSUFFICIENT_STOCK": 90}))
    report = report_of(replace(seen, tallies={**seen.tallies, "app-flash": flash}))
    assert report["engine"]["reserves"] == {
        "flash_sale": {"accepted": 5, "refused": 90},
        "baskets": {"accepted": 1, "refused": 2},
    }
    shown = {figure.name: (figure.value, figure.of) for figure in run.figures(report)}
    assert shown["reserves refused in the flash sale"] == ("90", "of 95 there")
    assert shown["reserves of baskets refused"] == ("2", "of 3 there")


def test_the_page_explains_its_words_and_begins_with_the_comparison(tmp_path: Path) -> None:
    run.write(evidence(tmp_path))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.index("One ledger, and the fragmented way") < page.index("In numbers") < page.index("<svg")
    for word in ("Digest: ", "Re-folding: ", "Auditor: ", "Own copies: "):
        assert f"<p>{word}" in page
    rows = list(wording.assumptions(Assumptions().listed()))
    assert ("baskets", "a hold lasts", "15 min") in rows
    assert ("own copies", "marketplace-b: its copy is brought up to date every", "30 min") in rows
    assert ("flash sale", "customers who neither pay nor cancel", "20%") in rows
    assert "hold_s" not in page


PHONE_POINTS = 320
"""What is left for a chart on a phone of 390 pixels; drawn no wider than this, its text is as large as it was drawn."""


def test_charts_are_drawn_for_a_phone(tmp_path: Path) -> None:
    run.write(evidence(tmp_path))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    widths = [float(width) for width in re.findall(r'<svg[^>]* width="([0-9.]+)pt"', page)]
    assert len(widths) == 6
    assert max(widths) <= PHONE_POINTS
    sizes = [float(size) for size in re.findall(r"font: (?:[a-z]+ )?([0-9.]+)px", page)]
    assert min(sizes) >= 7


def test_a_busy_machine_is_reported_and_by_how_much(tmp_path: Path) -> None:
    seen = evidence(tmp_path)
    assert "cannot be measured" in report_of(seen)["notice"]
    assert report_of(replace(seen, load=Load(2, 0.04, 0.01)))["notice"] == ""
    busy = report_of(replace(seen, load=Load(2, 0.35, 0.05)))
    assert busy["notice"].startswith("The machine was too busy to judge speed: other programs took 35% of its 2 cores")
    assert busy["machine"] == {"quiet": False, "others_share": 0.35, "steal_share": 0.05, "cores": 2}
    run.write(replace(seen, load=Load(2, 0.35, 0.05)))
    assert "too busy to judge speed" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_what_verify_finds_broken_is_named() -> None:
    assert read(REFOLD).broken == ()
    spoiled = {**REFOLD, "invariants": {"levels_add_up": False, "keys": True}, "broken": ["at 3: MUG is short"]}
    assert read(spoiled).broken == ("levels_add_up", "at 3: MUG is short")


def test_percentiles_of_few_values() -> None:
    assert percentile([], 0.5) == 0.0
    assert percentile([1.0], 0.99) == 1.0
    assert percentile([float(at) for at in range(101)], 0.99) == 99.0
