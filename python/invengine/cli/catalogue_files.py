"""`invengine catalogue ... import | export`: items, locations and channels in CSV files."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from invengine.cli.csvfile import BadLine, Row, first_of, read_table
from invengine.cli.entities import EntityKind, print_look_alikes
from invengine.cli.exits import UsageProblemError, core_error
from invengine.cli.exports import Force, Out, export
from invengine.cli.imports import BATCH, CsvFile, Delimiter, DryRun, Report, SkipBad, batches, conclude, shown, tell
from invengine.cli.keys import changes_something
from invengine.cli.options import Json, Target, TimeoutMs, connected
from invengine.cli.progress import progress
from invengine.client import Client, LocationType, LookAlike, Money, commands
from invengine.errors import InvalidField, InvengineError

UPSERTS: dict[str, Callable[..., Any]] = {
    "items": commands.upsert_items,
    "locations": commands.upsert_locations,
    "channels": commands.upsert_channels,
}
_FIELD = re.compile(r"\w+\[\d+\]\.(.+)")


@dataclass(frozen=True, slots=True)
class Entry:
    """An entity of a file, and its line."""

    line: int
    entity: Any


def file_commands(sub: typer.Typer, kind: EntityKind) -> None:
    """Adds `import` and `export`."""
    columns = ", ".join(kind.columns)

    @sub.command(
        "import",
        help=f"Create or replace {kind.noun} from a CSV file with the columns {columns}. If a line is bad, all bad "
        f"lines are told and nothing is imported. Each batch of {BATCH} is atomic; doing it twice changes nothing.",
    )
    def bring(
        context: typer.Context,
        file: CsvFile,
        delimiter: Delimiter = ",",
        dry_run: DryRun = False,
        skip_bad: SkipBad = False,
        target: Target = None,
        timeout_ms: TimeoutMs = None,
        as_json: Json = False,
    ) -> None:
        table = read_table(file, kind.columns, delimiter=delimiter)
        report = Report(table, dry_run, skip_bad)
        with connected(context, target, timeout_ms) as client:
            _import(client, kind, report, as_json=as_json)

    @sub.command("export", help=f"Write all {kind.noun} as CSV, as `import` reads it, in the order they were created.")
    def take(
        context: typer.Context,
        out: Out = None,
        force: Force = False,
        delimiter: Delimiter = ",",
        target: Target = None,
        timeout_ms: TimeoutMs = None,
        as_json: Json = False,
    ) -> None:
        with connected(context, target, timeout_ms) as client:

            def rows() -> Iterator[list[str]]:
                return ([_cell(getattr(each, name)) for name in kind.columns] for each in kind.read_all(client))

            export(rows, kind.columns, out, force=force, delimiter=delimiter, as_json=as_json)


def _cell(value: Any) -> str:
    """A field as a file has it; nothing is an empty cell."""
    if value is None:
        return ""
    if isinstance(value, Money):
        return f"{value.amount:f} {value.currency}"
    return value.name.lower() if isinstance(value, LocationType) else str(value)


def _import(client: Client, kind: EntityKind, report: Report, *, as_json: bool) -> None:
    entries = _checked(client, kind, _entries(kind, report), report)
    report.importable = len(entries)
    stored = _Stored()
    failure: InvengineError | None = None
    if report.sends:
        failure = _send(client, kind, entries, report, stored)
    elif report.dry_run and entries:
        stored.look_alikes = _look_alikes_of(client, kind, entries)
    report.more = {kind.noun: report.imported, "sequence": stored.sequence}
    if as_json:
        report.more["look_alikes"] = stored.look_alikes
    tell(report, as_json=as_json)
    if not as_json:
        print_look_alikes(stored.look_alikes)
    conclude(report, failure)


@dataclass(slots=True)
class _Stored:
    """What the server said of the batches so far."""

    sequence: int = 0
    look_alikes: Sequence[LookAlike] = ()


def _entries(kind: EntityKind, report: Report) -> list[Entry]:
    """The entities of a file; what is wrong with the form of a line is in the report afterwards."""
    report.malformed += report.table.bad
    lines: dict[str, int] = {}
    found = []
    for row in report.table.rows:
        problem = first_of(lines, row.cells[0], row.line, shown(row.cells[0]))
        entity = None if problem else _made(kind, row, report)
        if problem:
            report.malformed.append(BadLine(row.line, problem))
        elif entity is not None:
            found.append(Entry(row.line, entity))
    return found


def _made(kind: EntityKind, row: Row, report: Report) -> Any:
    try:
        return kind.make(*row.cells)
    except UsageProblemError as problem:
        report.malformed.append(BadLine(row.line, str(problem)))
        return None


def _checked(client: Client, kind: EntityKind, entries: list[Entry], report: Report) -> list[Entry]:
    """The entries that a ledger accepts. An empty one in this process is asked: the rules are in one place.

    It would also refuse the name of an entity that is there already and older than the rule for new names.
    """
    good: list[Entry] = []
    odd: list[tuple[Entry, str]] = []
    with _EmptyLedger(kind) as ledger, progress(f"checking {kind.noun}", len(entries)) as advance:
        for batch in batches(entries):
            refused = {each.line: why for each, why in ledger.refused(batch)}
            good += [each for each in batch if each.line not in refused]
            odd += [(each, refused[each.line]) for each in batch if each.line in refused]
            advance(len(batch))
    if not odd:
        return good
    name_of = f"{kind.columns[0]}: "
    known = _names(client, kind) if any(why.startswith(name_of) for _, why in odd) else frozenset()
    for entry, why in odd:
        if why.startswith(name_of) and getattr(entry.entity, kind.columns[0]) in known:
            good.append(entry)
        else:
            report.malformed.append(BadLine(entry.line, why))
    return sorted(good, key=lambda entry: entry.line)


def _names(client: Client, kind: EntityKind) -> frozenset[str]:
    return frozenset(getattr(each, kind.columns[0]) for each in kind.read_all(client))


class _EmptyLedger:
    """A ledger of this process and without a journal, to which entities are put only to see whether it takes them."""

    def __init__(self, kind: EntityKind) -> None:
        from invengine._core import Engine

        self._upsert = UPSERTS[kind.noun]
        self._engine = Engine.open(json.dumps({"journal": "memory"}))

    def __enter__(self) -> _EmptyLedger:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.close()

    def put(self, entities: Sequence[Any]) -> Sequence[LookAlike]:
        """Puts entities and returns which look like older ones. Raises InvalidField."""
        draft = self._upsert(entities)
        payload = draft.payload(time.time_ns())
        try:
            answer = self._engine.call(draft.kind.method, payload)
        except Exception as error:
            raise core_error(error) from None
        found: Sequence[LookAlike] = draft.kind.decode(draft.kind.answer.FromString(answer)).look_alikes
        return found

    def refused(self, batch: Sequence[Entry]) -> Iterator[tuple[Entry, str]]:
        """The entries that it refuses, and the field and the rule of each."""
        try:
            self.put([each.entity for each in batch])
        except InvalidField:
            # Not all that is wrong in a batch is told at once, but one by one it is.
            for entry in batch:
                try:
                    self.put([entry.entity])
                except InvalidField as refusal:
                    yield entry, _rule(refusal)


def _rule(refusal: InvalidField) -> str:
    if not refusal.violations:
        return refusal.message
    first = refusal.violations[0]
    place = _FIELD.fullmatch(first.field)
    return f"{place[1] if place else first.field}: {first.description}"


def _look_alikes_of(client: Client, kind: EntityKind, entries: Sequence[Entry]) -> Sequence[LookAlike]:
    """Which names the import would report: those that look like one of the server, or like an earlier one."""
    found: list[LookAlike] = []
    with _EmptyLedger(kind) as ledger:
        there = [Entry(0, each) for each in kind.read_all(client)]
        for batch in batches(there):
            # Names older than the rules are refused here; what looks like one of them is not told.
            list(ledger.refused(batch))
        for batch in batches(entries):
            try:
                found += ledger.put([each.entity for each in batch])
            except InvalidField:
                continue
    return found


def _send(
    client: Client, kind: EntityKind, entries: Sequence[Entry], report: Report, stored: _Stored
) -> InvengineError | None:
    """Sends the entries, batch after batch: a later name may look like an earlier one. Returns what ended it.

    The keys are new ones: to import a file again has to undo what was changed since, not to repeat an old answer.
    """
    assert kind.upsert is not None
    look_alikes: list[LookAlike] = []
    stored.look_alikes = look_alikes
    with progress(f"importing {kind.noun}", len(entries)) as advance:
        for batch in batches(entries):
            changes_something()
            try:
                answer = kind.upsert(client, [each.entity for each in batch])
            except InvengineError as failure:
                return _of_lines(failure, report, batch)
            stored.sequence = answer.sequence
            look_alikes += answer.look_alikes
            report.imported += len(batch)
            advance(len(batch))
    return None


def _of_lines(failure: InvengineError, report: Report, batch: Sequence[Entry]) -> InvengineError:
    """The failure of a batch with lines of the file instead of indexes of the request."""
    if not isinstance(failure, InvalidField) or not failure.violations:
        return failure
    texts = []
    for bad in failure.violations:
        place = re.fullmatch(r"\w+\[(\d+)\]\.(.+)", bad.field)
        entry = batch[int(place[1])] if place and int(place[1]) < len(batch) else None
        where = f"{report.table.name}, line {entry.line}, {place[2]}" if entry and place else bad.field
        texts.append(f"{where}: {bad.description}")
    more = f" (and {len(texts) - 1} more)" if len(texts) > 1 else ""
    return InvalidField(texts[0] + more, metadata=failure.metadata, violations=failure.violations)
