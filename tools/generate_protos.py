"""Writes the Python code of the wire contract: protos/invengine/v1/*.proto becomes python/invengine/v1/*_pb2*.

`--check` writes nothing and fails if a committed file does not match the protos. The versions of the generators are
pinned in pyproject.toml, because newer ones write code that asks users for a newer protobuf.
"""

from __future__ import annotations

import argparse
import difflib
import os
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[1]
PROTOS = ROOT / "protos"
PACKAGE = Path("invengine") / "v1"
GENERATED = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
MARKER = '"""Generated from protos/invengine/v1 by `make protos`: protocol buffer messages and gRPC stubs."""\n'


def write(target: Path) -> None:
    """Writes every generated module of the contract below `target` and removes those whose proto is gone."""
    package = target / PACKAGE
    package.mkdir(parents=True, exist_ok=True)
    for old in generated(package).values():
        old.unlink()
    # The plugins of mypy-protobuf are next to the interpreter, which need not be on PATH.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    sources = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / PACKAGE).glob("*.proto"))
    services = [source for source in sources if source.endswith("_service.proto")]
    run(sources, [f"--python_out={target}", f"--mypy_out=quiet:{target}"])
    run(services, [f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}"])
    (package / "__init__.py").write_text(MARKER, encoding="utf-8")


def run(sources: list[str], outputs: list[str]) -> None:
    """Runs protoc; raises SystemExit with its code if it rejects a proto (the reason is on stderr)."""
    include = str(files("grpc_tools") / "_proto")
    code = protoc.main(["protoc", f"-I{PROTOS}", f"-I{include}", *outputs, *sources])
    if code:
        raise SystemExit(int(code))


def generated(package: Path) -> dict[str, Path]:
    """The generated modules in `package`, by file name."""
    return {path.name: path for path in sorted(package.glob("*")) if path.name.endswith(GENERATED)}


def stale(committed: Path, fresh: Path) -> list[str]:
    """The differences between two generated packages: one line for each file that is missing, left over or changed."""
    old, new = generated(committed), generated(fresh)
    lines = [f"missing: {name}" for name in sorted(new.keys() - old.keys())]
    lines += [f"left over: {name}" for name in sorted(old.keys() - new.keys())]
    for name in sorted(old.keys() & new.keys()):
        before, after = (path.read_text(encoding="utf-8").splitlines() for path in (old[name], new[name]))
        if before != after:
            first = next(
                line for line in difflib.unified_diff(before, after, n=0, lineterm="") if line.startswith("@@")
            )
            lines.append(f"changed: {name} {first}")
    return lines


def main() -> int:
    """Regenerates, or with `--check` compares; 0 if the committed files are (now) fresh."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    arguments = parser.parse_args()
    if not arguments.check:
        write(ROOT / "python")
        return 0
    scratch = Path(tempfile.mkdtemp(prefix="invengine-protos-"))
    try:
        write(scratch)
        problems = stale(ROOT / "python" / PACKAGE, scratch / PACKAGE)
    finally:
        shutil.rmtree(scratch)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print("python/invengine/v1 is not what protos/ say: run `make protos`", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
