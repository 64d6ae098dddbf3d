"""Creates what the stream needs: channels, locations, items and the stock before the first customer comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeVar

from invengine.client import Channel, Client, Item, Line, Location, Receipt
from invengine.simulate.promotion.answers import Answer, AnswerLog
from invengine.simulate.promotion.assumptions import CHANNELS
from invengine.simulate.promotion.sales import Stream

T = TypeVar("T")

BATCH = 1_000


def create_opening_state(client: Client, stream: Stream, log: AnswerLog, step: Callable[[int], None]) -> None:
    """Creates everything that the stream needs; `step` is called with the size of each step."""

    def record(kind: str, key: str, receipt: Receipt) -> None:
        log.write(Answer(kind, key, "", receipt.sequence))

    record("channels", "opening/channels", client.upsert_channels(map(Channel, CHANNELS), key="opening/channels"))
    places = client.upsert_locations(map(Location, stream.locations), key="opening/locations")
    record("locations", "opening/locations", places)
    items = [Item(sku, stream.names.get(sku, "")[:128]) for sku in stream.skus]
    for key, batch in _batches("opening/items", items):
        record("items", key, client.upsert_items(batch, key=key))
        step(len(batch))
    stock = [Line(*place, units) for place, units in sorted(stream.opening.items())]
    for key, lines in _batches("opening/stock", stock):
        record("receive", key, client.receive(lines, key=key, reference="opening").receipt)
        step(len(lines))


def steps_of(stream: Stream) -> int:
    """The sum of all steps."""
    return len(stream.skus) + len(stream.opening)


def _batches(name: str, things: Sequence[T]) -> list[tuple[str, list[T]]]:
    rest = iter(things)
    found: list[tuple[str, list[T]]] = []
    while batch := list(islice(rest, BATCH)):
        found.append((f"{name}-{len(found) + 1}", batch))
    return found
