"""invengine: inventory reservations that never oversell.

`Client` and `AsyncClient` call a server, `Engine` is the engine in this process; `invengine.errors` is what they raise.
Nothing is loaded before it is used: a client never loads the engine, nor the engine the client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invengine._core import Engine
    from invengine.client import AsyncClient, Client

    __version__: str

__all__ = ["AsyncClient", "Client", "Engine", "__version__"]

_MODULE_OF_NAME = {"AsyncClient": "invengine.client", "Client": "invengine.client", "Engine": "invengine._core"}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("invengine")
    if name in _MODULE_OF_NAME:
        return getattr(import_module(_MODULE_OF_NAME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
