"""What every import of a file shares: its flags, its report of bad lines, and batches on their way to the server.

An import reads and checks the whole file first. A line is bad in itself, or because the ledger would refuse it. If any
is bad nothing is sent, unless --skip-bad leaves out the bad ones and what belongs to them. A dry run ends there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from invengine.cli.csvfile import BadLine, Table
from invengine.cli.exits import PartlyDoneError, RefusedLinesError, UsageProblemError
from invengine.cli.output import print_facts, print_line, visible
from invengine.errors import OutcomeUnknown

if TYPE_CHECKING:
    from invengine.client import Client

BATCH = 1000
"""The maximum number of lines of one command."""
BAD_SHOWN, BAD_LISTED = 20, 1000
"""How many bad lines are printed for people, and how many with --json. Their total is always told."""
IN_FLIGHT = 4
"""Commands on their way at once: while the server syncs one, the next is encoded."""
FEW = 100
"""What concerns up to so many places or orders is asked for one by one; for more, all that the ledger has is read."""
CELL_CHARS_MAX = 60
REFERENCE_CHARS_MAX = 128

Place = tuple[str, str]
"""An item and a location."""

CsvFile = Annotated[Path, typer.Argument(metavar="FILE", help="CSV file with a header, UTF-8.")]
Delimiter = Annotated[str, typer.Option("--delimiter", help="What separates the columns, such as ';'; tab for a tab.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything that can be checked, and change nothing.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Import the good lines although others are bad.")]

B = TypeVar("B")
R = TypeVar("R")


@dataclass(slots=True)
class Report:
    """What becomes of the lines of a file: lines = importable + already_done + left_out + the bad ones."""

    table: Table
    dry_run: bool
    skip_bad: bool
    importable: int = 0
    imported: int = 0
    already_done: int = 0
    left_out: int = 0
    """Good lines that belong to something with a bad one."""
    malformed: list[BadLine] = field(default_factory=list)
    """Bad in themselves, whatever the ledger has."""
    refused: list[BadLine] = field(default_factory=list)
    """Bad because of what the ledger has, or lacks."""
    more: dict[str, Any] = field(default_factory=dict)
    """What only this kind of import tells."""

    @property
    def bad(self) -> int:
        """How many lines are bad."""
        return len(self.malformed) + len(self.refused)

    @property
    def sends(self) -> bool:
        """True if the import goes on to change something."""
        return not self.dry_run and self.importable > 0 and (self.skip_bad or not self.bad)

    def facts(self) -> dict[str, Any]:
        """The report for programs, without the lines."""
        counts = {name: getattr(self, name) for name in ("importable", "imported", "already_done", "left_out", "bad")}
        return {"lines": self.table.lines, **counts, "dry_run": self.dry_run, **self.more}

    def worst(self) -> list[BadLine]:
        """The bad lines in the order of the file."""
        return sorted((*self.malformed, *self.refused), key=lambda bad: bad.line)


def tell(report: Report, *, as_json: bool) -> None:
    """Prints the report."""
    bad = report.worst()
    if as_json:
        listed = [{"line": each.line, "problem": each.problem} for each in bad[:BAD_LISTED]]
        print_facts({**report.facts(), "bad_lines": listed}, as_json=True)
    else:
        print_facts(report.facts(), as_json=False)
        for each in bad[:BAD_SHOWN]:
            print_line(f"line {each.line}: {each.problem}")
        if len(bad) > BAD_SHOWN:
            print_line(f"bad lines: {len(bad) - BAD_SHOWN:,} more; --json lists up to {BAD_LISTED:,}")


def conclude(report: Report, failure: Exception | None = None) -> None:
    """Raises what the exit code follows from, if it is not 0. `failure` ended the import before its end."""
    if failure is not None:
        raise _ended_by(report, failure)
    if report.bad:
        raise _with_bad_lines(report, report.worst()[0])


def _ended_by(report: Report, failure: Exception) -> Exception:
    if isinstance(failure, OutcomeUnknown):
        # Nobody has to know the keys of an import: the next run finds them.
        failure.key, failure.message = "", "what was sent last may be imported or not: run it again, which continues"
    if not report.imported:
        return failure
    return PartlyDoneError(
        f"{report.imported:,} of {report.table.lines:,} lines of {report.table.name} are imported, the others are not "
        f"or may not be: correct the cause and run it again, which continues ({failure})"
    )


def _with_bad_lines(report: Report, first: BadLine) -> Exception:
    name, lines = report.table.name, report.table.lines
    example = f"line {first.line}: {first.problem}" + (f", and {report.bad - 1:,} more" if report.bad > 1 else "")
    done = report.already_done + (report.importable if report.dry_run else report.imported)
    if report.skip_bad and done:
        would = "would be" if report.dry_run else "are"
        rest = report.bad + report.left_out
        return PartlyDoneError(f"{done:,} of {lines:,} lines of {name} {would} imported, {rest:,} left out ({example})")
    advice = "correct them" if report.skip_bad else "correct them, or leave them out with --skip-bad"
    text = f"{report.bad:,} of {lines:,} lines of {name} are bad, and nothing is imported: {advice} ({example})"
    return UsageProblemError(text) if report.malformed else RefusedLinesError(text)


def batches(entries: Sequence[B]) -> Iterator[Sequence[B]]:
    """The entries in batches of the maximum size."""
    return (entries[at : at + BATCH] for at in range(0, len(entries), BATCH))


def in_flight(wanted: Iterable[B], send: Callable[[B], R], width: int = IN_FLIGHT) -> Iterator[tuple[B, R | Exception]]:
    """Sends each from a thread, up to `width` at a time, and yields what became of it, in order.

    After the first failure nothing more is begun, and what is under way is awaited.
    """
    from concurrent.futures import Future, ThreadPoolExecutor

    waiting: deque[tuple[B, Future[R]]] = deque()
    failed = False
    rest = iter(wanted)
    with ThreadPoolExecutor(width) as pool:
        while True:
            while not failed and len(waiting) < width:
                following = next(rest, None)
                if following is None:
                    break
                waiting.append((following, pool.submit(send, following)))
            if not waiting:
                return
            sent, future = waiting.popleft()
            failure = future.exception()
            if failure is not None and not isinstance(failure, Exception):
                raise failure
            failed = failed or failure is not None
            yield sent, future.result() if failure is None else failure


def shown(cell: str) -> str:
    """A cell as a message names it: in quotation marks, and not at any length."""
    return visible(cell if len(cell) <= CELL_CHARS_MAX else cell[: CELL_CHARS_MAX - 1] + "…")


def unknown_names(client: Client, places: set[Place]) -> dict[str, set[str]]:
    """The skus and locations of these places that are not in the catalogue."""
    unknown: dict[str, set[str]] = {"sku": set(), "location": set()}
    # Each name is asked for once, with some other name beside it.
    of_skus = {sku: (sku, location) for sku, location in places}
    of_locations = {location: (sku, location) for sku, location in places}
    for found in client.availabilities([*of_skus.values(), *of_locations.values()]) if places else ():
        if found.unknown_sku:
            unknown["sku"].add(found.sku)
        if found.unknown_location:
            unknown["location"].add(found.location)
    return unknown


def problem_with_names(sku: str, location: str, unknown: Mapping[str, set[str]]) -> str:
    """What is wrong with the names of a line; empty if both are in the catalogue."""
    for kind, name in (("sku", sku), ("location", location)):
        if name in unknown[kind]:
            return f"{kind} {shown(name)} is not in the catalogue"
    return ""


def reference_of(file: Path) -> str:
    """The name of a file as the reference of commands."""
    return "".join(char if char.isprintable() else "?" for char in file.name)[:REFERENCE_CHARS_MAX]
