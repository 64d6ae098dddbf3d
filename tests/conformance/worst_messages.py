"""The longest answers about messages of sources: refusals with the longest names, messages with the most lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import policy_service_pb2 as policy
from invengine.v1 import source_service_pb2 as sources
from invengine.v1 import types_pb2 as types
from invengine.v1.inventory_service_pb2 import SourceMessage

from . import methods, requests
from .targets import ServerTarget

if TYPE_CHECKING:
    from .test_answer_bounds import Worst

COUNT = 1_000
LONGEST = 3
"""Messages of a thousand lines; one request has room for so many."""


class WorstMessages:
    """A source whose every message is refused, in as many words as there can be."""

    def __init__(self, worst: Worst, rule: str, transfer: str) -> None:
        self._worst = worst
        self._rule = rule
        self._transfer = transfer
        self._name = worst.sources[1]
        self._place = types.SourcePosition(source_id=self._name)
        self._key = ""

    def calls(self) -> dict[str, Callable[[], list[int]]]:
        """How to get the longest answers, by the path of their method, in this order."""
        m = methods
        listed = {"source_id": self._name}
        return {
            m.RECORD_MESSAGES.path: self.recorded,
            m.RECORD_MESSAGE_STREAM: self.streamed,
            m.LIST_PARKED.path: lambda: self._worst.pages(m.LIST_PARKED, **listed),
            m.LIST_WAITING.path: lambda: self._worst.pages(m.LIST_WAITING, **listed),
            m.LIST_DEAD_LETTERS.path: lambda: self._worst.pages(m.LIST_DEAD_LETTERS, **listed),
            m.SKIP_GAP.path: self.skipped,
            m.REDRIVE_DEAD_LETTERS.path: self.redriven,
            m.DISCARD_DEAD_LETTERS.path: self.discarded,
        }

    def _context(self) -> types.CommandContext:
        context = self._worst.context(source=self._place)
        self._place.sequence += 1
        context.source.sequence = self._place.sequence
        return context

    def _refused(self) -> SourceMessage:
        line = (self._worst.skus[0], self._worst.places[0], 1)
        return SourceMessage(goods_received=requests.receive(self._context(), line))

    def _send(self, *messages: SourceMessage) -> bytes:
        request = inventory.RecordMessagesRequest(messages=messages)
        return self._worst.target.call_raw(methods.RECORD_MESSAGES.path, request.SerializeToString())

    def recorded(self) -> list[int]:
        """Another source has the right, and says so in a thousand refusals; then messages of each kind that is kept."""
        registered = methods.REGISTER_SOURCE.request(context=self._worst.context(), source_id=self._name)
        self._place.epoch = self._worst.target.call(methods.REGISTER_SOURCE, registered).epoch
        put = policy.UpsertAuthorityRulesRequest(context=self._worst.context())
        put.authority_rules.add(
            rule=self._rule, rights=[types.AUTHORITY_RIGHT_REPORT], source_id=self._worst.sources[0]
        )
        self._worst.ask(methods.UPSERT_AUTHORITY_RULES, put)
        found, messages = list[int](), [self._refused() for _ in range(COUNT)]
        while messages:
            # A frame has room for a part of them only.
            answer = self._send(*messages)
            found.append(len(answer))
            outcomes = inventory.RecordMessagesResponse.FromString(answer).outcomes
            messages = [
                message for message, outcome in zip(messages, outcomes, strict=True) if not outcome.HasField("receipt")
            ]
        return [*found, *self._kept()]

    def _kept(self) -> list[int]:
        found = []
        for _ in range(LONGEST):
            longest = requests.receive(self._context(), *self._worst.lines(self._worst.places[0], 1))
            found.append(len(self._send(SourceMessage(goods_received=longest))))
            waits = inventory.ReceiveTransferRequest(context=self._context(), transfer=self._transfer)
            for sku in self._worst.skus:
                waits.lines.add(sku=sku, quantity=1)
            found.append(len(self._send(SourceMessage(transfer_received=waits))))
        self._place.sequence += 1
        for _ in range(LONGEST):
            parked = requests.receive(self._context(), *self._worst.lines(self._worst.places[0], 1))
            found.append(len(self._send(SourceMessage(goods_received=parked))))
        return found

    def streamed(self) -> list[int]:
        """The same over a stream; an engine in this process has none."""
        target = self._worst.target
        if not isinstance(target, ServerTarget):
            return []
        line = (self._worst.skus[0], self._worst.places[0], 1)
        stale = self._worst.context(source=types.SourcePosition(source_id=self._name, epoch=1, sequence=1))
        batch = [SourceMessage(goods_received=requests.receive(stale, line))] * COUNT
        payload = inventory.RecordMessageStreamRequest(messages=batch).SerializeToString()
        return [len(answer) for answer in target.stream_raw(methods.RECORD_MESSAGE_STREAM, iter([payload, payload]))]

    def skipped(self) -> list[int]:
        """The gap before what is parked."""
        through = self._place.sequence - LONGEST
        request = sources.SkipGapRequest(
            context=self._worst.context(), source_id=self._name, epoch=self._place.epoch, through=through
        )
        return [self._worst.ask(methods.SKIP_GAP, request)]

    def _letters(self) -> list[int]:
        request = sources.ListDeadLettersRequest(source_id=self._name, page_size=COUNT)
        found: list[int] = []
        while len(found) < COUNT:
            answer = self._worst.target.call(methods.LIST_DEAD_LETTERS, request)
            found += [each.sequence for each in answer.dead_letters]
            request.page_token = answer.next_page_token
        return found[:COUNT]

    def redriven(self) -> list[int]:
        """All of which remain what they are."""
        request = sources.RedriveDeadLettersRequest(source_id=self._name, dead_letters=self._letters())
        return [self._worst.ask(methods.REDRIVE_DEAD_LETTERS, request)]

    def discarded(self) -> list[int]:
        """A thousand letters; then the right is everybody's again."""
        request = sources.DiscardDeadLettersRequest(
            context=self._worst.context(), source_id=self._name, dead_letters=self._letters()
        )
        found = [self._worst.ask(methods.DISCARD_DEAD_LETTERS, request)]
        delete = policy.DeleteAuthorityRulesRequest(context=self._worst.context())
        delete.authority_rules.add(name=self._rule)
        self._worst.ask(methods.DELETE_AUTHORITY_RULES, delete)
        return found
