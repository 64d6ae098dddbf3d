"""Every reason of a refusal is documented, known to the client, and given by some code: the same list three times."""

from __future__ import annotations

import re
from collections.abc import Iterator

from invengine import errors

from ..conformance.refused import FACTS_OF_REASON
from .reasons import (
    NAMES_IN_THE_LEDGER,
    OF_THE_NODE,
    RETRY,
    documented,
    given,
    names_in_the_ledger,
    of_ledger,
    of_node,
    of_service,
)
from .tree import text_of, written


def _classes(root: type[errors.InvengineError]) -> Iterator[type[errors.InvengineError]]:
    yield root
    for child in root.__subclasses__():
        yield from _classes(child)


def test_the_client_knows_every_documented_reason_with_its_code() -> None:
    now, later = documented()
    known = {kind.default_reason: kind.default_code for kind in _classes(errors.InvengineError) if kind.default_reason}
    assert known == {reason: row.code for reason, row in {**now, **later}.items()}


def test_every_reason_that_some_code_gives_is_documented_with_when() -> None:
    now, _ = documented()
    assert given().keys() - now.keys() == set()


def test_every_documented_reason_is_given_by_some_code() -> None:
    now, _ = documented()
    assert now.keys() - given().keys() == set()


def test_no_code_gives_a_reason_that_is_for_later_versions() -> None:
    _, later = documented()
    assert later.keys() & given().keys() == set()


def test_every_fact_that_comes_with_a_reason_is_documented() -> None:
    now, _ = documented()
    found = {reason: facts - now[reason].metadata for reason, facts in given().items() if reason in now}
    assert {reason: facts for reason, facts in found.items() if facts} == {}


def test_every_documented_fact_of_a_reason_that_is_not_the_ledgers_is_given() -> None:
    now, _ = documented()
    of_the_ledger = names_in_the_ledger()
    found = {reason: row.metadata - given()[reason] for reason, row in now.items() if reason not in of_the_ledger}
    assert {reason: facts for reason, facts in found.items() if facts} == {}


def test_every_fact_that_a_refusal_may_carry_is_documented() -> None:
    """Conformance holds every refusal it sees to the table of facts; this holds the table to the document."""
    now, later = documented()
    rows = {**now, **later}
    missing = {reason: facts - rows[reason].metadata for reason, facts in FACTS_OF_REASON.items()}
    assert {reason: facts for reason, facts in missing.items() if facts} == {}


def test_every_fact_that_the_engine_puts_into_a_refusal_is_in_the_document() -> None:
    sources = [name for name in written(".rs") if re.match(r"rust/(ledger/src/|node/src/refusal\.rs)", name)]
    put = {fact for name in sources for fact in re.findall(r'\.(?:fact|text|number)\("(\w+)"', text_of(name))}
    now, later = documented()
    facts = {fact for row in (*now.values(), *later.values()) for fact in row.metadata}
    # Descriptions of bad fields go into BadRequest.
    assert put - facts == {"description"}


def test_only_what_is_constructed_counts_as_given() -> None:
    listed = 'Reason::Gone => "GONE", Reason::Here => "HERE", Reason::Seen => "SEEN",'
    code = "if reason == Reason::Gone { Reason::Gone => 1 } Err(Rejection::new(Reason::Here).text()) x(\n Reason::Seen)"
    sources = {NAMES_IN_THE_LEDGER: listed, "a.rs": code}
    assert {reason for reason, _ in of_ledger(sources)} == {"HERE", "SEEN"}

    makers = """
    pub fn unused() -> Self {
        Refusal::new(Code::A, "UNUSED", "")
    }
    pub fn used(what: &str) -> Self {
        Self::inner(what).retry()
    }
    fn inner(what: &str) -> Self {
        Refusal::new(Code::A, "USED", "").fact("what", what).fact( "more", 1)
    }
"""
    found = list(of_node({OF_THE_NODE: makers, "a.rs": "Err(Refusal::used)"}))
    assert {reason for reason, _ in found} == {"USED"}
    assert set().union(*(facts for _, facts in found)) == {"what", "more", RETRY}

    service = """
def unused():
    return refused(1, "UNUSED", "text")
def used():
    raise refused(1, "USED", "text", {"what": 1}, retry_delay_ms=2)
used()
"""
    assert list(of_service({"a.py": service})) == [("USED", {"what", RETRY})]
