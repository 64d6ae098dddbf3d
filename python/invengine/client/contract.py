"""The messages of the contract, by service. The module of a service is loaded on first use: a command needs one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invengine.v1 import admin_service_pb2 as admin
    from invengine.v1 import availability_service_pb2 as availability
    from invengine.v1 import catalog_service_pb2 as catalog
    from invengine.v1 import inventory_service_pb2 as inventory
    from invengine.v1 import journal_service_pb2 as journal
    from invengine.v1 import policy_service_pb2 as policy
    from invengine.v1 import reservation_service_pb2 as reservation
    from invengine.v1 import source_service_pb2 as source
    from invengine.v1 import types_pb2 as types

__all__ = ["admin", "availability", "catalog", "inventory", "journal", "policy", "reservation", "source", "types"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "types_pb2" if name == "types" else f"{name}_service_pb2"
    found = globals()[name] = import_module(f"invengine.v1.{module}")
    return found


def method(service: str, rpc: str) -> str:
    """The path of a method; the service is named as its module."""
    return f"/invengine.v1.{service.capitalize()}Service/{rpc}"


def answer(service: str, rpc: str) -> Any:
    """The class of a method's answer."""
    return getattr(import_module(f"invengine.v1.{service}_service_pb2"), f"{rpc}Response")
