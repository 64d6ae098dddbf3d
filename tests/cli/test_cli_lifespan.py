"""A process that only called a server ends at once; every other one ends like any Python process."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator

import pytest

from invengine.cli import lifespan, main
from invengine.v1 import inventory_service_pb2

from .scripted import ScriptedEngine, scripted


class ProcessEnded(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def end(code: int) -> None:
        raise ProcessEnded(code)

    monkeypatch.setattr(lifespan, "_own", False)
    monkeypatch.setattr(lifespan, "_only_asks", False)
    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    yield
    gc.unfreeze()
    gc.enable()


def test_a_call_ends_its_process_once_its_answer_is_out(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = inventory_service_pb2.GetInventoryLevelResponse()
    with scripted(ScriptedEngine({"GetInventoryLevel": answer})) as address:
        monkeypatch.setattr(sys, "argv", ["invengine", "stock", "show", "MUG", "berlin", "--target", address])
        with pytest.raises(ProcessEnded) as ended:
            main()
    assert ended.value.args == (0,)
    assert "on hand" in capfd.readouterr().out
    assert gc.isenabled()


def test_a_call_that_fails_ends_its_process_with_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["invengine", "availability", "MUG", "--target", "127.0.0.1:1"])
    monkeypatch.setenv("INVENGINE_TIMEOUT_MS", "200")
    with pytest.raises(ProcessEnded) as ended:
        main()
    assert ended.value.args == (3,)


@pytest.mark.parametrize("arguments", [["version"], ["config", "show"], ["frobnicate"]])
def test_what_asks_nobody_ends_in_the_usual_way(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["invengine", *arguments])
    assert main() in (0, 2)


def test_a_function_leaves_the_process_of_its_caller_alone() -> None:
    gc.disable()
    frozen = gc.get_freeze_count()
    assert main(["availability", "MUG", "--target", "127.0.0.1:1", "--timeout-ms", "200"]) == 3
    assert (gc.isenabled(), gc.get_freeze_count()) == (False, frozen)
