"""What the benchmarks of the Python surface share: an engine in this process, with stock in it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest

from invengine import Engine
from invengine.v1 import inventory_service_pb2 as inventory

SKU = "sku-0000000"
LOCATION = "dc-1"
UNITS = 2_000_000_000


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine on a memory journal: what is measured is Python and the ledger, not the disk."""
    opened = Engine.open(json.dumps({"journal": "memory", "auto_create": True}))
    line = inventory.StockLine(sku=SKU, location=LOCATION, quantity=UNITS)
    request = inventory.ReceiveRequest(lines=[line])
    opened.call("/invengine.v1.InventoryService/Receive", request.SerializeToString(), idempotency_key="stock")
    yield opened
    opened.close()


@pytest.fixture
def keys() -> Iterator[str]:
    """Keys that were never used before."""
    return (f"key-{number}" for number in itertools.count())
