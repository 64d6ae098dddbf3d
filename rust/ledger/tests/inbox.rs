//! Messages of sources that cannot be applied when they come: parked, waiting, dead letters. The bytes of a message are the
//! number of its command in a list, as a caller would decode them.

mod harness;

use invengine_ledger::command::{Body, Context};
use invengine_ledger::event::StockKind::Received;
use invengine_ledger::inbox::{InboxLimits, WAIT_MS_MAX, Waited};
use invengine_ledger::stock_transfer::Remainder;
use invengine_ledger::{Command, EntityKind, Reason, Rejection, StockState};

use harness::answers::Outcome;
use harness::commands::{arrive, close, register, ship, stock, upsert};
use harness::shop::{PARKED, Shop, WAITING, leaked, received};

#[test]
fn messages_are_applied_in_their_order_whatever_the_order_in_which_they_come() {
    for order in [[1, 2, 3, 4], [4, 3, 2, 1], [2, 1, 4, 3], [3, 1, 4, 2], [2, 3, 4, 1]] {
        let mut shop = Shop::new();
        let mut next = 1;
        for (came, number) in order.into_iter().enumerate() {
            let reply = shop.send("wms", number, received(1 << number));
            let parked = number != next;
            assert_eq!(reply.clone().accepted() == PARKED, parked, "{order:?} {number}");
            while order[..=came].contains(&next) {
                next += 1;
            }
            assert_eq!(shop.mugs(), 10 + (1..next).map(|number| 1 << number).sum::<i64>(), "{order:?}");
        }
        assert_eq!(shop.kept(), [vec![], vec![], vec![]]);
    }
}

#[test]
fn a_parked_number_is_taken_once() {
    let mut shop = Shop::new();
    let first = shop.send("wms", 3, received(1));
    let again = shop.send("wms", 3, received(1));
    assert!(again.replayed() && again.clone().accepted() == first.accepted());
    assert_eq!(shop.send("wms", 3, received(2)).reason(), Some(Reason::SequenceConflict), "another body");
    let other = shop.send_as("other", "wms", 3, received(1));
    assert_eq!(other.reason(), Some(Reason::SequenceConflict), "another message");
    let plain = shop.harness.ask(&harness::authority::from("wms", 3, received(1)));
    assert_eq!(plain.reason(), Some(Reason::SequenceGap), "a command is not parked");
    assert_eq!(shop.kept()[0], [3]);
}

#[test]
fn a_message_known_under_another_number_is_answered_again_and_the_number_consumed() {
    let mut shop = Shop::new();
    shop.send_as("delivery", "wms", 1, received(5)).accepted();
    let reply = shop.send_as("delivery", "wms", 2, received(5));
    assert!(reply.replayed() && shop.mugs() == 15);
    assert_eq!(shop.send_as("delivery", "wms", 4, received(5)).accepted(), PARKED);
    shop.send("wms", 3, received(1)).accepted();
    assert_eq!((shop.mugs(), shop.kept()[0].len()), (16, 0), "it is known when its turn comes");
    assert_eq!(shop.harness.ledger.sources()[0].last, 4);
    let other = shop.send_as("delivery", "wms", 5, received(6));
    assert_eq!(other.reason(), Some(Reason::IdempotencyKeyReused));
    assert_eq!(shop.letters().len(), 1, "a message of another body under a used id is for people");
}

#[test]
fn a_refused_message_is_kept_and_does_not_hold_up_the_next_one() {
    let mut shop = Shop::new();
    let unknown = shop.send("wms", 1, stock("", Received, "jug", "wh-1", 1));
    assert_eq!(unknown.reason(), Some(Reason::UnknownSku));
    let invalid = Rejection::new(Reason::InvalidField).text("field", "lines").text("description", "1 to 1,000 of them");
    let invalid = Command { context: Context::default(), body: Body::Invalid(invalid) };
    assert_eq!(shop.send("wms", 2, invalid).fact("field"), Some("lines"));
    shop.send("wms", 3, received(1)).accepted();
    let reasons: Vec<Reason> = shop.letters().into_iter().map(|letter| letter.1).collect();
    assert_eq!(reasons, [Reason::UnknownSku, Reason::InvalidField]);
    let again = shop.send("wms", 1, stock("", Received, "jug", "wh-1", 1));
    assert_eq!((again.reason(), shop.letters().len()), (Some(Reason::UnknownSku), 2), "a repeat gets the same");
    let moved = shop.send_as("wms-1", "wms", 4, stock("", Received, "jug", "wh-1", 1));
    assert_eq!((moved.reason(), shop.letters().len()), (Some(Reason::UnknownSku), 2), "and under another number, too");
    assert_eq!(shop.harness.ledger.sources()[0].last, 4);
}

#[test]
fn a_message_waits_for_a_transfer_that_another_source_tells_later() {
    let mut shop = Shop::new();
    let arrival = || arrive("", "T1", &[("mug", 2, StockState::OnHand)]);
    assert_eq!(shop.send("erp", 1, arrival()).accepted(), WAITING);
    assert_eq!(shop.send("erp", 2, close("", "T1", Remainder::Lost)).accepted(), WAITING);
    assert_eq!(shop.send("erp", 3, arrive("", "T2", &[("mug", 1, StockState::OnHand)])).accepted(), WAITING);
    shop.send("erp", 4, received(1)).accepted();
    let again = shop.send("erp", 1, arrival());
    assert!(again.replayed() && again.accepted() == WAITING);
    let moved = shop.send_as("erp-1", "erp", 5, arrival());
    assert!(moved.replayed() && moved.accepted() == WAITING, "its number is consumed");
    let other = shop.send_as("erp-1", "erp", 6, arrive("", "T1", &[("mug", 3, StockState::OnHand)]));
    assert_eq!(other.reason(), Some(Reason::IdempotencyKeyReused));
    shop.send("wms", 1, ship("", "T1", ["wh-1", "wh-2"], &[("mug", 5)])).accepted();
    assert_eq!(shop.harness.level("mug", "wh-2").0, 2, "first in, first out: two arrived, the rest is lost");
    assert_eq!(shop.kept(), [vec![], vec![3], vec![6]]);
    assert!(shop.send("erp", 1, arrival()).replayed(), "what became of it is its outcome");
}

#[test]
fn what_waits_for_too_long_is_a_dead_letter() {
    let mut shop = Shop::new();
    shop.send("wms", 1, arrive("", "T1", &[("mug", 2, StockState::OnHand)])).accepted();
    let now_ms = shop.harness.now_ms;
    assert_eq!(shop.harness.ledger.overdue_waiting(now_ms + WAIT_MS_MAX - 1), None);
    shop.harness.wait(WAIT_MS_MAX);
    let overdue = shop.harness.ledger.overdue_waiting(shop.harness.now_ms).unwrap();
    let command = shop.command_of(&overdue.message);
    let place = overdue.waiting().unwrap();
    let ended = shop.harness.own(|ledger, now_ms, payload, bytes_max| {
        ledger.execute_waiting(&command, place, true, (now_ms, payload, bytes_max))
    });
    shop.check();
    assert_eq!((ended, shop.kept()), (Waited::Over, [vec![], vec![], vec![1]]));
    assert_eq!(shop.letters()[0].1, Reason::EntityNotFound);
    shop.harness.ask(&ship("ship", "T1", ["wh-1", "wh-2"], &[("mug", 5)])).accepted();
    let letter = shop.letters()[0].0;
    shop.redrive(letter, None, false).accepted();
    assert_eq!((shop.harness.level("mug", "wh-2").0, shop.letters().len()), (2, 0));
}

#[test]
fn a_dead_letter_is_applied_once_and_only_if_it_can_be() {
    let mut shop = Shop::new();
    shop.send("wms", 1, stock("", Received, "jug", "wh-1", 4));
    let letter = shop.letters()[0].0;
    let before = shop.harness.digest();
    assert_eq!(shop.redrive(letter, None, false).reason(), Some(Reason::UnknownSku));
    assert_eq!(shop.redrive(letter + 1, None, false).fact("kind"), Some("dead_letter"));
    assert_eq!(shop.harness.digest(), before);
    shop.harness.ask(&upsert("jug", EntityKind::Items, &["jug"])).accepted();
    let before = shop.harness.digest();
    shop.redrive(letter, None, true).accepted();
    assert_eq!((shop.harness.digest(), shop.letters().len()), (before, 1), "a dry run");
    shop.redrive(letter, None, false).accepted();
    assert_eq!((shop.harness.level("jug", "wh-1").0, shop.letters().len()), (4, 0));
    assert_eq!(shop.redrive(letter, None, false).reason(), Some(Reason::EntityNotFound));
    let again = shop.send("wms", 1, stock("", Received, "jug", "wh-1", 4));
    assert!(again.replayed() && shop.harness.level("jug", "wh-1").0 == 4, "its message has an outcome now");
}

#[test]
fn a_dead_letter_is_corrected_or_discarded() {
    let mut shop = Shop::new();
    for number in 1..=3 {
        shop.send("wms", number, stock("", Received, "jug", "wh-1", 4));
    }
    let letters: Vec<u64> = shop.letters().into_iter().map(|letter| letter.0).collect();
    shop.redrive(letters[0], Some(received(4)), false).accepted();
    assert_eq!((shop.mugs(), shop.letters().len()), (14, 2));
    let discard = |key, letters: &[u64]| {
        let body = Body::DiscardLetters { source: "wms", letters: letters.to_vec() };
        Command { context: Context { key, reason_code: "TEST", ..Context::default() }, body }
    };
    assert_eq!(shop.harness.ask(&discard("d1", &letters)).reason(), Some(Reason::EntityNotFound), "all or none");
    assert_eq!(shop.letters().len(), 2);
    assert_eq!(shop.harness.ask(&discard("d2", &letters[1..])).accepted(), Outcome::Done);
    assert!(shop.harness.ask(&discard("d2", &letters[1..])).replayed());
    shop.check();
    assert!(shop.letters().is_empty());
}

#[test]
fn missing_numbers_are_given_up_up_to_the_first_parked_message() {
    let skip = |key, epoch, through| {
        let body = Body::SkipGap { source: "wms", epoch, through };
        Command { context: Context { key, ..Context::default() }, body }
    };
    let mut shop = Shop::new();
    assert_eq!(shop.harness.ask(&skip("k0", 1, 3)).fact("field"), Some("through"), "nothing is missing");
    for number in [1, 4, 7] {
        shop.send("wms", number, received(1)).accepted();
    }
    // (epoch, through, reason)
    let refused = [
        (2, 3, Reason::StaleEpoch),
        (1, 1, Reason::SequenceConsumed),
        (1, 4, Reason::InvalidField),
        (1, 9, Reason::InvalidField),
    ];
    for (number, (epoch, through, reason)) in refused.into_iter().enumerate() {
        let reply = shop.harness.ask(&skip(leaked(format!("r{number}")), epoch, through));
        assert_eq!(reply.reason(), Some(reason), "{through}");
    }
    shop.harness.ask(&skip("k1", 1, 2)).accepted();
    assert_eq!((shop.mugs(), shop.kept()[0].clone()), (11, vec![4, 7]), "3 is missing still");
    shop.harness.ask(&skip("k2", 1, 3)).accepted();
    shop.drain();
    shop.check();
    assert_eq!((shop.mugs(), shop.kept()[0].clone()), (12, vec![7]));
    assert_eq!(shop.send("wms", 2, received(1)).reason(), Some(Reason::SequenceConsumed), "it comes too late");
    assert!(shop.send("wms", 1, received(1)).replayed(), "what was applied is recognised by its id");
}

#[test]
fn a_new_epoch_drops_what_is_parked_and_keeps_the_rest() {
    let mut shop = Shop::new();
    shop.send("wms", 1, stock("", Received, "jug", "wh-1", 1));
    shop.send("wms", 2, arrive("", "T1", &[("mug", 2, StockState::OnHand)])).accepted();
    shop.send("wms", 5, received(1)).accepted();
    shop.send("wms", 6, received(1)).accepted();
    shop.harness.ask(&register("wms-2", "wms")).accepted();
    shop.check();
    assert_eq!(shop.kept(), [vec![], vec![2], vec![1]]);
    assert_eq!(shop.send("wms", 7, received(1)).reason(), Some(Reason::StaleEpoch));
    shop.harness.ask(&ship("ship", "T1", ["wh-1", "wh-2"], &[("mug", 5)])).accepted();
    shop.drain();
    shop.check();
    assert_eq!(shop.harness.level("mug", "wh-2").0, 2, "it came, whatever its epoch");
}

#[test]
fn what_is_kept_is_bounded_by_source() {
    let limits = InboxLimits { held: 2, held_bytes: 100, letters: 1, letter_bytes: 100 };
    let mut shop = Shop::with_limits(limits);
    shop.send("wms", 2, received(1)).accepted();
    shop.send("wms", 4, received(1)).accepted();
    let full = shop.send("wms", 6, received(1));
    assert_eq!((full.reason(), full.fact("source")), (Some(Reason::Overloaded), Some("wms")));
    shop.send("erp", 2, received(1)).accepted();
    shop.send("wms", 1, stock("", Received, "jug", "wh-1", 1));
    assert_eq!(shop.kept()[0], [4, 2], "2 was applied");
    let full = shop.send("wms", 3, stock("", Received, "jug", "wh-1", 1));
    assert_eq!((full.reason(), full.fact("limit")), (Some(Reason::Overloaded), Some("dead letters")));
    assert_eq!(shop.harness.ledger.sources()[0].last, 2, "its number is not consumed");
    let letter = shop.letters()[0].0;
    shop.redrive(letter, Some(received(1)), false).accepted();
    shop.send("wms", 3, stock("", Received, "jug", "wh-1", 1));
    assert_eq!((shop.letters().len(), shop.harness.ledger.sources()[0].last), (1, 4));
}

#[test]
fn a_restart_finds_what_was_ready() {
    let mut shop = Shop::new();
    shop.send("wms", 2, received(1)).accepted();
    // Without the drain that follows a command.
    let first = harness::authority::from("wms", 1, received(1));
    shop.harness.ask(&first).accepted();
    shop.harness.restart();
    assert!(shop.harness.ledger.has_ready());
    shop.drain();
    shop.check();
    assert_eq!((shop.mugs(), shop.kept()[0].len()), (12, 0));
}

#[test]
fn a_used_number_of_another_message_is_a_conflict() {
    let mut shop = Shop::new();
    shop.send("wms", 1, received(1)).accepted();
    shop.send("wms", 2, stock("", Received, "jug", "wh-1", 1));
    shop.send("wms", 3, arrive("", "T1", &[("mug", 2, StockState::OnHand)])).accepted();
    let others =
        [received(1), stock("", Received, "jug", "wh-1", 1), arrive("", "T1", &[("mug", 2, StockState::OnHand)])];
    for (number, command) in (1..).zip(others) {
        let other = shop.send_as(leaked(format!("other-{number}")), "wms", number, command);
        assert_eq!(other.reason(), Some(Reason::SequenceConflict), "{number}: the same body, but another message");
    }
    let changed = shop.send("wms", 2, stock("", Received, "jug", "wh-1", 5));
    assert_eq!((changed.reason(), shop.letters().len()), (Some(Reason::IdempotencyKeyReused), 1), "nothing is kept");
}

#[test]
fn a_message_that_passes_on_one_of_an_unknown_source_holds_nothing_up() {
    let mut shop = Shop::new();
    let passed_on = harness::authority::passes_on(("ghost", 1, 1), received(1));
    assert_eq!(shop.send("wms", 1, passed_on).reason(), Some(Reason::InvalidField));
    shop.send("wms", 2, received(1)).accepted();
    assert_eq!((shop.letters().len(), shop.mugs()), (1, 11));
}
