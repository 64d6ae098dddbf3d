"""Entities: what has a name and is put, read, listed and deleted as a whole; the table of their kinds.

A kind is a row of the table and a value in `results`. The value has the name of its message in the contract, and its
fields have the names of the message's; the first is the name of the entity, `version` is the version that it has or
must have. Everything else follows from the contract. The functions below name what each kind can do, with its types.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import fields as fields_of
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar, Unpack

from invengine.client import arguments, contract, decode, results
from invengine.client.descriptors import CommandMethod, ListMethod, ReadMethod
from invengine.client.draft import CommandFields, Draft, Kind
from invengine.client.reads import Pages, Read, checked_page_size, in_pages, of_one_answer
from invengine.errors import InvalidArgument
from invengine.positions import JournalPosition

if TYPE_CHECKING:
    from invengine.client.results import Channel, Consumer, Item, Location, LocationGroup, Receipt, Upserted

__all__ = [
    "delete_consumers",
    "delete_items",
    "delete_location_groups",
    "delete_locations",
    "upsert_channels",
    "upsert_consumers",
    "upsert_items",
    "upsert_location_groups",
    "upsert_locations",
]

E = TypeVar("E")

Reference: TypeAlias = str | tuple[str, int | None] | E
"""An entity by its name; with a version, or as it was read, only if it still has that version."""


class _FieldType(NamedTuple):
    """How a field of a value is checked, with its path, before it is sent, and how it is read from a message."""

    checked: Callable[[Any, str], Any]
    read: Callable[[Any, str], Any]


def _texts(value: Any, path: str) -> list[str]:
    return [arguments.text(each, f"{path}[{n}]") for n, each in enumerate(arguments.items_of(value, path))]


def _whole_number(value: Any, path: str) -> int | None:
    return None if value is None else arguments.integer(value, path)


def _money(value: Any, path: str) -> Any:
    """A message of money, or None."""
    if value is None:
        return None
    from decimal import Decimal

    if not isinstance(value, results.Money):
        raise InvalidArgument(path, f"Money(...) or None; got {value!r}")
    amount = value.amount
    if not isinstance(amount, Decimal) or not amount.is_finite():
        raise InvalidArgument(f"{path}.amount", f"a Decimal; got {amount!r}")
    nanos = amount.scaleb(9)
    if nanos != nanos.to_integral_value() or not 0 <= amount <= arguments.INT64_MAX:
        raise InvalidArgument(f"{path}.amount", f"0 or more, with at most nine decimals; got {amount}")
    units, part = divmod(int(nanos), 10**9)
    currency = arguments.nonempty(value.currency, f"{path}.currency")
    return contract.types.Money(currency_code=currency, units=units, nanos=part)


def _read_money(message: Any, name: str) -> Any:
    if not message.HasField(name):
        return None
    from decimal import Decimal

    found = getattr(message, name)
    amount = Decimal(found.units) + Decimal(found.nanos).scaleb(-9)
    return results.Money(amount.normalize() if found.nanos else amount, found.currency_code)


def _flag(value: Any, path: str) -> bool:
    return arguments.flag(value, path)


def member(kind: Any, number: int) -> Any:
    """The member of an enumeration; a number that this version does not know is UNSPECIFIED, where there is that."""
    return kind(number) if number in kind._value2member_map_ else getattr(kind, "UNSPECIFIED", number)


def _known(kind: Any, value: Any, path: str) -> Any:
    """Checks a member of an enumeration. What only a newer server knows cannot be sent back."""
    if not isinstance(value, kind) or not value:
        raise InvalidArgument(path, f"a known {kind.__name__}; got {value!r}")
    return value


def _one_of(name: str, *, optional: bool = False) -> _FieldType:
    """The type of a member of this enumeration of `results`, None if it is optional."""

    def checked(value: Any, path: str) -> Any:
        return None if optional and value is None else _known(getattr(results, name), value, path)

    def read(message: Any, field: str) -> Any:
        number = getattr(message, field)
        return None if optional and not number else member(getattr(results, name), number)

    return _FieldType(checked, read)


def _some_of(name: str) -> _FieldType:
    """The type of a tuple of members of this enumeration."""

    def checked(value: Any, path: str) -> Any:
        kind = getattr(results, name)
        return [_known(kind, each, f"{path}[{n}]") for n, each in enumerate(arguments.items_of(value, path))]

    def read(message: Any, field: str) -> Any:
        kind = getattr(results, name)
        return tuple([member(kind, number) for number in getattr(message, field)])

    return _FieldType(checked, read)


def _location_type(value: Any, path: str) -> Any:
    if value is not None and not isinstance(value, results.LocationType):
        raise InvalidArgument(path, f"a LocationType or None; got {value!r}")
    return value


def _read_location_type(message: Any, name: str) -> Any:
    """A type that this version does not know is None, like none."""
    number = getattr(message, name)
    return results.LocationType(number) if number in results.LocationType._value2member_map_ else None


def _position(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, JournalPosition):
        raise InvalidArgument(path, f"a JournalPosition, as an event has it; got {value!r}")
    return {"ledger": value.ledger, "writer_epoch": value.writer_epoch, "sequence": value.sequence}


def _read_position(message: Any, name: str) -> JournalPosition:
    found = getattr(message, name)
    return JournalPosition(found.ledger, found.writer_epoch, found.sequence)


_FIELD_TYPES = {
    "str": _FieldType(arguments.text, getattr),
    "tuple[str, ...]": _FieldType(_texts, lambda message, name: tuple(getattr(message, name))),
    "JournalPosition": _FieldType(_position, _read_position),
    "int | None": _FieldType(
        _whole_number, lambda message, name: getattr(message, name) if message.HasField(name) else None
    ),
    "Money | None": _FieldType(_money, _read_money),
    "LocationType | None": _FieldType(_location_type, _read_location_type),
    "bool": _FieldType(_flag, getattr),
    "SourceKind": _one_of("SourceKind"),
    "SourceKind | None": _one_of("SourceKind", optional=True),
    "tuple[AuthorityRight, ...]": _some_of("AuthorityRight"),
    "tuple[StockState, ...]": _some_of("StockState"),
}
"""The types that a field of an entity may have, as its value writes them."""


class EntityKind(Generic[E]):
    """One kind of entities: its commands and reads, made from its value and the module of its service."""

    def __init__(
        self,
        value: Callable[[], type[E]],
        service: str,
        plural: str,
        of_message: Callable[[Any], E] | None = None,
    ) -> None:
        """`of_message` reads a value that has more than texts and numbers."""
        self._value_of = value
        self._service = service
        self._plural = plural
        self._list = _snake(plural)
        self._of_message = of_message

    @cached_property
    def _value(self) -> type[E]:
        return self._value_of()

    @cached_property
    def _name(self) -> str:
        return str(fields_of(self._value)[0].name)  # type: ignore[arg-type]

    @cached_property
    def _fields(self) -> list[tuple[str, _FieldType]]:
        return [(each.name, _FIELD_TYPES[str(each.type)]) for each in fields_of(self._value)]  # type: ignore[arg-type]

    def _of_contract(self, name: str) -> Any:
        return getattr(getattr(contract, self._service), name)

    def upsert(self, entities: Iterable[E], argument: str, fields: CommandFields) -> Draft[Upserted]:
        """Creates or replaces entities. `argument` is their name in the errors of the caller."""
        rpc = f"Upsert{self._plural}"
        given = enumerate(_some(entities, argument))
        wanted = [self._parts_of(each, f"{argument}[{number}]") for number, each in given]
        request = self._of_contract(f"{rpc}Request")(**{self._list: wanted})
        return Draft(Kind(self._list, self._service, rpc, decode.upserted), request, fields)

    def delete(self, references: Iterable[Any], argument: str, fields: CommandFields) -> Draft[Receipt]:
        """Deletes entities: by name, or where they have versions also by (name, version) or by themselves."""
        rpc = f"Delete{self._plural}"
        request = self._of_contract(f"{rpc}Request")()
        _, field = request.DESCRIPTOR.fields
        wanted = getattr(request, field.name)
        for number, each in enumerate(_some(references, argument)):
            path = f"{argument}[{number}]"
            if field.message_type:
                wanted.add(**self._reference(each, path))
            else:
                wanted.append(arguments.nonempty(each, path))
        return Draft(Kind(f"delete_{self._list}", self._service, rpc, decode.receipt_of), request, fields)

    def get(self, name: str, timeout_s: float | None) -> Read[E]:
        """Reads one entity."""
        rpc, field = f"Get{self._value.__name__}", self._name
        request = self._of_contract(f"{rpc}Request")(**{field: arguments.nonempty(name, field)})
        answer, one = self._of_contract(f"{rpc}Response"), _snake(self._value.__name__)
        return of_one_answer(
            contract.method(self._service, rpc),
            request,
            answer,
            lambda found: self.value_of(getattr(found, one)),
            timeout_s,
        )

    def pages(self, page_size: int) -> Pages[E]:
        """Reads all entities."""
        rpc = f"List{self._plural}"
        request = self._of_contract(f"{rpc}Request")(page_size=checked_page_size(page_size))
        return in_pages(
            contract.method(self._service, rpc), request, self._of_contract(f"{rpc}Response"), self._list, self.value_of
        )

    def value_of(self, message: Any) -> E:
        """The value of a message."""
        if self._of_message is not None:
            return self._of_message(message)
        return self._value(**{name: kind.read(message, name) for name, kind in self._fields})

    def _parts_of(self, entity: Any, path: str) -> dict[str, Any]:
        if not isinstance(entity, self._value):
            raise InvalidArgument(path, f"{self._value.__name__}(...); got {entity!r}")
        return {name: kind.checked(getattr(entity, name), f"{path}.{name}") for name, kind in self._fields}

    def _reference(self, given: Any, path: str) -> dict[str, Any]:
        if isinstance(given, self._value):
            pair: Any = (getattr(given, self._name), getattr(given, "version", None))
        else:
            pair = (given, None) if isinstance(given, str) else given
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InvalidArgument(path, f"a name, (name, version) or {self._value.__name__}(...); got {given!r}")
        name = arguments.nonempty(pair[0], f"{path}.name")
        if pair[1] is None:
            return {"name": name}
        return {"name": name, "version": arguments.positive(pair[1], f"{path}.version", "any version")}


def _snake(name: str) -> str:
    """The name of a field for what the contract calls `LocationGroup`: location_group."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _some(values: Iterable[Any], argument: str) -> list[Any]:
    given = list(arguments.items_of(values, argument))
    if not given:
        raise InvalidArgument(argument, "at least one")
    return given


# The values and the messages of a kind are loaded when it is used.
_ITEMS = EntityKind(lambda: results.Item, "catalog", "Items")
_LOCATIONS = EntityKind(lambda: results.Location, "catalog", "Locations")
_CHANNELS = EntityKind(lambda: results.Channel, "catalog", "Channels")
_LOCATION_GROUPS = EntityKind(lambda: results.LocationGroup, "policy", "LocationGroups")
_CONSUMERS = EntityKind(lambda: results.Consumer, "journal", "Consumers")


def upsert_items(items: Iterable[Item], **fields: Unpack[CommandFields]) -> Draft[Upserted]:
    """Creates or replaces items, atomically: 1 to 1,000."""
    return _ITEMS.upsert(items, "items", fields)


def get_item(sku: str, *, timeout_s: float | None = None) -> Read[Item]:
    """One item."""
    return _ITEMS.get(sku, timeout_s)


def list_items(*, page_size: int = 1000) -> Pages[Item]:
    """All items, in the order they were created; fetches page after page."""
    return _ITEMS.pages(page_size)


def delete_items(skus: Iterable[str], **fields: Unpack[CommandFields]) -> Draft[Receipt]:
    """Deletes items, atomically: 1 to 1,000. Refused (EntityInUse) if stock was ever recorded for one.

    skus: their names.
    """
    return _ITEMS.delete(skus, "skus", fields)


def upsert_locations(locations: Iterable[Location], **fields: Unpack[CommandFields]) -> Draft[Upserted]:
    """Creates or replaces locations, atomically: 1 to 1,000."""
    return _LOCATIONS.upsert(locations, "locations", fields)


def get_location(location: str, *, timeout_s: float | None = None) -> Read[Location]:
    """One location."""
    return _LOCATIONS.get(location, timeout_s)


def list_locations(*, page_size: int = 1000) -> Pages[Location]:
    """All locations, in the order they were created; fetches page after page."""
    return _LOCATIONS.pages(page_size)


def delete_locations(locations: Iterable[str], **fields: Unpack[CommandFields]) -> Draft[Receipt]:
    """Deletes locations, atomically: 1 to 1,000.

    Refused (EntityInUse) if stock was ever recorded for one or a location group has it.

    locations: their names.
    """
    return _LOCATIONS.delete(locations, "locations", fields)


def upsert_channels(channels: Iterable[Channel], **fields: Unpack[CommandFields]) -> Draft[Upserted]:
    """Creates or replaces channels, atomically: 1 to 1,000."""
    return _CHANNELS.upsert(channels, "channels", fields)


def get_channel(channel: str, *, timeout_s: float | None = None) -> Read[Channel]:
    """One channel."""
    return _CHANNELS.get(channel, timeout_s)


def list_channels(*, page_size: int = 1000) -> Pages[Channel]:
    """All channels, in the order they were created; fetches page after page."""
    return _CHANNELS.pages(page_size)


def upsert_location_groups(groups: Iterable[LocationGroup], **fields: Unpack[CommandFields]) -> Draft[Upserted]:
    """Creates or replaces location groups, atomically: 1 to 1,000. `versions` of the result has their new versions.

    A group with a `version` is stored only if it has that version now, 0 if there is none; else StaleVersion, and
    nothing is stored.

    groups: 1 to 1,000 entries, each name at most once.
    """
    return _LOCATION_GROUPS.upsert(groups, "groups", fields)


def get_location_group(group: str, *, timeout_s: float | None = None) -> Read[LocationGroup]:
    """One location group, with its version.

    group: its name.
    """
    return _LOCATION_GROUPS.get(group, timeout_s)


def list_location_groups(*, page_size: int = 1000) -> Pages[LocationGroup]:
    """All location groups, in the order they were first created; fetches page after page."""
    return _LOCATION_GROUPS.pages(page_size)


def delete_location_groups(
    groups: Iterable[Reference[LocationGroup]], **fields: Unpack[CommandFields]
) -> Draft[Receipt]:
    """Deletes location groups, atomically: 1 to 1,000.

    groups: each a name, or (name, version) or a `LocationGroup` that was read, to be deleted only if it still has that
        version (else StaleVersion).
    """
    return _LOCATION_GROUPS.delete(groups, "groups", fields)


def upsert_consumers(consumers: Iterable[Consumer], **fields: Unpack[CommandFields]) -> Draft[Upserted]:
    """Stores positions of consumers, atomically: 1 to 1,000. `versions` of the result has their new versions.

    A consumer with a `version` is stored only if it has that version now, 0 if there is none; else StaleVersion, and
    nothing is stored. A position that is no durable event of the ledger's history is PositionNotInHistory.

    consumers: 1 to 1,000 entries, each name at most once.
    """
    return _CONSUMERS.upsert(consumers, "consumers", fields)


def get_consumer(consumer: str, *, timeout_s: float | None = None) -> Read[Consumer]:
    """One consumer of events, with its position and its version.

    consumer: its name.
    """
    return _CONSUMERS.get(consumer, timeout_s)


def list_consumers(*, page_size: int = 1000) -> Pages[Consumer]:
    """All consumers of events, in the order they were first created; fetches page after page."""
    return _CONSUMERS.pages(page_size)


def delete_consumers(consumers: Iterable[Reference[Consumer]], **fields: Unpack[CommandFields]) -> Draft[Receipt]:
    """Deletes consumers, atomically: 1 to 1,000.

    consumers: each a name, or (name, version) or a `Consumer` that was read, to be deleted only if it still has that
        version (else StaleVersion).
    """
    return _CONSUMERS.delete(consumers, "consumers", fields)


class EntityCommands:
    """The commands on entities, as methods."""

    upsert_items = CommandMethod(upsert_items)
    upsert_locations = CommandMethod(upsert_locations)
    upsert_channels = CommandMethod(upsert_channels)
    upsert_location_groups = CommandMethod(upsert_location_groups)
    delete_items = CommandMethod(delete_items)
    delete_locations = CommandMethod(delete_locations)
    delete_location_groups = CommandMethod(delete_location_groups)
    upsert_consumers = CommandMethod(upsert_consumers)
    delete_consumers = CommandMethod(delete_consumers)


class EntityReads:
    """The reads of entities, as methods."""

    get_item = ReadMethod(get_item)
    list_items = ListMethod(list_items)
    get_location = ReadMethod(get_location)
    list_locations = ListMethod(list_locations)
    get_channel = ReadMethod(get_channel)
    list_channels = ListMethod(list_channels)
    get_location_group = ReadMethod(get_location_group)
    list_location_groups = ListMethod(list_location_groups)
    get_consumer = ReadMethod(get_consumer)
    list_consumers = ListMethod(list_consumers)
