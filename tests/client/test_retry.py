"""Is the policy right, with a scripted clock and no I/O?"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from scripted_peer import RESERVE, STREAM, Peer, Refusal, accept_all, in_turn, reserve_answer

from invengine import errors
from invengine.client import AsyncClient, Client, commands, retry
from invengine.client.retry import Attempt, Pause, attempts
from invengine.errors import InvengineError, OutcomeUnknown
from invengine.v1 import reservation_service_pb2 as reservation


class Driver:
    """Drives one attempts: every attempt takes `attempt_s`, every pause its time and `late_s` more."""

    def __init__(
        self, timeout_s: float = 10.0, key: str | None = "k", attempt_s: float = 0.0, late_s: float = 0.0
    ) -> None:
        self.now = 100.0
        self.attempt_s = attempt_s
        self.late_s = late_s
        self.pauses: list[float] = []
        self.attempts: list[float] = []
        self._turn = attempts(self.now + timeout_s, key=key, clock=lambda: self.now, jitter=lambda: 1.0)

    def run(self, *results: InvengineError | None) -> None:
        """Gives the results one after the other; the last one again and again."""
        left = list(results)
        step = next(self._turn)
        while True:
            if isinstance(step, Pause):
                self.pauses.append(step.seconds)
                self.now += step.seconds + self.late_s
                step = next(self._turn)
                continue
            assert isinstance(step, Attempt)
            self.attempts.append(step.timeout_s)
            self.now += self.attempt_s
            result = left.pop(0) if len(left) > 1 else left[0]
            if result is None:
                return
            step = self._turn.send(result)


@pytest.fixture(autouse=True)
def real_pauses(short_pauses: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "BACKOFF_FIRST_S", 0.5)
    monkeypatch.setattr(retry, "BACKOFF_MAX_S", 5.0)


def test_the_first_attempt_may_use_the_whole_timeout() -> None:
    driver = Driver(timeout_s=3.0)
    driver.run(None)
    assert driver.attempts == [3.0]
    assert driver.pauses == []


def test_pauses_double_up_to_five_seconds() -> None:
    driver = Driver(timeout_s=60.0)
    driver.run(*[errors.Draining()] * 6, None)
    assert driver.pauses == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_jitter_takes_away_up_to_half() -> None:
    assert retry.pause_s(errors.Draining(), 1, lambda: 0.0) == 0.25
    assert 0.25 <= retry.pause_s(errors.Draining(), 1) <= 0.5


def test_the_wait_that_the_server_asks_for_is_honoured() -> None:
    driver = Driver()
    driver.run(errors.Overloaded(retry_after_s=2.0), None)
    assert driver.pauses == [2.5]
    assert retry.pause_s(errors.Overloaded(retry_after_s=2.0), 1, lambda: 0.0) == 2.0


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (errors.Draining(), True),
        (errors.Recovering(), True),
        (errors.Unreachable(), True),
        (errors.ConnectionLost(), True),
        (OutcomeUnknown(), True),
        (errors.Overloaded(retry_after_s=0.1), True),
        (errors.HoldLimitExceeded(retry_after_s=0.1), True),
        (errors.HoldLimitExceeded(), False),
        (errors.JournalFull(), False),
        (errors.SequenceGap(), False),
        (errors.QuantityStale(), False),
        (errors.InsufficientStock(), False),
        (errors.InternalFault(), False),
        (errors.DeadlineExceeded(), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, InvengineError) else "",
)
def test_only_what_may_succeed_is_sent_again(error: InvengineError, again: bool) -> None:
    assert retry.is_repeatable(error) is again


def test_a_rejection_is_raised_at_once() -> None:
    driver = Driver()
    with pytest.raises(errors.InsufficientStock):
        driver.run(errors.InsufficientStock())
    assert len(driver.attempts) == 1


def test_a_fault_that_lasts_to_the_deadline_is_raised_unchanged() -> None:
    driver = Driver(timeout_s=3.0)
    with pytest.raises(errors.Draining):
        driver.run(errors.Draining())
    assert sum(driver.pauses) < 3.0


def test_no_pause_exceeds_the_deadline() -> None:
    driver = Driver(timeout_s=1.0)
    with pytest.raises(errors.Overloaded):
        driver.run(errors.Overloaded(retry_after_s=5.0))
    assert driver.pauses == []


def test_one_lost_answer_makes_the_outcome_unknown_whatever_follows() -> None:
    driver = Driver(timeout_s=3.0, key="order-1/1-reserve")
    with pytest.raises(OutcomeUnknown) as caught:
        driver.run(errors.ConnectionLost(), errors.Draining())
    assert caught.value.key == "order-1/1-reserve"
    assert "order-1/1-reserve" in str(caught.value)
    assert isinstance(caught.value.__cause__, errors.ConnectionLost)


def test_a_rejection_after_a_lost_answer_settles_it() -> None:
    with pytest.raises(errors.InsufficientStock):
        Driver().run(errors.ConnectionLost(), errors.InsufficientStock())


def test_a_fault_after_a_lost_answer_does_not_settle_it() -> None:
    with pytest.raises(OutcomeUnknown):
        Driver().run(errors.ConnectionLost(), errors.JournalFull())


def test_an_answer_that_is_overdue_has_an_unknown_outcome() -> None:
    with pytest.raises(OutcomeUnknown):
        Driver(timeout_s=1.0, attempt_s=1.0).run(errors.AnswerOverdue())


def test_a_read_has_no_outcome_to_be_unknown() -> None:
    with pytest.raises(errors.ConnectionLost):
        Driver(timeout_s=1.0, key=None).run(errors.ConnectionLost())


def test_a_deadline_in_the_past_sends_nothing() -> None:
    driver = Driver(timeout_s=0.0)
    with pytest.raises(errors.DeadlineExceeded):
        driver.run(None)
    assert driver.attempts == []


@pytest.mark.parametrize("failure", [errors.Unreachable(), errors.Draining(), errors.Overloaded(retry_after_s=0.4)])
def test_a_pause_that_ends_after_the_deadline_keeps_the_failure_before_it(failure: InvengineError) -> None:
    driver = Driver(timeout_s=1.0, late_s=5.0)
    with pytest.raises(type(failure)):
        driver.run(failure)
    assert len(driver.attempts) == 1


def test_a_pause_that_ends_after_the_deadline_leaves_an_unknown_outcome_unknown() -> None:
    with pytest.raises(OutcomeUnknown):
        Driver(timeout_s=1.0, late_s=5.0).run(errors.ConnectionLost())


def test_an_unknown_outcome_of_earlier_attempts_stays_unknown() -> None:
    flow = attempts(101.0, key="k", clock=lambda: 100.0, unknown=errors.ConnectionLost())
    next(flow)
    with pytest.raises(OutcomeUnknown):
        flow.send(errors.JournalFull())


# A key of this very call


TOO_OLD = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "DEDUPE_WINDOW_EXPIRED", metadata={"window": "1"})


def issued(peer: Peer) -> list[tuple[str, int]]:
    """Keys and issue times as they came."""
    sent = [reservation.ReserveRequest.FromString(body).context for body in peer.bodies(RESERVE)]
    return [(each.idempotency_key, each.issue_time.ToNanoseconds()) for each in sent]


def reserve(peer: Peer, kind: str, **fields: Any) -> Any:
    """Reserves with a client of this kind."""
    if kind == "blocking":
        with Client(peer.target) as client:
            return client.reserve([("mug", "wh-1", 1)], **fields)

    async def main() -> Any:
        async with AsyncClient(peer.target, batching=kind == "batched") as client:
            return await client.reserve([("mug", "wh-1", 1)], **fields)

    return asyncio.run(main())


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_generated_key_is_sent_again_with_a_new_issue_time(peer: Peer, kind: str) -> None:
    peer.behaviours[RESERVE] = in_turn(TOO_OLD, reserve_answer())
    reserve(peer, kind)
    (first, second) = issued(peer)
    assert first[0] == second[0] != ""
    assert first[1] < second[1]
    peer.behaviours[RESERVE] = in_turn(TOO_OLD)
    with pytest.raises(errors.DedupeWindowExpired):
        reserve(peer, kind)
    assert len(issued(peer)) == 4, "once more and no oftener"


def test_a_batched_generated_key_is_sent_again_with_a_new_issue_time(peer: Peer) -> None:
    refused = reservation.Outcome()
    refused.rejection.code, refused.rejection.reason = 9, "DEDUPE_WINDOW_EXPIRED"
    answer = reservation.SubmitStreamResponse(outcomes=[refused]).SerializeToString()
    peer.behaviours[STREAM] = in_turn(answer, accept_all)
    assert reserve(peer, "batched").reservation_id
    sent = [reservation.SubmitStreamRequest.FromString(body).commands[0].reserve for body in peer.bodies(STREAM)]
    assert sent[0].context.idempotency_key == sent[1].context.idempotency_key
    assert sent[0].context.issue_time.ToNanoseconds() < sent[1].context.issue_time.ToNanoseconds()


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
@pytest.mark.parametrize(
    "fields", [{"key": "mine"}, {"issue_time": datetime(2020, 1, 1, tzinfo=UTC)}], ids=["key", "issue_time"]
)
def test_a_command_with_a_key_of_its_caller_is_never_reissued(peer: Peer, kind: str, fields: dict[str, Any]) -> None:
    peer.behaviours[RESERVE] = in_turn(TOO_OLD, reserve_answer())
    with pytest.raises(errors.DedupeWindowExpired):
        reserve(peer, kind, **fields)
    assert len(issued(peer)) == 1


def test_a_draft_that_was_sent_before_is_never_reissued(peer: Peer) -> None:
    peer.behaviours[RESERVE] = in_turn(Refusal(grpc.StatusCode.INTERNAL, "INTERNAL"), TOO_OLD, reserve_answer())
    draft = commands.reserve([("mug", "wh-1", 1)])
    with Client(peer.target) as client:
        with pytest.raises(errors.OutcomeUnknown):
            client.send(draft)
        with pytest.raises(errors.DedupeWindowExpired):
            client.send(draft)
    assert len(issued(peer)) == 2


def test_after_an_unknown_outcome_a_command_is_never_reissued(peer: Peer) -> None:
    lost = Refusal(grpc.StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN")
    peer.behaviours[RESERVE] = in_turn(lost, TOO_OLD, reserve_answer())
    with pytest.raises(errors.DedupeWindowExpired):
        reserve(peer, "blocking")
    assert len({key for key, _ in issued(peer)}) == 1
    assert len(issued(peer)) == 2


def test_the_first_moment_of_1970_is_an_issue_time() -> None:
    draft = commands.reserve([("mug", "wh-1", 1)], issue_time=datetime(1970, 1, 1, tzinfo=UTC))
    draft.seal(5_000_000_000)
    assert draft.request.context.issue_time.ToNanoseconds() == 0
