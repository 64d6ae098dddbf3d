"""A command sender retries, looks up outcomes, and records its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from invengine.client import AsyncClient, Hold, HoldLine, KnownOutcome, LineState, Outcome, Receipt, commands
from invengine.errors import ConnectionLost, InsufficientStock, InvengineError, OutcomeUnknown, Rejected
from invengine.simulate.promotion.answers import AnswerLog, last_answers, read_answers
from invengine.simulate.promotion.clock import ProcessClock, SharedClock
from invengine.simulate.promotion.command_sender import CommandSender
from invengine.simulate.promotion.tally import Tally

LINE = ("MUG", "berlin", 2)


def hold(sequence: int, *, replayed: bool = False) -> Hold:
    """A hold of LINE."""
    line = HoldLine(*LINE, LineState.RESERVED, 2)
    return Hold("R1", 1, 0, False, (line,), Receipt(sequence, sequence, replayed))


class Scripted:
    """A client with prepared answers."""

    def __init__(self, *answers: Hold | InvengineError, known: list[KnownOutcome] | None = None) -> None:
        self._answers = list(answers)
        self._known = known or []
        self.asked: list[str] = []
        self.window_s = 3600.0

    async def server_info(self, *, timeout_s: float) -> SimpleNamespace:
        return SimpleNamespace(engine_time=datetime.now(UTC), effective_dedupe_window_s=self.window_s)

    async def send(self, draft: Any, timeout_s: float) -> Hold:
        answer = self._answers.pop(0)
        if isinstance(answer, InvengineError):
            raise answer
        return answer

    async def get_outcome(self, key: str, *, timeout_s: float) -> KnownOutcome:
        self.asked.append(key)
        return self._known.pop(0)


def known(sequence: int) -> KnownOutcome:
    """The server knows an acceptance."""
    answer = hold(sequence, replayed=True)
    return KnownOutcome(True, Outcome(answer.receipt, (answer,), (), False, None), False, sequence)


UNKNOWN = KnownOutcome(False, None, False, 9)


def with_sender(client: Scripted, log: Path, scene: Callable[[CommandSender], Awaitable[Any]]) -> Tally:
    """Plays a scene with a sender and returns its tally."""
    clock = SharedClock(1.0)
    clock.start(datetime(2026, 11, 27, tzinfo=UTC), 0.0)
    tally = Tally()
    with AnswerLog(log) as answers:
        sender = CommandSender(cast(AsyncClient, client), answers, ProcessClock(clock), tally, "web")
        asyncio.run(cast(Any, scene(sender)))
    return tally


def reserve() -> Any:
    return commands.reserve([LINE], key="k", issue_time=datetime.now(UTC))


def test_a_lost_connection_is_waited_out(tmp_path: Path) -> None:
    client = Scripted(ConnectionLost("gone"), hold(5))
    tally = with_sender(client, tmp_path / "log", lambda sender: sender.send(reserve(), 0.0))
    assert tally.accepted == {"reserve": 1}
    assert (tally.units_reserved, tally.calls) == (2, 2)
    assert [answer.sequence for answer in read_answers(tmp_path / "log")] == [5]


def test_an_unknown_outcome_is_looked_up_and_not_sent_again(tmp_path: Path) -> None:
    client = Scripted(OutcomeUnknown("who knows"), known=[known(7)])
    tally = with_sender(client, tmp_path / "log", lambda sender: sender.send(reserve()))
    assert (client.asked, tally.unknown_resolved, tally.accepted["reserve"]) == (["k"], 1, 1)


def test_what_did_not_happen_is_sent_again_with_its_key(tmp_path: Path) -> None:
    client = Scripted(OutcomeUnknown("who knows"), hold(8), known=[UNKNOWN])
    tally = with_sender(client, tmp_path / "log", lambda sender: sender.send(reserve()))
    assert (tally.unknown_resolved, tally.accepted["reserve"]) == (0, 1)


def test_a_repeat_counts_once_and_another_answer_is_a_contradiction(tmp_path: Path) -> None:
    async def scene(sender: CommandSender) -> None:
        for _ in range(3):
            await sender.send(reserve())

    client = Scripted(hold(5), hold(5, replayed=True), hold(6, replayed=True))
    tally = with_sender(client, tmp_path / "log", scene)
    assert (tally.accepted["reserve"], tally.replayed, tally.units_reserved) == (1, 2, 2)
    assert len(tally.contradictions) == 1


def test_a_rejection_may_become_an_acceptance_but_never_the_reverse(tmp_path: Path) -> None:
    no = InsufficientStock(metadata={"requested": "2", "available": "1"})

    async def scene(sender: CommandSender) -> None:
        for _ in range(3):
            await sender.send(reserve())

    tally = with_sender(Scripted(no, hold(5), no), tmp_path / "log", scene)
    assert tally.refused == {"reserve INSUFFICIENT_STOCK": 1}
    assert tally.accepted["reserve"] == 1
    assert len(tally.contradictions) == 1
    assert last_answers([tmp_path / "log"])["web", "k"].sequence == 5


def test_a_rejection_of_available_units_is_a_finding(tmp_path: Path) -> None:
    no = InsufficientStock(metadata={"requested": "2", "available": "3"})
    assert with_sender(Scripted(no), tmp_path / "log", lambda sender: sender.send(reserve())).false_refusals == 1
    assert (
        with_sender(Scripted(Rejected("no")), tmp_path / "log", lambda sender: sender.send(reserve())).false_refusals
        == 0
    )


def test_after_an_outage_every_accepted_command_is_looked_up(tmp_path: Path) -> None:
    async def scene(sender: CommandSender) -> None:
        await sender.send(reserve())
        await sender.verify_answers()
        await sender.verify_answers()
        await sender.verify_answers()

    client = Scripted(hold(5), known=[known(5), UNKNOWN, known(6)])
    tally = with_sender(client, tmp_path / "log", scene)
    assert (tally.looked_up, len(tally.lost)) == (3, 2)


def test_what_is_older_than_keys_are_remembered_is_not_asked_about(tmp_path: Path) -> None:
    async def scene(sender: CommandSender) -> None:
        await sender.send(reserve())
        await sender.verify_answers()

    client = Scripted(hold(5))
    client.window_s = -1.0
    tally = with_sender(client, tmp_path / "log", scene)
    assert (tally.looked_up, tally.lost, client.asked) == (0, [], [])


def test_the_ledger_of_the_client_follows_the_lifecycle_of_a_hold() -> None:
    tally, place = Tally(), ("MUG", "berlin")
    tally.count_line("reserve", place, 2)
    tally.count_line("allocate", place, 2)
    tally.count_line("fulfill", place, 1)
    other = Tally()
    other.count_line("fulfill", place, 1)
    tally.add(other)
    assert (tally.units_reserved, tally.allocated[place], tally.fulfilled[place]) == (2, 0, 2)
