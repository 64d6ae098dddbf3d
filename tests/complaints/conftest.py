"""The same targets as the conformance suite has: a complaint is answered by every door and by the embedded engine."""

from __future__ import annotations

from ..conformance.conftest import aged, server, server_shop, shop, target, targets

__all__ = ["aged", "server", "server_shop", "shop", "target", "targets"]
