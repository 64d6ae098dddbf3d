"""Addresses to listen on: host:port or unix:PATH, loopback unless `insecure` is set."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path


class AddressError(ValueError):
    """The address cannot be used; the message states what to do."""


def check_address(name: str, address: str, *, insecure: bool) -> None:
    """Accepts a loopback host:port or a unix socket; any other host only with `insecure`.

    Callers are not authenticated yet: whoever reaches the port may sell the stock.
    """
    if address.startswith("unix:"):
        return
    host, _ = split_address(name, address)
    if not insecure and not is_loopback(host):
        raise AddressError(
            f"{name} {address} can be reached from other machines and callers are not identified: "
            f"use 127.0.0.1, or add --insecure if the network is yours alone."
        )


def why_not_free(address: str) -> str | None:
    """Why an address cannot be listened on now; None if it can. It does not listen itself."""
    try:
        if address.startswith("unix:"):
            return _unix_taken(Path(address.removeprefix("unix:")))
        host, port = split_address("address", address)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return error.strerror or str(error)
    why = "the host has no address"
    for family, kind, protocol, _, place in found:
        # As a server does: the first address that is free, and with SO_REUSEADDR a port whose old connections linger.
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(place)
            except OSError as error:
                why = error.strerror or str(error)
            else:
                return None
    return why


def _unix_taken(path: Path) -> str | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return None if os.access(path.parent, os.W_OK | os.X_OK) else "no socket can be made in that directory"
        except ConnectionRefusedError:
            # A socket file left by a server that is gone; the next server replaces it.
            return None if path.is_socket() else "a file is there that is no socket"
    return "another process listens there"


def split_address(name: str, address: str) -> tuple[str, int]:
    """Returns host and port of `host:port` or `[ipv6]:port`."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise AddressError(f"{name} must be HOST:PORT or unix:PATH, such as 127.0.0.1:7411; got {address!r}.")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    """True if only this machine can reach the host. Names other than localhost are not looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
