"""An engine in this process that is closed while batches are in flight, again and again on one journal."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from invengine import _core
from invengine.v1 import catalog_service_pb2 as catalog
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import reservation_service_pb2 as reservations
from invengine.v1 import types_pb2 as types

from ..conformance import methods
from ..conformance.methods import A, Method, Q

SKU, LOCATION = "mug", "here"
BATCHES = 12
COMMANDS = 24
STOCK_UNITS = 1_000_000
WAIT_S = 30.0
# A call that reaches a closing engine is refused, and nothing of it is executed.
REFUSED = {"DRAINING"}


@dataclass(slots=True)
class Batch:
    """A batch of reserves and how it ended."""

    request: reservations.SubmitRequest
    ended: threading.Event = field(default_factory=threading.Event)
    code: int = -1
    answer: bytes = b""
    endings: int = 0

    def end(self, code: int, answer: bytes) -> None:
        """The callback of the engine."""
        self.code, self.answer = code, answer
        self.endings += 1
        self.ended.set()

    def outcomes(self) -> list[reservations.Outcome]:
        """Outcomes of its commands; empty if the whole batch was refused."""
        return list(reservations.SubmitResponse.FromString(self.answer).outcomes) if self.code == 0 else []


class CloseUnderLoad:
    """Rounds on one journal: each opens an engine and closes it while batches are in flight."""

    def __init__(self, directory: Path, chance: random.Random) -> None:
        self.endings: Counter[str] = Counter()
        self._settings = json.dumps({"journal": "file", "directory": str(directory / "journal")})
        self._chance = chance
        self._sent = 0
        self._reserved = 0
        with self._engine() as engine:
            _call(engine, methods.UPSERT_LOCATIONS, catalog.UpsertLocationsRequest(
                context=_key("location"), locations=[catalog.Location(location=LOCATION)]))  # fmt: skip
            _call(engine, methods.UPSERT_ITEMS, catalog.UpsertItemsRequest(
                context=_key("item"), items=[catalog.Item(sku=SKU)]))  # fmt: skip
            line = inventory.StockLine(sku=SKU, location=LOCATION, quantity=STOCK_UNITS)
            _call(engine, methods.RECEIVE, inventory.ReceiveRequest(context=_key("stock"), lines=[line]))

    def play(self, rounds: int) -> None:
        """Closes an engine in the middle of its work, opens the next, and sends it every batch again."""
        batches: list[Batch] = []
        for _ in range(rounds):
            with self._engine() as engine:
                self._check(engine, batches)
                batches = [self._batch() for _ in range(BATCHES)]
                self._close_in_flight(engine, batches)
        with self._engine() as engine:
            self._check(engine, batches)

    @contextmanager
    def _engine(self) -> Iterator[_core.Engine]:
        engine = _core.Engine.open(self._settings)
        try:
            yield engine
        finally:
            engine.close()

    def _batch(self) -> Batch:
        commands = []
        for _ in range(COMMANDS):
            self._sent += 1
            line = types.LineRequest(sku=SKU, location=LOCATION, quantity=1)
            reserve = reservations.ReserveRequest(
                context=_key(f"k{self._sent}"), lines=[line], ttl=Duration(seconds=86_400)
            )
            commands.append(reservations.Command(reserve=reserve))
        return Batch(reservations.SubmitRequest(commands=commands))

    def _close_in_flight(self, engine: _core.Engine, batches: list[Batch]) -> None:
        before, after = self._chance.randint(1, BATCHES), self._chance.choice((0, 0, 1, BATCHES))
        closer = threading.Thread(target=engine.close)
        for batch in batches[:before]:
            engine.start_call(methods.SUBMIT.path, batch.request.SerializeToString(), batch.end)
        if after:
            batches[min(after, before) - 1].ended.wait(WAIT_S)
        closer.start()
        for number, batch in enumerate(batches[before:], before):
            try:
                engine.start_call(methods.SUBMIT.path, batch.request.SerializeToString(), batch.end)
            except _core.EngineClosed:
                del batches[number:]
                break
        closer.join(WAIT_S)
        assert not closer.is_alive(), "the engine does not close"
        for batch in batches:
            assert batch.ended.wait(WAIT_S), "a call that the engine accepted was never answered"

    def _check(self, engine: _core.Engine, batches: list[Batch]) -> None:
        """Repeats every batch: accepted ones get the same answer again, refused ones were not executed before."""
        for batch in batches:
            assert batch.endings == 1, f"a call was answered {batch.endings} times"
            outcomes = batch.outcomes()
            reason = "answered" if batch.code == 0 else _reason(batch.answer)
            assert batch.code == 0 or reason in REFUSED, f"a batch ended with code {batch.code}, {reason}"
            self.endings[reason] += 1
            again = _call(engine, methods.SUBMIT, batch.request).outcomes
            assert [outcome.receipt.replayed for outcome in again] == [bool(outcomes)] * COMMANDS
            for first, second in zip(outcomes, again, strict=False):
                assert first.holds[0].reservation_id == second.holds[0].reservation_id
            self._reserved += COMMANDS
        request = inventory.ListInventoryLevelsRequest(page_size=10)
        levels = _call(engine, methods.LIST_LEVELS, request).levels
        assert [(level.reserved, level.on_hand) for level in levels] == [(self._reserved, STOCK_UNITS)]


def _key(name: str) -> types.CommandContext:
    return types.CommandContext(idempotency_key=name)


def _call(engine: _core.Engine, method: Method[Q, A], request: Q) -> A:
    return method.answer.FromString(engine.call(method.path, request.SerializeToString()))


def _reason(status: bytes) -> str:
    info = error_details_pb2.ErrorInfo()
    with suppress(StopIteration):
        next(detail for detail in status_pb2.Status.FromString(status).details if detail.Unpack(info))
    return info.reason
