"""Reasons of rejections: what docs/errors.md states for each, and which ones the code can return, from its text."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from .tree import text_of, written

LATER = "## For later versions"
ROW = re.compile(
    r"^\| `(?P<reason>[A-Z_]+)` \| (?P<code>[A-Z_]+) \| (?P<when>.+?) \| (?P<metadata>.+?) \| (?P<caller>.+?) \|$",
    re.MULTILINE,
)
QUOTED = re.compile(r"`([^`]+)`")
CODES = {
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "DATA_LOSS": 15,
    "UNAUTHENTICATED": 16,
}

# The detail with the time to wait is in the column of metadata.
RETRY = "RetryInfo"

NAMES_IN_THE_LEDGER = "rust/ledger/src/rejection.rs"
KINDS_OF_ENTITIES = "rust/ledger/src/entity/mod.rs"
OF_THE_NODE = "rust/node/src/refusal.rs"
OF_THE_SERVICE = "python/invengine/service/refusals.py"

# A row of the table of kinds of entities ends with the reason that refuses an unknown name.
_OF_A_KIND = re.compile(r'^    \d+ \w+(?: "\w+"){4} (\w+)$', re.MULTILINE)
# `Reason::X => "X"`, and where a Reason goes into a call: what is only compared or matched is not given.
_NAMED = re.compile(r'Reason::(\w+) => "([A-Z_]+)"')
_PASSED = re.compile(r"\w\(\s*Reason::([A-Z]\w+)")
_CONSTRUCTOR = re.compile(r"^    (?:pub )?fn (?P<name>\w+)[(<].*?^    }$", re.MULTILINE | re.DOTALL)
_MADE = re.compile(r'Refusal::new\(\s*Code::\w+,\s*"([A-Z_]+)"')
_FACT = re.compile(r'\.fact\(\s*"(\w+)"')
_CALLED = re.compile(r"(?:Refusal|Self)::(\w+)")
# Tests are at the end of a file.
_TESTS = re.compile(r"^#\[cfg\(test\)\]\nmod tests? \{.*", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Documented:
    """A row of docs/errors.md: the gRPC code, and the names in its column of metadata."""

    code: int
    metadata: frozenset[str]


@cache
def documented() -> tuple[Mapping[str, Documented], Mapping[str, Documented]]:
    """The reasons of this version, and those that only later ones give."""
    now, _, later = text_of("docs/errors.md").partition(LATER)
    return _rows(now), _rows(later)


def _rows(text: str) -> dict[str, Documented]:
    return {
        row["reason"]: Documented(CODES[row["code"]], frozenset(QUOTED.findall(row["metadata"])))
        for row in ROW.finditer(text)
    }


@cache
def given() -> Mapping[str, frozenset[str]]:
    """Every reason that some code returns, with the facts that its constructor adds; not those of the ledger."""
    rust = {name: _TESTS.sub("", text_of(name)) for name in written(".rs") if _is_source(name)}
    service = {name: text_of(name) for name in written(".py") if name.startswith("python/invengine/service/")}
    found: dict[str, set[str]] = defaultdict(set)
    for reason, facts in [*of_ledger(rust), *of_node(rust), *of_service(service)]:
        found[reason] |= facts
    return {reason: frozenset(facts) for reason, facts in found.items()}


def names_in_the_ledger() -> frozenset[str]:
    """The reasons that the ledger has."""
    return frozenset(name for _, name in _NAMED.findall(text_of(NAMES_IN_THE_LEDGER)))


def _is_source(name: str) -> bool:
    return bool(re.match(r"rust/(ledger|node|python)/src/", name)) and not name.endswith("tests.rs")


def of_ledger(sources: Mapping[str, str]) -> Iterator[tuple[str, set[str]]]:
    """Reasons that are passed to a call somewhere outside the file that lists them."""
    names = dict(_NAMED.findall(sources[NAMES_IN_THE_LEDGER]))
    for name, text in sources.items():
        if name != NAMES_IN_THE_LEDGER:
            yield from ((names[each], set()) for each in _PASSED.findall(text) if each in names)
        if name == KINDS_OF_ENTITIES:
            yield from ((names[each], set()) for each in _OF_A_KIND.findall(text))


def of_node(sources: Mapping[str, str]) -> Iterator[tuple[str, set[str]]]:
    """Reasons of those constructors of a Refusal that something calls."""
    makers = {match["name"]: match[0] for match in _CONSTRUCTOR.finditer(sources[OF_THE_NODE])}
    # It takes the ledger's reasons over, each with facts of its own.
    makers.pop("from", None)
    for name in _reached(makers, (text for name, text in sources.items() if name != OF_THE_NODE)):
        facts = set(_FACT.findall(makers[name])) | ({RETRY} if ".retry()" in makers[name] else set())
        # What one adds comes with the reason of the other that it calls.
        for made_by in _reached(makers, [makers[name], f"Self::{name}"]):
            for reason in _MADE.findall(makers[made_by]):
                yield reason, facts


def _reached(makers: Mapping[str, str], callers: Iterable[str]) -> set[str]:
    """The makers that are called, by these or by one another."""
    reached: set[str] = set()
    waiting = [name for text in callers for name in _CALLED.findall(text)]
    while waiting:
        name = waiting.pop()
        if name in makers and name not in reached:
            reached.add(name)
            waiting += _CALLED.findall(makers[name])
    return reached


def of_service(sources: Mapping[str, str]) -> Iterator[tuple[str, set[str]]]:
    """Reasons that the Python service returns: calls of `refused`, in functions that are used."""
    used = "\n".join(sources.values())
    for text in sources.values():
        for function in ast.walk(ast.parse(text)):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if len(re.findall(rf"\b{function.name}\b", used)) > 1:
                yield from _calls_of_refused(function)


def _calls_of_refused(function: ast.AST) -> Iterator[tuple[str, set[str]]]:
    for call in ast.walk(function):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "refused":
            reason = call.args[1]
            assert isinstance(reason, ast.Constant), ast.unparse(call)
            facts = call.args[3] if len(call.args) > 3 else ast.Dict(keys=[], values=[])
            assert isinstance(facts, ast.Dict), ast.unparse(call)
            retries = any(keyword.arg == "retry_delay_ms" for keyword in call.keywords)
            names = {str(key.value) for key in facts.keys if isinstance(key, ast.Constant)}
            yield str(reason.value), names | ({RETRY} if retries else set())
