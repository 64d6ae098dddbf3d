"""What the clients make of answers that are too long, of short forms, and of a status that invengine did not give."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from scripted_peer import RESERVE, STREAM, SUBMIT, Peer, Refusal, accept_all, in_turn

from invengine import errors
from invengine.client import AsyncClient, Client, LineState, commands
from invengine.client.connection import ANSWER_BYTES_MAX
from invengine.v1 import availability_service_pb2 as availability
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import reservation_service_pb2 as reservation
from invengine.v1 import types_pb2 as types

ALLOCATE = "/invengine.v1.ReservationService/Allocate"
AVAILABILITY = "/invengine.v1.AvailabilityService/GetAvailability"
LEVEL = "/invengine.v1.InventoryService/GetInventoryLevel"
LINES = [("mug", "wh-1", 2)]
TOO_LONG = b"\x0a" + b"x" * (ANSWER_BYTES_MAX + 1)
SUMMARY = types.HoldSummary(
    reservations=80_000,
    lines=80_000,
    units=[types.UnitsInState(state=types.LINE_STATE_ALLOCATED, units=80_001)],
    first_sequence=5,
)
RECEIPT = types.Receipt(sequence=160_004, durable_sequence=160_004)


async def _alone(peer: Peer, batching: bool, **named: Any) -> Any:
    async with AsyncClient(peer.target, batching=batching) as client:
        return await client.allocate(**named)


def test_an_answer_that_is_too_long_to_take_is_an_unknown_outcome(peer: Peer) -> None:
    peer.behaviours = dict.fromkeys((RESERVE, SUBMIT, ALLOCATE, STREAM), in_turn(TOO_LONG))
    with Client(peer.target) as client:
        with pytest.raises(errors.OutcomeUnknown) as caught:
            client.reserve(LINES, key="k")
        assert (caught.value.key, type(caught.value.__cause__)) == ("k", errors.AnswerLost)
        with pytest.raises(errors.OutcomeUnknown):
            client.submit([commands.reserve(LINES)])
    for batching in (False, True):
        with pytest.raises(errors.OutcomeUnknown) as again:
            asyncio.run(_alone(peer, batching, order="o", key="k"))
        assert again.value.key == "k"


@pytest.mark.parametrize("code", [each for each in grpc.StatusCode if each is not grpc.StatusCode.OK])
def test_a_status_that_invengine_did_not_give_is_an_unknown_outcome_of_a_write(
    peer: Peer, code: grpc.StatusCode
) -> None:
    peer.behaviours = {RESERVE: in_turn(Refusal(code)), LEVEL: in_turn(Refusal(code))}
    with Client(peer.target, timeout_s=0.5) as client:
        with pytest.raises(errors.OutcomeUnknown) as caught:
            client.reserve(LINES, key="k")
        assert caught.value.key == "k"
        with pytest.raises(errors.Fault) as read:
            client.get_level("mug", "wh-1")
        assert not isinstance(read.value, errors.OutcomeUnknown)


def test_the_summary_is_requested_and_printed(peer: Peer) -> None:
    outcome = reservation.Outcome(receipt=RECEIPT, summary=SUMMARY)
    peer.behaviours = {
        ALLOCATE: in_turn(reservation.AllocateResponse(receipt=RECEIPT, summary=SUMMARY).SerializeToString()),
        STREAM: in_turn(reservation.SubmitStreamResponse(outcomes=[outcome]).SerializeToString()),
        SUBMIT: in_turn(reservation.SubmitResponse(outcomes=[outcome]).SerializeToString()),
    }
    with Client(peer.target) as client:
        found: list[Any] = [client.allocate(order="o"), *client.submit([commands.release(order="o")])]
    found += [asyncio.run(_alone(peer, batching, order="o")) for batching in (False, True)]
    for each in found:
        assert each.holds == ()
        assert (each.summary.reservations, each.summary.lines) == (80_000, 80_000)
        assert each.summary.units == {LineState.ALLOCATED: 80_001}
        assert (each.summary.first_sequence, each.summary.last_sequence) == (5, 160_004)
        with pytest.raises(ValueError, match="80000 holds changed"):
            _ = each.hold
    asked = [reservation.AllocateRequest.FromString(body).context for body in peer.bodies(ALLOCATE)]
    asked += [reservation.SubmitRequest.FromString(body).commands[0].release.context for body in peer.bodies(SUBMIT)]
    assert [each.accept_summary for each in asked] == [True] * 3


def test_an_answer_in_full_has_no_summary(peer: Peer) -> None:
    peer.behaviours[ALLOCATE] = in_turn(reservation.AllocateResponse(receipt=RECEIPT).SerializeToString())
    with Client(peer.target) as client:
        assert client.allocate(order="o").summary is None


def _full_after_two(body: bytes) -> bytes:
    answer = reservation.SubmitResponse.FromString(accept_all(body))
    for outcome in answer.outcomes[2:]:
        outcome.Clear()
        outcome.rejection.code, outcome.rejection.reason = 8, "OVERLOADED"
        outcome.rejection.metadata["answer_bytes_max"] = "4194304"
    return answer.SerializeToString()


async def _submit(peer: Peer, drafts: list[Any]) -> list[Any]:
    async with AsyncClient(peer.target) as client:
        return await client.submit(drafts)


def test_what_did_not_fit_an_answer_goes_into_another_batch(peer: Peer) -> None:
    peer.behaviours[SUBMIT] = _full_after_two
    drafts = [commands.reserve(LINES, key=f"k-{n}") for n in range(5)]
    with Client(peer.target) as client:
        found = client.submit(drafts)
    for outcomes in (found, asyncio.run(_submit(peer, drafts))):
        assert [each.hold.reservation_id for each in outcomes] == [f"id-of-k-{n}" for n in range(5)]
    sizes = [len(reservation.SubmitRequest.FromString(body).commands) for body in peer.bodies(SUBMIT)]
    assert sizes == [5, 3, 1] * 2


async def _together(peer: Peer, count: int) -> list[str]:
    async with AsyncClient(peer.target, timeout_s=5) as client:
        holds = await asyncio.gather(*[client.reserve(LINES, key=f"k-{n}") for n in range(count)])
    return [hold.reservation_id for hold in holds]


def test_batched_commands_that_did_not_fit_follow_without_a_pause(peer: Peer) -> None:
    peer.behaviours[STREAM] = _full_after_two
    started = time.monotonic()
    assert asyncio.run(_together(peer, 41)) == [f"id-of-k-{n}" for n in range(41)]
    assert time.monotonic() - started < 4  # With pauses between them twenty batches would take a minute.


def test_an_overloaded_command_inside_the_answer_stays_an_outcome(peer: Peer) -> None:
    def overloaded(body: bytes) -> bytes:
        answer = reservation.SubmitResponse.FromString(accept_all(body))
        answer.outcomes[1].Clear()
        answer.outcomes[1].rejection.code, answer.outcomes[1].rejection.reason = 8, "OVERLOADED"
        return answer.SerializeToString()

    peer.behaviours[SUBMIT] = overloaded
    with Client(peer.target) as client:
        outcomes = client.submit([commands.reserve(LINES) for _ in range(2)])
    assert [type(each.rejection) for each in outcomes] == [type(None), errors.Overloaded]


def _availability(body: bytes) -> bytes:
    request = availability.GetAvailabilityRequest.FromString(body)
    position = 9 if len(request.queries) == 1000 else 8
    answer = availability.GetAvailabilityResponse(sequence=position, durable_sequence=position - 2)
    for query in request.queries:
        unknown = query.sku == "typo"
        if unknown and not request.allow_unknown:
            raise Refusal(grpc.StatusCode.NOT_FOUND, "UNKNOWN_SKU", metadata={"sku": query.sku})
        answer.availabilities.add(
            sku=query.sku, location=query.location, available=0 if unknown else 3, unknown_sku=unknown
        )
    return answer.SerializeToString()


async def _availabilities(peer: Peer, queries: list[Any]) -> Any:
    async with AsyncClient(peer.target) as client:
        with pytest.raises(errors.UnknownSku):
            await client.availability("typo", "wh-1")
        return await client.availabilities(queries)


def test_an_unknown_item_is_unknown_and_an_answer_says_where_it_was_read(peer: Peer) -> None:
    peer.behaviours[AVAILABILITY] = _availability
    queries = [("typo" if n == 7 else f"sku-{n}", "wh-1") for n in range(1500)]
    with Client(peer.target) as client:
        found = client.availabilities(queries)
        with pytest.raises(errors.UnknownSku):
            client.availability("typo", "wh-1")
        assert client.availability("mug", "wh-1") == 3
        nothing = client.availabilities([])
    for each in (found, asyncio.run(_availabilities(peer, queries))):
        assert (each.sequence, each.durable_sequence, len(each)) == (8, 6, 1500)
        assert each[7] == ("typo", "wh-1", None, True, False)
        assert each[8] == ("sku-8", "wh-1", 3, False, False)
    assert (list(nothing), nothing.sequence) == ([], 0)


def test_what_a_client_accepts_is_what_the_contract_states(peer: Peer) -> None:
    longest = inventory.GetInventoryLevelResponse(level=types.InventoryLevel(sku="mug", on_hand=1))
    longest.level.location = "x" * (ANSWER_BYTES_MAX - longest.ByteSize() - 12)
    peer.behaviours = {LEVEL: in_turn(longest.SerializeToString())}
    with Client(peer.target) as client:
        assert client.get_level("mug", "wh-1").on_hand == 1
