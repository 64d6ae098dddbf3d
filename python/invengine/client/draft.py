"""A command before it is sent: its kind, its request, its shared fields, its key."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar

from invengine.client import arguments, contract, results
from invengine.client.framing import framed
from invengine.client.lines import locate
from invengine.client.times import put_time
from invengine.errors import InvalidArgument, InvengineError

if TYPE_CHECKING:
    from datetime import datetime

    from invengine.client.results import Position

T_co = TypeVar("T_co", covariant=True)


class CommandFields(TypedDict, total=False):
    """Keyword arguments that every command takes. None means omitted; an empty text is refused (InvalidArgument).

    key: idempotency key, 1 to 128 printable ASCII bytes; random if omitted. Rejections of a given key are remembered
        like acceptances, over a restart of the server.
    issue_time: when the intention was first issued, a datetime with a time zone; now if omitted. Store it together
        with a key of your own.
    channel: the sales channel of the command; the client's own if omitted.
    source: the number of this message of an external system, a `Position`; the methods of a source set it.
    origin: the message of another source that this command passes on, a `Position`: if that was applied already, the
        command is an echo and has no effect (`receipt.echo`).
    order_ref: the order of a hold, at most 128 characters.
    holder: the holder of a hold, at most 128 characters.
    event_time: when it happened in the real world, a datetime with a time zone; recorded. Where rules of authority are
        in force, a count from before the last physical change of a level is only a claim; nothing else depends on it.
    actor: who sends the command, at most 128 characters, recorded; the client's own if omitted.
    reason_code: the reason, a code from your own list, at most 128 characters, recorded.
    reference: the document behind it, at most 128 characters, recorded.
    causation: the message that caused it, at most 128 characters, recorded.
    timeout_s: seconds for the whole call with all its retries and pauses, at most 365 days; the client's own if
        omitted. Not sent.
    """

    key: str | None
    issue_time: datetime | None
    channel: str | None
    source: Position | None
    origin: Position | None
    order_ref: str | None
    holder: str | None
    event_time: datetime | None
    actor: str | None
    reason_code: str | None
    reference: str | None
    causation: str | None
    timeout_s: float | None


class Kind(Generic[T_co]):
    """One command of the contract, and how to decode its answer.

    `submit_field` is its field number in `Command`, 0 if it has none. `decode_plain` makes its result from the bytes of
    an outcome or an answer that only changed holds, and returns None for any other.
    """

    __slots__ = ("_rpc", "_service", "decode", "decode_plain", "method", "name", "submit_field")

    def __init__(
        self,
        name: str,
        service: str,
        rpc: str,
        decode: Callable[[Any], T_co],
        submit_field: int = 0,
        decode_plain: Callable[[bytes], T_co | None] | None = None,
    ) -> None:
        self.name = name
        self.method = contract.method(service, rpc)
        self.decode = decode
        self.submit_field = submit_field
        self.decode_plain = decode_plain
        self._service, self._rpc = service, rpc

    @property
    def answer(self) -> Any:
        """The class of the answer."""
        return contract.answer(self._service, self._rpc)

    def result_of(self, answer: bytes, native: bool = True) -> T_co:
        """Returns its result from the bytes of an answer, without the message if `native` and only holds changed."""
        found = self.decode_plain(answer) if native and self.decode_plain else None
        return self.decode(self.answer.FromString(answer)) if found is None else found

    def result_in(self, outcome: bytes) -> T_co:
        """Returns its result from the bytes of an accepted outcome."""
        found = self.decode_plain(outcome) if self.decode_plain else None
        return self.decode(contract.reservation.Outcome.FromString(outcome)) if found is None else found


class Draft(Generic[T_co]):
    """A command that has not been sent yet, or is about to be sent again."""

    __slots__ = ("_request", "kind", "timeout_s")

    def __init__(self, kind: Kind[T_co], request: Any, fields: CommandFields | None = None) -> None:
        self.kind = kind
        self._request = request
        self.timeout_s = fields.get("timeout_s") if fields else None
        if fields:
            fill(request.context, fields)

    @property
    def request(self) -> Any:
        """Its message. What is changed in it is what is sent."""
        return self._request

    def time_s(self, timeout_s: float | None, default_s: float) -> float:
        """Returns the timeout in seconds: that of the call, or else its own, or else that of the sender."""
        own = self.timeout_s if timeout_s is None else timeout_s
        return arguments.timeout(default_s if own is None else own, "timeout_s")

    def __repr__(self) -> str:
        return f"<{self.kind.name} {self.key or 'without a key yet'}>"

    @property
    def key(self) -> str:
        """Its idempotency key; empty until one is set."""
        return str(self.request.context.idempotency_key)

    @property
    def is_anonymous(self) -> bool:
        """True without a key, number or issue_time of its caller, who then cannot repeat it."""
        context = self.request.context
        return not (context.idempotency_key or context.HasField("source") or context.HasField("issue_time"))

    @property
    def is_unnamed(self) -> bool:
        """True without a key or number."""
        context = self.request.context
        return not (context.idempotency_key or context.HasField("source"))

    def name_key(self, key: str) -> None:
        """Sets a key that the caller chose and may repeat."""
        name_key(self.request.context, key)

    def stamp(self, now_ns: int) -> None:
        """Sets its issue_time."""
        stamp = self.request.context.issue_time
        stamp.seconds, stamp.nanos = divmod(now_ns, 1_000_000_000)

    def locate(self, error: InvengineError) -> InvengineError:
        """Adds to the metadata of a rejection what only the caller's lines show, and returns the rejection.

        That is the number of the `line` that it is about, from 1, the number of `lines`, and the units `requested` on
        that line if the server reports only what is available.
        """
        locate(error, self.request)
        return error

    def seal(self, now_ns: int, key: str = "", channel: str = "", actor: str = "") -> str:
        """Sets what is still unset (key, issue_time, channel, actor) and returns the key.

        A message of a source is identified by its number and gets no key. A given `key` counts as chosen by the caller;
        rejections of a random one need not outlive the server.
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

    def payload(self, now_ns: int, channel: str = "", actor: str = "", native: bool = True) -> bytes:
        """Seals it and returns its bytes, which `_core` may encode if `native`."""
        self.seal(now_ns, "", channel, actor)
        found: bytes = self.request.SerializeToString()
        return found

    def frame(self, now_ns: int, channel: str = "", actor: str = "") -> bytes:
        """Seals it and returns it as an element of a batch."""
        return framed(self.kind.submit_field, self.payload(now_ns, channel, actor))


def name_key(context: Any, key: str) -> None:
    """Sets a key that the caller chose and may repeat: its rejection is then remembered like an acceptance."""
    context.idempotency_key = key
    context.remember_refusal = True


def new_key() -> str:
    """Returns a unique key: 128 random bits, safe to use after a fork."""
    return os.urandom(16).hex()


def fill(context: Any, fields: Mapping[str, Any]) -> None:
    """Writes the shared fields of a command into its context."""
    for name, value in fields.items():
        if value is None:
            continue
        if name == "timeout_s":
            arguments.timeout(value, name)
        elif name == "key":
            name_key(context, arguments.nonempty(value, name))
        elif name in ("issue_time", "event_time"):
            put_time(getattr(context, name), value, name)
        elif name in ("source", "origin"):
            if not isinstance(value, results.Position):
                raise InvalidArgument(name, f"a Position; got {value!r}")
            source = getattr(context, name)
            source.source_id = arguments.nonempty(value.source_id, f"{name}.source_id")
            source.epoch = arguments.integer(value.epoch, f"{name}.epoch")
            source.sequence = arguments.integer(value.sequence, f"{name}.sequence")
        elif name in CommandFields.__annotations__:
            setattr(context, name, arguments.nonempty(value, name))
        else:
            raise InvalidArgument(name, f"unknown; a command takes {', '.join(CommandFields.__annotations__)}")
