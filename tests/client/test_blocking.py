"""The guarantees of the blocking client, against a real server that misbehaves in a scripted way."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from scripted_peer import (
    RESERVE,
    SUBMIT,
    Peer,
    Refusal,
    accept_all,
    accepted_outcome,
    in_turn,
    late,
    reserve_answer,
)

from invengine import errors
from invengine.client import Client, LineState, commands
from invengine.v1 import availability_service_pb2 as availability
from invengine.v1 import catalog_service_pb2 as catalog
from invengine.v1 import reservation_service_pb2 as reservation

LINES = [("mug", "wh-1", 2)]
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def contexts(peer: Peer) -> list[tuple[str, int, int]]:
    found = [reservation.ReserveRequest.FromString(body).context for body in peer.bodies(RESERVE)]
    return [(each.idempotency_key, each.issue_time.seconds, each.issue_time.nanos) for each in found]


def test_an_answer_becomes_a_hold(peer: Peer) -> None:
    peer.behaviours[RESERVE] = in_turn(reserve_answer("k-1"))
    with Client(peer.target, "app", "alice") as client:
        hold = client.reserve(LINES, ttl_s=60, key="k-1")
    assert hold.reservation_id == "id-of-k-1"
    assert hold.lines == (("mug", "wh-1", 2, LineState.RESERVED, 2),)
    assert hold.receipt == (7, 7, False, False)
    assert hold.expire_time.isoformat() == "2023-11-14T22:13:20.100000+00:00"
    sent = reservation.ReserveRequest.FromString(peer.bodies(RESERVE)[0])
    assert (sent.context.channel, sent.context.actor, sent.ttl.seconds) == ("app", "alice", 60)


def test_retries_repeat_the_same_command(peer: Peer) -> None:
    peer.behaviours[RESERVE] = in_turn(
        Refusal(UNAVAILABLE),
        Refusal(UNAVAILABLE, "DRAINING"),
        Refusal(UNAVAILABLE, "OUTCOME_UNKNOWN"),
        Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", retry_after_s=0.01),
        reserve_answer(replayed=True),
    )
    with Client(peer.target) as client:
        assert client.reserve(LINES).receipt.replayed
    assert len(contexts(peer)) == 5
    assert len(set(contexts(peer))) == 1
    assert len(set(peer.bodies(RESERVE))) == 1


def test_a_rejection_is_raised_with_its_metadata(peer: Peer) -> None:
    no = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_STOCK", metadata={"sku": "mug", "available": "1"})
    peer.behaviours[RESERVE] = in_turn(no)
    with Client(peer.target) as client, pytest.raises(errors.InsufficientStock) as caught:
        client.reserve(LINES)
    assert (caught.value.sku, caught.value.available) == ("mug", 1)
    assert len(peer.bodies(RESERVE)) == 1


def test_an_answer_that_never_comes_is_an_unknown_outcome_with_its_key(peer: Peer) -> None:
    # Time enough to connect and to send on a busy machine.
    peer.behaviours[RESERVE] = late(1.5, reserve_answer())
    peer.behaviours["/invengine.v1.ReservationService/GetOutcome"] = known
    with Client(peer.target, "app") as client:
        with pytest.raises(errors.OutcomeUnknown) as caught:
            client.reserve(LINES, timeout_s=0.7)
        found = client.get_outcome(caught.value.key)
    assert caught.value.key == contexts(peer)[0][0]
    assert found.known
    assert found.outcome is not None
    assert found.outcome.hold.reservation_id == f"id-of-{caught.value.key}"


def known(body: bytes) -> bytes:
    asked = reservation.GetOutcomeRequest.FromString(body)
    assert asked.channel == "app"
    outcome = accepted_outcome(asked.idempotency_key)
    return reservation.GetOutcomeResponse(known=True, outcome=outcome, sequence=7).SerializeToString()


def test_the_client_waits_for_an_unreachable_server(peer: Peer) -> None:
    peer.behaviours[RESERVE] = in_turn(reserve_answer("k-1"))
    peer.stop()
    threading.Timer(0.3, peer.start).start()
    with Client(peer.target) as client:
        assert client.reserve(LINES, key="k-1").reservation_id == "id-of-k-1"


def test_a_server_that_stays_unreachable_gets_nothing() -> None:
    with Client("127.0.0.1:1", timeout_s=0.2) as client:
        started = time.monotonic()
        with pytest.raises(errors.Unreachable) as caught:
            client.reserve(LINES)
        assert time.monotonic() - started < 5.0
    assert not caught.value.outcome_unknown


def test_a_closed_client_raises_client_closed(peer: Peer) -> None:
    client = Client(peer.target)
    client.close()
    with pytest.raises(errors.ClientClosed):
        client.reserve(LINES)
    with pytest.raises(errors.ClientClosed):
        client.digest()
    with pytest.raises(errors.ClientClosed):
        next(client.read_events())


def test_many_threads_share_one_client(peer: Peer) -> None:
    def answer(body: bytes) -> bytes:
        return reserve_answer(reservation.ReserveRequest.FromString(body).context.idempotency_key)

    peer.behaviours[RESERVE] = answer
    keys = [f"k-{n}" for n in range(200)]
    with Client(peer.target) as client, ThreadPoolExecutor(16) as threads:
        holds = list(threads.map(lambda key: client.reserve(LINES, key=key), keys))
    assert [hold.reservation_id for hold in holds] == [f"id-of-{key}" for key in keys]


def test_the_ledger_is_named_in_the_metadata(peer: Peer) -> None:
    peer.behaviours[RESERVE] = in_turn(reserve_answer())
    with Client(peer.target, ledger="outlet") as client:
        client.reserve(LINES)
    assert peer.invocation_metadata[0]["invengine-ledger"] == "outlet"


def test_a_batch_keeps_order_and_refusals_are_values(peer: Peer) -> None:
    def answer(body: bytes) -> bytes:
        request = reservation.SubmitRequest.FromString(body)
        answer = reservation.SubmitResponse.FromString(accept_all(body))
        answer.outcomes[1].Clear()
        answer.outcomes[1].rejection.code = 9
        answer.outcomes[1].rejection.reason = "INSUFFICIENT_STOCK"
        assert [command.WhichOneof("command") for command in request.commands] == ["reserve", "reserve", "allocate"]
        return answer.SerializeToString()

    peer.behaviours[SUBMIT] = in_turn(Refusal(UNAVAILABLE), answer)
    drafts = [
        commands.reserve(LINES, key="a"),
        commands.reserve(LINES, key="b"),
        commands.allocate(reservation_key="a", key="c"),
    ]
    with Client(peer.target) as client:
        outcomes = client.submit(drafts)
    assert [outcome.accepted for outcome in outcomes] == [True, False, True]
    assert outcomes[0].hold.reservation_id == "id-of-a"
    with pytest.raises(errors.InsufficientStock):
        _ = outcomes[1].hold


def test_a_large_batch_is_split_within_the_limits(peer: Peer) -> None:
    peer.behaviours[SUBMIT] = accept_all
    with Client(peer.target) as client:
        outcomes = client.submit([commands.reserve(LINES, key=f"k-{n}") for n in range(2500)])
    sizes = [len(reservation.SubmitRequest.FromString(body).commands) for body in peer.bodies(SUBMIT)]
    assert sizes == [1000, 1000, 500]
    assert [each.hold.reservation_id for each in outcomes] == [f"id-of-k-{n}" for n in range(2500)]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_batch_whose_answers_do_not_match_is_not_asked_again(peer: Peer, count: int) -> None:
    answer = reservation.SubmitResponse(outcomes=[accepted_outcome("other")] * count).SerializeToString()
    peer.behaviours[SUBMIT] = in_turn(answer)
    drafts = [commands.reserve(LINES, key="a"), commands.reserve(LINES, key="b")]
    with Client(peer.target) as client, pytest.raises(errors.InternalFault) as caught:
        client.submit(drafts)
    assert caught.value.outcome_unknown
    assert len(peer.bodies(SUBMIT)) == 1


def test_a_batch_takes_commands_on_holds_only(peer: Peer) -> None:
    with Client(peer.target) as client, pytest.raises(TypeError, match="receive"):
        client.submit([commands.receive(LINES)])


def test_pages_are_fetched_until_the_last(peer: Peer) -> None:
    def page(body: bytes) -> bytes:
        start = int(catalog.ListItemsRequest.FromString(body).page_token or 0)
        items = [catalog.Item(sku=f"sku-{n}") for n in range(start, min(start + 2, 5))]
        token = str(start + 2) if start + 2 < 5 else ""
        return catalog.ListItemsResponse(items=items, next_page_token=token).SerializeToString()

    peer.behaviours["/invengine.v1.CatalogService/ListItems"] = page
    with Client(peer.target) as client:
        assert [item.sku for item in client.list_items(page_size=2)] == [f"sku-{n}" for n in range(5)]


def test_availability_adds_up_the_locations(peer: Peer) -> None:
    def answer(body: bytes) -> bytes:
        request = availability.GetAvailabilityRequest.FromString(body)
        found = [
            availability.Availability(sku=query.sku, location=at, available=3)
            for query in request.queries
            for at in ([query.location] if query.location else ["wh-1", "wh-2"])
        ]
        return availability.GetAvailabilityResponse(availabilities=found).SerializeToString()

    method = "/invengine.v1.AvailabilityService/GetAvailability"
    peer.behaviours[method] = answer
    with Client(peer.target, "app") as client:
        assert client.availability("mug", "wh-1") == 3
        assert client.availability("mug") == 6
        many = client.availabilities([(f"sku-{n}", "wh-1") for n in range(1500)])
    assert len(many) == 1500
    sizes = [len(availability.GetAvailabilityRequest.FromString(body).queries) for body in peer.bodies(method)]
    assert sizes == [1, 1, 1000, 500]


def test_an_operation_repeats_its_keys_after_a_restart(peer: Peer) -> None:
    peer.behaviours[RESERVE] = in_turn(reserve_answer())
    for _ in range(2):
        with Client(peer.target) as client, client.operation("order-1017") as operation:
            operation.reserve(LINES)
            operation.reserve(LINES)
    keys = [key for key, _, _ in contexts(peer)]
    assert keys == ["order-1017/1-reserve", "order-1017/2-reserve"] * 2
