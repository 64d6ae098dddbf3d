"""What people meet: tables that fit, colours where they look, new commands, filters, files of a spreadsheet."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from invengine.cli import streams
from invengine.cli.output import duration, print_table
from invengine.client import JournalPosition
from invengine.v1 import (
    admin_service_pb2,
    catalog_service_pb2,
    journal_service_pb2,
    policy_service_pb2,
    reservation_service_pb2,
    types_pb2,
)

from .scripted import CommandLine, ScriptedEngine, no
from .test_cli_commands import HOLD, RECEIPT

CHANGED: dict[str, Any] = {"receipt": RECEIPT, "holds": [HOLD]}


class Terminal(io.StringIO):
    """A terminal, as far as programs ask."""

    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch, show: Callable[[], None], columns: int = 80) -> str:
    """The output on a terminal with this many columns, without colours."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", screen)
        with streams.guarded():
            show()
    return screen.getvalue()


COLUMNS = ("sku", "location", "available", "on_hand", "reserved", "allocated", "damaged", "returned", "quality_control")


@pytest.mark.parametrize("length", [3, 30, 120])
@pytest.mark.parametrize("damaged", [0, 4])
def test_a_table_fits_a_terminal_and_no_name_is_cut(monkeypatch: pytest.MonkeyPatch, length: int, damaged: int) -> None:
    names = ["A" * length, "B" * length]
    rows = [(name, "berlin", 7, 7, 0, 0, damaged, 0, 0) for name in names]
    text = on_terminal(monkeypatch, lambda: print_table(COLUMNS, rows))
    assert all(name in text.split() for name in names)
    assert "available" in text
    assert "damaged" in text
    assert all(len(line) <= 80 or "A" * length in line or "B" * length in line for line in text.splitlines())
    if length < 100:
        assert max(len(line) for line in text.splitlines()) <= 80


def test_what_is_left_out_of_a_table_is_zero_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("MUG-" + "x" * 20, "berlin", 7, 7, 0, 0, 0, 0, 0)]
    lines = on_terminal(monkeypatch, lambda: print_table(COLUMNS, rows)).splitlines()
    assert lines[-1] == "0 everywhere: reserved, allocated, damaged, returned, quality control"
    assert lines[0].split() == ["sku", "location", "available", "on", "hand"]


def test_a_pipe_gets_every_column(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    print_table(COLUMNS, [("MUG", "berlin", 7, 7, 0, 0, 0, 0, 0)])
    assert capsys.readouterr().out.splitlines()[0].split()[-2:] == ["quality", "control"]


@pytest.mark.parametrize(
    ("seen", "variables", "coloured"),
    [
        (True, {"TERM": "xterm"}, True),
        (False, {"TERM": "xterm"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colour_comes_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, seen: bool, variables: dict[str, str], coloured: bool
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stream = Terminal() if seen else io.StringIO()
    assert ("\033[31m" in streams.styled("no", streams.RED, stream)) is coloured


def test_amend_sends_the_new_quantity_of_each_line(line: CommandLine) -> None:
    engine = ScriptedEngine({"Amend": reservation_service_pb2.AmendResponse(**CHANGED)})
    assert line.ask(engine, "amend", "r-1", "MUG@berlin=3", "CUP@lyon=0", "--key", "k", "--channel", "web").code == 0
    request = engine.request(reservation_service_pb2.AmendRequest)
    assert [(each.sku, each.location, each.quantity) for each in request.lines] == [
        ("MUG", "berlin", 3),
        ("CUP", "lyon", 0),
    ]
    assert (request.target.reservation_id, request.context.idempotency_key, request.context.channel) == (
        "r-1",
        "k",
        "web",
    )
    assert line.run("amend", "r-1").code == 2
    assert line.run("amend", "r-1", "MUG@berlin").code == 2


def test_transfer_says_where_to(line: CommandLine) -> None:
    answer = reservation_service_pb2.TransferReservationResponse(**CHANGED)
    engine = ScriptedEngine({"TransferReservation": answer})
    ran = line.ask(engine, "transfer", "MUG@berlin", "--to", "lyon", "--reservation-key", "k9")
    assert ran.code == 0, ran.err
    request = engine.request(reservation_service_pb2.TransferReservationRequest)
    assert (request.to_location, request.target.reservation_key) == ("lyon", "k9")
    assert [(each.sku, each.location) for each in request.target.lines] == [("MUG", "berlin")]
    assert line.run("transfer", "r-1").code == 2


HELD = types_pb2.Reservation(
    reservation_id="r-1",
    holder="ann",
    order_ref="o-1",
    lines=[
        types_pb2.ReservationLine(sku="MUG", location="berlin", quantity=3, reserved=2, released=1),
        types_pb2.ReservationLine(sku="CUP", location="lyon", quantity=1, allocated=1),
    ],
)


@pytest.mark.parametrize(
    ("flags", "asked"),
    [
        ([], ("", "", False)),
        (["--holder", "ann"], ("ann", "", False)),
        (["--order", "o-1", "--ended"], ("", "o-1", True)),
    ],
)
def test_holds_are_listed_by_holder_and_order(
    line: CommandLine, flags: list[str], asked: tuple[str, str, bool]
) -> None:
    script = {"ListReservations": reservation_service_pb2.ListReservationsResponse(reservations=[HELD])}
    engine = ScriptedEngine({**script})
    ran = line.ask(engine, "holds", *flags)
    request = engine.request(reservation_service_pb2.ListReservationsRequest)
    assert (request.holder, request.order_ref, request.include_ended) == asked
    rows = [text.split() for text in ran.out.splitlines()[1:]]
    assert [(row[0], *row[3:]) for row in rows] == [
        ("r-1", "ann", "o-1", "MUG", "berlin", "2", "0"),
        ("r-1", "ann", "o-1", "CUP", "lyon", "0", "1"),
    ]
    (found,) = line.ask(ScriptedEngine({**script}), "holds", *flags, "--json").objects
    assert found["reservation_id"] == "r-1"


@pytest.mark.parametrize("words", [["MUG@berlin"], ["MUG", "berlin"], ["M@G@berlin"], ["M@G", "berlin"]], ids=" ".join)
def test_one_level_is_named_like_a_line(line: CommandLine, words: list[str]) -> None:
    from invengine.v1 import inventory_service_pb2

    engine = ScriptedEngine({"GetInventoryLevel": inventory_service_pb2.GetInventoryLevelResponse()})
    ran = line.ask(engine, "stock", "show", *words)
    assert ran.code == 0, ran.err
    request = engine.request(inventory_service_pb2.GetInventoryLevelRequest)
    assert (request.sku, request.location) == (words[0].removesuffix("@berlin"), "berlin")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["MUG"], "write MUG@LOCATION"),
        (["MUG@berlin=2"], "write MUG@berlin"),
        (["MUG@berlin", "CUP@lyon"], "one level"),
        (["MUG", "berlin", "lyon"], "SKU@LOCATION"),
    ],
)
def test_a_level_in_another_notation_is_refused_with_the_right_one(
    line: CommandLine, words: list[str], says: str
) -> None:
    ran = line.run("stock", "show", *words, "--target", "127.0.0.1:1")
    assert ran.code == 2
    assert says in ran.err


def test_a_query_with_a_quantity_is_refused(line: CommandLine) -> None:
    ran = line.run("availability", "MUG@berlin=2", "--target", "127.0.0.1:1")
    assert ran.code == 2
    assert "write MUG@berlin" in ran.err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (2.163e-05, "0.0216 ms"),
        (0.25, "250 ms"),
        (1.0, "1 s"),
        (-1.5, "-1.5 s"),
        (119.99, "120 s"),
        (900.0, "15 min"),
        (86400.0, "24 h"),
        (2592000.0, "30 days"),
        (864e5, "1000 days"),
    ],
)
def test_a_duration_is_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_status_prints_durations_for_people_and_seconds_as_json(line: CommandLine) -> None:
    info = admin_service_pb2.GetServerInfoResponse()
    info.recovery_time.nanos = 21_630
    info.effective_dedupe_window.seconds = 86_400
    script: dict[str, Any] = {"GetServerInfo": info, "GetDigest": journal_service_pb2.GetDigestResponse()}
    script["ListSources"] = no("UNIMPLEMENTED", grpc.StatusCode.UNIMPLEMENTED)
    rows = line.ask(ScriptedEngine({**script}), "status", "--metrics-address", "").out.splitlines()
    found = dict(text.rsplit("  ", 1) for text in rows)
    shown = {name.strip(): value for name, value in found.items()}
    assert (shown["recovery time"], shown["effective dedupe window"], shown["snapshot time"]) == (
        "0.0216 ms",
        "24 h",
        "-",
    )
    (facts,) = line.ask(ScriptedEngine({**script}), "status", "--json", "--metrics-address", "").objects
    assert (facts["recovery_time_s"], facts["effective_dedupe_window_s"]) == (2.163e-05, 86400)


def outcome(**fields: Any) -> ScriptedEngine:
    return ScriptedEngine({"GetOutcome": reservation_service_pb2.GetOutcomeResponse(**fields)})


def test_an_outcome_is_accepted_refused_or_not_known(line: CommandLine) -> None:
    accepted = reservation_service_pb2.Outcome(receipt=RECEIPT, holds=[HOLD])
    ran = line.ask(outcome(known=True, outcome=accepted, sequence=9), "outcome", "k", "--channel", "web")
    assert "accepted: reservation r-1" in ran.out
    rejection = types_pb2.Rejection(reason="INSUFFICIENT_STOCK", message="Only 1 is there.", metadata={"sku": "MUG"})
    engine = outcome(known=True, outcome=reservation_service_pb2.Outcome(rejection=rejection))
    ran = line.ask(engine, "outcome", "k", "--channel", "web")
    assert "refused: " in ran.out
    assert "Only 1 is there." in ran.out
    request = engine.request(reservation_service_pb2.GetOutcomeRequest)
    assert (request.idempotency_key, request.channel, request.source_id) == ("k", "web", "")
    (found,) = line.ask(
        outcome(known=True, outcome=reservation_service_pb2.Outcome(rejection=rejection)), "outcome", "k", "--json"
    ).objects
    assert (found["known"], found["accepted"], found["rejection"]["reason"]) == (True, False, "INSUFFICIENT_STOCK")
    put = reservation_service_pb2.Outcome(receipt=RECEIPT, versions=[1, 4])
    assert "accepted: version 1, 4" in line.ask(outcome(known=True, outcome=put), "outcome", "k").out
    (found,) = line.ask(outcome(known=True, outcome=put), "outcome", "k", "--json").objects
    assert found["versions"] == [1, 4]
    ran = line.ask(outcome(), "outcome", "k", "--source", "erp")
    assert ran.code == 0
    assert "may still be on its way" in ran.out
    assert "'erp'" in ran.out


def test_the_scope_of_a_key_is_a_channel_or_a_source(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVENGINE_CHANNEL", "web")
    engine = outcome()
    line.ask(engine, "outcome", "k", "--source", "erp")
    request = engine.request(reservation_service_pb2.GetOutcomeRequest)
    assert (request.channel, request.source_id) == ("", "erp")
    held = ScriptedEngine({"GetReservation": no("RESERVATION_NOT_FOUND", grpc.StatusCode.NOT_FOUND)})
    assert line.ask(held, "reservation", "--reservation-key", "k", "--source", "erp").code == 1
    asked = held.request(reservation_service_pb2.GetReservationRequest)
    assert (asked.channel, asked.source_id, asked.reservation_key) == ("", "erp", "k")
    ran = line.run("outcome", "k", "--source", "erp", "--channel", "web")
    assert ran.code == 2
    assert "--source" in ran.err


def event(sequence: int, order: str = "", key: str = "", **fact: Any) -> journal_service_pb2.Event:
    context = types_pb2.CommandContext(channel="web", order_ref=order, idempotency_key=key)
    return journal_service_pb2.Event(sequence=sequence, writer_epoch=1, context=context, **fact)


def lines(*places: tuple[str, str]) -> list[types_pb2.LineSelection]:
    return [types_pb2.LineSelection(sku=sku, location=location, quantity=1) for sku, location in places]


def sent_filter(line: CommandLine, *flags: str) -> journal_service_pb2.EventFilter:
    """The filter that the flags ask the server for."""
    info = admin_service_pb2.GetServerInfoResponse(durable_sequence=40, first_sequence=1)
    engine = ScriptedEngine({"GetServerInfo": info})
    line.ask(engine, "events", "tail", *flags, "--json")
    _, (_, payload) = engine.asked
    return journal_service_pb2.ReadEventsRequest.FromString(payload).filter


@pytest.mark.parametrize(
    ("flags", "conditions"),
    [
        ([], {}),
        (["--sku", "MUG", "--sku", "CUP"], {"skus": ["MUG", "CUP"]}),
        (["--location", "ulm", "--from", "3"], {"locations": ["ulm"]}),
        (["--kind", "reserved", "--kind", "allocated"], {"types": ["reserved", "allocated"]}),
        (["--channel", "web", "--source", "erp"], {"channels": ["web"], "source_ids": ["erp"]}),
        (["--order", "o-1", "--key", "k3"], {"order_refs": ["o-1"], "idempotency_keys": ["k3"]}),
        (
            ["--not-channel", "web", "--not-source", "erp", "--not-actor", "ann", "--not-actor", "bob"],
            {"not_caused_by": {"channels": ["web"], "source_ids": ["erp"], "actors": ["ann", "bob"]}},
        ),
    ],
)
def test_the_server_filters_events(line: CommandLine, flags: list[str], conditions: dict[str, Any]) -> None:
    assert sent_filter(line, *flags) == journal_service_pb2.EventFilter(**conditions)


@pytest.mark.parametrize(
    ("flags", "found", "asked"),
    [
        ([], range(31, 41), (31, 0)),
        (["--limit", "2"], [39, 40], (39, 0)),
        (["--from", "3", "--limit", "2"], [3, 4], (3, 2)),
        (["--sku", "MUG", "--limit", "2"], [39, 40], (1, 0)),
        (["--sku", "MUG"], range(1, 41), (1, 0)),
    ],
)
def test_which_events_are_printed(
    line: CommandLine, flags: list[str], found: Iterable[int], asked: tuple[int, int]
) -> None:
    """Without a start the newest: for a filter the server has to read everything that is stored."""
    info = admin_service_pb2.GetServerInfoResponse(durable_sequence=40, first_sequence=1)
    events = [event(number, item_upserted=journal_service_pb2.ItemUpserted(sku="MUG")) for number in range(1, 41)]
    engine = ScriptedEngine({"GetServerInfo": info}, events)
    ran = line.ask(engine, "events", "tail", *flags, "--json")
    assert [each["sequence"] for each in ran.objects] == list(found), ran
    request = journal_service_pb2.ReadEventsRequest.FromString(engine.asked[-1][1])
    assert (request.from_sequence, request.limit) == asked


def test_events_are_cloud_events(line: CommandLine) -> None:
    """Each line is read by the SDK of the specification, which refuses what does not keep to it."""
    info = admin_service_pb2.GetServerInfoResponse(durable_sequence=3, first_sequence=1)
    held = lines(("MUG", "berlin"))
    events = [
        event(1, key="k1", reserved=journal_service_pb2.Reserved(reservation_id="r", lines=held)),
        event(2, stock_changed=journal_service_pb2.StockChanged(sku="M\u00fcg", location="ulm", delta=9)),
        event(3, keys_forgotten=journal_service_pb2.KeysForgotten()),
    ]
    ran = line.ask(ScriptedEngine({"GetServerInfo": info}, events), "events", "tail", "--format", "cloudevents")
    found = [JSONFormat().read(CloudEvent, text) for text in ran.out.splitlines()]
    assert [each.get_type() for each in found] == [
        "invengine.v1.reserved", "invengine.v1.stock_changed", "invengine.v1.keys_forgotten"
    ]  # fmt: skip
    assert [each.get_subject() for each in found] == ["r", "M\u00fcg@ulm", None]
    assert len({(each.get_source(), each.get_id()) for each in found}) == 3
    first: Any = found[0]
    assert (first.get_source(), first.get_id()) == ("/ledgers/main", f"{events[0].writer_epoch}:1")
    assert first.get_specversion() == "1.0"
    assert first.get_datacontenttype() == "application/json"
    assert first.get_time().timestamp() == events[0].time.ToMilliseconds() / 1000
    data = first.get_data()
    assert JournalPosition.parse(data["position"]) == JournalPosition("main", events[0].writer_epoch, 1)
    assert data["fact"]["lines"][0]["sku"] == "MUG"
    assert data["context"]["idempotency_key"] == "k1"


def test_two_formats_are_one_too_many(line: CommandLine) -> None:
    ran = line.run("events", "tail", "--json", "--format", "cloudevents", "--target", "127.0.0.1:1")
    assert ran.code == 2
    assert "give one of them" in ran.err


def test_a_line_of_an_event_repeats_nothing(line: CommandLine) -> None:
    """The key of a command that cancels another key, and the order of an allocate, have a namesake in the fact."""
    cancelled = event(1, key="mine", key_cancelled=journal_service_pb2.KeyCancelled(idempotency_key="yours"))
    allocated = event(2, order="o-1", allocated=journal_service_pb2.Allocated(reservation_id="r", order_ref="o-1"))
    info = admin_service_pb2.GetServerInfoResponse(durable_sequence=2, first_sequence=1)
    ran = line.ask(ScriptedEngine({"GetServerInfo": info}, [cancelled, allocated]), "events", "tail")
    first, second = ran.out.splitlines()
    assert first.split()[-3:] == ["idempotency_key=yours", "channel=web", "key=mine"]
    assert second.count("order_ref=o-1") == 1


def test_an_event_of_an_entity_is_one_flat_line(line: CommandLine) -> None:
    west = policy_service_pb2.LocationGroup(group="west", locations=["berlin", "lyon"], version=3)
    put = event(1, key="k1", entity_put=policy_service_pb2.EntityPut(location_group=west))
    removed = event(2, entity_removed=journal_service_pb2.EntityRemoved(kind="location_group", name="west", version=4))
    script = {"GetServerInfo": admin_service_pb2.GetServerInfoResponse(durable_sequence=2, first_sequence=1)}
    ran = line.ask(ScriptedEngine({**script}, [put, removed]), "events", "tail")
    first, second = ran.out.splitlines()
    assert first.split()[3:] == [
        *("entity_put", "kind=location_group", "group=west", "locations=berlin,lyon", "version=3"),
        *("channel=web", "key=k1"),
    ]
    assert second.split()[3:] == ["entity_removed", "kind=location_group", "name=west", "version=4", "channel=web"]
    ran = line.ask(ScriptedEngine({**script}, [put, removed]), "events", "tail", "--json")
    assert ran.objects[0]["fact"]["location_group"]["locations"] == ["berlin", "lyon"]


def test_an_unknown_kind_is_refused_with_the_known_ones(line: CommandLine) -> None:
    ran = line.run("events", "tail", "--kind", "reservd", "--target", "127.0.0.1:1")
    assert ran.code == 2
    assert "stock_changed" in ran.err


@pytest.mark.parametrize(
    ("text", "flags", "words"),
    [
        ("sku;display_name;gtin\nMUG;Mug;\n", [], ["a semicolon", "a comma is expected", "--delimiter ';'"]),
        ("sku\tgtin\nMUG\t\n", [], ["a tab", "--delimiter tab"]),
        ("sku,gtin\nMUG,\n", ["--delimiter", ";"], ["a comma", "a semicolon is expected", "--delimiter ','"]),
        ("sku\nMUG\n", ["--delimiter", ";;"], ["one character"]),
        ("sku\nMUG\n", ["--delimiter", ""], ["--delimiter is empty"]),
        ("name;gtin\nMUG;\n", [], ["column sku"]),
    ],
)
def test_a_csv_with_another_separator_is_refused_with_its_name(
    line: CommandLine, tmp_path: Path, text: str, flags: list[str], words: list[str]
) -> None:
    (tmp_path / "items.csv").write_text(text)
    ran = line.run("catalogue", "items", "import", "items.csv", *flags, "--target", "127.0.0.1:1")
    assert ran.code == 2
    assert all(word in ran.err for word in words), ran.err


@pytest.mark.parametrize(("delimiter", "between"), [(";", ";"), ("tab", "\t"), ("|", "|")])
def test_a_csv_of_a_spreadsheet_is_read_with_its_separator(
    line: CommandLine, tmp_path: Path, delimiter: str, between: str
) -> None:
    (tmp_path / "items.csv").write_text(f"sku{between}display_name\nMUG{between}Mug, white\n")
    engine = ScriptedEngine({"UpsertItems": catalog_service_pb2.UpsertItemsResponse(receipt=RECEIPT)})
    ran = line.ask(engine, "catalogue", "items", "import", "items.csv", "--delimiter", delimiter)
    assert ran.code == 0, ran.err
    (item,) = engine.request(catalog_service_pb2.UpsertItemsRequest).items
    assert (item.sku, item.display_name) == ("MUG", "Mug, white")


@pytest.mark.parametrize("command", ["stock", "catalogue", "hold"])
def test_every_command_that_changes_something_prints_its_key(line: CommandLine, command: str) -> None:
    from invengine.v1 import inventory_service_pb2

    engine, arguments = {
        "stock": (
            ScriptedEngine({"Receive": inventory_service_pb2.ReceiveResponse(receipt=RECEIPT)}),
            ["stock", "receive", "MUG@berlin=1"],
        ),
        "catalogue": (
            ScriptedEngine({"UpsertItems": catalog_service_pb2.UpsertItemsResponse(receipt=RECEIPT)}),
            ["catalogue", "items", "add", "MUG"],
        ),
        "hold": (
            ScriptedEngine({"Extend": reservation_service_pb2.ExtendResponse(**CHANGED)}),
            ["extend", "r-1"],
        ),
    }[command]
    ran = line.ask(engine, *arguments)
    assert ran.code == 0, ran.err
    ((_, payload),) = engine.asked
    key = payload.split(b"\n ")[1][:32].decode()
    assert len(key) == 32
    assert key in ran.out
    assert line.run(*arguments, "--key", "").code == 2


def test_the_descriptor_of_a_lost_output_is_not_closed(tmp_path: Path) -> None:
    """What is still in Python's buffer goes nowhere, instead of failing again when the process ends."""
    file = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    os.close(file)

    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    stream = streams.GuardedStream(Broken())
    assert stream.write("text") == 4
    assert (stream.failure, stream.reader_closed) == ("Broken pipe", True)
    assert stream.write("more") == 4
    assert stream.take_failure() == "Broken pipe"
    assert stream.failure == ""
    stream.write("later")
    assert stream.failure == ""
