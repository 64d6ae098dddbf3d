"""Names created by mention, for development: by what is accepted, never by what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from . import methods, requests
from .commands import AnyMethod
from .own import own_target
from .shop import Shop

KINDS = ("native", "python", "embedded")


@pytest.mark.parametrize("kind", KINDS)
def test_a_typo_in_a_refused_command_creates_nothing(kind: str, tmp_path: Path) -> None:
    with own_target(kind, tmp_path, auto_create=True) as target:
        shop = Shop(target)
        sku = shop.item(5)
        shop.call(methods.RECEIVE, requests.receive(shop.context(), (sku, shop.here, 1)))
        before = target.digest()
        typo = "mgu"
        refused: list[tuple[AnyMethod, Any, str]] = [
            (methods.RESERVE, requests.reserve(shop.context(), (typo, shop.here, 1)), "UNKNOWN_SKU"),
            (methods.RESERVE, requests.reserve(shop.context(), (sku, typo, 1)), "UNKNOWN_LOCATION"),
            (methods.RESERVE, requests.reserve(shop.context(channel=typo), (sku, shop.here, 99)), "UNKNOWN_CHANNEL"),
            (methods.ADJUST, requests.adjust(shop.context(), (typo, shop.here, -1)), "UNKNOWN_SKU"),
            (methods.RELEASE, requests.release(shop.context(), requests.by_order(typo)), "RESERVATION_NOT_FOUND"),
        ]
        for method, request, reason in refused:
            shop.refused(method, request, reason)
        assert target.digest() == before, "not even a name"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_accepted_creates_what_it_mentions(kind: str, tmp_path: Path) -> None:
    with own_target(kind, tmp_path, auto_create=True) as target:
        shop = Shop(target)
        shop.call(methods.RECEIVE, requests.receive(shop.context(channel="app"), ("mug", "wh", 5), ("cup", "wh", 5)))
        shop.call(methods.RESERVE, requests.reserve(shop.context(channel="web"), ("mug", "wh", 2)))
        kinds = [event.WhichOneof("fact") for event in target.read_events()]
        made = [kind for kind in kinds if kind and kind.endswith("_upserted")]
        assert sorted(made) == ["channel_upserted"] * 2 + ["item_upserted"] * 2 + ["location_upserted"] or len(made) > 5
        before = target.digest()
        # Found again after everything that was tried and undone.
        for number in range(40):
            shop.refused(
                methods.RESERVE, requests.reserve(shop.context(), (f"typo-{number}", f"wh-{number}", 1)), "UNKNOWN_SKU"
            )
        assert target.digest() == before
        assert shop.call(methods.RESERVE, requests.reserve(shop.context(), ("cup", "wh", 5))).hold.version == 1
