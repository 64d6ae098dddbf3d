"""`invengine stock import | export`: opening stock in CSV files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import typer

from invengine.cli.csvfile import BadLine, read_table
from invengine.cli.exports import Force, Out, export
from invengine.cli.imports import (
    FEW,
    CsvFile,
    Delimiter,
    DryRun,
    Place,
    Report,
    SkipBad,
    conclude,
    in_flight,
    problem_with_names,
    reference_of,
    tell,
    unknown_names,
)
from invengine.cli.keys import changes_something
from invengine.cli.opening import (
    COLUMNS,
    REQUIRED,
    OpeningBatch,
    OpeningLevel,
    batches_of,
    draft_of,
    key_of,
    levels_of,
    rows_of,
)
from invengine.cli.options import Actor, Json, ReasonCode, Reference, Target, TimeoutMs, connected
from invengine.cli.progress import progress
from invengine.client import Client, Level, Receipt
from invengine.client.commands import CommandFields
from invengine.errors import InvengineError, Rejected

REASON_CODE = "OPENING_STOCK"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("import")(bring)
    app.command("export")(take)


def bring(
    context: typer.Context,
    file: CsvFile,
    delimiter: Delimiter = ",",
    dry_run: DryRun = False,
    skip_bad: SkipBad = False,
    reason_code: ReasonCode = None,
    reference: Reference = None,
    actor: Actor = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Set opening stock from a CSV file with the columns sku, location, quantity and, if wanted, state.

    A level gets its opening stock once: one that has been recorded before is a bad line. Run the same file again after
    a failure: what is done is not done twice, and the rest is done. --reason-code is OPENING_STOCK and --reference the
    name of the file if not given.
    """
    report = Report(read_table(file, COLUMNS, REQUIRED, delimiter), dry_run, skip_bad)
    fields: CommandFields = {
        "reason_code": reason_code or REASON_CODE,
        "reference": reference or reference_of(file),
        "actor": actor,
    }
    levels = levels_of(report)
    with connected(context, target, timeout_ms) as client:
        wanted = _checked(client, levels, report)
        report.importable = sum(each.batch.lines for each in wanted)
        report.more = {
            "levels": sum(len(each.batch.levels) for each in wanted),
            "oversold_levels": sum(level.is_oversold for each in wanted for level in each.batch.levels),
            "sequence": 0,
        }
        failure = _send(client, wanted, fields, report) if report.sends else None
    tell(report, as_json=as_json)
    conclude(report, failure)


def take(
    context: typer.Context,
    out: Out = None,
    force: Force = False,
    delimiter: Delimiter = ",",
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Write all levels as CSV, as `stock import` reads it into a ledger without stock.

    Units in transit belong to stock transfers, and holds to orders: neither is in the file.
    """
    counts = {"levels": 0, "units_in_transit": 0}
    with connected(context, target, timeout_ms) as client:

        def rows() -> Iterator[tuple[str, str, int, str]]:
            for level in client.list_levels():
                counts["levels"] += 1
                counts["units_in_transit"] += level.in_transit
                yield from rows_of(level)

        export(rows, COLUMNS, out, force=force, delimiter=delimiter, as_json=as_json, more=lambda: counts)


class _Wanted(NamedTuple):
    """What is still to be sent of a batch, under the key of this attempt."""

    batch: OpeningBatch
    attempt: int


class _Past(NamedTuple):
    """What earlier runs did of a batch, and the first attempt whose key is unused."""

    done: frozenset[Place]
    attempt: int


def _checked(client: Client, levels: list[OpeningLevel], report: Report) -> list[_Wanted]:
    """What is to be sent, batch by batch. What is done, or would be refused, is in the report afterwards."""
    pasts = _pasts(client, levels, report)
    open_levels = [level for batch, past in pasts for level in batch.levels if level.place not in past.done]
    unknown = unknown_names(client, {level.place for level in open_levels})
    recorded = _recorded(client, [level for level in open_levels if not problem_with_names(*level.place, unknown)])
    wanted = []
    for batch, past in pasts:
        rest = tuple(level for level in batch.levels if _is_wanted(level, past, unknown, recorded, report))
        if rest:
            wanted.append(_Wanted(OpeningBatch(batch.number, rest), past.attempt))
    return wanted


def _pasts(client: Client, levels: list[OpeningLevel], report: Report) -> list[tuple[OpeningBatch, _Past]]:
    """The batches of the file, and what earlier runs did of each."""
    found: list[tuple[OpeningBatch, _Past]] = []
    with progress("checking stock", report.table.lines) as advance:
        for batch, past in in_flight(batches_of(levels), lambda each: _past(client, report.table.sha256, each.number)):
            if isinstance(past, Exception):
                raise past
            found.append((batch, past))
            advance(batch.lines)
    return found


def _is_wanted(
    level: OpeningLevel, past: _Past, unknown: Mapping[str, set[str]], recorded: Mapping[Place, int], report: Report
) -> bool:
    if level.place in past.done:
        report.already_done += len(level.lines)
        return False
    problem = problem_with_names(level.sku, level.location, unknown)
    if not problem and level.place in recorded:
        # Also a level without units: it may have had its opening stock, and sold all of it.
        problem = f"the level has been recorded before; {recorded[level.place]:,} on hand"
    if problem:
        report.refused.append(BadLine(level.lines[0].line, problem))
        report.left_out += len(level.lines) - 1
    return not problem


def _recorded(client: Client, levels: list[OpeningLevel]) -> dict[Place, int]:
    """Which of these levels were ever recorded, with their units on hand; there may be others in the answer."""
    found: Iterable[Level]
    if len(levels) <= FEW:
        places = [level.place for level in levels]
        found = (each for sku, location in places for each in client.list_levels(sku=sku, location=location))
    else:
        found = client.list_levels()
    return {(each.sku, each.location): each.on_hand for each in found}


def _past(client: Client, sha256: str, number: int) -> _Past:
    done: set[Place] = set()
    attempt = 1
    while (known := client.get_outcome(key_of(sha256, number, attempt))).known:
        done |= {(each.sku, each.location) for each in (known.outcome.levels if known.outcome else ())}
        attempt += 1
    return _Past(frozenset(done), attempt)


def _send(client: Client, wanted: list[_Wanted], fields: CommandFields, report: Report) -> InvengineError | None:
    """Sends the batches, and returns what ended it early."""
    failure: InvengineError | None = None

    def send(each: _Wanted) -> Receipt:
        key = key_of(report.table.sha256, each.batch.number, each.attempt)
        return client.send(draft_of(each.batch, key, fields))

    changes_something()
    with progress("importing stock", report.importable) as advance:
        for each, found in in_flight(wanted, send):
            if isinstance(found, InvengineError):
                failure = failure or _of_line(found, each.batch)
            elif isinstance(found, Exception):
                raise found
            else:
                report.imported += each.batch.lines
                report.more["sequence"] = max(report.more["sequence"], found.sequence)
                advance(each.batch.lines)
    return failure


def _of_line(failure: InvengineError, batch: OpeningBatch) -> InvengineError:
    """The failure of a batch with the line of the file instead of that of the command."""
    at = failure.metadata.pop("line", None)
    if isinstance(failure, Rejected) and at is not None:
        failure.metadata.pop("lines", None)
        lines = [line.line for level in batch.levels for line in level.lines]
        failure.message = f"line {lines[int(at) - 1]}: {failure.message}"
    return failure
