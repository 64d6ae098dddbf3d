"""Commands send what their flags state and print the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from invengine.client import JournalPosition
from invengine.v1 import (
    admin_service_pb2,
    availability_service_pb2,
    catalog_service_pb2,
    inventory_service_pb2,
    journal_service_pb2,
    policy_service_pb2,
    reservation_service_pb2,
    types_pb2,
)

from .scripted import CommandLine, ScriptedEngine, no

RECEIPT = types_pb2.Receipt(sequence=9, durable_sequence=9)
HOLD = types_pb2.HoldChange(
    reservation_id="r-1",
    version=1,
    expire_time=Timestamp(seconds=1_800_000_000),
    lines=[
        types_pb2.LineChange(
            sku="MUG", location="berlin", quantity=2, state=types_pb2.LINE_STATE_RESERVED, outstanding=2
        )
    ],
)
LEVEL = types_pb2.InventoryLevel(sku="MUG", location="berlin", on_hand=10, reserved=2, available=8)


def reserving() -> ScriptedEngine:
    return ScriptedEngine({"Reserve": reservation_service_pb2.ReserveResponse(receipt=RECEIPT, hold=HOLD)})


def test_reserve_sends_lines_and_shared_fields(line: CommandLine) -> None:
    engine = reserving()
    shared = ["--key", "k1", "--channel", "web", "--holder", "ann", "--order-ref", "o-1", "--ttl-s", "60"]
    ran = line.ask(engine, "reserve", "MUG@berlin=2", "A@B@lyon", *shared, "--allow-partial", "--json")
    assert ran.code == 0, ran.err
    request = engine.request(reservation_service_pb2.ReserveRequest)
    assert [(each.sku, each.location, each.quantity) for each in request.lines] == [
        ("MUG", "berlin", 2),
        ("A@B", "lyon", 1),
    ]
    context = request.context
    assert (context.idempotency_key, context.channel, context.holder, context.order_ref) == ("k1", "web", "ann", "o-1")
    assert (request.ttl.seconds, request.allow_partial) == (60, True)
    (found,) = ran.objects
    assert found["key"] == "k1"
    assert found["holds"][0]["reservation_id"] == "r-1"
    assert found["holds"][0]["expire_time"] == "2027-01-15T08:00:00.000Z"
    assert found["holds"][0]["lines"][0]["state"] == "reserved"


def test_reserve_prints_the_id_and_the_key(line: CommandLine) -> None:
    engine = reserving()
    ran = line.ask(engine, "reserve", "MUG@berlin")
    assert "reservation r-1, version 1, until 2027-01-15 08:00:00Z" in ran.out
    key = engine.request(reservation_service_pb2.ReserveRequest).context.idempotency_key
    assert f"sequence 9, key {key}" in ran.out


HOLDS = {
    "allocate": ("Allocate", reservation_service_pb2.AllocateResponse, reservation_service_pb2.AllocateRequest),
    "release": ("Release", reservation_service_pb2.ReleaseResponse, reservation_service_pb2.ReleaseRequest),
    "fulfill": ("Fulfill", reservation_service_pb2.FulfillResponse, reservation_service_pb2.FulfillRequest),
}


@pytest.mark.parametrize("command", HOLDS)
@pytest.mark.parametrize(
    ("arguments", "by", "lines"),
    [
        (["r-1"], ("reservation_id", "r-1"), []),
        (["r-1", "MUG@berlin=1", "CUP@lyon"], ("reservation_id", "r-1"), [("MUG", "berlin", 1), ("CUP", "lyon", 0)]),
        (["--reservation-key", "k"], ("reservation_key", "k"), []),
        (["--reservation-key", "k", "MUG@berlin"], ("reservation_key", "k"), [("MUG", "berlin", 0)]),
        (["--order", "o-7"], ("order_ref", "o-7"), []),
    ],
)
def test_a_hold_is_named_by_id_key_or_order(
    line: CommandLine, command: str, arguments: list[str], by: tuple[str, str], lines: list[Any]
) -> None:
    method, answer, request_type = HOLDS[command]
    engine = ScriptedEngine({method: answer(receipt=RECEIPT, holds=[HOLD])})
    ran = line.ask(engine, command, *arguments, "--json")
    assert ran.code == 0, ran.err
    target = engine.request(request_type).target
    assert (target.WhichOneof("by"), getattr(target, by[0])) == by
    assert [(each.sku, each.location, each.quantity) for each in target.lines] == lines


def test_a_cancelled_key_is_printed_in_words(line: CommandLine) -> None:
    answer = reservation_service_pb2.ReleaseResponse(receipt=RECEIPT, key_cancelled=True)
    ran = line.ask(ScriptedEngine({"Release": answer}), "release", "--reservation-key", "k")
    assert "KEY_CANCELLED" in ran.out


def test_extend_takes_no_lines(line: CommandLine) -> None:
    answer = reservation_service_pb2.ExtendResponse(receipt=RECEIPT, holds=[HOLD])
    engine = ScriptedEngine({"Extend": answer})
    assert line.ask(engine, "extend", "r-1", "--ttl-s", "90").code == 0
    assert engine.request(reservation_service_pb2.ExtendRequest).ttl.seconds == 90
    assert line.run("extend", "r-1", "MUG@berlin").code == 2


STOCK = {
    "receive": ("Receive", inventory_service_pb2.ReceiveResponse, inventory_service_pb2.ReceiveRequest, "quantity"),
    "return": ("Return", inventory_service_pb2.ReturnResponse, inventory_service_pb2.ReturnRequest, "quantity"),
    "adjust": ("Adjust", inventory_service_pb2.AdjustResponse, inventory_service_pb2.AdjustRequest, "delta"),
    "set": (
        "SetQuantity",
        inventory_service_pb2.SetQuantityResponse,
        inventory_service_pb2.SetQuantityRequest,
        "quantity",
    ),
    "count": ("Count", inventory_service_pb2.CountResponse, inventory_service_pb2.CountRequest, "quantity"),
}


@pytest.mark.parametrize("command", STOCK)
def test_a_physical_command_sends_its_lines_and_shows_the_levels(line: CommandLine, command: str) -> None:
    method, answer, request_type, units = STOCK[command]
    engine = ScriptedEngine({method: answer(receipt=RECEIPT, levels=[LEVEL])})
    ran = line.ask(engine, "stock", command, "MUG@berlin=7", "--state", "damaged", "--reason-code", "fell")
    assert ran.code == 0, ran.err
    request = engine.request(request_type)
    assert (getattr(request.lines[0], units), request.lines[0].state) == (7, types_pb2.STOCK_STATE_DAMAGED)
    assert request.context.reason_code == "fell"
    assert ran.out.splitlines()[1].split()[:4] == ["MUG", "berlin", "8", "10"]


@pytest.mark.parametrize(
    ("flags", "states"),
    [
        (["--to", "damaged"], (types_pb2.STOCK_STATE_ON_HAND, types_pb2.STOCK_STATE_DAMAGED)),
        (["--from", "quality_control"], (types_pb2.STOCK_STATE_QUALITY_CONTROL, types_pb2.STOCK_STATE_ON_HAND)),
        (["--from", "returned", "--to", "damaged"], (types_pb2.STOCK_STATE_RETURNED, types_pb2.STOCK_STATE_DAMAGED)),
    ],
)
def test_move_names_two_states(line: CommandLine, flags: list[str], states: tuple[int, int]) -> None:
    answer = inventory_service_pb2.MoveQuantityResponse(receipt=RECEIPT, levels=[LEVEL])
    engine = ScriptedEngine({"MoveQuantity": answer})
    ran = line.ask(engine, "stock", "move", "MUG@berlin=7", *flags, "--reference", "report-7")
    assert ran.code == 0, ran.err
    request = engine.request(inventory_service_pb2.MoveQuantityRequest)
    moved = request.lines[0]
    assert (moved.quantity, moved.from_state, moved.to_state) == (7, *states)
    assert request.context.reference == "report-7"
    assert ran.out.splitlines()[1].split()[:4] == ["MUG", "berlin", "8", "10"]


@pytest.mark.parametrize("flags", [[], ["--from", "damaged", "--to", "damaged"], ["--to", "on_hand"]])
def test_move_to_where_the_units_are_is_a_mistake(line: CommandLine, flags: list[str]) -> None:
    ran = line.run("stock", "move", "MUG@berlin=7", *flags)
    assert (ran.code, "--to must name another state" in ran.err) == (2, True)


def test_adjust_goes_down_too(line: CommandLine) -> None:
    engine = ScriptedEngine({"Adjust": inventory_service_pb2.AdjustResponse(receipt=RECEIPT)})
    assert line.ask(engine, "stock", "adjust", "MUG@berlin=-3").code == 0
    assert engine.request(inventory_service_pb2.AdjustRequest).lines[0].delta == -3


def test_set_can_expect_what_was_there(line: CommandLine) -> None:
    engine = ScriptedEngine({"SetQuantity": inventory_service_pb2.SetQuantityResponse(receipt=RECEIPT)})
    assert line.ask(engine, "stock", "set", "MUG@berlin=3", "--expected", "0").code == 0
    request = engine.request(inventory_service_pb2.SetQuantityRequest)
    assert (request.lines[0].HasField("expected_quantity"), request.lines[0].expected_quantity) == (True, 0)
    assert line.run("stock", "set", "A@b=3", "C@d=4", "--expected", "1").code == 2


def test_show_list_and_availability(line: CommandLine) -> None:
    script = {
        "GetInventoryLevel": inventory_service_pb2.GetInventoryLevelResponse(level=LEVEL),
        "ListInventoryLevels": inventory_service_pb2.ListInventoryLevelsResponse(levels=[LEVEL]),
        "GetAvailability": availability_service_pb2.GetAvailabilityResponse(
            availabilities=[
                availability_service_pb2.Availability(sku="MUG", location="berlin", available=8),
                availability_service_pb2.Availability(sku="CUP", location="lyon", unknown_sku=True),
            ],
            sequence=7,
            durable_sequence=6,
        ),
    }
    shown = line.ask(ScriptedEngine({**script}), "stock", "show", "MUG", "berlin", "--json").objects
    assert (shown[0]["available"], shown[0]["in_transit"]) == (8, 0)
    assert line.ask(ScriptedEngine({**script}), "stock", "list", "--json").objects[0]["on_hand"] == 10
    engine = ScriptedEngine({**script})
    reported = line.ask(engine, "availability", "MUG", "CUP@lyon", "--json")
    place = {"sequence": 7, "durable_sequence": 6}
    assert reported.objects == [
        {"sku": "MUG", "location": "berlin", "available": 8, "unknown_sku": False, "unknown_location": False} | place,
        {"sku": "CUP", "location": "lyon", "available": None, "unknown_sku": True, "unknown_location": False} | place,
    ]
    assert reported.code == 1
    queries = engine.request(availability_service_pb2.GetAvailabilityRequest).queries
    assert [(each.sku, each.location) for each in queries] == [("MUG", ""), ("CUP", "lyon")]


def test_catalogue_add_list_and_import(line: CommandLine, tmp_path: Path) -> None:
    upserted = catalog_service_pb2.UpsertItemsResponse(receipt=RECEIPT)
    engine = ScriptedEngine({"UpsertItems": upserted})
    assert line.ask(engine, "catalogue", "items", "add", "MUG", "--display-name", "Mug").code == 0
    assert engine.request(catalog_service_pb2.UpsertItemsRequest).items[0].display_name == "Mug"

    listed = catalog_service_pb2.ListChannelsResponse(channels=[catalog_service_pb2.Channel(channel="web")])
    ran = line.ask(ScriptedEngine({"ListChannels": listed}), "catalogue", "channels", "list")
    assert ran.out.splitlines()[1].split() == ["web", "-"]

    file = tmp_path / "items.csv"
    file.write_text("sku,gtin\n" + "".join(f"S{number},\n" for number in range(2500)))
    engine = ScriptedEngine({"UpsertItems": upserted})
    ran = line.ask(engine, "catalogue", "items", "import", str(file), "--json")
    (reported,) = ran.objects
    assert (reported["items"], reported["lines"], reported["sequence"], reported["look_alikes"]) == (2500, 2500, 9, [])
    sizes = [len(catalog_service_pb2.UpsertItemsRequest.FromString(payload).items) for _, payload in engine.asked]
    assert sizes == [1000, 1000, 500]


def test_consumers_are_added_and_shown_with_their_position(line: CommandLine) -> None:
    position = types_pb2.JournalPosition(ledger="main", writer_epoch=2, sequence=31)
    text = str(JournalPosition("main", 2, 31))
    consumer = types_pb2.Consumer(consumer="feed", position=position, version=3)
    engine = ScriptedEngine({"UpsertConsumers": journal_service_pb2.UpsertConsumersResponse(receipt=RECEIPT)})
    line.ask(engine, "events", "consumers", "add", "feed", text, "--expected-version", "2", "--key", "k")
    (sent,) = engine.request(journal_service_pb2.UpsertConsumersRequest).consumers
    assert sent == types_pb2.Consumer(consumer="feed", position=position, version=2)
    script = {
        "ListConsumers": journal_service_pb2.ListConsumersResponse(consumers=[consumer]),
        "GetConsumer": journal_service_pb2.GetConsumerResponse(consumer=consumer),
    }
    rows = line.ask(ScriptedEngine({**script}), "events", "consumers", "list").out.splitlines()
    assert [row.split() for row in rows] == [["consumer", "version", "position"], ["feed", "3", text]]
    (shown,) = line.ask(ScriptedEngine({**script}), "events", "consumers", "show", "feed", "--json").objects
    assert shown == {"consumer": "feed", "position": text, "version": 3}
    ran = line.run("events", "consumers", "add", "feed", text[:-1], "--target", "127.0.0.1:1")
    assert (ran.code, "POSITION" in ran.err) == (2, True)


def test_location_groups_are_added_listed_shown_and_deleted(line: CommandLine) -> None:
    group = policy_service_pb2.LocationGroup(group="west", locations=["berlin", "lyon"], version=3)
    stored = policy_service_pb2.UpsertLocationGroupsResponse(receipt=RECEIPT, versions=[3])
    add = ("policies", "location-groups", "add", "west", "berlin", "lyon")
    for flags, version in (((), None), (("--expected-version", "0"), 0), (("--expected-version", "2"), 2)):
        engine = ScriptedEngine({"UpsertLocationGroups": stored})
        (printed,) = line.ask(engine, *add, *flags, "--key", "k", "--json").objects
        assert printed == {
            "location_groups": 1, "sequence": 9, "replayed": False, "key": "k", "version": 3, "look_alikes": []
        }  # fmt: skip
        (sent,) = engine.request(policy_service_pb2.UpsertLocationGroupsRequest).location_groups
        assert (sent.group, list(sent.locations)) == ("west", ["berlin", "lyon"])
        assert (sent.version if sent.HasField("version") else None) == version

    script = {
        "ListLocationGroups": policy_service_pb2.ListLocationGroupsResponse(location_groups=[group]),
        "GetLocationGroup": policy_service_pb2.GetLocationGroupResponse(location_group=group),
        "DeleteLocationGroups": policy_service_pb2.DeleteLocationGroupsResponse(receipt=RECEIPT),
    }
    groups = ("policies", "location-groups")
    as_object = {"group": "west", "locations": ["berlin", "lyon"], "version": 3}
    rows = line.ask(ScriptedEngine({**script}), *groups, "list").out.splitlines()
    assert [row.split() for row in rows] == [["group", "version", "locations"], ["west", "3", "berlin,", "lyon"]]
    assert line.ask(ScriptedEngine({**script}), *groups, "list", "--json").objects == [as_object]
    shown = line.ask(ScriptedEngine({**script}), *groups, "show", "west").out.splitlines()
    assert [row.split(maxsplit=1) for row in shown] == [
        ["group", "west"], ["locations", "berlin, lyon"], ["version", "3"]
    ]  # fmt: skip
    assert line.ask(ScriptedEngine({**script}), *groups, "show", "west", "--json").objects == [as_object]
    engine = ScriptedEngine({**script})
    (printed,) = line.ask(engine, *groups, "delete", "west", "east", "--key", "k", "--json").objects
    assert printed == {"deleted_location_groups": 2, "sequence": 9, "replayed": False, "key": "k"}
    sent_names = engine.request(policy_service_pb2.DeleteLocationGroupsRequest).location_groups
    assert [(each.name, each.HasField("version")) for each in sent_names] == [("west", False), ("east", False)]


def test_items_and_locations_are_deleted_and_a_refusal_says_why(line: CommandLine) -> None:
    engine = ScriptedEngine({"DeleteItems": catalog_service_pb2.DeleteItemsResponse(receipt=RECEIPT)})
    ran = line.ask(engine, "catalogue", "items", "delete", "MUG", "CUP")
    assert ran.out.splitlines()[0].split() == ["deleted", "items", "2"]
    assert list(engine.request(catalog_service_pb2.DeleteItemsRequest).skus) == ["MUG", "CUP"]
    facts = {"kind": "location", "name": "berlin", "used_by": "location_group west"}
    engine = ScriptedEngine({"DeleteLocations": no("ENTITY_IN_USE", grpc.StatusCode.FAILED_PRECONDITION, **facts)})
    ran = line.ask(engine, "catalogue", "locations", "delete", "berlin")
    assert ran.code == 1
    assert "used_by location_group west" in ran.err
    assert line.run("catalogue", "channels", "delete", "web").code == 2, "keys of a channel outlive it"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name\nMUG\n", "column sku"),
        ("sku,gtim\nMUG,1\n", "did you mean gtin"),
        ("sku\nMUG\nMUG\n", 'line 3: "MUG" was on line 2'),
        ("sku,gtin\n,1\n", "line 2: sku is empty"),
        ("sku\nMUG,1\n", "line 2"),
    ],
)
def test_a_bad_csv_names_its_line_and_sends_nothing(line: CommandLine, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    ran = line.run("catalogue", "items", "import", "bad.csv", "--target", "127.0.0.1:1")
    assert ran.code == 2
    assert words in ran.err


def test_events_tail_prints_facts(line: CommandLine) -> None:
    events = [
        journal_service_pb2.Event(
            sequence=number,
            writer_epoch=1,
            context=types_pb2.CommandContext(channel="web"),
            reserved=journal_service_pb2.Reserved(
                reservation_id="r-1", lines=[types_pb2.LineSelection(sku="MUG", location="berlin", quantity=2)]
            ),
        )
        for number in range(1, 31)
    ]
    info = admin_service_pb2.GetServerInfoResponse(durable_sequence=30)
    engine = ScriptedEngine({"GetServerInfo": info}, events)
    ran = line.ask(engine, "events", "tail")
    assert [int(text.split()[0]) for text in ran.out.splitlines()] == list(range(21, 31))
    assert "reserved" in ran.out
    assert "MUG@berlin=2" in ran.out
    assert "channel=web" in ran.out
    engine = ScriptedEngine({"GetServerInfo": info}, events)
    ran = line.ask(engine, "events", "tail", "--from", "5", "--limit", "2", "--json")
    assert [each["sequence"] for each in ran.objects] == [5, 6]
    assert ran.objects[0]["fact"]["lines"][0]["quantity"] == "2"


def _numbered(count: int) -> list[journal_service_pb2.Event]:
    return [
        journal_service_pb2.Event(
            sequence=number, writer_epoch=3, item_upserted=journal_service_pb2.ItemUpserted(sku=f"sku-{number}")
        )
        for number in range(1, count + 1)
    ]


@pytest.mark.parametrize(
    ("limit", "expected"), [("1", [30]), ("3", [28, 29, 30]), ("12", list(range(19, 31))), ("99", list(range(1, 31)))]
)
def test_events_tail_with_a_limit_prints_the_newest(line: CommandLine, limit: str, expected: list[int]) -> None:
    info = admin_service_pb2.GetServerInfoResponse(durable_sequence=30)
    engine = ScriptedEngine({"GetServerInfo": info}, _numbered(30))
    ran = line.ask(engine, "events", "tail", "--limit", limit)
    assert [int(text.split()[0]) for text in ran.out.splitlines()] == expected


def test_events_tail_continues_after_a_position_that_it_printed(line: CommandLine) -> None:
    script = {"GetServerInfo": admin_service_pb2.GetServerInfoResponse(durable_sequence=9)}
    ran = line.ask(ScriptedEngine(script, _numbered(9)), "events", "tail", "--from", "4", "--limit", "1", "--json")
    position = ran.objects[0]["position"]
    assert JournalPosition.parse(position) == JournalPosition("main", 3, 4)
    engine = ScriptedEngine(script, _numbered(9))
    ran = line.ask(engine, "events", "tail", "--after", position, "--json")
    assert [each["sequence"] for each in ran.objects] == [5, 6, 7, 8, 9]
    after = journal_service_pb2.ReadEventsRequest.FromString(engine.asked[-1][1]).after
    assert (after.ledger, after.writer_epoch, after.sequence) == ("main", 3, 4)


@pytest.mark.parametrize("flags", [[], ["--from", "1"], ["--from", "1", "--follow"], ["--sku", "MUG"]])
def test_events_tail_does_not_wait_for_a_server_that_was_never_there(line: CommandLine, flags: list[str]) -> None:
    ran = line.run("events", "tail", *flags, "--target", "127.0.0.1:1", "--timeout-ms", "200")
    assert ran.code == 3
    assert "no server answers there" in ran.err


def test_events_tail_refuses_half_a_position_before_it_asks(line: CommandLine) -> None:
    whole = str(JournalPosition("main", 3, 4))
    for bad in (whole[:-1], "main@3:4", "4", ""):
        ran = line.run("events", "tail", "--after", bad, "--target", "127.0.0.1:1")
        assert (ran.code, ran.out) == (2, "")
        assert "--after" in ran.err
    ran = line.run("events", "tail", "--after", whole, "--from", "4", "--target", "127.0.0.1:1")
    assert ran.code == 2


def test_status_has_server_and_digest(line: CommandLine) -> None:
    script = {
        "GetServerInfo": admin_service_pb2.GetServerInfoResponse(version="1.0", ledger="main", journal="file"),
        "GetDigest": journal_service_pb2.GetDigestResponse(digest="ab" * 16, sequence=4),
        "ListSources": no("UNIMPLEMENTED", grpc.StatusCode.UNIMPLEMENTED),
    }
    ran = line.ask(ScriptedEngine(script), "status", "--json", "--metrics-address", "")
    (found,) = ran.objects
    assert (found["door"], found["digest"], found["digest_sequence"]) == ("python", "ab" * 16, 4)


def test_reservation_shows_where_its_units_are(line: CommandLine) -> None:
    held = types_pb2.Reservation(
        reservation_id="r-1",
        version=2,
        lines=[types_pb2.ReservationLine(sku="MUG", location="berlin", quantity=3, reserved=2, released=1)],
    )
    one = ScriptedEngine({"GetReservation": reservation_service_pb2.GetReservationResponse(reservation=held)})
    assert line.ask(one, "reservation", "r-1", "--json").objects[0]["lines"][0]["released"] == 1
    listed = reservation_service_pb2.ListReservationsResponse(reservations=[held, held])
    several = ScriptedEngine({"ListReservations": listed})
    assert len(line.ask(several, "reservation", "--order", "o-1", "--json").objects) == 2


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        ("INSUFFICIENT_STOCK", grpc.StatusCode.FAILED_PRECONDITION, 1),
        ("UNKNOWN_SKU", grpc.StatusCode.NOT_FOUND, 1),
        ("INVALID_FIELD", grpc.StatusCode.INVALID_ARGUMENT, 1),
        ("JOURNAL_FULL", grpc.StatusCode.RESOURCE_EXHAUSTED, 3),
        ("CORRUPT_JOURNAL", grpc.StatusCode.DATA_LOSS, 4),
        ("INTERNAL", grpc.StatusCode.INTERNAL, 3),
    ],
)
def test_the_exit_code_and_line_of_a_refusal(
    line: CommandLine, reason: str, status: grpc.StatusCode, code: int
) -> None:
    ran = line.ask(ScriptedEngine({"Reserve": no(reason, status, sku="MUG")}), "reserve", "MUG@berlin", "--json")
    assert (ran.code, ran.out) == (code, "")
    (text,) = ran.err.splitlines()
    assert reason in text or "OUTCOME_UNKNOWN" in text
    assert json.loads(text)["error"]["metadata"].get("sku", "MUG") == "MUG"
    ran = line.ask(ScriptedEngine({"Reserve": no(reason, status, sku="MUG")}), "reserve", "MUG@berlin")
    (text,) = ran.err.splitlines()
    assert text.startswith("invengine: ")


def test_a_fault_of_a_read_is_the_servers_and_of_a_command_an_unknown_outcome(line: CommandLine) -> None:
    fault = no("INTERNAL", grpc.StatusCode.INTERNAL, incident="17")
    assert line.ask(ScriptedEngine({"GetServerInfo": fault}), "status").code == 5
    ran = line.ask(ScriptedEngine({"Reserve": fault}), "reserve", "MUG@berlin", "--key", "my-key")
    assert ran.code == 3
    assert "--key my-key" in ran.err
