"""None, zero and empty never stand for one another, or for "all", in any method of either client."""

from __future__ import annotations

import asyncio
import decimal
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from every_call import CALLS, LINES, NOTHINGS, YEAR_S
from scripted_peer import SUBMIT, Peer, Silent, accept_all

from invengine.client import (
    AsyncClient,
    Channel,
    Client,
    CommandFields,
    Item,
    Location,
    LocationGroup,
    Position,
    StockState,
    commands,
)
from invengine.errors import DeadlineExceeded, InvalidArgument
from invengine.v1 import reservation_service_pb2 as reservation

OTHERS = {"send", "close"}
# Arguments for which None, zero or empty is a value of its own; the rule applies to everything else.
MEANT: dict[str, list[Any]] = {
    "ttl_s": [0],  # sent as 0: the server refuses a hold that ends at once
    "quantities": [0],  # sent as 0: the server refuses that row
    "from_sequence": [0],  # the beginning, as 1
    "sequence": [0],  # nothing was answered yet in this epoch
    "at": [0],  # before the first event
    "patience_s": [0],
    "store_interval_s": [0],  # after each event
    "availabilities.queries": [[], ()],  # asks nothing, is told nothing
    "submit.drafts": [[], ()],  # does nothing
    "record_messages.messages": [[], ()],  # does nothing
}


def use(client: Any, name: str, given: dict[str, Any]) -> Any:
    """Calls a method of either client and consumes its whole result."""
    found = getattr(client, name)(**given)
    if inspect.isgenerator(found):
        return list(found)

    async def all_of_it() -> Any:
        return [each async for each in found] if inspect.isasyncgen(found) else await found

    return asyncio.get_event_loop().run_until_complete(all_of_it()) if _waits(found) else found


def _waits(found: Any) -> bool:
    return inspect.isawaitable(found) or inspect.isasyncgen(found)


def parameters(name: str) -> list[tuple[str, Any]]:
    """The arguments of a method, with their defaults; the shared ones of commands among them."""
    found = inspect.signature(getattr(Client, name)).parameters
    own = [(each.name, each.default) for each in found.values() if each.kind is not each.VAR_KEYWORD]
    shared = list(CommandFields.__annotations__) if len(own) < len(found) else []
    if name == "submit_reserves":
        shared = [each for each in shared if each not in ("key", "source", "origin")]
    given = own + [(each, None) for each in shared]
    return [each for each in given if each[0] not in ("self", "timeout_s")]


def is_meant(name: str, parameter: str, value: Any) -> bool:
    return any(
        value == each and type(value) is type(each)
        for each in MEANT.get(f"{name}.{parameter}", MEANT.get(parameter, []))
    )


def test_the_table_has_every_method() -> None:
    public = {name for name, _ in inspect.getmembers(Client, callable) if not name.startswith("_")}
    assert public == CALLS.keys() | OTHERS


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_nothing_zero_and_empty_are_never_taken_for_one_another(peer: Peer, name: str, asynchronous: bool) -> None:
    peer.behaviours = Silent({SUBMIT: accept_all})
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    client: Any = AsyncClient(peer.target, batching=False) if asynchronous else Client(peer.target)
    try:
        use(client, name, CALLS[name])
        missing = peer.requests[-1:]
        for parameter, default in parameters(name):
            for value in NOTHINGS:
                before = len(peer.requests)
                given = CALLS[name] | {parameter: value}
                if is_meant(name, parameter, value):
                    use(client, name, given)
                elif value is None and default is None and parameter not in CALLS[name]:
                    use(client, name, given)
                    assert peer.requests[-1:] == missing, f"{parameter}=None is not the same as leaving it out"
                elif value is None and parameter in ("key", "issue_time", "keys") and name != "get_outcome":
                    use(client, name, given)
                else:
                    with pytest.raises(InvalidArgument) as caught:
                        use(client, name, given)
                    # Which of several ways of naming one thing is wrong, or which column is too short, is not certain.
                    together = ("reservation_id", "epoch", "keys")
                    assert caught.value.violations[0].field.startswith((parameter, *together))
                    assert len(peer.requests) == before, f"{parameter}={value!r} was sent"
    finally:
        if asynchronous:
            loop.run_until_complete(client.close())
        else:
            client.close()
        loop.close()
        asyncio.set_event_loop(None)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_key_is_looked_up_under_its_source_or_its_channel(peer: Peer, kind: type) -> None:
    """A server takes a channel for the scope if there is one, whatever the source is."""
    peer.behaviours = Silent()
    asked: dict[str, Any] = {
        "get_outcome": reservation.GetOutcomeRequest,
        "get_reservation": reservation.GetReservationRequest,
    }
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    client = kind(peer.target, channel="app")
    try:
        for name, message in asked.items():
            given = {"key": "k"} if name == "get_outcome" else {"reservation_key": "k"}
            for more, scope in (
                ({}, ("app", "")),
                ({"channel": "web"}, ("web", "")),
                ({"source_id": "erp"}, ("", "erp")),
            ):
                use(client, name, given | more)
                sent = message.FromString(peer.requests[-1][1])
                assert (sent.channel, sent.source_id) == scope
            with pytest.raises(InvalidArgument, match="source_id"):
                use(client, name, given | {"channel": "web", "source_id": "erp"})
    finally:
        _finished(client.close())
        loop.close()
        asyncio.set_event_loop(None)


def test_a_timeout_of_zero_sends_nothing(peer: Peer) -> None:
    with Client(peer.target) as client, pytest.raises(DeadlineExceeded):
        client.reserve(LINES, timeout_s=0)
    assert peer.requests == []


BAD_TIMEOUTS = [-1, -0.001, YEAR_S + 1, 9e9, 1e12, 10**30, float("inf"), float("-inf"), float("nan"), True, "1", [1]]


def ways_to_wait(client: Any, timeout_s: Any) -> Iterator[Callable[[], Any]]:
    """Every method of a client that takes a time, called with this one."""
    for name, given in CALLS.items():
        names = inspect.signature(getattr(Client, name)).parameters
        if "timeout_s" in names or any(each.kind is each.VAR_KEYWORD for each in names.values()):
            yield partial(use, client, name, given | {"timeout_s": timeout_s})
        if "patience_s" in names:
            yield partial(use, client, name, given | {"patience_s": timeout_s})
    yield lambda: _finished(client.send(commands.reserve(LINES), timeout_s))
    yield lambda: _finished(client.send(commands.reserve(LINES, timeout_s=timeout_s)))


def _finished(found: Any) -> Any:
    return asyncio.get_event_loop().run_until_complete(found) if _waits(found) else found


@pytest.mark.parametrize("timeout_s", BAD_TIMEOUTS)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_timeout_that_no_call_can_have_is_refused_before_anything_is_sent(
    peer: Peer, kind: type, timeout_s: Any
) -> None:
    with pytest.raises(InvalidArgument, match="timeout_s"):
        kind(peer.target, timeout_s=timeout_s)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    client = kind(peer.target)
    try:
        ways = list(ways_to_wait(client, timeout_s))
        assert len(ways) > 30
        for way in ways:
            with pytest.raises(InvalidArgument) as caught:
                way()
            assert caught.value.violations[0].field in ("timeout_s", "patience_s")
    finally:
        _finished(client.close())
        loop.close()
        asyncio.set_event_loop(None)
    assert peer.requests == []


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_the_longest_timeout_works_in_every_call(peer: Peer, kind: type) -> None:
    peer.behaviours = Silent({SUBMIT: accept_all})
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    more = {"batching": False} if kind is AsyncClient else {}
    client: Any = kind(peer.target, timeout_s=YEAR_S, **more)
    try:
        for way in ways_to_wait(client, YEAR_S):
            way()
    finally:
        _finished(client.close())
        loop.close()
        asyncio.set_event_loop(None)
    assert len(peer.requests) > 30


@pytest.mark.parametrize("ttl_s", [float("nan"), float("inf"), 1e17, -1e17, True, "1"])
def test_a_time_that_no_message_can_carry_is_refused(ttl_s: Any) -> None:
    assert refusal(commands.reserve, LINES, ttl_s=ttl_s)[0] == "ttl_s"
    assert refusal(commands.extend, "r-1", ttl_s=ttl_s)[0] == "ttl_s"
    with Client("127.0.0.1:1") as client:
        assert refusal(client.submit_reserves, ["mug"], "wh-1", ttl_s=ttl_s)[0] == "ttl_s"


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "ledger", ["\u00e4", "a\nb", "a\0b", "ma\u200bin", " main", "main ", "a\u00a0b", "\x7f", "x" * 129, b"main", 7]
)
def test_a_ledger_that_no_call_can_name_is_refused_when_the_client_is_made(kind: type, ledger: Any) -> None:
    field, text = refusal(kind, ledger=ledger)
    assert field == "ledger"
    assert "ledger" in text


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("ledger", ["main", "a b", "~!{}%", "x" * 128])
def test_any_other_name_of_a_ledger_is_sent_with_a_call(peer: Peer, kind: type, ledger: str) -> None:
    peer.behaviours = Silent()

    async def main() -> None:
        client: Any = kind(peer.target, ledger=ledger)
        found = client.server_info()
        if inspect.isawaitable(found):
            await found
        closed = client.close()
        if inspect.isawaitable(closed):
            await closed

    asyncio.run(main())
    assert peer.requests


# Python reads bytes that are not UTF-8, for instance in a file name, as halves of surrogate pairs.
NO_TEXT = "k\udcff"
ODD_GROUP = LocationGroup("west", (NO_TEXT,))
TEXTS: list[Any] = [
    NO_TEXT,
    [NO_TEXT],
    [(NO_TEXT, "wh-1", 1)],
    [("mug", NO_TEXT, 1)],
    [("mug", "wh-1", 1), ("m\u00fcg", NO_TEXT, 1)],
    [(NO_TEXT, 1)],
    [Item(NO_TEXT)],
    [Item("mug", NO_TEXT)],
    [Location(NO_TEXT)],
    [Channel(NO_TEXT)],
    [LocationGroup(NO_TEXT, ("wh-1",))],
    [ODD_GROUP],
    Position(NO_TEXT, 1, 1),
]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_a_text_without_a_form_in_utf_8_is_refused_wherever_it_is_given(
    peer: Peer, name: str, asynchronous: bool
) -> None:
    peer.behaviours = Silent({SUBMIT: accept_all})
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    client: Any = AsyncClient(peer.target, batching=False) if asynchronous else Client(peer.target)
    try:
        for parameter, _ in parameters(name):
            for value in TEXTS:
                if parameter == "state_file" or (name == "delete_location_groups" and value == [ODD_GROUP]):
                    continue  # A path has bytes, and of a group to delete only name and version are sent.
                with pytest.raises(InvalidArgument):
                    use(client, name, CALLS[name] | {parameter: value})
        assert peer.requests == []
    finally:
        _finished(client.close())
        loop.close()
        asyncio.set_event_loop(None)


@pytest.mark.parametrize("name", ["target", "channel", "actor", "ledger"])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_is_not_made_with_a_text_without_a_form_in_utf_8(kind: type, name: str) -> None:
    assert refusal(kind, **{name: NO_TEXT})[0] == name


PARTS = [commands.allocate, commands.release, commands.fulfill]
ABSOLUTE = [commands.set_quantity, commands.count]
ADDED = [commands.reserve, commands.receive, commands.return_, commands.adjust]
BAD_QUANTITIES = [None, "", "2", 2.0, 2.5, True, decimal.Decimal(2), [2], 2**63, -(2**63) - 1]


def refusal(make: Callable[..., Any], *positional: Any, **named: Any) -> tuple[str, str]:
    """Field and text of what a draft is refused for."""
    with pytest.raises(InvalidArgument) as caught:
        make(*positional, **named)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)
    return caught.value.violations[0].field, str(caught.value)


@pytest.mark.parametrize("value", BAD_QUANTITIES)
@pytest.mark.parametrize("make", [*ADDED, *ABSOLUTE, *PARTS])
def test_a_quantity_is_a_whole_number_and_its_line_is_named(make: Callable[..., Any], value: Any) -> None:
    lines = [("mug", "wh-1", 1), ("cup", "wh-1", value)]
    field, text = refusal(make, "r-1", lines=lines) if make in PARTS else refusal(make, lines)
    assert field == ("lines[1].delta" if make is commands.adjust else "lines[1].quantity")
    assert field in text


@pytest.mark.parametrize("make", ABSOLUTE)
@pytest.mark.parametrize("value", BAD_QUANTITIES)
def test_an_expected_quantity_is_never_dropped(make: Callable[..., Any], value: Any) -> None:
    assert refusal(make, [("mug", "wh-1", 1, value)])[0] == "lines[0].expected_quantity"


@pytest.mark.parametrize("make", ABSOLUTE)
def test_zero_is_a_quantity_where_stock_can_be_none(make: Callable[..., Any]) -> None:
    (line,) = make([("mug", "wh-1", 0, 0)]).request.lines
    assert (line.quantity, line.HasField("expected_quantity"), line.expected_quantity) == (0, True, 0)


def test_zero_removes_a_line_of_an_amended_hold() -> None:
    assert commands.amend([("mug", "wh-1", 0)], "r-1").request.lines[0].quantity == 0


@pytest.mark.parametrize("make", PARTS)
@pytest.mark.parametrize("units", [0, -1])
def test_zero_of_a_line_is_not_all_of_it(make: Callable[..., Any], units: int) -> None:
    field, text = refusal(make, "r-1", lines=[("mug", "wh-1", units)])
    assert field == "lines[0].quantity"
    assert "leave the quantity out, ('mug', 'wh-1')" in text


@pytest.mark.parametrize("make", PARTS)
@pytest.mark.parametrize("lines", [[], (), iter(())])
def test_no_line_is_not_the_whole_hold(make: Callable[..., Any], lines: Any) -> None:
    assert refusal(make, "r-1", lines=lines) == (
        "lines",
        "INVALID_FIELD: lines: at least one: leave `lines` out for the whole hold",
    )
    assert not make("r-1").request.target.lines
    assert not make("r-1", lines=None).request.target.lines


@pytest.mark.parametrize("line", ["mug", ("mug",), ("mug", "wh-1"), ("mug", "wh-1", 1, 2, 3), {"mug": 1}, None, 7])
def test_a_malformed_line_is_named(line: Any) -> None:
    assert refusal(commands.reserve, [("mug", "wh-1", 1), line])[0] == "lines[1]"


@pytest.mark.parametrize("lines", ["mug", {"mug": 1}, 7, None, b"mug"])
def test_lines_are_a_list(lines: Any) -> None:
    assert refusal(commands.reserve, lines)[0] == "lines"


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("value", [None, 7, b"mug"])
def test_a_name_in_a_line_is_a_text(place: int, value: Any) -> None:
    line: list[Any] = ["mug", "wh-1", 1]
    line[place] = value
    assert refusal(commands.reserve, [tuple(line)])[0] == f"lines[0].{('sku', 'location')[place]}"


class Number:
    """A whole number of another library."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def test_integers_of_other_libraries_are_accepted(peer: Peer) -> None:
    peer.behaviours = Silent()
    line: Any = ("mug", "wh-1", Number(3))
    assert commands.reserve([line]).request.lines[0].quantity == 3
    with Client(peer.target) as client:
        columns: list[Any] = [[Number(2)], Number(2)]
        for quantities in columns:
            client.submit_reserves(["mug"], "wh-1", quantities)
    assert len(peer.requests) == 2


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"skus": "mug"}, "skus"),
        ({"skus": ["mug", None]}, "skus[1]"),
        ({"locations": ["wh-1", 7]}, "locations[1]"),
        ({"locations": ["wh-1"]}, "locations"),
        ({"quantities": [1, None]}, "quantities[1]"),
        ({"quantities": [1, 2.0]}, "quantities[1]"),
        ({"quantities": [True, 1]}, "quantities[0]"),
        ({"quantities": True}, "quantities"),
        ({"quantities": [1]}, "quantities"),
        ({"keys": ["k-1", ""]}, "keys[1]"),
        ({"keys": ["k-1"]}, "keys"),
    ],
)
def test_a_column_names_its_row(peer: Peer, more: dict[str, Any], field: str) -> None:
    good: dict[str, Any] = {"skus": ["mug", "cup"], "locations": "wh-1", "quantities": 1}
    with Client(peer.target) as client, pytest.raises(InvalidArgument) as caught:
        client.submit_reserves(**(good | more))
    assert caught.value.violations[0].field == field
    assert peer.requests == []


def test_a_state_must_be_a_stock_state() -> None:
    for state in (0, 1, "", "damaged"):
        assert refusal(commands.receive, LINES, state=state)[0] == "state"
    assert commands.receive(LINES, state=StockState.RETURNED).request.lines[0].state == 3


@pytest.mark.parametrize("name", ["channel", "actor", "ledger"])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_is_not_made_with_an_empty_name(kind: type, name: str) -> None:
    with pytest.raises(InvalidArgument, match=name):
        kind(**{name: ""})


def test_a_source_is_a_position() -> None:
    assert refusal(commands.receive, LINES, source=("erp", 1, 1))[0] == "source"
    assert commands.receive(LINES, source=Position("erp", 1, 1)).request.context.source.sequence == 1
