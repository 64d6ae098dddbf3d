"""Messages of sources: from drafts to requests within the size limits, and from answers to what became of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from invengine.client import arguments, contract, decode, results
from invengine.client.draft import Draft, Kind
from invengine.client.entities import member
from invengine.client.framing import BATCH_BYTES_MAX, BATCH_COMMANDS_MAX
from invengine.client.times import duration_s
from invengine.errors import InternalFault, InvalidArgument, Overloaded

if TYPE_CHECKING:
    from invengine.client.results import MessageOutcome

METHOD = "/invengine.v1.InventoryService/RecordMessages"
ID_BYTES_MAX = 128
LINES_SHOWN = 3


def bodies() -> dict[str, str]:
    """The names of the bodies that a message may have, by the full name of the request in it."""
    return {each.message_type.full_name: each.name for each in _fields()}


def _fields() -> Any:
    return contract.inventory.SourceMessage.DESCRIPTOR.oneofs_by_name["body"].fields


def check(messages: Iterable[Draft[Any]], *, numbered: bool) -> list[Draft[Any]]:
    """Returns the drafts as a list; InvalidArgument unless each is a message.

    A message has an id, and if `numbered` a position; otherwise its source gives it one.
    """
    known, wanted = bodies(), list(arguments.items_of(messages, "messages"))
    for number, draft in enumerate(wanted):
        check_one(draft, f"messages[{number}]", known, numbered)
    return wanted


def check_one(draft: Any, field: str, known: dict[str, str], numbered: bool) -> None:
    """Checks one draft of a message."""
    if not isinstance(draft, Draft):
        raise InvalidArgument(field, f"a draft, such as commands.receive(...); got {draft!r}")
    if draft.request.DESCRIPTOR.full_name not in known:
        raise InvalidArgument(
            field, f"one of {', '.join(known.values())}; got {draft.kind.name!r}, which is no message"
        )
    key = draft.key
    if not key or len(key) > ID_BYTES_MAX or not (key.isascii() and key.isprintable()):
        raise InvalidArgument(
            f"{field}.key", f"the id of the message, 1 to {ID_BYTES_MAX} printable ASCII characters; got {key!r}"
        )
    if numbered and not draft.request.context.HasField("source"):
        raise InvalidArgument(f"{field}.source", "the Position of the message in its source")


def message_of(draft: Draft[Any]) -> Any:
    """The SourceMessage of a draft, which shares nothing with it."""
    return contract.inventory.SourceMessage(**{bodies()[draft.request.DESCRIPTOR.full_name]: draft.request})


def draft_of(message: Any) -> Draft[Any]:
    """The draft of a SourceMessage with a body, which is sent as it is."""
    body = message.WhichOneof("body")
    return Draft(Kind(body, "inventory", "RecordMessages", outcome_of), getattr(message, body))


def sealed(drafts: Iterable[Draft[Any]], now_ns: int, channel: str, actor: str) -> list[Any]:
    """Sets what is still unset in drafts, and returns their messages."""
    found = []
    for draft in drafts:
        draft.seal(now_ns, "", channel, actor)
        found.append(message_of(draft))
    return found


def request(messages: Sequence[Any], start: int) -> tuple[bytes, int]:
    """Returns a RecordMessagesRequest with as many of the messages from `start` on as fit, and their number."""
    size, end = 0, start
    for message in messages[start : start + BATCH_COMMANDS_MAX]:
        size += message.ByteSize() + 5
        if end > start and size > BATCH_BYTES_MAX:
            break
        end += 1
    asked: Any = contract.inventory.RecordMessagesRequest(messages=messages[start:end])
    return asked.SerializeToString(), end - start


def outcomes(answer: bytes, asked: int) -> tuple[list[MessageOutcome], Overloaded | None]:
    """Returns the outcomes of one answer, and why the messages at its end were not taken: for lack of room, for now.

    Those have no outcome yet and are to be sent again. InternalFault if their number is not `asked`, since they cannot
    be assigned to the messages.
    """
    found = [outcome_of(each) for each in contract.inventory.RecordMessagesResponse.FromString(answer).outcomes]
    if len(found) != asked:
        raise InternalFault("the server's answers do not match the messages")
    busy: Overloaded | None = None
    while found and isinstance(refused := found[-1].rejection, Overloaded) and "limit" not in refused.metadata:
        busy = refused
        found.pop()
    return found, busy


def located(drafts: Iterable[Draft[Any]], found: list[MessageOutcome]) -> list[MessageOutcome]:
    """Adds to each rejection which line of its message it is about, and returns the outcomes."""
    for draft, outcome in zip(drafts, found, strict=False):
        if outcome.rejection is not None:
            draft.locate(outcome.rejection)
    return found


def outcome_of(outcome: Any) -> MessageOutcome:
    """One MessageOutcome."""
    return results.MessageOutcome(
        member(results.MessageDisposition, outcome.disposition),
        decode.receipt_of(outcome) if outcome.HasField("receipt") else None,
        tuple(outcome.claimed_lines),
        decode.rejection_of(outcome.rejection) if outcome.HasField("rejection") else None,
    )


def raised(outcome: MessageOutcome) -> MessageOutcome:
    """Returns the outcome of a message that the ledger has; raises the rejection of one that it has not."""
    if outcome.is_kept or outcome.rejection is None:
        return outcome
    raise outcome.rejection


def description_of(message: Any) -> str:
    """What a SourceMessage reports, in one line: `goods_received 2 mug at wh-1`."""
    body = message.WhichOneof("body")
    if body is None:
        return "nothing that this version knows"
    reported = getattr(message, body)
    parts = [_said(each, value) for each, value in reported.ListFields() if each.name not in ("context", "lines")]
    lines = [_line(line) for line in reported.lines[:LINES_SHOWN]] if hasattr(reported, "lines") else []
    if lines:
        more = len(reported.lines) - len(lines)
        parts.append(", ".join(lines) + (f" and {more} more" if more else ""))
    return " ".join([body, *parts])


def _said(field: Any, value: Any) -> str:
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        value = known.name.removeprefix("TRANSFER_REMAINDER_").lower().replace("_", " ") if known else value
    elif field.message_type is not None:
        value = f"{duration_s(value):g} s"  # Only a hold has such a field: how long it lasts.
    return f"{field.name.replace('_', ' ')} {value}"


def _line(line: Any) -> str:
    units = f"{line.delta:+}" if hasattr(line, "delta") else str(line.quantity)
    place = f" at {line.location}" if hasattr(line, "location") else ""
    states = [getattr(line, name, 0) for name in ("state", "from_state", "to_state")]
    named = " to ".join(getattr(member(results.StockState, each), "field", str(each)) for each in states if each)
    return f"{units} {line.sku}{place}{f' ({named})' if named else ''}"
