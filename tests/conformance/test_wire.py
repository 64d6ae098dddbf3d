"""What no client library sends: calls in bare HTTP/2, each answered with a well-formed refusal."""

from __future__ import annotations

import base64
import struct

import pytest

from . import methods, requests, wire
from .conftest import Targets
from .refused import CODES, DETAILS_KEY, Refused, from_status
from .shop import Shop
from .targets import ServerTarget

# One that the native door answers itself, and one that it leaves to the service behind it.
PATHS = (methods.RESERVE.path, methods.UPSERT_ITEMS.path)
BAD_FRAMES = {
    "no message": b"",
    "half a prefix": b"\x00\x00\x00",
    "less than its length": b"\x00\x00\x00\x00\x09\x0a\x07",
    "two messages": wire.message(b"") * 2,
    "a flag that is none": b"\x07\x00\x00\x00\x00",
}


def refusal_in(answer: dict[str, str]) -> Refused:
    """The refusal of a call in bare HTTP/2; it is of gRPC and has its details."""
    assert (answer[":status"], answer["content-type"]) == ("200", "application/grpc")
    details = answer[DETAILS_KEY]
    return from_status(int(answer["grpc-status"]), base64.b64decode(details + "=" * (-len(details) % 4)))


def _address(shop: Shop) -> str:
    assert isinstance(shop.target, ServerTarget)
    return shop.target.server.address


def test_a_good_call_is_answered(server_shop: Shop) -> None:
    request = requests.reserve(server_shop.context(), (server_shop.item(1), server_shop.here, 1))
    body = wire.message(request.SerializeToString())
    assert wire.call(_address(server_shop), methods.RESERVE.path, body, {})["grpc-status"] == "0"
    assert server_shop.outcome(request.context.idempotency_key).known


@pytest.mark.case("D10")
def test_a_deadline_that_passed_before_the_command_was_accepted(server_shop: Shop) -> None:
    shop = server_shop
    request = requests.reserve(shop.context(), (shop.item(1), shop.here, 1))
    body = wire.message(request.SerializeToString())
    answer = wire.call(_address(shop), methods.RESERVE.path, body, {"grpc-timeout": "0S"})
    assert CODES[int(answer["grpc-status"])].name == "DEADLINE_EXCEEDED"
    # grpcio's own server answers such a call before the service behind it sees it.
    if shop.target.name == "native":
        assert refusal_in(answer).reason == "DEADLINE"
    assert not shop.outcome(request.context.idempotency_key).known
    assert not shop.call(methods.RESERVE, request).receipt.replayed


@pytest.fixture(scope="session")
def native(targets: Targets) -> ServerTarget:
    """The native door: in the Python service grpcio answers what is no message by itself, without details."""
    found = targets.get("native")
    assert isinstance(found, ServerTarget)
    return found


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", list(BAD_FRAMES))
def test_bytes_that_are_not_a_frame(native: ServerTarget, path: str, name: str) -> None:
    refused = refusal_in(wire.call(native.server.address, path, BAD_FRAMES[name], {}))
    assert (refused.reason, refused.fields) == ("INVALID_FIELD", ["message"])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("size", [(4 << 20) + 1, 2**31, 2**32 - 1])
def test_a_length_over_the_limit_is_refused_before_it_is_sent(native: ServerTarget, path: str, size: int) -> None:
    answer = wire.call(native.server.address, path, b"\x00" + struct.pack(">I", size), {})
    refused = refusal_in(answer)
    assert refused.reason == "MESSAGE_TOO_LARGE"
    assert int(refused.metadata["limit"]) <= 4 << 20


@pytest.mark.parametrize("path", PATHS)
def test_a_compressed_message_is_not_understood(native: ServerTarget, path: str) -> None:
    answer = wire.call(native.server.address, path, b"\x01\x00\x00\x00\x00", {"grpc-encoding": "gzip"})
    assert refusal_in(answer).reason == "UNIMPLEMENTED"


@pytest.mark.parametrize("timeout", ["abc", "1", "S", "-1S", "123456789S", "1.5S", "1X"])
def test_an_invalid_deadline(native: ServerTarget, timeout: str) -> None:
    answer = wire.call(native.server.address, methods.RESERVE.path, wire.message(b""), {"grpc-timeout": timeout})
    assert refusal_in(answer).reason == "INVALID_FIELD"


@pytest.mark.parametrize("content_type", ["text/html", "application/json", "application/grpc+json"])
def test_requests_that_are_not_grpc_are_refused_as_such(native: ServerTarget, content_type: str) -> None:
    fields = {"content-type": content_type}
    assert wire.call(native.server.address, methods.RESERVE.path, wire.message(b""), fields)[":status"] == "415"
