"""The source rules of the ledger in thirty lines, behind a scripted peer."""

from __future__ import annotations

import threading
from collections.abc import Callable

import grpc
from scripted_peer import Peer, Refusal

from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import source_service_pb2 as sources

RECEIVE = "/invengine.v1.InventoryService/Receive"
REGISTER = "/invengine.v1.SourceService/RegisterSource"


class SourceLedger:
    """Applies the messages of one source in order. `before` may refuse a message before its number is looked at."""

    def __init__(self, peer: Peer) -> None:
        self.epoch = 0
        self.applied: list[tuple[str, bytes]] = []
        self.arrivals: list[int] = []
        self.before: Callable[[inventory.ReceiveRequest], None] = lambda _: None
        self.after: Callable[[inventory.ReceiveRequest], None] = lambda _: None
        self._lock = threading.Lock()
        peer.behaviours[RECEIVE] = self._receive
        peer.behaviours[REGISTER] = self._register

    @property
    def references(self) -> list[str]:
        """The references of what was applied, in order."""
        return [reference for reference, _ in self.applied]

    def _register(self, _: bytes) -> bytes:
        previous, self.epoch = self.epoch, self.epoch + 1
        answer = sources.RegisterSourceResponse(
            epoch=self.epoch, previous_epoch=previous, previous_sequence=len(self.applied)
        )
        self.applied = []
        return answer.SerializeToString()

    def _receive(self, body: bytes) -> bytes:
        request = inventory.ReceiveRequest.FromString(body)
        with self._lock:
            self.arrivals.append(request.context.source.sequence)
        self.before(request)
        with self._lock:
            self._apply(request)
        self.after(request)
        answer = inventory.ReceiveResponse()
        answer.receipt.sequence = answer.receipt.durable_sequence = request.context.source.sequence
        return answer.SerializeToString()

    def _apply(self, request: inventory.ReceiveRequest) -> None:
        place, expected = request.context.source, len(self.applied) + 1
        canonical = inventory.ReceiveRequest.FromString(request.SerializeToString())
        canonical.context.ClearField("issue_time")
        body = canonical.SerializeToString()
        if place.epoch != self.epoch:
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "STALE_EPOCH", metadata={"current": str(self.epoch)})
        if place.sequence > expected:
            facts = {"source": place.source_id, "expected": str(expected), "got": str(place.sequence)}
            raise Refusal(grpc.StatusCode.ABORTED, "SEQUENCE_GAP", metadata=facts)
        if place.sequence == expected:
            self.applied.append((request.context.reference, body))
        elif self.applied[place.sequence - 1][1] != body:
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "SEQUENCE_CONFLICT")
        if request.lines[0].sku == "unheard-of":
            raise Refusal(grpc.StatusCode.NOT_FOUND, "UNKNOWN_SKU", metadata={"sku": "none"})
