"""Messages of sources that were not applied when they came: who reads them, and what people do with them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

from invengine.client import arguments, contract, decode, recording, results
from invengine.client.descriptors import CommandMethod, ListMethod
from invengine.client.draft import CommandFields, Draft, Kind
from invengine.client.reads import Pages, checked_page_size, in_pages
from invengine.client.times import stamp_time
from invengine.errors import InvalidArgument, InvengineError

if TYPE_CHECKING:
    from invengine.client.results import KeptMessage, MessageOutcome, Receipt

__all__ = ["discard_dead_letters", "redrive_dead_letters", "skip_gap"]

DeadLetter: TypeAlias = "int | KeptMessage"
"""A dead letter by its id, or as it was read."""


def _redriven(answer: Any) -> list[MessageOutcome]:
    return [recording.outcome_of(each) for each in answer.outcomes]


_SKIP_GAP = Kind("skip_gap", "source", "SkipGap", decode.receipt_of)
_DISCARD = Kind("discard_dead_letters", "source", "DiscardDeadLetters", decode.receipt_of)
_REDRIVE = Kind("redrive_dead_letters", "source", "RedriveDeadLetters", _redriven)


class _Redrive(Draft["list[MessageOutcome]"]):
    """A request without key and time: each letter in it has its own."""

    __slots__ = ()

    @property
    def key(self) -> str:
        return ""

    @property
    def is_anonymous(self) -> bool:
        return False

    @property
    def is_unnamed(self) -> bool:
        return False

    def locate(self, error: InvengineError) -> InvengineError:
        return error

    def seal(self, now_ns: int, key: str = "", channel: str = "", actor: str = "") -> str:
        if actor and not self.request.actor:
            self.request.actor = actor
        return ""


def skip_gap(source_id: str, epoch: int, through: int, **fields: Unpack[CommandFields]) -> Draft[Receipt]:
    """Gives up the missing messages of a source up to a number, so that the parked ones behind them are applied.

    Say why in `reason_code`. Without a parked message nothing is missing (InvalidField).

    source_id: the name of the source.
    epoch: its epoch, as `list_sources` has it; StaleEpoch if it is another one by now.
    through: the last number to give up: at least the next one (else SequenceConsumed), and less than that of the first
        parked message.
    """
    request = contract.source.SkipGapRequest(
        source_id=arguments.nonempty(source_id, "source_id"),
        epoch=arguments.positive(epoch, "epoch", "none: it is required"),
        through=arguments.positive(through, "through", "none: it is required"),
    )
    return Draft(_SKIP_GAP, request, fields)


def redrive_dead_letters(
    source_id: str,
    dead_letters: Iterable[DeadLetter],
    *,
    corrected: Draft[Any] | None = None,
    dry_run: bool = False,
    actor: str | None = None,
    reason_code: str | None = None,
    timeout_s: float | None = None,
) -> Draft[list[MessageOutcome]]:
    """Sends dead letters again, one after the other; one outcome each.

    APPLIED settles a letter. DEAD_LETTER says why it remains one; REFUSED with EntityNotFound, that there is none of
    this id, perhaps because it was settled before. So nothing is applied twice, and after an OutcomeUnknown the same
    call may be repeated.

    source_id: the name of the source.
    dead_letters: 1 to 1,000, each an id or a `KeptMessage`, each once.
    corrected: the draft to send instead of the only letter, with the same key and source; if neither is given, those of
        the `KeptMessage`. Left out, each letter is sent as it is.
    dry_run: True only says what would happen.
    actor: who does it, at most 128 characters, recorded; the client's own if omitted.
    reason_code: why, a code from your own list, at most 128 characters, recorded.
    """
    letters = list(arguments.items_of(dead_letters, "dead_letters"))
    request: Any = contract.source.RedriveDeadLettersRequest(
        source_id=arguments.nonempty(source_id, "source_id"),
        dead_letters=_ids(letters),
        dry_run=arguments.flag(dry_run, "dry_run"),
    )
    if actor is not None:
        request.actor = arguments.nonempty(actor, "actor")
    if reason_code is not None:
        request.reason_code = arguments.nonempty(reason_code, "reason_code")
    if corrected is not None:
        request.corrected.CopyFrom(_corrected(letters, corrected))
    if timeout_s is not None:
        arguments.timeout(timeout_s, "timeout_s")
    draft = _Redrive(_REDRIVE, request)
    draft.timeout_s = timeout_s
    return draft


def _corrected(letters: list[Any], corrected: Any) -> Any:
    """The message of a corrected draft."""
    if len(letters) != 1:
        raise InvalidArgument("corrected", "only with one dead letter, which it replaces")
    if isinstance(corrected, Draft) and corrected.is_unnamed and isinstance(letters[0], results.KeptMessage):
        corrected.name_key(letters[0].message_id)
        place, known = corrected.request.context.source, letters[0].position
        place.source_id, place.epoch, place.sequence = known.source_id, known.epoch, known.sequence
    recording.check_one(corrected, "corrected", recording.bodies(), numbered=True)
    return recording.message_of(corrected)


def discard_dead_letters(
    source_id: str, dead_letters: Iterable[DeadLetter], **fields: Unpack[CommandFields]
) -> Draft[Receipt]:
    """Gives up dead letters, atomically: 1 to 1,000. Say why in `reason_code`; EntityNotFound if there is no such one.

    source_id: the name of the source.
    dead_letters: each an id or a `KeptMessage`, each once.
    """
    request = contract.source.DiscardDeadLettersRequest(
        source_id=arguments.nonempty(source_id, "source_id"),
        dead_letters=_ids(list(arguments.items_of(dead_letters, "dead_letters"))),
    )
    return Draft(_DISCARD, request, fields)


def _ids(letters: list[Any]) -> list[int]:
    if not letters:
        raise InvalidArgument("dead_letters", "at least one")
    ids = [each.sequence if isinstance(each, results.KeptMessage) else each for each in letters]
    return [arguments.integer(each, f"dead_letters[{number}]") for number, each in enumerate(ids)]


def _listed(rpc: str, field: str, source_id: str, page_size: int) -> Pages[KeptMessage]:
    request = getattr(contract.source, f"{rpc}Request")(
        source_id=arguments.nonempty(source_id, "source_id"), page_size=checked_page_size(page_size)
    )
    return in_pages(contract.method("source", rpc), request, contract.answer("source", rpc), field, _kept)


def list_parked(source_id: str, *, page_size: int = 1000) -> Pages[KeptMessage]:
    """Messages of a source that came before their turn, by number; fetches page after page.

    source_id: the name of the source.
    """
    return _listed("ListParked", "parked", source_id, page_size)


def list_waiting(source_id: str, *, page_size: int = 1000) -> Pages[KeptMessage]:
    """Messages of a source that wait for what they name, in the order in which they came; fetches page after page.

    source_id: the name of the source.
    """
    return _listed("ListWaiting", "waiting", source_id, page_size)


def list_dead_letters(source_id: str, *, page_size: int = 1000) -> Pages[KeptMessage]:
    """Messages of a source that were refused, in the order in which they came; fetches page after page.

    source_id: the name of the source.
    """
    return _listed("ListDeadLetters", "dead_letters", source_id, page_size)


def _kept(kept: Any) -> KeptMessage:
    place = kept.position
    awaited = kept.waits_for if kept.HasField("waits_for") else None
    return results.KeptMessage(
        sequence=kept.sequence,
        position=results.Position(place.source_id, place.epoch, place.sequence),
        message_id=kept.message_id,
        time=stamp_time(kept.time),
        event_time=stamp_time(kept.event_time) if kept.HasField("event_time") else None,
        body=kept.message.WhichOneof("body") or "",
        description=recording.description_of(kept.message),
        waits_for=awaited and results.AwaitedEntity(awaited.kind, awaited.name),
        rejection=decode.rejection_of(kept.rejection) if kept.HasField("rejection") else None,
        message=kept.message,
    )


class KeptMessageCommands:
    """What people do with kept messages, as methods."""

    skip_gap = CommandMethod(skip_gap)
    redrive_dead_letters = CommandMethod(redrive_dead_letters)
    discard_dead_letters = CommandMethod(discard_dead_letters)


class KeptMessageReads:
    """The reads of kept messages, as methods."""

    list_parked = ListMethod(list_parked)
    list_waiting = ListMethod(list_waiting)
    list_dead_letters = ListMethod(list_dead_letters)
