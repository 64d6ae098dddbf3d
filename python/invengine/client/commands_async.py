"""The commands, for whoever can send a draft and await its answer: a client, an operation, a source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar, Unpack

from invengine.client import commands
from invengine.client.commands import CommandFields, Draft, LineTuple, PartTuple, QuantityTuple
from invengine.client.results import Changes, Hold, StockChanges, StockState

T = TypeVar("T")


class AsyncCommands(ABC):
    """Every command on holds and on stock. Await each: the answer comes when it is durable.

    A no is raised as a `Rejected`, a failure as a `Fault`. The arguments are those of `commands_blocking.Commands`.
    """

    @abstractmethod
    def send(self, draft: Draft[T], timeout_s: float | None = None) -> Coroutine[Any, Any, T]:
        """Sends one draft; await it for the answer."""

    def reserve(
        self,
        lines: Iterable[LineTuple],
        *,
        ttl_s: float | None = None,
        allow_partial: bool = False,
        replace_own: bool = False,
        timeout_s: float | None = None,
        **fields: Unpack[CommandFields],
    ) -> Coroutine[Any, Any, Hold]:
        """Takes a timed hold on every line, or on none (InsufficientStock)."""
        draft = commands.reserve(lines, ttl_s=ttl_s, allow_partial=allow_partial, replace_own=replace_own, **fields)
        return self.send(draft, timeout_s)

    def extend(
        self,
        reservation_id: str | Hold | None = None,
        *,
        reservation_key: str | None = None,
        order: str | None = None,
        ttl_s: float | None = None,
        expected_version: int | None = None,
        timeout_s: float | None = None,
        **fields: Unpack[CommandFields],
    ) -> Coroutine[Any, Any, Changes]:
        """Moves the end of what is still reserved to `ttl_s` from now."""
        draft = commands.extend(
            reservation_id,
            reservation_key=reservation_key,
            order=order,
            ttl_s=ttl_s,
            expected_version=expected_version,
            **fields,
        )
        return self.send(draft, timeout_s)

    def amend(
        self,
        lines: Iterable[LineTuple],
        reservation_id: str | Hold | None = None,
        *,
        reservation_key: str | None = None,
        expected_version: int | None = None,
        timeout_s: float | None = None,
        **fields: Unpack[CommandFields],
    ) -> Coroutine[Any, Any, Changes]:
        """Sets new reserved quantities of the named lines, in one step; 0 takes a line out."""
        draft = commands.amend(
            lines, reservation_id, reservation_key=reservation_key, expected_version=expected_version, **fields
        )
        return self.send(draft, timeout_s)

    def allocate(
        self,
        reservation_id: str | Hold | None = None,
        *,
        reservation_key: str | None = None,
        order: str | None = None,
        lines: Iterable[PartTuple] | None = None,
        expected_version: int | None = None,
        timeout_s: float | None = None,
        **fields: Unpack[CommandFields],
    ) -> Coroutine[Any, Any, Changes]:
        """Makes a timed hold a hard one of `order_ref`; after expiry it takes the units again if they are there."""
        draft = commands.allocate(
            reservation_id,
            reservation_key=reservation_key,
            order=order,
            lines=lines,
            expected_version=expected_version,
            **fields,
        )
        return self.send(draft, timeout_s)

    def release(
        self,
        reservation_id: str | Hold | None = None,
        *,
        reservation_key: str | None = None,
        order: str | None = None,
        lines: Iterable[PartTuple] | None = None,
        expected_version: int | None = None,
        timeout_s: float | None = None,
        **fields: Unpack[CommandFields],
    ) -> Coroutine[Any, Any, Changes]:
        """Gives units back. By a key not seen yet it cancels that key: `key_cancelled` is True.

        The log then has a warning that says where the key was looked for: keys are scoped by channel.
        """
        draft = commands.release(
            reservation_id,
            reservation_key=reservation_key,
            order=order,
            lines=lines,
            expected_version=expected_version,
            **fields,
        )
        return self.send(draft, timeout_s)

    def fulfill(
        self,
        reservation_id: str | Hold | None = None,
        *,
        reservation_key: str | None = None,
        order: str | None = None,
        lines: Iterable[PartTuple] | None = None,
        expected_version: int | None = None,
        timeout_s: float | None = None,
        **fields: Unpack[CommandFields],
    ) -> Coroutine[Any, Any, Changes]:
        """Says that the goods leave."""
        draft = commands.fulfill(
            reservation_id,
            reservation_key=reservation_key,
            order=order,
            lines=lines,
            expected_version=expected_version,
            **fields,
        )
        return self.send(draft, timeout_s)

    def transfer(
        self,
        to_location: str,
        reservation_id: str | Hold | None = None,
        *,
        reservation_key: str | None = None,
        lines: Iterable[PartTuple] | None = None,
        expected_version: int | None = None,
        timeout_s: float | None = None,
        **fields: Unpack[CommandFields],
    ) -> Coroutine[Any, Any, Changes]:
        """Moves a promise to another location that has room. It moves no goods."""
        draft = commands.transfer(
            to_location,
            reservation_id,
            reservation_key=reservation_key,
            lines=lines,
            expected_version=expected_version,
            **fields,
        )
        return self.send(draft, timeout_s)

    def receive(
        self,
        lines: Iterable[LineTuple],
        *,
        state: StockState | None = None,
        timeout_s: float | None = None,
        **fields: Unpack[CommandFields],
    ) -> Coroutine[Any, Any, StockChanges]:
        """Records goods that came in."""
        return self.send(commands.receive(lines, state=state, **fields), timeout_s)

    def return_(
        self,
        lines: Iterable[LineTuple],
        *,
        state: StockState | None = None,
        timeout_s: float | None = None,
        **fields: Unpack[CommandFields],
    ) -> Coroutine[Any, Any, StockChanges]:
        """Records sold goods that came back; `state` says whether they can be sold again."""
        return self.send(commands.return_(lines, state=state, **fields), timeout_s)

    def adjust(
        self,
        lines: Iterable[LineTuple],
        *,
        state: StockState | None = None,
        timeout_s: float | None = None,
        **fields: Unpack[CommandFields],
    ) -> Coroutine[Any, Any, StockChanges]:
        """Records differences, up or down; say why in `reason_code`."""
        return self.send(commands.adjust(lines, state=state, **fields), timeout_s)

    def set_quantity(
        self,
        lines: Iterable[QuantityTuple],
        *,
        state: StockState | None = None,
        timeout_s: float | None = None,
        **fields: Unpack[CommandFields],
    ) -> Coroutine[Any, Any, StockChanges]:
        """Sets absolute quantities, on request only if the old one is as expected (else QuantityStale)."""
        return self.send(commands.set_quantity(lines, state=state, **fields), timeout_s)

    def count(
        self,
        lines: Iterable[QuantityTuple],
        *,
        state: StockState | None = None,
        timeout_s: float | None = None,
        **fields: Unpack[CommandFields],
    ) -> Coroutine[Any, Any, StockChanges]:
        """Records what somebody counted, always; a shortage shows as `oversold`."""
        return self.send(commands.count(lines, state=state, **fields), timeout_s)
