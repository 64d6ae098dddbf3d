"""Refusals fit the wire, whatever an engine puts in."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from invengine.service.address import AddressError, check_address
from invengine.service.refusals import STATUS_BYTES_MAX, from_status, refused


def test_a_long_list_of_bad_fields_is_cut_to_what_clients_accept() -> None:
    violations = {f"lines[{number}].quantity" + "x" * 300: "must be 1 or more " * 50 for number in range(1000)}
    long = refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "no " * 5000, violations=violations)
    cut = from_status(grpc.StatusCode.INVALID_ARGUMENT.value[0], long.status)
    assert cut is not None
    assert len(cut.status) <= STATUS_BYTES_MAX
    status = status_pb2.Status.FromString(cut.status)
    bad = error_details_pb2.BadRequest()
    assert sum(detail.Unpack(bad) for detail in status.details) == 1
    assert bad.field_violations[0].field.startswith("lines[0].quantity")


@pytest.mark.parametrize("address", ["127.0.0.1:7411", "localhost:1", "[::1]:7411", "unix:/tmp/x.sock", "127.9.9.9:0"])
def test_loopback_needs_nothing(address: str) -> None:
    check_address("--address", address, insecure=False)


@pytest.mark.parametrize("address", ["0.0.0.0:7411", "[::]:7411", "10.0.0.1:7411", "shop.example:7411"])
def test_another_address_needs_insecure(address: str) -> None:
    with pytest.raises(AddressError, match="--insecure"):
        check_address("--address", address, insecure=False)
    check_address("--address", address, insecure=True)


@pytest.mark.parametrize("address", ["", "7411", ":7411", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:70000"])
def test_a_malformed_address_is_answered_with_an_example(address: str) -> None:
    with pytest.raises(AddressError, match="HOST:PORT"):
        check_address("--address", address, insecure=True)
