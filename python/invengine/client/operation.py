"""Stable keys for callers that keep one id across their own restarts."""

from __future__ import annotations

from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from invengine.client import arguments
from invengine.client.draft import Draft
from invengine.client.methods import AsyncCommands, Commands
from invengine.errors import InvalidArgument

T = TypeVar("T")


class Steps:
    """Derives the key of each step of one operation: its name, the step's number and its action."""

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise InvalidArgument("name", f"a text that outlives the process, such as an order number; got {name!r}")
        self.name = arguments.text(name, "name")
        self._step = 0

    def next_key(self, what: str) -> str:
        """The key of the next step, such as "order-1017/1-reserve"."""
        self._step += 1
        return f"{self.name}/{self._step}-{what}"

    def give_key(self, draft: Draft[Any]) -> None:
        """Sets the key of a draft without one and counts it as a step. A draft with a key or a number is not a step."""
        if draft.is_unnamed:
            draft.name_key(self.next_key(draft.kind.name))


class Operation(Commands):
    """Commands whose keys are derived from one name.

    A restarted caller that runs the same steps in the same order sends the same keys and gets the same outcomes:
    nothing is executed twice. Use it from one thread.
    """

    def __init__(self, client: Commands, name: str) -> None:
        self._client = client
        self._steps = Steps(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to undo: what was accepted stays accepted."""

    @property
    def name(self) -> str:
        """The prefix of the keys."""
        return self._steps.name

    def send(self, draft: Draft[T], timeout_s: float | None = None) -> T:
        """Sends one draft as the next step."""
        self._steps.give_key(draft)
        return self._client.send(draft, timeout_s)


class AsyncOperation(AsyncCommands):
    """Commands whose keys are derived from one name; see `Operation`. Keys are numbered in the order of the calls."""

    def __init__(self, client: AsyncCommands, name: str) -> None:
        self._client = client
        self._steps = Steps(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to undo: what was accepted stays accepted."""

    @property
    def name(self) -> str:
        """The prefix of the keys."""
        return self._steps.name

    def send(self, draft: Draft[T], timeout_s: float | None = None) -> Coroutine[Any, Any, T]:
        """Sends one draft as the next step. The key is assigned now, not when the answer is awaited."""
        self._steps.give_key(draft)
        return self._client.send(draft, timeout_s)
