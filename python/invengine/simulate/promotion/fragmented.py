"""The fragmented model: every channel sells from its own copy of the stock, and the copies are synchronised in batches.

A pure model on the same stream as the engine. It favours the fragmented way where it can: a channel never
oversells its own copy, every batch arrives, in order and once, and an oversold order is cancelled without a cost for
any other. What is left is inherent to copies: two channels sell the same unit before either hears of the
other (oversold, so an order is cancelled), and a channel refuses units that are available (a false sold-out).

There are no holds: a cart takes nothing until it is paid.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from invengine.simulate.audit import LevelKey
from invengine.simulate.promotion.assumptions import CHANNELS, MARKETPLACES, STORES, Copies
from invengine.simulate.promotion.sales import Adjusted, Behaviour, Line, Returned, Sale, Stream


@dataclass(slots=True)
class Fragmented:
    """The result of the fragmented model."""

    units_sold: int = 0
    oversold_units: int = 0
    oversold_levels: int = 0
    cancelled_orders: int = 0
    false_sold_outs: int = 0
    false_sold_out_units: int = 0
    refused_orders: int = 0
    flash_sold: int = 0
    flash_oversold: int = 0
    oversold_by_channel: dict[str, int] = field(default_factory=dict)
    series: list[tuple[float, int]] = field(default_factory=list)
    """(seconds since the start, oversold units until then)."""


def play(stream: Stream, copies: Copies, factor: float = 1.0) -> Fragmented:
    """Plays the stream. `factor` stretches every interval and delay of the batches: 0.2 means five times as often."""
    stretched = replace(
        copies,
        sync_s={channel: seconds * factor for channel, seconds in copies.sync_s.items()},
        delay_s={channel: seconds * factor for channel, seconds in copies.delay_s.items()},
    )
    for channel in CHANNELS:
        if 2 * stretched.delay_s[channel] > stretched.sync_s[channel]:
            raise ValueError(f"the batches of {channel} would overtake each other: delay_s is at most half of sync_s")
    return _Play(stream, stretched).run()


class _Play:
    """One run: events in a queue by time. `free` is the real stock, `centre` the books, `copy` the channels' view."""

    def __init__(self, stream: Stream, copies: Copies) -> None:
        self._stream = stream
        self._copies = copies
        self._free: dict[LevelKey, int] = dict(stream.opening)
        self._centre: dict[LevelKey, int] = dict(stream.opening)
        self._copy: dict[str, dict[LevelKey, int]] = {
            channel: {place: max(0, units - self._buffer(channel)) for place, units in stream.opening.items()}
            for channel in CHANNELS
        }
        self._unreported: dict[str, Counter[LevelKey]] = {channel: Counter() for channel in CHANNELS}
        self._changed: dict[str, set[LevelKey]] = {channel: set() for channel in CHANNELS}
        self._queue: list[tuple[float, int, str, Any]] = []
        self._pushed = 0
        self._short: set[LevelKey] = set()
        self._found = Fragmented()

    def run(self) -> Fragmented:
        for at, kind, what in self._demand():
            self._push(at, kind, what)
        for channel in CHANNELS:
            self._push(self._copies.sync_s[channel], "report", channel)
        while self._queue:
            now, _, kind, what = heapq.heappop(self._queue)
            getattr(self, f"_{kind}")(now, what)
        self._found.oversold_levels = len(self._short)
        self._found.oversold_by_channel = {
            channel: self._found.oversold_by_channel.get(channel, 0) for channel in CHANNELS
        }
        return self._found

    def _demand(self) -> Iterator[tuple[float, str, Any]]:
        for sale in self._stream.sales:
            # Without holds a cart counts when it is paid; stores and marketplaces sell at once.
            if sale.behaviour in (Behaviour.PAYS, Behaviour.PAYS_LATE):
                at_once = sale.channel == STORES or sale.channel in MARKETPLACES
                yield sale.at_s + (0.0 if at_once else sale.ends_after_s), "sell", (sale, True)
        for goods in self._stream.returns:
            yield goods.at_s, "came", goods
        for adjusted in self._stream.adjustments:
            yield adjusted.at_s, "came", adjusted

    def _push(self, at: float, kind: str, what: Any) -> None:
        self._pushed += 1
        heapq.heappush(self._queue, (at, self._pushed, kind, what))

    def _buffer(self, channel: str) -> int:
        return self._copies.marketplace_buffer_units if channel in MARKETPLACES else 0

    def _sell(self, now: float, wish: tuple[Sale, bool]) -> None:
        """A channel decides by its copy alone; only then is the real stock checked."""
        sale, first = wish
        copy = self._copy[sale.channel]
        short = [line for line in sale.lines if copy.get((line.sku, line.location), 0) < line.quantity]
        if short:
            self._refuse(short)
            if first and sale.comes_back_after_s:
                self._push(now + sale.comes_back_after_s, "sell", (sale, False))
                return
            if not sale.takes_rest:
                self._found.refused_orders += 1
                return
        there = ((line, min(line.quantity, copy.get((line.sku, line.location), 0))) for line in sale.lines)
        taken = [line._replace(quantity=units) for line, units in there if units > 0]
        if not taken:
            self._found.refused_orders += 1
            return
        if sum([self._take(now, sale, line) for line in taken]):
            self._found.cancelled_orders += 1

    def _refuse(self, short: list[Line]) -> None:
        there = [line for line in short if self._free.get((line.sku, line.location), 0) >= line.quantity]
        if len(there) == len(short):
            self._found.false_sold_outs += 1
        self._found.false_sold_out_units += sum(line.quantity for line in there)

    def _take(self, now: float, sale: Sale, line: Line) -> int:
        """Sells a line from the channel's copy and returns the units that were not in stock."""
        place = (line.sku, line.location)
        self._copy[sale.channel][place] -= line.quantity
        self._unreported[sale.channel][place] += line.quantity
        free = self._free[place]
        oversold = max(0, line.quantity - free)
        self._free[place] = max(0, free - line.quantity)
        self._found.units_sold += line.quantity - oversold
        if place == self._stream.flash_place:
            self._found.flash_sold += line.quantity - oversold
            self._found.flash_oversold += oversold
        if oversold:
            self._short.add(place)
            self._found.oversold_units += oversold
            by_channel = self._found.oversold_by_channel
            by_channel[sale.channel] = by_channel.get(sale.channel, 0) + oversold
            self._found.series.append((now, self._found.oversold_units))
        return oversold

    def _came(self, now: float, fact: Returned | Adjusted) -> None:
        """The warehouse's books are updated at once; the channels learn of it with their next batch."""
        if isinstance(fact, Returned) and fact.damaged:
            return
        for sku, location, delta in fact.lines:
            place = (sku, location)
            self._free[place] = max(0, self._free.get(place, 0) + delta)
            self._book(place, delta)

    def _book(self, place: LevelKey, delta: int) -> None:
        self._centre[place] = max(0, self._centre.get(place, 0) + delta)
        for changed in self._changed.values():
            changed.add(place)

    def _report(self, now: float, channel: str) -> None:
        sold, self._unreported[channel] = self._unreported[channel], Counter()
        delay = self._copies.delay_s[channel]
        self._push(now + delay, "arrive", (channel, sold))
        if now < self._stream.seconds:
            self._push(now + self._copies.sync_s[channel], "report", channel)

    def _arrive(self, now: float, batch: tuple[str, Counter[LevelKey]]) -> None:
        """The centre books a channel's sales and answers with every quantity that changed."""
        channel, sold = batch
        for place, units in sold.items():
            self._book(place, -units)
        changed, self._changed[channel] = self._changed[channel], set()
        quantities = {place: self._centre[place] for place in changed}
        self._push(now + self._copies.delay_s[channel], "update", (channel, quantities))

    def _update(self, now: float, batch: tuple[str, dict[LevelKey, int]]) -> None:
        channel, quantities = batch
        copy, unreported, buffer = self._copy[channel], self._unreported[channel], self._buffer(channel)
        for place, units in quantities.items():
            copy[place] = max(0, units - buffer - unreported[place])
