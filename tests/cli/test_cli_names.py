"""Names on the command line: fields of a file are sent unchanged, bad names and look-alikes are shown."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from invengine.cli.check import findings_of, name_lines
from invengine.cli.exits import ExitCode
from invengine.service.refusals import refused
from invengine.v1 import catalog_service_pb2, types_pb2

from .scripted import CommandLine, ScriptedEngine
from .test_cli_server import process, ready, serve

RECEIPT = types_pb2.Receipt(sequence=9, durable_sequence=9)
STORED = catalog_service_pb2.UpsertItemsResponse(receipt=RECEIPT)
FIXTURE = Path(__file__).parents[2] / "rust" / "node" / "tests" / "fixtures" / "backup-old-names"


def test_a_csv_row_with_a_space_does_not_change_the_name_without_it(line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text('sku,display_name\njug,A jug\n"mug ",Not the mug\ncup\u200b,\n')
    with process(*serve("native", tmp_path / "journal")) as server:
        target = ("--target", ready(server)["address"])
        assert line.run("catalogue", "items", "add", "mug", "--display-name", "The mug", *target).code == 0
        ran = line.run("catalogue", "items", "import", "items.csv", *target)
        assert ran.code == ExitCode.USAGE
        assert 'line 3: sku: "mug " has U+0020 at character 4, a space at its end' in ran.err
        assert ", and 1 more)" in ran.err
        (report,) = line.run("catalogue", "items", "import", "items.csv", *target, "--json").objects
        assert [each["line"] for each in report["bad_lines"]] == [3, 4]
        assert '"cup<U+200B>"' in report["bad_lines"][1]["problem"]
        listed = line.run("catalogue", "items", "list", *target, "--json").objects
        assert [(each["sku"], each["display_name"]) for each in listed] == [("mug", "The mug")]


def test_fields_of_a_csv_are_sent_as_they_stand_there(line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("sku,display_name\n mug , A mug \n")
    # A new name like that would be refused, an old one is not.
    old = catalog_service_pb2.ListItemsResponse(items=[catalog_service_pb2.Item(sku=" mug ")])
    engine = ScriptedEngine({"ListItems": old, "UpsertItems": STORED})
    assert line.ask(engine, "catalogue", "items", "import", str(tmp_path / "items.csv")).code == 0
    (item,) = catalog_service_pb2.UpsertItemsRequest.FromString(engine.asked[-1][1]).items
    assert (item.sku, item.display_name) == (" mug ", " A mug ")


def test_a_bad_row_of_a_later_batch_is_reported_with_its_own_line(line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("sku,display_name\n" + "".join(f"S{row},\n\n" for row in range(1500)))
    no = refused(
        grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "no", violations={"items[7].sku": "bad", "context": "odd"}
    )

    class RefusesTheSecond(ScriptedEngine):
        def start_call(self, method: str, payload: bytes, on_done: Callable[[int, bytes], None], **rest: Any) -> None:
            self.script["UpsertItems"] = no if self.asked else STORED
            super().start_call(method, payload, on_done, **rest)

    ran = line.ask(RefusesTheSecond({}), "catalogue", "items", "import", str(tmp_path / "items.csv"))
    assert ran.code == ExitCode.PARTLY
    # A blank line below each row.
    assert f"line {2 + 2 * 1007}, sku: bad (and 1 more)" in ran.err


def test_look_alikes_are_reported(line: CommandLine, tmp_path: Path) -> None:
    alike = [types_pb2.LookAlike(name=f"Mug\u200b{row}", older_name=f"mug{row}") for row in range(25)]
    stored = catalog_service_pb2.UpsertItemsResponse(receipt=RECEIPT, look_alikes=alike)
    (tmp_path / "items.csv").write_text("sku\nMUG\n")
    for command in (("add", "MUG"), ("import", str(tmp_path / "items.csv"))):
        ran = line.ask(ScriptedEngine({"UpsertItems": stored}), "catalogue", "items", *command)
        assert 'look-alike: "Mug<U+200B>0" looks like the older "mug0"' in ran.out
        assert "look-alikes: 5 more" in ran.out
        (found,) = line.ask(ScriptedEngine({"UpsertItems": stored}), "catalogue", "items", *command, "--json").objects
        assert len(found["look_alikes"]) == 25
        assert found["look_alikes"][1] == {"name": "Mug\u200b1", "older_name": "mug1"}


def test_verify_lists_names_that_nobody_could_create_today_and_ends_well(line: CommandLine, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(FIXTURE, old)
    ran = line.run("verify", str(old))
    assert ran.code == ExitCode.OK, ran
    assert 'name: item "mug " has U+0020 at character 4, a space at its end' in ran.out
    assert 'name: item "Mug" looks like the older "mug"' in ran.out
    assert all(printed.isprintable() for printed in ran.out.split("\n"))
    (report,) = line.run("verify", str(old), "--json").objects
    assert findings_of(report) == []
    assert (report["counts"]["names_against_the_rule"], report["counts"]["look_alikes"]) == (10, 3)
    assert ("source", "erp ") in [(each["kind"], each["name"]) for each in report["names"]]


@pytest.mark.parametrize("total", [0, 20, 21])
def test_many_names_are_counted(total: int) -> None:
    report = {
        "names": [{"kind": "item", "name": "x", "finding": "odd"}] * total,
        "counts": {"names_against_the_rule": total, "look_alikes": 0},
    }
    lines = list(name_lines(report))
    assert len(lines) == total
    assert not total > 20 or lines[-1] == "names: 1 more; --json lists the first 21"
