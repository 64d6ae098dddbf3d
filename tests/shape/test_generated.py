"""Generated files are what their sources say, and the contract only grows."""

from __future__ import annotations

import subprocess
import sys

from invengine.v1 import types_pb2

from .tree import ROOT


def test_generated_python_is_fresh() -> None:
    command = [sys.executable, str(ROOT / "tools" / "generate_protos.py"), "--check"]
    outcome = subprocess.run(command, check=False, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr


def test_generated_code_imports_as_a_package() -> None:
    assert types_pb2.CommandContext.DESCRIPTOR.full_name == "invengine.v1.CommandContext"


def test_generated_code_does_not_ask_for_a_new_protobuf() -> None:
    # Code of newer generators calls ValidateProtobufRuntimeVersion with 7.x and so forces every user onto it.
    text = (ROOT / "python" / "invengine" / "v1" / "types_pb2.py").read_text(encoding="utf-8")
    assert "# Protobuf Python Version: 6." in text
