"""Addresses to listen on: host:port or unix:PATH, loopback unless somebody says otherwise."""

from __future__ import annotations

import ipaddress


class AddressError(ValueError):
    """The address cannot be used; the text says what to do."""


def check_address(name: str, address: str, *, insecure: bool) -> None:
    """Accepts a loopback host:port or a unix socket; any other host only with `insecure`.

    There are no identities yet: whoever reaches the port may sell the stock.
    """
    if address.startswith("unix:"):
        return
    host, _ = split_address(name, address)
    if not insecure and not is_loopback(host):
        raise AddressError(
            f"{name} {address} can be reached from other machines and callers are not identified: "
            f"use 127.0.0.1, or add --insecure if the network is yours alone."
        )


def split_address(name: str, address: str) -> tuple[str, int]:
    """Gives host and port of `host:port` or `[ipv6]:port`."""
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
