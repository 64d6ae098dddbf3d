"""`invengine sources parked | waiting | dead-letters | skip-gap | redrive | discard | record`: messages of sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from invengine.cli.exits import PartlyDoneError, UsageProblemError
from invengine.cli.keys import changes_something, command_key
from invengine.cli.message_files import MessageLine, Recorded, message_lines, record_lines
from invengine.cli.options import Actor, Json, Key, ReasonCode, Target, TimeoutMs, connected
from invengine.cli.output import duration, plain, print_facts, print_json, print_line, print_table, visible
from invengine.cli.streams import unread
from invengine.client import Client, KeptMessage, MessageDisposition, MessageOutcome, Source
from invengine.errors import InvengineError, UnknownSource

LETTERS_AT_ONCE = 1_000

SourceId = Annotated[str, typer.Argument(metavar="SOURCE_ID", help="The name of the source.")]
LetterIds = Annotated[list[int], typer.Argument(metavar="ID...", min=1, help="Dead letters, by their ids.")]
MaybeLetterIds = Annotated[
    list[int] | None, typer.Argument(metavar="[ID]...", min=1, help="Dead letters, by their ids; or --all.")
]
MessageFile = Annotated[Path, typer.Argument(metavar="FILE", help="One message a line, as JSON; - for standard input.")]
KEPT_COLUMNS = ("number", "message id", "since", "message")


def register(app: typer.Typer) -> None:
    """Adds the commands to those on sources."""
    app.command("parked")(parked)
    app.command("waiting")(waiting)
    app.command("dead-letters")(dead_letters)
    app.command("skip-gap")(skip_gap)
    app.command("redrive")(redrive)
    app.command("discard")(discard)
    app.command("record")(record)


def ages(sources: Sequence[Source], engine_time: Callable[[], datetime]) -> list[tuple[str | None, str | None]]:
    """For how long the oldest parked and the oldest waiting message of each source are there, by the engine's clock."""
    since = [(each.parked_since, each.waiting_since) for each in sources]
    if not any(time for pair in since for time in pair):
        return [(None, None)] * len(since)
    now = engine_time()

    def age(time: datetime | None) -> str | None:
        return None if time is None else duration(max((now - time).total_seconds(), 0.0))

    return [(age(parked), age(waiting)) for parked, waiting in since]


# What is kept


def parked(
    context: typer.Context,
    source_id: SourceId,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """List messages that came before their turn. They are applied as soon as the messages before them have come."""
    with connected(context, target, timeout_ms) as client:
        _print_kept(client.list_parked(source_id), KEPT_COLUMNS, _kept_row, as_json)


def waiting(
    context: typer.Context,
    source_id: SourceId,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """List messages that wait for what they name. After 24 hours each becomes a dead letter."""

    def row(kept: KeptMessage) -> list[Any]:
        awaited = kept.waits_for
        return [*_kept_row(kept), f"{awaited.kind.replace('_', ' ')} {awaited.name}" if awaited else None]

    with connected(context, target, timeout_ms) as client:
        _print_kept(client.list_waiting(source_id), (*KEPT_COLUMNS, "waits for"), row, as_json)


def dead_letters(
    context: typer.Context,
    source_id: SourceId,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """List messages that were refused, each with its id and why. Redrive them once the cause is gone."""

    def row(kept: KeptMessage) -> list[Any]:
        return [kept.sequence, *_kept_row(kept), str(kept.rejection)]

    with connected(context, target, timeout_ms) as client:
        _print_kept(client.list_dead_letters(source_id), ("id", *KEPT_COLUMNS, "why"), row, as_json)


def _kept_row(kept: KeptMessage) -> list[Any]:
    return [kept.position.sequence, kept.message_id, kept.time, kept.description]


def _print_kept(
    found: Iterator[KeptMessage], columns: Sequence[str], row: Callable[[KeptMessage], list[Any]], as_json: bool
) -> None:
    if not as_json:
        print_table(columns, map(row, found))
        return
    for kept in found:
        print_json(plain(kept) | {"rejection": _rejection(kept.rejection)})
        if unread():
            return


def _rejection(error: InvengineError | None) -> dict[str, Any] | None:
    if error is None:
        return None
    violations = [{"field": each.field, "description": each.description} for each in error.violations]
    return {
        "reason": error.reason,
        "message": error.message,
        "metadata": dict(error.metadata),
        "violations": violations,
    }


# What people do with it


def skip_gap(
    context: typer.Context,
    source_id: SourceId,
    through: Annotated[int, typer.Option("--through", min=1, help="The last missing number to give up.")],
    epoch: Annotated[
        int | None, typer.Option("--epoch", min=1, help="The epoch of the source; its present one if not given.")
    ] = None,
    reason_code: ReasonCode = None,
    actor: Actor = None,
    key: Key = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Give up missing messages, so that the parked ones behind them are applied: `sources skip-gap wms --through 7`."""
    key = command_key(key)
    with connected(context, target, timeout_ms) as client:
        if epoch is None:
            epoch = _source(client, source_id).epoch
        receipt = client.skip_gap(source_id, epoch, through, key=key, reason_code=reason_code, actor=actor)
        left = _source(client, source_id)
    facts = {"source_id": source_id, "epoch": epoch, "through": through, "last_number": left.sequence}
    facts |= {"parked": left.parked, "sequence": receipt.sequence, "replayed": receipt.replayed, "key": key}
    print_facts(facts, as_json=as_json)


def _source(client: Client, source_id: str) -> Source:
    found = next((each for each in client.list_sources() if each.source_id == source_id), None)
    if found is None:
        raise UnknownSource(f"no such source: {source_id}; register it first", metadata={"source": source_id})
    return found


def redrive(
    context: typer.Context,
    source_id: SourceId,
    letters: MaybeLetterIds = None,
    every: Annotated[bool, typer.Option("--all", help="All dead letters of the source, in their order.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would become of them.")] = False,
    reason_code: ReasonCode = None,
    actor: Actor = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Send dead letters again, as they are. What still cannot be applied remains a dead letter.

    Code 9 if only a part is applied, 1 if nothing is. Repeat it after any failure: nothing is applied twice.
    """
    if bool(letters) is every:
        raise UsageProblemError("name dead letters by their ids, or all of the source with --all; one of them")
    if not dry_run:
        changes_something()
    with connected(context, target, timeout_ms) as client:
        ids = [each.sequence for each in client.list_dead_letters(source_id)] if every else list(letters or ())
        outcomes: list[MessageOutcome] = []
        for at in range(0, len(ids), LETTERS_AT_ONCE):
            some = ids[at : at + LETTERS_AT_ONCE]
            outcomes += client.redrive_dead_letters(
                source_id, some, dry_run=dry_run, actor=actor, reason_code=reason_code
            )
    _print_redriven(ids, outcomes, as_json)
    _conclude_redrive(outcomes, dry_run)


def _print_redriven(ids: Sequence[int], outcomes: Sequence[MessageOutcome], as_json: bool) -> None:
    if as_json:
        for letter, outcome in zip(ids, outcomes, strict=True):
            print_json({"dead_letter": letter, **_outcome(outcome)})
        return
    rows = [
        (letter, plain(outcome.disposition), "" if outcome.rejection is None else str(outcome.rejection))
        for letter, outcome in zip(ids, outcomes, strict=True)
    ]
    print_table(("id", "became", "why"), rows)


def _conclude_redrive(outcomes: Sequence[MessageOutcome], dry_run: bool) -> None:
    applied = sum(each.disposition is MessageDisposition.APPLIED for each in outcomes)
    failed = [each.rejection for each in outcomes if each.disposition is not MessageDisposition.APPLIED]
    if not failed:
        return
    if not applied and failed[0] is not None:
        raise failed[0]
    would = "would be" if dry_run else "are"
    raise PartlyDoneError(
        f"{applied:,} of {len(outcomes):,} dead letters {would} applied, the others remain as they are ({failed[0]})"
    )


def _outcome(outcome: MessageOutcome) -> dict[str, Any]:
    receipt = outcome.receipt
    return {
        "disposition": outcome.disposition,
        "sequence": None if receipt is None else receipt.sequence,
        "replayed": receipt is not None and receipt.replayed,
        "claimed_lines": outcome.claimed_lines,
        "rejection": _rejection(outcome.rejection),
    }


def discard(
    context: typer.Context,
    source_id: SourceId,
    letters: LetterIds,
    reason_code: Annotated[str, typer.Option("--reason-code", help="The reason, a code from your own list.")],
    actor: Actor = None,
    key: Key = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Give up dead letters, all of these or none: what they say is never applied."""
    key = command_key(key)
    with connected(context, target, timeout_ms) as client:
        receipt = client.discard_dead_letters(source_id, letters, key=key, reason_code=reason_code, actor=actor)
    facts = {"source_id": source_id, "discarded_dead_letters": len(letters), "sequence": receipt.sequence}
    print_facts(facts | {"replayed": receipt.replayed, "key": key}, as_json=as_json)


# Messages of a file


def record(
    context: typer.Context,
    file: MessageFile,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Record messages of sources, in the order of a file: each line a SourceMessage in the JSON form of protobuf.

    Each has its id in context.idempotency_key and its number in context.source. A line that is no message is told and
    left out. Run it again after any failure: a message is applied once, however often it is sent.
    """
    changes_something()
    counts: Counter[str] = Counter()
    # The channel of a message is what it says, and not that of this machine.
    with connected(context, target, timeout_ms, in_channel=False) as client:
        recorded = Recorded()
        for line in record_lines(client, message_lines(file), recorded):
            _tell(line, as_json)
            counts[line.word] += 1
    if not as_json:
        print_facts({"lines": counts.total(), **_words(counts)}, as_json=False)
    _conclude_record(file, counts, recorded)


def _words(counts: Counter[str]) -> dict[str, int]:
    words = [plain(each) for each in MessageDisposition if each]
    return {word: counts[word] for word in (*words, "bad")}


def _tell(line: MessageLine, as_json: bool) -> None:
    if as_json:
        facts: dict[str, Any] = {"line": line.number}
        facts |= {"problem": line.problem} if line.outcome is None else _outcome(line.outcome)
        print_json(facts | ({"message_id": line.message_id} if line.message_id else {}))
        return
    outcome = line.outcome
    if outcome is None:
        print_line(f"line {line.number}: {line.problem}")
    elif outcome.disposition is not MessageDisposition.APPLIED:
        letter = f" {outcome.receipt.sequence}" if outcome.receipt and outcome.rejection else ""
        why = f": {outcome.rejection}" if outcome.rejection else ""
        word = line.word.replace("_", " ")
        print_line(f"line {line.number}: {visible(line.message_id)} is {word}{letter}{why}")


def _conclude_record(file: Path, counts: Counter[str], recorded: Recorded) -> None:
    kept = sum(recorded_as for word, recorded_as in counts.items() if word not in ("refused", "bad"))
    name = "standard input" if str(file) == "-" else str(file)
    if recorded.failure is not None and not kept:
        raise recorded.failure
    if recorded.failure is not None:
        raise PartlyDoneError(
            f"{kept:,} messages of {name} are recorded, the others are not or may not be: correct the cause and run it "
            f"again, which records nothing twice ({recorded.failure})"
        )
    if not counts["refused"] and not counts["bad"]:
        return
    first = f"line {recorded.first_problem}" if recorded.first_problem else ""
    if kept:
        raise PartlyDoneError(
            f"{kept:,} of {counts.total():,} lines of {name} are recorded; no messages: {counts['bad']:,}, refused: "
            f"{counts['refused']:,} ({first})"
        )
    if recorded.first_refusal is not None:
        raise recorded.first_refusal
    raise UsageProblemError(f"no line of {name} is a message ({first})")


def warnings_of(sources: Iterable[Source], engine_time: datetime) -> Iterator[str]:
    """What somebody should look at: dead letters, and messages that have been parked or waiting for long."""
    for source in sources:
        name, flag = visible(source.source_id), source.source_id
        if source.dead_letters:
            yield (
                f"warning: dead letters of {name}: {source.dead_letters:,}; they were refused and are not applied: "
                f"look with `invengine sources dead-letters {flag}`, then redrive or discard them"
            )
        for what, count, since, long_s, advice in (
            ("parked", source.parked, source.parked_since, PARKED_LONG_S, "send what is missing, or `skip-gap`"),
            ("waiting", source.waiting, source.waiting_since, WAITING_LONG_S, "ship what they wait for"),
        ):
            age_s = 0.0 if since is None else (engine_time - since).total_seconds()
            if age_s >= long_s:
                yield (
                    f"warning: {what} messages of {name}: {count:,}, the oldest for {duration(age_s)}: {advice}; "
                    f"look with `invengine sources {what} {flag}`"
                )


PARKED_LONG_S = 10 * 60.0
WAITING_LONG_S = 3600.0
"""A source that sends in order fills a gap at once; goods may be announced an hour before their transfer is."""
