"""The methods of invengine.v1, read from the generated descriptors, with the message size that each accepts."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from invengine.v1 import (
    admin_service_pb2,
    availability_service_pb2,
    catalog_service_pb2,
    inventory_service_pb2,
    journal_service_pb2,
    policy_service_pb2,
    reservation_service_pb2,
    source_service_pb2,
)

COMMAND_BYTES_MAX = 1 << 20
SUBMIT_BYTES_MAX = 4 << 20

SUBMIT = "/invengine.v1.ReservationService/Submit"
SUBMIT_STREAM = "/invengine.v1.ReservationService/SubmitStream"
RECORD_MESSAGES = "/invengine.v1.InventoryService/RecordMessages"
RECORD_MESSAGE_STREAM = "/invengine.v1.InventoryService/RecordMessageStream"
READ_EVENTS = "/invengine.v1.JournalService/ReadEvents"
SERVER_INFO = "/invengine.v1.AdminService/GetServerInfo"

_FILES = (
    admin_service_pb2,
    availability_service_pb2,
    catalog_service_pb2,
    inventory_service_pb2,
    journal_service_pb2,
    policy_service_pb2,
    reservation_service_pb2,
    source_service_pb2,
)

# Streams of batches, each with the method that answers one batch.
BATCH_STREAMS = {SUBMIT_STREAM: SUBMIT, RECORD_MESSAGE_STREAM: RECORD_MESSAGES}

# Methods that carry many commands or many entities in one message.
_BATCHES = re.compile(r"Submit|SubmitStream|RecordMessages|RecordMessageStream|Upsert\w+")


class Shape(enum.Enum):
    """How the messages of a method flow."""

    UNARY = "unary"
    BATCH_STREAM = "batch_stream"
    READ_EVENTS = "read_events"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Method:
    """One method: its path, how its messages flow, and the maximum size of one request in bytes."""

    path: str
    shape: Shape
    bytes_max: int


def service_names() -> tuple[str, ...]:
    """Full names of every service of invengine.v1."""
    return tuple(service.full_name for service in _services())


def method_table() -> dict[str, Method]:
    """Every method of invengine.v1 by its path, such as `/invengine.v1.ReservationService/Reserve`."""
    methods = (_method(service, method) for service in _services() for method in service.methods)
    return {method.path: method for method in methods}


def _services() -> list[ServiceDescriptor]:
    return [service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()]


def _method(service: ServiceDescriptor, method: MethodDescriptor) -> Method:
    path = f"/{service.full_name}/{method.name}"
    limit = SUBMIT_BYTES_MAX if _BATCHES.fullmatch(method.name) else COMMAND_BYTES_MAX
    return Method(path, _shape(path, method), limit)


def _shape(path: str, method: MethodDescriptor) -> Shape:
    if path in BATCH_STREAMS:
        return Shape.BATCH_STREAM
    if path == READ_EVENTS:
        return Shape.READ_EVENTS
    streams = method.client_streaming or method.server_streaming
    return Shape.LATER if streams else Shape.UNARY
