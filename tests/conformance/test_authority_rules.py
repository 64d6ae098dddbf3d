"""Rules of authority as entities: what they must say, what they may not contradict, and what they refer to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from invengine.v1 import catalog_service_pb2 as catalog
from invengine.v1 import policy_service_pb2 as policy
from invengine.v1 import types_pb2 as types
from invengine.v1.policy_service_pb2 import AuthorityRule

from . import methods, requests
from .own import own_target
from .rules import ADJUST, DAMAGED, OF_STOCK, ON_HAND, ORDER, PROMISE, REPORT, SET, Rules, Sender
from .shop import Shop
from .targets import TARGETS

NOBODY = "nobody-knows-this"
PUT = methods.UPSERT_AUTHORITY_RULES
STORE, WMS = types.LOCATION_TYPE_STORE, types.SOURCE_KIND_WMS


def test_a_rule_is_kept_as_it_was_put_with_its_version(rules: Rules) -> None:
    shop = rules.shop
    source = shop.source().source_id
    made = [
        rules.rule(SET, REPORT, ADJUST, source_id=source, states=[DAMAGED, ON_HAND], location=shop.here),
        rules.rule(PROMISE, ORDER, operator=True),
        rules.rule(ADJUST, source_kind=WMS, location_type=STORE),
    ]
    answer = shop.call(PUT, rules.request(*made))
    assert list(answer.versions) == [1, 1, 1]
    for rule in made:
        rule.version = 1
        assert rules.read(rule.rule) == rule
    events = shop.target.read_events(answer.receipt.sequence - 2, 3)
    assert [event.entity_put.authority_rule for event in events] == made
    listed = shop.call(methods.LIST_AUTHORITY_RULES, methods.LIST_AUTHORITY_RULES.request()).authority_rules
    assert [rule for rule in listed if rule.rule.startswith(shop.tag)] == made


HOLDERS = ("source_id", "source_kind", "operator")
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no holder": ({"operator": False}, ""),
    "a source and a kind": ({"source_id": "erp", "source_kind": WMS, "operator": False}, ""),
    "a source and the operator": ({"source_id": "erp", "operator": True}, ""),
    "three holders": ({"source_id": "erp", "source_kind": WMS, "operator": True}, ""),
    "no kind of this number": ({"source_kind": 99, "operator": False}, ".source_kind"),
    "no right": ({"rights": []}, ".rights"),
    "the same right twice": ({"rights": [SET, REPORT, SET]}, ".rights[2]"),
    "a right that says nothing": ({"rights": [SET, 0]}, ".rights[1]"),
    "no right of this number": ({"rights": [6]}, ".rights[0]"),
    "states without a right to stock": ({"rights": [PROMISE, ORDER], "states": [ON_HAND]}, ".states"),
    "the same state twice": ({"states": [DAMAGED, DAMAGED]}, ".states[1]"),
    "a state that says nothing": ({"states": [0]}, ".states[0]"),
    "no state of this number": ({"states": [ON_HAND, 9]}, ".states[1]"),
    "a location and a type": ({"location": "here", "location_type": STORE}, ".location_type"),
    "no type of this number": ({"location_type": 9}, ".location_type"),
    "a negative version": ({"version": -1}, ".version"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_rule_that_says_nothing_clear_is_refused_and_so_is_all_of_its_request(rules: Rules, name: str) -> None:
    fields, path = BAD[name]
    whole: dict[str, Any] = {"rule": "bad", "rights": [SET], "operator": True} | fields
    good, bad = rules.rule(ORDER), AuthorityRule(**whole)
    refused = rules.shop.refused(PUT, rules.request(good, bad), "INVALID_FIELD")
    assert f"authority_rules[1]{path}" in refused.fields, refused
    rules.shop.refused(
        methods.GET_AUTHORITY_RULE, policy.GetAuthorityRuleRequest(rule=good.rule), "ENTITY_NOT_FOUND", name=good.rule
    )


def test_a_rule_names_what_exists(rules: Rules) -> None:
    shop = rules.shop
    unregistered = shop.profile()
    for source in (NOBODY, unregistered):
        shop.refused(PUT, rules.request(rules.rule(SET, source_id=source)), "UNKNOWN_SOURCE", source=source)
    shop.refused(PUT, rules.request(rules.rule(SET, location=NOBODY)), "UNKNOWN_LOCATION", location=NOBODY)


def test_two_owners_of_one_state_at_one_place_are_refused(rules: Rules) -> None:
    shop = rules.shop
    sender = Sender(shop)
    for place in ({}, {"location_type": STORE}, {"location": shop.here}):
        first = rules.grant(SET, states=[DAMAGED, ON_HAND], **place)
        second = rules.rule(SET, ADJUST, source_id=sender.name, states=[DAMAGED], **place)
        facts: dict[str, Any] = {"kind": "authority_rule", "name": second.rule, "conflicts_with": first}
        shop.refused(PUT, rules.request(second), "RULE_CONFLICT", state="DAMAGED", **facts)
        whole = rules.rule(*OF_STOCK, source_id=sender.name, **place)
        shop.refused(PUT, rules.request(whole), "RULE_CONFLICT", name=whole.rule, conflicts_with=first)
    one, two = rules.rule(SET, location=shop.there), rules.rule(SET, location=shop.there)
    shop.refused(PUT, rules.request(one, two), "RULE_CONFLICT", name=two.rule, conflicts_with=one.rule)


def test_what_does_not_contradict_is_put(rules: Rules) -> None:
    shop = rules.shop
    sender = Sender(shop)
    rules.grant(SET, states=[DAMAGED])
    rules.grant(SET, states=[ON_HAND], source_id=sender.name)  # another state
    rules.grant(SET, location=shop.here, source_id=sender.name)  # another rank
    rules.grant(SET, location=shop.there)  # another place
    for _ in range(2):
        rules.grant(ADJUST, REPORT, PROMISE, ORDER, source_id=sender.name)  # not about owning
        rules.grant(ADJUST, REPORT, PROMISE, ORDER)


def test_an_owner_is_exchanged_in_one_request(rules: Rules) -> None:
    shop = rules.shop
    sender = Sender(shop)
    first, second = rules.rule(SET, location=shop.here), rules.rule(SET, source_id=sender.name, location=shop.there)
    rules.put(first, second)
    assert (rules.owners(shop.here)[ON_HAND], rules.owners(shop.there)[ON_HAND]) == ("operator", sender.name)
    first.location, second.location = second.location, first.location
    assert rules.put(second, first) == [2, 2]
    assert (rules.owners(shop.here)[ON_HAND], rules.owners(shop.there)[ON_HAND]) == (sender.name, "operator")


def test_a_version_lets_no_change_be_lost(rules: Rules) -> None:
    shop = rules.shop
    rule = rules.rule(ORDER, version=0)
    assert rules.put(rule) == [1]
    facts: dict[str, Any] = {"kind": "authority_rule", "name": rule.rule}
    shop.refused(PUT, rules.request(rule), "STALE_VERSION", expected=0, actual=1, **facts)
    rule.version = 1
    assert rules.put(rule) == [2]
    delete = policy.DeleteAuthorityRulesRequest(context=shop.context())
    delete.authority_rules.add(name=rule.rule, version=1)
    shop.refused(methods.DELETE_AUTHORITY_RULES, delete, "STALE_VERSION", expected=1, actual=2, **facts)
    delete.context.CopyFrom(shop.context())
    delete.authority_rules[0].version = 2
    shop.call(methods.DELETE_AUTHORITY_RULES, delete)
    shop.refused(
        methods.GET_AUTHORITY_RULE, policy.GetAuthorityRuleRequest(rule=rule.rule), "ENTITY_NOT_FOUND", **facts
    )
    rule.version = 0
    assert rules.put(rule) == [4]


def test_a_location_of_a_rule_or_a_profile_is_in_use(rules: Rules) -> None:
    shop = rules.shop

    def place() -> str:
        name = shop.name("place")
        request = catalog.UpsertLocationsRequest(context=shop.context(), locations=[catalog.Location(location=name)])
        shop.call(methods.UPSERT_LOCATIONS, request)
        return name

    made: tuple[Callable[[str], str], ...] = (
        lambda name: f"authority_rule {rules.grant(ORDER, location=name)}",
        lambda name: f"source_profile {shop.profile(locations=[shop.here, name])}",
    )
    for make in made:
        name = place()
        used_by = make(name)
        request = catalog.DeleteLocationsRequest(context=shop.context(), locations=[name])
        shop.refused(methods.DELETE_LOCATIONS, request, "ENTITY_IN_USE", kind="location", name=name, used_by=used_by)


def test_rules_hold_from_their_command_on_and_end_with_their_deletion(rules: Rules) -> None:
    shop = rules.shop
    sku, sender = shop.item(5), Sender(shop)
    reserve = requests.reserve(shop.context(), (sku, shop.here, 1))
    name = rules.grant(PROMISE, source_id=sender.name)
    shop.refused(methods.RESERVE, reserve, "NOT_AUTHORITATIVE", right="PROMISE")
    rules.delete(name)
    shop.reserve((sku, shop.here, 1))


def test_the_rules_of_one_part_leave_the_others_open(rules: Rules) -> None:
    """Whoever says who may promise has not said who may change the stock."""
    shop = rules.shop
    sku, sender = shop.item(5), Sender(shop)
    rules.grant(PROMISE, ORDER, source_id=sender.name)
    shop.call(methods.ADJUST, requests.adjust(shop.context(), (sku, shop.here, 1)))
    assert not shop.call(methods.SET_QUANTITY, requests.set_quantity(shop.context(), (sku, shop.here, 4))).claimed_lines
    assert rules.owners(shop.here) == {}
    rules.grant(ADJUST, source_id=sender.name)
    request = requests.receive(shop.context(), (sku, shop.here, 1))
    shop.refused(methods.RECEIVE, request, "NOT_AUTHORITATIVE", right="REPORT")
    assert set(rules.owners(shop.here).values()) == {""}


@pytest.mark.parametrize("kind", TARGETS)
def test_rules_profiles_and_claims_survive_a_restart(kind: str, tmp_path: Path) -> None:
    with own_target(kind, tmp_path) as target:
        shop = Shop(target)
        rules, sku, erp = Rules(shop), shop.item(3), Sender(shop, types.SOURCE_KIND_ERP)
        name = rules.grant(*OF_STOCK)
        shop.call(methods.COUNT, requests.count(erp.context(), (sku, shop.here, 4)))
        before = (rules.read(name), shop.call(methods.LIST_SOURCES, methods.LIST_SOURCES.request()))
        claims = shop.call(methods.LIST_CLAIMS, methods.LIST_CLAIMS.request())
        digest = target.digest()
    with own_target(kind, tmp_path) as target:
        assert target.digest()[0] == digest[0]
        shop.target = target
        assert (rules.read(name), shop.call(methods.LIST_SOURCES, methods.LIST_SOURCES.request())) == before
        assert shop.call(methods.LIST_CLAIMS, methods.LIST_CLAIMS.request()) == claims
        assert list(shop.call(methods.COUNT, requests.count(erp.context(), (sku, shop.here, 5))).claimed_lines) == [0]
