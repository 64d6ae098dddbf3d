"""`invengine catalogue`: what an item is worth, and what kind of place a location is."""

from __future__ import annotations

from pathlib import Path

import pytest

from invengine.v1 import catalog_service_pb2, types_pb2

from .scripted import CommandLine, ScriptedEngine

RECEIPT = types_pb2.Receipt(sequence=9, durable_sequence=9)
VALUE = types_pb2.Money(currency_code="EUR", units=12, nanos=500_000_000)


def test_an_item_is_added_with_its_class_and_value(line: CommandLine) -> None:
    engine = ScriptedEngine({"UpsertItems": catalog_service_pb2.UpsertItemsResponse(receipt=RECEIPT)})
    flags = ("--item-class", "A", "--unit-value", "12.50 EUR", "--gtin", "4006381333931")
    assert line.ask(engine, "catalogue", "items", "add", "MUG", *flags).code == 0
    (item,) = engine.request(catalog_service_pb2.UpsertItemsRequest).items
    assert (item.item_class, item.unit_value, item.gtin) == ("A", VALUE, "4006381333931")


def test_a_location_is_added_with_its_type(line: CommandLine) -> None:
    engine = ScriptedEngine({"UpsertLocations": catalog_service_pb2.UpsertLocationsResponse(receipt=RECEIPT)})
    assert line.ask(engine, "catalogue", "locations", "add", "berlin", "--type", "store").code == 0
    (location,) = engine.request(catalog_service_pb2.UpsertLocationsRequest).locations
    assert location.type == types_pb2.LOCATION_TYPE_STORE


def test_lists_show_them_as_files_have_them(line: CommandLine) -> None:
    item = catalog_service_pb2.Item(sku="MUG", item_class="A", unit_value=VALUE)
    engine = ScriptedEngine({"ListItems": catalog_service_pb2.ListItemsResponse(items=[item])})
    ran = line.ask(engine, "catalogue", "items", "list", "--json")
    assert (ran.objects[0]["item_class"], ran.objects[0]["unit_value"]) == ("A", "12.5 EUR")
    location = catalog_service_pb2.Location(location="berlin", type=types_pb2.LOCATION_TYPE_DROP_SHIP_VENDOR)
    engine = ScriptedEngine({"ListLocations": catalog_service_pb2.ListLocationsResponse(locations=[location])})
    assert line.ask(engine, "catalogue", "locations", "list").out.splitlines()[1].split()[-1] == "drop_ship_vendor"


def test_a_file_has_them_too(line: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    file.write_text("sku,item_class,unit_value\nMUG,A,12.50 EUR\nCUP,,\n")
    engine = ScriptedEngine({"UpsertItems": catalog_service_pb2.UpsertItemsResponse(receipt=RECEIPT)})
    assert line.ask(engine, "catalogue", "items", "import", str(file)).code == 0
    mug, cup = engine.request(catalog_service_pb2.UpsertItemsRequest).items
    assert (mug.item_class, mug.unit_value) == ("A", VALUE)
    assert (cup.item_class, cup.HasField("unit_value")) == ("", False)


@pytest.mark.parametrize(
    ("noun", "column", "cell", "words"),
    [
        ("items", "unit_value", "12.50", "is not a unit value: write an amount and a currency"),
        ("items", "unit_value", "-1 EUR", "is not a unit value"),
        ("items", "unit_value", "1.0000000001 EUR", "is not a unit value"),
        ("locations", "type", "shop", "is not a type of location: one of warehouse, store"),
    ],
)
def test_a_bad_cell_is_told_with_its_line_and_nothing_is_sent(
    line: CommandLine, tmp_path: Path, noun: str, column: str, cell: str, words: str
) -> None:
    file = tmp_path / f"{noun}.csv"
    name = "sku" if noun == "items" else "location"
    file.write_text(f"{name},{column}\nGOOD,\nBAD,{cell}\n")
    ran = line.ask(ScriptedEngine({}), "catalogue", noun, "import", str(file))
    assert (ran.code, "line 3" in ran.err, words in ran.err) == (2, True, True), ran
