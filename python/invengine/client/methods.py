"""The methods of both clients: each signature is defined once, where its draft or its read is made.

A function of `commands`, `entities` or `reads` becomes a method of everything that can send its result
(`invengine.client.descriptors`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

from invengine.client import commands, reads
from invengine.client.authority import AuthorityCommands, AuthorityReads
from invengine.client.descriptors import CommandMethod, ListMethod, ReadMethod
from invengine.client.draft import Draft
from invengine.client.entities import EntityCommands, EntityReads
from invengine.client.kept_messages import KeptMessageCommands, KeptMessageReads
from invengine.client.reads import Pages, Read
from invengine.client.stock_transfers import StockTransferCommands, StockTransferReads, delete_stock_transfers

T = TypeVar("T")


class _CommandMethods(StockTransferCommands):
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
    move_quantity = CommandMethod(commands.move_quantity)


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
    from_state: the state that units are in, a `StockState`; on_hand, if omitted, stands for what can be sold.
    to_state: the state that they get.
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


class ClientCommands(EntityCommands, AuthorityCommands, KeptMessageCommands):
    """The commands that only a client sends, not an operation or a source."""

    register_source = CommandMethod(commands.register_source)
    delete_stock_transfers = CommandMethod(delete_stock_transfers)


class _ReadMethods(StockTransferReads, AuthorityReads, KeptMessageReads):
    get_reservation = ReadMethod(reads.get_reservation)
    list_reservations = ListMethod(reads.list_reservations)
    get_outcome = ReadMethod(reads.get_outcome)
    get_level = ReadMethod(reads.get_level)
    list_levels = ListMethod(reads.list_levels)
    get_level_at = ReadMethod(reads.get_level_at)
    list_levels_at = ListMethod(reads.list_levels_at)
    list_history = ListMethod(reads.list_history)
    availability = ReadMethod(reads.availability)
    availabilities = ReadMethod(reads.availabilities)
    digest = ReadMethod(reads.digest)
    server_info = ReadMethod(reads.server_info)
    create_snapshot = ReadMethod(reads.create_snapshot)


class Reads(EntityReads, _ReadMethods, ABC):
    """Every read; each method blocks until it has the answer."""

    @abstractmethod
    def _read(self, read: Read[T]) -> T: ...

    @abstractmethod
    def _walk(self, pages: Pages[T]) -> Iterator[T]: ...


class AsyncReads(EntityReads, _ReadMethods, ABC):
    """Every read; await each, or iterate with `async for`."""

    @abstractmethod
    async def _read(self, read: Read[T]) -> T: ...

    @abstractmethod
    def _walk(self, pages: Pages[T]) -> AsyncIterator[T]: ...
