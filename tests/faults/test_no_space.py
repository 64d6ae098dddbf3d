"""Files beside the journal that find no space are refused with the remedy, and the journal continues."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from invengine import _core
from invengine.errors import error_from_status
from invengine.v1 import inventory_service_pb2 as inventory

from ..cli.environment import mounted


@pytest.mark.needs_root
def test_a_snapshot_without_space_is_refused_journal_full_and_commands_continue(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, "size=24m"):
        settings = {"journal": "file", "directory": str(disk), "journal_file_bytes": 4 << 20, "auto_create": True}
        code, status = _snapshots_on_a_full_disk(_core.Engine.open(json.dumps(settings)), disk / "fill")
    refusal = error_from_status(code, status)
    assert refusal.reason == "JOURNAL_FULL"
    assert "free some space and ask again" in refusal.message


def _snapshots_on_a_full_disk(engine: _core.Engine, fill: Path) -> tuple[int, bytes]:
    """The rejection of a snapshot; commands continue, and once there is space the snapshot is written."""
    try:
        _receive(engine, "first")
        with fill.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        try:
            engine.call("/invengine.v1.AdminService/CreateSnapshot", b"")
        except _core.CallError as error:
            code, status = error.args
        _receive(engine, "second")
        fill.unlink()
        engine.call("/invengine.v1.AdminService/CreateSnapshot", b"")
        return code, status
    finally:
        engine.close()


@pytest.mark.needs_root
def test_a_backup_without_space_has_the_right_advice(tmp_path: Path) -> None:
    engine = _core.Engine.open(json.dumps({"directory": str(tmp_path / "journal"), "auto_create": True}))
    _receive(engine, "first")
    engine.close()
    settings = json.dumps({"directory": str(tmp_path / "journal")})
    with mounted(tmp_path / "disk", "size=8k"):
        with pytest.raises(_core.EngineFault) as caught:
            _core.create_backup(settings, str(tmp_path / "disk" / "copy"), False)
        assert "free some space, then try again" in str(caught.value)
        assert "start again" not in str(caught.value)


def _receive(engine: _core.Engine, key: str) -> None:
    request = inventory.ReceiveRequest(lines=[inventory.StockLine(sku="mug", location="wh", quantity=1)])
    engine.call("/invengine.v1.InventoryService/Receive", request.SerializeToString(), idempotency_key=key)
