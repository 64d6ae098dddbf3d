"""Which events a reader wants: the server sends no others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from invengine.client import arguments, contract
from invengine.errors import InvalidArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOrigins:
    """Senders of commands: channels, sources, and persons or systems as `actor` names them. At most 100 of each."""

    channels: Iterable[str] | None = None
    source_ids: Iterable[str] | None = None
    actors: Iterable[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Conditions of an event: each that is given must hold, by one of its entries, at most 100.

    `types` are the names of facts, as `Event.kind` has them. `skus` and `locations` must be in the same line;
    `extended` events, which do not say their lines, and rules that were put or deleted match each of them. `channels`,
    `source_ids`, `order_refs` and `keys` are those of the command; an event of the engine's own has none.
    `not_caused_by` leaves out what these senders did, except `expired`. `without_consumers` leaves out the positions
    that consumers store.

    Names need not exist yet. The order of the entries and repetitions mean nothing.
    """

    types: Iterable[str] | None = None
    skus: Iterable[str] | None = None
    locations: Iterable[str] | None = None
    channels: Iterable[str] | None = None
    source_ids: Iterable[str] | None = None
    order_refs: Iterable[str] | None = None
    keys: Iterable[str] | None = None
    not_caused_by: CommandOrigins | None = None
    without_consumers: bool = False


_NAMES = {"keys": "idempotency_keys"}
"""Fields whose name is another one in the contract."""


def message_of(only: Any, field: str) -> Any:
    """The message of a filter. `field` is its name in the errors of the caller."""
    if not isinstance(only, EventFilter):
        raise InvalidArgument(field, f"EventFilter(...); got {only!r}")
    without_consumers = arguments.flag(only.without_consumers, f"{field}.without_consumers")
    message: Any = contract.journal.EventFilter(without_consumers=without_consumers)
    _put_lists(message, only, field)
    senders = only.not_caused_by
    if senders is not None:
        path = f"{field}.not_caused_by"
        if not isinstance(senders, CommandOrigins):
            raise InvalidArgument(path, f"CommandOrigins(...); got {senders!r}")
        if senders == CommandOrigins():
            raise InvalidArgument(path, "at least one sender: leave it out for every event")
        _put_lists(message.not_caused_by, senders, path)
    return message


def _put_lists(message: Any, conditions: EventFilter | CommandOrigins, path: str) -> None:
    """Puts the lists that are given into the message."""
    for name in (each.name for each in fields(conditions)):
        entries = getattr(conditions, name)
        if name in ("not_caused_by", "without_consumers") or entries is None:
            continue
        given = list(arguments.items_of(entries, f"{path}.{name}"))
        if not given:
            raise InvalidArgument(f"{path}.{name}", "at least one: leave it out for any")
        getattr(message, _NAMES.get(name, name)).extend(
            arguments.nonempty(each, f"{path}.{name}[{number}]") for number, each in enumerate(given)
        )
