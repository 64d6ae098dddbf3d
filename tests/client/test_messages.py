"""Messages of sources: what is sent, what comes back, and what a source does with their numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, assert_type

import pytest
from scripted_peer import Peer, record_all

from invengine import errors
from invengine.client import (
    AsyncClient,
    AwaitedEntity,
    Client,
    Draft,
    Event,
    KeptMessage,
    MessageDisposition,
    MessageOutcome,
    Position,
    Receipt,
    StockFold,
    StockState,
    TransferRemainder,
    commands,
    messages,
    recording,
)
from invengine.client.cloudevents import cloud_event
from invengine.errors import InvalidArgument
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import journal_service_pb2 as journal
from invengine.v1 import source_service_pb2 as source
from invengine.v1 import types_pb2 as types

RECORD = "/invengine.v1.InventoryService/RecordMessages"
SOURCE = "/invengine.v1.SourceService/"
LINES = [("mug", "wh-1", 2)]
AT = Position("erp", 1, 1)
STAMP = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
GIVEN: dict[str, dict[str, Any]] = {
    "transfer_shipped": {"transfer": "T-1", "lines": [("mug", 2)], "from_location": "wh-1", "to_location": "wh-2"},
    "transfer_received": {"transfer": "T-1", "lines": [("mug", 2, StockState.DAMAGED)]},
    "transfer_closed": {"transfer": "T-1", "remainder": TransferRemainder.SENT_BACK},
    "stock_moved": {"lines": LINES, "to_state": StockState.DAMAGED},
    "stock_adjusted": {"lines": [*LINES, *LINES, ("cup", "wh-1", -1), *LINES, *LINES], "state": StockState.RETURNED},
    "reservation_created": {"lines": LINES, "ttl_s": 90.5, "allow_partial": True},
}
SAID = {
    "goods_received": "goods_received 2 mug at wh-1",
    "stock_adjusted": "stock_adjusted +2 mug at wh-1 (returned), +2 mug at wh-1 (returned), -1 cup at wh-1 (returned)"
    " and 2 more",
    "stock_moved": "stock_moved 2 mug at wh-1 (on_hand to damaged)",
    "transfer_shipped": "transfer_shipped transfer T-1 from location wh-1 to location wh-2 2 mug",
    "transfer_received": "transfer_received transfer T-1 2 mug (damaged)",
    "transfer_closed": "transfer_closed transfer T-1 remainder sent back",
    "reservation_created": "reservation_created ttl 90.5 s allow partial True 2 mug at wh-1",
}


def message(name: str, **fields: Any) -> Draft[Any]:
    """A draft of this message."""
    make: Any = getattr(messages, name)
    drafted: Draft[Any] = make(**GIVEN.get(name, {"lines": LINES}), **fields)
    return drafted


def test_every_message_of_the_contract_is_a_command_with_its_arguments() -> None:
    assert sorted(recording.bodies().values()) == messages.__all__
    for name in messages.__all__:
        draft = message(name, key="m-1", source=AT)
        assert getattr(commands, getattr(messages, name).__name__) is getattr(messages, name)
        assert recording.message_of(draft).WhichOneof("body") == name
        assert getattr(recording.message_of(draft), name) == draft.request


@pytest.mark.parametrize("name", SAID)
def test_a_message_is_described_in_one_line(name: str) -> None:
    assert recording.description_of(recording.message_of(message(name))) == SAID[name]


def test_a_message_that_only_a_newer_version_knows_has_a_description_too() -> None:
    assert "this version" in recording.description_of(inventory.SourceMessage())
    closed = inventory.SourceMessage()
    closed.transfer_closed.remainder = 9  # type: ignore[assignment]
    assert recording.description_of(closed) == "transfer_closed remainder 9"
    closed.goods_received.lines.add(sku="mug", location="wh-1", quantity=1, state=9)
    assert recording.description_of(closed) == "goods_received 1 mug at wh-1 (9)"


OUTCOMES = [
    inventory.MessageOutcome(
        disposition=inventory.MESSAGE_DISPOSITION_APPLIED,
        receipt=types.Receipt(sequence=7, durable_sequence=9, replayed=True),
        claimed_lines=[0, 2],
    ),
    inventory.MessageOutcome(
        disposition=inventory.MESSAGE_DISPOSITION_DEAD_LETTER,
        receipt=types.Receipt(sequence=8, durable_sequence=9),
        rejection=types.Rejection(
            code=9, reason="INSUFFICIENT_STOCK", message="too few", metadata={"sku": "cup", "location": "wh-1"}
        ),
    ),
    inventory.MessageOutcome(
        disposition=inventory.MESSAGE_DISPOSITION_REFUSED,
        rejection=types.Rejection(code=9, reason="STALE_EPOCH", metadata={"source": "erp", "current": "2"}),
    ),
    inventory.MessageOutcome(disposition=17),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_each_message_has_its_outcome(peer: Peer, asynchronous: bool) -> None:
    peer.behaviours[RECORD] = lambda _: inventory.RecordMessagesResponse(outcomes=OUTCOMES).SerializeToString()
    drafts = [
        messages.stock_adjusted([*LINES, ("cup", "wh-1", -5)], key=f"m-{n}", source=Position("erp", 1, n))
        for n in range(1, 5)
    ]

    async def main() -> list[MessageOutcome]:
        async with AsyncClient(peer.target, actor="feed") as client:
            return await client.record_messages(drafts)

    def blocking() -> list[MessageOutcome]:
        with Client(peer.target, actor="feed") as client:
            return assert_type(client.record_messages(iter(drafts)), list[MessageOutcome])

    applied, dead, refused, newer = asyncio.run(main()) if asynchronous else blocking()
    assert applied == MessageOutcome(MessageDisposition.APPLIED, Receipt(7, 9, True, False), (0, 2))
    assert (dead.disposition, dead.is_kept) == (MessageDisposition.DEAD_LETTER, True)
    assert isinstance(dead.rejection, errors.InsufficientStock)
    assert dead.rejection.metadata["line"] == "2"
    assert (refused.receipt, refused.is_kept, type(refused.rejection)) == (None, False, errors.StaleEpoch)
    assert newer.disposition is MessageDisposition.UNSPECIFIED
    (asked,) = [inventory.RecordMessagesRequest.FromString(body) for _, body in peer.requests]
    contexts = [each.stock_adjusted.context for each in asked.messages]
    assert [(each.idempotency_key, each.source.sequence) for each in contexts] == [(f"m-{n}", n) for n in range(1, 5)]
    assert {each.actor for each in contexts} == {"feed"}
    assert all(each.HasField("issue_time") for each in contexts)


def overloaded(**metadata: str) -> inventory.MessageOutcome:
    found = inventory.MessageOutcome(disposition=inventory.MESSAGE_DISPOSITION_REFUSED)
    found.rejection.code, found.rejection.reason = 8, "OVERLOADED"
    found.rejection.metadata.update(metadata)
    return found


@pytest.mark.parametrize("why", [{"answer_bytes_max": "4194304"}, {}])
def test_messages_are_sent_in_batches_and_what_was_not_taken_for_now_is_sent_again(
    peer: Peer, why: dict[str, str]
) -> None:
    taken = iter([600, 0, 0, 300, 1000, 1000])

    def behaviour(body: bytes) -> bytes:
        found = inventory.RecordMessagesResponse.FromString(record_all(body))
        for outcome in found.outcomes[next(taken) :]:
            outcome.CopyFrom(overloaded(**why))
        return found.SerializeToString()

    peer.behaviours[RECORD] = behaviour
    drafts = [message("goods_received", key=f"m-{n}", source=Position("erp", 1, n)) for n in range(1, 1501)]
    with Client(peer.target) as client:
        assert [each.disposition for each in client.record_messages(drafts)] == [MessageDisposition.APPLIED] * 1500
    sent = [inventory.RecordMessagesRequest.FromString(body).messages for _, body in peer.requests]
    assert [(len(each), each[0].goods_received.context.source.sequence) for each in sent] == [
        (1000, 1),
        (900, 601),
        (900, 601),
        (900, 601),
        (600, 901),
    ]


def test_a_source_that_has_no_room_is_told_at_once_and_a_server_without_room_at_the_deadline(peer: Peer) -> None:
    draft = message("goods_received", key="m-1", source=AT)
    with Client(peer.target) as client:
        answer = inventory.RecordMessagesResponse(outcomes=[overloaded(limit="dead letters", source="erp")])
        peer.behaviours[RECORD] = lambda _: answer.SerializeToString()
        (outcome,) = client.record_messages([draft])
        assert isinstance(outcome.rejection, errors.Overloaded)
        assert len(peer.requests) == 1
        answer.outcomes[0].CopyFrom(overloaded())
        with pytest.raises(errors.Overloaded):
            client.record_messages([draft], timeout_s=0.3)
        assert len(peer.requests) > 2


@pytest.mark.parametrize(
    ("draft", "field", "says"),
    [
        ("mug", "messages[1]", "a draft"),
        (commands.release("r-1", key="m", source=AT), "messages[1]", "which is no message"),
        (commands.receive(LINES, source=AT), "messages[1].key", "the id of the message"),
        (commands.receive(LINES, key="x" * 129, source=AT), "messages[1].key", "128"),
        (commands.receive(LINES, key="\u00e4", source=AT), "messages[1].key", "ASCII"),
        (commands.receive(LINES, key="m"), "messages[1].source", "the Position"),
    ],
)
def test_what_is_no_message_is_refused_before_anything_is_sent(peer: Peer, draft: Any, field: str, says: str) -> None:
    good = commands.receive(LINES, key="m-1", source=AT)
    with Client(peer.target) as client, pytest.raises(InvalidArgument, match=says) as caught:
        client.record_messages([good, draft])
    assert caught.value.violations[0].field == field
    assert peer.requests == []


KEPT = source.KeptMessage(
    sequence=12,
    position=types.SourcePosition(source_id="erp", epoch=2, sequence=3),
    message_id="m-3",
    message=inventory.SourceMessage(goods_received=inventory.ReceiveRequest()),
)
KEPT.time.FromDatetime(STAMP)


def kept_pages(field: str, **more: Any) -> bytes:
    kept = source.KeptMessage()
    kept.CopyFrom(KEPT)
    for name, value in more.items():
        getattr(kept, name).CopyFrom(value)
    answers: dict[str, Any] = {
        "parked": source.ListParkedResponse,
        "waiting": source.ListWaitingResponse,
        "dead_letters": source.ListDeadLettersResponse,
    }
    return bytes(answers[field](**{field: [kept]}).SerializeToString())


def test_kept_messages_are_read(peer: Peer) -> None:
    rejection = types.Rejection(code=5, reason="UNKNOWN_SKU", metadata={"sku": "mug"})
    awaited = source.AwaitedEntity(kind="stock_transfer", name="T-1")
    when = KEPT.time
    peer.behaviours[SOURCE + "ListParked"] = lambda _: kept_pages("parked", event_time=when)
    peer.behaviours[SOURCE + "ListWaiting"] = lambda _: kept_pages("waiting", waits_for=awaited)
    peer.behaviours[SOURCE + "ListDeadLetters"] = lambda _: kept_pages("dead_letters", rejection=rejection)
    with Client(peer.target) as client:
        (parked,) = assert_type(client.list_parked("erp"), Iterator[KeptMessage])
        (waiting,) = client.list_waiting("erp")
        (dead,) = client.list_dead_letters("erp", page_size=5)
    assert (parked.sequence, parked.position, parked.message_id) == (12, Position("erp", 2, 3), "m-3")
    assert (parked.time, parked.event_time, parked.body) == (STAMP, STAMP, "goods_received")
    assert (parked.waits_for, parked.rejection, waiting.event_time) == (None, None, None)
    assert waiting.waits_for == AwaitedEntity("stock_transfer", "T-1")
    assert isinstance(dead.rejection, errors.UnknownSku)
    assert source.ListDeadLettersRequest.FromString(peer.requests[-1][1]).page_size == 5


def test_sources_have_the_figures_of_what_is_kept(peer: Peer) -> None:
    known = source.Source(source_id="erp", epoch=1, parked=1, waiting=2, dead_letters=3, parked_since=KEPT.time)
    none = source.Source(source_id="wms")
    peer.behaviours[SOURCE + "ListSources"] = lambda _: source.ListSourcesResponse(
        sources=[known, none]
    ).SerializeToString()
    with Client(peer.target) as client:
        erp, wms = client.list_sources()
    assert (erp.parked, erp.parked_since, erp.waiting, erp.waiting_since, erp.dead_letters) == (1, STAMP, 2, None, 3)
    assert (wms.parked, wms.waiting_since, wms.dead_letters) == (0, None, 0)


@pytest.fixture
def letter(peer: Peer) -> KeptMessage:
    """A dead letter as it was read."""
    peer.behaviours[SOURCE + "ListDeadLetters"] = lambda _: kept_pages("dead_letters")
    with Client(peer.target) as client:
        (found,) = client.list_dead_letters("erp")
    return found


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_letter_is_sent_again_corrected(peer: Peer, letter: KeptMessage, asynchronous: bool) -> None:
    peer.behaviours[SOURCE + "RedriveDeadLetters"] = lambda _: source.RedriveDeadLettersResponse(
        outcomes=OUTCOMES[:1]
    ).SerializeToString()

    async def main(ask: Callable[[Any], Any]) -> Any:
        async with AsyncClient(peer.target, actor="jo") as client:
            return await ask(client)

    def ask(client: Any) -> Any:
        corrected = messages.goods_received(LINES)
        return client.redrive_dead_letters("erp", [letter], corrected=corrected, dry_run=True, reason_code="typo")

    if asynchronous:
        (outcome,) = asyncio.run(main(ask))
    else:
        with Client(peer.target, actor="jo") as client:
            (outcome,) = ask(client)
    assert outcome.disposition is MessageDisposition.APPLIED
    sent = source.RedriveDeadLettersRequest.FromString(peer.requests[-1][1])
    assert (list(sent.dead_letters), sent.dry_run, sent.actor, sent.reason_code) == ([12], True, "jo", "typo")
    context = sent.corrected.goods_received.context
    assert (context.idempotency_key, context.source) == ("m-3", KEPT.position)


def test_what_people_do_with_kept_messages_is_sent(peer: Peer, letter: KeptMessage) -> None:
    peer.behaviours[SOURCE + "SkipGap"] = peer.behaviours[SOURCE + "DiscardDeadLetters"] = lambda _: b""
    peer.behaviours[SOURCE + "RedriveDeadLetters"] = lambda _: b""
    with Client(peer.target) as client:
        assert_type(client.skip_gap("erp", 2, 6, reason_code="lost"), Receipt)
        skip = source.SkipGapRequest.FromString(peer.requests[-1][1])
        assert (skip.source_id, skip.epoch, skip.through, skip.context.reason_code) == ("erp", 2, 6, "lost")
        client.discard_dead_letters("erp", [letter, 14], key="k")
        discard = source.DiscardDeadLettersRequest.FromString(peer.requests[-1][1])
        assert (list(discard.dead_letters), discard.context.idempotency_key) == ([12, 14], "k")
        assert client.redrive_dead_letters("erp", [1, letter], actor="ann") == []
        redrive = source.RedriveDeadLettersRequest.FromString(peer.requests[-1][1])
        assert (list(redrive.dead_letters), redrive.actor, redrive.HasField("corrected")) == ([1, 12], "ann", False)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"dead_letters": [1, 2], "corrected": commands.receive(LINES, key="m", source=AT)}, "corrected"),
        ({"dead_letters": [1], "corrected": commands.receive(LINES)}, "corrected.key"),
        ({"dead_letters": [1], "corrected": "mug"}, "corrected"),
        ({"dead_letters": []}, "dead_letters"),
        ({"dead_letters": ["7"]}, "dead_letters[0]"),
        ({"dead_letters": [1, True]}, "dead_letters[1]"),
    ],
)
def test_a_bad_redrive_is_refused_before_anything_is_sent(peer: Peer, given: dict[str, Any], field: str) -> None:
    with Client(peer.target) as client, pytest.raises(InvalidArgument) as caught:
        client.redrive_dead_letters("erp", **given)
    assert caught.value.violations[0].field == field
    assert peer.requests == []


FACTS: list[tuple[str, Any, str]] = [
    ("message_parked", journal.MessageParked(), "erp"),
    ("message_waits", journal.MessageWaits(kind="stock_transfer", name="T-1"), "T-1"),
    ("message_dead", journal.MessageDead(rejection=types.Rejection(reason="UNKNOWN_SKU")), "erp"),
    ("wait_ended", journal.WaitEnded(waiting=7), ""),
    ("letter_settled", journal.LetterSettled(source_id="erp", dead_letter=7), "erp"),
    ("gap_skipped", journal.GapSkipped(source_id="erp", epoch=1, through=7), "erp"),
]


@pytest.mark.parametrize(("kind", "fact", "subject"), FACTS)
def test_facts_about_messages_are_events_that_change_no_stock(kind: str, fact: Any, subject: str) -> None:
    context = types.CommandContext(source=types.SourcePosition(source_id="erp", epoch=1, sequence=4))
    event = Event(1, STAMP, 1, kind, fact, context, "main")
    found = cloud_event(event)
    assert (found["type"], found.get("subject", "")) == (f"invengine.v1.{kind}", subject)
    fold = StockFold()
    fold.take(event)
    assert (fold.sequence, list(fold.levels())) == (1, [])
