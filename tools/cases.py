"""Writes the table of cases into docs/RELIABILITY.md: each case of tools/cases.toml with the tests that cover it.

A Python test names its cases in a marker, `@pytest.mark.case("E03", "E04")`, a Rust test in a comment above its
attributes, `// case: E03, E04`. Both are read from the text: nothing is imported or built. `--check` writes nothing and
fails if the table is stale, if a test names a case that there is not, or if a case has no test and is neither `later`
nor `owed`.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CATALOGUE = ROOT / "tools" / "cases.toml"
DOCUMENT = ROOT / "docs" / "RELIABILITY.md"
FIRST, LAST = "<!-- cases: written by `make cases` -->", "<!-- end of cases -->"

SECTIONS = {
    "A": "Keys",
    "B": "Sources",
    "C": "Stock and holds",
    "D": "Time",
    "E": "File journal, crash and disk",
    "F": "Redis journal",
    "G": "Concurrency and ownership",
    "H": "Security and input",
    "I": "Operations",
}
RUST_CASE = re.compile(r"^\s*// case: (?P<ids>.+?)\s*$")
# Only attributes and further comments are allowed between the comment and its function.
RUST_BETWEEN = re.compile(r"^\s*(#\[|//|\)|[a-z_]+ = )")
RUST_FUNCTION = re.compile(r"^\s*(?:pub(?:\([a-z]+\))? )?(?:async )?fn (?P<name>\w+)")
CASE_ID = re.compile(r"[A-I]\d\d")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every case with its title, those that need no test yet, and those that need one and have none."""

    titles: dict[str, str]
    later: frozenset[str]
    owed: frozenset[str] = frozenset()


@dataclass(slots=True)
class Found:
    """Tests by case, and errors in how they name their cases."""

    tests: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    wrong: list[str] = field(default_factory=list)

    def add(self, case: str, test: str, titles: dict[str, str]) -> None:
        """Records one test of one case."""
        if case not in titles:
            self.wrong.append(f"{test}: there is no case {case!r} in {CATALOGUE.name}")
        elif test not in self.tests[case]:
            self.tests[case].append(test)


def catalogue(path: Path = CATALOGUE) -> Catalogue:
    """Reads the catalogue from its file."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return Catalogue(dict(table["cases"]), frozenset(table["later"]), frozenset(table["owed"]))


def collect(titles: dict[str, str], root: Path = ROOT) -> Found:
    """Every test that names a case, in the order of the files."""
    found = Found()
    for name in _tracked(root):
        text = (root / name).read_text(encoding="utf-8", errors="replace")
        if name.endswith(".py") and "mark.case(" in text:
            cases: Iterator[tuple[str, str]] = python_cases(text)
        elif name.endswith(".rs") and "// case: " in text:
            cases = rust_cases(text)
        else:
            continue
        try:
            for case, test in cases:
                found.add(case, f"{name}::{test}" if test else name, titles)
        except ValueError as error:
            found.wrong.append(f"{name}: {error}")
    return found


def python_cases(text: str) -> Iterator[tuple[str, str]]:
    """Pairs of case and test function; the function is empty for a marker of the whole module."""
    for node in ast.parse(text).body:
        test = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else ""
        for part in ast.walk(node):
            if isinstance(part, ast.Call) and ast.unparse(part.func).endswith("mark.case"):
                for argument in part.args:
                    if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                        raise ValueError(f"line {part.lineno}: write the id of the case itself into its marker")
                    yield argument.value, test


def rust_cases(text: str) -> Iterator[tuple[str, str]]:
    """Pairs of case and test function."""
    pending: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        comment = RUST_CASE.match(line)
        function = RUST_FUNCTION.match(line)
        if comment:
            ids = [case.strip() for case in comment["ids"].split(",")]
            if not all(CASE_ID.fullmatch(case) for case in ids):
                raise ValueError(f"line {number}: a comment of cases is a list like `// case: E03, E04`")
            pending += ids
        elif function:
            for case in pending:
                yield case, function["name"]
            pending = []
        elif pending and not RUST_BETWEEN.match(line):
            raise ValueError(f"line {number}: a comment of cases stands directly above the attributes of its test")
    if pending:
        raise ValueError(f"no test follows the comment of case {', '.join(pending)}")


def missing(known: Catalogue, found: Found) -> list[str]:
    """Cases that should have a test and have none."""
    excused = known.later | known.owed
    return [case for case in known.titles if case not in excused and not found.tests.get(case)]


def table(known: Catalogue, found: Found) -> str:
    """The cases as Markdown, one table a section."""
    parts = []
    for letter, section in SECTIONS.items():
        rows = [f"### {letter}. {section}", "", "| case | what happens | tests |", "|---|---|---|"]
        for case, title in known.titles.items():
            if case.startswith(letter):
                tests = found.tests.get(case, [])
                played = "<br>".join(f"`{test}`" for test in tests) or _without(case, known)
                rows.append(f"| {case} | {title} | {played} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def _without(case: str, known: Catalogue) -> str:
    if case in known.later:
        return "later"
    return "owed: no test yet" if case in known.owed else "none"


def placed(document: str, text: str) -> str:
    """The document with `text` between its two marks; raises ValueError if it has no marks."""
    before, first, rest = document.partition(FIRST)
    _, last, after = rest.partition(LAST)
    if not first or not last:
        raise ValueError(f"{DOCUMENT.name} has no lines `{FIRST}` and `{LAST}` to write between")
    return f"{before}{FIRST}\n{text}\n{LAST}{after}"


def _tracked(root: Path) -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", "*.py", "*.rs"]
    names = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
    return sorted({name for name in names if name and (root / name).is_file()})


def main() -> int:
    """Writes or checks the table; the exit code is 0 if everything is in order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if anything is stale or missing")
    check = parser.parse_args().check
    known = catalogue()
    found = collect(known.titles)
    complaints = list(found.wrong)
    document = DOCUMENT.read_text(encoding="utf-8")
    fresh = placed(document, table(known, found))
    if check:
        paid = sorted(case for case in known.owed if found.tests.get(case))
        complaints += [f"{case} has a test: take it out of `owed` in {CATALOGUE.name}" for case in paid]
        complaints += [f"{case} has no test: {known.titles[case]}" for case in missing(known, found)]
        if fresh != document:
            complaints.append(f"the table of {DOCUMENT.name} is stale: run `make cases`")
    else:
        DOCUMENT.write_text(fresh, encoding="utf-8")
        played = sum(bool(tests) for tests in found.tests.values())
        print(f"{played} of {len(known.titles)} cases have tests; without: {' '.join(missing(known, found)) or 'none'}")
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return bool(complaints)


if __name__ == "__main__":
    raise SystemExit(main())
