"""Clients of the engine: `Client` for threads, `AsyncClient` for asyncio, and their arguments and results.

Both give every command a key, repeat it with that key until the deadline, and return small frozen values or raise the
errors of `invengine.errors`.

The module of a name is loaded on first use: a `Client` loads nothing of asyncio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invengine.client import results
    from invengine.client.asynchronous import AsyncClient
    from invengine.client.blocking import Client
    from invengine.client.columns import ReserveColumns
    from invengine.client.draft import CommandFields, Draft
    from invengine.client.event_filter import CommandOrigins, EventFilter
    from invengine.client.fold import StockFold
    from invengine.client.numbering import StateFileError
    from invengine.client.operation import AsyncOperation, Operation
    from invengine.client.results import *  # noqa: F403
    from invengine.client.results.entities import *  # noqa: F403
    from invengine.client.source_async import AsyncSource
    from invengine.client.source_blocking import OrderedSource
    from invengine.positions import JournalPosition

    __all__ = [
        "AsyncClient", "AsyncOperation", "AsyncSource", "Client", "CommandFields", "CommandOrigins", "Draft",
        "EventFilter", "JournalPosition", "Operation", "OrderedSource", "ReserveColumns", "StateFileError", "StockFold",
    ]  # fmt: skip
    __all__ += results.__all__

_MODULE_OF_NAME = {
    "AsyncClient": "invengine.client.asynchronous",
    "AsyncOperation": "invengine.client.operation",
    "AsyncSource": "invengine.client.source_async",
    "Client": "invengine.client.blocking",
    "CommandFields": "invengine.client.draft",
    "CommandOrigins": "invengine.client.event_filter",
    "Draft": "invengine.client.draft",
    "EventFilter": "invengine.client.event_filter",
    "JournalPosition": "invengine.positions",
    "Operation": "invengine.client.operation",
    "OrderedSource": "invengine.client.source_blocking",
    "ReserveColumns": "invengine.client.columns",
    "StateFileError": "invengine.client.numbering",
    "StockFold": "invengine.client.fold",
}
_MODULES = ("columns", "commands", "messages", "results")


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return _names()
    if name in _MODULES:
        found = import_module(f"invengine.client.{name}")
    else:
        # All other names are results.
        try:
            found = getattr(import_module(_MODULE_OF_NAME.get(name, "invengine.client.results")), name)
        except AttributeError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    globals()[name] = found
    return found


def _names() -> list[str]:
    return sorted([*_MODULE_OF_NAME, *dir(import_module("invengine.client.results"))])


def __dir__() -> list[str]:
    return sorted({*globals(), *_names(), *_MODULES})
