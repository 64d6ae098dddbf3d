"""Does a source number its messages so that each is applied exactly once and in order, whatever breaks?"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from scripted_peer import Peer, Refusal
from source_ledger import SourceLedger

from invengine import errors
from invengine.client import AsyncClient, AsyncSource, Client, OrderedSource
from invengine.client.numbering import Numbering, StateFile, StateFileError, consumes_number
from invengine.v1 import inventory_service_pb2 as inventory

LINES = [("mug", "wh-1", 1)]


@pytest.fixture
def ledger(peer: Peer) -> SourceLedger:
    return SourceLedger(peer)


def send(source: OrderedSource, *names: str) -> None:
    for name in names:
        source.receive(LINES, reference=name)


def drive(peer: Peer, work: Callable[[AsyncSource], Awaitable[Any]], **more: Any) -> Any:
    async def main() -> Any:
        async with AsyncClient(peer.target) as client, await client.source("erp", **more) as source:
            return await work(source)

    return asyncio.run(main())


def once(wanted: str, refusal: Refusal) -> Callable[[inventory.ReceiveRequest], None]:
    """Refuses the first arrival of one message."""
    lock, left = threading.Lock(), [wanted]

    def hook(request: inventory.ReceiveRequest) -> None:
        with lock:
            hit = request.context.reference in left
            if hit:
                left.clear()
        if hit:
            raise refusal

    return hook


BROKEN = Refusal(grpc.StatusCode.UNAVAILABLE)


def test_messages_are_numbered_from_one(peer: Peer, ledger: SourceLedger) -> None:
    with Client(peer.target) as client, client.source("erp") as source:
        send(source, "a", "b", "c")
        assert (source.position.epoch, source.position.sequence) == (1, 3)
        assert source.registration is not None
    assert ledger.references == ["a", "b", "c"]
    assert ledger.arrivals == [1, 2, 3]


def test_a_new_epoch_returns_where_the_last_one_ended(peer: Peer, ledger: SourceLedger) -> None:
    with Client(peer.target) as client:
        send(client.source("erp"), "a", "b")
        registration = client.source("erp").registration
    assert registration is not None
    assert (registration.epoch, registration.previous_epoch, registration.previous_sequence) == (2, 1, 2)


def test_a_state_file_continues_the_epoch(peer: Peer, ledger: SourceLedger, tmp_path: Path) -> None:
    file = tmp_path / "erp.json"
    with Client(peer.target) as client:
        send(client.source("erp", state_file=file), "a", "b")
        resumed = client.source("erp", state_file=file)
        assert resumed.registration is None
        send(resumed, "c")
    assert ledger.references == ["a", "b", "c"]
    assert json.loads(file.read_text()) == {"source_id": "erp", "epoch": 1, "sequence": 3}


def test_a_position_of_the_caller_continues_the_epoch(peer: Peer, ledger: SourceLedger) -> None:
    with Client(peer.target) as client:
        send(client.source("erp"), "a", "b")
        send(client.source("erp", epoch=1, sequence=1), "b", "c")
        with pytest.raises(TypeError, match="both"):
            client.source("erp", epoch=1)
    assert ledger.references == ["a", "b", "c"]


def test_a_damaged_or_foreign_state_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    file.write_text("[]")
    with pytest.raises(ValueError, match="not the state"):
        StateFile(file).load("erp")
    file.write_text('{"source_id": "shop", "epoch": 1, "sequence": 1}')
    with pytest.raises(ValueError, match="'shop'"):
        StateFile(file).load("erp")


WHOLE = b'{"source_id": "erp", "epoch": 1, "sequence": 3}'


@pytest.mark.parametrize("end", range(len(WHOLE)))
def test_a_state_file_that_was_cut_is_refused_by_name_with_what_to_do(tmp_path: Path, end: int) -> None:
    file = tmp_path / "erp.json"
    file.write_bytes(WHOLE[:end])
    with pytest.raises(StateFileError) as refused:
        StateFile(file).load("erp")
    assert str(file) in str(refused.value)
    assert "remove it" in str(refused.value)
    assert file.read_bytes() == WHOLE[:end]


@pytest.mark.parametrize(
    "state",
    [
        {"sequence": -1},
        {"sequence": 1.0},
        {"sequence": "1"},
        {"sequence": None},
        {"sequence": True},
        {"sequence": 2**63},
        {"epoch": 0},
        {"epoch": -1},
        {"epoch": "1"},
        {"epoch": 1.5},
        {"source_id": ""},
        {"source_id": 7},
        {"source_id": None},
        {"more": 1},
    ],
)
def test_every_field_of_a_state_file_is_checked(peer: Peer, tmp_path: Path, state: dict[str, Any]) -> None:
    file = tmp_path / "erp.json"
    file.write_text(json.dumps(json.loads(WHOLE) | state))
    with Client(peer.target) as client, pytest.raises(StateFileError, match=re.escape(str(file))):
        client.source("erp", state_file=file)
    assert peer.requests == []


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 60_000, b"\0" * 48, b"7", WHOLE + b" " * 70_000 + b"{"])
def test_a_file_that_is_not_a_state_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "erp.json"
    file.write_bytes(content)
    with pytest.raises(StateFileError, match="cut or altered"):
        StateFile(file).load("erp")


@pytest.mark.parametrize(("epoch", "sequence"), [(0, 1), (1, -1), (1, True), (1.0, 1), (1, 2**63)])
def test_a_position_of_the_caller_is_checked_like_that_of_a_file(peer: Peer, epoch: Any, sequence: Any) -> None:
    with Client(peer.target) as client, pytest.raises(errors.InvalidArgument):
        client.source("erp", epoch=epoch, sequence=sequence)
    assert peer.requests == []


def test_an_older_incarnation_is_refused(peer: Peer, ledger: SourceLedger) -> None:
    with Client(peer.target) as client:
        old = client.source("erp")
        send(client.source("erp"), "a")
        with pytest.raises(errors.StaleEpoch) as caught:
            send(old, "b")
    assert caught.value.current == 2
    assert ledger.references == ["a"]


def test_a_gap_is_filled_from_what_is_expected(peer: Peer, ledger: SourceLedger) -> None:
    with Client(peer.target) as client:
        source = client.source("erp")
        send(source, "a", "b", "c", "d")
        del ledger.applied[1:]  # A ledger restored from yesterday.
        send(source, "e")
    assert ledger.references == ["a", "b", "c", "d", "e"]
    assert ledger.arrivals == [1, 2, 3, 4, 5, 2, 3, 4, 5]


def test_a_gap_that_cannot_be_filled_is_raised(peer: Peer, ledger: SourceLedger) -> None:
    ledger.epoch = 1
    with Client(peer.target) as client:
        source = client.source("erp", epoch=1, sequence=5)
        with pytest.raises(errors.SequenceGap) as caught:
            send(source, "f")
        assert (caught.value.expected, caught.value.got) == (1, 6)
        assert source.position.sequence == 5


def test_a_rejection_that_used_the_number_moves_on(peer: Peer, ledger: SourceLedger) -> None:
    with Client(peer.target) as client:
        source = client.source("erp")
        with pytest.raises(errors.UnknownSku):
            source.receive([("unheard-of", "wh-1", 1)], reference="a")
        send(source, "b")
    assert ledger.references == ["a", "b"]


def test_a_rejection_that_did_not_use_the_number_leaves_it_to_the_next(peer: Peer, ledger: SourceLedger) -> None:
    ledger.before = once("a", Refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", violations={"lines": "some"}))
    with Client(peer.target) as client:
        source = client.source("erp")
        with pytest.raises(errors.InvalidField):
            send(source, "a")
        send(source, "b")
    assert ledger.references == ["b"]
    assert ledger.arrivals == [1, 1]


def test_an_unknown_outcome_is_settled_before_the_next(peer: Peer, ledger: SourceLedger) -> None:
    ledger.after = lambda request: time.sleep(1.5) if len(ledger.arrivals) == 1 else None
    with Client(peer.target) as client:
        source = client.source("erp")
        with pytest.raises(errors.OutcomeUnknown):
            source.receive(LINES, reference="a", timeout_s=0.7)
        assert source.position.sequence == 0
        send(source, "b")
        assert source.position.sequence == 2
    assert ledger.references == ["a", "b"]
    assert ledger.arrivals == [1, 1, 2]


def test_threads_take_turns(peer: Peer, ledger: SourceLedger) -> None:
    with Client(peer.target) as client:
        source = client.source("erp")
        threads = [threading.Thread(target=send, args=(source, *"abcde")) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert ledger.arrivals == list(range(1, 41))


def test_a_window_of_messages_arrives_in_order(peer: Peer, ledger: SourceLedger) -> None:
    names = [f"m-{n}" for n in range(200)]

    async def work(source: AsyncSource) -> int:
        await asyncio.gather(*[source.receive(LINES, reference=name) for name in names])
        return source.position.sequence

    assert drive(peer, work) == 200
    assert ledger.references == names


def test_a_lost_message_holds_back_those_behind_it(peer: Peer, ledger: SourceLedger) -> None:
    ledger.before = once("m-3", BROKEN)
    names = [f"m-{n}" for n in range(20)]

    async def work(source: AsyncSource) -> None:
        await asyncio.gather(*[source.receive(LINES, reference=name) for name in names])

    drive(peer, work)
    assert ledger.references == names


def test_messages_after_a_withdrawn_one_move_up(peer: Peer, ledger: SourceLedger) -> None:
    ledger.before = once("m-3", Refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", violations={"x": "y"}))
    names = [f"m-{n}" for n in range(20)]

    async def work(source: AsyncSource) -> Any:
        return await asyncio.gather(*[source.receive(LINES, reference=name) for name in names], return_exceptions=True)

    results = drive(peer, work)
    assert [type(each) for each in results].count(errors.InvalidField) == 1
    assert ledger.references == [name for name in names if name != "m-3"]


def test_a_cancelled_message_is_settled_before_the_next(peer: Peer, ledger: SourceLedger) -> None:
    ledger.before = lambda request: time.sleep(0.5) if len(ledger.arrivals) == 1 else None

    async def work(source: AsyncSource) -> None:
        first = asyncio.ensure_future(source.receive(LINES, reference="a"))
        await peer.arrived(2)
        first.cancel()
        await asyncio.sleep(0)
        await source.receive(LINES, reference="b")

    drive(peer, work)
    assert ledger.references == ["a", "b"]


def test_asyncio_continues_an_epoch_too(peer: Peer, ledger: SourceLedger, tmp_path: Path) -> None:
    async def work(source: AsyncSource) -> int:
        await asyncio.gather(*[source.receive(LINES) for _ in range(5)])
        return source.position.sequence

    assert [drive(peer, work, state_file=tmp_path / "erp.json") for _ in range(2)] == [5, 10]
    assert ledger.epoch == 1


def test_a_number_is_given_once_whatever_order_answers_come_in() -> None:
    numbering = Numbering("erp", 1, 0)
    first, second, third = (numbering.add(object()) for _ in range(3))  # type: ignore[arg-type]
    numbering.settle(third)
    numbering.settle(second)
    assert numbering.position.sequence == 0
    assert numbering.add(object()).number == 4  # type: ignore[arg-type]
    numbering.settle(first)
    assert numbering.position.sequence == 3


def test_only_a_new_epoch_makes_an_uncertain_follower_safe() -> None:
    numbering = Numbering("erp", 1, 0)
    first, second, third = (numbering.add(object()) for _ in range(3))  # type: ignore[arg-type]
    assert numbering.withdraw(first)
    assert (second.number, third.number) == (1, 2)
    third.uncertain = True
    assert not numbering.withdraw(second)
    numbering.restart(2)
    assert (third.number, third.uncertain, numbering.position.epoch) == (1, False, 2)


@pytest.mark.parametrize(
    ("error", "consumed"),
    [
        (errors.InsufficientStock(), True),
        (errors.UnknownSku(), True),
        (errors.ReservationExpired(), True),
        (errors.NotAuthoritative(), True),
        (errors.UnknownSource(metadata={"source": "erp"}), False),
        (errors.UnknownSource(metadata={"source": "wms"}), True),
        (errors.SequenceConflict(), True),
        (errors.InvalidField(), False),
        (errors.SequenceGap(), False),
        (errors.StaleEpoch(), False),
        (errors.KeyReused(), False),
        (errors.MessageTooLarge(), False),
        (errors.Draining(), False),
        (errors.OutcomeUnknown(), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_which_refusals_use_up_a_number(error: errors.InvengineError, consumed: bool) -> None:
    assert consumes_number(error, "erp") is consumed
