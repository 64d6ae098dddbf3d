"""Every reason of a refusal is documented, known to the client, and given by the engine: the same list three times."""

from __future__ import annotations

import re
from collections.abc import Iterator

from invengine import errors

from ..conformance.refused import FACTS_OF_REASON
from .tree import ROOT, text_of, written

REASON = re.compile(r'"([A-Z][A-Z_]{3,})"')
ROW = re.compile(r"^\| `(?P<reason>[A-Z_]+)` \| (?P<code>[A-Z_]+) \|", re.MULTILINE)
FACTS = re.compile(r"^\| `(?P<reason>[A-Z_]+)` \| [A-Z_]+ \| (?:.*?) \| (?P<metadata>.*?) \| [^|]*\|$", re.MULTILINE)
LATER = "## For later versions"
ENGINE = "rust/ledger/src/rejection.rs"
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


def _documented() -> tuple[dict[str, int], dict[str, int]]:
    """Reasons with their codes: those of this version, those that later versions will give."""
    now, _, later = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").partition(LATER)
    first, second = ({row["reason"]: CODES[row["code"]] for row in ROW.finditer(text)} for text in (now, later))
    return first, second


def _classes(root: type[errors.InvengineError]) -> Iterator[type[errors.InvengineError]]:
    yield root
    for child in root.__subclasses__():
        yield from _classes(child)


def _known_to_the_client() -> dict[str, int]:
    return {kind.default_reason: kind.default_code for kind in _classes(errors.InvengineError) if kind.default_reason}


def test_the_client_knows_every_documented_reason_with_its_code() -> None:
    now, later = _documented()
    assert _known_to_the_client() == now | later


def test_every_reason_of_the_engine_is_documented() -> None:
    now, _ = _documented()
    assert set(REASON.findall(text_of(ENGINE))) - now.keys() == set()


def test_every_documented_reason_is_given_by_the_engine() -> None:
    now, _ = _documented()
    sources = [name for name in written(".rs") if re.match(r"rust/(ledger|node)/src/", name)]
    given = {reason for name in sources for reason in REASON.findall(text_of(name))}
    assert now.keys() - given == set()


def test_every_fact_that_a_refusal_may_carry_is_documented() -> None:
    """Conformance holds every refusal it sees to the table of facts; this holds the table to the document."""
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    documented = {row["reason"]: set(re.findall(r"`([^`]+)`", row["metadata"])) for row in FACTS.finditer(text)}
    assert documented.keys() == {row["reason"] for row in ROW.finditer(text)}
    missing = {reason: facts - documented.get(reason, set()) for reason, facts in FACTS_OF_REASON.items()}
    assert {reason: facts for reason, facts in missing.items() if facts} == {}


def test_every_fact_that_the_engine_puts_into_a_refusal_is_in_the_document() -> None:
    sources = [name for name in written(".rs") if re.match(r"rust/(ledger/src/|node/src/refusal\.rs)", name)]
    put = {fact for name in sources for fact in re.findall(r'\.(?:fact|text|number)\("(\w+)"', text_of(name))}
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    documented = {fact for row in FACTS.finditer(text) for fact in re.findall(r"`([^`]+)`", row["metadata"])}
    # What it says of a bad field goes into BadRequest.
    assert put - documented == {"description"}
