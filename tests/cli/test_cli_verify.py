"""`invengine verify` reports what is broken, and nothing else."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from invengine import _core
from invengine.cli.check import damage_lines, findings_of, snapshot_lines
from invengine.cli.exits import ExitCode
from invengine.v1 import inventory_service_pb2 as inventory

from .environment import begin_journal
from .scripted import CommandLine

REPORT: dict[str, Any] = {"invariants": {"levels_add_up": True}, "oversold_units_by_reserve": 0, "broken": []}


def test_a_sound_journal_has_no_findings() -> None:
    assert findings_of(REPORT) == []


def test_an_invariant_that_does_not_hold_is_a_finding() -> None:
    spoiled = {**REPORT, "invariants": {"levels_add_up": False, "keys": True}, "broken": ["at 3: MUG is short"]}
    assert findings_of(spoiled) == ["levels_add_up", "at 3: MUG is short"]


def test_oversold_units_are_a_finding() -> None:
    assert findings_of({**REPORT, "oversold_units_by_reserve": 2}) == ["oversold_units_by_reserve: 2"]


DAMAGE: dict[str, Any] = {
    "file": "journal-1",
    "offset": 4736,
    "why": "the frame's checksum does not match",
    "whole_sequence": 12,
    "whole_time_ms": 1_800_000_000_000,
    "unreadable_bytes": 144,
    "frames_behind": 3,
    "first_sequence_behind": 15,
    "last_sequence_behind": 20,
    "start_sequence": None,
    "start_snapshot": None,
    "start_refused": "journal corrupt",
}
SNAPSHOTS: list[dict[str, Any]] = [
    {"name": "snapshot-1", "sequence": 5, "bytes": 10, "compared": True, "bad": None},
    {"name": "snapshot-2", "sequence": 9, "bytes": 10, "compared": False, "bad": None},
    {"name": "snapshot-3", "sequence": 11, "bytes": 10, "compared": False, "bad": "piece 0 is damaged"},
]


def damaged(**changed: Any) -> dict[str, Any]:
    """A report of a damaged journal."""
    return {**REPORT, "damage": {**DAMAGE, **changed}, "snapshots": SNAPSHOTS, "backup": None}


def test_damage_and_bad_snapshots_are_findings() -> None:
    assert findings_of(damaged()) == [
        "corrupt: journal-1 at byte 4736: the frame's checksum does not match",
        "snapshot-3: piece 0 is damaged",
    ]
    assert findings_of({**REPORT, "damage": None, "snapshots": [], "backup": "whole"}) == []
    assert findings_of({**REPORT, "backup": "it is cut short"}) == ["it is cut short"]


def test_each_snapshot_is_reported_as_good_or_bad() -> None:
    lines = list(snapshot_lines(damaged()))
    for line, word in zip(lines, ("is that of the journal", "not compared", "piece 0 is damaged"), strict=True):
        assert word in line


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, ["to sequence 12 (engine time 2027-01-15 08:00:00Z)", "144 bytes", "sequence 13 to 14 is lost"]),
        ({}, ["refuses this journal: journal corrupt", "holds sequence 9", "invengine backup restore"]),
        ({"first_sequence_behind": 13}, ["(3) hold sequence 13 to 20", "what they continue is not"]),
        ({"first_sequence_behind": 14}, ["sequence 13 is lost"]),
        ({"frames_behind": 0}, ["no whole frame", "nobody can tell"]),
        ({"first_sequence_behind": 0, "last_sequence_behind": 0}, ["without events"]),
        (
            {"file": "frames", "entry": "13-0", "offset": 0},
            ["damage: entry 13-0 of frames: the frame", "refuses this journal", "put Redis back", "another Redis"],
        ),
        (
            {"start_refused": None, "start_sequence": 20, "start_snapshot": 9},
            ["the snapshot at sequence 9 and comes to sequence 20: no state is lost", "take a backup now"],
        ),
    ],
)
def test_damage_is_explained(changed: dict[str, Any], words: list[str]) -> None:
    text = "\n".join(damage_lines(damaged(**changed)))
    assert [word for word in words if word not in text] == []


def test_an_undamaged_journal_needs_no_explanation() -> None:
    assert list(damage_lines({**REPORT, "damage": None})) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "NOTHING"),
        ("verify", "--journal", "file", "--directory-of", "NOTHING"),
        ("backup", "create", "COPY", "--directory", "NOTHING"),
        ("backup", "restore", "NOTHING", "--directory", "COPY"),
    ],
)
@pytest.mark.parametrize("there", ["empty", "others", "missing"])
def test_a_check_of_nothing_is_an_error(
    line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], there: str
) -> None:
    nothing = tmp_path / "nothing"
    if there != "missing":
        nothing.mkdir()
    if there == "others":
        (nothing / "notes.txt").write_text("mine")
    if "--directory-of" in arguments:
        monkeypatch.setenv("INVENGINE_DIRECTORY", str(nothing))
        arguments = arguments[:-2]
    places = {"NOTHING": str(nothing), "COPY": str(tmp_path / "copy")}
    ran = line.run(*(places.get(word, word) for word in arguments))
    assert ran.code in (ExitCode.USAGE, ExitCode.CORRUPT), ran
    assert ran.out == ""
    assert str(nothing) in ran.err
    assert not (tmp_path / "copy").exists()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == (
        ["notes.txt"] if there == "others" else []
    ), "nothing is made where nothing was"


@pytest.mark.parametrize("at", ["0", "99999", str(2**63)])
def test_a_check_up_to_a_sequence_that_is_not_there_is_an_error(line: CommandLine, tmp_path: Path, at: str) -> None:
    place = tmp_path / "journal"
    begin_journal(place)
    ran = line.run("verify", str(place), "--at", at)
    assert (ran.code, ran.out) == (ExitCode.USAGE, ""), ran
    assert f"sequence {at} is no position in this journal, which has no events; name one that is" in ran.err
    with closing(_core.Engine.open(json.dumps({"directory": str(place), "auto_create": True}))) as engine:
        for number in range(3):
            line_of_stock = inventory.StockLine(sku="MUG", location="berlin", quantity=1)
            body = inventory.ReceiveRequest(lines=[line_of_stock]).SerializeToString()
            engine.call("/invengine.v1.InventoryService/Receive", body, idempotency_key=f"r{number}")
    (whole,) = line.run("verify", str(place), "--json").objects
    end = whole["sequence"]
    ran = line.run("verify", str(place), "--at", at)
    assert (ran.code, ran.out) == (ExitCode.USAGE, ""), ran
    assert f"which ends at sequence {end}; name one that is, or none for all of it" in ran.err
    codes = [line.run("verify", str(place), "--at", str(sequence)).code for sequence in (1, end, end + 1)]
    assert codes == [ExitCode.OK, ExitCode.OK, ExitCode.USAGE]


def test_damage_before_the_first_event_has_no_part_to_prove() -> None:
    (line,) = [line for line in damage_lines(damaged(whole_sequence=0, whole_time_ms=0)) if line.startswith("whole: ")]
    assert "--at" not in line
