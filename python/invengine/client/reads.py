"""Reads as values: the requests, and how to decode the answers. `methods` makes them methods of both clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from invengine.client import arguments, contract, decode, results
from invengine.client.times import put_time
from invengine.errors import InvalidArgument

if TYPE_CHECKING:
    from invengine.client.results import (
        Availabilities,
        Digest,
        HistoryLine,
        Hold,
        KnownOutcome,
        Level,
        PastLevel,
        Reservation,
        ServerDescription,
    )
    from invengine.positions import JournalPosition

T = TypeVar("T")


def only_named(name: str | None, field: str) -> str:
    """Checks a name to filter by; None selects all, and an empty name is refused since it would do so by mistake."""
    return "" if name is None else arguments.nonempty(name, field)


def checked_page_size(size: int) -> int:
    """Checks the number of entries of a page."""
    return arguments.positive(size, "page_size", "1,000")


QUERIES_MAX = 1000
"""The maximum number of queries of one GetAvailability."""

_RESERVATIONS = "/invengine.v1.ReservationService/"
_STOCK = "/invengine.v1.InventoryService/"
_AVAILABILITY = "/invengine.v1.AvailabilityService/GetAvailability"
_CATALOG = "/invengine.v1.CatalogService/"
_ADMIN = "/invengine.v1.AdminService/"
_JOURNAL = "/invengine.v1.JournalService/"
_STATE_AT = _JOURNAL + "GetStateAt"


class Read(Generic[T]):
    """One read and how to decode its answers: one for each request, in their order.

    `scoped`: the requests have no channel yet, and get that of the client that sends them.
    """

    __slots__ = ("answer", "decode", "method", "requests", "scoped", "timeout_s")

    def __init__(
        self,
        method: str,
        requests: Sequence[Any],
        answer: Any,
        decode: Callable[[list[Any]], T],
        timeout_s: float | None,
        *,
        scoped: bool = False,
    ) -> None:
        self.method = method
        self.requests = requests
        self.answer = answer
        self.decode = decode
        self.timeout_s = timeout_s
        self.scoped = scoped

    def payloads(self, channel: str) -> Iterator[bytes]:
        """The requests as a client of this channel sends them."""
        for request in self.requests:
            if self.scoped:
                request.channel = channel
            yield request.SerializeToString()

    def decoded(self, answers: Iterable[bytes]) -> T:
        """Decodes the answers."""
        return self.decode([self.answer.FromString(each) for each in answers])


def of_one_answer(
    method: str, request: Any, answer: Any, decode: Callable[[Any], T], timeout_s: float | None
) -> Read[T]:
    return Read(method, [request], answer, lambda answers: decode(answers[0]), timeout_s)


class Pages(Generic[T]):
    """A read with an answer in pages. `place`: the message that has the page token, if it is not the request."""

    __slots__ = ("place", "read")

    def __init__(self, read: Read[tuple[list[T], str]], place: Any = None) -> None:
        self.read = read
        self.place = read.requests[0] if place is None else place

    def at(self, page_token: str) -> Read[tuple[list[T], str]]:
        """Returns the read of the page after `page_token`."""
        self.place.page_token = page_token
        return self.read


def in_pages(method: str, request: Any, answer: Any, field: str, read: Callable[[Any], T]) -> Pages[T]:
    def page(message: Any) -> tuple[list[T], str]:
        return [read(each) for each in getattr(message, field)], message.next_page_token

    return Pages(of_one_answer(method, request, answer, page, None))


def _in_scope(read: Read[T], channel: str | None, source_id: str | None = None) -> Read[T]:
    """Returns the read for a channel, or the source instead; None for both means the channel of the client."""
    if channel is None and source_id is None:
        read.scoped = True
        return read
    if channel is not None and source_id is not None:
        raise InvalidArgument(
            "source_id", "a key belongs to a channel or to a source: give one of channel and source_id"
        )
    for request in read.requests:
        if channel is not None:
            request.channel = arguments.nonempty(channel, "channel")
        if source_id is not None:
            request.source_id = arguments.nonempty(source_id, "source_id")
    return read


def get_reservation(
    reservation_id: str | Hold | None = None,
    *,
    reservation_key: str | None = None,
    channel: str | None = None,
    source_id: str | None = None,
    timeout_s: float | None = None,
) -> Read[Reservation]:
    """Returns the current state of one reservation, by its id or by the key of its Reserve."""
    if (reservation_id is None) == (reservation_key is None):
        rule = "name the reservation by exactly one of reservation_id and reservation_key"
        raise InvalidArgument("reservation_id", rule)
    request = contract.reservation.GetReservationRequest()
    if reservation_key is not None:
        request.reservation_key = arguments.nonempty(reservation_key, "reservation_key")
    elif reservation_id is not None:
        token = reservation_id.reservation_id if isinstance(reservation_id, results.Hold) else reservation_id
        request.reservation_id = arguments.nonempty(token, "reservation_id")

    def decoded(answer: Any) -> Reservation:
        return decode.reservation_of(answer.reservation)

    method = _RESERVATIONS + "GetReservation"
    read = of_one_answer(method, request, contract.reservation.GetReservationResponse, decoded, timeout_s)
    return _in_scope(read, channel, source_id)


def list_reservations(
    *, order: str | None = None, holder: str | None = None, include_ended: bool = False, page_size: int = 1000
) -> Pages[Reservation]:
    """Lists reservations in the order they were created; fetches page after page."""
    request = contract.reservation.ListReservationsRequest(
        order_ref=only_named(order, "order"),
        holder=only_named(holder, "holder"),
        include_ended=arguments.flag(include_ended, "include_ended"),
        page_size=checked_page_size(page_size),
    )
    answer = contract.reservation.ListReservationsResponse
    return in_pages(_RESERVATIONS + "ListReservations", request, answer, "reservations", decode.reservation_of)


def get_outcome(
    key: str, *, channel: str | None = None, source_id: str | None = None, timeout_s: float | None = None
) -> Read[KnownOutcome]:
    """Returns the outcome of the command with this key."""
    request = contract.reservation.GetOutcomeRequest(idempotency_key=arguments.nonempty(key, "key"))
    method, answer = _RESERVATIONS + "GetOutcome", contract.reservation.GetOutcomeResponse
    return _in_scope(of_one_answer(method, request, answer, decode.known_outcome, timeout_s), channel, source_id)


def get_level(sku: str, location: str, *, timeout_s: float | None = None) -> Read[Level]:
    """The quantities of one item at one location."""
    request = contract.inventory.GetInventoryLevelRequest(
        sku=arguments.nonempty(sku, "sku"), location=arguments.nonempty(location, "location")
    )

    def decoded(answer: Any) -> Level:
        return decode.level_of(answer.level)

    return of_one_answer(
        _STOCK + "GetInventoryLevel", request, contract.inventory.GetInventoryLevelResponse, decoded, timeout_s
    )


def list_levels(*, sku: str | None = None, location: str | None = None, page_size: int = 1000) -> Pages[Level]:
    """Lists the levels of an item, of a location or all; fetches page after page."""
    request = contract.inventory.ListInventoryLevelsRequest(
        sku=only_named(sku, "sku"), location=only_named(location, "location"), page_size=checked_page_size(page_size)
    )
    answer = contract.inventory.ListInventoryLevelsResponse
    return in_pages(_STOCK + "ListInventoryLevels", request, answer, "levels", decode.level_of)


def get_level_at(
    sku: str, location: str, at: int | JournalPosition | datetime, *, timeout_s: float | None = None
) -> Read[PastLevel]:
    """The quantities that one item had at one location at a moment of the past, from the durable journal.

    It is what `get_level` would have returned then: an item that did not exist yet is UnknownName.
    """
    request = _state_at(at)
    request.level.sku = arguments.nonempty(sku, "sku")
    request.level.location = arguments.nonempty(location, "location")

    def decoded(answer: Any) -> PastLevel:
        level = answer.levels[0] if answer.levels else answer.levels.add()
        return decode.past_level(answer, level)

    return of_one_answer(_STATE_AT, request, contract.journal.GetStateAtResponse, decoded, timeout_s)


def list_levels_at(
    at: int | JournalPosition | datetime,
    *,
    sku: str | None = None,
    location: str | None = None,
    page_size: int = 1000,
) -> Pages[PastLevel]:
    """Lists the levels of an item, of a location or all, as they were at a moment; fetches page after page."""
    request = _state_at(at)
    request.levels.sku, request.levels.location = only_named(sku, "sku"), only_named(location, "location")
    request.levels.page_size = checked_page_size(page_size)

    def page(answer: Any) -> tuple[list[PastLevel], str]:
        return [decode.past_level(answer, level) for level in answer.levels], answer.next_page_token

    read = of_one_answer(_STATE_AT, request, contract.journal.GetStateAtResponse, page, None)
    return Pages(read, request.levels)


def list_history(sku: str, location: str, *, page_size: int = 100) -> Pages[HistoryLine]:
    """Lists what changed the quantities of one item at one location, newest first; fetches page after page.

    It is read from the durable journal and goes back as far as that is kept.
    """
    request = contract.journal.ListInventoryHistoryRequest(
        sku=arguments.nonempty(sku, "sku"),
        location=arguments.nonempty(location, "location"),
        page_size=checked_page_size(page_size),
    )

    def page(answer: Any) -> tuple[list[HistoryLine], str]:
        return [decode.history_line(line, answer.ledger) for line in answer.lines], answer.next_page_token

    method, answer = _JOURNAL + "ListInventoryHistory", contract.journal.ListInventoryHistoryResponse
    return Pages(of_one_answer(method, request, answer, page, None))


def _state_at(at: Any) -> Any:
    """Returns the request for a state, with its moment."""
    from invengine.positions import JournalPosition

    request = contract.journal.GetStateAtRequest()
    if isinstance(at, datetime):
        put_time(request.time, at, "at")
    elif isinstance(at, JournalPosition):
        named = request.position
        named.ledger, named.writer_epoch, named.sequence = at.ledger, at.writer_epoch, at.sequence
    else:
        rule = "the sequence of an event (int), a JournalPosition, or a datetime with a time zone"
        if isinstance(at, bool) or not hasattr(at, "__index__"):
            raise InvalidArgument("at", f"{rule}; got {at!r}")
        request.sequence = arguments.integer(at, "at")
    return request


def availability(sku: str, location: str | None = None, *, timeout_s: float | None = None) -> Read[int]:
    """Units that may be held now, at one location or at all of them together. Both must exist (UnknownName)."""
    query = (arguments.nonempty(sku, "sku"), only_named(location, "location") or None)

    def total(answers: list[Any]) -> int:
        return sum(int(each.available) for answer in answers for each in answer.availabilities)

    method, answer = _AVAILABILITY, contract.availability.GetAvailabilityResponse
    return Read(method, _availability([query], allow_unknown=False), answer, total, timeout_s, scoped=True)


def availabilities(
    queries: Iterable[tuple[str, str | None] | str], *, channel: str | None = None, timeout_s: float | None = None
) -> Read[Availabilities]:
    """Units that may be held now, for many (sku, location); a sku alone returns each of its levels.

    A query with a name that is not in the catalogue returns `available` None. The result has the position of the ledger
    at which it was read.
    """

    def joined(answers: list[Any]) -> Availabilities:
        # With several requests the position is the earliest of theirs.
        parts = [decode.availabilities(answer) for answer in answers]
        return results.Availabilities(
            [each for part in parts for each in part],
            min((part.sequence for part in parts), default=0),
            min((part.durable_sequence for part in parts), default=0),
        )

    requests, answer = _availability(queries, allow_unknown=True), contract.availability.GetAvailabilityResponse
    return _in_scope(Read(_AVAILABILITY, requests, answer, joined, timeout_s), channel)


def _availability(queries: Iterable[tuple[str, str | None] | str], *, allow_unknown: bool) -> list[Any]:
    """Returns the requests for many queries, with as many in each as one may have."""
    wanted = [_query(number, query) for number, query in enumerate(arguments.items_of(queries, "queries"))]
    return [
        contract.availability.GetAvailabilityRequest(
            queries=wanted[start : start + QUERIES_MAX], allow_unknown=allow_unknown
        )
        for start in range(0, len(wanted), QUERIES_MAX)
    ]


def _query(number: int, query: Any) -> Any:
    field = f"queries[{number}]"
    pair = (query, None) if isinstance(query, str) else query
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise InvalidArgument(field, f"a sku or (sku, location); got {query!r}")
    sku, location = pair
    return contract.availability.AvailabilityQuery(
        sku=arguments.nonempty(sku, f"{field}.sku"), location=only_named(location, f"{field}.location")
    )


def digest(*, timeout_s: float | None = None) -> Read[Digest]:
    """The digest of all ledger state at the newest durable position."""
    return of_one_answer(
        _JOURNAL + "GetDigest",
        contract.journal.GetDigestRequest(),
        contract.journal.GetDigestResponse,
        decode.digest_of,
        timeout_s,
    )


def server_info(*, timeout_s: float | None = None) -> Read[ServerDescription]:
    """Describes the server, its guarantees and its limits."""
    request, answer = contract.admin.GetServerInfoRequest(), contract.admin.GetServerInfoResponse
    return of_one_answer(_ADMIN + "GetServerInfo", request, answer, decode.server_description, timeout_s)


def create_snapshot(*, timeout_s: float | None = None) -> Read[int]:
    """Makes the server write a snapshot of the durable state, and returns its position once it is valid.

    A server without a durable journal refuses. If nothing happened since the last snapshot, that position is returned.
    """
    # Repeating it is safe, as with a read.
    request, answer = contract.admin.CreateSnapshotRequest(), contract.admin.CreateSnapshotResponse
    return of_one_answer(_ADMIN + "CreateSnapshot", request, answer, lambda answer: int(answer.sequence), timeout_s)
