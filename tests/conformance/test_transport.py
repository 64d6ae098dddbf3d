"""What comes in is not always a message of the contract: bytes, sizes, methods and deadlines."""

from __future__ import annotations

import pytest

from invengine.v1 import reservation_service_pb2 as reservations

from . import methods, requests
from .methods import every_method, path_of
from .refused import Refused, TransportEnded
from .shop import Shop, refusal_of
from .targets import ServerTarget

# What this version does not answer yet, as the README lists it.
LATER = {"AvailabilityService": {"GetAvailableToPromise", "WatchAvailability"}}
METHODS = {path_of(method): method for method in every_method()}
UNIMPLEMENTED = sorted(
    path for path, method in METHODS.items() if method.name in LATER.get(method.containing_service.name, ())
)
STREAMS = {methods.READ_EVENTS, methods.SUBMIT_STREAM, methods.RECORD_MESSAGE_STREAM}
UNARY = sorted(set(METHODS) - set(UNIMPLEMENTED) - STREAMS)

MALFORMED = {
    "a tag without an end": b"\xff",
    "a length beyond the end": b"\x0a\x7fabc",
    "a group that never ends": b"\x0b",
    "a wire type that does not exist": b"\x0f",
    "field number 0": b"\x00\x00",
    "a varint of eleven bytes": b"\x08" + b"\xff" * 11,
    "noise": bytes(range(255, 191, -1)),
}


@pytest.mark.parametrize("path", UNARY)
@pytest.mark.parametrize("name", list(MALFORMED))
def test_a_malformed_message(shop: Shop, path: str, name: str) -> None:
    shop.refused_raw(path, MALFORMED[name], "INVALID_FIELD")


@pytest.mark.case("A12")
def test_text_that_is_not_utf_8(shop: Shop) -> None:
    # ReserveRequest.context.idempotency_key = a byte that starts nothing.
    shop.refused_raw(methods.RESERVE.path, b"\x0a\x03\x0a\x01\xff", "INVALID_FIELD")


@pytest.mark.parametrize("path", UNIMPLEMENTED)
def test_a_method_that_comes_later(shop: Shop, path: str) -> None:
    shop.refused_raw(path, b"", "UNIMPLEMENTED")


def test_the_list_of_later_methods_is_whole() -> None:
    assert len(UNIMPLEMENTED) == sum(map(len, LATER.values()))


@pytest.mark.parametrize(
    "path",
    [
        "/invengine.v1.ReservationService/Sell",
        "/invengine.v1.AdminService/Sell",
        "/invengine.v2.ReservationService/Reserve",
        "/invengine.v1.ReservationService",
        "/invengine.v1.ReservationService/Reserve/",
        "/invengine.v1.reservationservice/reserve",
        "/com.example.Shop/Sell",
        "/grpc.health.v1.Health/Sell",
        "/",
        "//",
    ],
)
def test_a_method_that_nobody_knows(shop: Shop, path: str) -> None:
    shop.refused_raw(path, b"", "UNIMPLEMENTED")


def padded(payload: bytes, size: int) -> bytes:
    """The same message with an unknown field at its end, `size` bytes in all."""
    tag, directory = b"\xfa\xff\x07", size - len(payload) - 3
    for length_bytes in range(1, 6):
        filling = directory - length_bytes
        length = _varint(filling)
        if len(length) == length_bytes:
            return payload + tag + length + bytes(filling)
    raise AssertionError(f"no padding makes {size} bytes")


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _limits(shop: Shop) -> tuple[int, int]:
    found = shop.call(methods.GET_SERVER_INFO, methods.GET_SERVER_INFO.request())
    return found.command_bytes_max, found.submit_bytes_max


def test_a_command_of_exactly_the_limit_is_accepted(shop: Shop) -> None:
    limit, _ = _limits(shop)
    request = requests.reserve(shop.context(), (shop.item(1), shop.here, 1))
    answer = shop.target.call_raw(methods.RESERVE.path, padded(request.SerializeToString(), limit))
    assert reservations.ReserveResponse.FromString(answer).hold.version == 1


@pytest.mark.parametrize("more", [1, 1 << 20, 16 << 20])
def test_a_command_over_the_limit(shop: Shop, more: int) -> None:
    limit, _ = _limits(shop)
    request = requests.reserve(shop.context(), (shop.item(1), shop.here, 1))
    payload = padded(request.SerializeToString(), limit + more)
    shop.refused_raw(methods.RESERVE.path, payload, "MESSAGE_TOO_LARGE", limit=limit)
    assert not shop.outcome(request.context.idempotency_key).known


@pytest.mark.parametrize("path", UNARY)
def test_a_message_over_every_limit(shop: Shop, path: str) -> None:
    command, batch = _limits(shop)
    refused = shop.refused_raw(path, padded(b"", batch + 1), "MESSAGE_TOO_LARGE")
    assert refused.metadata["limit"] in (str(command), str(batch))


def test_a_batch_may_be_larger_than_a_command_up_to_its_own_limit(shop: Shop) -> None:
    _, limit = _limits(shop)
    batch = requests.submit(requests.reserve(shop.context(), (shop.item(1), shop.here, 1)))
    answer = shop.target.call_raw(methods.SUBMIT.path, padded(batch.SerializeToString(), limit))
    assert len(reservations.SubmitResponse.FromString(answer).outcomes) == 1
    batch = requests.submit(requests.reserve(shop.context(), (shop.item(1), shop.here, 1)))
    payload = padded(batch.SerializeToString(), limit + 1)
    shop.refused_raw(methods.SUBMIT.path, payload, "MESSAGE_TOO_LARGE", limit=limit)


@pytest.mark.case("D10")
@pytest.mark.parametrize("timeout_s", [0.001, 0.002, 0.004])
def test_a_short_deadline_leaves_one_outcome(shop: Shop, timeout_s: float) -> None:
    sku = shop.item(50)
    context = shop.context()
    request = requests.reserve(context, (sku, shop.here, 1))
    ended: Exception | None = None
    try:
        shop.target.call(methods.RESERVE, request, timeout_s=timeout_s)
    except (Refused, TransportEnded) as found:
        ended = found
    if isinstance(ended, Refused) and ended.reason == "DEADLINE":
        assert not shop.outcome(context.idempotency_key).known
    elif isinstance(ended, Refused):
        # An embedded engine that decided in time and waited for a slow disk; the repeat settles it.
        assert ended.reason == "OUTCOME_UNKNOWN"
        assert "deadline" in ended.message
    elif isinstance(ended, TransportEnded):
        # It may still arrive; the repeat with the same key settles it.
        assert ended.code.name == "DEADLINE_EXCEEDED"
    shop.call(methods.RESERVE, request)
    assert shop.level(sku).reserved == 1


@pytest.mark.parametrize("ledger", ["", "main"])
def test_the_ledger_of_this_server_may_be_named(shop: Shop, ledger: str) -> None:
    request = requests.reserve(shop.context(), (shop.item(1), shop.here, 1))
    assert shop.call(methods.RESERVE, request, metadata={"invengine-ledger": ledger}).hold.version == 1


def test_a_command_for_another_ledger_is_not_executed(shop: Shop) -> None:
    request = requests.reserve(shop.context(), (shop.item(1), shop.here, 1))
    before = shop.target.digest()
    refusal_of(shop.target, methods.RESERVE.path, request.SerializeToString(), {"invengine-ledger": "other"})
    assert shop.target.digest() == before


def test_a_malformed_stream(server: ServerTarget) -> None:
    for path in sorted(STREAMS):
        shop = Shop(server)
        for name in ("a length beyond the end", "noise"):
            shop.refused_raw(path, MALFORMED[name], "INVALID_FIELD")
