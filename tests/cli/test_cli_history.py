"""The past on the command line: levels at a moment, what changed one, and why it is what it is."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from invengine import Client, Engine
from invengine.client import Channel, Item, Location, StockState

from .scripted import CommandLine, scripted

LEVEL = "MUG@berlin"


@pytest.fixture
def address() -> Iterator[str]:
    """A server with a level that a few commands have changed."""
    engine = Engine.open(json.dumps({"journal": "memory"}))
    with scripted(engine) as address:
        with Client(address) as client:
            client.upsert_items([Item("MUG"), Item("CUP")], key="items")
            client.upsert_locations([Location("berlin"), Location("lyon")], key="locations")
            client.upsert_channels([Channel("web")], key="channels")
            client.receive([("MUG", "berlin", 12)], key="in", reference="delivery-1", actor="jo")
            client.reserve([("MUG", "berlin", 3)], key="cart-7", channel="web", order_ref="o-1")
            client.adjust([("MUG", "berlin", 1)], state=StockState.DAMAGED, key="fell", reason_code="damaged")
            client.receive([("MUG", "lyon", 5)], key="in-lyon")
        yield address


def test_a_level_is_shown_as_it_was(line: CommandLine, address: str) -> None:
    (now,) = line.run("stock", "show", LEVEL, "--target", address, "--json").objects
    assert (now["on_hand"], now["reserved"], now["damaged"], now["available"]) == (13, 3, 1, 9)
    lines = line.run("stock", "history", LEVEL, "--target", address, "--json").objects
    assert [each["event"]["kind"] for each in lines] == ["stock_changed", "reserved", "stock_changed"]
    sequence = lines[1]["event"]["sequence"]
    for moment in (["--sequence", str(sequence)], ["--position", lines[1]["position"]]):
        (found,) = line.run("stock", "at", LEVEL, *moment, "--target", address, "--json").objects
        assert (found["on_hand"], found["reserved"], found["available"]) == (12, 3, 9)
        assert found["position"] == lines[1]["position"]
        assert found["time"] == lines[1]["event"]["time"]
    text = line.run("stock", "at", LEVEL, "--sequence", str(sequence), "--target", address).out
    assert f"after sequence {sequence}" in text


def test_levels_are_listed_as_they_were(line: CommandLine, address: str) -> None:
    found = line.run("stock", "at", "--sequence", "9", "--sku", "MUG", "--target", address, "--json").objects
    assert [(each["location"], each["on_hand"]) for each in found] == [("berlin", 13), ("lyon", 5)]
    found = line.run("stock", "at", "--sequence", "9", "--location", "lyon", "--target", address, "--json").objects
    assert [each["location"] for each in found] == ["lyon"]
    ran = line.run("stock", "at", "--sequence", "0", "--target", address)
    assert (ran.code, ran.out.split()[0]) == (0, "sku")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([LEVEL], "exactly one of"),
        ([LEVEL, "--sequence", "1", "--time", "2026-11-28T09:30:00Z"], "exactly one of"),
        ([LEVEL, "--time", "yesterday"], "with a time zone"),
        ([LEVEL, "--time", "2026-11-28T09:30:00"], "with a time zone"),
        ([LEVEL, "--position", "main@1:7"], "--position"),
        ([LEVEL, "--sequence", "1", "--sku", "MUG"], "not both"),
        (["MUG", "--sequence", "1"], "SKU@LOCATION"),
    ],
)
def test_a_moment_is_named_once_and_whole(line: CommandLine, words: list[str], says: str) -> None:
    ran = line.run("stock", "at", *words, "--target", "127.0.0.1:1")
    assert ran.code == 2
    assert says in ran.err


def test_a_history_names_changes_and_causes(line: CommandLine, address: str) -> None:
    rows = line.run("stock", "history", LEVEL, "--target", address).out.splitlines()
    assert rows[0].split()[:4] == ["sequence", "time", "event", "change"]
    adjusted, reserved, received = rows[1:]
    assert "adjusted" in adjusted
    assert "on hand +1, damaged +1" in adjusted
    assert "reason damaged" in adjusted
    assert "reserved +3" in reserved
    assert "channel web, order o-1, key cart-7" in reserved
    assert "by jo, reference delivery-1" in received
    assert len(line.run("stock", "history", LEVEL, "--limit", "2", "--target", address).out.splitlines()) == 3


def test_a_level_is_explained(line: CommandLine, address: str) -> None:
    text = line.run("explain", LEVEL, "--target", address).out
    assert text.startswith("MUG at berlin: 9 units can be held now, of 13 on hand.\n")
    assert "Not available: 3 are reserved by timed holds, 1 is damaged.\n" in text
    assert "took available from 9 to 9: adjusted at " in text
    assert "all 3 changes that are kept" in text
    assert "on hand +1 adjusted, +12 received; damaged +1 adjusted; reserved +3 reserved." in text
    (found,) = line.run("explain", "MUG", "berlin", "--target", address, "--json").objects
    assert found["level"]["available"] == 9
    assert found["sentences"][0] in text
    assert [each["changes"] for each in found["changes"]] == [
        {"on_hand": 1, "damaged": 1},
        {"reserved": 3, "available": -3},
        {"on_hand": 12, "available": 12},
    ]


def test_a_level_without_a_past_is_explained_too(line: CommandLine, address: str) -> None:
    text = line.run("explain", "CUP@berlin", "--target", address).out
    assert text == ("CUP at berlin: 0 units can be held now, of 0 on hand.\nNo change of it is kept in the journal.\n")
    ran = line.run("explain", "NONE@berlin", "--target", address)
    assert (ran.code, "UNKNOWN_SKU" in ran.err) == (1, True)
