"""A source of one test that sends messages, and what the ledger keeps of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import source_service_pb2 as sources
from invengine.v1 import types_pb2 as types
from invengine.v1.inventory_service_pb2 import MessageOutcome, SourceMessage
from invengine.v1.source_service_pb2 import KeptMessage

from . import methods, requests
from .refused import Refused, from_rejection
from .shop import Shop

APPLIED = inventory.MESSAGE_DISPOSITION_APPLIED
PARKED = inventory.MESSAGE_DISPOSITION_PARKED
WAITING = inventory.MESSAGE_DISPOSITION_WAITING
DEAD = inventory.MESSAGE_DISPOSITION_DEAD_LETTER
REFUSED = inventory.MESSAGE_DISPOSITION_REFUSED


class Inbox:
    """A registered source with an item of which it speaks."""

    def __init__(self, shop: Shop, on_hand: int = 0) -> None:
        self.shop = shop
        self.place = shop.source()
        self.sku = shop.item(on_hand)

    @property
    def name(self) -> str:
        """Its name."""
        return self.place.source_id

    # Messages

    def context(self, number: int, key: str | None = None, **fields: Any) -> types.CommandContext:
        """Id and position of a message, the id by default a new one."""
        found = self.shop.context(key, **fields)
        found.source.CopyFrom(self.place)
        found.source.sequence = number
        return found

    def goods(self, number: int, units: int = 1, *, key: str | None = None, sku: str | None = None) -> SourceMessage:
        """Goods came in at the first location."""
        line = (sku or self.sku, self.shop.here, units)
        return SourceMessage(goods_received=requests.receive(self.context(number, key), line))

    def arrival(self, number: int, transfer: str, *, key: str | None = None) -> SourceMessage:
        """All of a stock transfer arrived."""
        found = inventory.ReceiveTransferRequest(context=self.context(number, key), transfer=transfer, whole=True)
        return SourceMessage(transfer_received=found)

    # What it does

    def record(self, *messages: SourceMessage) -> list[MessageOutcome]:
        """Sends messages; each outcome is durable."""
        answer = self.shop.call(methods.RECORD_MESSAGES, inventory.RecordMessagesRequest(messages=messages))
        assert len(answer.outcomes) == len(messages)
        return checked(list(answer.outcomes), answer.durable_sequence)

    def one(self, message: SourceMessage) -> MessageOutcome:
        """The outcome of one message."""
        (outcome,) = self.record(message)
        return outcome

    def become(self, *messages: SourceMessage) -> list[int]:
        """What becomes of messages."""
        return [each.disposition for each in self.record(*messages)]

    def register(self) -> sources.RegisterSourceResponse:
        """Begins its next epoch."""
        request = sources.RegisterSourceRequest(context=self.shop.context(), source_id=self.name)
        answer = self.shop.call(methods.REGISTER_SOURCE, request)
        self.place.epoch = answer.epoch
        return answer

    def skip(self, through: int, **fields: Any) -> sources.SkipGapRequest:
        """Asks to give up missing numbers."""
        asked: dict[str, Any] = {"source_id": self.name, "epoch": self.place.epoch, "through": through} | fields
        return sources.SkipGapRequest(context=self.shop.context(reason_code="lost"), **asked)

    def redrive(self, *letters: int, **fields: Any) -> list[MessageOutcome]:
        """Sends dead letters again."""
        request = sources.RedriveDeadLettersRequest(source_id=self.name, dead_letters=letters, **fields)
        answer = self.shop.call(methods.REDRIVE_DEAD_LETTERS, request)
        assert len(answer.outcomes) == len(letters)
        return checked(list(answer.outcomes), answer.durable_sequence)

    def discard(self, *letters: int, **fields: Any) -> sources.DiscardDeadLettersRequest:
        """Asks to give up dead letters."""
        asked: dict[str, Any] = {"source_id": self.name, "dead_letters": letters} | fields
        return sources.DiscardDeadLettersRequest(context=self.shop.context(reason_code="typo"), **asked)

    # What is kept of it

    def parked(self) -> list[KeptMessage]:
        """Its parked messages."""
        return self._all(methods.LIST_PARKED, "parked")

    def waiting(self) -> list[KeptMessage]:
        """Its messages that wait."""
        return self._all(methods.LIST_WAITING, "waiting")

    def letters(self) -> list[KeptMessage]:
        """Its dead letters."""
        return self._all(methods.LIST_DEAD_LETTERS, "dead_letters")

    def _all(self, method: methods.Method[Any, Any], field: str) -> list[KeptMessage]:
        request, found = method.request(source_id=self.name, page_size=1000), list[KeptMessage]()
        while not found or request.page_token:
            answer = self.shop.call(method, request)
            found += getattr(answer, field)
            request.page_token = answer.next_page_token
            if not answer.next_page_token:
                break
        return found

    def figures(self) -> sources.Source:
        """It as a list of sources shows it."""
        request = methods.LIST_SOURCES.request(page_size=1000)
        while True:
            answer = self.shop.call(methods.LIST_SOURCES, request)
            for found in answer.sources:
                if found.source_id == self.name:
                    return found
            assert answer.next_page_token, self.name
            request.page_token = answer.next_page_token

    def counts(self) -> tuple[int, int, int, int]:
        """Its last number, and how many messages are parked, wait and are dead; all agree with the lists."""
        found = self.figures()
        assert (found.parked, found.waiting, found.dead_letters) == (
            len(self.parked()),
            len(self.waiting()),
            len(self.letters()),
        )
        assert found.HasField("parked_since") is bool(found.parked)
        assert found.HasField("waiting_since") is bool(found.waiting)
        return found.sequence, found.parked, found.waiting, found.dead_letters


def body(inbox: Inbox, name: str, number: int) -> SourceMessage:
    """A message of each kind that can be applied."""
    context, line = inbox.context(number), (inbox.sku, inbox.shop.here, 3)
    made: dict[str, Callable[[], Any]] = {
        "goods_received": lambda: requests.receive(context, line),
        "return_received": lambda: requests.give_back(context, line),
        "stock_level_reported": lambda: requests.set_quantity(context, line),
        "cycle_count_adjusted": lambda: requests.count(context, line),
        "stock_adjusted": lambda: requests.adjust(context, line),
        "stock_moved": lambda: requests.move_quantity(context, line),
        "transfer_shipped": lambda: shipment(inbox, context, inbox.shop.name("transfer")),
        "transfer_received": lambda: inventory.ReceiveTransferRequest(
            context=context, transfer=inbox.shop.stock_transfer(inbox.sku, 3), whole=True
        ),
        "transfer_closed": lambda: inventory.CloseTransferRequest(
            context=context,
            transfer=inbox.shop.stock_transfer(inbox.sku, 3),
            remainder=types.TRANSFER_REMAINDER_SENT_BACK,
        ),
        "reservation_created": lambda: requests.reserve(context, line),
    }
    return SourceMessage(**{name: made[name]()})


def shipment(inbox: Inbox, context: types.CommandContext, transfer: str) -> inventory.ShipTransferRequest:
    """Three units leave for the second location."""
    shop = inbox.shop
    found = inventory.ShipTransferRequest(
        context=context, transfer=transfer, from_location=shop.here, to_location=shop.there
    )
    found.lines.add(sku=inbox.sku, quantity=3)
    return found


def checked(outcomes: list[MessageOutcome], durable: int) -> list[MessageOutcome]:
    """What holds for every outcome whatever became of its message."""
    for outcome in outcomes:
        assert outcome.HasField("receipt") is (outcome.disposition != REFUSED), outcome
        assert outcome.HasField("rejection") is (outcome.disposition in (DEAD, REFUSED)), outcome
        if outcome.HasField("receipt"):
            assert 0 < outcome.receipt.sequence <= durable, outcome
        if outcome.HasField("rejection"):
            from_rejection(outcome.rejection)
    return outcomes


def rejected(outcome: MessageOutcome, disposition: int, reason: str, **facts: str | int) -> Refused:
    """Requires that a message was refused, kept or not, for this reason; returns it."""
    assert outcome.disposition == disposition, outcome
    refused = from_rejection(outcome.rejection)
    assert refused.reason == reason, refused
    assert {name: refused.metadata.get(name) for name in facts} == {name: str(value) for name, value in facts.items()}
    return refused
