"""A door under attack: every attack finds its way to it, no call of another fails, and memory stays bounded."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from invengine.bench import attacks, door, frames, machine
from invengine.bench.attacks import ATTACKS, REFLECTION_BYTES, REFLECTION_STREAMS, Attacker
from invengine.bench.frames import EndedError, TimeIsOverError
from invengine.bench.rounds import Plan
from invengine.bench.server import LOCATION, serving, sku
from invengine.cli.app import run
from invengine.cli.exits import ExitCode

GROWTH_MAX = REFLECTION_STREAMS * REFLECTION_BYTES // 10
"""A tenth of what is sent at once: what the windows of the connections let in, and what the allocator keeps of it."""
ATTACK_S = 4.0
FIGURES = ["D1.failed_calls", "D1.memory_mib", "D1.peace_p99_us", "D1.worst_p99_us", "D1.worst_us"]


@pytest.mark.timeout(900)
def test_no_call_of_another_fails_whatever_the_attack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--json", "--rounds", "1", "--seconds", "0.2", "--room", str(tmp_path)]
    assert run(["bench", "D1", *options]) == ExitCode.OK
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {line["id"]: line["figure"] for line in lines if "figure" in line}
    assert list(found) == FIGURES
    assert found["D1.failed_calls"] == 0
    rows = [line for line in lines if "attack" in line]
    assert [row["attack"] for row in rows] == [door.PEACE, *ATTACKS]
    for row in rows:
        assert set(row) == {"id", *door.COLUMNS}
        assert row["refused"] == 0
        assert row["calls"] > 0
        assert 0 < row["p50_us"] <= row["p99_us"] <= row["max_us"]
    bounds = {row["attack"]: row["bounds"] for row in rows}
    assert bounds[door.PEACE] == "-"
    for attack, bound in (
        ("pings", "control_frames"),
        ("settings", "control_frames"),
        ("metadata", "metadata_refused"),
    ):
        assert bound in bounds[attack]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("on_streams", [True, False], ids=["20 streams", "20 connections"])
def test_twenty_messages_of_60_mib_on_reflection_cost_no_memory(tmp_path: Path, on_streams: bool) -> None:
    """Exactly what was reported: 20 of 60 MiB at once. On 20 connections all that the door lets through is written."""
    assert (REFLECTION_STREAMS, REFLECTION_BYTES) == (20, 60 << 20)
    attack, count = (attacks.reflection, 1) if on_streams else (attacks.reflection_unasked, REFLECTION_STREAMS)
    sent: list[int] = []

    def send(target: str) -> None:
        attacker = Attacker(target, time.monotonic() + ATTACK_S, threading.Event())
        with suppress(TimeIsOverError):
            while time.monotonic() < attacker.until_s:
                with suppress(EndedError):
                    attack(attacker)
        sent.append(sum(peer.sent for peer in attacker.opened))

    plan = Plan(tmp_path, machine.cores(), rounds=1, seconds=0.2)
    with serving(plan, "reflection") as server, server.client() as client:
        with door.watched(server.pid) as memory:
            threads = [threading.Thread(target=send, args=(server.address,)) for _ in range(count)]
            for thread in threads:
                thread.start()
            hold = client.reserve([(sku(), LOCATION, 1)])
            for thread in threads:
                thread.join()
        client.release(hold)
        assert len(sent) == count
        assert min(sent) > 0
        assert memory.before > 0
        assert memory.growth < GROWTH_MAX


def test_a_head_is_cut_into_frames_and_long_texts_have_long_lengths() -> None:
    short = frames.head(1, "/a")
    assert short[3:5] == bytes([frames.HEADERS, frames.END_HEADERS])
    long = frames.head(3, "/a", own="x" * 40_000)
    assert long[:3] == frames.FRAME_BYTES.to_bytes(3)
    assert long[3:5] == bytes([frames.HEADERS, 0])
    second = long[9 + frames.FRAME_BYTES :]
    assert second[3:5] == bytes([frames.CONTINUATION, 0])
    # 40,000 is 127 and 39,873 in groups of seven bits, the lowest first.
    assert b"\x7f\xc1\xb7\x02" + b"x" * 100 in long
