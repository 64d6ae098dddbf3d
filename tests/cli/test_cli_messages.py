"""`invengine sources` for messages: what is recorded, listed, given up and sent again, and what `status` says."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from invengine import Engine
from invengine.cli import message_files
from invengine.cli.exits import ExitCode
from invengine.cli.source_messages import PARKED_LONG_S, WAITING_LONG_S, warnings_of
from invengine.client import Client, Item, Location, MessageDisposition, Source, recording
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import source_service_pb2 as sources

from .scripted import CommandLine, Ran, ScriptedEngine, no, scripted


@pytest.fixture
def address() -> Iterator[str]:
    """A server with ten mugs at berlin, and a source."""
    engine = Engine.open(json.dumps({"journal": "memory", "ledger": "main"}))
    with scripted(engine) as found:
        with Client(found) as client:
            client.upsert_items([Item("MUG")])
            client.upsert_locations([Location("berlin"), Location("lyon")])
            client.receive([("MUG", "berlin", 10)])
        yield found
    engine.close()


class Wms:
    """A source, whose messages are lines of a file."""

    def __init__(self, line: CommandLine, address: str) -> None:
        self._line = line
        self._address = address
        with Client(address) as client:
            self.epoch = client.register_source("wms").epoch

    def context(self, number: int, key: str = "") -> dict[str, Any]:
        """Id and position."""
        place = {"source_id": "wms", "epoch": self.epoch, "sequence": number}
        return {"idempotency_key": key or f"m-{number}", "source": place}

    def goods(self, number: int, sku: str = "MUG") -> str:
        """A line about one unit that came in."""
        lines = [{"sku": sku, "location": "berlin", "quantity": 1}]
        return json.dumps({"goods_received": {"context": self.context(number), "lines": lines}})

    def arrival(self, number: int, transfer: str) -> str:
        """A line about a transfer that arrived."""
        body = {"context": self.context(number), "transfer": transfer, "whole": True}
        return json.dumps({"transferReceived": body})

    def record(self, *lines: str, file: str = "messages.jsonl", more: tuple[str, ...] = ()) -> Ran:
        """Records a file of these lines."""
        Path(file).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return self.run("record", file, *more)

    def run(self, *arguments: str) -> Ran:
        """Runs a command on sources."""
        return self._line.run("sources", *arguments, "--target", self._address)

    def status(self, *more: str) -> Ran:
        """Asks how the server is."""
        return self._line.run("status", "--target", self._address, "--metrics-address", "", *more)


@pytest.fixture
def wms(line: CommandLine, address: str) -> Wms:
    return Wms(line, address)


def test_each_line_of_a_file_has_its_outcome(wms: Wms) -> None:
    lines = [wms.goods(1), wms.goods(2, "CUP"), "", wms.arrival(3, "T-1"), wms.goods(9)]
    ran = wms.record(*lines)
    assert ran.code == ExitCode.OK, ran
    rows = ran.out.splitlines()
    assert rows[0].startswith('line 2: "m-2" is dead letter ')
    assert "UNKNOWN_SKU: no such item: CUP" in rows[0]
    assert rows[1:3] == ['line 4: "m-3" is waiting', 'line 5: "m-9" is parked']
    counts = {name: int(value) for name, value in (row.rsplit(maxsplit=1) for row in rows[3:])}
    assert counts == {"lines": 4, "applied": 1, "parked": 1, "waiting": 1, "dead letter": 1, "refused": 0, "bad": 0}
    found = wms.record(*lines, more=("--json",)).objects
    assert [(each["line"], each["message_id"], each["disposition"]) for each in found] == [
        (1, "m-1", "applied"),
        (2, "m-2", "dead_letter"),
        (4, "m-3", "waiting"),
        (5, "m-9", "parked"),
    ]
    assert all(each["replayed"] for each in found)
    assert found[1]["rejection"]["metadata"] == {"sku": "CUP"}
    assert found[0]["rejection"] is None


BAD = {
    "nonsense": "no message",
    "[]": "no message",
    '{"goods_received": {"lines": 7}}': "no message",
    '{"sold": {}}': "no message",
    "{}": "none of goods_received",
    '{"goods_received": {}}': "context.idempotency_key: the id of the message",
    '{"goods_received": {"context": {"idempotency_key": "m"}}}': "context.source: the Position",
    '{"a": "\udcff"}': "UTF-8",
    "[" * 100_000: "no message",
}


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_a_line_that_is_no_message_is_told_and_the_others_are_recorded(wms: Wms, bad: str) -> None:
    text = f"{wms.goods(1)}\n{bad}\n{wms.goods(2)}\n"
    Path("messages.jsonl").write_text(text, encoding="utf-8", errors="surrogateescape")
    ran = wms.run("record", "messages.jsonl")
    assert ran.code == ExitCode.PARTLY, ran
    assert ran.out.startswith("line 2: ")
    assert BAD[bad] in ran.out.splitlines()[0]
    assert "2 of 3 lines of messages.jsonl are recorded; no messages: 1, refused: 0" in ran.err
    assert "line 2: " in ran.err
    Path("bad.jsonl").write_text(f"{bad}\n", encoding="utf-8", errors="surrogateescape")
    alone = wms.run("record", "bad.jsonl", "--json")
    assert alone.code == ExitCode.USAGE
    assert alone.objects[0]["line"] == 1
    assert BAD[bad] in alone.objects[0]["problem"]


def test_a_line_is_not_of_any_length(wms: Wms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_files, "LINE_BYTES_MAX", 10)
    ran = wms.record(wms.goods(1))
    assert (ran.code, "longer than" in ran.out) == (ExitCode.USAGE, True)


def test_an_empty_file_is_nothing_and_an_absent_one_a_mistake(wms: Wms) -> None:
    assert wms.record().code == ExitCode.OK
    ran = wms.run("record", "absent.jsonl")
    assert (ran.code, "absent.jsonl cannot be read" in ran.err) == (ExitCode.USAGE, True)


def test_standard_input_is_a_file(wms: Wms, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n".join(wms.goods(number) for number in range(1, 2502))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbf" + text.encode())))
    ran = wms.run("record", "-")
    assert ran.code == ExitCode.OK, ran
    assert ran.out.splitlines()[0].split() == ["lines", "2501"]
    assert ran.out.splitlines()[1].split() == ["applied", "2501"]


def test_refused_messages_are_code_1_or_9(wms: Wms, address: str) -> None:
    stale = wms.goods(1)
    with Client(address) as client:
        wms.epoch = client.register_source("wms").epoch
    ran = wms.record(stale)
    assert (ran.code, ran.err.startswith("invengine: STALE_EPOCH")) == (ExitCode.REJECTED, True)
    assert 'line 1: "m-1" is refused: STALE_EPOCH' in ran.out
    ran = wms.record(stale, wms.goods(1))
    assert ran.code == ExitCode.PARTLY
    assert "1 of 2 lines" in ran.err


def test_a_file_that_is_cut_short_by_a_failure_says_how_much_is_recorded(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_files, "BATCH", 2)
    applied = inventory.MessageOutcome(disposition=inventory.MESSAGE_DISPOSITION_APPLIED)
    applied.receipt.sequence = 7
    answers: Iterator[Any] = iter(
        [
            inventory.RecordMessagesResponse(outcomes=[applied] * 2),
            no("MESSAGE_TOO_LARGE", grpc.StatusCode.RESOURCE_EXHAUSTED, limit="7"),
        ]
    )

    class Script(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            return next(answers)

    context = {"source": {"source_id": "wms", "epoch": 1, "sequence": 1}}
    rows = [
        json.dumps({"goods_received": {"context": context | {"idempotency_key": f"m-{number}"}}}) for number in range(5)
    ]
    Path("m.jsonl").write_text("\n".join(rows))
    ran = line.ask(ScriptedEngine(Script()), "sources", "record", "m.jsonl")
    assert ran.code == ExitCode.PARTLY, ran
    assert "2 messages of m.jsonl are recorded" in ran.err
    assert "MESSAGE_TOO_LARGE" in ran.err


def test_what_is_kept_is_listed(wms: Wms) -> None:
    wms.record(wms.goods(1, "CUP"), wms.arrival(2, "T-1"), wms.goods(4))
    (_, row) = wms.run("parked", "wms").out.splitlines()
    assert row.split()[:2] == ["4", "m-4"]
    assert row.endswith("goods_received 1 MUG at berlin")
    (_, row) = wms.run("waiting", "wms").out.splitlines()
    assert row.endswith("transfer_received transfer T-1 whole True  stock transfer T-1")
    (letter,) = wms.run("dead-letters", "wms", "--json").objects
    assert (letter["body"], letter["message_id"], letter["rejection"]["reason"]) == (
        "goods_received",
        "m-1",
        "UNKNOWN_SKU",
    )
    assert letter["message"]["goods_received"]["lines"][0]["sku"] == "CUP"
    (head, row) = wms.run("dead-letters", "wms").out.splitlines()
    assert head.split() == ["id", "number", "message", "id", "since", "message", "why"]
    assert row.split()[0] == str(letter["sequence"])
    assert "UNKNOWN_SKU" in row
    (head, row) = wms.run("list").out.splitlines()
    assert row.split()[:6] == ["wms", "-", str(wms.epoch), "2", "0", "1"]
    assert row.split()[-1] == "1"
    (listed,) = wms.run("list", "--json").objects
    assert (listed["parked"], listed["waiting"], listed["dead_letters"]) == (1, 1, 1)
    ran = wms.run("parked", "nobody")
    assert (ran.code, "UNKNOWN_SOURCE" in ran.err) == (ExitCode.REJECTED, True)


def test_a_gap_is_given_up(wms: Wms) -> None:
    wms.record(wms.goods(4))
    ran = wms.run("skip-gap", "wms", "--through", "4")
    assert (ran.code, "through: at most 3" in ran.err) == (ExitCode.REJECTED, True)
    ran = wms.run("skip-gap", "wms", "--through", "3", "--reason-code", "lost", "--key", "k", "--json")
    facts = ran.objects[0]
    assert (facts["epoch"], facts["last_number"], facts["parked"], facts["key"]) == (wms.epoch, 4, 0, "k")
    assert wms.run("skip-gap", "wms", "--through", "3", "--key", "k").code == ExitCode.OK
    assert wms.run("skip-gap", "wms", "--through", "3", "--epoch", "1").code == ExitCode.REJECTED
    ran = wms.run("skip-gap", "nobody", "--through", "3")
    assert (ran.code, "UNKNOWN_SOURCE" in ran.err) == (ExitCode.REJECTED, True)


def test_letters_are_sent_again(wms: Wms, address: str) -> None:
    wms.record(wms.goods(1, "CUP"), wms.goods(2, "TEA"))
    ids = [str(each["sequence"]) for each in wms.run("dead-letters", "wms", "--json").objects]
    ran = wms.run("redrive", "wms", *ids)
    assert (ran.code, "UNKNOWN_SKU" in ran.err) == (ExitCode.REJECTED, True)
    with Client(address) as client:
        client.upsert_items([Item("CUP")])
    ran = wms.run("redrive", "wms", "--all", "--dry-run")
    assert (ran.code, "1 of 2 dead letters would be applied" in ran.err) == (ExitCode.PARTLY, True)
    ran = wms.run("redrive", "wms", "--all", "--actor", "jo", "--json")
    assert (ran.code, "1 of 2 dead letters are applied" in ran.err) == (ExitCode.PARTLY, True)
    assert [(str(each["dead_letter"]), each["disposition"]) for each in ran.objects] == [
        (ids[0], "applied"),
        (ids[1], "dead_letter"),
    ]
    ran = wms.run("redrive", "wms", ids[0])
    assert (ran.code, "ENTITY_NOT_FOUND" in ran.err) == (ExitCode.REJECTED, True)
    with Client(address) as client:
        client.upsert_items([Item("TEA")])
    ran = wms.run("redrive", "wms", "--all")
    assert ran.code == ExitCode.OK
    assert ran.out.splitlines()[1].split() == [ids[1], "applied", "-"]
    assert wms.run("redrive", "wms", "--all").code == ExitCode.OK
    for arguments in ((), ("7", "--all")):
        assert wms.run("redrive", "wms", *arguments).code == ExitCode.USAGE


def test_letters_are_given_up(wms: Wms) -> None:
    wms.record(wms.goods(1, "CUP"), wms.goods(2, "TEA"))
    ids = [str(each["sequence"]) for each in wms.run("dead-letters", "wms", "--json").objects]
    assert wms.run("discard", "wms", *ids).code == ExitCode.USAGE
    ran = wms.run("discard", "wms", *ids, "--reason-code", "typo", "--json")
    assert ran.objects[0]["discarded_dead_letters"] == 2
    assert wms.run("dead-letters", "wms", "--json").out == ""
    ran = wms.run("discard", "wms", ids[0], "--reason-code", "typo")
    assert (ran.code, "ENTITY_NOT_FOUND" in ran.err) == (ExitCode.REJECTED, True)


def test_status_counts_what_is_kept_and_warns_of_dead_letters(wms: Wms) -> None:
    assert "warning" not in wms.status().out
    wms.record(wms.goods(1, "CUP"), wms.arrival(2, "T-1"), wms.goods(4))
    (warning,) = [row for row in wms.status().out.splitlines() if row.startswith("warning: ")]
    assert 'dead letters of "wms": 1;' in warning
    assert "invengine sources dead-letters wms" in warning
    (facts,) = wms.status("--json").objects
    assert (facts["parked_messages"], facts["waiting_messages"], facts["dead_letters"]) == (1, 1, 1)


def test_messages_that_were_kept_for_long_are_warned_of() -> None:
    now = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)

    def source(parked_s: float, waiting_s: float) -> Source:
        since = [now - timedelta(seconds=each) for each in (parked_s, waiting_s)]
        return Source("wms", 1, 1, None, 0, 2, since[0], 3, since[1], 0)

    assert list(warnings_of([source(PARKED_LONG_S - 1, WAITING_LONG_S - 1), Source("x", 1, 1, None, 0)], now)) == []
    parked, waiting = warnings_of([source(PARKED_LONG_S, 7200)], now)
    assert 'parked messages of "wms": 2, the oldest for 10 min:' in parked
    assert 'waiting messages of "wms": 3, the oldest for 2 h:' in waiting
    assert "`invengine sources waiting wms`" in waiting


def test_the_ages_of_a_list_are_by_the_clock_of_the_engine(line: CommandLine) -> None:
    from invengine.v1 import admin_service_pb2

    known = sources.Source(source_id="wms", epoch=1, parked=1, waiting=1)
    known.parked_since.FromSeconds(1_000_000_000)
    known.waiting_since.FromSeconds(1_000_000_600)
    info = admin_service_pb2.GetServerInfoResponse()
    info.engine_time.FromSeconds(1_000_003_600)
    script = {"ListSources": sources.ListSourcesResponse(sources=[known]), "GetServerInfo": info}
    rows = line.ask(ScriptedEngine(script), "sources", "list").out.splitlines()
    assert rows[0].split("  ")[-1] == "dead letters"
    assert rows[1].split()[5:] == ["1", "60", "min", "1", "50", "min", "0"]


def test_a_recorded_message_is_sent_as_it_is(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVENGINE_CHANNEL", "web")
    applied = inventory.MessageOutcome(disposition=inventory.MESSAGE_DISPOSITION_APPLIED)
    applied.receipt.sequence = 7
    engine = ScriptedEngine({"RecordMessages": inventory.RecordMessagesResponse(outcomes=[applied])})
    given = {
        "context": {
            "idempotency_key": "m-1",
            "source": {"source_id": "wms", "epoch": "3", "sequence": "9"},
            "event_time": "2026-11-27T09:30:00Z",
        },
        "lines": [{"sku": "MUG", "location": "berlin", "delta": "-2", "state": "STOCK_STATE_DAMAGED"}],
    }
    Path("m.jsonl").write_text(json.dumps({"stock_adjusted": given}))
    assert line.ask(engine, "sources", "record", "m.jsonl").code == ExitCode.OK
    (sent,) = engine.request(inventory.RecordMessagesRequest).messages
    context = sent.stock_adjusted.context
    assert (context.channel, context.idempotency_key, context.source.sequence) == ("", "m-1", 9)
    assert recording.description_of(sent) == "stock_adjusted -2 MUG at berlin (damaged)"
    assert MessageDisposition(applied.disposition) is MessageDisposition.APPLIED
