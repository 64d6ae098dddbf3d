"""A command before it is sent: which one it is, its request, its shared fields, its key."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypedDict, TypeVar

from invengine.client import arguments
from invengine.client.lines import locate
from invengine.client.results import Position
from invengine.client.times import put_time
from invengine.errors import InvalidArgument, InvengineError

T_co = TypeVar("T_co", covariant=True)


class CommandFields(TypedDict, total=False):
    """Keyword arguments that every command takes. None means left out; an empty text is refused (InvalidArgument).

    key: idempotency key, 1 to 128 printable ASCII bytes; a random one is made if none is given. Refusals of a key that
        is given are remembered like acceptances, over a restart of the server.
    issue_time: when the intention was first issued, a datetime with a time zone; now, if left out. Keep it together
        with a key of your own.
    channel: the sales channel that the command is for; the client's own if left out.
    source: the numbered message of an outside system that this is, a `Position`; a source's methods set it.
    order_ref: the order that a hold belongs to, at most 128 characters.
    holder: whom a hold is for, at most 128 characters.
    event_time: when it happened outside, a datetime with a time zone; recorded, never used for a decision.
    actor: who asks, at most 128 characters, recorded; the client's own if left out.
    reason_code: why, a code of your own list, at most 128 characters, recorded.
    reference: the document behind it, at most 128 characters, recorded.
    causation: the message that caused it, at most 128 characters, recorded.
    timeout_s: seconds for the whole call with all its retries and pauses; the client's own if left out. Not sent.
    """

    key: str | None
    issue_time: datetime | None
    channel: str | None
    source: Position | None
    order_ref: str | None
    holder: str | None
    event_time: datetime | None
    actor: str | None
    reason_code: str | None
    reference: str | None
    causation: str | None
    timeout_s: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Kind(Generic[T_co]):
    """One command of the contract. `submit_field` is its field number in `Command`, 0 if it has none."""

    name: str
    method: str
    answer: Any
    decode: Callable[[Any], T_co]
    submit_field: int = 0


class Draft(Generic[T_co]):
    """A command that has not been sent yet, or is about to be sent again."""

    __slots__ = ("kind", "request", "timeout_s")

    def __init__(self, kind: Kind[T_co], request: Any, fields: CommandFields | None = None) -> None:
        self.kind = kind
        self.request = request
        self.timeout_s = fields.get("timeout_s") if fields else None
        if fields:
            fill(request.context, fields)

    def time_s(self, timeout_s: float | None, default_s: float) -> float:
        """Seconds to send it in: those of the call, else its own, else the sender's."""
        own = self.timeout_s if timeout_s is None else timeout_s
        return default_s if own is None else own

    def __repr__(self) -> str:
        return f"<{self.kind.name} {self.key or 'without a key yet'}>"

    @property
    def key(self) -> str:
        """Its idempotency key; empty until one is given."""
        return str(self.request.context.idempotency_key)

    def stamp(self, now_ns: int) -> None:
        """Issues it now."""
        stamp = self.request.context.issue_time
        stamp.seconds, stamp.nanos = divmod(now_ns, 1_000_000_000)

    def locate(self, error: InvengineError) -> InvengineError:
        """Adds to a rejection what the caller's own lines tell about it.

        That is in its metadata the `line` that it is about, counted from 1, of how many `lines`; and the units
        `requested` on it, where the server names only what is there.
        """
        locate(error, self.request)
        return error

    def seal(self, now_ns: int, key: str = "", channel: str = "", actor: str = "") -> str:
        """Fills in what was left open (key, issue_time, channel, actor) and returns the key.

        A message of a source is known by its number and gets no key of its own. A `key` that is given is one that its
        caller named; a random one is nobody's, and refusals of it need not outlive the server.
        """
        context = self.request.context
        own: str = context.idempotency_key
        if not own and not context.HasField("source"):
            if key:
                name_key(context, key)
            own = context.idempotency_key = key or new_key()
        if not context.HasField("issue_time"):
            self.stamp(now_ns)
        if channel and not context.channel:
            context.channel = channel
        if actor and not context.actor:
            context.actor = actor
        return own


def name_key(context: Any, key: str) -> None:
    """Gives a command a key that its caller knows and may come back with: a refusal is then worth as much as a yes."""
    context.idempotency_key = key
    context.remember_refusal = True


def new_key() -> str:
    """A key that nobody else makes: 128 random bits, the same after a fork as before one."""
    return os.urandom(16).hex()


def fill(context: Any, fields: Mapping[str, Any]) -> None:
    """Puts the shared fields of a command into its context."""
    for name, value in fields.items():
        if value is None:
            continue
        if name == "timeout_s":
            arguments.seconds(value, name)
        elif name == "key":
            name_key(context, arguments.named(value, name))
        elif name in ("issue_time", "event_time"):
            put_time(getattr(context, name), value, name)
        elif name == "source":
            if not isinstance(value, Position):
                raise InvalidArgument(name, f"a Position; got {value!r}")
            place = context.source
            place.source_id, place.epoch, place.sequence = value.source_id, value.epoch, value.sequence
        elif name in CommandFields.__annotations__:
            setattr(context, name, arguments.named(value, name))
        else:
            raise InvalidArgument(name, f"unknown; a command takes {', '.join(CommandFields.__annotations__)}")
