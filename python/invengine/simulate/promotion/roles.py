"""Which client process plays which part of the stream: one for each role."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from invengine.simulate.promotion.assumptions import APP, ECOMMERCE, MARKETPLACES, STORES
from invengine.simulate.promotion.sales import Adjusted, Returned, Sale, Stream
from invengine.simulate.promotion.warehouse import SOURCE


class RoleKind(StrEnum):
    """How a role behaves."""

    LIVE = "live"
    FLASH = "flash"
    STORES = "stores"
    MARKETPLACE = "marketplace"
    WAREHOUSE = "warehouse"


@dataclass(frozen=True, slots=True)
class Role:
    """What one client process plays. `channel` is empty for the warehouse, which is a source."""

    name: str
    kind: RoleKind
    channel: str
    sales: tuple[Sale, ...] = ()
    facts: tuple[Returned | Adjusted, ...] = ()

    @property
    def scope(self) -> str:
        """The scope of its keys."""
        return self.channel or f"source:{SOURCE}"


def roles_of(stream: Stream) -> list[Role]:
    """Every role of a stream. Callers of the flash sale have separate processes: their rush must not delay others."""
    roles = []
    for channel in (ECOMMERCE, APP):
        roles.append(Role(channel, RoleKind.LIVE, channel, _of(stream, channel, flash=False)))
        roles.append(Role(f"{channel}-flash", RoleKind.FLASH, channel, _of(stream, channel, flash=True)))
    roles.append(Role(STORES, RoleKind.STORES, STORES, _of(stream, STORES)))
    roles += [Role(channel, RoleKind.MARKETPLACE, channel, _of(stream, channel)) for channel in MARKETPLACES]
    roles.append(Role("warehouse", RoleKind.WAREHOUSE, "", facts=(*stream.returns, *stream.adjustments)))
    return roles


def _of(stream: Stream, channel: str, *, flash: bool = False) -> tuple[Sale, ...]:
    return tuple(sale for sale in stream.sales if sale.channel == channel and sale.flash is flash)
