"""The methods of both clients: each signature is defined once, where its draft or its read is made.

A function of `commands` or `reads` becomes a method of everything that can send its result. On a client for threads the
method blocks and returns the value; on one for asyncio it returns an awaitable of it, or an asynchronous iterator.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from invengine.client import commands, entities, reads
from invengine.client.draft import Draft
from invengine.client.reads import Pages, Read

P = ParamSpec("P")
T = TypeVar("T")


class _LazySignature:
    """The signature of a method for `inspect` and `help`, computed on first use and not at import."""

    def __init__(self, make: Callable[..., Any], answer: str) -> None:
        self._make = make
        self._answer = answer

    @property
    def __signature__(self) -> inspect.Signature:
        found = inspect.signature(self._make)
        made, _, value = found.return_annotation.removesuffix("]").partition("[")
        assert made in ("Draft", "Read", "Pages"), self._make
        parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *found.parameters.values()]
        return found.replace(parameters=parameters, return_annotation=self._answer.format(value))


class _Method:
    """A method that passes the result of a function to `self.<sender>`."""

    def __init__(self, make: Callable[..., Any], sender: str, answer: str = "{}") -> None:
        @functools.wraps(make)
        def method(self: Any, /, *args: Any, **fields: Any) -> Any:
            return getattr(self, sender)(make(*args, **fields))

        method.__wrapped__ = _LazySignature(make, answer)  # type: ignore[assignment]
        self._method = method

    def __set_name__(self, owner: type, name: str) -> None:
        self._method.__qualname__ = f"{owner.__qualname__}.{name}"

    def _bound(self, sender: Any) -> Any:
        return self._method if sender is None else MethodType(self._method, sender)


class CommandMethod(_Method, Generic[P, T]):
    """A function that makes a draft, as a method that sends it."""

    def __init__(self, make: Callable[P, Draft[T]]) -> None:
        super().__init__(make, "send")

    @overload
    def __get__(self, sender: None, owner: type) -> Callable[Concatenate[Any, P], Any]: ...
    @overload
    def __get__(self, sender: Commands, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, sender: AsyncCommands, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, sender: Any, owner: type) -> Any:
        return self._bound(sender)


class ReadMethod(_Method, Generic[P, T]):
    """A function that makes a read, as a method that sends it."""

    def __init__(self, make: Callable[P, Read[T]]) -> None:
        super().__init__(make, "_read")

    @overload
    def __get__(self, sender: None, owner: type) -> Callable[Concatenate[Any, P], Any]: ...
    @overload
    def __get__(self, sender: Reads, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, sender: AsyncReads, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, sender: Any, owner: type) -> Any:
        return self._bound(sender)


class ListMethod(_Method, Generic[P, T]):
    """A function that makes a read of many pages, as a method that iterates over them."""

    def __init__(self, make: Callable[P, Pages[T]]) -> None:
        super().__init__(make, "_walk", "Iterator[{}]")

    @overload
    def __get__(self, sender: None, owner: type) -> Callable[Concatenate[Any, P], Any]: ...
    @overload
    def __get__(self, sender: Reads, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, sender: AsyncReads, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, sender: Any, owner: type) -> Any:
        return self._bound(sender)


class _CommandMethods:
    reserve = CommandMethod(commands.reserve)
    extend = CommandMethod(commands.extend)
    amend = CommandMethod(commands.amend)
    allocate = CommandMethod(commands.allocate)
    release = CommandMethod(commands.release)
    fulfill = CommandMethod(commands.fulfill)
    transfer = CommandMethod(commands.transfer)
    receive = CommandMethod(commands.receive)
    return_ = CommandMethod(commands.return_)
    adjust = CommandMethod(commands.adjust)
    set_quantity = CommandMethod(commands.set_quantity)
    count = CommandMethod(commands.count)


class Commands(_CommandMethods, ABC):
    """Every command on holds and on stock. Each method blocks until the answer is durable.

    A rejection is raised as a `Rejected`, a failure as a `Fault`. The other arguments are those of
    `commands.CommandFields`.

    lines: each (sku, location, quantity), in whole units. For a command on an existing hold: (sku, location) for all of
        a line, or with a quantity of at least 1; omitted for the whole hold.
    reservation_id: the hold, by the id that reserve returned or by the `Hold` itself.
    reservation_key: the hold, by the key of the reserve that made it, in the scope of the command's channel.
    order: every hold of this order, atomically; lines and version must then be omitted.
    ttl_s: seconds until a hold expires, 1 to 2,592,000 (30 days); 900 if omitted.
    allow_partial: True takes what is available of each line; nothing at all is InsufficientStock.
    replace_own: True first releases what the same `holder` has reserved on the same levels, in the same step.
    expected_version: refuse (StaleVersion) unless the hold has this version, 1 or more; any if omitted.
    to_location: the new location of the hold.
    state: the part of the stock, a `StockState`; on_hand if omitted.
    """

    @abstractmethod
    def send(self, draft: Draft[T], timeout_s: float | None = None) -> T:
        """Sends one draft and waits for its answer. `timeout_s` takes precedence over that of the draft."""


class AsyncCommands(_CommandMethods, ABC):
    """Every command on holds and on stock. Await each: it returns when the answer is durable.

    A rejection is raised as a `Rejected`, a failure as a `Fault`. The arguments are those of `Commands`.
    """

    @abstractmethod
    def send(self, draft: Draft[T], timeout_s: float | None = None) -> Coroutine[Any, Any, T]:
        """Sends one draft; await it for the answer. `timeout_s` takes precedence over that of the draft."""


class ClientCommands:
    """The commands that only a client sends, not an operation or a source."""

    upsert_items = CommandMethod(entities.upsert_items)
    upsert_locations = CommandMethod(entities.upsert_locations)
    upsert_channels = CommandMethod(entities.upsert_channels)
    upsert_location_groups = CommandMethod(entities.upsert_location_groups)
    delete_items = CommandMethod(entities.delete_items)
    delete_locations = CommandMethod(entities.delete_locations)
    delete_location_groups = CommandMethod(entities.delete_location_groups)
    register_source = CommandMethod(commands.register_source)


class _ReadMethods:
    get_reservation = ReadMethod(reads.get_reservation)
    list_reservations = ListMethod(reads.list_reservations)
    get_outcome = ReadMethod(reads.get_outcome)
    get_level = ReadMethod(reads.get_level)
    list_levels = ListMethod(reads.list_levels)
    availability = ReadMethod(reads.availability)
    availabilities = ReadMethod(reads.availabilities)
    get_item = ReadMethod(entities.get_item)
    list_items = ListMethod(entities.list_items)
    get_location = ReadMethod(entities.get_location)
    list_locations = ListMethod(entities.list_locations)
    get_channel = ReadMethod(entities.get_channel)
    list_channels = ListMethod(entities.list_channels)
    get_location_group = ReadMethod(entities.get_location_group)
    list_location_groups = ListMethod(entities.list_location_groups)
    digest = ReadMethod(reads.digest)
    server_info = ReadMethod(reads.server_info)
    create_snapshot = ReadMethod(reads.create_snapshot)


class Reads(_ReadMethods, ABC):
    """Every read; each method blocks until it has the answer."""

    @abstractmethod
    def _read(self, read: Read[T]) -> T: ...

    @abstractmethod
    def _walk(self, pages: Pages[T]) -> Iterator[T]: ...


class AsyncReads(_ReadMethods, ABC):
    """Every read; await each, or iterate with `async for`."""

    @abstractmethod
    async def _read(self, read: Read[T]) -> T: ...

    @abstractmethod
    def _walk(self, pages: Pages[T]) -> AsyncIterator[T]: ...
