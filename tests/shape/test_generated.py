"""Generated files are what their sources say, and the contract only grows."""

from __future__ import annotations

import subprocess
import sys

from invengine import errors
from invengine.client import AsyncClient, Client
from invengine.v1 import journal_service_pb2, types_pb2

from .tree import ROOT


def test_generated_python_is_fresh() -> None:
    command = [sys.executable, str(ROOT / "tools" / "generate_protos.py"), "--check"]
    outcome = subprocess.run(command, check=False, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr


def test_the_reference_is_fresh_and_nothing_public_is_silent() -> None:
    command = [sys.executable, str(ROOT / "tools" / "api.py"), "--check"]
    outcome = subprocess.run(command, check=False, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr


def test_the_reference_has_every_method_error_and_event() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    methods = [name for kind in (Client, AsyncClient) for name in vars(kind) if not name.startswith("_")]
    assert [name for name in methods if callable(getattr(Client, name)) and f"\n#### {name}\n" not in page] == []
    kinds = [name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert [name for name in kinds if f"`{name}`" not in page and name != "DecodeError"] == []
    facts = [field.name for field in journal_service_pb2.Event.DESCRIPTOR.oneofs_by_name["fact"].fields]
    assert [kind for kind in facts if f"\n### {kind}\n" not in page] == []
    assert "A task that is cancelled" in page


def test_generated_code_imports_as_a_package() -> None:
    assert types_pb2.CommandContext.DESCRIPTOR.full_name == "invengine.v1.CommandContext"


def test_generated_code_does_not_ask_for_a_new_protobuf() -> None:
    # Code of newer generators calls ValidateProtobufRuntimeVersion with 7.x and so forces every user onto it.
    text = (ROOT / "python" / "invengine" / "v1" / "types_pb2.py").read_text(encoding="utf-8")
    assert "# Protobuf Python Version: 6." in text
