//! Kept messages whose id, room or origin is not what it was when they came: none is lost, and none holds up another.

mod harness;

use invengine_ledger::command::{Body, SourcePosition, Target, TargetBy};
use invengine_ledger::event::StockKind::Received;
use invengine_ledger::inbox::{InboxLimits, WAIT_MS_MAX};
use invengine_ledger::{Command, Context, EntityKind, Reason, StockState};

use harness::answers::Outcome;
use harness::authority::from;
use harness::commands::{arrive, ship, stock, upsert};
use harness::shop::{PARKED, Shop, WAITING, received};

fn arrival(mugs: i64) -> Command<'static> {
    arrive("", "T1", &[("mug", mugs, StockState::OnHand)])
}

fn jugs() -> Command<'static> {
    stock("", Received, "jug", "wh-1", 1)
}

fn with_key(key: &'static str, command: Command<'static>) -> Command<'static> {
    Command { context: Context { key, ..command.context }, ..command }
}

fn tell_of_transfer(shop: &mut Shop) {
    shop.harness.ask(&ship("ship", "T1", ["wh-1", "wh-2"], &[("mug", 5)])).accepted();
    shop.drain();
    shop.check();
}

#[test]
fn the_id_of_a_message_that_waits_is_its_own() {
    let mut shop = Shop::new();
    assert_eq!(shop.send_as("it", "wms", 1, arrival(2)).accepted(), WAITING);
    let plain = from("wms", 2, with_key("it", received(3)));
    assert_eq!(shop.harness.ask(&plain).reason(), Some(Reason::IdempotencyKeyReused), "a plain command");
    let other = shop.send_as("it", "wms", 2, arrival(3));
    assert_eq!(other.reason(), Some(Reason::IdempotencyKeyReused));
    let letter = shop.letters()[0].0;
    assert_eq!(shop.redrive(letter, None, false).reason(), Some(Reason::IdempotencyKeyReused));
    let again = shop.send_as("it", "wms", 1, arrival(2));
    assert!(again.replayed() && again.accepted() == WAITING, "what its id was used for in vain changes nothing");
    tell_of_transfer(&mut shop);
    assert_eq!((shop.harness.level("mug", "wh-2").0, shop.kept()), (2, [vec![], vec![], vec![2]]));
    assert_eq!(shop.redrive(letter, None, false).reason(), Some(Reason::IdempotencyKeyReused));
    assert_eq!(shop.letters().len(), 1, "it was not applied, so it stays");
}

#[test]
fn every_number_of_a_message_that_waits_is_answered_alike() {
    let mut shop = Shop::new();
    for number in [1, 2, 1, 2] {
        assert_eq!(shop.send_as("it", "wms", number, arrival(2)).accepted(), WAITING, "{number}");
    }
    tell_of_transfer(&mut shop);
    for number in [1, 2, 3] {
        assert!(shop.send_as("it", "wms", number, arrival(2)).replayed());
    }
    assert_eq!(shop.harness.level("mug", "wh-2").0, 2);
}

#[test]
fn a_message_that_waits_under_a_cancelled_id_is_a_dead_letter() {
    let mut shop = Shop::new();
    shop.send_as("it", "wms", 1, arrival(2)).accepted();
    let target = Target { by: TargetBy::Key("it"), lines: Vec::new(), expected_version: 0 };
    let context = Context { key: "cancel", ..Context::default() };
    let cancel = from("wms", 2, Command { context, body: Body::Release(target) });
    assert_eq!(shop.harness.ask(&cancel).accepted(), Outcome::KeyCancelled);
    tell_of_transfer(&mut shop);
    assert_eq!(shop.letters(), [(shop.letters()[0].0, Reason::KeyCancelled)]);
    for number in [3, 4] {
        let again = shop.send_as("it", "wms", number, arrival(2));
        assert_eq!(again.reason(), Some(Reason::KeyCancelled), "and so is each repeat");
    }
    assert_eq!((shop.letters().len(), shop.harness.level("mug", "wh-2").0), (3, 0));
}

#[test]
fn a_message_refused_as_a_plain_command_before_is_a_dead_letter() {
    let mut shop = Shop::new();
    let mut plain = from("wms", 1, with_key("it", jugs()));
    plain.context.remember_refusal = true;
    assert_eq!(shop.harness.ask(&plain).reason(), Some(Reason::UnknownSku));
    let message = shop.send_as("it", "wms", 2, jugs());
    assert_eq!((message.reason(), shop.letters().len()), (Some(Reason::UnknownSku), 1));
    shop.send_as("it", "wms", 3, jugs());
    assert_eq!(shop.letters().len(), 1, "one is enough");
}

#[test]
fn a_dry_run_shows_no_effect_of_another_command() {
    let mut shop = Shop::new();
    shop.send("wms", 1, jugs());
    shop.harness.ask(&upsert("jug", EntityKind::Items, &["jug"])).accepted();
    shop.harness.ask(&stock("other", Received, "mug", "wh-1", 1)).accepted();
    let letter = shop.letters()[0].0;
    assert_eq!(shop.redrive(letter, None, true).accepted(), Outcome::Done);
}

#[test]
fn a_message_that_passes_on_one_of_an_unknown_source_does_not_hold_up_the_next() {
    let mut shop = Shop::new();
    let mut passed_on = received(1);
    passed_on.context.origin = Some(SourcePosition { id: "nobody", epoch: 1, sequence: 1 });
    let reply = shop.send("wms", 1, passed_on);
    assert_eq!(reply.fact("field"), Some("context.origin.source_id"));
    shop.send("wms", 2, received(1)).accepted();
    assert_eq!((shop.letters().len(), shop.mugs()), (1, 11));
}

#[test]
fn a_parked_message_that_has_to_wait_needs_no_room_of_its_own() {
    let limits = InboxLimits { held: 1, ..InboxLimits::default() };
    let mut shop = Shop::with_limits(limits);
    assert_eq!(shop.send("wms", 2, arrival(2)).accepted(), PARKED);
    shop.send("wms", 1, received(1)).accepted();
    assert_eq!(shop.kept(), [vec![], vec![2], vec![]]);
    let limits = InboxLimits { held: 0, letters: 0, ..InboxLimits::default() };
    let mut shop = Shop::with_limits(limits);
    for (number, command) in [(2, received(1)), (1, arrival(2)), (1, jugs())] {
        assert_eq!(shop.send("wms", number, command).reason(), Some(Reason::Overloaded), "not even the first one");
    }
}

#[test]
fn full_dead_letters_of_one_source_hold_up_nobody() {
    let mut shop = Shop::with_limits(InboxLimits { letters: 1, ..InboxLimits::default() });
    shop.send("wms", 1, jugs());
    shop.send("wms", 2, arrival(1)).accepted();
    shop.send("wms", 3, arrive("", "T2", &[("mug", 1, StockState::OnHand)])).accepted();
    shop.send("erp", 1, arrive("", "T3", &[("mug", 1, StockState::OnHand)])).accepted();
    shop.harness.wait(WAIT_MS_MAX);
    let overdue = shop.harness.ledger.overdue_waiting(shop.harness.now_ms).expect("one of the other source");
    assert_eq!(overdue.waiting().map(|place| place.0), Some(1));
    shop.harness.ask(&ship("ship", "T1", ["wh-1", "wh-2"], &[("mug", 1)])).accepted();
    let target = Target { by: TargetBy::Key("wms-2"), lines: Vec::new(), expected_version: 0 };
    let context = Context { key: "cancel", ..Context::default() };
    shop.harness.ask(&from("wms", 4, Command { context, body: Body::Release(target) })).accepted();
    shop.drain();
    assert_eq!(shop.kept()[1].len(), 3, "its id was cancelled, and there is no room for another dead letter");
    shop.redrive(shop.letters()[0].0, Some(received(1)), false).accepted();
    assert_eq!(shop.letters(), [(shop.letters()[0].0, Reason::KeyCancelled)], "there is room now");
}
