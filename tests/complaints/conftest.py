"""The targets of the conformance suite: a complaint is checked with every door and with the embedded engine."""

from __future__ import annotations

from ..conformance.conftest import aged, server, server_shop, shop, target, targets

__all__ = ["aged", "server", "server_shop", "shop", "target", "targets"]
