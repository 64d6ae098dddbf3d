"""A batch that requests one long answer repeatedly costs the server little, and delays no other call."""

from __future__ import annotations

from pathlib import Path

import pytest

from invengine.v1 import reservation_service_pb2 as reservations

from . import methods, requests
from .own import own_target
from .shop import Shop
from .targets import SERVERS, ServerTarget

ANSWER_BYTES_MAX = 4 << 20
ATTACKS = 8
GROWTH_BYTES_MAX = 256 << 20
"""Eight answers with all their copies. One of them took 2.1 GB when it was not bounded."""


def peak_bytes(pid: int) -> int:
    """Most memory that a process ever had."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    (peak,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(peak.split()[1]) * 1024


@pytest.mark.parametrize("kind", SERVERS)
def test_a_thousand_replays_take_little_memory_and_others_are_answered(kind: str, tmp_path: Path) -> None:
    with own_target(kind, tmp_path) as target:
        assert isinstance(target, ServerTarget)
        shop = Shop(target)
        skus, made = shop.items(1_000, 9), shop.context()
        shop.call(methods.RESERVE, requests.reserve(made, *((sku, shop.here, 1) for sku in skus)))
        again = requests.allocate(shop.context(), requests.by_key(made.idempotency_key))
        shop.call(methods.ALLOCATE, again)
        attack = requests.submit(*(again for _ in range(1_000))).SerializeToString()
        before, peak = target.digest(), peak_bytes(target.server.process.pid)
        attacks = [target.start_raw(methods.SUBMIT.path, attack) for _ in range(ATTACKS)]
        others = 0
        while not all(each.done() for each in attacks):
            assert shop.available(skus[0]) == 8
            others += 1
        answers = [each.result() for each in attacks]
        assert peak_bytes(target.server.process.pid) - peak < GROWTH_BYTES_MAX
        assert others > 0
        for answer in answers:
            assert len(answer) <= ANSWER_BYTES_MAX
            outcomes = reservations.SubmitResponse.FromString(answer).outcomes
            assert [len(each.holds[0].lines) for each in outcomes if each.receipt.replayed][:2] == [1_000, 1_000]
            assert {each.rejection.reason for each in outcomes if not each.receipt.replayed} == {"OVERLOADED"}
        assert target.digest() == before
