"""The six commands on a hold, each made from what a test has: a shop, the hold's target and its item."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from invengine.v1.types_pb2 import HoldTarget

from . import methods, requests
from .methods import Method
from .requests import HoldRequest
from .shop import Shop

AnyMethod: TypeAlias = Method[Any, Any]
MakeRequest: TypeAlias = Callable[[Shop, HoldTarget, str], HoldRequest]


def _extend(shop: Shop, target: HoldTarget, sku: str) -> HoldRequest:
    return requests.extend(shop.context(), target)


def _amend(shop: Shop, target: HoldTarget, sku: str) -> HoldRequest:
    return requests.amend(shop.context(), target, (sku, shop.here, 2))


def _allocate(shop: Shop, target: HoldTarget, sku: str) -> HoldRequest:
    return requests.allocate(shop.context(), target)


def _release(shop: Shop, target: HoldTarget, sku: str) -> HoldRequest:
    return requests.release(shop.context(), target)


def _fulfill(shop: Shop, target: HoldTarget, sku: str) -> HoldRequest:
    return requests.fulfill(shop.context(), target)


def _transfer(shop: Shop, target: HoldTarget, sku: str) -> HoldRequest:
    return requests.transfer(shop.context(), target, shop.there)


COMMANDS: dict[str, tuple[AnyMethod, MakeRequest]] = {
    "extend": (methods.EXTEND, _extend),
    "amend": (methods.AMEND, _amend),
    "allocate": (methods.ALLOCATE, _allocate),
    "release": (methods.RELEASE, _release),
    "fulfill": (methods.FULFILL, _fulfill),
    "transfer": (methods.TRANSFER, _transfer),
}
"""By name. Amend sets 2 units; Transfer moves there."""

BY_LINE = ("allocate", "release", "fulfill", "transfer")
"""Those that may name lines of the hold."""

BY_ORDER = ("extend", "allocate", "release", "fulfill")
"""Those that may name all holds of an order."""
