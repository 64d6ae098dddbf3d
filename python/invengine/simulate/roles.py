"""Who plays which part of the stream: one client process for each role."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from invengine.simulate.habits import APP, ECOMMERCE, MARKETPLACES, STORES
from invengine.simulate.sales import Adjusted, Returned, Sale, Stream
from invengine.simulate.warehouse import SOURCE


class Kind(StrEnum):
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
    kind: Kind
    channel: str
    sales: tuple[Sale, ...] = ()
    facts: tuple[Returned | Adjusted, ...] = ()

    @property
    def scope(self) -> str:
        """Where the keys of its commands live."""
        return self.channel or f"source:{SOURCE}"


def roles_of(stream: Stream) -> list[Role]:
    """Every role of a stream. Callers of the flash sale have processes of their own: their rush must delay nobody."""
    roles = []
    for channel in (ECOMMERCE, APP):
        roles.append(Role(channel, Kind.LIVE, channel, _of(stream, channel, flash=False)))
        roles.append(Role(f"{channel}-flash", Kind.FLASH, channel, _of(stream, channel, flash=True)))
    roles.append(Role(STORES, Kind.STORES, STORES, _of(stream, STORES)))
    roles += [Role(channel, Kind.MARKETPLACE, channel, _of(stream, channel)) for channel in MARKETPLACES]
    roles.append(Role("warehouse", Kind.WAREHOUSE, "", facts=(*stream.returns, *stream.adjustments)))
    return roles


def _of(stream: Stream, channel: str, *, flash: bool = False) -> tuple[Sale, ...]:
    return tuple(sale for sale in stream.sales if sale.channel == channel and sale.flash is flash)
