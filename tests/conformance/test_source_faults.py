"""Sources whose network loses and shuffles, whose process starts twice, and whose engine dies: 1 to n, each once."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from invengine.client import AsyncClient
from invengine.client.draft import Draft
from invengine.errors import SequenceGap
from invengine.v1 import types_pb2 as types
from invengine.v1.reservation_service_pb2 import ReserveResponse

from . import methods, requests
from .clock import COMPILERS, standing_at
from .own import ended, open_server, started
from .refused import TransportEnded
from .server import server_environment
from .shop import Shop, figures, refusal_of
from .targets import SERVERS, TARGETS, ServerTarget
from .test_sources import message

T = TypeVar("T")

START_MS = 1_800_000_000_000
YEAR_MS = 366 * 24 * 3_600_000
EVENTS, HOLDS, WINDOW = 10_000, 20, 32
KILLS, MESSAGES = 3, 120
SHUFFLE_S = 300
"""How long the last of all shuffled messages may wait for those before it."""


class Shuffling(AsyncClient):
    """A client whose network reorders: of the messages that wait to be sent, any may be first."""

    def __init__(self, address: str, seed: int) -> None:
        super().__init__(address, timeout_s=SHUFFLE_S)
        self.gaps = 0
        self._chance = random.Random(seed)
        self._waiting: list[asyncio.Future[None]] = []

    def send(self, draft: Draft[T], timeout_s: float | None = None) -> Coroutine[Any, Any, T]:
        """Sends when it is this draft's turn."""
        return self._in_turn(draft, timeout_s)

    async def _in_turn(self, draft: Draft[T], timeout_s: float | None) -> T:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        asyncio.get_running_loop().call_soon(self._let_one_go)
        await turn
        try:
            return await super().send(draft, timeout_s)
        except SequenceGap:
            self.gaps += 1
            raise

    def _let_one_go(self) -> None:
        self._waiting.pop(self._chance.randrange(len(self._waiting))).set_result(None)


def numbers_of(target: ServerTarget, source_id: str) -> list[tuple[int, int]]:
    """Epoch and sequence of each message of a source, as the journal has them."""
    places = [event.context.source for event in target.read_events()]
    return [(place.epoch, place.sequence) for place in places if place.source_id == source_id]


@pytest.mark.case("B12")
@pytest.mark.timeout(SHUFFLE_S + 60)
def test_ten_thousand_shuffled_events_are_applied_in_order(targets: Any) -> None:
    target = targets.get("native")
    shop = Shop(target)
    sku, source_id = shop.item(9 * HOLDS), shop.name("source")
    holds = [shop.hold((sku, shop.here, 1), ttl_s=3600) for _ in range(HOLDS)]
    chance = random.Random(12)
    changes = [(chance.randrange(HOLDS), chance.randint(1, 9)) for _ in range(EVENTS)]

    async def deliver() -> int:
        async with Shuffling(target.server.address, 12) as client, await client.source(source_id) as source:
            whole = [source.amend([(sku, shop.here, units)], holds[number].reservation_id) for number, units in changes]
            await asyncio.gather(*whole)
            return client.gaps

    start = target.digest()[1]
    assert asyncio.run(deliver()) > EVENTS / 10
    places = [event.context.source for event in target.read_events(start + 1)]
    mine = [place.sequence for place in places if place.source_id == source_id]
    assert mine == list(range(1, EVENTS + 1))
    # As if each had come when it was sent: the last word on every hold is the last one sent.
    last = dict(changes)
    assert [shop.reservation(hold).lines[0].reserved for hold in holds] == [last[number] for number in range(HOLDS)]
    assert shop.level(sku).reserved == sum(last.values())


class Losing(AsyncClient):
    """A client whose first numbered message is lost until another was refused because of it."""

    def __init__(self, address: str, others: int) -> None:
        super().__init__(address, timeout_s=60)
        self.gaps: list[tuple[int, int]] = []
        self._refused = asyncio.Event()
        self._others = others

    def send(self, draft: Draft[T], timeout_s: float | None = None) -> Coroutine[Any, Any, T]:
        """Sends, but for the first message, which is sent again when all others have been refused."""
        return self._lossy(draft, timeout_s)

    async def _lossy(self, draft: Draft[T], timeout_s: float | None) -> T:
        if draft.request.context.source.sequence == 1:
            await self._refused.wait()
        try:
            return await super().send(draft, timeout_s)
        except SequenceGap as gap:
            self.gaps.append((gap.expected, draft.request.context.source.sequence))
            if len(self.gaps) == self._others:
                self._refused.set()
            raise


@pytest.mark.case("B05")
def test_the_first_of_five_in_flight_is_lost(server_shop: Shop) -> None:
    shop, target = server_shop, server_shop.target
    assert isinstance(target, ServerTarget)
    sku, source_id = shop.item(), shop.name("source")

    async def deliver() -> list[tuple[int, int]]:
        async with Losing(target.server.address, others=4) as client, await client.source(source_id) as source:
            whole = [source.receive([(sku, shop.here, number)], reference=str(number)) for number in range(1, 6)]
            await asyncio.gather(*whole)
            return sorted(client.gaps)

    start = target.digest()[1]
    # Each of the four got the missing number, and nothing was applied out of order.
    assert asyncio.run(deliver())[:4] == [(1, 2), (1, 3), (1, 4), (1, 5)]
    mine = [event for event in target.read_events(start + 1) if event.context.source.source_id == source_id]
    assert [(event.context.source.sequence, event.context.reference) for event in mine] == [
        (number, str(number)) for number in range(1, 6)
    ]
    assert shop.level(sku).on_hand == 15


_SENDS_UNTIL_FENCED = """
import itertools, sys
from invengine.client import Client
from invengine.errors import StaleEpoch
address, source_id, sku, place, count = sys.argv[1:]
with Client(address) as client, client.source(source_id) as source:
    print(source.position.epoch, flush=True)
    try:
        for number in itertools.count(1):
            source.receive([(sku, place, 1)])
            if number == int(count):
                break
    except StaleEpoch:
        print("fenced", flush=True)
"""


@pytest.mark.case("B08")
def test_two_processes_that_share_a_source_by_mistake(server_shop: Shop) -> None:
    shop, target = server_shop, server_shop.target
    assert isinstance(target, ServerTarget)
    sku, source_id, sent = shop.item(), shop.name("source"), 50
    command = [sys.executable, "-c", _SENDS_UNTIL_FENCED, target.server.address, source_id, sku, shop.here]
    environment = server_environment({})
    with subprocess.Popen([*command, "0"], env=environment, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        try:
            epoch = int(first.stdout.readline())
            # It is in the middle of its work when the second registers.
            shop.event_after(0, lambda event: event.context.source.sequence == 20 and _is_of(event, source_id))
            second = subprocess.run(
                [*command, str(sent)], env=environment, capture_output=True, text=True, timeout=60, check=True
            )
            assert second.stdout.split() == [str(epoch + 1)], second.stderr
            assert first.stdout.read().split() == ["fenced"]
        finally:
            first.send_signal(signal.SIGKILL)
    places = numbers_of(target, source_id)
    old, new = ([number for each, number in places if each == wanted] for wanted in (epoch, epoch + 1))
    assert places == [(epoch, number) for number in old] + [(epoch + 1, number) for number in new]
    assert old == list(range(1, len(old) + 1))
    assert new == list(range(1, sent + 1))
    assert shop.level(sku).on_hand == len(places)


def _is_of(event: Any, source_id: str) -> bool:
    return bool(event.context.source.source_id == source_id)


@pytest.mark.case("B10")
@pytest.mark.needs_tool(*COMPILERS)
@pytest.mark.parametrize("kind", TARGETS)
def test_a_source_that_was_silent_for_a_year_continues(kind: str, tmp_path: Path) -> None:
    with standing_at(START_MS, kind, tmp_path) as target:
        shop = Shop(target)
        sku, place = shop.item(), shop.source()
        sent = [requests.receive(message(place, number), (sku, shop.here, 1)) for number in (1, 2, 3)]
        for request in sent[:2]:
            shop.call(methods.RECEIVE, request)
    with standing_at(START_MS + YEAR_MS, kind, tmp_path) as target:
        shop.target = target
        # Its position is never forgotten: what was applied is not applied again, and nothing is omitted.
        late = requests.receive(message(place, 4), (sku, shop.here, 1))
        shop.refused(methods.RECEIVE, late, "SEQUENCE_GAP", expected=3, got=4)
        assert not shop.call(methods.RECEIVE, sent[2]).receipt.replayed
        for request in sent[:2]:
            answered = target.outcomes(methods.RECEIVE, [request])[0]
            assert getattr(answered, "reason", "SEQUENCE_CONSUMED") == "SEQUENCE_CONSUMED"
        assert shop.level(sku).on_hand == 3


@pytest.mark.case("B13")
@pytest.mark.parametrize("kind", SERVERS)
def test_an_acknowledged_number_of_a_source_is_never_expected_again(kind: str, tmp_path: Path) -> None:
    shop: Shop | None = None
    place, sku, acknowledged = types.SourcePosition(), "", 0
    for _ in range(KILLS):
        # Small files, so that there are several.
        target = open_server(kind, tmp_path, journal_file_bytes=1 << 20)
        if shop is None:
            shop = Shop(target)
            sku, place = shop.item(10_000), shop.source()
        shop.target = target
        expected = _expected(shop, place, sku)
        assert expected > acknowledged
        numbers = range(expected, expected + MESSAGES)
        sent = [requests.reserve(message(place, number), (sku, shop.here, 1), ttl_s=3600) for number in numbers]
        for request in sent[: MESSAGES // 2]:
            shop.call(methods.RESERVE, request)
        calls = started(target, methods.RESERVE, sent[MESSAGES // 2 :])
        target.server.kill()
        outcomes = [ended(methods.RESERVE, call) for call in calls]
        target.disconnect()
        assert all(
            isinstance(each, ReserveResponse | TransportEnded) or each.reason == "SEQUENCE_GAP" for each in outcomes
        )
        reported = [
            number
            for number, each in zip(numbers[MESSAGES // 2 :], outcomes, strict=True)
            if isinstance(each, ReserveResponse)
        ]
        acknowledged = max([numbers[MESSAGES // 2 - 1], *reported])
    target = open_server(kind, tmp_path)
    assert shop is not None
    shop.target = target
    expected = _expected(shop, place, sku)
    assert expected > acknowledged
    assert numbers_of(target, place.source_id) == [(place.epoch, number) for number in range(1, expected)]
    assert figures(shop.level(sku))[1] == expected - 1
    target.close()


def _expected(shop: Shop, place: types.SourcePosition, sku: str) -> int:
    """The number that the engine wants next."""
    far = requests.reserve(message(place, 2**40), (sku, shop.here, 1))
    return int(refusal_of(shop.target, methods.RESERVE.path, far.SerializeToString()).metadata["expected"])
