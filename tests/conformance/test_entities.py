"""Entities: many are put, read, listed and deleted in one step, or none; their versions let no change be lost.

Location groups stand for every kind that has versions; items and locations for what something refers to.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from invengine.v1 import policy_service_pb2 as policy
from invengine.v1 import types_pb2 as types
from invengine.v1.policy_service_pb2 import LocationGroup
from invengine.v1.types_pb2 import EntityReference

from . import methods, requests
from .own import own_target
from .shop import Shop
from .targets import TARGETS

PUT, DELETE = methods.UPSERT_LOCATION_GROUPS, methods.DELETE_LOCATION_GROUPS
NOBODY = "nobody-knows-this"
GROUP = "location_group"


def upsert(shop: Shop, *groups: LocationGroup, key: str | None = None) -> policy.UpsertLocationGroupsRequest:
    """Asks to put these groups."""
    return policy.UpsertLocationGroupsRequest(context=shop.context(key), location_groups=groups)


def put(shop: Shop, *groups: LocationGroup) -> list[int]:
    """Puts groups, and returns the versions that this led to."""
    return list(shop.call(PUT, upsert(shop, *groups)).versions)


def delete(shop: Shop, *groups: EntityReference | str) -> policy.DeleteLocationGroupsRequest:
    """Asks to delete these groups."""
    named = [EntityReference(name=each) if isinstance(each, str) else each for each in groups]
    return policy.DeleteLocationGroupsRequest(context=shop.context(), location_groups=named)


def read(shop: Shop, group: str) -> LocationGroup:
    """A group as it is now."""
    return shop.call(methods.GET_LOCATION_GROUP, policy.GetLocationGroupRequest(group=group)).location_group


def listed(shop: Shop, page_size: int = 1000) -> list[LocationGroup]:
    """The groups of this test in the order of the list."""
    request, found = policy.ListLocationGroupsRequest(page_size=page_size), []
    while True:
        answer = shop.call(methods.LIST_LOCATION_GROUPS, request)
        assert len(answer.location_groups) <= page_size
        found += [group for group in answer.location_groups if group.group.startswith(shop.tag)]
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


def absent(shop: Shop, group: str) -> None:
    """Requires that there is no such group."""
    request = policy.GetLocationGroupRequest(group=group)
    shop.refused(methods.GET_LOCATION_GROUP, request, "UNKNOWN_GROUP", group=group)


def test_many_groups_are_put_in_one_step_and_read_as_they_were_sent(shop: Shop) -> None:
    names = [shop.name("group") for _ in range(1000)]
    groups = [LocationGroup(group=name, locations=[shop.there, shop.here]) for name in names]
    assert put(shop, *groups) == [1] * 1000
    assert read(shop, names[999]) == LocationGroup(group=names[999], locations=[shop.there, shop.here], version=1)
    again = LocationGroup(group=names[0], locations=[shop.here])
    assert put(shop, again, LocationGroup(group=names[999], locations=[shop.here])) == [2, 2]
    assert read(shop, names[0]) == LocationGroup(group=names[0], locations=[shop.here], version=2)


@pytest.mark.parametrize("page_size", [1, 2, 1000])
def test_a_list_has_the_order_of_creation_whatever_is_put_or_deleted_later(shop: Shop, page_size: int) -> None:
    names = [shop.group(shop.here) for _ in range(4)]
    put(shop, LocationGroup(group=names[0], locations=[shop.there]))
    shop.call(DELETE, delete(shop, names[1], names[2]))
    assert [group.group for group in listed(shop, page_size)] == [names[0], names[3]]
    put(shop, LocationGroup(group=names[2], locations=[shop.there]))
    found = listed(shop, page_size)
    assert [(group.group, group.version) for group in found] == [(names[0], 2), (names[2], 3), (names[3], 1)]
    assert found[1] == read(shop, names[2])


def test_a_put_that_changes_nothing_counts_too(shop: Shop) -> None:
    group = LocationGroup(group=shop.name("group"), locations=[shop.here])
    assert [put(shop, group) for _ in range(3)] == [[1], [2], [3]]


def test_what_was_read_can_be_sent_back_until_somebody_else_changes_it(shop: Shop) -> None:
    mine = read(shop, shop.group(shop.here))
    mine.locations.append(shop.there)
    theirs = LocationGroup(group=mine.group, locations=[shop.there], version=mine.version)
    assert put(shop, theirs) == [2]
    shop.refused(PUT, upsert(shop, mine), "STALE_VERSION", kind=GROUP, name=mine.group, expected=1, actual=2)
    assert list(read(shop, mine.group).locations) == [shop.there]


def test_version_0_means_that_there_is_none(shop: Shop) -> None:
    group = LocationGroup(group=shop.name("group"), locations=[shop.here], version=0)
    assert put(shop, group) == [1]
    shop.refused(PUT, upsert(shop, group), "STALE_VERSION", kind=GROUP, name=group.group, expected=0, actual=1)
    other = LocationGroup(group=shop.name("group"), locations=[shop.here], version=1)
    shop.refused(PUT, upsert(shop, other), "STALE_VERSION", kind=GROUP, name=other.group, expected=1, actual=0)
    absent(shop, other.group)


def test_a_name_that_comes_back_continues_its_versions(shop: Shop) -> None:
    name = shop.group(shop.here)
    shop.call(DELETE, delete(shop, EntityReference(name=name, version=1)))
    absent(shop, name)
    old = LocationGroup(group=name, locations=[shop.here], version=1)
    # It has none now, and a caller who read the old one does not bring it back unnoticed.
    shop.refused(PUT, upsert(shop, old), "STALE_VERSION", kind=GROUP, name=name, expected=1, actual=0)
    assert put(shop, LocationGroup(group=name, locations=[shop.there], version=0)) == [3]
    shop.refused(PUT, upsert(shop, old), "STALE_VERSION", expected=1, actual=3)
    assert read(shop, name).version == 3


@pytest.mark.parametrize("version", [0, 1, 3])
def test_a_deletion_may_name_the_version_too(shop: Shop, version: int) -> None:
    name = shop.group(shop.here)
    put(shop, LocationGroup(group=name, locations=[shop.there]))
    request = delete(shop, EntityReference(name=name, version=version))
    shop.refused(DELETE, request, "STALE_VERSION", kind=GROUP, name=name, expected=version, actual=2)
    shop.call(DELETE, delete(shop, EntityReference(name=name, version=2)))
    absent(shop, name)


def test_what_is_not_there_cannot_be_deleted(shop: Shop) -> None:
    name = shop.group(shop.here)
    shop.refused(DELETE, delete(shop, name, NOBODY), "UNKNOWN_GROUP", group=NOBODY)
    assert read(shop, name).version == 1
    shop.call(DELETE, delete(shop, name))
    shop.refused(DELETE, delete(shop, name), "UNKNOWN_GROUP", group=name)


def _bad_name(shop: Shop) -> LocationGroup:
    return LocationGroup(group=shop.name("group") + " ", locations=[shop.here])


def _bad_location(shop: Shop) -> LocationGroup:
    return LocationGroup(group=shop.name("group"), locations=[shop.here, NOBODY])


def _stale(shop: Shop) -> LocationGroup:
    return LocationGroup(group=shop.group(shop.here), locations=[shop.here], version=7)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(_bad_name, "INVALID_FIELD"), (_bad_location, "UNKNOWN_LOCATION"), (_stale, "STALE_VERSION")],
)
def test_one_bad_entry_leaves_everything_as_it_was(
    shop: Shop, spoil: Callable[[Shop], LocationGroup], reason: str
) -> None:
    kept, new = read(shop, shop.group(shop.here)), shop.name("group")
    changed = LocationGroup(group=kept.group, locations=[shop.there], version=1)
    created = LocationGroup(group=new, locations=[shop.here])
    shop.refused(PUT, upsert(shop, changed, created, spoil(shop)), reason)
    assert read(shop, kept.group) == kept
    absent(shop, new)


def test_the_first_of_several_mistakes_is_reported_in_the_order_of_the_checks(shop: Shop) -> None:
    entries = [_stale(shop), _bad_location(shop), _bad_name(shop)]
    assert shop.refused(PUT, upsert(shop, *entries), "INVALID_FIELD").fields == ["location_groups[2].group"]
    shop.refused(PUT, upsert(shop, *entries[:2]), "UNKNOWN_LOCATION", location=NOBODY)
    shop.refused(PUT, upsert(shop, *entries[:1], _stale(shop)), "STALE_VERSION", name=entries[0].group)


def _groups(*groups: LocationGroup) -> Callable[[Shop], Any]:
    return lambda shop: (PUT, upsert(shop, *groups))


def _references(*references: EntityReference) -> Callable[[Shop], Any]:
    return lambda shop: (DELETE, delete(shop, *references))


def _skus(*skus: str) -> Callable[[Shop], Any]:
    return lambda shop: (methods.DELETE_ITEMS, methods.DELETE_ITEMS.request(context=shop.context(), skus=skus))


def _places(*places: str) -> Callable[[Shop], Any]:
    request = methods.DELETE_LOCATIONS.request
    return lambda shop: (methods.DELETE_LOCATIONS, request(context=shop.context(), locations=places))


def _of(*locations: str, **more: Any) -> LocationGroup:
    return LocationGroup(group="g", locations=locations, **more)


BAD: dict[str, tuple[Callable[[Shop], Any], str]] = {
    "no groups": (_groups(), "location_groups"),
    "1,001 groups": (_groups(*(LocationGroup(group=f"g{n}", locations=["l"]) for n in range(1001))), "location_groups"),
    "a group without a name": (_groups(LocationGroup(locations=["l"])), "location_groups[0].group"),
    "a long name": (_groups(LocationGroup(group="g" * 129, locations=["l"])), "location_groups[0].group"),
    "a group twice": (_groups(_of("l"), _of("m")), "location_groups[1].group"),
    "a group of nothing": (_groups(_of()), "location_groups[0].locations"),
    "1,001 locations": (_groups(_of(*(f"l{n}" for n in range(1001)))), "location_groups[0].locations"),
    "a location without a name": (_groups(_of("l", "")), "location_groups[0].locations[1]"),
    "a location twice": (_groups(_of("l", "m", "l")), "location_groups[0].locations[2]"),
    "a negative version": (_groups(_of("l", version=-1)), "location_groups[0].version"),
    "no groups to delete": (_references(), "location_groups"),
    "1,001 to delete": (_references(*(EntityReference(name=f"g{n}") for n in range(1001))), "location_groups"),
    "one without a name": (_references(EntityReference(version=1)), "location_groups[0].name"),
    "one twice": (_references(EntityReference(name="g"), EntityReference(name="g")), "location_groups[1].name"),
    "one of a negative version": (_references(EntityReference(name="g", version=-1)), "location_groups[0].version"),
    "no items to delete": (_skus(), "skus"),
    "1,001 items to delete": (_skus(*(f"s{n}" for n in range(1001))), "skus"),
    "an item without a name": (_skus("s", ""), "skus[1]"),
    "an item twice": (_skus("s", "s"), "skus[1]"),
    "no locations to delete": (_places(), "locations"),
    "a location to delete twice": (_places("l", "m", "l"), "locations[2]"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_a_bad_request(shop: Shop, name: str) -> None:
    make, field = BAD[name]
    method, request = make(shop)
    assert shop.refused(method, request, "INVALID_FIELD").fields == [field]


@pytest.mark.parametrize("method", [methods.GET_LOCATION_GROUP, methods.LIST_LOCATION_GROUPS], ids=["get", "list"])
def test_a_bad_question(shop: Shop, method: methods.Method[Any, Any]) -> None:
    field = "group" if method is methods.GET_LOCATION_GROUP else "page_size"
    request = method.request() if field == "group" else method.request(page_size=1001)
    assert shop.refused(method, request, "INVALID_FIELD").fields == [field]


def test_a_location_of_a_group_cannot_be_deleted(shop: Shop) -> None:
    group = shop.group(shop.here, shop.there)
    request = methods.DELETE_LOCATIONS.request(context=shop.context(), locations=[shop.there])
    used_by = f"location_group {group}"
    shop.refused(methods.DELETE_LOCATIONS, request, "ENTITY_IN_USE", kind="location", name=shop.there, used_by=used_by)
    put(shop, LocationGroup(group=group, locations=[shop.here]))
    request = methods.DELETE_LOCATIONS.request(context=shop.context(), locations=[shop.there])
    shop.call(methods.DELETE_LOCATIONS, request)
    unknown = methods.GET_LOCATION.request(location=shop.there)
    shop.refused(methods.GET_LOCATION, unknown, "UNKNOWN_LOCATION", location=shop.there)
    gone = upsert(shop, LocationGroup(group=group, locations=[shop.there]))
    shop.refused(PUT, gone, "UNKNOWN_LOCATION", location=shop.there)


def test_an_item_and_a_location_with_stock_cannot_be_deleted(shop: Shop) -> None:
    empty, sold = shop.item(), shop.item(3)
    request = methods.DELETE_ITEMS.request(context=shop.context(), skus=[empty, sold])
    shop.refused(methods.DELETE_ITEMS, request, "ENTITY_IN_USE", kind="item", name=sold, used_by="level")
    place = methods.DELETE_LOCATIONS.request(context=shop.context(), locations=[shop.here])
    shop.refused(methods.DELETE_LOCATIONS, place, "ENTITY_IN_USE", kind="location", name=shop.here, used_by="level")
    # Stock that is gone leaves its level.
    shop.call(methods.SET_QUANTITY, requests.set_quantity(shop.context(), (sold, shop.here, 0)))
    request = methods.DELETE_ITEMS.request(context=shop.context(), skus=[sold])
    shop.refused(methods.DELETE_ITEMS, request, "ENTITY_IN_USE", kind="item", name=sold, used_by="level")
    assert shop.call(methods.GET_ITEM, methods.GET_ITEM.request(sku=empty)).item.sku == empty


def test_a_deleted_item_is_unknown_until_it_is_created_again(shop: Shop) -> None:
    skus = [shop.name("sku") for _ in range(3)]
    create = methods.UPSERT_ITEMS.request(context=shop.context())
    for sku in skus:
        create.items.add(sku=sku)
    shop.call(methods.UPSERT_ITEMS, create)
    shop.call(methods.DELETE_ITEMS, methods.DELETE_ITEMS.request(context=shop.context(), skus=skus[:2]))
    receive = requests.receive(shop.context(), (skus[0], shop.here, 1))
    shop.refused(methods.RECEIVE, receive, "UNKNOWN_SKU", sku=skus[0])
    request = methods.DELETE_ITEMS.request(context=shop.context(), skus=[skus[2], skus[1]])
    shop.refused(methods.DELETE_ITEMS, request, "UNKNOWN_SKU", sku=skus[1])
    create.context.CopyFrom(shop.context())
    shop.call(methods.UPSERT_ITEMS, create)
    shop.call(methods.RECEIVE, requests.receive(shop.context(), (skus[0], shop.here, 1)))
    assert shop.level(skus[0]).on_hand == 1


def test_a_repeat_with_the_same_key_gets_the_same_versions(shop: Shop) -> None:
    group = LocationGroup(group=shop.name("group"), locations=[shop.here])
    request = upsert(shop, group)
    first = shop.call(PUT, request)
    put(shop, group)
    again = shop.call(PUT, request)
    assert (list(again.versions), again.receipt.sequence) == ([1], first.receipt.sequence)
    assert again.receipt.replayed
    assert read(shop, group.group).version == 2
    removal = delete(shop, group.group)
    gone = shop.call(DELETE, removal)
    assert put(shop, group) == [4]
    repeated = shop.call(DELETE, removal).receipt
    assert (repeated.sequence, repeated.replayed) == (gone.receipt.sequence, True)
    assert read(shop, group.group).version == 4


def test_the_same_key_with_other_entities_is_refused(shop: Shop) -> None:
    group = LocationGroup(group=shop.name("group"), locations=[shop.here])
    request = upsert(shop, group)
    sequence = shop.call(PUT, request).receipt.sequence
    key = request.context.idempotency_key
    group.locations.append(shop.there)
    facts: dict[str, Any] = {"sequence": sequence, "field": "location_groups"}
    shop.refused(PUT, upsert(shop, group, key=key), "IDEMPOTENCY_KEY_REUSED", **facts)
    expecting = LocationGroup(group=group.group, locations=[shop.here], version=0)
    shop.refused(PUT, upsert(shop, expecting, key=key), "IDEMPOTENCY_KEY_REUSED", **facts)
    removal = delete(shop, group.group)
    removal.context.idempotency_key = key
    shop.refused(DELETE, removal, "IDEMPOTENCY_KEY_REUSED", sequence=sequence, field="command")


def test_the_outcome_of_a_key_has_the_versions(shop: Shop) -> None:
    name = shop.group(shop.here)
    request = upsert(shop, *(LocationGroup(group=each, locations=[shop.here]) for each in (shop.name("group"), name)))
    receipt = shop.call(PUT, request).receipt
    found = shop.outcome(request.context.idempotency_key)
    assert (list(found.outcome.versions), found.outcome.receipt.sequence) == ([1, 2], receipt.sequence)
    removal = delete(shop, name)
    shop.call(DELETE, removal)
    found = shop.outcome(removal.context.idempotency_key)
    assert found.known
    assert not found.outcome.versions
    create = methods.UPSERT_LOCATIONS.request(context=shop.context())
    create.locations.add(location=shop.here)
    shop.call(methods.UPSERT_LOCATIONS, create)
    assert not shop.outcome(create.context.idempotency_key).outcome.versions


def test_events_have_the_whole_entity_and_its_version(shop: Shop) -> None:
    one, two = (shop.name("group") for _ in range(2))
    groups = [LocationGroup(group=name, locations=[shop.there, shop.here]) for name in (one, two)]
    request = upsert(shop, *groups)
    sequence = shop.call(PUT, request).receipt.sequence
    events = shop.target.read_events(sequence - 1, 2)
    assert [event.entity_put.location_group for event in events] == [
        LocationGroup(group=name, locations=[shop.there, shop.here], version=1) for name in (one, two)
    ]
    assert {event.context.idempotency_key for event in events} == {request.context.idempotency_key}
    sequence = shop.call(DELETE, delete(shop, two, one)).receipt.sequence
    facts = [event.entity_removed for event in shop.target.read_events(sequence - 1, 2)]
    assert [(fact.kind, fact.name, fact.version) for fact in facts] == [(GROUP, two, 2), (GROUP, one, 2)]
    sku = shop.name("sku")
    create = methods.UPSERT_ITEMS.request(context=shop.context())
    create.items.add(sku=sku)
    shop.call(methods.UPSERT_ITEMS, create)
    removal = methods.DELETE_ITEMS.request(context=shop.context(), skus=[sku])
    (event,) = shop.target.read_events(shop.call(methods.DELETE_ITEMS, removal).receipt.sequence, 1)
    assert (event.entity_removed.kind, event.entity_removed.name, event.entity_removed.version) == ("item", sku, 2)


def test_one_of_many_writers_who_read_the_same_version_wins(shop: Shop) -> None:
    name = shop.group(shop.here)
    wanted = [upsert(shop, LocationGroup(group=name, locations=[shop.there], version=1)) for _ in range(20)]
    outcomes = shop.target.outcomes(PUT, wanted)
    won = [outcome for outcome in outcomes if isinstance(outcome, policy.UpsertLocationGroupsResponse)]
    assert [list(answer.versions) for answer in won] == [[2]]
    assert read(shop, name).version == 2


@pytest.mark.parametrize("kind", TARGETS)
def test_a_restart_keeps_entities_versions_and_answers(kind: str, tmp_path: Path) -> None:
    with own_target(kind, tmp_path) as target:
        shop = Shop(target)
        kept, gone = shop.group(shop.here, shop.there), shop.group(shop.here)
        request = upsert(shop, LocationGroup(group=kept, locations=[shop.there], version=1))
        shop.call(PUT, request)
        shop.call(DELETE, delete(shop, gone))
        before = listed(shop), target.digest(), target.read_events()
    with own_target(kind, tmp_path) as target:
        shop.target = target
        assert (listed(shop), target.digest(), target.read_events()) == before
        again = shop.call(PUT, request)
        assert (list(again.versions), again.receipt.replayed) == ([2], True)
        assert list(shop.outcome(request.context.idempotency_key).outcome.versions) == [2]
        assert put(shop, LocationGroup(group=gone, locations=[shop.here])) == [3]
        place = methods.DELETE_LOCATIONS.request(context=shop.context(), locations=[shop.there])
        used_by = f"location_group {kept}"
        shop.refused(methods.DELETE_LOCATIONS, place, "ENTITY_IN_USE", name=shop.there, used_by=used_by)


@pytest.mark.parametrize("refused", [False, True], ids=["accepted", "refused"])
def test_a_numbered_message_may_put_entities(shop: Shop, refused: bool) -> None:
    place = shop.source()
    context = types.CommandContext(
        source=types.SourcePosition(source_id=place.source_id, epoch=place.epoch, sequence=1)
    )
    version = 5 if refused else 0
    group = LocationGroup(group=shop.name("group"), locations=[shop.here], version=version)
    request = policy.UpsertLocationGroupsRequest(context=context, location_groups=[group])
    if refused:
        for _ in range(2):
            facts: dict[str, Any] = {"kind": GROUP, "name": group.group, "expected": 5, "actual": 0}
            with pytest.raises(Exception, match="STALE_VERSION") as caught:
                shop.call(PUT, request)
            assert caught.value.metadata == {name: str(value) for name, value in facts.items()}  # type: ignore[attr-defined]
        return
    assert list(shop.call(PUT, request).versions) == [1]
    again = shop.call(PUT, request)
    assert (list(again.versions), again.receipt.replayed) == ([1], True)
