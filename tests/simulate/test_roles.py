"""What shoppers, stores and marketplaces do, with a fake sender."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from invengine.simulate.promotion import marketplaces, shoppers
from invengine.simulate.promotion.assumptions import Messages
from invengine.simulate.promotion.flash_batcher import FlashBatcher
from invengine.simulate.promotion.marketplaces import Marketplace
from invengine.simulate.promotion.sales import Behaviour, Line, Sale
from invengine.simulate.promotion.shoppers import Shoppers
from invengine.simulate.promotion.stores import Stores, uploads

from .fake_senders import FakeSender

CLOSE_S = 40_000.0
QUIET = Messages(duplicate_chance=0.0, cancel_overtakes_chance=0.0, confirm_overtakes_chance=0.0)


def sale(order: str = "o1", behaviour: Behaviour = Behaviour.PAYS, units: int = 1, at_s: float = 10.0) -> Sale:
    """A customer of one item."""
    line = Line("MUG", "store-1", units)
    return Sale(order, "app", at_s, (line,), 900.0, behaviour, 60.0, 600.0)


def shop(sender: FakeSender, *sales: Sale) -> Counter[str]:
    """Runs the shoppers and returns how their orders ended."""
    return sender.play(lambda: Shoppers(sender.as_sender(), CLOSE_S).serve(sales))


def sell(sender: FakeSender, messages: Messages, *sales: Sale) -> Counter[str]:
    """Lets a marketplace sell and returns how its orders ended."""
    return sender.play(lambda: Marketplace(sender.as_sender(), messages, CLOSE_S).serve(sales))


@pytest.mark.parametrize(
    ("behaviour", "end", "kinds"),
    [
        (Behaviour.PAYS, shoppers.FULFILLED, ["reserve", "allocate", "fulfill"]),
        (Behaviour.PAYS_LATE, shoppers.FULFILLED, ["reserve", "allocate", "fulfill"]),
        (Behaviour.CANCELS, shoppers.RELEASED, ["reserve", "release"]),
        (Behaviour.ABANDONS, shoppers.EXPIRED, ["reserve"]),
    ],
)
def test_every_behaviour_ends_its_hold(behaviour: Behaviour, end: str, kinds: list[str]) -> None:
    sender = FakeSender(stock=1)
    assert shop(sender, sale(behaviour=behaviour)) == {end: 1}
    assert [kind for kind, _ in sender.asked] == kinds


def test_a_hold_that_expired_before_its_customer_cancelled_was_no_broken_promise() -> None:
    sender = FakeSender(stock=1)
    sender.expired = True
    assert shop(sender, sale(behaviour=Behaviour.CANCELS)) == {shoppers.EXPIRED_BEFORE: 1}


def test_a_shopper_takes_what_is_there_comes_back_or_goes() -> None:
    sender = FakeSender(stock=3)
    wants_all, takes_rest = sale("o1", units=4), replace(sale("o2", units=4, at_s=20.0), takes_rest=True)
    assert shop(sender, wants_all, takes_rest) == {shoppers.REFUSED: 1, shoppers.FULFILLED: 1}
    assert sender.tally.parts == 1
    shop(sender, replace(sale("o3"), comes_back_after_s=60.0))
    assert sender.tally.orders[shoppers.REFUSED] == 2
    assert ("reserve", "o3/reserve-again") in sender.asked


def test_a_double_click_is_the_same_command_twice() -> None:
    sender = FakeSender(stock=5)
    assert shop(sender, replace(sale(), double_click=True)) == {shoppers.FULFILLED: 1}
    assert sender.asked.count(("reserve", "o1/reserve")) == 2
    assert sender.stock == 4


def flash_callers(sender: FakeSender, *sales: Sale) -> Counter[str]:
    """Sends callers of a flash sale through the batcher and returns how their orders ended."""
    return sender.play(lambda: FlashBatcher(sender.as_sender(), Shoppers(sender.as_sender(), CLOSE_S)).serve(sales))


def test_callers_that_connect_together_are_served_together() -> None:
    sender = FakeSender(stock=3)
    orders = flash_callers(sender, *(sale(f"o{number}", at_s=10.0) for number in range(1_500)))
    assert orders == {shoppers.FULFILLED: 3, shoppers.REFUSED_FLASH: 1_497}
    assert sender.batches == [1_000, 500]
    assert len([kind for kind, _ in sender.asked if kind == "reserve"]) == 1_500


def test_a_second_click_in_a_flash_sale_is_the_same_command() -> None:
    sender = FakeSender(stock=5)
    assert flash_callers(sender, replace(sale(), double_click=True)) == {shoppers.FULFILLED: 1}
    assert sender.asked.count(("reserve", "o1/reserve")) == 2
    assert sender.stock == 4


def test_a_caller_refused_in_a_flash_sale_may_come_back_once() -> None:
    sender = FakeSender(stock=0)
    assert flash_callers(sender, replace(sale(), comes_back_after_s=60.0)) == {shoppers.REFUSED_FLASH: 1}
    assert [key for _, key in sender.asked] == ["o1/reserve", "o1/reserve-again"]


def test_tills_upload_every_fifteen_minutes() -> None:
    sales = [sale(f"o{at_s}", at_s=float(at_s)) for at_s in (1, 899, 900, 5_000)]
    found = [(at_s, [each.order for each in batch]) for at_s, batch in uploads(sales, 900.0)]
    assert found == [(900.0, ["o1", "o899"]), (1800.0, ["o900"]), (5400.0, ["o5000"])]


def test_a_store_reports_its_sales_in_two_batches_and_keeps_what_was_short() -> None:
    sender = FakeSender(stock=3)
    sales = [sale("o1", units=2), sale("o2", units=2), sale("o3", units=1)]
    sender.play(lambda: Stores(sender.as_sender(), 900.0).serve(sales))
    assert sender.batches == [3, 4]
    assert sender.tally.orders == {shoppers.FULFILLED: 2, shoppers.REFUSED: 1}
    assert sender.tally.parts == 1
    assert [(short.units, short.sold_before) for short in sender.tally.short] == [(1, 3), (1, 3)]


def test_a_marketplace_confirms_and_fulfils() -> None:
    sender = FakeSender(stock=1)
    assert sell(sender, QUIET, sale()) == {shoppers.FULFILLED: 1}
    assert sender.asked == [("reserve", "o1/reserve"), ("allocate", "o1/allocate"), ("fulfill", "o1/fulfill")]


def test_duplicates_carry_the_same_key() -> None:
    sender = FakeSender(stock=5)
    assert sell(sender, replace(QUIET, duplicate_chance=1.0), sale()) == {shoppers.FULFILLED: 1}
    assert set(Counter(sender.asked).values()) == {2}
    assert sender.stock == 4


def test_a_cancellation_that_overtakes_its_order_wins() -> None:
    sender = FakeSender(stock=1)
    orders = sell(sender, replace(QUIET, cancel_overtakes_chance=1.0), sale(behaviour=Behaviour.CANCELS))
    assert orders == {marketplaces.OVERTAKEN: 1}
    assert [kind for kind, _ in sender.asked] == ["release", "reserve"]
    assert sender.stock == 1


def test_a_confirmation_that_overtakes_its_order_is_tried_again_under_a_new_key() -> None:
    sender = FakeSender(stock=1)
    assert sell(sender, replace(QUIET, confirm_overtakes_chance=1.0), sale()) == {shoppers.FULFILLED: 1}
    keys = [key for kind, key in sender.asked if kind == "allocate"]
    assert len(keys) == len(set(keys)) > 1


def test_a_refused_order_is_not_confirmed() -> None:
    sender = FakeSender(stock=0)
    assert sell(sender, QUIET, sale()) == {shoppers.REFUSED: 1}
    assert [kind for kind, _ in sender.asked] == ["reserve"]


@pytest.mark.parametrize("stock", [0, 3, 7, 100])
def test_every_order_ends_once_whatever_it_took(stock: int) -> None:
    """An order that took what was there ends like any other: it is not counted a second time."""
    courses = list(Behaviour)
    wishes = [sale(f"w{n}", courses[n % 4], 1 + n % 4, 10.0 + n) for n in range(24)]
    live = [replace(wish, takes_rest=n % 2 == 0, comes_back_after_s=n % 3 * 60.0) for n, wish in enumerate(wishes)]
    sender = FakeSender(stock)
    assert sum(shop(sender, *live).values()) == len(live)
    tills = FakeSender(stock)
    sold = [sale(f"s{n}", Behaviour.PAYS, 1 + n % 4, 10.0 + n) for n in range(24)]
    assert sum(tills.play(lambda: Stores(tills.as_sender(), 900.0).serve(sold)).values()) == len(sold)
    market = FakeSender(stock)
    orders = [sale(f"m{n}", courses[n % 4], 1, 10.0 + n) for n in range(24)]
    assert sum(sell(market, Messages(), *orders).values()) == len(orders)
    gate = FakeSender(stock)
    callers = [replace(sale(f"f{n}", courses[n % 4]), double_click=n % 2 == 0) for n in range(24)]
    assert sum(flash_callers(gate, *callers).values()) == len(callers)
