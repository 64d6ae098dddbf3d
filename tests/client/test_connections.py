"""Errors state whether anything was sent, independently of their text, and a client refuses a fork or another loop."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import grpc
import pytest
from scripted_peer import RESERVE, Peer, Refusal, in_turn, late, reserve_answer

from invengine import errors
from invengine.client import AsyncClient, Client
from invengine.errors import InvengineError

LINES = [("mug", "wh-1", 2)]
BAD_TARGETS = [
    "",
    " ",
    "localhost",
    ":7411",
    "localhost:",
    "http://localhost:7411",
    "https://localhost:7411/",
    "redis://localhost:7411",
    "localhost:7411/path",
    "user@localhost:7411",
    "localhost:0",
    "localhost:99999",
    "localhost:-1",
    "localhost:٧٤١١",
    "localhost: 7411",
    "local host:7411",
    "localhost:7411\n",
    "::1:7411",
    "unix:",
    "dns:///",
    "dns:///localhost",
    None,
    7411,
]


@pytest.fixture
def silent() -> Iterator[str]:
    """A target that accepts connections and never speaks HTTP/2."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def failure(target: str, ask: Callable[[Any], Any], *, asynchronous: bool, **more: Any) -> InvengineError:
    """What asking one client once raises."""

    async def main() -> Any:
        async with AsyncClient(target, **more) as client:
            found = ask(client)
            return [each async for each in found] if inspect.isasyncgen(found) else await found

    def blocking() -> Any:
        with Client(target, **more) as client:
            found = ask(client)
            return list(found) if inspect.isgenerator(found) else found

    with pytest.raises(InvengineError) as caught:
        asyncio.run(main()) if asynchronous else blocking()
    return caught.value


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("target", BAD_TARGETS)
def test_a_target_that_names_no_server_is_refused_before_anything_is_sent(kind: type, target: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="target") as caught:
        kind(target)
    assert isinstance(caught.value, ValueError)
    assert caught.value.violations[0].field == "target"
    assert not caught.value.outcome_unknown


@pytest.mark.parametrize(
    "target",
    ["localhost:7411", "[::1]:7411", "10.0.0.1:1", "unix:/run/x.sock", "unix:x.sock", "unix:///run/x", "dns:///a:7411"],
)
def test_a_target_that_names_a_server_is_accepted(target: str) -> None:
    Client(target).close()


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("more", [{}, {"batching": False}])
@pytest.mark.parametrize("target", ["no-such-host.invalid:7411", "127.0.0.1:1", "unix:/no/such/socket", "silent"])
def test_without_a_connection_nothing_was_sent_and_nothing_is_unknown(
    target: str, more: dict[str, Any], asynchronous: bool, silent: str
) -> None:
    if more and not asynchronous:
        more = {}
    address = silent if target == "silent" else target
    error = failure(address, lambda client: client.reserve(LINES), asynchronous=asynchronous, timeout_s=0.4, **more)
    assert type(error) in (errors.Unreachable, errors.DeadlineExceeded)
    assert not error.outcome_unknown
    if target != "silent":
        assert type(error) is errors.Unreachable
        assert address in str(error)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_server_that_stopped_while_the_client_was_idle_is_unreachable(peer: Peer, asynchronous: bool) -> None:
    peer.behaviours[RESERVE] = in_turn(reserve_answer())

    async def main() -> Any:
        async with AsyncClient(peer.target, batching=False) as client:
            await client.reserve(LINES)
            peer.stop()
            await asyncio.sleep(0.1)
            await client.reserve(LINES, timeout_s=1.0)

    def blocking() -> Any:
        with Client(peer.target) as client:
            client.reserve(LINES)
            peer.stop()
            time.sleep(0.1)
            client.reserve(LINES, timeout_s=1.0)

    with pytest.raises(errors.Unreachable) as caught:
        asyncio.run(main()) if asynchronous else blocking()
    assert not caught.value.outcome_unknown


@pytest.mark.parametrize("words", ["failed to connect to all addresses", "DNS resolution failed for x"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_no_message_of_a_status_makes_a_sent_command_unsent(peer: Peer, words: str, asynchronous: bool) -> None:
    peer.behaviours[RESERVE] = in_turn(Refusal(grpc.StatusCode.UNAVAILABLE, words=words))
    error = failure(
        peer.target,
        lambda client: client.reserve(LINES, key="k"),
        asynchronous=asynchronous,
        timeout_s=0.7,
        **({"batching": False} if asynchronous else {}),
    )
    assert isinstance(error, errors.OutcomeUnknown)
    assert error.key == "k"


READS: dict[str, Callable[[Any], Any]] = {
    "get_reservation": lambda client: client.get_reservation("r-1"),
    "list_reservations": lambda client: client.list_reservations(),
    "get_outcome": lambda client: client.get_outcome("k-1"),
    "get_level": lambda client: client.get_level("mug", "wh-1"),
    "list_levels": lambda client: client.list_levels(),
    "get_level_at": lambda client: client.get_level_at("mug", "wh-1", 7),
    "list_levels_at": lambda client: client.list_levels_at(7),
    "list_history": lambda client: client.list_history("mug", "wh-1"),
    "availability": lambda client: client.availability("mug"),
    "availabilities": lambda client: client.availabilities(["mug"]),
    "get_item": lambda client: client.get_item("mug"),
    "list_items": lambda client: client.list_items(),
    "get_location": lambda client: client.get_location("wh-1"),
    "list_locations": lambda client: client.list_locations(),
    "get_channel": lambda client: client.get_channel("app"),
    "list_channels": lambda client: client.list_channels(),
    "get_location_group": lambda client: client.get_location_group("west"),
    "list_location_groups": lambda client: client.list_location_groups(),
    "get_stock_transfer": lambda client: client.get_stock_transfer("tr-1"),
    "list_stock_transfers": lambda client: client.list_stock_transfers(),
    "get_consumer": lambda client: client.get_consumer("feed"),
    "list_consumers": lambda client: client.list_consumers(),
    "get_source_profile": lambda client: client.get_source_profile("erp"),
    "list_source_profiles": lambda client: client.list_source_profiles(),
    "get_authority_rule": lambda client: client.get_authority_rule("r"),
    "list_authority_rules": lambda client: client.list_authority_rules(),
    "list_sources": lambda client: client.list_sources(),
    "list_claims": lambda client: client.list_claims(),
    "list_owners": lambda client: client.list_owners(),
    "list_parked": lambda client: client.list_parked("erp"),
    "list_waiting": lambda client: client.list_waiting("erp"),
    "list_dead_letters": lambda client: client.list_dead_letters("erp"),
    "read_events": lambda client: client.read_events(patience_s=0.1),
    "digest": lambda client: client.digest(),
    "server_info": lambda client: client.server_info(),
    "create_snapshot": lambda client: client.create_snapshot(),
}
COMMANDS = {
    "send", "submit", "submit_reserves", "reserve", "extend", "amend", "allocate", "release", "fulfill", "transfer",
    "receive", "return_", "adjust", "set_quantity", "count", "move_quantity", "upsert_items", "upsert_locations",
    "upsert_channels", "upsert_location_groups", "delete_items", "delete_locations", "delete_location_groups",
    "ship_transfer", "receive_transfer", "close_transfer", "delete_stock_transfers",
    "upsert_source_profiles", "delete_source_profiles", "upsert_authority_rules", "delete_authority_rules",
    "upsert_consumers", "delete_consumers", "consume", "register_source", "skip_gap",
    "redrive_dead_letters", "discard_dead_letters", "record_messages", "operation", "source", "close",
}  # fmt: skip


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_every_method_is_known_as_a_read_or_a_command(kind: type) -> None:
    public = {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}
    assert public == READS.keys() | COMMANDS


class Unanswering(dict[str, Any]):
    """Every method of the peer behaves the same."""

    def __init__(self, behaviour: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self.behaviour = behaviour

    def __missing__(self, method: str) -> Callable[[bytes], bytes]:
        return self.behaviour


def unknown(body: bytes) -> bytes:
    raise Refusal(grpc.StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN")


def broken(body: bytes) -> bytes:
    raise Refusal(grpc.StatusCode.INTERNAL)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("behaviour", [unknown, broken, late(0.25, b"")], ids=["OUTCOME_UNKNOWN", "broken", "late"])
@pytest.mark.parametrize("name", READS)
def test_a_read_never_has_an_unknown_outcome(
    peer: Peer, name: str, behaviour: Callable[[bytes], bytes], asynchronous: bool
) -> None:
    def reading(body: bytes) -> Iterator[bytes]:
        yield from ()
        behaviour(body)
        raise Refusal(grpc.StatusCode.UNAVAILABLE)

    peer.behaviours = Unanswering(behaviour)
    peer.reading = reading
    error = failure(peer.target, READS[name], asynchronous=asynchronous, timeout_s=0.12)
    assert not error.outcome_unknown
    assert not isinstance(error, errors.OutcomeUnknown)
    assert error.reason != "OUTCOME_UNKNOWN"


def test_an_asyncio_client_refuses_another_event_loop_before_it_sends(peer: Peer) -> None:
    peer.behaviours[RESERVE] = in_turn(reserve_answer())
    client = AsyncClient(peer.target)

    async def first() -> None:
        await client.reserve(LINES)

    async def events() -> None:
        async for _ in client.read_events():
            pass

    asyncio.run(first())
    sent = len(peer.requests)
    uses: list[Callable[[], Coroutine[Any, Any, Any]]] = [first, client.digest, events]
    for use in uses:
        with pytest.raises(errors.ClientClosed, match="another event loop") as caught:
            asyncio.run(use())
        assert not caught.value.outcome_unknown
    assert len(peer.requests) == sent


def in_fork(work: Callable[[], str]) -> str:
    """What a fork of this process answers; it sees everything and may use nothing."""
    out, into = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.write(into, work().encode())
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as answer:
        found = answer.read().decode()
    os.waitpid(process, 0)
    return found


def raised(use: Callable[[], Any]) -> str:
    try:
        use()
    except InvengineError as error:
        return f"{type(error).__name__} {error.outcome_unknown}: {error}"
    return "nothing was raised"


def test_a_client_refuses_to_be_used_in_a_fork(peer: Peer) -> None:
    peer.behaviours[RESERVE] = in_turn(reserve_answer())
    with Client(peer.target) as client:
        client.reserve(LINES)
        sent = len(peer.requests)
        uses: list[Callable[[], Any]] = [
            lambda: client.reserve(LINES),
            client.digest,
            lambda: next(client.read_events()),
            lambda: client.operation("order-1").reserve(LINES),
        ]
        for use in uses:
            assert in_fork(lambda use=use: raised(use)).startswith("ClientClosed False: this process is a fork")  # type: ignore[misc]
        assert in_fork(lambda: raised(client.close)) == "nothing was raised"
        assert len(peer.requests) == sent
        assert client.reserve(LINES).reservation_id
    unused = AsyncClient(peer.target)
    assert "is a fork" in in_fork(lambda: raised(lambda: asyncio.run(_once(unused))))


async def _once(client: AsyncClient) -> None:
    await client.reserve(LINES)
