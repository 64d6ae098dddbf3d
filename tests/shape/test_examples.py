"""Every Python example of the documents runs unchanged, and a second time: those of one document in order, against a
server of its own.

The server is the one that the documents tell people to start: `invengine dev`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from ..conformance.redis_server import free_port
from .tree import blocks

DEFAULT = "127.0.0.1:7411"
DOCUMENTS = sorted({block.file for block in blocks("python")})
START_S = 30
RUN_S = 90


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Address of a server that knows nothing but its samples."""
    address = f"127.0.0.1:{free_port()}"
    log = tmp_path / "server.log"
    command = [sys.executable, "-m", "invengine.cli", "dev", "--address", address]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            with grpc.insecure_channel(address) as channel:
                grpc.channel_ready_future(channel).result(timeout=START_S)
            yield address
        except grpc.FutureTimeoutError:
            pytest.fail(f"the server did not start: {log.read_text(encoding='utf-8')}")
        finally:
            process.terminate()
            process.wait(timeout=START_S)


def _program(document: str) -> str:
    """The examples of a document as one program, each on its original lines."""
    lines: list[str] = []
    for block in blocks("python"):
        if block.file == document:
            lines += [""] * (block.line - len(lines))
            lines += block.text.splitlines()
    return "\n".join(lines)


def test_the_documents_have_examples() -> None:
    recipes = {f"docs/recipes/{name}.md" for name in ("checkout", "marketplace", "redis")}
    assert set(DOCUMENTS) >= {"README.md", "docs/client.md"} | recipes


@pytest.mark.parametrize("document", DOCUMENTS)
def test_examples_run(document: str, server: str, tmp_path: Path) -> None:
    directory = tmp_path / "room"
    directory.mkdir()
    program = tmp_path / f"{Path(document).stem}_example.py"  # named like a module that it imports, it would hide it
    program.write_text(_program(document).replace(DEFAULT, server), encoding="utf-8")
    command = [sys.executable, "-W", "error::DeprecationWarning", str(program)]
    for attempt in ("first", "second"):  # Whoever reads tries again, on what the first run left behind.
        outcome = subprocess.run(command, check=False, capture_output=True, text=True, cwd=directory, timeout=RUN_S)
        assert outcome.returncode == 0, f"the {attempt} run: {outcome.stderr}"
