"""None, zero and empty on the command line and in CSV files never stand for one another, or for "all"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from invengine.cli.app import every_command
from invengine.cli.csvfile import read_table
from invengine.cli.exits import ExitCode, UsageProblemError
from invengine.cli.lean import MAY_BE_EMPTY
from invengine.cli.options import parse_line, parts, quantities
from invengine.client import JournalPosition

from .scripted import CommandLine

HOLD = "0123456789abcdef0123456789abcdef"
NOBODY = ["--target", "127.0.0.1:1", "--timeout-ms", "300"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["release", HOLD, "MUG@berlin=0"], "for all of the line write MUG@berlin"),
        (["fulfill", HOLD, "MUG@berlin=-1"], "for all of the line write MUG@berlin"),
        (["allocate", HOLD, "MUG@berlin="], "whole number"),
        (["reserve", "MUG@berlin=1", "--key", ""], "--key is empty"),
        (["release", HOLD, "--key", ""], "--key is empty"),
        (["amend", HOLD], "name at least one line"),
        (["amend", HOLD, "MUG@berlin="], "whole number"),
        (["transfer", HOLD, "--to", ""], "--to is empty"),
        (["transfer", HOLD, "MUG@berlin=0", "--to", "paris"], "for all of the line write MUG@berlin"),
        (["holds", "--order", ""], "--order is empty: leave it out"),
        (["holds", "--holder", ""], "--holder is empty"),
        (["outcome", ""], "KEY is empty: name one"),
        (["outcome", "k", "--source", ""], "--source is empty"),
        (["events", "tail", "--sku", ""], "--sku is empty"),
        (["release", ""], "[RESERVATION_ID] [LINE...] is empty"),
        (["release", "--reservation-key", ""], "--reservation-key is empty"),
        (["release", "--order", ""], "--order is empty"),
        (["extend", HOLD, "--expected-version", "0"], "expected_version: at least 1"),
        (["allocate", HOLD, "--order-ref", ""], "--order-ref is empty"),
        (["reserve", "MUG@berlin=1", "--holder", ""], "--holder is empty"),
        (["reservation", "--order", ""], "--order is empty"),
        (["reservation", ""], "[RESERVATION_ID] is empty"),
        (["catalogue", "items", "delete", ""], "SKU... is empty: name one"),
        (["catalogue", "items", "delete", "MUG", "--key", ""], "--key is empty"),
        (["policies", "location-groups", "show", ""], "GROUP is empty"),
        (["policies", "location-groups", "delete", "west", ""], "GROUP... is empty"),
        (["policies", "location-groups", "add", "west", "berlin", "--expected-version", "-1"], "--expected-version"),
        (["policies", "location-groups", "add", "west"], "LOCATION"),
        (["stock", "list", "--sku", ""], "--sku is empty"),
        (["stock", "list", "--location", ""], "--location is empty"),
        (["stock", "set", "MUG@berlin="], "whole number"),
        (["stock", "set", "MUG@berlin"], "needs a quantity"),
        (["stock", "receive", "MUG@berlin=1", "--key", ""], "--key is empty"),
        (["status", "--target", "http://127.0.0.1:1"], "without a scheme"),
        (["status", "--target", "127.0.0.1:99999"], "a port from 1 to 65535"),
    ],
)
def test_an_omitted_value_is_refused_and_never_means_all(line: CommandLine, arguments: list[str], words: str) -> None:
    target = [] if "--target" in arguments else ["--target", "127.0.0.1:1", "--timeout-ms", "300"]
    ran = line.run(*arguments, *target)
    assert ran.code == ExitCode.USAGE, ran
    assert words in ran.err


# Numbers that a command line may name as 0, and what it means there; every other flag refuses it.
ZERO = {
    "stock set --expected": "there were none",
    "stock at --sequence": "before the first event",
    "policies location-groups add --expected-version": "there must be no such group",
    "sources profile add --expected-version": "there must be no such profile",
    "authority add --expected-version": "there must be no such rule",
    "events consumers add --expected-version": "there must be no such consumer",
    "simulate promotion --seed": "a seed like any other",
    "simulate flash-sale --seed": "a seed like any other",
    "serve --drain-timeout-ms": "no time",
    "doctor --drain-timeout-ms": "no time",
    "reserve --ttl-s": "no time, which the server refuses",
    "extend --ttl-s": "no time, which the server refuses",
    "verify --at": "no event, which is refused with where the journal ends",
}
# What a command needs besides the flag, so that nothing else is wrong with it.
NEEDED = {
    "events consumers add": ["x", str(JournalPosition.start("main"))],
    "reserve": ["MUG@berlin"],
    "availability": ["MUG"],
    "outcome": ["k"],
    "transfer": [HOLD, "--to", "lyon"],
    "amend": [HOLD, "MUG@berlin=1"],
    "backup restore": ["nowhere"],
    "stock set": ["MUG@berlin=1"],
    "stock show": ["MUG@berlin"],
    "stock at": ["--sequence", "1"],
    "stock history": ["MUG@berlin"],
    "explain": ["MUG@berlin"],
    "stock move": ["MUG@berlin=1", "--to", "damaged"],
    "policies location-groups add": ["west", "berlin"],
    "sources register": ["erp"],
    "sources skip-gap": ["erp", "--through", "1"],
    "sources redrive": ["erp", "1"],
    "sources discard": ["erp", "1", "--reason-code", "typo"],
    "sources record": ["messages.jsonl"],
    "sources profile add": ["erp", "--kind", "erp"],
    "authority add": ["rule", "--right", "set", "--kind", "wms"],
    "authority preset": ["open"],
    "stock-transfers ship": ["T-17", "MUG=1", "--from", "berlin", "--to", "lyon"],
    "stock-transfers receive": ["T-17", "--whole"],
    "stock-transfers close": ["T-17", "--remainder", "lost"],
}
NEEDED |= {words: [HOLD] for words in ("allocate", "release", "fulfill", "extend", "reservation")}
NEEDED |= {f"stock {each}": ["MUG@berlin=1"] for each in ("receive", "return", "adjust", "count")}
NEEDED |= {f"sources {each}": ["erp"] for each in ("parked", "waiting", "dead-letters")}
NEEDED |= {"stock import": ["stock.csv"], "orders import": ["orders.csv"]}
NEEDED |= {f"catalogue {noun} import": [f"{noun}.csv"] for noun in ("items", "locations", "channels")}


def flags(*kinds: Any) -> Iterator[tuple[str, str]]:
    """Every flag with a value of one of these types, behind its command."""
    for words, command in every_command():
        for param in command.params:
            if param.opts[-1].startswith("--") and param.type_descriptor.annotation in kinds:
                yield words, param.opts[-1]


def needed(words: str) -> list[str]:
    """The arguments without which a command is refused anyway. If it calls a server, nobody is there."""
    found = NEEDED.get(words, [])
    if (
        words.startswith(
            ("catalogue", "policies", "sources profile", "authority", "stock-transfers", "events consumers")
        )
        and not found
        and not words.endswith(("list", "owners", "export"))
    ):
        found = ["x"]
    return [*found, *NOBODY] if (words, "--timeout-ms") in set(flags(int)) else found


def test_an_empty_text_is_refused_in_every_flag_and_argument(line: CommandLine) -> None:
    called = [
        [*words.split(), *needed(words), flag, ""]
        for words, flag in flags(str, Path, list[str])
        if flag not in MAY_BE_EMPTY
    ]
    called += [[*words.split(), ""] for words, command in every_command() if _takes_texts(command)]
    called += [["--config", "", "version"]]
    assert len(called) > 150
    for arguments in called:
        ran = line.run(*arguments)
        assert ran.code == ExitCode.USAGE, (arguments, ran)
        assert " is empty: " in ran.err, (arguments, ran)
        assert list(Path().iterdir()) == [], arguments


def _takes_texts(command: Any) -> bool:
    arguments = [param for param in command.params if not param.opts[-1].startswith("-")]
    return bool(arguments) and arguments[0].type_descriptor.annotation in (str, Path, list[str])


@pytest.mark.parametrize("flag", sorted(MAY_BE_EMPTY - {"--metrics-address"}))
def test_an_entry_may_have_an_empty_label(line: CommandLine, flag: str) -> None:
    noun = "locations" if flag == "--gln" else "items"
    ran = line.run("catalogue", noun, "add", "x", flag, "", *NOBODY)
    assert ran.code == ExitCode.UNAVAILABLE, ran


@pytest.fixture
def _files() -> None:
    for noun, column in (("items", "sku"), ("locations", "location"), ("channels", "channel")):
        Path(f"{noun}.csv").write_text(f"{column}\nx\n")
    Path("stock.csv").write_text("sku,location,quantity\nx,y,0\n")
    Path("messages.jsonl").write_text("{}\n")
    Path("orders.csv").write_text("order_ref,sku,location,quantity\no,x,y,1\n")


@pytest.mark.usefixtures("_files")
def test_zero_is_a_number_or_refused_in_every_flag(line: CommandLine) -> None:
    found = list(flags(int, float))
    assert len(found) > 40
    assert {f"{words} {flag}" for words, flag in found} >= ZERO.keys()
    for words, flag in found:
        if f"{words} {flag}" not in ZERO:
            ran = line.run(*words.split(), *needed(words), flag, "0")
            assert ran.code == ExitCode.USAGE, (words, flag, ran)
            assert flag in ran.err or flag[2:].replace("-", "_") in ran.err, (words, flag, ran)


@pytest.mark.parametrize(
    "text", ["MUG@berlin=1_0", "MUG@berlin= 1", "MUG@berlin=١", "MUG@berlin=1.0", "MUG@berlin=1e3"]
)
def test_a_quantity_is_digits(text: str) -> None:
    with pytest.raises(UsageProblemError, match="whole number"):
        parse_line(text)


def test_zero_stays_a_quantity_where_stock_can_be_none() -> None:
    assert quantities(["MUG@berlin=0"]) == [("MUG", "berlin", 0)]
    assert parts(["MUG@berlin", "CUP@berlin=2"]) == [("MUG", "berlin"), ("CUP", "berlin", 2)]


def test_a_missing_cell_is_not_an_empty_one(tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    file.write_text("sku,display_name,gtin\nmug,,\n")
    (row,) = read_table(file, ("sku", "display_name", "gtin")).rows
    assert row.cells == ("mug", "", "")
    file.write_text("sku,display_name,gtin\nmug,A mug,\ncup,A cup\n")
    (bad,) = read_table(file, ("sku", "display_name", "gtin")).bad
    assert (bad.line, bad.problem) == (3, "no cell for gtin; write an empty one")
