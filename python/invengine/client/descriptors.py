"""How a function that makes a draft or a read becomes a method of everything that can send its result.

On a client for threads the method blocks and returns the value; on one for asyncio it returns an awaitable of it, or an
asynchronous iterator. The signature is that of the function, for type checkers and for `help`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

if TYPE_CHECKING:
    from invengine.client.draft import Draft
    from invengine.client.methods import AsyncCommands, AsyncReads, Commands, Reads
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
