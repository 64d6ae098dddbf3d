"""`invengine sources` and `invengine authority`: what is sent, what is printed, and what presets do to a ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from invengine import Engine
from invengine.cli.presets import PREFIX, PRESETS, changes, without_owner
from invengine.client import (
    AuthorityRight,
    AuthorityRule,
    Channel,
    Client,
    Item,
    Location,
    LocationType,
    SourceKind,
    SourceProfile,
    StockState,
)
from invengine.errors import NotAuthoritative
from invengine.v1 import (
    admin_service_pb2,
    inventory_service_pb2,
    journal_service_pb2,
    policy_service_pb2,
    reservation_service_pb2,
    source_service_pb2,
)
from invengine.v1 import types_pb2 as types

from .scripted import CommandLine, Ran, ScriptedEngine, scripted

RECEIPT = types.Receipt(sequence=9, durable_sequence=9)
OWN = (AuthorityRight.SET, AuthorityRight.ADJUST, AuthorityRight.REPORT)
OWNER_AT = {
    LocationType.WAREHOUSE: "WMS",
    LocationType.STORE: "POS",
    LocationType.THIRD_PARTY: "THIRD_PARTY",
    LocationType.DROP_SHIP_VENDOR: "DROP_SHIP_VENDOR",
}


@pytest.fixture
def address() -> Iterator[str]:
    """A server with a ledger that knows a location of each type."""
    engine = Engine.open(json.dumps({"journal": "memory", "ledger": "main"}))
    with scripted(engine) as found:
        with Client(found) as client:
            client.upsert_items([Item("MUG")])
            client.upsert_locations([Location(kind.name.lower(), type=kind) for kind in LocationType])
            client.upsert_channels([Channel("web")])
        yield found
    engine.close()


def test_a_rule_is_added_with_every_flag(line: CommandLine) -> None:
    answer = policy_service_pb2.UpsertAuthorityRulesResponse(receipt=RECEIPT, versions=[4])
    engine = ScriptedEngine({"UpsertAuthorityRules": answer})
    flags = ["--right", "set", "--right", "adjust", "--kind", "wms", "--state", "damaged", "--type", "warehouse"]
    ran = line.ask(engine, "authority", "add", "wms", *flags, "--expected-version", "3", "--key", "k", "--json")
    assert ran.objects == [
        {
            "authority_rules": 1,
            "sequence": 9,
            "replayed": False,
            "key": "k",
            "version": 4,
            "look_alikes": [],
        }
    ]
    (sent,) = engine.request(policy_service_pb2.UpsertAuthorityRulesRequest).authority_rules
    assert sent == policy_service_pb2.AuthorityRule(
        rule="wms",
        source_kind=types.SOURCE_KIND_WMS,
        rights=[types.AUTHORITY_RIGHT_SET, types.AUTHORITY_RIGHT_ADJUST],
        states=[types.STOCK_STATE_DAMAGED],
        location_type=types.LOCATION_TYPE_WAREHOUSE,
        version=3,
    )
    for holder, field in (("--operator", "operator"), ("--source=erp", "source_id")):
        engine = ScriptedEngine({"UpsertAuthorityRules": answer})
        assert line.ask(engine, "authority", "add", "r", "--right", "promise", holder, "--location", "berlin").code == 0
        (sent,) = engine.request(policy_service_pb2.UpsertAuthorityRulesRequest).authority_rules
        assert getattr(sent, field)
        assert (sent.location, sent.location_type, sent.source_kind) == ("berlin", 0, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["add", "r", "--kind", "wms"], "--right"),
        (["add", "r", "--right", "own", "--kind", "wms"], "--right"),
        (["add", "r", "--right", "set", "--kind", "shop"], "--kind"),
        (["add", "r", "--right", "set"], "exactly one of --source, --kind and --operator"),
        (["add", "r", "--right", "set", "--kind", "wms", "--operator"], "exactly one of"),
        (["add", "r", "--right", "set", "--operator", "--location", "a", "--type", "store"], "one of them or neither"),
        (["preset", "closed"], "erp-wms-pos"),
    ],
)
def test_a_rule_written_wrongly_is_a_mistake(line: CommandLine, arguments: list[str], words: str) -> None:
    ran = line.run("authority", *arguments)
    assert (ran.code, words in ran.err) == (2, True), ran


def test_a_profile_is_added_and_shown(line: CommandLine) -> None:
    answer = source_service_pb2.UpsertSourceProfilesResponse(receipt=RECEIPT, versions=[1])
    engine = ScriptedEngine({"UpsertSourceProfiles": answer})
    flags = ["--kind", "order_management", "--channel", "web", "--channel", "app", "--location", "berlin"]
    assert line.ask(engine, "sources", "profile", "add", "oms", *flags).code == 0
    (sent,) = engine.request(source_service_pb2.UpsertSourceProfilesRequest).source_profiles
    assert (sent.source_id, sent.kind) == ("oms", types.SOURCE_KIND_ORDER_MANAGEMENT)
    assert (list(sent.channels), list(sent.locations)) == (["web", "app"], ["berlin"])
    shown = source_service_pb2.GetSourceProfileResponse(source_profile=sent)
    rows = line.ask(ScriptedEngine({"GetSourceProfile": shown}), "sources", "profile", "show", "oms").out.splitlines()
    assert [row.split() for row in rows][1] == ["kind", "order_management"]


def test_sources_and_claims_are_listed(line: CommandLine) -> None:
    known = [
        source_service_pb2.Source(
            source_id="wms",
            epoch=2,
            sequence=31,
            claims=1,
            profile=source_service_pb2.SourceProfile(source_id="wms", kind=types.SOURCE_KIND_WMS, version=1),
        ),
        source_service_pb2.Source(source_id="old", epoch=1),
    ]
    answer = source_service_pb2.ListSourcesResponse(sources=known)
    rows = line.ask(ScriptedEngine({"ListSources": answer}), "sources", "list").out.splitlines()
    assert [row.split() for row in rows[1:]] == [
        ["wms", "wms", "2", "31", "1", "0", "-", "0", "-", "0"],
        ["old", "-", "1", "0", "0", "0", "-", "0", "-", "0"],
    ]
    (first, _) = line.ask(ScriptedEngine({"ListSources": answer}), "sources", "list", "--json").objects
    assert (first["profile"]["kind"], first["claims"]) == ("wms", 1)
    claim = source_service_pb2.Claim(
        source_id="erp",
        sku="MUG",
        location="berlin",
        state=types.STOCK_STATE_ON_HAND,
        quantity=7,
        ledger_quantity=9,
        reason=types.CLAIM_REASON_AS_OF_STALE,
        sequence=12,
    )
    claim.time.FromJsonString("2026-11-27T09:30:00Z")
    engine = ScriptedEngine({"ListClaims": source_service_pb2.ListClaimsResponse(claims=[claim])})
    ran = line.ask(engine, "sources", "claims", "--source", "erp", "--sku", "MUG", "--location", "berlin")
    asked = engine.request(source_service_pb2.ListClaimsRequest)
    assert (asked.source_id, asked.sku, asked.location) == ("erp", "MUG", "berlin")
    assert ran.out.splitlines()[1].split() == [
        *("erp", "MUG", "berlin", "on_hand", "7", "9", "-2", "as_of_stale", "12", "2026-11-27T09:30:00.000Z", "-")
    ]


def test_owners_are_listed(line: CommandLine) -> None:
    owned = policy_service_pb2.Owner(location="berlin", state=types.STOCK_STATE_DAMAGED)
    engine = ScriptedEngine({"ListOwners": policy_service_pb2.ListOwnersResponse(owners=[owned])})
    ran = line.ask(engine, "authority", "owners", "--unowned", "--location", "berlin")
    assert ran.out.splitlines()[1].split() == ["berlin", "damaged", "-"]
    asked = engine.request(policy_service_pb2.ListOwnersRequest)
    assert (asked.unowned_only, asked.location) == (True, "berlin")


def test_what_is_only_a_claim_is_said(line: CommandLine) -> None:
    levels = [types.InventoryLevel(sku=sku, location="berlin", on_hand=3, available=3) for sku in ("MUG", "CUP")]
    answer = inventory_service_pb2.CountResponse(receipt=RECEIPT, levels=levels, claimed_lines=[1])
    ran = line.ask(ScriptedEngine({"Count": answer}), "stock", "count", "MUG@berlin=4", "CUP@berlin=4")
    (said,) = [row for row in ran.out.splitlines() if row.startswith("claim: ")]
    assert said.startswith(
        "claim: CUP@berlin is only recorded, nothing was changed: by the rules of authority another "
    )
    (found,) = line.ask(ScriptedEngine({"Count": answer}), "stock", "count", "MUG@berlin=4", "--json").objects
    assert found["claimed_lines"] == [1]


def test_the_outcome_of_a_claim_and_of_an_echo_is_told(line: CommandLine) -> None:
    def known(**fields: object) -> ScriptedEngine:
        outcome = reservation_service_pb2.Outcome(**fields)  # type: ignore[arg-type]
        return ScriptedEngine(
            {"GetOutcome": reservation_service_pb2.GetOutcomeResponse(known=True, outcome=outcome, sequence=9)}
        )

    level = types.InventoryLevel(sku="MUG", location="berlin")
    ran = line.ask(known(receipt=RECEIPT, levels=[level, level], claimed_lines=[0, 1]), "outcome", "k")
    assert "accepted: lines 1, 2 are only recorded as claims" in ran.out
    echo = types.Receipt(sequence=9, durable_sequence=9, echo=True)
    assert "an echo of a message that was applied already" in line.ask(known(receipt=echo), "outcome", "k").out
    (found,) = line.ask(known(receipt=echo), "outcome", "k", "--json").objects
    assert found["receipt"]["echo"] is True


def test_an_event_of_a_profile_shows_both_kinds(line: CommandLine) -> None:
    event = journal_service_pb2.Event(sequence=1, writer_epoch=1)
    profile = source_service_pb2.SourceProfile(source_id="wms", kind=types.SOURCE_KIND_WMS, version=2)
    event.entity_put.source_profile.CopyFrom(profile)
    info = admin_service_pb2.GetServerInfoResponse(durable_sequence=1, first_sequence=1)
    (shown,) = line.ask(ScriptedEngine({"GetServerInfo": info}, [event]), "events", "tail").out.splitlines()
    expected = {"entity_put", "kind=source_profile", "source_kind=SOURCE_KIND_WMS", "source_id=wms", "version=2"}
    assert set(shown.split()) >= expected


def test_a_preset_is_put_in_one_step_and_once(line: CommandLine, address: str) -> None:
    def run(*arguments: str) -> Ran:
        ran = line.run("authority", "preset", "erp-wms-pos", *arguments, "--target", address, "--json")
        assert ran.code == 0, ran.err
        return ran

    with Client(address) as client:
        (planned,) = run("--dry-run").objects
        assert list(client.list_authority_rules()) == []
        assert planned["locations_without_owner"] == ["virtual"]
        (done,) = run("--key", "k").objects
        assert [rule["rule"] for rule in done["put"]] == [rule["rule"] for rule in planned["put"]]
        assert {rule.rule for rule in client.list_authority_rules()} == {rule["rule"] for rule in done["put"]}
        known = client.get_outcome("k/put").outcome
        assert known is not None
        assert known.versions == (1,) * len(done["put"])
        (again,) = run().objects
        assert (again["put"], again["deleted"], "sequence" in again) == ([], [], False)
        assert {rule.version for rule in client.list_authority_rules()} == {1}
        for place in client.list_locations():
            owners = {each.owner for each in client.list_owners(location=place.location)}
            assert place.type is not None
            assert owners == {OWNER_AT.get(place.type, "")}


def test_with_a_preset_the_operator_corrects_and_promises_but_does_not_state(line: CommandLine, address: str) -> None:
    assert line.run("authority", "preset", "erp-wms-pos", "--target", address).code == 0
    with Client(address) as client:
        client.upsert_source_profiles([SourceProfile("wms-1", SourceKind.WMS), SourceProfile("erp", SourceKind.ERP)])
        assert client.set_quantity([("MUG", "warehouse", 9)]).claimed_lines == (0,)
        with client.source("wms-1") as wms, client.source("erp") as erp:
            assert wms.set_quantity([("MUG", "warehouse", 9)]).claimed_lines == ()
            assert erp.set_quantity([("MUG", "warehouse", 8)]).claimed_lines == (0,)
            with pytest.raises(NotAuthoritative) as refused:
                erp.adjust([("MUG", "warehouse", -1)])
            assert (refused.value.right, refused.value.owner) == ("ADJUST", "WMS")
        client.adjust([("MUG", "warehouse", -1)])
        client.fulfill(client.reserve([("MUG", "warehouse", 2)]))
        assert client.get_level("MUG", "warehouse").on_hand == 6
        with pytest.raises(NotAuthoritative):
            client.receive([("MUG", "virtual", 1)])


def test_another_preset_takes_the_place_of_the_first(line: CommandLine, address: str) -> None:
    with Client(address) as client:
        for name in ("erp-wms-pos", "single-warehouse", "erp-wms-pos", "open", "single-warehouse"):
            assert line.run("authority", "preset", name, "--target", address).code == 0
            assert {rule.rule for rule in client.list_authority_rules()} == {rule.rule for rule in PRESETS[name]}
        assert {each.owner for each in client.list_owners()} == {"WMS"}


def test_a_preset_does_not_mix_with_other_rules_unasked(line: CommandLine, address: str) -> None:
    own = AuthorityRule("own", rights=OWN, operator=True, location_type=LocationType.VIRTUAL)
    with Client(address) as client:
        client.upsert_authority_rules([own])
        ran = line.run("authority", "preset", "erp-wms-pos", "--target", address)
        assert (ran.code, '"own"' in ran.err, "--keep-others" in ran.err) == (2, True, True)
        assert [rule.rule for rule in client.list_authority_rules()] == ["own"]
        ran = line.run("authority", "preset", "erp-wms-pos", "--dry-run", "--target", address)
        assert (ran.code, 'would stay beside it: "own"' in ran.out) == (0, True)
        ran = line.run("authority", "preset", "erp-wms-pos", "--keep-others", "--target", address)
        assert (ran.code, 'stay beside it: "own"' in ran.out, "warning" in ran.out) == (0, True, False)
        assert len(list(client.list_authority_rules())) == len(PRESETS["erp-wms-pos"]) + 1
        assert line.run("authority", "preset", "open", "--keep-others", "--target", address).code == 0
        assert [rule.rule for rule in client.list_authority_rules()] == ["own"]
        ran = line.run("authority", "preset", "open", "--target", address)
        assert (ran.code, 'deleted: "own": the operator may set, adjust, report' in ran.out) == (0, True)
        assert list(client.list_authority_rules()) == []
        assert "nothing to change" in line.run("authority", "preset", "open", "--target", address).out


def test_a_rule_of_a_preset_that_was_changed_is_put_again(line: CommandLine, address: str) -> None:
    assert line.run("authority", "preset", "single-warehouse", "--target", address).code == 0
    with Client(address) as client:
        first = PRESETS["single-warehouse"][0]
        client.upsert_authority_rules([AuthorityRule(first.rule, rights=OWN[:1], source_kind=SourceKind.ERP)])
        (done,) = line.run("authority", "preset", "single-warehouse", "--target", address, "--json").objects
        assert [rule["rule"] for rule in done["put"]] == [first.rule]
        assert client.get_authority_rule(first.rule).source_kind is SourceKind.WMS


def test_status_warns_of_states_without_an_owner(line: CommandLine, address: str) -> None:
    status = ["status", "--target", address, "--metrics-address", ""]
    assert "warning" not in line.run(*status).out
    with Client(address) as client:
        client.set_quantity([("MUG", "warehouse", 9)])
        rule = AuthorityRule("wms", rights=OWN, source_kind=SourceKind.WMS, location="warehouse")
        client.upsert_authority_rules([rule])
        with client.source("erp") as erp:
            erp.set_quantity([("MUG", "store", 8)])
    (warning,) = [row for row in line.run(*status).out.splitlines() if row.startswith("warning: ")]
    assert 'nobody owns on_hand at "store", damaged at "store"' in warning
    assert "and 11 more" in warning
    (facts,) = line.run(*status, "--json").objects
    assert (facts["sources"], facts["claims_of_sources"], facts["states_without_owner"]) == (1, 1, 16)


def test_the_rules_of_presets_have_names_of_their_own() -> None:
    for rules in PRESETS.values():
        names = [rule.rule for rule in rules]
        assert len(set(names)) == len(names)
        assert all(name.startswith(PREFIX) and len(name) <= 128 for name in names)
        put, gone = changes("open", rules)
        assert (put, gone) == ([], list(rules))


def test_a_location_lacks_an_owner_if_one_of_its_states_does() -> None:
    berlin, lyon = Location("berlin", type=LocationType.STORE), Location("lyon")
    whole = AuthorityRule("a", rights=OWN, operator=True, location_type=LocationType.STORE)
    part = AuthorityRule("b", rights=OWN, operator=True, states=(StockState.DAMAGED,), location="lyon")
    promise = AuthorityRule("c", rights=(AuthorityRight.PROMISE,), operator=True)
    assert without_owner([promise], [berlin, lyon]) == []
    assert without_owner([whole, promise], [berlin, lyon]) == ["lyon"]
    assert without_owner([whole, part], [berlin, lyon]) == ["lyon"]
    assert without_owner([AuthorityRule("d", rights=OWN, operator=True)], [berlin, lyon]) == []
