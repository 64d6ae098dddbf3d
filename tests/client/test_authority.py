"""Rules of authority, profiles, claims and echoes: what is sent, and what comes back."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, assert_type

import pytest
from scripted_peer import Peer

from invengine.client import (
    AuthorityRight,
    AuthorityRule,
    Changes,
    Claim,
    ClaimReason,
    Client,
    Event,
    Hold,
    Item,
    LocationType,
    Owner,
    Position,
    Receipt,
    Source,
    SourceKind,
    SourceProfile,
    StockChanges,
    StockFold,
    StockState,
    Upserted,
    commands,
    results,
)
from invengine.client.cloudevents import cloud_event
from invengine.errors import InvalidArgument
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import journal_service_pb2 as journal
from invengine.v1 import policy_service_pb2 as policy
from invengine.v1 import reservation_service_pb2 as reservation
from invengine.v1 import source_service_pb2 as source
from invengine.v1 import types_pb2 as types

POLICY = "/invengine.v1.PolicyService/"
SOURCE = "/invengine.v1.SourceService/"
RECEIPT = types.Receipt(sequence=7, durable_sequence=7)
ECHO = types.Receipt(sequence=7, durable_sequence=7, echo=True)
STAMP = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
LINES = [("mug", "wh-1", 2)]
SETS = types.AUTHORITY_RIGHT_SET
RULES: list[tuple[AuthorityRule, policy.AuthorityRule]] = [
    (
        AuthorityRule(
            "wms", rights=(AuthorityRight.SET, AuthorityRight.REPORT), source_id="wms-1", location="wh-1", version=3
        ),
        policy.AuthorityRule(
            rule="wms", source_id="wms-1", rights=[SETS, types.AUTHORITY_RIGHT_REPORT], location="wh-1", version=3
        ),
    ),
    (
        AuthorityRule(
            "kinds",
            rights=(AuthorityRight.ADJUST,),
            source_kind=SourceKind.POS,
            states=(StockState.DAMAGED, StockState.ON_HAND),
            location_type=LocationType.STORE,
            version=0,
        ),
        policy.AuthorityRule(
            rule="kinds",
            source_kind=types.SOURCE_KIND_POS,
            rights=[types.AUTHORITY_RIGHT_ADJUST],
            states=[types.STOCK_STATE_DAMAGED, types.STOCK_STATE_ON_HAND],
            location_type=types.LOCATION_TYPE_STORE,
            version=0,
        ),
    ),
    (
        AuthorityRule("operator", rights=(AuthorityRight.PROMISE,), operator=True, version=1),
        policy.AuthorityRule(rule="operator", operator=True, rights=[types.AUTHORITY_RIGHT_PROMISE], version=1),
    ),
]
PROFILE = SourceProfile("erp", SourceKind.ERP, ("web",), ("wh-1", "wh-2"), 2)
PROFILE_MESSAGE = source.SourceProfile(
    source_id="erp", kind=types.SOURCE_KIND_ERP, channels=["web"], locations=["wh-1", "wh-2"], version=2
)


def always(answer: Any) -> Callable[[bytes], bytes]:
    return lambda body: bytes(answer.SerializeToString())


@pytest.mark.parametrize(("rule", "message"), RULES)
def test_a_rule_is_read_as_it_is_put(peer: Peer, rule: AuthorityRule, message: policy.AuthorityRule) -> None:
    assert commands.upsert_authority_rules([rule]).request.authority_rules[0] == message
    peer.behaviours[POLICY + "GetAuthorityRule"] = always(policy.GetAuthorityRuleResponse(authority_rule=message))
    page = policy.ListAuthorityRulesResponse(authority_rules=[message])
    peer.behaviours[POLICY + "ListAuthorityRules"] = always(page)
    with Client(peer.target) as client:
        assert assert_type(client.get_authority_rule(rule.rule), AuthorityRule) == rule
        assert list(assert_type(client.list_authority_rules(), Iterator[AuthorityRule])) == [rule]
    if rule.version:
        (sent,) = commands.delete_authority_rules([rule]).request.authority_rules
        assert (sent.name, sent.version) == (rule.rule, rule.version)


def test_a_profile_is_read_as_it_is_put(peer: Peer) -> None:
    assert commands.upsert_source_profiles([PROFILE]).request.source_profiles[0] == PROFILE_MESSAGE
    peer.behaviours[SOURCE + "GetSourceProfile"] = always(
        source.GetSourceProfileResponse(source_profile=PROFILE_MESSAGE)
    )
    with Client(peer.target) as client:
        assert assert_type(client.get_source_profile("erp"), SourceProfile) == PROFILE


def test_what_only_a_newer_server_knows_is_unspecified_and_cannot_be_sent_back(peer: Peer) -> None:
    profile = source.SourceProfile(source_id="erp")
    rule = policy.AuthorityRule(rule="r", rights=[SETS])
    profile.MergeFromString(b"\x10\x63")  # kind: 99
    rule.MergeFromString(b"\x18\x63\x28\x63\x30\x63")  # source_kind, a right and a state: 99
    peer.behaviours[SOURCE + "GetSourceProfile"] = always(source.GetSourceProfileResponse(source_profile=profile))
    peer.behaviours[POLICY + "GetAuthorityRule"] = always(policy.GetAuthorityRuleResponse(authority_rule=rule))
    with Client(peer.target) as client:
        of_source, of_rule = client.get_source_profile("erp"), client.get_authority_rule("r")
    assert of_source.kind is SourceKind.UNSPECIFIED
    assert of_rule.source_kind is SourceKind.UNSPECIFIED
    assert of_rule.rights == (AuthorityRight.SET, AuthorityRight.UNSPECIFIED)
    with pytest.raises(InvalidArgument, match="a known SourceKind"):
        commands.upsert_source_profiles([of_source])
    with pytest.raises(InvalidArgument, match="a known AuthorityRight"):
        commands.upsert_authority_rules([AuthorityRule("r", rights=of_rule.rights, operator=True)])
    with pytest.raises(InvalidArgument, match="a known StockState"):
        commands.upsert_authority_rules(
            [AuthorityRule("r", rights=(AuthorityRight.SET,), operator=True, states=of_rule.states)]
        )


SET = (AuthorityRight.SET,)
BAD: list[tuple[Any, str]] = [
    (AuthorityRule("r", rights=AuthorityRight.SET), "rules[0].rights"),  # type: ignore[arg-type]
    (AuthorityRule("r", rights=("SET",)), "rules[0].rights[0]"),  # type: ignore[arg-type]
    (AuthorityRule("r", rights=(1,)), "rules[0].rights[0]"),  # type: ignore[arg-type]
    (AuthorityRule("r", rights=SET, source_kind="WMS"), "rules[0].source_kind"),  # type: ignore[arg-type]
    (AuthorityRule("r", rights=SET, source_id=None), "rules[0].source_id"),  # type: ignore[arg-type]
    (AuthorityRule("r", rights=SET, operator=1), "rules[0].operator"),  # type: ignore[arg-type]
    (AuthorityRule("r", rights=SET, states=(StockState.DAMAGED, 2)), "rules[0].states[1]"),  # type: ignore[arg-type]
    (AuthorityRule("r", rights=SET, location_type=SourceKind.POS), "rules[0].location_type"),  # type: ignore[arg-type]
    (PROFILE, "rules[0]"),
]


@pytest.mark.parametrize(("rule", "field"), BAD)
def test_a_bad_rule_is_named_and_nothing_is_sent(rule: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        commands.upsert_authority_rules([rule])
    assert caught.value.violations[0].field == field


def test_sources_claims_and_owners_are_listed(peer: Peer) -> None:
    known = [
        source.Source(source_id="erp", epoch=2, sequence=5, profile=PROFILE_MESSAGE, claims=3),
        source.Source(source_id="till", epoch=1),
    ]
    claim = source.Claim(
        source_id="erp",
        sku="mug",
        location="wh-1",
        state=types.STOCK_STATE_DAMAGED,
        quantity=7,
        ledger_quantity=9,
        reason=types.CLAIM_REASON_NOT_OWNER,
        sequence=31,
    )
    claim.time.FromDatetime(STAMP)
    owner = policy.Owner(location="wh-1", state=types.STOCK_STATE_ON_HAND, owner="WMS")
    peer.behaviours[SOURCE + "ListSources"] = always(source.ListSourcesResponse(sources=known))
    peer.behaviours[SOURCE + "ListClaims"] = always(source.ListClaimsResponse(claims=[claim]))
    peer.behaviours[POLICY + "ListOwners"] = always(policy.ListOwnersResponse(owners=[owner]))
    with Client(peer.target) as client:
        assert list(assert_type(client.list_sources(), Iterator[Source])) == [
            Source("erp", 2, 5, PROFILE, 3),
            Source("till", 1, 0, None, 0),
        ]
        (found,) = assert_type(client.list_claims(source_id="erp", sku="mug", location="wh-1"), Iterator[Claim])
        (owned,) = assert_type(client.list_owners(location="wh-1", unowned_only=True), Iterator[Owner])
    damaged, reason = StockState.DAMAGED, ClaimReason.NOT_OWNER
    assert found == Claim("erp", "mug", "wh-1", damaged, 7, 9, reason, 31, STAMP, None)
    assert found.difference == -2
    assert owned == Owner("wh-1", StockState.ON_HAND, "WMS")
    of_claims = source.ListClaimsRequest.FromString(peer.requests[1][1])
    assert (of_claims.source_id, of_claims.sku, of_claims.location) == ("erp", "mug", "wh-1")
    of_owners = policy.ListOwnersRequest.FromString(peer.requests[2][1])
    assert (of_owners.location, of_owners.unowned_only) == ("wh-1", True)


@pytest.mark.parametrize("ask", [{"source_id": ""}, {"sku": ""}, {"location": ""}])
def test_an_empty_filter_of_claims_is_refused(ask: dict[str, Any]) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(InvalidArgument, match=next(iter(ask))):
        client.list_claims(**ask)


def test_the_origin_of_a_command_is_sent() -> None:
    origin = Position("wms", 3, 17)
    expected = types.SourcePosition(source_id="wms", epoch=3, sequence=17)
    for draft in (
        commands.count(LINES, origin=origin),
        commands.reserve(LINES, origin=origin),
        commands.upsert_items([Item("mug")], origin=origin),
    ):
        assert draft.request.context.origin == expected
        assert not draft.request.context.HasField("source")
    for bad, field in (("wms:3:17", "origin"), (Position("", 3, 17), "origin.source_id")):
        with pytest.raises(InvalidArgument) as caught:
            commands.count(LINES, origin=bad)  # type: ignore[arg-type]
        assert caught.value.violations[0].field == field


ANSWERS: dict[str, tuple[Callable[[Client], Any], Any]] = {
    "InventoryService/Count": (lambda client: client.count(LINES), inventory.CountResponse(receipt=ECHO)),
    "InventoryService/ShipTransfer": (
        lambda client: client.ship_transfer("T", [("mug", 1)], from_location="a", to_location="b"),
        inventory.ShipTransferResponse(receipt=ECHO),
    ),
    "ReservationService/Reserve": (lambda client: client.reserve(LINES), reservation.ReserveResponse(receipt=ECHO)),
    "ReservationService/Release": (
        lambda client: client.release("r-1"),
        reservation.ReleaseResponse(receipt=ECHO),
    ),
    "PolicyService/DeleteAuthorityRules": (
        lambda client: client.delete_authority_rules(["r"]),
        policy.DeleteAuthorityRulesResponse(receipt=ECHO),
    ),
}


@pytest.mark.parametrize("method", ANSWERS)
def test_an_echo_is_seen_in_the_receipt_and_has_nothing_else(peer: Peer, method: str) -> None:
    ask, answer = ANSWERS[method]
    peer.behaviours["/invengine.v1." + method] = always(answer)
    with Client(peer.target) as client:
        found = ask(client)
    receipt = found if isinstance(found, Receipt) else found.receipt
    assert receipt.echo
    assert receipt == Receipt(7, 7, False, True)
    assert pickle.loads(pickle.dumps(receipt)).echo
    if isinstance(found, Hold):
        assert (found.reservation_id, found.lines) == ("", ())
    if isinstance(found, Changes):
        assert found.holds == ()
    if isinstance(found, StockChanges):
        assert (found.levels, found.claimed_lines) == ((), ())


def test_an_echo_in_a_batch_has_no_hold(peer: Peer) -> None:
    answer = reservation.SubmitResponse(outcomes=[reservation.Outcome(receipt=ECHO)])
    peer.behaviours["/invengine.v1.ReservationService/Submit"] = always(answer)
    draft = commands.reserve(LINES)
    with Client(peer.target) as client:
        (outcome,) = client.submit([draft])
    assert outcome.receipt is not None
    assert outcome.receipt.echo
    assert draft.kind.result_in(answer.outcomes[0].SerializeToString()).reservation_id == ""


def test_an_upsert_that_is_an_echo_says_so() -> None:
    stored = Upserted(Receipt(7, 7, False, True))
    assert stored.echo
    assert pickle.loads(pickle.dumps(stored)).echo
    assert not Upserted(Receipt(7, 7, False)).echo


def test_claimed_lines_are_told(peer: Peer) -> None:
    peer.behaviours["/invengine.v1.InventoryService/SetQuantity"] = always(
        inventory.SetQuantityResponse(receipt=RECEIPT, claimed_lines=[0, 2])
    )
    outcome = reservation.Outcome(receipt=RECEIPT, claimed_lines=[1])
    peer.behaviours["/invengine.v1.ReservationService/GetOutcome"] = always(
        reservation.GetOutcomeResponse(known=True, outcome=outcome)
    )
    with Client(peer.target) as client:
        assert client.set_quantity(LINES * 3).claimed_lines == (0, 2)
        known = client.get_outcome("k").outcome
    assert known is not None
    assert known.claimed_lines == (1,)


def test_claims_and_echoes_change_nothing_in_a_fold_and_have_a_subject() -> None:
    claim = journal.ClaimMade(sku="mug", location="wh-1", state=types.STOCK_STATE_ON_HAND, quantity=7)
    origin = types.SourcePosition(source_id="wms", epoch=3, sequence=17)
    rule = policy.EntityPut(authority_rule=policy.AuthorityRule(rule="r", location="wh-1", source_id="erp"))
    profile = policy.EntityPut(source_profile=PROFILE_MESSAGE)
    fold = StockFold()
    subjects = []
    for number, (kind, fact) in enumerate(
        [
            ("claim_made", claim),
            ("echoed", journal.Echoed(origin=origin)),
            ("entity_put", rule),
            ("entity_put", profile),
        ],
        1,
    ):
        event = Event(number, STAMP, 1, kind, fact, None, "main")
        fold.take(event)
        subjects.append(cloud_event(event)["subject"])
    assert subjects == ["mug@wh-1", "wms", "r", "erp"]
    assert list(fold.levels()) == []


def test_every_member_of_the_contract_has_one_here() -> None:
    for kind, enum, prefix in (
        (SourceKind, types.SourceKind, "SOURCE_KIND_"),
        (AuthorityRight, types.AuthorityRight, "AUTHORITY_RIGHT_"),
        (ClaimReason, types.ClaimReason, "CLAIM_REASON_"),
    ):
        assert {name.removeprefix(prefix): number for name, number in enum.items()} == {
            each.name: each.value for each in kind
        }
    assert [each for each in AuthorityRight if each.is_of_stock] == [*AuthorityRight][1:4]
    assert "Claim" in dir(results)
