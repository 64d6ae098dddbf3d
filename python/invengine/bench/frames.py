"""A peer that writes HTTP/2 frame by frame, as no client library would."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from typing import Self

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
INITIAL_WINDOW = 4
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES = 16 << 10
WINDOW_BYTES = 65_535
READ_BYTES = 256 << 10
CONNECT_S = 5.0
LOOK_S = 0.2
STREAMS_LAST = 2**31 - 3
WRITE_BYTES = 256 << 10


class EndedError(Exception):
    """The other side has closed the connection, or asked to leave it."""


class TimeIsOverError(Exception):
    """There is no time left."""


class Peer:
    """One connection until a moment of the monotonic clock, or until it is over.

    Whatever is answered is read, so that nothing waits for it.
    """

    def __init__(self, address: str, until_s: float, over: threading.Event, *, window: int = WINDOW_BYTES) -> None:
        host, _, port = address.rpartition(":")
        self._until_s, self._is_over = until_s, over
        self.sent = 0
        self.ended: set[int] = set()
        """Streams that the other side has ended."""
        try:
            self._socket = socket.create_connection((host, int(port)), timeout=CONNECT_S)
        except OSError:
            raise EndedError from None
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._next_stream = 1
        self._unread = b""
        self._over = False
        self._due = b""
        self._initial = WINDOW_BYTES
        self._windows = {0: WINDOW_BYTES}
        self.push(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW, window)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()

    def stream(self) -> int:
        """The number of a new stream. Raises EndedError if there is none left."""
        if self._next_stream > STREAMS_LAST:
            raise EndedError
        number = self._next_stream
        self._next_stream += 2
        self._windows[number] = self._initial
        return number

    def push(self, data: bytes) -> None:
        """Writes bytes as they are, however small the window. Raises EndedError or TimeIsOverError."""
        # The larger window holds once the settings are acknowledged.
        view, self._due = memoryview(self._due + data), b""
        while view:
            if self._ready(select.POLLIN | select.POLLOUT) & select.POLLOUT:
                try:
                    written = self._socket.send(view[:WRITE_BYTES])
                except BlockingIOError:
                    continue
                except OSError:
                    raise EndedError from None
                self.sent += written
                view = view[written:]

    def data(self, stream: int, length: int) -> bool:
        """Writes so much of a body as the windows grow, as a client does. False once the stream was ended."""
        while length and stream not in self.ended:
            room = min(self._windows[0], self._windows[stream], length, FRAME_BYTES)
            if room <= 0:
                self._ready(select.POLLIN)
                continue
            self._windows[0] -= room
            self._windows[stream] -= room
            self.push(frame(DATA, 0, stream, bytes(room)))
            length -= room
        return stream not in self.ended

    def rest(self, seconds: float) -> None:
        """Reads what comes for a while. Raises EndedError or TimeIsOverError."""
        over = time.monotonic() + seconds
        while (left := over - time.monotonic()) > 0:
            self._ready(select.POLLIN, left)

    def _ready(self, wanted: int, patience_s: float = LOOK_S) -> int:
        """Waits for the socket and reads what is there; gives what it is ready for."""
        left = self._until_s - time.monotonic()
        if left <= 0 or self._is_over.is_set():
            raise TimeIsOverError
        self._poll.register(self._socket, wanted)
        ready = 0
        for _, ready in self._poll.poll(1000 * min(left, patience_s, LOOK_S)):
            if ready & ~select.POLLOUT:
                self._read()
        return ready

    def _read(self) -> None:
        try:
            came = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            came = b""
        if not came:
            raise EndedError
        self._unread += came
        at = 0
        while len(self._unread) >= at + 9:
            high, low, kind, flags, stream = struct.unpack_from(">BHBBI", self._unread, at)
            length = high << 16 | low
            if len(self._unread) < at + 9 + length:
                break
            self._came(kind, flags, stream, self._unread[at + 9 : at + 9 + length])
            at += 9 + length
        self._unread = self._unread[at:]
        if self._over:
            raise EndedError

    def _came(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == GOAWAY:
            self._over = True
        elif kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
            self.ended.add(stream)
        elif kind == WINDOW_UPDATE:
            if stream in self._windows:
                self._windows[stream] += int.from_bytes(payload)
        elif kind == SETTINGS and not flags & ACK:
            self._due += frame(SETTINGS, ACK, 0, b"")
            for at in range(0, len(payload), 6):
                name, value = struct.unpack_from(">HI", payload, at)
                if name == INITIAL_WINDOW:
                    more, self._initial = value - self._initial, value
                    self._windows = {each: room + more if each else room for each, room in self._windows.items()}


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame as it is written."""
    return struct.pack(">BHBBI", len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def head(stream: int, path: str, **extra: str) -> bytes:
    """The frames that begin a call."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":authority": "shop",
        ":path": path,
        "content-type": "application/grpc",
        "te": "trailers",
    }
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in [*fields.items(), *extra.items()])
    pieces = [block[at : at + FRAME_BYTES] for at in range(0, len(block), FRAME_BYTES)]
    last = len(pieces) - 1
    return b"".join(
        frame(CONTINUATION if at else HEADERS, END_HEADERS if at == last else 0, stream, piece)
        for at, piece in enumerate(pieces)
    )


def prefixed(message: bytes, length: int | None = None) -> bytes:
    """A message as gRPC frames it; `length` if it is said to be longer than it is here."""
    return b"\0" + (len(message) if length is None else length).to_bytes(4) + message


def _text(text: str) -> bytes:
    """A text of HPACK: its length in a prefix of 7 bits, and no Huffman code."""
    data = text.encode("ascii")
    rest = len(data) - 127
    if rest < 0:
        return bytes([len(data)]) + data
    length = bytearray([127])
    while rest >= 128:
        length.append(rest % 128 + 128)
        rest //= 128
    length.append(rest)
    return bytes(length) + data
