//! How long keys and ended holds are remembered, and what is refused so that nothing is done twice because it was forgotten.

mod harness;

use std::collections::HashSet;

use invengine_ledger::event::StockKind;
use invengine_ledger::{Command, LedgerOptions, Reason, Scope};

use harness::Harness;
use harness::answers::Outcome;
use harness::commands::{allocate, by_key, release, reserve, stock, whole};

const MUG: [(&str, &str, i64); 1] = [("mug", "wh-1", 1)];

/// Short enough that tests outlive it.
const WINDOW_MS: i64 = 10_000;

fn forgetful() -> Harness {
    let mut harness = Harness::with_window(WINDOW_MS).opened();
    harness.ask(&stock("stock", StockKind::Received, "mug", "wh-1", 100)).accepted();
    harness
}

/// A command that makes no hold: its key is forgotten with its window.
fn one_more(key: &str) -> Command<'_> {
    stock(key, StockKind::Received, "mug", "wh-1", 1)
}

/// Rotates the windows of keys once.
fn turn(harness: &mut Harness) {
    harness.wait(WINDOW_MS);
    assert!(harness.forget());
}

// case: A06
#[test]
fn what_is_older_than_the_window_is_refused() {
    // (ms since the command was issued, whether it is accepted)
    for (age_ms, taken) in [(0, true), (WINDOW_MS, true), (WINDOW_MS + 1, false), (10 * WINDOW_MS, false)] {
        let mut harness = forgetful();
        harness.wait(20 * WINDOW_MS);
        let mut command = reserve("k", &MUG);
        command.context.issue_time_ms = Some(harness.now_ms - age_ms);
        let reply = harness.ask(&command);
        assert_eq!(reply.reason(), if taken { None } else { Some(Reason::DedupeWindowExpired) }, "{age_ms}");
        if !taken {
            assert_eq!(reply.fact("window"), Some(WINDOW_MS.to_string().as_str()));
            command.context.issue_time_ms = None;
            harness.ask(&command).accepted();
        }
    }
}

// case: A06
#[test]
fn nothing_is_done_twice_because_it_was_forgotten() {
    let mut harness = forgetful();
    let mut command = one_more("k");
    command.context.issue_time_ms = Some(harness.now_ms);
    harness.ask(&command).accepted();
    let mut refused = 0;
    for _ in 0..40 {
        harness.wait(WINDOW_MS / 8);
        harness.forget();
        let reply = harness.ask(&command);
        assert!(reply.replayed() || reply.reason() == Some(Reason::DedupeWindowExpired), "{reply:?}");
        refused += u32::from(!reply.replayed());
    }
    assert!((24..=32).contains(&refused), "kept for one to two windows: {refused} of 40 refused");
    assert!(harness.ledger.key(Scope::Operator, "k").is_none());
    assert_eq!(harness.level("mug", "wh-1").0, 101, "done once");
}

#[test]
fn a_key_is_kept_for_the_whole_window() {
    let mut harness = forgetful();
    turn(&mut harness);
    harness.ask(&one_more("k")).accepted();
    turn(&mut harness);
    assert_eq!(harness.ledger.effective_window_ms(harness.now_ms), WINDOW_MS);
    assert!(harness.ask(&one_more("k")).replayed());
    harness.wait(WINDOW_MS - 1);
    assert!(!harness.forget(), "the younger window is not old enough");
    assert!(harness.ask(&one_more("k")).replayed());
    harness.wait(1);
    assert!(harness.forget());
    assert!(harness.ledger.key(Scope::Operator, "k").is_none());
    let live = harness.digest();
    assert_eq!(harness.refold().digest(), live);
}

// case: A11
#[test]
fn keys_are_limited_by_memory_and_the_window_shows_it() {
    let options = LedgerOptions { key_bytes_max: 200_000, ..LedgerOptions::new("main") };
    let mut harness = Harness::new(options).opened();
    harness.ask(&stock("stock", StockKind::Received, "mug", "wh-1", 1_000_000)).accepted();
    let mut first = reserve("first", &MUG);
    first.context.issue_time_ms = Some(harness.now_ms);
    harness.ask(&first).accepted();
    harness.ask(&release("give-back", by_key("first"))).accepted();
    let keys: Vec<String> = (0..20_000).map(|number| format!("k-{number}")).collect();
    let mut turns = 0;
    for key in &keys {
        harness.wait(1);
        harness.ask(&one_more(key)).accepted();
        turns += u32::from(harness.forget());
        assert!(harness.ledger.key_bytes() <= 201_000, "{}", harness.ledger.key_bytes());
    }
    assert!(turns > 10, "{turns}");
    let window_ms = harness.ledger.effective_window_ms(harness.now_ms);
    assert!((100..5_000).contains(&window_ms), "{window_ms}");
    let reply = harness.ask(&first);
    assert_eq!(reply.reason(), Some(Reason::DedupeWindowExpired));
    assert_eq!(reply.fact("window"), Some(window_ms.to_string().as_str()));
    assert!(harness.ask(&one_more(&keys[19_999])).replayed());
}

#[test]
fn a_hold_can_be_named_by_its_key_as_long_as_it_is_known() {
    let mut harness = forgetful();
    let first = harness.ask(&reserve("k", &MUG));
    harness.ask(&allocate("a", by_key("k"))).accepted();
    for turns in 0..10 {
        turn(&mut harness);
        assert!(harness.ask(&reserve("k", &MUG)).replayed(), "after {turns} turns");
        assert!(!harness.ask(&allocate(&format!("a{turns}"), by_key("k"))).replayed());
    }
    assert!(harness.ledger.key(Scope::Operator, "a").is_none(), "other keys are forgotten");
    // Not a tombstone, which would leave the units held for ever.
    assert_eq!(harness.ask(&release("r", by_key("k"))).hold().id, first.hold().id);
    assert_eq!(harness.level("mug", "wh-1"), (100, 0, 0, 100, 0));
    let live = harness.digest();
    assert_eq!(harness.refold().digest(), live);
    for _ in 0..3 {
        turn(&mut harness);
    }
    assert!(harness.ledger.key(Scope::Operator, "k").is_none(), "forgotten with its hold");
    assert_eq!(harness.ask(&release("s", by_key("k"))).accepted(), Outcome::KeyCancelled);
}

#[test]
fn keys_of_open_holds_do_not_make_the_windows_rotate() {
    let options = LedgerOptions { key_bytes_max: 20_000, ..LedgerOptions::new("main") };
    let mut harness = Harness::new(options).opened();
    harness.ask(&stock("stock", StockKind::Received, "mug", "wh-1", 1_000)).accepted();
    let keys: Vec<String> = (0..500).map(|number| format!("k-{number}")).collect();
    for key in &keys {
        harness.ask(&reserve(key, &MUG)).accepted();
        harness.forget();
    }
    assert!(harness.ledger.key_bytes() > 40_000, "all of them are still known");
    let turns = (0..100).filter(|_| harness.forget()).count();
    assert!(turns <= 1, "{turns}");
    assert!(keys.iter().all(|key| harness.ask(&reserve(key, &MUG)).replayed()));
}

#[test]
fn ended_holds_are_forgotten_with_their_window_and_open_ones_never() {
    let mut harness = forgetful();
    let open = harness.ask(&reserve("open", &MUG)).hold().id;
    harness.ask(&allocate("bind", whole(open))).accepted();
    let ended = harness.ask(&reserve("ended", &MUG)).hold().id;
    harness.ask(&release("end", whole(ended))).accepted();
    let revived = harness.ask(&reserve("revived", &MUG)).hold().id;
    harness.wait(60_100);
    assert_eq!(harness.sweep(), 1);
    assert!(harness.forget());
    harness.ask(&allocate("late", whole(revived))).hold();
    turn(&mut harness);
    assert!(harness.ledger.reservation(ended).is_none(), "ended before the last two turns");
    assert_eq!(harness.ask(&release("x", whole(ended))).reason(), Some(Reason::ReservationNotFound));
    assert!(harness.ledger.reservation(revived).is_some(), "ended once, but lives again");
    harness.ask(&release("y", whole(revived))).accepted();
    turn(&mut harness);
    assert_eq!(
        harness.ask(&release("z", whole(revived))).reason(),
        Some(Reason::AlreadyReleased),
        "still in the window"
    );
    turn(&mut harness);
    assert!(harness.ledger.reservation(revived).is_none());
    for _ in 0..5 {
        turn(&mut harness);
    }
    assert_eq!(harness.ledger.reservation(open).unwrap().lines[0].allocated, 1);
    assert_eq!((harness.ledger.reservation_count(), harness.ledger.open_reservations()), (1, 1));
    assert_eq!(harness.level("mug", "wh-1"), (100, 0, 1, 99, 0));
    harness.restart();
    assert_eq!(harness.ledger.reservation_count(), 1);
}

#[test]
fn no_id_is_ever_given_twice() {
    let mut harness = forgetful();
    let mut tokens = HashSet::new();
    let mut reused = 0;
    for round in 0..30 {
        for number in 0..10 {
            let key = format!("{round}-{number}");
            let id = harness.ask(&reserve(&key, &MUG)).hold().id;
            assert!(tokens.insert(harness.ledger.token(id)), "{id:?}");
            reused += u32::from(id.generation > 0);
            harness.ask(&release(&format!("r{key}"), whole(id))).accepted();
        }
        turn(&mut harness);
        if round % 7 == 6 {
            harness.restart();
        }
    }
    assert!(reused > 200, "slots are used again: {reused}");
    assert!(harness.ledger.reservation_count() < 40);
}
