"""Do the native columns write what protobuf reads, and read what protobuf writes?"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import pickle
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from scripted_peer import SUBMIT, Peer, accept_all, accepted_outcome, mutated

from invengine._core import encode_reserves
from invengine.client import AsyncClient, Client, Position, ReserveColumns, commands
from invengine.client.columns import encoded, shared_context
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
    payload = encode_reserves(skus, locations, quantities, [f"k-{n}" for n in range(4)], 0, 4, shared, 90_500)
    assert payload == wanted.SerializeToString(deterministic=True)
    assert encode_reserves(skus, locations, quantities, "k", 0, 4, shared, 90_500) == payload
    parts = [encode_reserves(skus, locations, quantities, "k", row, row + 1, shared, 90_500) for row in range(4)]
    assert b"".join(parts) == payload


def test_a_value_for_all_is_that_of_each_row() -> None:
    payload = encode_reserves(["a"] * 3, "wh", 7, "k", 0, 3, b"", 0)
    assert payload == encode_reserves(["a"] * 3, ["wh"] * 3, [7] * 3, ["k-0", "k-1", "k-2"], 0, 3, b"", 0)


@pytest.mark.parametrize("named", [True, False])
def test_a_shared_context_has_the_bytes_of_protobuf(named: bool) -> None:
    texts = ("channel", "order_ref", "holder", "actor", "reason_code", "reference", "causation")
    for fields in ({}, {"holder": "h", "channel": None}, {name: name * 20 for name in texts}):
        wanted = types.CommandContext(remember_refusal=named)
        wanted.issue_time.seconds, wanted.issue_time.nanos = 1_700_000_000, 5
        for name, text in fields.items():
            setattr(wanted, name, text or "")
        found = shared_context(1_700_000_000 * 10**9 + 5, fields, keys_named=named)  # type: ignore[arg-type]
        assert found == wanted.SerializeToString()


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="as many rows"):
        encode_reserves(["a"] * 2, ["b"], [1, 2], ["k"] * 2, 0, 2, b"", 0)


def test_a_column_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(TypeError):
        encode_reserves(["a"], ["b"], ["one"], ["k"], 0, 1, b"", 0)  # type: ignore[list-item]
    with pytest.raises(OverflowError):
        encode_reserves(["a"], ["b"], [2**63], ["k"], 0, 1, b"", 0)


def test_outcomes_are_converted_to_columns() -> None:
    refused = reservation.Outcome()
    refused.rejection.code, refused.rejection.reason = 9, "INSUFFICIENT_STOCK"
    refused.rejection.metadata["sku"] = "mug"
    answer = reservation.SubmitResponse(
        outcomes=[accepted_outcome("a", 11), refused, accepted_outcome("b", 2**40)], durable_sequence=99
    )
    found = answered(answer.SerializeToString())
    assert found == ReserveColumns(
        ["k-0", "k-1", "k-2"],
        [True, False, True],
        ["id-of-a", "", "id-of-b"],
        ["", "INSUFFICIENT_STOCK", ""],
        [11, 0, 2**40],
    )
    assert answered(b"") == ReserveColumns([])


def answered(*answers: bytes) -> ReserveColumns:
    """The columns of a client that got these answers."""
    rows = sum(len(reservation.SubmitResponse.FromString(answer).outcomes) for answer in answers)
    columns, _ = encoded(["mug"] * rows, "wh-1", 1, [f"k-{row}" for row in range(rows)] or None, None, {})
    for answer in answers:
        columns.add(answer)
    return columns


def test_columns_that_nobody_has_looked_at_are_copied_and_pickled() -> None:
    answers = [reservation.SubmitResponse(outcomes=[accepted_outcome(name)]).SerializeToString() for name in ("a", "b")]
    wanted = ReserveColumns(["k-0", "k-1"], [True, True], ["id-of-a", "id-of-b"], ["", ""], [7, 7])
    assert repr(answered(*answers)) == repr(wanted)
    for columns in (pickle.loads(pickle.dumps(answered(*answers))), copy.deepcopy(answered(*answers))):
        assert (columns, dataclasses.asdict(columns)) == (wanted, dataclasses.asdict(wanted))
    with pytest.raises(AttributeError, match="colour"):
        getattr(answered(*answers), "colour")  # noqa: B009


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_malformed_answer_is_refused(cut: int) -> None:
    whole = reservation.SubmitResponse(outcomes=[accepted_outcome("a")]).SerializeToString()
    with pytest.raises(ValueError, match="SubmitResponse"):
        answered().add(whole[:-cut])


def test_mutated_answers_have_the_columns_of_protobuf() -> None:
    draw = random.Random(17)
    refused = reservation.Outcome()
    refused.rejection.code, refused.rejection.reason = 9, "INSUFFICIENT_STOCK"
    whole = reservation.SubmitResponse(
        outcomes=[accepted_outcome("a", 3), refused, accepted_outcome("b", 2**40)], durable_sequence=99
    ).SerializeToString()
    for _ in range(20_000):
        answer = mutated(whole, draw)
        wanted = columns_by_protobuf(answer)
        # What no column needs is not looked at, so it may be malformed.
        assert columns_of(answer) == wanted or wanted == "malformed", answer


def columns_of(answer: bytes) -> Any:
    """The columns of an answer, or that it is malformed."""
    columns, _ = encoded([], "wh-1", 1, None, None, {})
    try:
        columns.add(answer)
    except ValueError:
        return "malformed"
    return columns.accepted, columns.reservation_ids, columns.reasons, columns.sequences


def columns_by_protobuf(answer: bytes) -> Any:
    """The same from the message."""
    try:
        outcomes = reservation.SubmitResponse.FromString(answer).outcomes
    except DecodeError:
        return "malformed"
    return (
        [not each.HasField("rejection") for each in outcomes],
        [each.holds[0].reservation_id if each.holds else "" for each in outcomes],
        [each.rejection.reason for each in outcomes],
        [each.receipt.sequence for each in outcomes],
    )


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
        with pytest.raises(TypeError, match="origin"):
            client.submit_reserves(["a"], "x", origin=Position("wms", 1, 1))
        with pytest.raises(ValueError, match="as many rows"):
            client.submit_reserves(["a"], ["x", "y"])
