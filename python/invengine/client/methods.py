"""The methods of both clients: each signature stands once, where its draft or its question is made.

A function of `commands` or `reads` becomes a method of everything that can send what it makes. On a client for threads
the method blocks and gives the value; on one for asyncio it gives an awaitable of it, or an asynchronous iterator.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from invengine.client import commands, reads
from invengine.client.draft import Draft
from invengine.client.reads import Pages, Read

P = ParamSpec("P")
T = TypeVar("T")


class _Shown:
    """The signature of a method, as `inspect` and `help` see it: worked out when it is looked at, not at import."""

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
    """A function whose result goes to `self.<sender>`."""

    def __init__(self, make: Callable[..., Any], sender: str, answer: str = "{}") -> None:
        @functools.wraps(make)
        def method(self: Any, /, *args: Any, **fields: Any) -> Any:
            return getattr(self, sender)(make(*args, **fields))

        method.__wrapped__ = _Shown(make, answer)  # type: ignore[assignment]
        self._method = method

    def __set_name__(self, owner: type, name: str) -> None:
        self._method.__qualname__ = f"{owner.__qualname__}.{name}"

    def _bound(self, sender: Any) -> Any:
        return self._method if sender is None else MethodType(self._method, sender)


class Command(_Method, Generic[P, T]):
    """A function that makes a draft, as a method of whoever sends drafts."""

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


class Question(_Method, Generic[P, T]):
    """A function that makes a read, as a method of whoever asks."""

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


class Listing(_Method, Generic[P, T]):
    """A function that makes a read of many pages, as a method of whoever asks."""

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
    reserve = Command(commands.reserve)
    extend = Command(commands.extend)
    amend = Command(commands.amend)
    allocate = Command(commands.allocate)
    release = Command(commands.release)
    fulfill = Command(commands.fulfill)
    transfer = Command(commands.transfer)
    receive = Command(commands.receive)
    return_ = Command(commands.return_)
    adjust = Command(commands.adjust)
    set_quantity = Command(commands.set_quantity)
    count = Command(commands.count)


class Commands(_CommandMethods, ABC):
    """Every command on holds and on stock. Each method blocks until the answer is durable.

    A rejection is raised as a `Rejected`, a failure as a `Fault`. The other arguments are those of
    `commands.CommandFields`.

    lines: (sku, location, quantity) each, in whole units. Where a command acts on a hold that is there: (sku, location)
        for all of a line, or with a quantity of at least 1; left out for the whole hold.
    reservation_id: the hold, by the token that reserve answered or by the `Hold` itself.
    reservation_key: the hold, by the key of the reserve that made it, in the scope of the command's channel.
    order: every hold of this order, atomically; then without lines and version.
    ttl_s: seconds that a hold lasts, 1 to 2,592,000 (30 days); 900 if left out.
    allow_partial: True takes what is there of each line; nothing at all is InsufficientStock.
    replace_own: True first releases what the same `holder` has reserved on the same levels, in the same step.
    expected_version: refuse (StaleVersion) unless the hold has this version, from 1 on; any if left out.
    to_location: where the promise moves to.
    state: the part of the stock that is meant, a `StockState`; on_hand if left out.
    """

    @abstractmethod
    def send(self, draft: Draft[T], timeout_s: float | None = None) -> T:
        """Sends one draft and waits for its answer. `timeout_s` counts before the draft's own."""


class AsyncCommands(_CommandMethods, ABC):
    """Every command on holds and on stock. Await each: the answer comes when it is durable.

    A rejection is raised as a `Rejected`, a failure as a `Fault`. The arguments are those of `Commands`.
    """

    @abstractmethod
    def send(self, draft: Draft[T], timeout_s: float | None = None) -> Coroutine[Any, Any, T]:
        """Sends one draft; await it for the answer. `timeout_s` counts before the draft's own."""


class ClientCommands:
    """The commands that only a client sends: what no operation repeats and no source numbers."""

    upsert_items = Command(commands.upsert_items)
    upsert_locations = Command(commands.upsert_locations)
    upsert_channels = Command(commands.upsert_channels)
    register_source = Command(commands.register_source)


class _ReadMethods:
    get_reservation = Question(reads.get_reservation)
    list_reservations = Listing(reads.list_reservations)
    get_outcome = Question(reads.get_outcome)
    get_level = Question(reads.get_level)
    list_levels = Listing(reads.list_levels)
    availability = Question(reads.availability)
    availabilities = Question(reads.availabilities)
    get_item = Question(reads.get_item)
    list_items = Listing(reads.list_items)
    get_location = Question(reads.get_location)
    list_locations = Listing(reads.list_locations)
    get_channel = Question(reads.get_channel)
    list_channels = Listing(reads.list_channels)
    digest = Question(reads.digest)
    server_info = Question(reads.server_info)
    create_snapshot = Question(reads.create_snapshot)


class Reads(_ReadMethods, ABC):
    """Every question; each method blocks until it has the answer."""

    @abstractmethod
    def _read(self, question: Read[T]) -> T: ...

    @abstractmethod
    def _walk(self, pages: Pages[T]) -> Iterator[T]: ...


class AsyncReads(_ReadMethods, ABC):
    """Every question; await each, or go through it with `async for`."""

    @abstractmethod
    async def _read(self, question: Read[T]) -> T: ...

    @abstractmethod
    def _walk(self, pages: Pages[T]) -> AsyncIterator[T]: ...
