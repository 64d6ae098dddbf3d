"""What things are called, how long files are, and what must not be in them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from .tree import ROOT, text_of, tracked, written

# As a whole name each of these is meaningless.
BANNED = {"manager", "helper", "helpers", "util", "utils", "common", "data", "info", "process", "misc"}
RUST_TYPE = re.compile(r"^\s*(?:pub(?:\([a-z]+\))? )?(?:struct|enum|trait|type|mod) ([A-Za-z_0-9]+)", re.MULTILINE)
VISIBLE_TYPE = re.compile(r"^ {0,4}pub(?:\([a-z: ]+\))? (?:struct|enum|trait|type|union) (\w+)", re.MULTILINE)
PROTO_TYPE = re.compile(r"^\s*(?:message|enum|service) ([A-Za-z0-9]+)", re.MULTILINE)

LINES_MAX = 500
# Longer files, each with the reason why it is better in one piece.
LONG: dict[str, str] = {
    "python/invengine/errors.py": "one tree: a reader looks up a class, and the drawing at the top must stay beside it",
    "protos/invengine/v1/journal_service.proto": "one service: who reads events looks up their facts beside the method",
}

# Character classes keep these patterns from finding themselves.
MACHINE_PATH = re.compile(r"(?:^|[^A-Za-z0-9_.])/(?:wor[k]|roo[t]|home)/[A-Za-z.]")
UNFINISHED = re.compile(
    r"\b(?:TOD[O]|FIXM[E]|XX[X]|HAC[K])\b|\btod[o]!\(|unimplemente[d]!\(|raise NotImplemente[d]Error"
)
SWITCHED_OFF = re.compile(r"#\[ignor[e]|pytest\.(?:mark\.)?(?:ski[p]|xfai[l])|assert Tru[e]\b|assert!\(tru[e]\)")

TEXT = (".rs", ".py", ".pyi", ".proto", ".toml", ".md", ".sh", ".yaml", ".yml", "Makefile", ".ci/run")


def test_no_module_has_a_banned_name() -> None:
    wrong = [
        name
        for name in written(".py", ".pyi", ".rs", ".proto")
        if {Path(part).stem for part in Path(name).parts} & BANNED
    ]
    assert wrong == []


def test_no_class_has_a_banned_name() -> None:
    wrong = []
    for name in written(".py", ".pyi"):
        classes = [node.name for node in ast.walk(ast.parse(text_of(name))) if isinstance(node, ast.ClassDef)]
        wrong += [f"{name}: {found}" for found in classes if found.lower() in BANNED]
    for ending, pattern in ((".rs", RUST_TYPE), (".proto", PROTO_TYPE)):
        for name in written(ending):
            wrong += [f"{name}: {found}" for found in pattern.findall(text_of(name)) if found.lower() in BANNED]
    assert wrong == []


def test_no_two_types_of_a_crate_that_others_see_have_one_name() -> None:
    """A type that is visible beyond its module can be found by its name alone."""
    homes: dict[tuple[str, str], list[str]] = {}
    for name in written(".rs"):
        crate, _, source = name.removeprefix("rust/").partition("/src/")
        for found in VISIBLE_TYPE.findall(text_of(name)) if source else ():
            homes.setdefault((crate, found), []).append(source)
    assert {key: files for key, files in homes.items() if len(files) > 1} == {}


def test_files_are_short_enough_to_read() -> None:
    long = {name: text_of(name).count("\n") for name in written(".py", ".pyi", ".rs", ".proto")}
    wrong = [f"{name}: {lines} lines" for name, lines in long.items() if lines > LINES_MAX and name not in LONG]
    assert wrong == []


def test_the_list_of_long_files_is_needed() -> None:
    assert [name for name, why in LONG.items() if not why or text_of(name).count("\n") <= LINES_MAX] == []


def _lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()}"
        for name in written(*TEXT)
        for number, line in enumerate(text_of(name).splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_path_of_one_machine() -> None:
    assert _lines_with(MACHINE_PATH) == []


def test_nothing_is_left_unfinished() -> None:
    assert _lines_with(UNFINISHED) == []


def test_no_test_is_switched_off() -> None:
    assert _lines_with(SWITCHED_OFF) == []


def test_no_large_file_is_tracked() -> None:
    assert [name for name in tracked() if (ROOT / name).stat().st_size > 300_000] == []
