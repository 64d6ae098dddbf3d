"""`invengine catalogue ... import | export`: files of the catalogue, checked as a whole, and back."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from invengine import Engine
from invengine.cli.exits import ExitCode
from invengine.client import Channel, Item, Location, LocationType, Money

from .file_cases import Failing, counts, ledger, run, told, write
from .scripted import CommandLine, ScriptedEngine, no

HEADER = "sku,display_name,gtin,item_class,unit_value"
BAD = {
    "B-1 ,,,,": "sku: ",
    "B\u200b2,,,,": "sku: ",
    f"{'B' * 129},,,,": "sku: ",
    ",,,,": "sku is empty",
    "B-3,,4006381333932,,": "gtin: ",
    f"B-4,{'x' * 129},,,": "display_name: ",
    f"B-5,,,{'x' * 129},": "item_class: ",
    "B-6,,,,12.50": "is not a unit value",
    "B-7,,,,-1 EUR": "is not a unit value",
    f"B-8,,,,{10**19 - 1} EUR": "unit_value",
    "B-9,,,": "no cell for unit_value",
    "B-10,,,,,": "too many cells",
    "MUG,,,,": "was on line 2 already",
}


@pytest.mark.parametrize("flags", [[], ["--dry-run"], ["--skip-bad", "--dry-run"], ["--skip-bad"]])
def test_every_bad_line_is_told(line: CommandLine, tmp_path: Path, flags: list[str]) -> None:
    file = write(tmp_path / "items.csv", HEADER, "MUG,Mug,4006381333931,A,12.50 EUR", *BAD, "CUP,,,,")
    with ledger() as client:
        digest = client.digest()
        ran = run(line, client, "catalogue", "items", "import", str(file), "--json", *flags)
        assert ran.code == (ExitCode.PARTLY if "--skip-bad" in flags else ExitCode.USAGE)
        problems = told(ran)
        for number, (row, words) in enumerate(BAD.items(), 3):
            assert words in problems[number], (row, problems)
        assert problems.keys() == set(range(3, 3 + len(BAD)))
        assert counts(ran)["importable"] == 2
        assert (client.digest() == digest) == (flags != ["--skip-bad"])
        assert [each.sku for each in client.list_items()] == (["MUG", "CUP"] if flags == ["--skip-bad"] else [])


def test_bad_lines_of_later_batches_keep_the_first_from_being_stored(line: CommandLine, tmp_path: Path) -> None:
    rows = [f"S-{number},,,," for number in range(1500)]
    rows[1200] = "S-1200,,not-a-gtin,,"
    file = write(tmp_path / "items.csv", HEADER, *rows)
    with ledger() as client:
        ran = run(line, client, "catalogue", "items", "import", str(file), "--json")
        assert (ran.code, set(told(ran)), list(client.list_items())) == (ExitCode.USAGE, {1202}, [])
        ran = run(line, client, "catalogue", "items", "import", str(file), "--json", "--skip-bad")
        assert (ran.code, counts(ran)["imported"], len(list(client.list_items()))) == (ExitCode.PARTLY, 1499, 1499)


def test_a_name_that_is_older_than_the_rules_stays_good(line: CommandLine, tmp_path: Path) -> None:
    """The rules are for new names; a ledger may have others from an earlier version."""
    from invengine.v1 import catalog_service_pb2, types_pb2

    file = write(tmp_path / "items.csv", "sku,display_name", "MUG ,Old", "NEW ,New", "CUP,")
    old = catalog_service_pb2.ListItemsResponse(items=[catalog_service_pb2.Item(sku="MUG ")])
    stored = catalog_service_pb2.UpsertItemsResponse(receipt=types_pb2.Receipt(sequence=9, durable_sequence=9))
    engine = ScriptedEngine({"ListItems": old, "UpsertItems": stored})
    ran = line.ask(engine, "catalogue", "items", "import", str(file), "--skip-bad", "--json")
    assert (ran.code, set(told(ran))) == (ExitCode.PARTLY, {3})
    request = catalog_service_pb2.UpsertItemsRequest.FromString(engine.asked[-1][1])
    assert [each.sku for each in request.items] == ["MUG ", "CUP"]


def test_a_refusal_of_the_server_names_the_line(line: CommandLine, tmp_path: Path) -> None:
    """It may be stricter than the command line knows."""
    file = write(tmp_path / "items.csv", "sku", "MUG", "CUP")
    engine = ScriptedEngine({"UpsertItems": no("INVALID_FIELD", grpc.StatusCode.INVALID_ARGUMENT, field="items")})
    ran = line.ask(engine, "catalogue", "items", "import", str(file))
    assert (ran.code, "INVALID_FIELD" in ran.err) == (ExitCode.REJECTED, True)


def test_an_import_that_fails_half_way_is_reported_as_partly_done(line: CommandLine, tmp_path: Path) -> None:
    """Code 1 means that nothing changed: a file whose first thousand rows are stored needs another code."""

    def around(engine: Engine) -> Failing:
        failing = Failing(engine)
        failing.method, failing.left = "UpsertItems", 1
        return failing

    file = write(tmp_path / "items.csv", "sku", *(f"S-{number}" for number in range(1500)))
    with ledger(around=around) as client:
        ran = run(line, client, "catalogue", "items", "import", str(file), "--json")
        assert (ran.code, counts(ran)["imported"]) == (ExitCode.PARTLY, 1000)
        assert "1,000 of 1,500 lines" in ran.err
        assert "JOURNAL_FULL" in ran.err


@pytest.mark.parametrize("flags", [["--dry-run"], []])
def test_look_alikes_are_told_before_and_after(line: CommandLine, tmp_path: Path, flags: list[str]) -> None:
    file = write(tmp_path / "items.csv", "sku", "Mug", "CUP", "cup")
    with ledger(["MUG"]) as client:
        (report,) = run(line, client, "catalogue", "items", "import", str(file), "--json", *flags).objects
        assert report["look_alikes"] == [
            {"name": "Mug", "older_name": "MUG"},
            {"name": "cup", "older_name": "CUP"},
        ]


def test_a_file_with_a_header_only_is_an_import_of_nothing(line: CommandLine, tmp_path: Path) -> None:
    file = write(tmp_path / "items.csv", HEADER)
    with ledger() as client:
        ran = run(line, client, "catalogue", "items", "import", str(file), "--json")
        assert (ran.code, counts(ran)["lines"], counts(ran)["imported"]) == (0, 0, 0)
        assert run(line, client, "catalogue", "items", "export").out == f"{HEADER}\n"


TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)
MONEY = st.builds(
    Money,
    st.decimals(0, 2**63 - 1, places=9) | st.sampled_from([Decimal("1E-9"), Decimal("1E+18"), Decimal("12.50")]),
    st.sampled_from(["EUR", "JPY"]),
)
ITEM = st.builds(
    Item,
    st.sampled_from(["MUG", "a,b", 'q"q', "ü ö", "=1+1", "x;y"]),
    TEXT,
    st.sampled_from(["", "4006381333931", "96385074"]),
    TEXT,
    st.none() | MONEY,
)
LOCATION = st.builds(
    Location, st.sampled_from(["berlin", "lyon"]), TEXT, st.just(""), st.none() | st.sampled_from(LocationType)
)
CHANNEL = st.builds(Channel, st.sampled_from(["web", "app"]), TEXT)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    items=st.lists(ITEM, unique_by=lambda each: each.sku),
    locations=st.lists(LOCATION, unique_by=lambda each: each.location),
    channels=st.lists(CHANNEL, unique_by=lambda each: each.channel),
    delimiter=st.sampled_from([",", ";", "tab"]),
)
def test_what_is_exported_is_imported_as_it_was(
    line: CommandLine, tmp_path: Path, items: list[Item], locations: list[Any], channels: list[Any], delimiter: str
) -> None:
    with ledger() as first, ledger() as second:
        stated: dict[str, list[Any]] = {"items": [*items], "locations": locations, "channels": channels}
        for noun, entities in stated.items():
            if entities:
                getattr(first, f"upsert_{noun}")(entities)
        for noun in ("items", "locations", "channels"):
            flags = ["--delimiter", delimiter]
            file = str(tmp_path / f"{noun}.csv")
            assert run(line, first, "catalogue", noun, "export", "--out", file, "--force", *flags).code == 0
            ran = run(line, second, "catalogue", noun, "import", file, *flags)
            assert ran.code == 0, ran
            read: list[list[Any]] = [list(getattr(client, f"list_{noun}")()) for client in (first, second)]
            assert read[0] == read[1]
            assert run(line, first, "catalogue", noun, "import", file, *flags).code == 0
            assert read[0] == list(getattr(first, f"list_{noun}")())
