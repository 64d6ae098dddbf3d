"""Whoever has no right is refused, command by command, with the name of who has it; and nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from invengine.v1 import catalog_service_pb2 as catalog
from invengine.v1 import policy_service_pb2 as policy
from invengine.v1 import source_service_pb2 as sources
from invengine.v1 import types_pb2 as types

from . import methods, requests
from .commands import AnyMethod
from .refused import Refused
from .rules import ADJUST, DAMAGED, OF_STOCK, ON_HAND, PROMISE, REPORT, SET, Rules, Sender
from .shop import Shop, check, check_rejected, figures, refusal_of

LOST, SENT_BACK = types.TRANSFER_REMAINDER_LOST, types.TRANSFER_REMAINDER_SENT_BACK
WAREHOUSE, STORE = types.LOCATION_TYPE_WAREHOUSE, types.LOCATION_TYPE_STORE


class Stage(NamedTuple):
    """What the commands are about: an item with stock at both places, a hold of it here, goods on their way there."""

    shop: Shop
    sku: str
    hold: types.HoldTarget
    transfer: str

    @property
    def here(self) -> requests.Line:
        """A line here."""
        return (self.sku, self.shop.here, 1)


def stage(shop: Shop) -> Stage:
    sku = shop.item(20, there=5)
    return Stage(shop, sku, shop.hold((sku, shop.here, 2)), shop.stock_transfer(sku, 3))


def _ship(on: Stage, context: types.CommandContext) -> Any:
    request = methods.SHIP_TRANSFER.request(context=context, transfer=on.shop.name("transfer"))
    request.from_location, request.to_location = on.shop.here, on.shop.there
    request.lines.add(sku=on.sku, quantity=1)
    return request


def _arrive(on: Stage, context: types.CommandContext) -> Any:
    request = methods.RECEIVE_TRANSFER.request(context=context, transfer=on.transfer)
    request.lines.add(sku=on.sku, quantity=1, state=DAMAGED)
    return request


def _close(on: Stage, context: types.CommandContext, remainder: types.TransferRemainder.ValueType) -> Any:
    return methods.CLOSE_TRANSFER.request(context=context, transfer=on.transfer, remainder=remainder)


class Case(NamedTuple):
    """A command, the right that it needs, the state that it is about, and whether that is at the second place."""

    method: AnyMethod
    make: Callable[[Stage, types.CommandContext], Any]
    right: types.AuthorityRight.ValueType
    state: str = ""
    there: bool = False


m, r = methods, requests
CASES: dict[str, Case] = {
    "receive": Case(m.RECEIVE, lambda on, context: r.receive(context, on.here), REPORT, "ON_HAND"),
    "return": Case(m.RETURN, lambda on, context: r.give_back(context, on.here, state=DAMAGED), REPORT, "DAMAGED"),
    "fulfill": Case(m.FULFILL, lambda on, context: r.fulfill(context, on.hold), REPORT, "ON_HAND"),
    "ship": Case(m.SHIP_TRANSFER, _ship, REPORT, "ON_HAND"),
    "arrive": Case(m.RECEIVE_TRANSFER, _arrive, REPORT, "DAMAGED", there=True),
    "lost": Case(m.CLOSE_TRANSFER, lambda on, context: _close(on, context, LOST), REPORT, "ON_HAND", there=True),
    "sent back": Case(m.CLOSE_TRANSFER, lambda on, context: _close(on, context, SENT_BACK), REPORT, "ON_HAND"),
    "adjust": Case(m.ADJUST, lambda on, context: r.adjust(context, on.here), ADJUST, "ON_HAND"),
    "move": Case(m.MOVE_QUANTITY, lambda on, context: r.move_quantity(context, on.here), ADJUST, "ON_HAND"),
    "reserve": Case(m.RESERVE, lambda on, context: r.reserve(context, on.here), PROMISE),
    "extend": Case(m.EXTEND, lambda on, context: r.extend(context, on.hold), PROMISE),
    "amend": Case(m.AMEND, lambda on, context: r.amend(context, on.hold, (on.sku, on.shop.here, 3)), PROMISE),
    "allocate": Case(m.ALLOCATE, lambda on, context: r.allocate(context, on.hold), PROMISE),
    "release": Case(m.RELEASE, lambda on, context: r.release(context, on.hold), PROMISE),
    "transfer": Case(m.TRANSFER, lambda on, context: r.transfer(context, on.hold, on.shop.there), PROMISE),
}


def facts(case: Case, shop: Shop, source: str, owner: str) -> dict[str, Any]:
    """What the refusal says."""
    found = {"right": types.AuthorityRight.Name(case.right).removeprefix("AUTHORITY_RIGHT_"), "source": source}
    found |= {"location": shop.there if case.there else shop.here, "owner": owner}
    return found | ({"state": case.state} if case.state else {})


@pytest.mark.parametrize("name", CASES)
def test_the_operator_is_bound_as_everybody_is(rules: Rules, name: str) -> None:
    case, shop = CASES[name], rules.shop
    on, owner = stage(shop), Sender(shop)
    rules.grant(*{SET, PROMISE, case.right}, source_id=owner.name)
    expected = facts(case, shop, "operator", owner.name)
    refused = shop.refused(case.method, case.make(on, shop.context()), "NOT_AUTHORITATIVE", **expected)
    assert refused.metadata == {key: str(value) for key, value in expected.items()}
    rules.grant(case.right)
    shop.call(case.method, case.make(on, shop.context()))


@pytest.mark.parametrize("name", CASES)
def test_a_source_needs_the_right_and_so_does_the_owner_of_the_state(rules: Rules, name: str) -> None:
    case, shop = CASES[name], rules.shop
    on, till = stage(shop), Sender(shop, types.SOURCE_KIND_POS)
    first = rules.grant(SET, source_kind=types.SOURCE_KIND_POS)
    rules.grant(PROMISE, source_kind=types.SOURCE_KIND_WMS)
    before = [figures(shop.level(on.sku, place)) for place in (shop.here, shop.there)]
    owner = "WMS" if case.right == PROMISE else "POS"
    payload = case.make(on, till.context()).SerializeToString()
    sequence = shop.target.digest()[1]
    refused = refusal_of(shop.target, case.method.path, payload)
    check(refused, "NOT_AUTHORITATIVE", facts(case, shop, till.name, owner))
    kinds = [event.WhichOneof("fact") for event in shop.target.read_events(sequence + 1)]
    assert [kind for kind in kinds if kind != "expired"] == ["message_rejected"], "the number is used up"
    assert [figures(shop.level(on.sku, place)) for place in (shop.here, shop.there)] == before
    rules.delete(first)
    rules.grant(SET, case.right, source_kind=types.SOURCE_KIND_POS)
    shop.call(case.method, case.make(on, till.context()))


def test_a_move_needs_both_states(rules: Rules) -> None:
    shop = rules.shop
    sku = shop.item(5)
    rules.grant(ADJUST, states=[ON_HAND])
    request = requests.move_quantity(shop.context(), (sku, shop.here, 1))
    shop.refused(methods.MOVE_QUANTITY, request, "NOT_AUTHORITATIVE", state="DAMAGED")
    rules.grant(ADJUST, states=[DAMAGED])
    shop.call(methods.MOVE_QUANTITY, requests.move_quantity(shop.context(), (sku, shop.here, 1)))


def test_a_transfer_of_a_promise_needs_the_right_at_both_places(rules: Rules) -> None:
    shop = rules.shop
    sku, owner = shop.item(5, there=5), Sender(shop)
    hold = shop.hold((sku, shop.here, 1))
    rules.grant(PROMISE)
    rules.grant(PROMISE, source_id=owner.name, location=shop.there)
    request = requests.transfer(shop.context(), hold, shop.there)
    shop.refused(methods.TRANSFER, request, "NOT_AUTHORITATIVE", location=shop.there, owner=owner.name)
    rules.grant(PROMISE, location=shop.there)
    shop.call(methods.TRANSFER, requests.transfer(shop.context(), hold, shop.there))


def test_one_line_without_the_right_refuses_all(rules: Rules) -> None:
    shop = rules.shop
    sku = shop.item(5, there=5)
    rules.grant(*OF_STOCK, location=shop.here)
    request = requests.adjust(shop.context(), (sku, shop.here, 1), (sku, shop.there, 1))
    refused = shop.refused(methods.ADJUST, request, "NOT_AUTHORITATIVE", location=shop.there)
    assert "owner" not in refused.metadata, "nobody owns it"
    assert shop.level(sku).on_hand == 5


@pytest.mark.parametrize("command", ["adjust", "reserve"])
def test_names_are_checked_before_authority_and_authority_before_stock(rules: Rules, command: str) -> None:
    shop = rules.shop
    sku, owner = shop.item(1), Sender(shop)
    rules.grant(ADJUST, PROMISE, source_id=owner.name)
    commands: dict[str, tuple[AnyMethod, Callable[..., Any], int]] = {
        "adjust": (methods.ADJUST, requests.adjust, -9),
        "reserve": (methods.RESERVE, requests.reserve, 9),
    }
    method, make, units = commands[command]
    for line, reason in (
        (("nobody-knows-this", shop.here, units), "UNKNOWN_SKU"),
        ((sku, "nobody-knows-this", units), "UNKNOWN_LOCATION"),
        ((sku, shop.here, units), "NOT_AUTHORITATIVE"),
    ):
        shop.refused(method, make(shop.context(), line), reason)
    rules.grant(ADJUST, PROMISE)
    shop.refused(method, make(shop.context(), (sku, shop.here, units)), "INSUFFICIENT_STOCK")


def typed(shop: Shop, location: str, kind: types.LocationType.ValueType) -> None:
    """Gives a location a type."""
    locations = [catalog.Location(location=location, type=kind)]
    shop.call(methods.UPSERT_LOCATIONS, catalog.UpsertLocationsRequest(context=shop.context(), locations=locations))


def test_a_rule_for_the_location_goes_before_one_for_its_type_and_that_before_one_for_all(rules: Rules) -> None:
    shop = rules.shop
    sku = shop.item(9, there=9)
    typed(shop, shop.here, STORE)
    typed(shop, shop.there, WAREHOUSE)
    all_, of_type, of_location = (Sender(shop) for _ in range(3))
    rules.grant(*OF_STOCK, source_id=all_.name)
    rules.grant(*OF_STOCK, source_id=of_type.name, location_type=STORE, states=[ON_HAND])

    def may(sender: Sender, location: str, state: Any = ON_HAND) -> bool:
        payload = requests.adjust(sender.context(), (sku, location, 1), state=state).SerializeToString()
        try:
            shop.target.call_raw(methods.ADJUST.path, payload)
        except Refused as refused:
            check(refused, "NOT_AUTHORITATIVE", {"right": "ADJUST", "source": sender.name})
            return False
        return True

    def who(location: str, state: Any = ON_HAND) -> list[bool]:
        return [may(sender, location, state) for sender in (all_, of_type, of_location)]

    assert who(shop.here) == [False, True, False]
    assert who(shop.here, DAMAGED) == [True, False, False], "a rule hides others only for its own states"
    assert who(shop.there) == [True, False, False]
    name = rules.grant(*OF_STOCK, source_id=of_location.name, location=shop.here)
    assert who(shop.here) == [False, False, True]
    assert who(shop.here, DAMAGED) == [False, False, True]
    assert rules.owners(shop.here) == dict.fromkeys((1, 2, 3, 4), of_location.name)
    rules.delete(name)
    assert rules.owners(shop.here) == {1: of_type.name, 2: all_.name, 3: all_.name, 4: all_.name}
    typed(shop, shop.here, WAREHOUSE)
    assert who(shop.here) == [True, False, False], "a location that is of another type now has other rules"


def test_several_may_have_a_right_but_one_owns(rules: Rules) -> None:
    shop = rules.shop
    sku, wms, erp = shop.item(5), Sender(shop, types.SOURCE_KIND_WMS), Sender(shop, types.SOURCE_KIND_ERP)
    rules.grant(SET, ADJUST, source_kind=types.SOURCE_KIND_WMS)
    rules.grant(ADJUST)
    for context in (wms.context(), shop.context()):
        shop.call(methods.ADJUST, requests.adjust(context, (sku, shop.here, 1)))
    payload = requests.adjust(erp.context(), (sku, shop.here, 1)).SerializeToString()
    check(refusal_of(shop.target, methods.ADJUST.path, payload), "NOT_AUTHORITATIVE", {"owner": "WMS"})


def test_a_batch_refuses_only_the_command_without_the_right(rules: Rules) -> None:
    shop = rules.shop
    sku = shop.item(5, there=5)
    rules.grant(PROMISE, location=shop.here)
    one, two = (requests.reserve(shop.context(), (sku, place, 1)) for place in (shop.here, shop.there))
    accepted, refused = shop.submit(one, two)
    assert accepted.holds
    check_rejected(refused, "NOT_AUTHORITATIVE", right="PROMISE", location=shop.there, source="operator")


def test_a_refusal_that_is_remembered_is_told_again(rules: Rules) -> None:
    shop = rules.shop
    sku, owner = shop.item(5), Sender(shop)
    name = rules.grant(PROMISE, source_id=owner.name)
    request = requests.reserve(shop.context(), (sku, shop.here, 1))
    request.context.remember_refusal = True
    for _ in range(2):
        check(
            refusal_of(shop.target, methods.RESERVE.path, request.SerializeToString()),
            "NOT_AUTHORITATIVE",
            {"owner": owner.name},
        )
        if name:
            rules.delete(name)
            name = ""
    known = shop.outcome(request.context.idempotency_key)
    check_rejected(known.outcome, "NOT_AUTHORITATIVE", right="PROMISE", owner=owner.name)


# Profiles


@pytest.mark.parametrize("governed", [False, True])
def test_a_source_names_no_channel_and_no_location_beyond_its_profile(rules: Rules, governed: bool) -> None:
    shop = rules.shop
    sku, web, app = shop.item(9, there=9), shop.channel(), shop.channel()
    sender = Sender(shop, types.SOURCE_KIND_WEB_SHOP, channels=[web], locations=[shop.there])
    if governed:
        rules.grant(*OF_STOCK, PROMISE, source_id=sender.name)
    shop.reserve((sku, shop.there, 1), context=sender.context(channel=web))
    for context, location, expected in (
        (sender.context(channel=app), shop.there, {"channel": app, "source": sender.name}),
        (sender.context(channel=web), shop.here, {"location": shop.here, "right": "PROMISE", "source": sender.name}),
        (sender.context(), shop.here, {"location": shop.here, "right": "PROMISE", "source": sender.name}),
    ):
        payload = requests.reserve(context, (sku, location, 1)).SerializeToString()
        check(refusal_of(shop.target, methods.RESERVE.path, payload), "NOT_AUTHORITATIVE", expected)
    request = requests.set_quantity(sender.context(channel=web), (sku, shop.here, 1), (sku, shop.there, 8))
    assert list(shop.call(methods.SET_QUANTITY, request).claimed_lines) == [0]
    assert (shop.level(sku).on_hand, shop.level(sku, shop.there).on_hand) == (9, 8)
    if not governed:
        shop.reserve((sku, shop.here, 1), context=shop.context(channel=app))


def test_a_profile_counts_as_it_is_now(rules: Rules) -> None:
    shop = rules.shop
    sku, sender = shop.item(9), Sender(shop, types.SOURCE_KIND_POS, locations=[shop.there])
    payload = requests.adjust(sender.context(), (sku, shop.here, 1)).SerializeToString()
    check(refusal_of(shop.target, methods.ADJUST.path, payload), "NOT_AUTHORITATIVE", {"location": shop.here})
    shop.profile(sender.name, types.SOURCE_KIND_POS)
    shop.call(methods.ADJUST, requests.adjust(sender.context(), (sku, shop.here, 1)))
    request = methods.DELETE_SOURCE_PROFILES.request(context=shop.context())
    request.source_profiles.add(name=sender.name, version=2)
    shop.call(methods.DELETE_SOURCE_PROFILES, request)
    rules.grant(*OF_STOCK, source_kind=types.SOURCE_KIND_POS)
    payload = requests.adjust(sender.context(), (sku, shop.here, 1)).SerializeToString()
    check(refusal_of(shop.target, methods.ADJUST.path, payload), "NOT_AUTHORITATIVE", {"owner": "POS"})


def test_a_profile_is_kept_as_it_was_put_and_shown_with_its_source(shop: Shop) -> None:
    web, sender = shop.channel(), Sender(shop)
    request = methods.UPSERT_SOURCE_PROFILES.request(context=shop.context())
    profile = request.source_profiles.add(
        source_id=sender.name, kind=types.SOURCE_KIND_WEB_SHOP, channels=[web], locations=[shop.there, shop.here]
    )
    answer = shop.call(methods.UPSERT_SOURCE_PROFILES, request)
    assert list(answer.versions) == [1]
    profile.version = 1
    (event,) = shop.target.read_events(answer.receipt.sequence, 1)
    assert event.entity_put.source_profile == profile
    read = methods.GET_SOURCE_PROFILE.request(source_id=sender.name)
    assert shop.call(methods.GET_SOURCE_PROFILE, read).source_profile == profile
    page = methods.LIST_SOURCES.request(page_size=1000)
    known: list[sources.Source] = []
    while True:
        found = shop.call(methods.LIST_SOURCES, page)
        known += found.sources
        page.page_token = found.next_page_token
        if not page.page_token:
            break
    (source,) = [each for each in known if each.source_id == sender.name]
    assert (source.profile, source.sequence, source.claims) == (profile, 0, 0)


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "no kind": ({"kind": 0}, "INVALID_FIELD", "source_profiles[0].kind"),
    "no kind of this number": ({"kind": 99}, "INVALID_FIELD", "source_profiles[0].kind"),
    "a channel twice": ({"channels": ["a", "a"]}, "INVALID_FIELD", "source_profiles[0].channels[1]"),
    "a location without a name": ({"locations": [""]}, "INVALID_FIELD", "source_profiles[0].locations[0]"),
    "too many channels": (
        {"channels": [str(number) for number in range(1001)]},
        "INVALID_FIELD",
        "source_profiles[0].channels",
    ),
    "an unknown channel": ({"channels": ["nobody-knows-this"]}, "UNKNOWN_CHANNEL", ""),
    "an unknown location": ({"locations": ["nobody-knows-this"]}, "UNKNOWN_LOCATION", ""),
}


@pytest.mark.parametrize("name", BAD)
def test_a_profile_that_is_wrong_is_refused(shop: Shop, name: str) -> None:
    fields, reason, path = BAD[name]
    request = methods.UPSERT_SOURCE_PROFILES.request(context=shop.context())
    request.source_profiles.add(**({"source_id": "erp", "kind": types.SOURCE_KIND_ERP} | fields))
    refused = shop.refused(methods.UPSERT_SOURCE_PROFILES, request, reason)
    assert refused.fields == ([path] if path else [])


# Owners


def test_owners_are_listed_by_location_and_state(rules: Rules) -> None:
    shop = rules.shop
    sender = Sender(shop)
    request = policy.ListOwnersRequest(page_size=1000)
    assert not shop.call(methods.LIST_OWNERS, request).owners, "without rules for stock everybody may state everything"
    rules.grant(SET, states=[DAMAGED], source_kind=types.SOURCE_KIND_WMS)
    rules.grant(*OF_STOCK, source_id=sender.name, location=shop.here)
    rules.grant(SET, location=shop.there, states=[ON_HAND])
    assert rules.owners(shop.here) == dict.fromkeys((1, 2, 3, 4), sender.name)
    assert rules.owners(shop.there) == {1: "operator", 2: "WMS", 3: "", 4: ""}
    assert rules.owners(shop.there, unowned_only=True) == {3: "", 4: ""}
    assert rules.owners(shop.here, unowned_only=True) == {}
    unknown = policy.ListOwnersRequest(location="nobody-knows-this")
    shop.refused(methods.LIST_OWNERS, unknown, "UNKNOWN_LOCATION", location="nobody-knows-this")


@pytest.mark.parametrize("page_size", [1, 2, 7])
@pytest.mark.parametrize("unowned_only", [False, True])
def test_owners_in_pages_leave_nothing_out(rules: Rules, page_size: int, unowned_only: bool) -> None:
    shop = rules.shop
    rules.grant(SET, location=shop.here)

    def pages(size: int) -> list[policy.Owner]:
        request = policy.ListOwnersRequest(page_size=size, unowned_only=unowned_only)
        found: list[policy.Owner] = []
        while True:
            answer = shop.call(methods.LIST_OWNERS, request)
            found += answer.owners
            assert len({owner.location for owner in answer.owners}) <= size
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    # Other tests have made many locations: enough of them are looked at once.
    whole = pages(1000)
    assert [owner.location for owner in whole].count(shop.there) == 4
    assert [owner.location for owner in whole].count(shop.here) == (0 if unowned_only else 4)
    if len(whole) < 400:
        assert pages(page_size) == whole


def test_a_page_of_owners_belongs_to_its_question(rules: Rules) -> None:
    shop = rules.shop
    rules.grant(SET, location=shop.here)
    token = shop.call(methods.LIST_OWNERS, policy.ListOwnersRequest(page_size=1)).next_page_token
    assert token
    for fields in ({"unowned_only": True}, {"location": shop.here}, {"page_token": token[:-1]}):
        request = policy.ListOwnersRequest(**({"page_token": token} | fields))
        assert shop.refused(methods.LIST_OWNERS, request, "INVALID_FIELD").fields == ["page_token"]
