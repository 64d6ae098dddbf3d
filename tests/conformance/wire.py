"""One gRPC call in bare HTTP/2, for what no client library sends: its headers and its body are the caller's own.

Only what such a call needs: request headers go out as literals, and the answer's headers may not refer to a table.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
STREAM = 1
TIMEOUT_S = 5.0

# Names of RFC 7541's static table that servers use in answers; those of other indexes are of no interest here.
STATIC = {8: (":status", "200"), 31: ("content-type", ""), 33: ("date", ""), 54: ("server", "")}
# Codes of RFC 7541, Appendix B, by their length in bits: the printable characters in the order of their codes.
HUFFMAN = {
    5: "012aceiost",
    6: " %-./3456789=A_bdfghlmnpru",
    7: ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: "&*,;XZ",
    10: '!"()?',
    11: "'+|",
    12: "#>",
    13: "$@[]~",
    14: "^}",
    15: "<`{",
}


class Ended(Exception):
    """The connection or the stream ended before the call did."""


def call(address: str, path: str, body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers and trailers that answer one call. `body` is all of the request's data, its prefix included."""
    with asked(address, path, body, headers) as connection:
        return _answer(connection)


@contextmanager
def asked(address: str, path: str, body: bytes, headers: Mapping[str, str]) -> Iterator[socket.socket]:
    """A connection on which a call was sent and nothing was read; the caller is gone afterwards."""
    host, _, port = address.rpartition(":")
    shared = {":method": "POST", ":scheme": "http", ":path": path, ":authority": address}
    fields = {**shared, "content-type": "application/grpc", "te": "trailers", **headers}
    with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
        # No table for what the server sends: every header then is whole by itself.
        connection.sendall(PREFACE + _frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 0)))
        connection.sendall(_frame(HEADERS, END_HEADERS, STREAM, b"".join(map(_literal, fields, fields.values()))))
        connection.sendall(_frame(DATA, END_STREAM, STREAM, body))
        yield connection


def message(payload: bytes) -> bytes:
    """A message with its prefix of five bytes."""
    return b"\x00" + struct.pack(">I", len(payload)) + payload


def _answer(connection: socket.socket) -> dict[str, str]:
    found: dict[str, str] = {}
    while True:
        kind, flags, stream, payload = _read_frame(connection)
        if kind == SETTINGS and not flags & ACK:
            connection.sendall(_frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            connection.sendall(_frame(PING, ACK, 0, payload))
        elif kind in (RST_STREAM, GOAWAY):
            raise Ended(f"frame {kind}: {payload!r}")
        elif kind == HEADERS:
            assert flags & END_HEADERS, "headers of several frames"
            found.update(_headers(_unpadded(flags, payload)))
        if stream == STREAM and kind in (HEADERS, DATA) and flags & END_STREAM:
            return found


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _read_frame(connection: socket.socket) -> tuple[int, int, int, bytes]:
    head = _read(connection, 9)
    kind, flags, stream = struct.unpack(">BBI", head[3:])
    return kind, flags, stream, _read(connection, int.from_bytes(head[:3], "big"))


def _read(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = connection.recv(size - len(found))
        if not more:
            raise Ended("the connection was closed")
        found += more
    return found


def _literal(name: str, value: str) -> bytes:
    return b"\x10" + b"".join(_integer(len(text), 7) + text for text in (name.encode(), value.encode()))


def _integer(value: int, bits: int) -> bytes:
    most = (1 << bits) - 1
    if value < most:
        return bytes([value])
    found, value = [most], value - most
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _unpadded(flags: int, payload: bytes) -> bytes:
    padding = payload[0] if flags & PADDED else 0
    start = (1 if flags & PADDED else 0) + (5 if flags & PRIORITY else 0)
    return payload[start : len(payload) - padding]


def _headers(block: bytes) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(block):
        first = block[place]
        if first & 0x80:
            index, place = _read_integer(block, place, 7)
            yield STATIC.get(index, (f"static {index}", ""))
        elif first & 0xE0 == 0x20:
            _, place = _read_integer(block, place, 5)
        else:
            index, place = _read_integer(block, place, 6 if first & 0x40 else 4)
            name = STATIC.get(index, (f"static {index}", ""))[0]
            if not index:
                name, place = _read_text(block, place)
            value, place = _read_text(block, place)
            yield name, value


def _read_integer(block: bytes, place: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    value, place, shift = block[place] & most, place + 1, 0
    if value < most:
        return value, place
    while True:
        byte, place = block[place], place + 1
        value, shift = value + ((byte & 0x7F) << shift), shift + 7
        if not byte & 0x80:
            return value, place


def _read_text(block: bytes, place: int) -> tuple[str, int]:
    is_huffman = bool(block[place] & 0x80)
    size, place = _read_integer(block, place, 7)
    text = block[place : place + size]
    return (_unhuffman(text) if is_huffman else text.decode()), place + size


def _codes() -> dict[tuple[int, int], str]:
    # A canonical code: the next code is one more, and is shifted left where codes get longer.
    found, code, length = {}, 0, 5
    for bits, characters in HUFFMAN.items():
        code <<= bits - length
        length = bits
        for character in characters:
            found[bits, code] = character
            code += 1
    return found


def _unhuffman(text: bytes) -> str:
    codes, found, code, length = _codes(), "", 0, 0
    for byte in text:
        for shift in range(7, -1, -1):
            code, length = code << 1 | byte >> shift & 1, length + 1
            if (length, code) in codes:
                found += codes[length, code]
                code = length = 0
    return found
