//! Numbered messages: each once, in order, and a rejection consumes its number.

mod harness;

use invengine_ledger::command::SourcePosition;
use invengine_ledger::event::StockKind::Received;
use invengine_ledger::{Command, Reason, SOURCE_OUTCOMES_MAX};

use harness::Harness;
use harness::answers::{Outcome, Reply};
use harness::commands::{by_key, register, release, reserve, stock};

/// A message of the source erp that this many mugs were received.
fn message(epoch: u64, sequence: u64, mugs: i64) -> Command<'static> {
    numbered(stock("", Received, "mug", "wh-1", mugs), epoch, sequence)
}

fn numbered(mut command: Command<'_>, epoch: u64, sequence: u64) -> Command<'_> {
    command.context.source = Some(SourcePosition { id: "erp", epoch, sequence });
    command
}

fn registered() -> Harness {
    let mut harness = Harness::with_mugs(1);
    let reply = harness.ask(&register("epoch-1", "erp")).accepted();
    assert_eq!(reply, Outcome::Registered { epoch: 1, previous_epoch: 0, previous_sequence: 0 });
    harness
}

fn on_hand(harness: &Harness) -> i64 {
    harness.level("mug", "wh-1").0
}

// case: B01, B02, B03, B07
#[test]
fn each_number_once_and_in_order() {
    use Reason::{SequenceConflict, SequenceGap, StaleEpoch};
    let mut harness = registered();
    // (epoch, number, units, refusal, replayed)
    let rows = [
        (1, 2, 1, Some(SequenceGap), false),
        (1, 1, 1, None, false),
        (1, 1, 1, None, true),
        (1, 1, 2, Some(SequenceConflict), false),
        (1, 4, 8, Some(SequenceGap), false),
        (1, 2, 2, None, false),
        (1, 3, 4, None, false),
        (1, 4, 8, None, false),
        (1, 2, 2, None, true),
        (0, 5, 1, Some(StaleEpoch), false),
        (2, 5, 1, Some(StaleEpoch), false),
        (1, u64::MAX, 1, Some(SequenceGap), false),
    ];
    for (epoch, number, units, reason, replayed) in rows {
        let before = harness.digest();
        let reply = harness.ask(&message(epoch, number, units));
        assert_eq!((reply.reason(), reply.replayed()), (reason, replayed), "{epoch}/{number}");
        assert_eq!(harness.digest() == before, reason.is_some() || replayed, "{epoch}/{number}");
        match reason {
            Some(SequenceGap) => assert!(reply.fact("expected").is_some() && reply.fact("got").is_some()),
            Some(StaleEpoch) => assert_eq!(reply.fact("current"), Some("1")),
            Some(SequenceConflict) => assert_eq!(reply.fact("field"), Some("lines.quantity")),
            _ => {}
        }
    }
    assert_eq!(on_hand(&harness), 1 + 1 + 2 + 4 + 8);
    assert_eq!((harness.ledger.sources()[0].epoch, harness.ledger.sources()[0].last), (1, 4));
}

// case: B06, B07, B08
#[test]
fn a_new_epoch_fences_the_one_before() {
    let mut harness = registered();
    harness.ask(&message(1, 1, 1)).accepted();
    harness.ask(&message(1, 2, 1)).accepted();
    let reply = harness.ask(&register("epoch-2", "erp")).accepted();
    assert_eq!(reply, Outcome::Registered { epoch: 2, previous_epoch: 1, previous_sequence: 2 });
    for number in [1, 2, 3] {
        assert_eq!(harness.ask(&message(1, number, 1)).fact("current"), Some("2"), "even a repeat");
    }
    assert!(!harness.ask(&message(2, 1, 1)).replayed(), "numbers begin again");
    assert!(harness.ask(&register("epoch-2", "erp")).replayed(), "a repeated registration is no new epoch");
    assert_eq!(on_hand(&harness), 4);
}

// case: I03
#[test]
fn a_restored_ledger_issues_no_epoch_again_that_it_forgot() {
    let mut harness = registered();
    let mut restored = registered();
    let Outcome::Registered { epoch: forgotten, .. } = harness.ask(&register("epoch-2", "erp")).accepted() else {
        panic!()
    };
    restored.ledger.set_epoch(1_800_000_000);
    let reply = restored.ask(&register("epoch-3", "erp")).accepted();
    assert_eq!(reply, Outcome::Registered { epoch: 1_800_000_000, previous_epoch: 1, previous_sequence: 0 });
    assert_eq!(restored.ask(&message(forgotten, 1, 1)).reason(), Some(Reason::StaleEpoch));
    let reply = restored.ask(&register("epoch-4", "erp")).accepted();
    assert_eq!(
        reply,
        Outcome::Registered { epoch: 1_800_000_001, previous_epoch: 1_800_000_000, previous_sequence: 0 }
    );
}

#[test]
fn a_source_that_nobody_registered_is_unknown() {
    let mut harness = Harness::with_mugs(1);
    let reply = harness.ask(&message(1, 1, 1));
    assert_eq!((reply.reason(), reply.fact("source")), (Some(Reason::UnknownSource), Some("erp")));
}

// case: B14
#[test]
fn a_rejection_consumes_its_number() {
    let mut harness = registered();
    let rows: [(&str, Command<'static>, Reason); 4] = [
        ("unknown name", stock("", Received, "pot", "wh-1", 1), Reason::UnknownSku),
        ("no stock", reserve("", &[("mug", "wh-1", 900)]), Reason::InsufficientStock),
        ("wrong state", release("", harness::commands::by_order("none")), Reason::ReservationNotFound),
        ("unknown channel", stock("", Received, "mug", "wh-1", 1), Reason::UnknownChannel),
    ];
    for (number, (name, mut command, reason)) in (1..).zip(rows) {
        if reason == Reason::UnknownChannel {
            command.context.channel = "nowhere";
        }
        let command = numbered(command, 1, number);
        let sequence = harness.ledger.sequence();
        let refusal = harness.ask(&command);
        assert_eq!(refusal.reason(), Some(reason), "{name}");
        assert_eq!(harness.ledger.sequence(), sequence + 1, "{name}: it is in the journal");
        harness.ask(&stock(name, Received, "mug", "wh-1", 100)).accepted();
        harness.restart();
        assert_eq!(harness.ask(&command), refusal, "{name}: the same rejection, also after a restart");
        assert_eq!(harness.ask(&message(1, number, 77)).reason(), Some(Reason::SequenceConflict), "{name}");
    }
    assert!(!harness.ask(&message(1, 5, 1)).replayed(), "the next message is executed");
}

#[test]
fn a_bad_field_consumes_nothing() {
    let mut harness = registered();
    let huge = message(1, 1, invengine_ledger::command::QUANTITY_MAX);
    assert_eq!(harness.ask(&huge).reason(), Some(Reason::InvalidField));
    harness.ask(&message(1, 1, 1)).accepted();
}

#[test]
fn what_does_not_fit_consumes_nothing() {
    let mut harness = registered();
    harness.bytes_max = harness.open_bytes() + 5;
    let before = harness.digest();
    assert_eq!(harness.ask(&message(1, 1, 1)).reason(), Some(Reason::TooLarge));
    let refused = numbered(stock("", Received, "pot", "wh-1", 1), 1, 1);
    assert_eq!(harness.ask(&refused).reason(), Some(Reason::TooLarge), "nor does a rejection that cannot be written");
    assert_eq!(harness.digest(), before);
    harness.bytes_max = harness::ROOMY;
    harness.ask(&message(1, 1, 1)).accepted();
}

// case: A06, B04, B10
#[test]
fn the_last_outcomes_are_kept_and_older_numbers_are_consumed() {
    let mut harness = registered();
    let kept = SOURCE_OUTCOMES_MAX as u64;
    let count = kept + 10;
    for number in 1..=count {
        harness.ask(&message(1, number, 1)).accepted();
    }
    for restarted in [false, true] {
        let reply = harness.ask(&message(1, count - kept, 1));
        assert_eq!((reply.reason(), reply.fact("last")), (Some(Reason::SequenceConsumed), Some("1034")), "{restarted}");
        assert!(harness.ask(&message(1, count - kept + 1, 1)).replayed(), "{restarted}");
        assert!(harness.ask(&message(1, count, 1)).replayed(), "{restarted}");
        harness.restart();
    }
    assert_eq!(on_hand(&harness), 1 + count as i64);
    // High-water marks are never forgotten, however long the source is silent.
    harness.wait(400 * 24 * 3_600_000);
    while harness.forget() {
        harness.wait(invengine_ledger::DEDUPE_WINDOW_MS);
        if harness.ledger.key_count() == 0 {
            break;
        }
    }
    assert_eq!(harness.ask(&message(1, count - kept, 1)).reason(), Some(Reason::SequenceConsumed));
    let mut old = message(1, count + 1, 1);
    old.context.issue_time_ms = Some(harness::START_MS);
    assert!(!harness.ask(&old).replayed(), "its number says that it was never done, so its age does not matter");
}

#[test]
fn a_key_repeated_under_a_new_number_consumes_it() {
    let mut harness = registered();
    let hold = || reserve("k", &[("mug", "wh-1", 1)]);
    let first = harness.ask(&numbered(hold(), 1, 1));
    let Reply::Accepted { sequence, outcome, .. } = first else { panic!("{first:?}") };
    let at = harness.ledger.sequence();
    let again = harness.ask(&numbered(hold(), 1, 2));
    assert_eq!(again, Reply::Accepted { sequence, replayed: true, outcome });
    assert_eq!((harness.ledger.sequence(), harness.ledger.sources()[0].last), (at + 1, 2), "one event, which says so");
    assert!(harness.ask(&numbered(hold(), 1, 2)).replayed());
    assert_eq!(harness.ledger.sequence(), at + 1, "and no second one");
    assert!(harness.ask(&numbered(hold(), 1, 9)).replayed(), "a number whose turn it is not is not consumed");
    assert_eq!(harness.ledger.sources()[0].last, 2);
    assert!(!harness.ask(&message(1, 3, 1)).replayed());
    harness.restart();
    assert!(harness.ask(&numbered(hold(), 1, 2)).replayed());
    assert_eq!(harness.level("mug", "wh-1").1, 1);
}

#[test]
fn the_key_comes_before_the_number() {
    let mut harness = registered();
    harness.ask(&numbered(reserve("k", &[("mug", "wh-1", 1)]), 1, 1)).accepted();
    let other = numbered(reserve("k", &[("mug", "wh-1", 2)]), 1, 2);
    assert_eq!(harness.ask(&other).reason(), Some(Reason::IdempotencyKeyReused));
    assert_eq!(harness.ledger.sources()[0].last, 1, "two intentions share a key: a mistake, which consumes nothing");
}

#[test]
fn a_cancelled_key_uses_up_its_number() {
    let mut harness = registered();
    assert_eq!(harness.ask(&numbered(release("r", by_key("k")), 1, 1)).accepted(), Outcome::KeyCancelled);
    let late = numbered(reserve("k", &[("mug", "wh-1", 1)]), 1, 2);
    let sequence = harness.ledger.sequence();
    for _ in 0..3 {
        assert_eq!(harness.ask(&late).reason(), Some(Reason::KeyCancelled));
        assert_eq!(harness.ledger.sequence(), sequence + 1, "once");
    }
    assert!(!harness.ask(&message(1, 3, 1)).replayed(), "or the source could never go on");
    let live = harness.digest();
    assert_eq!(harness.refold().digest(), live);
}

#[test]
fn a_message_is_decided_afresh_whatever_its_key_was_told_without_a_number() {
    let mut harness = registered();
    let too_many = || reserve("k", &[("mug", "wh-1", 5)]);
    let mut plain = too_many();
    plain.context.channel = "app";
    assert_eq!(harness.ask(&plain).reason(), Some(Reason::InsufficientStock));
    let mut with_number = numbered(too_many(), 1, 1);
    with_number.context.channel = "app";
    assert_eq!(harness.ask(&with_number).reason(), Some(Reason::InsufficientStock));
    assert_eq!(harness.ledger.sources()[0].last, 1, "its no uses up its number");
}

// case: B05, B12
#[test]
fn a_shuffled_line_of_messages_ends_where_an_ordered_one_does() {
    let digest_of = |order: &[u64]| {
        let mut harness = registered();
        let mut waiting: Vec<u64> = order.to_vec();
        // As a sender must: what was refused because of a gap is sent again.
        for _ in 0..order.len() {
            waiting.retain(|number| {
                harness.ask(&message(1, *number, *number as i64)).reason() == Some(Reason::SequenceGap)
            });
        }
        assert!(waiting.is_empty());
        harness.digest()
    };
    let ordered: Vec<u64> = (1..=200).collect();
    let shuffled: Vec<u64> = (0..200).map(|at| (at * 77) % 200 + 1).collect();
    assert_ne!(ordered, shuffled);
    assert_eq!(digest_of(&ordered), digest_of(&shuffled));
}
