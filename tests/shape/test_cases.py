"""The table of cases in docs/RELIABILITY.md is fresh and whole, and its tool sees what is wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tools import cases

from .tree import ROOT


def test_the_table_is_fresh_and_every_case_has_its_test() -> None:
    command = [sys.executable, str(ROOT / "tools" / "cases.py"), "--check"]
    outcome = subprocess.run(command, check=False, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr


def test_the_catalogue_is_whole() -> None:
    known = cases.catalogue()
    sections = {"A": 16, "B": 14, "C": 18, "D": 10, "E": 17, "F": 17, "G": 8, "H": 18, "I": 6}
    assert list(known.titles) == [f"{letter}{n:02}" for letter, last in sections.items() for n in range(1, last + 1)]
    assert known.later <= known.titles.keys()


def test_what_needs_no_test_yet_is_what_was_agreed() -> None:
    # A case moves out of this list when it gets a test; none may move in.
    agreed = {"A05", "A16", "B11", "B14", "C03", "C08", "C17", "C18", "F04", "F17", "G04", "I02", "I04", "I05"}
    assert cases.catalogue().owed <= {"F02", "F07", "F15", "G08", "I03"}
    assert cases.catalogue().later <= agreed | {f"H{number:02}" for number in range(1, 19)}


MARKED = """
@pytest.mark.case("E03", "E04")
def test_one():
    pass

@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.case("A01"))])
async def test_two(x):
    pass

pytestmark = [pytest.mark.case("B01")]
"""


def test_markers_of_python_tests_are_found() -> None:
    found = list(cases.python_cases(MARKED))
    assert found == [("E03", "test_one"), ("E04", "test_one"), ("A01", "test_two"), ("B01", "")]


COMMENTED = """
// case: E03, E04
/// What it shows.
#[test]
fn cut_anywhere() {}

proptest! {
    // case: C11
    #[test]
    fn counters_add_up(seed in any::<u64>()) {}
}
"""


def test_comments_of_rust_tests_are_found() -> None:
    found = list(cases.rust_cases(COMMENTED))
    assert found == [("E03", "cut_anywhere"), ("E04", "cut_anywhere"), ("C11", "counters_add_up")]


@pytest.mark.parametrize(
    "text",
    ["// case: E03 and E04\n#[test]\nfn both() {}\n", "// case: E03\nlet x = 1;\nfn far() {}\n", "// case: E03\n"],
    ids=["not a list", "not above a test", "no test at all"],
)
def test_a_comment_that_belongs_to_no_test_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="case"):
        list(cases.rust_cases(text))


def test_an_unknown_case_is_named() -> None:
    found = cases.Found()
    found.add("Z99", "tests/x.py::test_x", {"A01": "a title"})
    assert found.wrong
    assert not found.tests


def test_a_case_without_a_test_is_missing_unless_it_is_for_later() -> None:
    known = cases.Catalogue({"A01": "first", "A02": "second", "A03": "third"}, frozenset({"A03"}))
    found = cases.Found()
    found.add("A01", "tests/x.py::test_x", known.titles)
    assert cases.missing(known, found) == ["A02"]
    assert "| A02 | second | none |" in cases.table(known, found)
    assert "| A03 | third | later |" in cases.table(known, found)
