"""Consumers: readers of events whose position the ledger keeps. Two of one name notice each other.

What they share with every other kind of entity is in test_entities.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from invengine.v1 import journal_service_pb2 as journal
from invengine.v1.journal_service_pb2 import ReadEventsRequest
from invengine.v1.types_pb2 import Consumer, EntityReference, JournalPosition

from . import methods
from .own import own_target
from .refused import Refused
from .shop import Shop
from .targets import TARGETS

PUT = methods.UPSERT_CONSUMERS


def newest(shop: Shop) -> JournalPosition:
    """The position of the newest event."""
    (event,) = shop.target.read_events(shop.target.digest()[1], 1)
    return JournalPosition(ledger="main", writer_epoch=event.writer_epoch, sequence=event.sequence)


def upsert(shop: Shop, *consumers: Consumer, key: str | None = None) -> journal.UpsertConsumersRequest:
    """Asks to store these positions."""
    return journal.UpsertConsumersRequest(context=shop.context(key), consumers=consumers)


def read(shop: Shop, name: str) -> Consumer:
    """A consumer as it is now."""
    return shop.call(methods.GET_CONSUMER, journal.GetConsumerRequest(consumer=name)).consumer


def test_a_position_is_kept_with_its_version(shop: Shop) -> None:
    name, start, end = shop.name("consumer"), JournalPosition(ledger="main"), newest(shop)
    for version, position in enumerate((start, end), 1):
        answer = shop.call(PUT, upsert(shop, Consumer(consumer=name, position=position)))
        assert answer.versions == [version]
        assert read(shop, name) == Consumer(consumer=name, position=position, version=version)
    (event,) = shop.target.read_events(answer.receipt.sequence, 1)
    assert event.entity_put.consumer == read(shop, name)


def test_the_second_reader_of_a_name_is_noticed(shop: Shop) -> None:
    """Both began at the same version: who stores second did not see what the first one stored."""
    name, position = shop.name("consumer"), newest(shop)
    shop.call(PUT, upsert(shop, Consumer(consumer=name, position=position, version=0)))
    shop.refused(
        PUT, upsert(shop, Consumer(consumer=name, position=position, version=0)), "STALE_VERSION", expected=0, actual=1
    )
    shop.call(PUT, upsert(shop, Consumer(consumer=name, position=position, version=1)))
    refused = shop.refused(
        PUT, upsert(shop, Consumer(consumer=name, position=position, version=1)), "STALE_VERSION", expected=1, actual=2
    )
    assert (refused.metadata["kind"], refused.metadata["name"]) == ("consumer", name)


@pytest.mark.parametrize("change", ["epoch", "ahead", "ledger"])
def test_a_position_that_no_reader_could_continue_from_is_refused(shop: Shop, change: str) -> None:
    position = newest(shop)
    if change == "epoch":
        position.writer_epoch += 1
    elif change == "ahead":
        position.sequence += 1_000_000
    else:
        position.ledger = "other"
    good = Consumer(consumer=shop.name("good"), position=JournalPosition(ledger="main"))
    bad = Consumer(consumer=shop.name("bad"), position=position)
    refused = shop.refused(PUT, upsert(shop, good, bad), "POSITION_NOT_IN_HISTORY", ledger="main")
    assert ("last_common_sequence" in refused.metadata) == (change != "ledger")
    shop.refused(methods.GET_CONSUMER, journal.GetConsumerRequest(consumer=good.consumer), "ENTITY_NOT_FOUND")


@pytest.mark.parametrize(
    ("position", "field"),
    [
        (None, "position"),
        (JournalPosition(), "position.ledger"),
        (JournalPosition(ledger="main", sequence=1), "position.writer_epoch"),
        (JournalPosition(ledger="main", writer_epoch=1), "position.writer_epoch"),
        (JournalPosition(ledger="main", writer_epoch=-1, sequence=1), "position.writer_epoch"),
        (JournalPosition(ledger="main", writer_epoch=1, sequence=-1), "position.sequence"),
    ],
)
def test_a_bad_position_is_refused(shop: Shop, position: JournalPosition | None, field: str) -> None:
    consumer = Consumer(consumer=shop.name("consumer"), position=position)
    refused = shop.refused(PUT, upsert(shop, consumer), "INVALID_FIELD")
    assert refused.fields == [f"consumers[0].{field}"]


def test_a_reader_can_leave_out_what_consumers_store(shop: Shop) -> None:
    start, name = shop.target.digest()[1], shop.name("consumer")
    shop.call(PUT, upsert(shop, Consumer(consumer=name, position=newest(shop))))
    group = shop.group(shop.here)
    references = [EntityReference(name=name)]
    shop.call(methods.DELETE_CONSUMERS, journal.DeleteConsumersRequest(context=shop.context(), consumers=references))
    for without, expected in ((False, ["consumer", group, name]), (True, [group])):
        request = ReadEventsRequest(from_sequence=start + 1)
        request.filter.types.extend(["entity_put", "entity_removed"])
        request.filter.without_consumers = without
        found, _ = shop.target.matching(request)
        put = [event.entity_put for event in found if event.HasField("entity_put")]
        names = [each.location_group.group or each.WhichOneof("entity") for each in put]
        assert [*names, *(event.entity_removed.name for event in found if event.HasField("entity_removed"))] == expected
        request.filter.skus.append("nobody-knows-this")
        found, _ = shop.target.matching(request)
        assert [event.entity_put.location_group.group for event in found] == [group], "a consumer is about no item"


@pytest.mark.parametrize("kind", TARGETS)
def test_positions_survive_a_restart(kind: str, tmp_path: Path) -> None:
    stored: dict[str, Consumer] = {}
    for start in range(2):
        with own_target(kind, tmp_path) as target:
            shop = Shop(target)
            assert {name: read(shop, name) for name in stored} == stored
            name = shop.name("consumer")
            shop.call(PUT, upsert(shop, Consumer(consumer=name, position=newest(shop))))
            stored[name] = read(shop, name)
            for earlier in stored.values():
                found, _ = target.matching(ReadEventsRequest(after=earlier.position, limit=1))
                assert found[0].sequence == earlier.position.sequence + 1, start


def test_an_unknown_consumer_is_named(shop: Shop) -> None:
    with pytest.raises(Refused) as refused:
        read(shop, "nobody-knows-this")
    facts = {"kind": "consumer", "name": "nobody-knows-this"}
    assert (refused.value.reason, refused.value.metadata) == ("ENTITY_NOT_FOUND", facts)
