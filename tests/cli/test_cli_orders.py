"""`invengine orders import | export`: orders under way become holds, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from invengine import Client, Engine
from invengine.cli.csvfile import read_table
from invengine.cli.exits import ExitCode
from invengine.cli.imports import Report
from invengine.cli.order_lines import KEY_CHARS, key_of, orders_of
from invengine.client import Channel
from invengine.v1 import inventory_service_pb2

from .file_cases import Failing, Meddling, counts, ledger, run, told, write
from .scripted import CommandLine

HEADER = "order_ref,sku,location,quantity,channel,holder,state,ttl_s"
SKUS, PLACES = ("MUG", "CUP"), ("berlin", "lyon")
STOCK = [("MUG", "berlin", 10), ("CUP", "berlin", 10), ("MUG", "lyon", 3)]


def stocked(client: Client) -> Client:
    """Gives a ledger stock and a channel."""
    client.upsert_channels([Channel("web"), Channel("app")])
    client.set_quantity(STOCK)
    return client


def held(client: Client) -> Counter[tuple[Any, ...]]:
    """The units that orders hold, by everything but the time of expiry."""
    found: Counter[tuple[Any, ...]] = Counter()
    for each in client.list_reservations():
        for line in each.lines:
            names = (each.order_ref, each.channel, each.holder, line.sku, line.location)
            found[*names, "allocated"] += line.allocated
            found[*names, "reserved"] += line.reserved
    return +found


def test_the_lines_of_an_order_become_one_hold(line: CommandLine, tmp_path: Path) -> None:
    rows = ("o-1,MUG,berlin,2,web,ann,,", "o-2,CUP,berlin,1,,,reserved,600", "o-1,CUP,berlin,3,web,ann,allocated,")
    file = write(tmp_path / "orders.csv", HEADER, *rows)
    with ledger(SKUS, PLACES) as client:
        stocked(client)
        ran = run(line, client, "orders", "import", str(file), "--json")
        assert (ran.code, counts(ran)["imported"], ran.objects[0]["orders"], ran.objects[0]["holds"]) == (0, 3, 2, 2)
        first, second = client.list_reservations()
        assert (first.order_ref, first.channel, first.holder) == ("o-1", "web", "ann")
        assert {(each.sku, each.allocated) for each in first.lines} == {("MUG", 2), ("CUP", 3)}
        assert [(each.reserved, each.allocated) for each in second.lines] == [(1, 0)]
        assert 500 < (second.expire_time - second.create_time).total_seconds() <= 601
        digest = client.digest()
        again = run(line, client, "orders", "import", str(file), "--json")
        assert (again.code, counts(again)["already_done"], client.digest()) == (0, 3, digest)
        client.fulfill(order="o-1", channel="web")
        again = run(line, client, "orders", "import", str(file), "--json")
        assert (again.code, counts(again)["already_done"]) == (0, 3), "what has left since is not held again"


BAD = {
    "o-3,MUG,berlin,0,,,,": "at least 1",
    "o-4,MUG,berlin,-1,,,,": "whole number of units",
    "o-5,MUG,berlin,1.0,,,,": "whole number of units",
    "o-6,MUG,berlin,,,,,": "quantity is empty",
    ",MUG,berlin,1,,,,": "order_ref is empty",
    "o-7,MUG,berlin": "no cell for quantity",
    "o-8,MUG,berlin,1,,,sold,": "not a state of an order under way",
    "o-9,MUG,berlin,1,,,allocated,60": "does not expire",
    "o-10,MUG,berlin,1,,,reserved,0": "seconds from 1",
    "o-11,MUG,berlin,1,,,reserved,soon": "seconds from 1",
    "o-12,MUG,berlin,1,,,reserved,2592001": "to 2592000",
    f"{'o' * 129},MUG,berlin,1,,,,": "at most 128",
    f"o-13,MUG,berlin,1,,{'h' * 129},,": "at most 128",
    "o-14,NONE,berlin,1,,,,": 'sku "NONE" is not in the catalogue',
    "o-15,MUG,nowhere,1,,,,": 'location "nowhere" is not in the catalogue',
    "o-16,MUG,berlin,1,fax,,,": 'channel "fax" is not in the catalogue',
    "o-17,MUG,lyon,4,,,,": "requested 4, available 3",
    "o-18,MUG,berlin,9,,,,": "requested 9, available 8 after what other lines take",
    "o-19,CUP,lyon,1,,,,": "requested 1, available 0",
    "o-0,CUP,berlin,1,,,,": "has a hold already",
    "o-1,MUG,berlin,1,,,,": "was on line 2 already",
}


@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
def test_every_bad_line_is_told_and_nothing_is_held(line: CommandLine, tmp_path: Path, flags: list[str]) -> None:
    file = write(tmp_path / "orders.csv", HEADER, "o-1,MUG,berlin,2,,,,", "o-2,MUG,berlin,2,,,,", *BAD)
    with ledger(SKUS, PLACES) as client:
        stocked(client)
        client.reserve([("CUP", "berlin", 1)], order_ref="o-0")
        digest = client.digest()
        ran = run(line, client, "orders", "import", str(file), "--json", *flags)
        assert ran.code == ExitCode.USAGE
        problems = told(ran)
        for number, (row, words) in enumerate(BAD.items(), 4):
            assert words in problems[number], (row, problems)
        assert problems.keys() == set(range(4, 4 + len(BAD)))
        assert client.digest() == digest


def test_an_order_with_a_bad_line_is_left_out_as_a_whole(line: CommandLine, tmp_path: Path) -> None:
    rows = ("o-1,MUG,berlin,2,,,,", "o-1,MUG,lyon,4,,,,", "o-2,MUG,berlin,10,,,,", "o-3,CUP,berlin,1")
    file = write(tmp_path / "orders.csv", HEADER, *rows, "o-3,MUG,lyon,1,,,,")
    with ledger(SKUS, PLACES) as client:
        stocked(client)
        for flags in (["--dry-run"], []):
            ran = run(line, client, "orders", "import", str(file), "--json", "--skip-bad", *flags)
            assert (ran.code, set(told(ran))) == (ExitCode.PARTLY, {3, 5})
            assert counts(ran)["left_out"] == 2
        # What a bad order does not take is there for the next.
        assert held(client) == {("o-2", "", "", "MUG", "berlin", "allocated"): 10}


def test_a_file_without_a_column_for_the_channel_is_of_the_flag(
    line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = write(tmp_path / "absent.csv", "order_ref,sku,location,quantity", "o-1,MUG,berlin,1")
    empty = write(tmp_path / "empty.csv", "order_ref,sku,location,quantity,channel", "o-2,MUG,berlin,1,")
    with ledger(SKUS, PLACES) as client:
        stocked(client)
        monkeypatch.setenv("INVENGINE_CHANNEL", "app")
        for file in (absent, empty):
            assert run(line, client, "orders", "import", str(file)).code == 0
        assert {each.order_ref: each.channel for each in client.list_reservations()} == {"o-1": "app", "o-2": ""}
        other = write(tmp_path / "other.csv", "order_ref,sku,location,quantity", "o-3,MUG,berlin,1")
        assert run(line, client, "orders", "import", str(other), "--channel", "web").code == 0
        assert {each.channel for each in client.list_reservations(order="o-3")} == {"web"}
        again = run(line, client, "orders", "import", str(other), "--channel", "app", "--json")
        assert "has a hold already" in told(again)[2], "another channel is another hold"


def test_a_changed_file_does_not_hold_its_orders_again(line: CommandLine, tmp_path: Path) -> None:
    file = write(tmp_path / "orders.csv", HEADER, "o-1,MUG,berlin,2,,,,")
    with ledger(SKUS, PLACES) as client:
        stocked(client)
        assert run(line, client, "orders", "import", str(file)).code == 0
        write(file, HEADER, "o-1,MUG,berlin,2,,,,", "o-2,CUP,berlin,1,,,,")
        assert run(line, client, "orders", "import", str(file)).code == ExitCode.REJECTED
        assert run(line, client, "orders", "import", str(file), "--skip-bad").code == ExitCode.PARTLY
        assert client.availability("MUG", "berlin") == 8
        assert client.availability("CUP", "berlin") == 9


def between(kind: Callable[[Engine], Any]) -> tuple[list[Any], Callable[[Engine], Any]]:
    """Puts something between engine and door, and keeps it."""
    kept: list[Any] = []

    def around(engine: Engine) -> Any:
        kept.append(kind(engine))
        return kept[0]

    return kept, around


def test_an_import_that_failed_in_the_middle_is_continued(line: CommandLine, tmp_path: Path) -> None:
    rows = [f"o-{number},MUG,berlin,1,,,," for number in range(700)]
    file = write(tmp_path / "orders.csv", HEADER, *rows)
    kept, around = between(Failing)
    with ledger(SKUS, PLACES, around) as client:
        client.set_quantity([("MUG", "berlin", 700)])
        kept[0].method, kept[0].left = "Submit", 1
        ran = run(line, client, "orders", "import", str(file), "--json")
        assert (ran.code, counts(ran)["imported"]) == (ExitCode.PARTLY, 250)
        kept[0].left = 100
        ran = run(line, client, "orders", "import", str(file), "--json")
        assert (ran.code, counts(ran)["already_done"], counts(ran)["imported"]) == (0, 250, 450)
        assert sum(held(client).values()) == 700
        assert run(line, client, "orders", "import", str(file)).code == 0


def test_a_hold_that_was_only_reserved_is_allocated_by_the_next_run(line: CommandLine, tmp_path: Path) -> None:
    """As after a kill between two commands."""
    file = write(tmp_path / "orders.csv", HEADER, "o-1,MUG,berlin,2,web,,,")
    with ledger(SKUS, PLACES) as client:
        stocked(client)
        table = read_table(file, tuple(HEADER.split(",")), 4)
        ((hold,),) = [order.holds for order in orders_of(Report(table, False, False), "")]
        key = key_of(table.sha256, hold)
        assert len(key) == KEY_CHARS < 100
        client.reserve([("MUG", "berlin", 2)], key=key, order_ref="o-1", channel="web")
        ran = run(line, client, "orders", "import", str(file), "--json")
        assert (ran.code, counts(ran)["imported"]) == (0, 1)
        assert held(client) == {("o-1", "web", "", "MUG", "berlin", "allocated"): 2}


@pytest.mark.parametrize("flags", [[], ["--skip-bad"]])
def test_stock_that_is_gone_between_check_and_command(line: CommandLine, tmp_path: Path, flags: list[str]) -> None:
    file = write(tmp_path / "orders.csv", HEADER, "o-1,CUP,berlin,1,,,,", "o-2,MUG,lyon,2,,,,", "o-3,CUP,berlin,1,,,,")
    kept, around = between(Meddling)

    def take(engine: Engine) -> None:
        lines = [inventory_service_pb2.StockDelta(sku="MUG", location="lyon", delta=-3)]
        request = inventory_service_pb2.AdjustRequest(lines=lines).SerializeToString()
        engine.call("/invengine.v1.InventoryService/Adjust", request, idempotency_key="meddled")

    with ledger(SKUS, PLACES, around) as client:
        stocked(client)
        kept[0].method, kept[0].meddle = "Submit", take
        ran = run(line, client, "orders", "import", str(file), "--json", *flags)
        assert ran.code == ExitCode.PARTLY
        assert "INSUFFICIENT_STOCK" in ran.err
        assert "line 3" in ran.err
        client.receive([("MUG", "lyon", 5)])
        ran = run(line, client, "orders", "import", str(file), "--json")
        assert (ran.code, counts(ran)["already_done"], counts(ran)["imported"]) == (0, 2, 1), ran
        assert held(client)["o-2", "", "", "MUG", "lyon", "allocated"] == 2


def test_an_order_of_more_lines_than_a_hold_has_several(line: CommandLine, tmp_path: Path) -> None:
    skus = [f"S-{number}" for number in range(1200)]
    file = write(tmp_path / "orders.csv", HEADER, *(f"o-1,{sku},berlin,1,,,," for sku in skus))
    with ledger(skus, PLACES) as client:
        for at in (0, 1000):
            client.set_quantity([(sku, "berlin", 1) for sku in skus[at : at + 1000]])
        ran = run(line, client, "orders", "import", str(file), "--json")
        assert (ran.code, ran.objects[0]["orders"], ran.objects[0]["holds"]) == (0, 1, 2)
        assert sum(held(client).values()) == 1200


NAMES = st.sampled_from(["o-1", "o-2", "ö,3"])
HOLD = st.tuples(
    NAMES,
    st.sampled_from([None, "web", "app"]),
    st.sampled_from([None, "ann", 'b"ob']),
    st.lists(st.tuples(st.sampled_from(SKUS), st.just("berlin"), st.integers(1, 5)), min_size=1, max_size=3),
    st.booleans(),
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(holds=st.lists(HOLD, max_size=6))
def test_what_is_exported_is_imported_as_it_was(line: CommandLine, tmp_path: Path, holds: list[Any]) -> None:
    file = tmp_path / "round.csv"
    with ledger(SKUS, PLACES) as first, ledger(SKUS, PLACES) as second:
        for client in (first, second):
            client.upsert_channels([Channel("web"), Channel("app")])
            client.set_quantity([(sku, "berlin", 1000) for sku in SKUS])
        first.reserve([("MUG", "berlin", 1)], holder="a cart is no order")
        for order_ref, channel, holder, lines, allocated in holds:
            names: Any = {"order_ref": order_ref, "channel": channel, "holder": holder}
            hold = first.reserve(lines, ttl_s=600, **names)
            if allocated:
                first.allocate(hold, order_ref=order_ref, channel=channel)
        exported = run(line, first, "orders", "export", "--out", str(file), "--force", "--json")
        assert (exported.code, exported.objects[0]["holds_without_order"]) == (0, 1)
        assert run(line, second, "orders", "import", str(file)).code == 0
        orders = {key: units for key, units in held(first).items() if key[0]}
        assert held(second) == orders
