"""Submit and SubmitStream: commands in order, one outcome each; each is atomic, the batch is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from invengine.v1 import reservation_service_pb2 as reservations

from . import methods, requests
from .commands import AnyMethod
from .refused import Refused
from .shop import Shop, check_rejected, figures
from .targets import ServerTarget


def stream_of(shop: Shop, *batches: reservations.SubmitRequest) -> list[reservations.SubmitStreamResponse]:
    """The answers to batches that were sent over one stream."""
    assert isinstance(shop.target, ServerTarget)
    messages = [reservations.SubmitStreamRequest(commands=batch.commands) for batch in batches]
    return list(shop.target.submit_stream(messages))


def test_a_later_command_names_what_an_earlier_one_made(shop: Shop) -> None:
    sku, order = shop.item(5), shop.name("order")
    made = shop.context(order_ref=order)
    target = requests.by_key(made.idempotency_key)
    outcomes = shop.submit(
        requests.reserve(made, (sku, shop.here, 4)),
        requests.amend(shop.context(), target, (sku, shop.here, 5)),
        requests.extend(shop.context(), target, 60),
        requests.allocate(shop.context(), requests.by_key(made.idempotency_key, (sku, shop.here, 3))),
        requests.fulfill(shop.context(), requests.by_key(made.idempotency_key, (sku, shop.here, 2))),
        requests.release(shop.context(), requests.by_order(order)),
    )
    assert [outcome.holds[0].version for outcome in outcomes] == [1, 2, 3, 4, 5, 6]
    sequences = [outcome.receipt.sequence for outcome in outcomes]
    assert sequences == sorted(sequences)
    assert figures(shop.level(sku)) == (3, 0, 0, 3)


def test_an_outcome_equals_the_answer_of_the_single_call(shop: Shop) -> None:
    sku = shop.item(9, there=9)
    made, cancelled = shop.context(), shop.name("never")
    target = requests.by_key(made.idempotency_key)
    wanted: list[tuple[AnyMethod, Any]] = [
        (methods.RESERVE, requests.reserve(made, (sku, shop.here, 4))),
        (methods.AMEND, requests.amend(shop.context(), target, (sku, shop.here, 5))),
        (methods.ALLOCATE, requests.allocate(shop.context(), target)),
        (methods.TRANSFER, requests.transfer(shop.context(), target, shop.there)),
        (methods.RELEASE, requests.release(shop.context(), requests.by_key(cancelled))),
        (methods.FULFILL, requests.fulfill(shop.context(), target)),
    ]
    outcomes = shop.submit(*(request for _, request in wanted))
    for (method, request), outcome in zip(wanted, outcomes, strict=True):
        # Repeated alone, each command gives the same answer.
        answer = shop.call(method, request)
        holds = [answer.hold] if method is methods.RESERVE else list(answer.holds)
        assert list(outcome.holds) == holds
        assert outcome.receipt.sequence == answer.receipt.sequence
        assert not outcome.receipt.replayed
        assert not outcome.HasField("rejection")
    assert [outcome.key_cancelled for outcome in outcomes] == [False] * 4 + [True, False]


def test_a_refusal_leaves_its_neighbours(shop: Shop) -> None:
    sku = shop.item(5)
    good = [requests.reserve(shop.context(), (sku, shop.here, 1)) for _ in range(3)]
    outcomes = shop.submit(
        good[0],
        requests.reserve(shop.context(), (sku, shop.here, 99)),
        requests.reserve(shop.context(), (sku, shop.here, 0)),
        good[1],
        requests.allocate(shop.context(), requests.by_key(shop.name("never"))),
        requests.reserve(shop.context(channel="nobody-knows-this"), (sku, shop.here, 1)),
        good[2],
    )
    check_rejected(outcomes[1], "INSUFFICIENT_STOCK", requested=99, available=4)
    check_rejected(outcomes[2], "INVALID_FIELD")
    check_rejected(outcomes[4], "RESERVATION_NOT_FOUND")
    check_rejected(outcomes[5], "UNKNOWN_CHANNEL")
    assert [outcomes[index].holds[0].version for index in (0, 3, 6)] == [1, 1, 1]
    assert shop.level(sku).reserved == 3


def test_an_empty_command_is_refused_alone(shop: Shop) -> None:
    batch = requests.submit(requests.reserve(shop.context(), (shop.item(1), shop.here, 1)))
    batch.commands.add()
    first, second = shop.call(methods.SUBMIT, batch).outcomes
    assert first.holds[0].version == 1
    check_rejected(second, "INVALID_FIELD")


@pytest.mark.case("A13")
def test_a_key_twice_in_a_batch(shop: Shop) -> None:
    sku, context = shop.item(9), shop.context()
    same = requests.reserve(context, (sku, shop.here, 1))
    first, second, third = shop.submit(same, same, requests.reserve(context, (sku, shop.here, 2)))
    assert (first.receipt.replayed, second.receipt.replayed) == (False, True)
    assert list(first.holds) == list(second.holds)
    check_rejected(third, "IDEMPOTENCY_KEY_REUSED", sequence=first.receipt.sequence)
    assert shop.level(sku).reserved == 1


def test_1000_commands_in_one_batch(shop: Shop) -> None:
    sku = shop.item(999)
    batch = [requests.reserve(shop.context(), (sku, shop.here, 1)) for _ in range(1000)]
    answer = shop.call(methods.SUBMIT, requests.submit(*batch))
    assert [len(outcome.holds) for outcome in answer.outcomes] == [1] * 999 + [0]
    check_rejected(answer.outcomes[999], "INSUFFICIENT_STOCK", available=0)
    sequences = [outcome.receipt.sequence for outcome in answer.outcomes[:999]]
    assert sequences == sorted(set(sequences))
    assert answer.durable_sequence >= sequences[-1]


def test_1001_commands_are_refused_whole(shop: Shop) -> None:
    sku = shop.item(2000)
    batch = requests.submit(*[requests.reserve(shop.context(), (sku, shop.here, 1)) for _ in range(1001)])
    assert shop.refused(methods.SUBMIT, batch, "INVALID_FIELD").fields == ["commands"]
    assert shop.level(sku).reserved == 0


def test_a_batch_that_is_sent_again_is_answered_again(shop: Shop) -> None:
    sku = shop.item(50)
    batch = requests.submit(*[requests.reserve(shop.context(), (sku, shop.here, 1)) for _ in range(60)])
    first = shop.call(methods.SUBMIT, batch).outcomes
    again = shop.call(methods.SUBMIT, batch).outcomes
    assert [list(outcome.holds) for outcome in again] == [list(outcome.holds) for outcome in first]
    assert [outcome.rejection.reason for outcome in again] == [outcome.rejection.reason for outcome in first]
    assert [outcome.receipt.replayed for outcome in again] == [True] * 50 + [False] * 10
    assert shop.level(sku).reserved == 50


def test_a_stream_answers_in_the_order_of_its_requests(server_shop: Shop) -> None:
    shop = server_shop
    sku = shop.item(1000)
    batches = [
        requests.submit(*[requests.reserve(shop.context(), (sku, shop.here, 1)) for _ in range(1 + number % 7)])
        for number in range(100)
    ]
    answers = stream_of(shop, *batches)
    assert [len(answer.outcomes) for answer in answers] == [len(batch.commands) for batch in batches]
    for batch, answer in zip(batches, answers, strict=True):
        for command, outcome in zip(batch.commands, answer.outcomes, strict=True):
            key = shop.outcome(command.reserve.context.idempotency_key)
            assert list(key.outcome.holds) == list(outcome.holds)
        assert answer.durable_sequence >= answer.outcomes[-1].receipt.sequence
    sequences = [outcome.receipt.sequence for answer in answers for outcome in answer.outcomes]
    assert sequences == sorted(set(sequences))


def test_a_stream_answers_before_its_end(server_shop: Shop) -> None:
    shop = server_shop
    sku = shop.item(10)
    tokens: SimpleQueue[str] = SimpleQueue()

    def messages() -> Iterator[reservations.SubmitStreamRequest]:
        # The second names the hold that the answer to the first brings.
        made: tuple[Callable[[], requests.HoldRequest], ...] = (
            lambda: requests.reserve(shop.context(), (sku, shop.here, 2)),
            lambda: requests.fulfill(shop.context(), requests.by_id(tokens.get(timeout=10))),
        )
        for request in made:
            yield reservations.SubmitStreamRequest(commands=[requests.command(request())])

    assert isinstance(shop.target, ServerTarget)
    for answer in shop.target.submit_stream(messages()):
        tokens.put(answer.outcomes[0].holds[0].reservation_id)
    assert figures(shop.level(sku)) == (8, 0, 0, 8)


def test_a_bad_command_does_not_end_a_stream(server_shop: Shop) -> None:
    shop = server_shop
    sku = shop.item(10)
    bad = requests.reserve(shop.context(), (sku, shop.here, -1))
    good = [requests.reserve(shop.context(), (sku, shop.here, 1)) for _ in range(3)]
    answers = stream_of(shop, requests.submit(good[0], bad), requests.submit(bad), requests.submit(*good[1:]))
    check_rejected(answers[0].outcomes[1], "INVALID_FIELD")
    check_rejected(answers[1].outcomes[0], "INVALID_FIELD")
    assert [outcome.holds[0].version for outcome in answers[2].outcomes] == [1, 1]


@pytest.mark.parametrize("commands", [0, 1001])
def test_a_bad_message_ends_a_stream_after_the_answers_before_it(server_shop: Shop, commands: int) -> None:
    shop = server_shop
    sku = shop.item(2000)
    good = requests.submit(requests.reserve(shop.context(), (sku, shop.here, 1)))
    bad = requests.submit(*[requests.reserve(shop.context(), (sku, shop.here, 1)) for _ in range(commands)])
    assert isinstance(shop.target, ServerTarget)
    answers = shop.target.submit_stream(
        [reservations.SubmitStreamRequest(commands=batch.commands) for batch in (good, bad)]
    )
    assert next(answers).outcomes[0].holds[0].version == 1
    with pytest.raises(Refused) as refused:
        next(answers)
    assert (refused.value.reason, refused.value.fields) == ("INVALID_FIELD", ["commands"])
    assert shop.level(sku).reserved == 1


def test_an_empty_stream_ends_with_ok(server_shop: Shop) -> None:
    assert stream_of(server_shop) == []


def test_many_streams_at_once(server_shop: Shop) -> None:
    shop = server_shop
    sku, streams, each = shop.item(300), 6, 60
    assert isinstance(shop.target, ServerTarget)
    open_streams = [
        shop.target.submit_stream(
            reservations.SubmitStreamRequest(
                commands=[requests.command(requests.reserve(shop.context(), (sku, shop.here, 1)))]
            )
            for _ in range(each)
        )
        for _ in range(streams)
    ]
    outcomes = [answer.outcomes[0] for answers in zip(*open_streams, strict=True) for answer in answers]
    assert len(outcomes) == streams * each
    assert sum(len(outcome.holds) for outcome in outcomes) == 300
    assert figures(shop.level(sku)) == (300, 300, 0, 0)
