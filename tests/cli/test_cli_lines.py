"""A rejection names its line, the number of lines, item, location, what was requested and what is available."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from invengine import AsyncClient, Client, Engine
from invengine.client import Item, Location, StockState, commands
from invengine.client.commands import Draft
from invengine.errors import InvengineError

from .scripted import CommandLine, scripted

KEY = "hold"
# One of each command that can be refused for one of its lines: what makes it, what the refusal is and what it names.
SHORT = [("MUG", "berlin", 2), ("CUP", "lyon", 50), ("POT", "berlin", 1)]
NO_ITEM = [("MUG", "berlin", 2), ("NONE", "lyon", 1), ("POT", "berlin", 1)]
NO_PLACE = [("MUG", "berlin", 2), ("CUP", "nowhere", 1), ("POT", "berlin", 1)]
HELD: dict[str, Any] = {"reservation_key": KEY}
CASES: dict[str, tuple[Draft[Any], str, set[str]]] = {
    "reserve": (commands.reserve(SHORT), "INSUFFICIENT_STOCK", {"CUP", "lyon", "50", "15"}),
    "reserve, no item": (commands.reserve(NO_ITEM), "UNKNOWN_SKU", {"NONE"}),
    "reserve, no place": (commands.reserve(NO_PLACE), "UNKNOWN_LOCATION", {"nowhere"}),
    "amend": (commands.amend(SHORT, **HELD), "INSUFFICIENT_STOCK", {"CUP", "lyon", "45", "15"}),
    "release": (commands.release(**HELD, lines=SHORT), "EXCEEDS_OUTSTANDING", {"CUP", "lyon", "50", "5"}),
    "fulfill": (commands.fulfill(**HELD, lines=SHORT), "EXCEEDS_OUTSTANDING", {"CUP", "lyon", "50", "5"}),
    "allocate": (
        commands.allocate(**HELD, lines=SHORT, order_ref="o-1"),
        "EXCEEDS_OUTSTANDING",
        {"CUP", "lyon", "50", "5"},
    ),
    "transfer": (
        commands.transfer("ulm", **HELD, lines=[(sku, location) for sku, location, _ in SHORT]),
        "INSUFFICIENT_STOCK",
        {"CUP", "ulm", "5", "0"},
    ),
    "adjust": (
        commands.adjust([("MUG", "berlin", 1), ("CUP", "lyon", -50), ("POT", "berlin", 1)]),
        "INSUFFICIENT_STOCK",
        {"CUP", "lyon", "50", "20"},
    ),
    "move": (
        commands.move_quantity(SHORT, to_state=StockState.DAMAGED),
        "INSUFFICIENT_STOCK",
        {"CUP", "lyon", "50", "20"},
    ),
    "set": (
        commands.set_quantity([("MUG", "berlin", 1), ("CUP", "lyon", 50, 3), ("POT", "berlin", 1)]),
        "QUANTITY_STALE",
        {"CUP", "lyon", "3", "20"},
    ),
    "receive": (commands.receive(NO_ITEM), "UNKNOWN_SKU", {"NONE"}),
}
LINES = ["MUG@berlin=2", "CUP@lyon=50", "POT@berlin"]
CALLS = [
    (["reserve", *LINES], "INSUFFICIENT_STOCK", {"CUP", "lyon", "50", "15"}),
    (["release", "--reservation-key", KEY, *LINES], "EXCEEDS_OUTSTANDING", {"CUP", "lyon", "50", "5"}),
    (
        ["stock", "adjust", "MUG@berlin=1", "CUP@lyon=-50", "POT@berlin=1"],
        "INSUFFICIENT_STOCK",
        {"CUP", "lyon", "50", "20"},
    ),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A ledger with a hold of three lines; no refusal changes it."""
    with scripted(Engine.open(json.dumps({"journal": "memory"}))) as address, Client(address) as client:
        client.upsert_items([Item(sku) for sku in ("MUG", "CUP", "POT")])
        client.upsert_locations([Location(name) for name in ("berlin", "lyon", "ulm")])
        client.receive([("MUG", "berlin", 20), ("CUP", "lyon", 20), ("POT", "berlin", 20), ("MUG", "ulm", 9)])
        client.reserve([("MUG", "berlin", 2), ("CUP", "lyon", 5), ("POT", "berlin", 1)], key=KEY)
        yield address


def check(text: str, reason: str, named: set[str]) -> None:
    """The text has the reason, the line of how many, and each fact as a word of its own."""
    assert text.startswith(f"{reason}: "), text
    assert text.endswith("line 2 of 3)"), text
    assert named <= set(text.translate(str.maketrans(":,;()", "     ")).split()), text


@pytest.mark.parametrize("case", CASES)
def test_the_client_for_threads_names_the_line(address: str, case: str) -> None:
    draft, reason, named = CASES[case]
    with Client(address) as client, pytest.raises(InvengineError) as refused:
        client.send(Draft(draft.kind, type(draft.request).FromString(draft.request.SerializeToString())))
    check(str(refused.value), reason, named)


@pytest.mark.parametrize("case", CASES)
def test_the_client_for_asyncio_names_the_line(address: str, case: str) -> None:
    draft, reason, named = CASES[case]

    async def send() -> None:
        async with AsyncClient(address) as client:
            await client.send(Draft(draft.kind, type(draft.request).FromString(draft.request.SerializeToString())))

    with pytest.raises(InvengineError) as refused:
        asyncio.run(send())
    check(str(refused.value), reason, named)


@pytest.mark.parametrize(("words", "reason", "named"), CALLS)
def test_the_command_line_names_the_line(
    line: CommandLine, address: str, words: list[str], reason: str, named: set[str]
) -> None:
    ran = line.run(*words, "--target", address)
    assert ran.code == 1
    check(ran.err.strip().removeprefix("invengine: "), reason, named)


def test_a_single_line_needs_no_number(line: CommandLine, address: str) -> None:
    ran = line.run("stock", "adjust", "CUP@lyon=-50", "--target", address)
    assert (ran.code, "INSUFFICIENT_STOCK" in ran.err, " of 1" in ran.err) == (1, True, False)


def test_an_item_that_moves_from_two_locations_is_reported_without_a_line(line: CommandLine, address: str) -> None:
    with Client(address) as client:
        client.receive([("POT", "lyon", 1)])
        hold = client.reserve([("POT", "lyon", 1), ("POT", "berlin", 1)])
    ran = line.run("transfer", hold.reservation_id, "POT@lyon", "POT@berlin", "--to", "ulm", "--target", address)
    assert ran.code == 1
    assert "POT at ulm" in ran.err
    assert " of 2" not in ran.err
