"""`invengine stock import | export`: opening stock comes once, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from invengine import Engine
from invengine.cli.csvfile import read_table
from invengine.cli.exits import ExitCode
from invengine.cli.imports import Report
from invengine.cli.opening import QUANTITY_MAX, REQUEST_BYTES_MAX, batches_of, draft_of, levels_of
from invengine.client import Item, StockState
from invengine.v1 import inventory_service_pb2

from .file_cases import Failing, Forgetful, Meddling, Silent, counts, ledger, quantities, run, told, write
from .scripted import CommandLine

HEADER = "sku,location,quantity,state"
SKUS, PLACES = ("MUG", "CUP", "POT"), ("berlin", "lyon")
MANY = [f"S-{number}" for number in range(4500)]


def many(path: Path, of: int = 4500) -> Path:
    """A file with a level for each of many items: five batches."""
    return write(path / "many.csv", "sku,location,quantity", *(f"{sku},berlin,{n}" for n, sku in enumerate(MANY[:of])))


def test_stock_is_set_by_state_with_reason_and_reference(line: CommandLine, tmp_path: Path) -> None:
    file = write(tmp_path / "open.csv", HEADER, "MUG,berlin,10,", "CUP,lyon,0,on_hand", "MUG,berlin,2,damaged")
    with ledger(SKUS, PLACES) as client:
        ran = run(line, client, "stock", "import", str(file), "--json")
        assert (ran.code, counts(ran)["imported"], ran.objects[0]["levels"]) == (0, 3, 2), ran
        # on_hand is everything: eight can be sold. A level with 0 units is recorded, one that is absent is not.
        assert quantities(client) == {("MUG", "berlin"): (10, 2, 0, 0), ("CUP", "lyon"): (0, 0, 0, 0)}
        events = [each for each in client.read_events() if each.kind == "stock_changed"]
        contexts = [each.context for each in events]
        assert {(each.reason_code, each.reference) for each in contexts if each} == {("OPENING_STOCK", "open.csv")}


def test_parts_without_the_whole_are_the_whole(line: CommandLine, tmp_path: Path) -> None:
    file = write(tmp_path / "open.csv", HEADER, "MUG,berlin,2,damaged", "MUG,berlin,3,returned")
    with ledger(SKUS, PLACES) as client:
        assert run(line, client, "stock", "import", str(file)).code == 0
        assert quantities(client) == {("MUG", "berlin"): (5, 2, 3, 0)}


def test_more_parts_than_the_whole_are_accepted_and_told(line: CommandLine, tmp_path: Path) -> None:
    file = write(tmp_path / "open.csv", HEADER, "MUG,berlin,0,on_hand", "MUG,berlin,2,damaged")
    with ledger(SKUS, PLACES) as client:
        for flags in (["--dry-run"], []):
            assert run(line, client, "stock", "import", str(file), "--json", *flags).objects[0]["oversold_levels"] == 1
        assert client.get_level("MUG", "berlin").oversold == 2


BAD = {
    "MUG,berlin,-1,": "whole number of units",
    "MUG,berlin,1.5,": "whole number of units",
    "MUG,berlin,1e3,": "whole number of units",
    'MUG,berlin,"1,000",': "whole number of units",
    "MUG,berlin, 1,": "whole number of units",
    "MUG,berlin,+1,": "whole number of units",
    "MUG,berlin,١,": "whole number of units",
    f"MUG,berlin,{QUANTITY_MAX + 1},": str(QUANTITY_MAX),
    f"MUG,berlin,{'9' * 5000},": "whole number of units",
    "MUG,berlin,,": "quantity is empty",
    "MUG,,1,": "location is empty",
    ",berlin,1,": "sku is empty",
    "MUG,berlin,1": "no cell for state",
    "MUG,berlin": "no cell for quantity",
    "MUG,berlin,1,,": "too many cells",
    "MUG,berlin,1,in_transit": "stock transfers alone change it",
    "MUG,berlin,1,broken": "is not a state of opening stock",
    "NONE,berlin,1,": 'sku "NONE" is not in the catalogue',
    "MUG,nowhere,1,": 'location "nowhere" is not in the catalogue',
    "MUG ,berlin,1,": 'sku "MUG " is not in the catalogue',
    "POT,berlin,1,": "the level has been recorded before; 7 on hand",
    "POT,lyon,1,": "the level has been recorded before; 0 on hand",
    "CUP,lyon,5,on_hand": "was on line 2 already",
}


@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
def test_every_bad_line_is_told_and_nothing_is_imported(line: CommandLine, tmp_path: Path, flags: list[str]) -> None:
    file = write(tmp_path / "open.csv", HEADER, "CUP,lyon,4,", *BAD, "CUP,berlin,1,")
    with ledger(SKUS, PLACES) as client:
        client.set_quantity([("POT", "berlin", 7), ("POT", "lyon", 0)])
        digest = client.digest()
        ran = run(line, client, "stock", "import", str(file), "--json", *flags)
        assert ran.code == ExitCode.USAGE
        problems = told(ran)
        for number, (row, words) in enumerate(BAD.items(), 3):
            assert words in problems[number], (row, problems)
        assert problems.keys() == set(range(3, 3 + len(BAD)))
        assert client.digest() == digest


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_skip_bad_imports_the_good_lines_and_says_so(line: CommandLine, tmp_path: Path, dry: list[str]) -> None:
    rows = ("CUP,lyon,4,", "MUG,lyon,3,", "NONE,lyon,1,", "MUG,lyon,x,damaged", "CUP,berlin,1,")
    file = write(tmp_path / "open.csv", HEADER, *rows)
    with ledger(SKUS, PLACES) as client:
        digest = client.digest()
        ran = run(line, client, "stock", "import", str(file), "--skip-bad", "--json", *dry)
        assert ran.code == ExitCode.PARTLY
        # Half a level is none: the good line of a level with a bad one is left out as well.
        assert counts(ran) | {"imported": 0} == {
            "lines": 5,
            "imported": 0,
            "importable": 2,
            "already_done": 0,
            "left_out": 1,
            "bad": 2,
        }
        expected = {} if dry else {("CUP", "lyon"): (4, 0, 0, 0), ("CUP", "berlin"): (1, 0, 0, 0)}
        assert quantities(client) == expected
        assert (client.digest() == digest) == bool(dry)


def test_what_the_ledger_refuses_is_code_1(line: CommandLine, tmp_path: Path) -> None:
    file = write(tmp_path / "open.csv", HEADER, "NONE,lyon,1,")
    with ledger(SKUS, PLACES) as client:
        for flags in ([], ["--dry-run"], ["--skip-bad"]):
            ran = run(line, client, "stock", "import", str(file), *flags)
            assert (ran.code, "line 2" in ran.out, "1 of 1 lines" in ran.err) == (ExitCode.REJECTED, True, True), ran


def test_at_most_twenty_bad_lines_are_printed_with_their_total(line: CommandLine, tmp_path: Path) -> None:
    file = write(tmp_path / "open.csv", HEADER, *(f"MUG,berlin,x{number}," for number in range(1500)))
    with ledger(SKUS, PLACES) as client:
        ran = run(line, client, "stock", "import", str(file))
        assert sum(text.startswith("line ") for text in ran.out.splitlines()) == 20
        assert "bad lines: 1,480 more" in ran.out
        assert "1,500 of 1,500 lines" in ran.err
        assert len(ran.err.splitlines()) == 1
        (report,) = run(line, client, "stock", "import", str(file), "--json").objects
        assert (report["bad"], len(report["bad_lines"])) == (1500, 1000)


def test_the_same_file_again_changes_nothing(line: CommandLine, tmp_path: Path) -> None:
    file = many(tmp_path)
    with ledger(MANY, PLACES) as client:
        assert counts(run(line, client, "stock", "import", str(file), "--json"))["imported"] == 4500
        digest = client.digest()
        # Its name is not what makes it the same file.
        renamed = file.rename(tmp_path / "renamed.csv")
        ran = run(line, client, "stock", "import", str(renamed), "--json")
        assert (ran.code, counts(ran)["already_done"], counts(ran)["imported"]) == (0, 4500, 0)
        client.adjust([(MANY[7], "berlin", -7)])
        assert run(line, client, "stock", "import", str(renamed)).code == 0
        assert client.get_level(MANY[7], "berlin").on_hand == 0
        assert client.digest() != digest


def test_an_import_that_failed_in_the_middle_is_continued(line: CommandLine, tmp_path: Path) -> None:
    file = many(tmp_path)
    failing: list[Failing] = []

    def around(engine: Engine) -> Failing:
        failing.append(Failing(engine))
        return failing[0]

    with ledger(MANY, PLACES, around) as client:
        ran = run(line, client, "stock", "import", str(file), "--json")
        assert ran.code == ExitCode.PARTLY
        assert counts(ran)["imported"] == 3000
        assert "3,000 of 4,500 lines" in ran.err
        failing[0].left = 2
        ran = run(line, client, "stock", "import", str(file), "--json")
        assert (ran.code, counts(ran)["already_done"], counts(ran)["imported"]) == (0, 3000, 1500)
        assert quantities(client) == {(sku, "berlin"): (n, 0, 0, 0) for n, sku in enumerate(MANY)}


def test_a_server_that_takes_nothing_is_not_called_partly_done(line: CommandLine, tmp_path: Path) -> None:
    def around(engine: Engine) -> Failing:
        failing = Failing(engine)
        failing.left = 0
        return failing

    with ledger(MANY, PLACES, around) as client:
        ran = run(line, client, "stock", "import", str(many(tmp_path)))
        assert (ran.code, "JOURNAL_FULL" in ran.err) == (ExitCode.UNAVAILABLE, True), ran


def test_what_was_done_without_an_answer_is_found_by_the_next_run(line: CommandLine, tmp_path: Path) -> None:
    file = many(tmp_path, of=1500)
    kept: list[Silent] = []

    def around(engine: Engine) -> Silent:
        kept.append(Silent(engine))
        return kept[0]

    with ledger(MANY, PLACES, around) as client:
        ran = run(line, client, "stock", "import", str(file), "--timeout-ms", "700")
        assert (ran.code, "run it again" in ran.err, "--key" in ran.err) == (ExitCode.UNAVAILABLE, True, False), ran
        kept[0].method = "nothing"
        ran = run(line, client, "stock", "import", str(file), "--json")
        assert (ran.code, counts(ran)["already_done"], counts(ran)["imported"]) == (0, 1500, 0)


def test_a_killed_import_is_continued(tmp_path: Path) -> None:
    skus = [f"S-{number}" for number in range(20_000)]
    file = write(tmp_path / "killed.csv", "sku,location,quantity", *(f"{sku},berlin,3" for sku in skus))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with ledger(skus, PLACES) as client:
        command = [sys.executable, "-m", "invengine.cli", "stock", "import", str(file), "--target", client._target]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as started:
            until = time.monotonic() + 60
            while next(iter(client.list_levels(page_size=1)), None) is None and time.monotonic() < until:
                time.sleep(0.001)
            started.send_signal(signal.SIGKILL)
        again = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)
        assert again.returncode == 0, again
        assert quantities(client) == {(sku, "berlin"): (3, 0, 0, 0) for sku in skus}
        changed = [each.fact for each in client.read_events() if each.kind == "stock_changed"]
        assert len(changed) == 20_000


def test_a_day_later_what_has_stock_is_refused_and_nothing_changes(line: CommandLine, tmp_path: Path) -> None:
    """Also where all of it was sold meanwhile: nothing there is not the same as nothing yet."""
    file = write(tmp_path / "open.csv", HEADER, "MUG,berlin,5,", "CUP,lyon,0,", "POT,berlin,1,")
    with ledger(SKUS, PLACES, Forgetful) as client:
        assert run(line, client, "stock", "import", str(file)).code == 0
        client.adjust([("MUG", "berlin", -5)])
        digest = client.digest()
        ran = run(line, client, "stock", "import", str(file), "--json")
        assert (ran.code, set(told(ran))) == (ExitCode.REJECTED, {2, 3, 4})
        assert run(line, client, "stock", "import", str(file), "--skip-bad").code == ExitCode.REJECTED
        assert client.digest() == digest


def test_skipped_lines_are_imported_once_their_cause_is_gone(line: CommandLine, tmp_path: Path) -> None:
    file = write(tmp_path / "open.csv", HEADER, "MUG,berlin,5,", "NEW,lyon,2,", "CUP,lyon,1,")
    with ledger(SKUS, PLACES) as client:
        assert run(line, client, "stock", "import", str(file), "--skip-bad").code == ExitCode.PARTLY
        client.upsert_items([Item("NEW")])
        ran = run(line, client, "stock", "import", str(file), "--json")
        assert (ran.code, counts(ran)["already_done"], counts(ran)["imported"]) == (0, 2, 1)
        assert quantities(client)["NEW", "lyon"] == (2, 0, 0, 0)
        ran = run(line, client, "stock", "import", str(file), "--json")
        assert (ran.code, counts(ran)["already_done"]) == (0, 3)


def test_stock_that_came_between_check_and_command_is_not_overwritten(line: CommandLine, tmp_path: Path) -> None:
    file = many(tmp_path)

    def receive(engine: Engine) -> None:
        lines = [inventory_service_pb2.StockLine(sku=MANY[2500], location="berlin", quantity=9)]
        request = inventory_service_pb2.ReceiveRequest(lines=lines).SerializeToString()
        engine.call("/invengine.v1.InventoryService/Receive", request, idempotency_key="meddled")

    def around(engine: Engine) -> Meddling:
        meddling = Meddling(engine)
        meddling.meddle = receive
        return meddling

    with ledger(MANY, PLACES, around) as client:
        ran = run(line, client, "stock", "import", str(file))
        assert ran.code == ExitCode.PARTLY
        assert "QUANTITY_STALE" in ran.err
        assert "line 2502" in ran.err
        assert quantities(client)[MANY[2500], "berlin"] == (9, 0, 0, 0)
        ran = run(line, client, "stock", "import", str(file), "--json")
        assert (ran.code, set(told(ran))) == (ExitCode.REJECTED, {2502})
        ran = run(line, client, "stock", "import", str(file), "--skip-bad", "--json")
        assert (ran.code, set(told(ran))) == (ExitCode.PARTLY, {2502})
        expected = {(sku, "berlin"): (n, 0, 0, 0) for n, sku in enumerate(MANY)}
        assert quantities(client) == expected | {(MANY[2500], "berlin"): (9, 0, 0, 0)}


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", ExitCode.USAGE, "column sku"),
        (b"\n", ExitCode.USAGE, "column sku"),
        (b"sku,location\nMUG,berlin\n", ExitCode.USAGE, "column quantity"),
        (b"sku,location,quantity,sku\n", ExitCode.USAGE, "there twice"),
        (b"sku,location,quantity,stat\n", ExitCode.USAGE, "did you mean state"),
        (b"sku;location;quantity\nMUG;berlin;1\n", ExitCode.USAGE, "--delimiter ';'"),
        (b"sku,location,quantity\nM\xfcG,berlin,1\n", ExitCode.USAGE, "line 2"),
        (b'sku,location,quantity\n"MUG"x,berlin,1\n', ExitCode.USAGE, "line 2"),
        (b"sku,location,quantity\n", ExitCode.OK, ""),
        (b"\xef\xbb\xbfsku,location,quantity\r\nMUG,berlin,1\r\n\r\n", ExitCode.OK, ""),
        (b"quantity,sku,location\n007,MUG,berlin", ExitCode.OK, ""),
    ],
)
def test_files_that_are_odd_as_a_whole(
    line: CommandLine, tmp_path: Path, content: bytes, code: ExitCode, words: str
) -> None:
    (tmp_path / "open.csv").write_bytes(content)
    with ledger(SKUS, PLACES) as client:
        ran = run(line, client, "stock", "import", "open.csv")
        assert (ran.code, words in ran.err) == (code, True), ran


def test_a_file_has_at_most_so_many_lines(line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invengine.cli.csvfile.LINES_MAX", 4499)
    ran = line.run("stock", "import", str(many(tmp_path)))
    assert (ran.code, "more than 4,499 lines: divide it" in ran.err) == (ExitCode.USAGE, True)


def test_a_million_lines_and_one_are_read_in_bounded_memory(tmp_path: Path) -> None:
    rows = (f"SKU-{number % 20_000:05},store-{number // 20_000},{number % 97}" for number in range(1_000_001))
    file = write(tmp_path / "large.csv", "sku,location,quantity", *rows)
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from invengine.cli.csvfile import read_table\n"
        "from invengine.cli.imports import Report\n"
        "from invengine.cli.opening import COLUMNS, REQUIRED, batches_of, levels_of\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "levels = levels_of(Report(read_table(Path(sys.argv[1]), COLUMNS, REQUIRED), True, False))\n"
        "batches = list(batches_of(levels))\n"
        "used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before\n"
        "print(len(levels), len(batches), used // 1024)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", program, str(file)], env=environment, check=True, capture_output=True, text=True
    )
    levels, batches, used_mib = map(int, ran.stdout.split())
    assert (levels, batches) == (1_000_001, 1001)
    assert used_mib < 1024


def test_long_names_make_smaller_commands(tmp_path: Path) -> None:
    names = [f"{'語' * 120}{number:05}" for number in range(3000)]
    file = write(tmp_path / "long.csv", HEADER, *(f"{name},{'語' * 128},1," for name in names))
    levels = levels_of(Report(read_table(file, tuple(HEADER.split(",")), 3), False, False))
    batches = list(batches_of(levels))
    assert [level for batch in batches for level in batch.levels] == levels
    assert [batch.number for batch in batches] == list(range(1, len(batches) + 1))
    assert all(batch.lines <= 1000 for batch in batches)
    sizes = [len(draft_of(batch, "k" * 128, {"reference": "r" * 128}).payload(0)) for batch in batches]
    assert max(sizes) < REQUEST_BYTES_MAX + 1024


def test_an_export_is_not_written_over_a_file_unless_forced(line: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with ledger(SKUS, PLACES) as client:
        client.set_quantity([("MUG", "berlin", 3)])
        ran = run(line, client, "stock", "export", "--out", str(out), "--json")
        assert (ran.code, ran.objects[0]["rows"], ran.objects[0]["levels"]) == (0, 1, 1)
        client.set_quantity([("MUG", "berlin", 4)])
        ran = run(line, client, "stock", "export", "--out", str(out))
        assert (ran.code, "--force" in ran.err) == (ExitCode.USAGE, True)
        assert "MUG,berlin,3,on_hand" in out.read_text()
        assert run(line, client, "stock", "export", "--out", str(out), "--force").code == 0
        assert out.read_text() == f"{HEADER}\nMUG,berlin,4,on_hand\n"
        assert run(line, client, "stock", "export").out == out.read_text()
        assert run(line, client, "stock", "export", "--delimiter", "tab").out.splitlines()[1].split("\t")[0] == "MUG"
        assert run(line, client, "stock", "export", "--json").objects == [
            {"sku": "MUG", "location": "berlin", "quantity": 4, "state": "on_hand"}
        ]
        assert run(line, client, "stock", "export", "--force").code == ExitCode.USAGE
        assert run(line, client, "stock", "export", "--out", str(tmp_path / "no" / "x")).code == ExitCode.USAGE
    assert line.run("stock", "export", "--out", "x", "--target", "127.0.0.1:1", "--timeout-ms", "300").code == 3
    assert list(tmp_path.iterdir()) == [out], "what is not complete is not there"


UNITS = st.integers(0, 9) | st.just(QUANTITY_MAX // 4)
LEVEL = st.tuples(UNITS, *[st.none() | UNITS] * 3)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(levels=st.dictionaries(st.tuples(st.sampled_from(["a@b", 'q"q', "ü ö", "x;y"]), st.sampled_from(PLACES)), LEVEL))
def test_what_is_exported_is_imported_as_it_was(
    line: CommandLine, tmp_path: Path, levels: dict[tuple[str, str], tuple[int | None, ...]]
) -> None:
    skus = ["a@b", 'q"q', "ü ö", "x;y"]
    file = tmp_path / "round.csv"
    with ledger(skus, PLACES) as first, ledger(skus, PLACES) as second:
        for (sku, location), units in levels.items():
            for state, quantity in zip(StockState, units, strict=True):
                if quantity is not None:
                    first.count([(sku, location, quantity)], state=state)
        assert run(line, first, "stock", "export", "--out", str(file), "--force").code == 0
        assert run(line, second, "stock", "import", str(file)).code == 0
        assert quantities(second) == quantities(first)
        assert run(line, second, "stock", "export").out == file.read_text(encoding="utf-8")
