//! Stock transfers: what each command does to the document, to both levels, and to the units of an item.

mod harness;

use invengine_ledger::StockState::{self, Damaged, InTransit, OnHand, QualityControl};
use invengine_ledger::event::StockKind::{Adjusted, Counted, Received};
use invengine_ledger::stock_transfer::{Remainder, TransferState};
use invengine_ledger::{EntityKind, Reason};

use harness::Harness;
use harness::commands::{allocate, arrive, by_key, close, delete, reserve, ship, stock, stock_lines};

const ROUTE: [&str; 2] = ["wh-1", "wh-2"];

/// Ten mugs at wh-1, and this many of them on their way to wh-2.
fn shipped(quantity: i64) -> Harness {
    let mut harness = Harness::with_mugs(10);
    harness.ask(&ship("ship", "tr-1", ROUTE, &[("mug", quantity)])).accepted();
    harness
}

/// Units of mugs in a state: sellable ones for on_hand.
fn mugs(harness: &Harness, location: &str, state: StockState) -> i64 {
    let ledger = &harness.ledger;
    let item = ledger.items().find("mug").expect("a known item");
    let place = ledger.locations().find(location).expect("a known location");
    ledger.find_level(item, place).map_or(0, |level| ledger.figures(level, harness.now_ms).stock.alone(state))
}

fn state(harness: &Harness) -> TransferState {
    harness.ledger.stock_transfer("tr-1").expect("it was shipped").state()
}

/// (shipped, received, lost, sent back) of the mugs.
fn line(harness: &Harness) -> (i64, i64, i64, i64) {
    let item = harness.ledger.items().find("mug").expect("a known item");
    let line = *harness.ledger.stock_transfer("tr-1").expect("it was shipped").line(item).expect("mugs");
    (line.shipped, line.received, line.lost, line.sent_back)
}

#[test]
fn units_leave_the_origin_and_are_in_transit_at_the_destination() {
    let harness = shipped(4);
    assert_eq!((mugs(&harness, "wh-1", OnHand), mugs(&harness, "wh-1", InTransit)), (6, 0));
    assert_eq!((mugs(&harness, "wh-2", OnHand), mugs(&harness, "wh-2", InTransit)), (0, 4));
    assert_eq!(harness.level("mug", "wh-2"), (0, 0, 0, 0, 0), "what is in transit is neither on hand nor available");
    assert_eq!((state(&harness), line(&harness)), (TransferState::Shipped, (4, 0, 0, 0)));
}

#[test]
fn it_arrives_in_parts_and_in_states() {
    let mut harness = shipped(4);
    harness.ask(&arrive("part", "tr-1", &[("mug", 1, OnHand), ("mug", 1, Damaged)])).accepted();
    assert_eq!((state(&harness), line(&harness)), (TransferState::PartlyReceived, (4, 2, 0, 0)));
    harness.ask(&arrive("rest", "tr-1", &[])).accepted();
    assert_eq!((state(&harness), line(&harness)), (TransferState::Received, (4, 4, 0, 0)));
    assert_eq!(
        (mugs(&harness, "wh-2", OnHand), mugs(&harness, "wh-2", Damaged), mugs(&harness, "wh-2", InTransit)),
        (3, 1, 0)
    );
    let again = harness.ask(&arrive("nothing", "tr-1", &[]));
    assert_eq!((again.reason(), again.fact("state")), (Some(Reason::TransferState), Some("RECEIVED")));
}

#[test]
fn a_surplus_and_another_item_are_accepted() {
    let mut harness = shipped(4);
    harness.ask(&arrive("over", "tr-1", &[("cup", 2, OnHand), ("mug", 6, OnHand)])).accepted();
    assert_eq!((state(&harness), line(&harness)), (TransferState::Received, (4, 6, 0, 0)));
    assert_eq!((mugs(&harness, "wh-2", OnHand), mugs(&harness, "wh-2", InTransit)), (6, 0));
    assert_eq!(harness.level("cup", "wh-2").0, 2);
    harness.restart();
}

#[test]
fn closing_loses_the_rest_or_sends_it_back_and_a_late_arrival_reverses_it() {
    for (remainder, closed, origin) in
        [(Remainder::Lost, TransferState::Lost, 6), (Remainder::SentBack, TransferState::Cancelled, 10)]
    {
        let mut harness = shipped(4);
        harness.ask(&close("close", "tr-1", remainder)).accepted();
        assert_eq!(
            (state(&harness), mugs(&harness, "wh-1", OnHand), mugs(&harness, "wh-2", InTransit)),
            (closed, origin, 0)
        );
        let again = harness.ask(&close("again", "tr-1", remainder));
        assert_eq!(again.reason(), Some(Reason::TransferState));
        harness.ask(&arrive("late", "tr-1", &[("mug", 3, QualityControl)])).accepted();
        assert_eq!((state(&harness), mugs(&harness, "wh-2", QualityControl)), (TransferState::ClosedShort, 3));
        assert_eq!(mugs(&harness, "wh-1", OnHand), origin - if remainder == Remainder::SentBack { 3 } else { 0 });
        harness.ask(&arrive("later", "tr-1", &[("mug", 1, OnHand)])).accepted();
        assert_eq!((state(&harness), line(&harness)), (TransferState::Received, (4, 4, 0, 0)));
        harness.restart();
    }
}

#[test]
fn a_late_arrival_takes_from_the_origin_no_more_than_is_there() {
    let mut harness = shipped(4);
    harness.ask(&close("cancel", "tr-1", Remainder::SentBack)).accepted();
    harness.ask(&stock("count", Counted, "mug", "wh-1", 1)).accepted();
    harness.ask(&arrive("late", "tr-1", &[("mug", 4, OnHand)])).accepted();
    assert_eq!((mugs(&harness, "wh-1", OnHand), mugs(&harness, "wh-2", OnHand)), (0, 4));
    assert_eq!(line(&harness), (4, 4, 0, 3), "three of the four are a surplus: nobody can say where they came from");
    harness.restart();
}

#[test]
fn what_is_not_there_cannot_leave_but_holds_keep_nothing() {
    let mut harness = Harness::with_mugs(5);
    harness.ask(&stock_lines("damage", Received, &[("mug", "wh-1", 3, Damaged)])).accepted();
    harness.ask(&reserve("hold", &[("mug", "wh-1", 5)])).accepted();
    harness.ask(&allocate("sell", by_key("hold"))).accepted();
    let short = harness.ask(&ship("too-many", "tr-1", ROUTE, &[("mug", 6)]));
    let facts = ["sku", "location", "requested", "available"].map(|name| short.fact(name).unwrap_or_default());
    assert_eq!((short.reason(), facts), (Some(Reason::InsufficientStock), ["mug", "wh-1", "6", "5"]));
    harness.ask(&ship("all", "tr-1", ROUTE, &[("mug", 5)])).accepted();
    assert_eq!(harness.level("mug", "wh-1"), (3, 0, 5, 0, 5), "what is held and not there shows as oversold");
}

#[test]
fn a_refused_command_changes_nothing() {
    let mut harness = shipped(4);
    let before = harness.digest();
    let too_many = [("mug", i64::MAX >> 10, OnHand), ("mug", i64::MAX >> 10, Damaged)];
    for (command, reason) in [
        (ship("twice", "tr-1", ROUTE, &[("mug", 1)]), Reason::TransferState),
        (ship("no-item", "tr-2", ROUTE, &[("pot", 1)]), Reason::UnknownSku),
        (ship("nowhere", "tr-2", ["wh-1", "moon"], &[("mug", 1)]), Reason::UnknownLocation),
        (ship("bad-name", " tr", ROUTE, &[("mug", 1)]), Reason::InvalidField),
        (ship("not-all", "tr-2", ROUTE, &[("cup", 1), ("mug", 1)]), Reason::InsufficientStock),
        (arrive("unknown", "tr-9", &[]), Reason::EntityNotFound),
        (arrive("no-such-item", "tr-1", &[("pot", 1, OnHand)]), Reason::UnknownSku),
        (arrive("too-many", "tr-1", &too_many), Reason::InvalidField),
        (close("never-shipped", "tr-9", Remainder::Lost), Reason::EntityNotFound),
        (delete("open", EntityKind::StockTransfers, "tr-1"), Reason::EntityInUse),
    ] {
        let reply = harness.ask(&command);
        assert_eq!(reply.reason(), Some(reason), "{command:?}: {reply:?}");
        assert_eq!(harness.digest(), before, "{command:?}");
    }
}

#[test]
fn a_deleted_transfer_leaves_the_stock_as_it_is_and_its_name_can_come_back() {
    let mut harness = shipped(4);
    harness.ask(&arrive("all", "tr-1", &[])).accepted();
    harness.ask(&delete("done", EntityKind::StockTransfers, "tr-1")).accepted();
    assert_eq!((harness.ledger.stock_transfer("tr-1"), mugs(&harness, "wh-2", OnHand)), (None, 4));
    harness.ask(&stock("spoil", Adjusted, "mug", "wh-1", -1)).accepted();
    harness.ask(&ship("again", "tr-1", ROUTE, &[("mug", 2)])).accepted();
    assert_eq!(harness.ledger.entities(EntityKind::StockTransfers).version("tr-1"), 4);
    harness.restart();
}
