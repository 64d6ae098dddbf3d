"""ReadEvents and GetDigest: the durable truth, gapless and in order, with the command behind each event."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from invengine.v1.journal_service_pb2 import Event, ReadEventsRequest
from invengine.v1.types_pb2 import JournalPosition

from . import methods, requests
from .refused import Refused, from_rpc_error
from .shop import Shop
from .targets import LEDGER, TIMEOUT_S, ServerTarget


def event_stream(shop: Shop, request: ReadEventsRequest) -> Iterator[Event]:
    """The events of a server's stream, as they come."""
    assert isinstance(shop.target, ServerTarget)
    return shop.target.event_stream(request)


def test_every_event_from_the_first_is_there_without_a_gap(shop: Shop) -> None:
    shop.hold((shop.item(1), shop.here, 1))
    _, end = shop.target.digest()
    events = shop.target.read_events()
    assert [event.sequence for event in events[:end]] == list(range(1, end + 1))
    times = [event.time.ToMilliseconds() for event in events]
    assert times == sorted(times)
    assert len({event.writer_epoch for event in events}) == 1
    assert all(event.WhichOneof("fact") for event in events)


def test_from_a_position_and_up_to_a_limit(shop: Shop) -> None:
    receipt = shop.call(methods.RECEIVE, requests.receive(shop.context(), *((shop.item(), shop.here, 1),) * 5)).receipt
    start = receipt.sequence - 4
    for limit in (1, 3, 5):
        found = shop.target.read_events(start, limit)
        assert [event.sequence for event in found] == list(range(start, start + limit))
    assert [event.sequence for event in shop.target.read_events(start)][:5] == list(range(start, start + 5))


def test_what_was_acknowledged_is_in_the_journal(shop: Shop) -> None:
    sku = shop.item(50)
    for _ in range(50):
        answer = shop.reserve((sku, shop.here, 1))
        (event,) = shop.target.read_events(answer.receipt.sequence, 1)
        assert event.reserved.reservation_id == answer.hold.reservation_id


def test_an_event_is_the_same_whenever_it_is_read(shop: Shop) -> None:
    answer = shop.reserve((shop.item(1), shop.here, 1))
    (first,) = shop.target.read_events(answer.receipt.sequence, 1)
    shop.release(requests.by_id(answer.hold.reservation_id))
    assert shop.target.read_events(answer.receipt.sequence, 1) == [first]


def test_a_follower_receives_new_events(shop: Shop) -> None:
    sku, count = shop.item(100), 60
    start = shop.target.digest()[1] + 1
    with ThreadPoolExecutor(1) as readers:
        reading = readers.submit(shop.target.follow_events, start, count)
        tokens = [shop.reserve((sku, shop.here, 1)).hold.reservation_id for _ in range(count)]
        events = reading.result()
    assert [event.sequence for event in events] == list(range(start, start + count))
    # A hold of an earlier test may expire in between.
    seen = [event.reserved.reservation_id for event in events if event.HasField("reserved")]
    assert seen == tokens[: len(seen)]
    assert len(seen) + sum(event.HasField("expired") for event in events) == count


def test_beyond_the_end_there_is_nothing_yet_and_further_on_no_history(server_shop: Shop) -> None:
    """A reader that is ahead knows events that this ledger lost: an empty answer would let it wait for ever."""
    end = server_shop.target.digest()[1]
    # Unless a hold of an earlier test has just expired.
    assert len(server_shop.target.read_events(end + 1)) <= server_shop.target.digest()[1] - end
    for follow in (False, True):
        request = ReadEventsRequest(from_sequence=end + 1_000_000, follow=follow)
        with pytest.raises(Refused) as refused:
            list(event_stream(server_shop, request))
        assert refused.value.reason == "POSITION_NOT_IN_HISTORY"
        assert set(refused.value.metadata) == {"ledger", "head_sequence", "head_epoch"}
        assert int(refused.value.metadata["head_sequence"]) >= end


def test_a_bad_position_is_refused(server: ServerTarget) -> None:
    position = JournalPosition(ledger="main", writer_epoch=1, sequence=1)
    for request, field in (
        (ReadEventsRequest(from_sequence=-1), "from_sequence"),
        (ReadEventsRequest(limit=-1), "limit"),
        (ReadEventsRequest(from_sequence=1, after=position), "from_sequence"),
        (ReadEventsRequest(after=JournalPosition(writer_epoch=1, sequence=1)), "after.ledger"),
        (ReadEventsRequest(after=JournalPosition(ledger="main", sequence=1)), "after.writer_epoch"),
        (ReadEventsRequest(after=JournalPosition(ledger="main", writer_epoch=1)), "after.writer_epoch"),
        (ReadEventsRequest(after=JournalPosition(ledger="main", writer_epoch=-1, sequence=1)), "after.writer_epoch"),
        (ReadEventsRequest(after=JournalPosition(ledger="main", writer_epoch=1, sequence=-1)), "after.sequence"),
    ):
        with pytest.raises(Refused) as refused:
            list(server.event_stream(request))
        assert (refused.value.reason, refused.value.fields) == ("INVALID_FIELD", [field])


def test_a_reader_continues_after_a_complete_position(server_shop: Shop) -> None:
    receipt = server_shop.call(
        methods.RECEIVE, requests.receive(server_shop.context(), *((server_shop.item(), server_shop.here, 1),) * 5)
    ).receipt
    events = server_shop.target.read_events(receipt.sequence - 4, 5)
    for index, event in enumerate(events):
        after = JournalPosition(ledger="main", writer_epoch=event.writer_epoch, sequence=event.sequence)
        found = list(event_stream(server_shop, ReadEventsRequest(after=after, limit=4 - index or 1)))
        assert found[: 4 - index] == events[index + 1 :]
    start = JournalPosition(ledger="main")
    (first,) = event_stream(server_shop, ReadEventsRequest(after=start, limit=1))
    assert first.sequence == 1


@pytest.mark.parametrize("change", ["epoch", "ahead", "ledger"])
def test_a_position_of_another_history_is_refused_with_the_last_common_one(server_shop: Shop, change: str) -> None:
    server_shop.hold((server_shop.item(1), server_shop.here, 1))
    target = server_shop.target
    (event,) = target.read_events(target.digest()[1], 1)
    position = JournalPosition(ledger="main", writer_epoch=event.writer_epoch, sequence=event.sequence)
    if change == "epoch":
        position.writer_epoch += 1
    elif change == "ahead":
        position.sequence += 1_000_000
    else:
        position.ledger = "other"
    with pytest.raises(Refused) as refused:
        list(event_stream(server_shop, ReadEventsRequest(after=position, follow=True)))
    assert refused.value.reason == "POSITION_NOT_IN_HISTORY"
    facts = refused.value.metadata
    assert (facts["ledger"], int(facts["head_epoch"])) == ("main", event.writer_epoch)
    if change == "ahead":
        assert int(facts["last_common_sequence"]) >= event.sequence
        assert int(facts["last_common_epoch"]) == event.writer_epoch
    elif change == "epoch":
        # A newer writer than any that was here: nothing but the beginning is certain.
        assert (facts["last_common_sequence"], facts["last_common_epoch"]) == ("0", "0")
    else:
        assert "last_common_sequence" not in facts


def test_events_of_another_ledger_are_asked_for_elsewhere(server: ServerTarget) -> None:
    """The metadata `invengine-ledger` counts for a stream as for any call."""
    call = server.channel.unary_stream(methods.READ_EVENTS, None, None)
    payload = ReadEventsRequest(limit=1).SerializeToString()
    assert list(call(payload, metadata=((LEDGER, "main"),), timeout=TIMEOUT_S))
    with pytest.raises(grpc.RpcError) as ended:
        list(call(payload, metadata=((LEDGER, "other"),), timeout=TIMEOUT_S))
    refused = from_rpc_error(ended.value)
    assert isinstance(refused, Refused)
    assert refused.reason == "NOT_OWNER"


def test_many_followers_see_the_same(server_shop: Shop) -> None:
    sku, count = server_shop.item(40), 40
    start = server_shop.target.digest()[1] + 1
    with ThreadPoolExecutor(8) as readers:
        reading = [readers.submit(server_shop.target.follow_events, start, count) for _ in range(8)]
        for _ in range(count):
            server_shop.hold((sku, server_shop.here, 1))
        found = [each.result() for each in reading]
    assert all(events == found[0] for events in found)


def test_the_shared_fields_of_the_command_are_in_its_events(shop: Shop) -> None:
    sku, place = shop.item(9), shop.source()
    context = shop.context(
        channel=shop.channel(),
        order_ref="order-1",
        holder="holder-1",
        actor="clerk",
        reason_code="why",
        reference="note-7",
        causation="event-9",
    )
    context.source.CopyFrom(place)
    context.source.sequence = 1
    now = shop.call(methods.GET_SERVER_INFO, methods.GET_SERVER_INFO.request()).engine_time
    context.issue_time.FromMilliseconds(now.ToMilliseconds())
    context.event_time.FromMilliseconds(now.ToMilliseconds() - 86_400_000)
    answer = shop.call(methods.RECEIVE, requests.receive(context, (sku, shop.here, 1), (sku, shop.there, 1)))
    events = shop.target.read_events(answer.receipt.sequence - 1, 2)
    assert [event.context for event in events] == [context, context]


def test_fields_that_were_not_given_are_absent(shop: Shop) -> None:
    context = shop.context()
    answer = shop.reserve((shop.item(1), shop.here, 1), context=context)
    (event,) = shop.target.read_events(answer.receipt.sequence, 1)
    assert event.context == context


def test_the_digest_names_the_durable_position(shop: Shop) -> None:
    answer = shop.reserve((shop.item(1), shop.here, 1))
    digest, sequence = shop.target.digest()
    assert sequence >= answer.receipt.sequence
    assert len(digest) == 32
    assert int(digest, 16) >= 0


def test_reads_and_repeats_leave_the_digest_alone(shop: Shop) -> None:
    sku = shop.item(5)
    request = requests.reserve(shop.context(), (sku, shop.here, 1))
    answer = shop.call(methods.RESERVE, request)
    for _ in range(8):
        before = shop.target.digest()
        shop.level(sku)
        shop.available(sku)
        shop.reservation(requests.by_id(answer.hold.reservation_id))
        shop.outcome(request.context.idempotency_key)
        assert shop.call(methods.RESERVE, request).receipt.replayed
        if shop.target.digest() == before:
            return
    raise AssertionError("reads and repeats change the digest")


def test_every_change_is_another_digest(shop: Shop) -> None:
    sku = shop.item(100)
    seen = set()
    for _ in range(50):
        shop.release(shop.hold((sku, shop.here, 1)))
        seen.add(shop.target.digest()[0])
    assert len(seen) == 50


def test_the_digest_of_a_position_is_one(shop: Shop) -> None:
    sku = shop.item(1000)
    positions: dict[int, str] = {}
    with ThreadPoolExecutor(4) as askers:
        asking = [askers.submit(shop.target.digest) for _ in range(200)]
        for _ in range(100):
            shop.hold((sku, shop.here, 1))
        for each in asking:
            digest, sequence = each.result()
            assert positions.setdefault(sequence, digest) == digest


def lines_of(fact: object) -> list[tuple[str, str, int]]:
    """Item, location and units of each line of a fact."""
    return [(line.sku, line.location, line.quantity) for line in getattr(fact, "lines", ())]


def last_event(shop: Shop, sequence: int) -> Event:
    """The event at a position."""
    (event,) = shop.target.read_events(sequence, 1)
    assert event.sequence == sequence
    return event


def test_facts_of_a_hold(shop: Shop) -> None:
    sku, order = shop.item(9), shop.name("order")
    reserved = shop.reserve((sku, shop.here, 6), ttl_s=60)
    token = reserved.hold.reservation_id
    fact = last_event(shop, reserved.receipt.sequence).reserved
    assert (fact.reservation_id, fact.expire_time) == (token, reserved.hold.expire_time)
    assert lines_of(fact) == [(sku, shop.here, 6)]

    extended = shop.call(methods.EXTEND, requests.extend(shop.context(), requests.by_id(token), 600))
    moved = last_event(shop, extended.receipt.sequence).extended
    assert (moved.reservation_id, moved.expire_time) == (token, extended.holds[0].expire_time)

    part = requests.by_id(token, (sku, shop.here, 2))
    allocated = last_event(shop, shop.allocate(part, order_ref=order).receipt.sequence).allocated
    assert (allocated.reservation_id, allocated.order_ref, allocated.reacquired) == (token, order, False)
    released = last_event(shop, shop.release(part).receipt.sequence).released
    fulfilled = last_event(shop, shop.fulfill(part).receipt.sequence).fulfilled
    assert released.reservation_id == fulfilled.reservation_id == token
    assert lines_of(allocated) == lines_of(released) == lines_of(fulfilled) == [(sku, shop.here, 2)]


def test_facts_of_the_catalogue(shop: Shop) -> None:
    create = methods.UPSERT_ITEMS.request(context=shop.context())
    names = [shop.name("sku") for _ in range(2)]
    create.items.add(sku=names[0], display_name="One", gtin="04012345678901")
    create.items.add(sku=names[1])
    sequence = shop.call(methods.UPSERT_ITEMS, create).receipt.sequence
    items = [event.item_upserted for event in shop.target.read_events(sequence - 1, 2)]
    assert [(fact.sku, fact.display_name, fact.gtin) for fact in items] == [
        (names[0], "One", "04012345678901"),
        (names[1], "", ""),
    ]
    build = methods.UPSERT_LOCATIONS.request(context=shop.context())
    build.locations.add(location=shop.name("place"), display_name="Place", gln="4012345678901")
    fact = last_event(shop, shop.call(methods.UPSERT_LOCATIONS, build).receipt.sequence).location_upserted
    location = build.locations[0]
    assert (fact.location, fact.display_name, fact.gln) == (location.location, location.display_name, location.gln)
    open_channel = methods.UPSERT_CHANNELS.request(context=shop.context())
    open_channel.channels.add(channel=shop.name("channel"), display_name="Web")
    opened = last_event(shop, shop.call(methods.UPSERT_CHANNELS, open_channel).receipt.sequence).channel_upserted
    assert (opened.channel, opened.display_name) == (open_channel.channels[0].channel, "Web")


def test_facts_of_sources_and_keys(shop: Shop) -> None:
    request = methods.REGISTER_SOURCE.request(context=shop.context(), source_id=shop.name("source"))
    answer = shop.call(methods.REGISTER_SOURCE, request)
    registered = last_event(shop, answer.receipt.sequence).source_registered
    assert (registered.source_id, registered.epoch) == (request.source_id, answer.epoch)
    key = shop.name("never")
    sequence = shop.release(requests.by_key(key)).receipt.sequence
    assert last_event(shop, sequence).key_cancelled.idempotency_key == key


def test_every_accepted_command_leaves_a_trace(shop: Shop) -> None:
    sku = shop.item(5, there=5)
    hold = shop.hold((sku, shop.here, 2))
    unchanged = (
        (methods.AMEND, requests.amend(shop.context(), hold, (sku, shop.here, 2))),
        (methods.TRANSFER, requests.transfer(shop.context(), hold, shop.here)),
        (methods.COUNT, requests.count(shop.context(), (sku, shop.here, 5))),
        (methods.RELEASE, requests.release(shop.context(), requests.by_key(shop.name("never")))),
    )
    for method, request in unchanged:
        before = shop.target.digest()[1]
        answer = shop.target.call_raw(method.path, request.SerializeToString())
        sequence = method.answer.FromString(answer).receipt.sequence
        assert sequence > before
        assert last_event(shop, sequence).context.idempotency_key == request.context.idempotency_key


@pytest.mark.parametrize(
    ("seconds", "nanos", "kept_nanos"),
    [(0, 0, 0), (0, 1_000_000, 1_000_000), (-1, 999_000_000, 999_000_000), (1_700_000_000, 123_456_789, 123_000_000)],
)
def test_a_time_reads_back_as_it_was_sent_in_whole_milliseconds(
    shop: Shop, seconds: int, nanos: int, kept_nanos: int
) -> None:
    request = requests.receive(shop.context(), (shop.item(1), shop.here, 1))
    request.context.event_time.seconds, request.context.event_time.nanos = seconds, nanos
    (event,) = shop.target.read_events(shop.call(methods.RECEIVE, request).receipt.sequence, 1)
    found = event.context.event_time
    assert (found.seconds, found.nanos) == (seconds, kept_nanos)
    assert not event.context.HasField("issue_time"), "what was not said is not there"
