"""Commands carry the arguments of the caller, and both clients send the same."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import assert_type

import pytest

from invengine.client import AsyncClient, Client, Hold, Item, Level, Position, Receipt, StockState, commands
from invengine.client.draft import new_key
from invengine.client.methods import AsyncCommands, Commands
from invengine.client.operation import Steps
from invengine.errors import DeadlineExceeded, InvalidArgument


def test_every_shared_field_is_sent() -> None:
    issued = datetime(2026, 11, 27, 9, 30, 0, 250_000, tzinfo=UTC)
    happened = datetime(2026, 11, 27, 11, 0, tzinfo=timezone(timedelta(hours=2)))
    draft = commands.reserve(
        [("mug", "wh-1", 2)],
        key="k-1",
        issue_time=issued,
        channel="app",
        source=Position("erp", 3, 9),
        order_ref="o-1",
        holder="h-1",
        event_time=happened,
        actor="alice",
        reason_code="r-1",
        reference="doc-1",
        causation="c-1",
    )
    context = draft.request.context
    assert (context.idempotency_key, context.channel, context.order_ref, context.holder) == ("k-1", "app", "o-1", "h-1")
    assert (context.actor, context.reason_code, context.reference, context.causation) == (
        "alice",
        "r-1",
        "doc-1",
        "c-1",
    )
    assert (context.source.source_id, context.source.epoch, context.source.sequence) == ("erp", 3, 9)
    assert context.issue_time.ToDatetime(tzinfo=UTC) == issued
    assert context.event_time.ToDatetime(tzinfo=UTC) == happened


def test_none_means_not_given() -> None:
    context = commands.reserve([("mug", "wh-1", 1)], key=None, channel=None, source=None).request.context
    assert not context.ListFields()


def test_an_unknown_argument_and_a_time_without_zone_are_refused() -> None:
    with pytest.raises(TypeError, match="ordr"):
        commands.reserve([("mug", "wh-1", 1)], ordr="o-1")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="time zone"):
        commands.reserve([("mug", "wh-1", 1)], issue_time=datetime(2026, 1, 1))


def test_a_ttl_may_be_a_fraction() -> None:
    ttl = commands.reserve([("mug", "wh-1", 1)], ttl_s=1.5).request.ttl
    assert (ttl.seconds, ttl.nanos) == (1, 500_000_000)
    assert not commands.reserve([("mug", "wh-1", 1)]).request.HasField("ttl")


def test_a_draft_keeps_its_key_and_issue_time() -> None:
    draft = commands.release(reservation_key="k-1")
    key = draft.seal(1_000_000_001, "", "app", "alice")
    before = draft.request.SerializeToString()
    assert key == draft.key
    assert len(key) == 32
    assert draft.seal(2_000_000_000, "", "web", "bob") == key
    assert draft.request.SerializeToString() == before
    assert draft.request.context.issue_time.nanos == 1


def test_keys_do_not_repeat() -> None:
    assert len({new_key() for _ in range(1000)}) == 1000


def test_a_numbered_message_gets_no_key() -> None:
    draft = commands.receive([("mug", "wh-1", 5)], source=Position("erp", 1, 1))
    assert draft.seal(1) == ""


@pytest.mark.parametrize("make", [commands.extend, commands.allocate, commands.release, commands.fulfill])
def test_a_hold_is_named_in_exactly_one_way(make: type[object]) -> None:
    hold = Hold("r-1", 1, 0, False, (), Receipt(1, 1, False))
    assert make("r-1").request.target.reservation_id == "r-1"  # type: ignore[attr-defined, call-arg]
    assert make(hold).request.target.reservation_id == "r-1"  # type: ignore[attr-defined, call-arg]
    assert make(reservation_key="k").request.target.reservation_key == "k"  # type: ignore[attr-defined, call-arg]
    assert make(order="o").request.target.order_ref == "o"  # type: ignore[attr-defined, call-arg]
    for wrong in ({}, {"reservation_key": "k", "order": "o"}):
        with pytest.raises(TypeError, match="exactly one"):
            make(**wrong)


def test_lines_of_a_hold_may_leave_out_the_quantity() -> None:
    lines = commands.fulfill("r-1", lines=[("mug", "wh-1"), ("cup", "wh-1", 2)], expected_version=4).request.target
    assert [(line.sku, line.quantity) for line in lines.lines] == [("mug", 0), ("cup", 2)]
    assert lines.expected_version == 4


def test_physical_commands_carry_state_and_expectation() -> None:
    received = commands.receive([("mug", "wh-1", 5)], state=StockState.DAMAGED).request
    assert [(line.quantity, line.state) for line in received.lines] == [(5, 2)]
    assert commands.adjust([("mug", "wh-1", -5)]).request.lines[0].delta == -5
    expected, open_ended = commands.set_quantity([("mug", "wh-1", 5, 0), ("cup", "wh-1", 1)]).request.lines
    assert expected.HasField("expected_quantity")
    assert not open_ended.HasField("expected_quantity")


def test_catalogue_entries_are_plain_values() -> None:
    item = commands.upsert_items([Item("mug", "A mug", "04012345678901")]).request.items[0]
    assert (item.sku, item.display_name, item.gtin) == ("mug", "A mug", "04012345678901")


def test_an_operation_numbers_its_steps() -> None:
    steps = Steps("order-1017")
    assert [steps.next_key("reserve"), steps.next_key("allocate")] == ["order-1017/1-reserve", "order-1017/2-allocate"]
    own = commands.release("r-1", key="mine")
    steps.give_key(own)
    assert own.key == "mine"
    third = commands.transfer("wh-2", "r-1")
    steps.give_key(third)
    assert third.key == "order-1017/3-transfer"
    with pytest.raises(ValueError, match="name"):
        Steps("")


def public(kind: type) -> dict[str, list[str]]:
    members = inspect.getmembers(kind, inspect.isfunction)
    return {name: list(inspect.signature(each).parameters) for name, each in members if not name.startswith("_")}


def test_a_method_has_the_signature_of_its_draft_and_its_types_on_both_surfaces() -> None:
    with Client("127.0.0.1:1") as client:
        # Checked by mypy: what is given, by its name, and what comes back. A wrong name is an error here as well.
        reserve, walk = client.reserve, client.list_levels
        with pytest.raises(DeadlineExceeded):
            assert_type(reserve([("mug", "wh-1", 1)], ttl_s=5, order_ref="o-1", timeout_s=0), Hold)
        assert_type(walk(sku="mug"), Iterator[Level])
        with pytest.raises(TypeError, match="ttl"):
            client.reserve([("mug", "wh-1", 1)], ttl=5)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="ordr"):
            client.reserve([("mug", "wh-1", 1)], ordr="o-1")  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            client.get_level("mug")  # type: ignore[call-arg]

    async def asynchronous() -> None:
        async with AsyncClient("127.0.0.1:1") as client:
            with pytest.raises(DeadlineExceeded):
                assert_type(await client.reserve([("mug", "wh-1", 1)], timeout_s=0), Hold)
            with pytest.raises(DeadlineExceeded):
                assert_type(await client.get_level("mug", "wh-1", timeout_s=0), Level)
            assert_type(client.list_levels(sku="mug"), AsyncIterator[Level])
            with pytest.raises(TypeError, match="ordr"):
                await client.reserve([("mug", "wh-1", 1)], ordr="o-1")  # type: ignore[call-arg]

    asyncio.run(asynchronous())
    assert list(inspect.signature(Client.reserve).parameters) == [
        "self", *inspect.signature(commands.reserve).parameters
    ]  # fmt: skip
    assert Client.reserve.__doc__ == AsyncClient.reserve.__doc__ == commands.reserve.__doc__


def test_a_draft_has_its_own_timeout_and_a_call_may_override_it() -> None:
    draft = commands.reserve([("mug", "wh-1", 1)], timeout_s=3)
    assert not draft.request.context.ListFields()
    assert (draft.time_s(None, 10), draft.time_s(1, 10), commands.release("r-1").time_s(None, 10)) == (3, 1, 10)
    with pytest.raises(InvalidArgument, match="timeout_s"):
        commands.reserve([("mug", "wh-1", 1)], timeout_s="3")  # type: ignore[arg-type]


def test_both_surfaces_offer_the_same() -> None:
    assert public(Commands) == public(AsyncCommands)
    blocking, asynchronous = public(Client), public(AsyncClient)
    asynchronous["source"].remove("window")
    assert blocking == asynchronous


def test_a_release_that_only_cancelled_a_key_warns_and_says_where_it_looked(caplog: pytest.LogCaptureFixture) -> None:
    kind = commands.release(reservation_key="k").kind
    answer = kind.answer(key_cancelled=True)
    answer.key_scope.channel = "web"
    with caplog.at_level("WARNING", "invengine.client"):
        assert kind.decode(answer).key_cancelled
        assert not kind.decode(kind.answer()).key_cancelled
    assert len(caplog.records) == 1
    assert "channel 'web'" in caplog.records[0].getMessage()
