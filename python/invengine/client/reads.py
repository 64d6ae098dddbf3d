"""Reads as values: what to ask, and how to understand the answer. Both clients send them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from invengine.client import arguments, decode
from invengine.client.results import (
    Availabilities,
    Channel,
    Digest,
    Hold,
    Item,
    KnownOutcome,
    Level,
    Location,
    Reservation,
    ServerDescription,
)
from invengine.errors import InvalidArgument
from invengine.v1 import admin_service_pb2 as admin
from invengine.v1 import availability_service_pb2 as availability_v1
from invengine.v1 import catalog_service_pb2 as catalog
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import journal_service_pb2 as journal
from invengine.v1 import reservation_service_pb2 as reservation

T = TypeVar("T")


def _only(name: str | None, field: str) -> str:
    """A name to choose by; None chooses all, an empty one would by mistake."""
    return "" if name is None else arguments.named(name, field)


def _page(size: int) -> int:
    return arguments.positive(size, "page_size", "1,000")


QUERIES_MAX = 1000
"""Most questions of one GetAvailability."""


@dataclass(frozen=True, slots=True, eq=False)
class Read(Generic[T]):
    """One question and how to understand its answer."""

    method: str
    request: Any
    answer: Any
    decode: Callable[[Any], T]


@dataclass(frozen=True, slots=True, eq=False)
class Pages(Generic[T]):
    """A question whose answer comes in pages. `request.page_token` is moved on by whoever asks."""

    read: Read[tuple[list[T], str]]

    def at(self, page_token: str) -> Read[tuple[list[T], str]]:
        """The question for the page after `page_token`."""
        self.read.request.page_token = page_token
        return self.read


def _pages(method: str, request: Any, answer: Any, field: str, read: Callable[[Any], T]) -> Pages[T]:
    def page(message: Any) -> tuple[list[T], str]:
        return [read(each) for each in getattr(message, field)], message.next_page_token

    return Pages(Read(method, request, answer, page))


def get_reservation(
    reservation_id: str | Hold | None, reservation_key: str | None, channel: str, source_id: str
) -> Read[Reservation]:
    """One reservation by its id or by the key of its Reserve."""
    if (reservation_id is None) == (reservation_key is None):
        rule = "name the reservation by exactly one of reservation_id and reservation_key"
        raise InvalidArgument("reservation_id", rule)
    request = reservation.GetReservationRequest(
        channel=arguments.text(channel, "channel"), source_id=arguments.text(source_id, "source_id")
    )
    if reservation_key is not None:
        request.reservation_key = arguments.named(reservation_key, "reservation_key")
    elif reservation_id is not None:
        token = reservation_id.reservation_id if isinstance(reservation_id, Hold) else reservation_id
        request.reservation_id = arguments.named(token, "reservation_id")
    return Read(
        "/invengine.v1.ReservationService/GetReservation",
        request,
        reservation.GetReservationResponse,
        lambda answer: decode.reservation_of(answer.reservation),
    )


def list_reservations(order: str | None, holder: str | None, include_ended: bool, page_size: int) -> Pages[Reservation]:
    """Reservations by order, by holder or all."""
    request = reservation.ListReservationsRequest(
        order_ref=_only(order, "order"),
        holder=_only(holder, "holder"),
        include_ended=arguments.flag(include_ended, "include_ended"),
        page_size=_page(page_size),
    )
    method = "/invengine.v1.ReservationService/ListReservations"
    answer = reservation.ListReservationsResponse
    return _pages(method, request, answer, "reservations", decode.reservation_of)


def get_outcome(key: str, channel: str, source_id: str) -> Read[KnownOutcome]:
    """What a key did."""
    request = reservation.GetOutcomeRequest(
        idempotency_key=arguments.named(key, "key"),
        channel=arguments.text(channel, "channel"),
        source_id=arguments.text(source_id, "source_id"),
    )
    method = "/invengine.v1.ReservationService/GetOutcome"
    return Read(method, request, reservation.GetOutcomeResponse, decode.known_outcome)


def get_level(sku: str, location: str) -> Read[Level]:
    """The quantities of one item at one location."""
    return Read(
        "/invengine.v1.InventoryService/GetInventoryLevel",
        inventory.GetInventoryLevelRequest(
            sku=arguments.named(sku, "sku"), location=arguments.named(location, "location")
        ),
        inventory.GetInventoryLevelResponse,
        lambda answer: decode.level_of(answer.level),
    )


def list_levels(sku: str | None, location: str | None, page_size: int) -> Pages[Level]:
    """Levels of an item, of a location or all."""
    request = inventory.ListInventoryLevelsRequest(
        sku=_only(sku, "sku"), location=_only(location, "location"), page_size=_page(page_size)
    )
    method = "/invengine.v1.InventoryService/ListInventoryLevels"
    return _pages(method, request, inventory.ListInventoryLevelsResponse, "levels", decode.level_of)


def availability(sku: str, location: str | None, channel: str) -> Read[int]:
    """Available units of one item, which must exist: at one location, or at all of them together."""
    place = (arguments.named(sku, "sku"), _only(location, "location") or None)
    (read,) = availabilities([place], channel, allow_unknown=False)

    def total(answer: Any) -> int:
        return sum(int(each.available) for each in answer.availabilities)

    return Read(read.method, read.request, read.answer, total)


def availabilities(
    queries: Iterable[tuple[str, str | None] | str], channel: str, *, allow_unknown: bool = True
) -> list[Read[Availabilities]]:
    """Available units of many items; more questions than one request takes become several reads.

    With `allow_unknown` a name that nobody knows is answered as unknown, else it fails all questions.
    """
    wanted = [_query(number, query) for number, query in enumerate(arguments.each(queries, "queries"))]
    return [
        Read(
            "/invengine.v1.AvailabilityService/GetAvailability",
            availability_v1.GetAvailabilityRequest(
                queries=wanted[start : start + QUERIES_MAX],
                channel=arguments.text(channel, "channel"),
                allow_unknown=allow_unknown,
            ),
            availability_v1.GetAvailabilityResponse,
            decode.availabilities,
        )
        for start in range(0, len(wanted), QUERIES_MAX)
    ]


def _query(number: int, query: Any) -> Any:
    field = f"queries[{number}]"
    place = (query, None) if isinstance(query, str) else query
    if not isinstance(place, tuple | list) or len(place) != 2:
        raise InvalidArgument(field, f"a sku or (sku, location); got {query!r}")
    sku, location = place
    return availability_v1.AvailabilityQuery(
        sku=arguments.named(sku, f"{field}.sku"), location=_only(location, f"{field}.location")
    )


def joined(parts: Iterable[Availabilities]) -> Availabilities:
    """The answers of several reads as one, at the position of the earliest."""
    found = list(parts)
    return Availabilities(
        [each for part in found for each in part],
        min((part.sequence for part in found), default=0),
        min((part.durable_sequence for part in found), default=0),
    )


def _item(item: Any) -> Item:
    return Item(item.sku, item.display_name, item.gtin)


def _location(location: Any) -> Location:
    return Location(location.location, location.display_name, location.gln)


def _channel(channel: Any) -> Channel:
    return Channel(channel.channel, channel.display_name)


_CATALOG = "/invengine.v1.CatalogService/"


def get_item(sku: str) -> Read[Item]:
    """One item."""
    request = catalog.GetItemRequest(sku=arguments.named(sku, "sku"))
    return Read(_CATALOG + "GetItem", request, catalog.GetItemResponse, lambda answer: _item(answer.item))


def list_items(page_size: int) -> Pages[Item]:
    """All items."""
    request = catalog.ListItemsRequest(page_size=_page(page_size))
    return _pages(_CATALOG + "ListItems", request, catalog.ListItemsResponse, "items", _item)


def get_location(location: str) -> Read[Location]:
    """One location."""
    request = catalog.GetLocationRequest(location=arguments.named(location, "location"))
    answer = catalog.GetLocationResponse
    return Read(_CATALOG + "GetLocation", request, answer, lambda answer: _location(answer.location))


def list_locations(page_size: int) -> Pages[Location]:
    """All locations."""
    request = catalog.ListLocationsRequest(page_size=_page(page_size))
    return _pages(_CATALOG + "ListLocations", request, catalog.ListLocationsResponse, "locations", _location)


def get_channel(channel: str) -> Read[Channel]:
    """One channel."""
    request = catalog.GetChannelRequest(channel=arguments.named(channel, "channel"))
    return Read(_CATALOG + "GetChannel", request, catalog.GetChannelResponse, lambda answer: _channel(answer.channel))


def list_channels(page_size: int) -> Pages[Channel]:
    """All channels."""
    request = catalog.ListChannelsRequest(page_size=_page(page_size))
    return _pages(_CATALOG + "ListChannels", request, catalog.ListChannelsResponse, "channels", _channel)


def digest() -> Read[Digest]:
    """The digest at the newest durable position."""
    request = journal.GetDigestRequest()
    return Read("/invengine.v1.JournalService/GetDigest", request, journal.GetDigestResponse, decode.digest_of)


def server_description() -> Read[ServerDescription]:
    """What the server is and what it promises."""
    request = admin.GetServerInfoRequest()
    method = "/invengine.v1.AdminService/GetServerInfo"
    return Read(method, request, admin.GetServerInfoResponse, decode.server_description)


def create_snapshot() -> Read[int]:
    """The position of a snapshot of what is durable now. Asking again does no harm, as with a question."""
    method = "/invengine.v1.AdminService/CreateSnapshot"
    return Read(
        method, admin.CreateSnapshotRequest(), admin.CreateSnapshotResponse, lambda answer: int(answer.sequence)
    )
