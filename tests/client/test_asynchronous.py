"""Does the asyncio client batch without a timer, and does every command get its one outcome whatever happens?"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
import pytest
from scripted_peer import (
    RESERVE,
    STREAM,
    Peer,
    Refusal,
    accept_all,
    accepted_outcome,
    context_of,
    in_turn,
    late,
    reserve_answer,
)

from invengine import errors
from invengine.client import AsyncClient, Hold, commands
from invengine.client.framing import BATCH_BYTES_MAX, _head, framed
from invengine.v1 import reservation_service_pb2 as reservation

LINES = [("mug", "wh-1", 2)]


def drive(peer: Peer, work: Callable[[AsyncClient], Awaitable[Any]], **more: Any) -> Any:
    async def main() -> Any:
        async with AsyncClient(peer.target, **more) as client:
            return await work(client)

    return asyncio.run(main())


def batches(peer: Peer) -> list[list[reservation.Command]]:
    return [list(reservation.SubmitStreamRequest.FromString(body).commands) for body in peer.bodies(STREAM)]


def keys(peer: Peer) -> list[str]:
    return [context_of(command).idempotency_key for batch in batches(peer) for command in batch]


async def reserve_many(client: AsyncClient, count: int, start: int = 0) -> list[Hold]:
    return list(await asyncio.gather(*[client.reserve(LINES, key=f"k-{n}") for n in range(start, start + count)]))


@pytest.mark.parametrize("length", [0, 1, 127, 128, 511, 512, 20_000])
def test_assembled_bytes_parse_back(length: int) -> None:
    draft = commands.reserve([("x" * length, "wh-1", 1)], key="k")
    assembled = framed(1, draft.request.SerializeToString()) + framed(
        5, commands.release("r-1").request.SerializeToString()
    )
    parsed = reservation.SubmitStreamRequest.FromString(assembled)
    assert parsed.commands[0].reserve == draft.request
    assert parsed.commands[1].release.target.reservation_id == "r-1"


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 128, 511, 512, 513, 100_000])
def test_heads_are_the_same_from_the_table_as_computed(length: int) -> None:
    payload = b"\x00" * length
    assert framed(3, payload) == _head(3, length) + payload


def test_batched_commands_each_get_their_own_outcome(peer: Peer) -> None:
    holds = drive(peer, lambda client: reserve_many(client, 2500))
    assert [hold.reservation_id for hold in holds] == [f"id-of-k-{n}" for n in range(2500)]
    sizes = [len(batch) for batch in batches(peer)]
    assert sum(sizes) == 2500
    assert max(sizes) <= 1000
    assert len(sizes) <= 5


def test_a_single_command_does_not_wait_for_others(peer: Peer) -> None:
    async def work(client: AsyncClient) -> float:
        await client.reserve(LINES)
        started = time.monotonic()
        for _ in range(20):
            await client.reserve(LINES)
        return time.monotonic() - started

    assert drive(peer, work) < 2.0
    assert [len(batch) for batch in batches(peer)] == [1] * 21


def test_commands_that_arrive_in_flight_are_the_next_batch(peer: Peer) -> None:
    peer.behaviours[STREAM] = late(0.5, accept_all)

    async def work(client: AsyncClient) -> None:
        first = asyncio.ensure_future(client.reserve(LINES, key="first"))
        await peer.arrived(1)
        await asyncio.gather(first, reserve_many(client, 100))

    drive(peer, work)
    assert [len(batch) for batch in batches(peer)] == [1, 100]


def test_a_batch_stays_within_its_bytes(peer: Peer) -> None:
    async def work(client: AsyncClient) -> None:
        wide = [(f"{'s' * 100}-{n}", "wh-1", 1) for n in range(1000)]
        await asyncio.gather(*[client.reserve(wide, key=f"k-{n}") for n in range(40)])

    drive(peer, work)
    assert all(len(body) <= BATCH_BYTES_MAX for body in peer.bodies(STREAM))
    assert sorted(keys(peer)) == sorted(f"k-{n}" for n in range(40))


def test_refusals_belong_to_their_command_alone(peer: Peer) -> None:
    def answer(body: bytes) -> bytes:
        response = reservation.SubmitStreamResponse.FromString(accept_all(body))
        for outcome, command in zip(
            response.outcomes, reservation.SubmitStreamRequest.FromString(body).commands, strict=True
        ):
            if command.reserve.context.idempotency_key.endswith("3"):
                outcome.Clear()
                outcome.rejection.code, outcome.rejection.reason = 9, "INSUFFICIENT_STOCK"
                outcome.rejection.metadata["available"] = "1"
        return response.SerializeToString()

    async def work(client: AsyncClient) -> Any:
        return await asyncio.gather(*[client.reserve(LINES, key=f"k-{n}") for n in range(10)], return_exceptions=True)

    peer.behaviours[STREAM] = answer
    results = drive(peer, work)
    assert [type(each) for each in results] == [Hold] * 3 + [errors.InsufficientStock] + [Hold] * 6
    assert results[3].available == 1


def broken_once(peer: Peer, refusal: Refusal, answered: int) -> None:
    """The first stream answers `answered` batches, takes one more and breaks; later ones work."""
    streams = iter([answered])

    def stream(requests: Iterator[bytes]) -> Iterator[bytes]:
        left = next(streams, None)
        for request in requests:
            if left == 0:
                raise refusal
            left = None if left is None else left - 1
            yield peer.stream_answer(request)

    peer.streaming = stream


@pytest.mark.parametrize("reason", ["", "DRAINING", "OUTCOME_UNKNOWN"])
def test_a_broken_stream_is_replaced_and_the_rest_repeated_with_the_same_keys(peer: Peer, reason: str) -> None:
    broken_once(peer, Refusal(grpc.StatusCode.UNAVAILABLE, reason), answered=1)
    holds = drive(peer, lambda client: reserve_many(client, 3000))
    assert [hold.reservation_id for hold in holds] == [f"id-of-k-{n}" for n in range(3000)]
    assert set(keys(peer)) == {f"k-{n}" for n in range(3000)}
    assert len(keys(peer)) > 3000


def test_a_command_is_repeated_to_the_byte(peer: Peer) -> None:
    broken_once(peer, Refusal(grpc.StatusCode.UNAVAILABLE), answered=0)
    drive(peer, lambda client: client.reserve(LINES))
    first, second = peer.bodies(STREAM)
    assert first == second


def test_one_bad_neighbour_does_not_spoil_the_batch(peer: Peer) -> None:
    def refuse(requests: Iterator[bytes]) -> Iterator[bytes]:
        for _ in requests:
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", metadata={"limit": "1"})
        yield from ()

    def alone(body: bytes) -> bytes:
        key = reservation.ReserveRequest.FromString(body).context.idempotency_key
        if key == "k-1":
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", metadata={"limit": "1"})
        return reserve_answer(key)

    async def work(client: AsyncClient) -> Any:
        return await asyncio.gather(*[client.reserve(LINES, key=f"k-{n}") for n in range(3)], return_exceptions=True)

    peer.streaming = refuse
    peer.behaviours[RESERVE] = alone
    results = drive(peer, work)
    assert [type(each) for each in results] == [Hold, errors.MessageTooLarge, Hold]


def test_a_fault_inside_a_batch_is_repeated(peer: Peer) -> None:
    overloaded = reservation.Outcome()
    overloaded.rejection.code, overloaded.rejection.reason = 8, "OVERLOADED"
    busy = reservation.SubmitStreamResponse(outcomes=[overloaded]).SerializeToString()
    peer.behaviours[STREAM] = in_turn(busy, busy, accept_all)
    assert drive(peer, lambda client: client.reserve(LINES, key="k")).reservation_id == "id-of-k"
    assert keys(peer) == ["k"] * 3


def test_deadlines_end_the_wait_each_at_its_own_time(peer: Peer) -> None:
    peer.behaviours[STREAM] = late(3.0, accept_all)

    async def work(client: AsyncClient) -> Any:
        started = time.monotonic()

        async def timed(timeout_s: float) -> tuple[Any, float]:
            try:
                result: Any = await client.reserve(LINES, key=f"k-{timeout_s}", timeout_s=timeout_s)
            except errors.InvengineError as error:
                result = error
            return result, time.monotonic() - started

        return await asyncio.gather(timed(20.0), timed(1.2), timed(0.3))

    (patient, _), (second, second_s), (first, first_s) = drive(peer, work)
    assert isinstance(patient, Hold)
    assert isinstance(first, errors.OutcomeUnknown)
    assert isinstance(second, errors.OutcomeUnknown)
    assert second.key == "k-1.2"
    assert 0.29 <= first_s < 1.19 <= second_s < 2.5


def test_what_was_not_sent_in_time_certainly_did_not_happen(peer: Peer) -> None:
    peer.behaviours[STREAM] = late(1.0, accept_all)

    async def work(client: AsyncClient) -> None:
        first = asyncio.ensure_future(client.reserve(LINES, key="first"))
        await peer.arrived(1)
        with pytest.raises(errors.DeadlineExceeded) as caught:
            await client.reserve(LINES, key="second", timeout_s=0.1)
        assert not caught.value.outcome_unknown
        await first

    drive(peer, work)
    assert keys(peer) == ["first"]


def test_a_cancelled_caller_that_was_not_sent_is_not_sent(peer: Peer) -> None:
    peer.behaviours[STREAM] = late(0.5, accept_all)

    async def work(client: AsyncClient) -> None:
        first = asyncio.ensure_future(client.reserve(LINES, key="first"))
        await peer.arrived(1)
        second = asyncio.ensure_future(client.reserve(LINES, key="second"))
        third = asyncio.ensure_future(client.reserve(LINES, key="third"))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(first, third)

    drive(peer, work)
    assert keys(peer) == ["first", "third"]


def test_a_server_that_restarts_is_found_again(peer: Peer) -> None:
    async def work(client: AsyncClient) -> list[Hold]:
        await client.reserve(LINES)
        peer.stop()
        threading.Timer(0.3, peer.start).start()
        return await reserve_many(client, 50)

    assert len(drive(peer, work)) == 50


def test_answers_that_do_not_match_are_not_delivered(peer: Peer) -> None:
    wrong = reservation.SubmitStreamResponse(outcomes=[accepted_outcome("other")] * 3).SerializeToString()
    peer.behaviours[STREAM] = in_turn(wrong)
    peer.behaviours[RESERVE] = in_turn(reserve_answer("k"))
    assert drive(peer, lambda client: client.reserve(LINES, key="k")).reservation_id == "id-of-k"


def test_garbage_on_the_stream_is_not_delivered(peer: Peer) -> None:
    peer.behaviours[STREAM] = in_turn(b"\xff\xff\xff")
    peer.behaviours[RESERVE] = in_turn(reserve_answer("k"))
    assert drive(peer, lambda client: client.reserve(LINES, key="k")).reservation_id == "id-of-k"


def test_closing_settles_the_waiting_commands(peer: Peer) -> None:
    peer.behaviours[STREAM] = late(1.0, accept_all)

    async def main() -> Any:
        client = AsyncClient(peer.target)
        waiting = [asyncio.ensure_future(client.reserve(LINES, key="sent"))]
        await peer.arrived(1)
        waiting.append(asyncio.ensure_future(client.reserve(LINES, key="queued")))
        await asyncio.sleep(0.05)
        await client.close()
        late_caller = await asyncio.gather(client.reserve(LINES), return_exceptions=True)
        return [*await asyncio.gather(*waiting, return_exceptions=True), *late_caller]

    sent, queued, late_caller = asyncio.run(main())
    assert isinstance(sent, errors.OutcomeUnknown)
    assert isinstance(queued, errors.ClientClosed)
    assert isinstance(late_caller, errors.ClientClosed)


def test_without_batching_every_command_is_a_call(peer: Peer) -> None:
    peer.behaviours[RESERVE] = in_turn(Refusal(grpc.StatusCode.UNAVAILABLE), reserve_answer("k"))
    hold = drive(peer, lambda client: client.reserve(LINES, key="k"), batching=False)
    assert hold.reservation_id == "id-of-k"
    assert not peer.bodies(STREAM)
    assert len(set(peer.bodies(RESERVE))) == 1


def test_an_overdue_unary_answer_is_an_unknown_outcome(peer: Peer) -> None:
    # Time enough to connect and to send on a busy machine.
    peer.behaviours[RESERVE] = late(1.5, reserve_answer())
    with pytest.raises(errors.OutcomeUnknown) as caught:
        drive(peer, lambda client: client.reserve(LINES, key="k", timeout_s=0.7), batching=False)
    assert caught.value.key == "k"


def test_operations_number_their_steps_in_the_order_of_the_calls(peer: Peer) -> None:
    async def work(client: AsyncClient) -> None:
        with client.operation("order-1017") as operation:
            await asyncio.gather(operation.reserve(LINES), operation.release("r-1"))

    drive(peer, work)
    assert keys(peer) == ["order-1017/1-reserve", "order-1017/2-release"]


def test_an_explicit_batch_is_one_call(peer: Peer) -> None:
    peer.behaviours["/invengine.v1.ReservationService/Submit"] = accept_all
    drafts = [commands.reserve(LINES, key="a"), commands.release("r-1", key="b")]
    outcomes = drive(peer, lambda client: client.submit(drafts))
    assert [outcome.hold.reservation_id for outcome in outcomes] == ["id-of-a", "id-of-b"]
