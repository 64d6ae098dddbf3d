"""Do the native columns write what protobuf reads, and read what protobuf writes?"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from scripted_peer import SUBMIT, Peer, accept_all, accepted_outcome

from invengine._core import decode_outcomes, encode_reserves
from invengine.client import AsyncClient, Client, commands
from invengine.client.columns import shared_context
from invengine.v1 import reservation_service_pb2 as reservation
from invengine.v1 import types_pb2 as types

INT64_MAX = 2**63 - 1


def test_a_column_batch_is_the_batch_of_its_drafts() -> None:
    issued = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
    rows = [("mug", "wh-1", 1), ("ü" * 100, "wh-2", INT64_MAX), ("cup", "", -1), ("x", "y", 0)]
    drafts = [
        commands.reserve([row], key=f"k-{n}", issue_time=issued, channel="app", holder="h", ttl_s=90.5)
        for n, row in enumerate(rows)
    ]
    wanted = reservation.SubmitRequest(commands=[reservation.Command(reserve=draft.request) for draft in drafts])
    shared = shared_context(0, {"issue_time": issued, "channel": "app", "holder": "h"}, keys_named=True)
    skus, locations, quantities = (list(column) for column in zip(*rows, strict=True))
    encoded = encode_reserves(skus, locations, quantities, [f"k-{n}" for n in range(4)], shared, 90_500)
    assert reservation.SubmitRequest.FromString(encoded) == wanted


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="as many rows"):
        encode_reserves(["a"], ["b"], [1, 2], ["k"], b"", 0)


def test_a_column_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(TypeError):
        encode_reserves(["a"], ["b"], ["one"], ["k"], b"", 0)  # type: ignore[list-item]
    with pytest.raises(OverflowError):
        encode_reserves(["a"], ["b"], [2**63], ["k"], b"", 0)


def test_outcomes_are_converted_to_columns() -> None:
    refused = reservation.Outcome()
    refused.rejection.code, refused.rejection.reason = 9, "INSUFFICIENT_STOCK"
    refused.rejection.metadata["sku"] = "mug"
    answer = reservation.SubmitResponse(
        outcomes=[accepted_outcome("a", 11), refused, accepted_outcome("b", 2**40)], durable_sequence=99
    )
    assert decode_outcomes(answer.SerializeToString()) == (
        [True, False, True],
        ["id-of-a", "", "id-of-b"],
        ["", "INSUFFICIENT_STOCK", ""],
        [11, 0, 2**40],
    )
    assert decode_outcomes(b"") == ([], [], [], [])


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_malformed_answer_is_refused_or_decoded(cut: int) -> None:
    whole = reservation.SubmitResponse(outcomes=[accepted_outcome("a")]).SerializeToString()
    with pytest.raises(ValueError, match="SubmitResponse"):
        decode_outcomes(whole[:-cut])


def test_a_client_sends_columns_in_batches_within_the_limits(peer: Peer) -> None:
    peer.behaviours[SUBMIT] = accept_all
    skus = [f"sku-{n}" for n in range(2500)]
    with Client(peer.target, "app") as client:
        found = client.submit_reserves(skus, "wh-1", 2, ttl_s=60, holder="h")
    assert found.accepted == [True] * 2500
    assert found.reservation_ids == [f"id-of-{key}" for key in found.keys]
    assert len(set(found.keys)) == 2500
    requests = [reservation.SubmitRequest.FromString(body) for body in peer.bodies(SUBMIT)]
    assert [len(request.commands) for request in requests] == [1000, 1000, 500]
    one = requests[2].commands[499].reserve
    assert one.lines[0] == types.LineRequest(sku="sku-2499", location="wh-1", quantity=2)
    assert (one.context.channel, one.context.holder, one.ttl.seconds) == ("app", "h", 60)


def test_an_asyncio_client_sends_columns_too(peer: Peer) -> None:
    peer.behaviours[SUBMIT] = accept_all

    async def main() -> list[str]:
        async with AsyncClient(peer.target) as client:
            found = await client.submit_reserves(["a", "b"], ["x", "y"], [1, 2], keys=["k-1", "k-2"])
            return found.reservation_ids

    assert asyncio.run(main()) == ["id-of-k-1", "id-of-k-2"]


def test_what_names_one_command_is_not_shared_by_all(peer: Peer) -> None:
    with Client(peer.target) as client:
        with pytest.raises(TypeError, match="keys"):
            client.submit_reserves(["a"], "x", key="k")
        with pytest.raises(ValueError, match="as many rows"):
            client.submit_reserves(["a"], ["x", "y"])
