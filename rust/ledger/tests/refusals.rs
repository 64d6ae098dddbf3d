//! Refusals that callers want remembered: as durable as accepted answers, with a memory limit of their own.

mod harness;

use invengine_ledger::command::SourcePosition;
use invengine_ledger::event::StockKind::Received;
use invengine_ledger::{Command, ImageLoader, LedgerOptions, Reason, Scope};

use harness::answers::{Outcome, Reply};
use harness::commands::{allocate, by_key, register, release, reserve, stock, whole};
use harness::{Harness, START_MS};

const TWO_MUGS: [(&str, &str, i64); 1] = [("mug", "wh-1", 2)];

fn remembered(mut command: Command<'_>) -> Command<'_> {
    command.context.remember_refusal = true;
    command
}

fn issued(mut command: Command<'_>, issue_time_ms: i64) -> Command<'_> {
    command.context.issue_time_ms = Some(issue_time_ms);
    command
}

fn numbered(mut command: Command<'_>, sequence: u64) -> Command<'_> {
    command.context.source = Some(SourcePosition { id: "erp", epoch: 1, sequence });
    command
}

fn reason(reply: &Reply) -> Option<Reason> {
    reply.reason()
}

/// The ledger that is loaded from an image of this one.
fn through_an_image(harness: &mut Harness, options: LedgerOptions) -> invengine_ledger::Ledger {
    let mut loader = ImageLoader::new(options);
    let mut image = harness.ledger.image();
    let mut piece = Vec::new();
    while image.next(&mut piece) {
        loader.piece(&piece).expect("a piece of an image");
    }
    loader.finish().expect("a whole image")
}

#[test]
fn a_remembered_refusal_is_given_again_after_a_crash_and_after_a_snapshot() {
    let mut harness = Harness::with_mugs(1);
    let ask = remembered(reserve("order-1", &TWO_MUGS));
    let digest = harness.digest();
    let executed = harness.execute(&ask);
    assert_eq!(executed.depends_on, harness.ledger.sequence(), "the answer waits for its event");
    let refusal = Reply::new(&harness.ledger, &executed);
    assert_eq!(refusal.fact("available"), Some("1"));
    assert_ne!(harness.digest(), digest, "it is part of the state");
    harness.ask(&stock("more", Received, "mug", "wh-1", 5)).accepted();
    for how in ["at once", "after a crash", "after a snapshot"] {
        match how {
            "after a crash" => harness.restart(),
            "after a snapshot" => {
                let digest = harness.digest();
                harness.ledger = through_an_image(&mut harness, LedgerOptions::new("main"));
                assert_eq!(harness.digest(), digest);
            }
            _ => {}
        }
        let sequence = harness.ledger.sequence();
        assert_eq!(harness.ask(&ask), refusal, "{how}");
        assert_eq!(harness.ask(&reserve("order-1", &TWO_MUGS)), refusal, "{how}: whether or not it asks again");
        let other = harness.ask(&reserve("order-1", &[("mug", "wh-1", 1)]));
        assert_eq!(reason(&other), Some(Reason::IdempotencyKeyReused), "{how}");
        assert!(other.fact("sequence").is_some(), "{how}");
        assert_eq!(harness.level("mug", "wh-1").1, 0, "{how}: nothing was taken");
        assert_eq!(harness.ledger.sequence(), sequence, "{how}: nothing was written");
    }
}

#[test]
fn a_late_allocate_that_was_refused_stays_refused_after_a_restart() {
    let mut harness = Harness::with_mugs(1);
    let id = harness.ask(&reserve("hold", &[("mug", "wh-1", 1)])).hold().id;
    harness.wait(61_000);
    harness.ask(&reserve("another", &[("mug", "wh-1", 1)])).accepted();
    let pay = remembered(allocate("pay", whole(id)));
    let refusal = harness.ask(&pay);
    assert_eq!(reason(&refusal), Some(Reason::InsufficientStock));
    harness.ask(&stock("more", Received, "mug", "wh-1", 5)).accepted();
    harness.restart();
    assert_eq!(harness.ask(&pay), refusal, "the shop has refunded");
    assert_eq!(harness.level("mug", "wh-1").2, 0);
}

#[test]
fn every_refusal_is_remembered_except_a_bad_field_and_an_unknown_writer() {
    let mut harness = Harness::with_mugs(5);
    let id = harness.ask(&reserve("hold", &TWO_MUGS)).hold().id;
    harness.ask(&release("done", whole(id))).accepted();
    let rows = [
        (remembered(reserve("a", &[("pot", "wh-1", 1)])), Reason::UnknownSku),
        (remembered(reserve("b", &[("mug", "moon", 1)])), Reason::UnknownLocation),
        (remembered(allocate("c", whole(id))), Reason::AlreadyReleased),
        (remembered(allocate("d", by_key("nobody"))), Reason::ReservationNotFound),
        (remembered(reserve("e", &[("mug", "wh-1", 6)])), Reason::InsufficientStock),
    ];
    for (command, expected) in &rows {
        let sequence = harness.ledger.sequence();
        assert_eq!(reason(&harness.ask(command)), Some(*expected));
        assert_eq!(harness.ledger.sequence(), sequence + 1, "{expected:?}");
    }
    let sequence = harness.ledger.sequence();
    let huge = remembered(stock("f", Received, "mug", "wh-1", invengine_ledger::command::QUANTITY_MAX));
    assert_eq!(reason(&harness.ask(&huge)), Some(Reason::InvalidField));
    let mut nowhere = remembered(reserve("g", &TWO_MUGS));
    nowhere.context.channel = "nowhere";
    assert_eq!(reason(&harness.ask(&nowhere)), Some(Reason::UnknownChannel));
    let no_key = remembered(reserve("", &[("pot", "wh-1", 1)]));
    assert_eq!(
        reason(&harness.ask(&no_key)),
        Some(Reason::UnknownSku),
        "without a key there is nothing to remember by"
    );
    assert_eq!(harness.ledger.sequence(), sequence, "none of these is an event");
}

#[test]
fn a_cached_refusal_is_remembered_once_a_caller_asks_for_it() {
    let mut harness = Harness::with_mugs(1);
    let refusal = harness.ask(&reserve("k", &TWO_MUGS));
    harness.ask(&stock("more", Received, "mug", "wh-1", 5)).accepted();
    assert_eq!(harness.ask(&remembered(reserve("k", &TWO_MUGS))), refusal);
    harness.restart();
    assert_eq!(harness.ask(&reserve("k", &TWO_MUGS)), refusal);
}

#[test]
fn a_refused_key_under_a_new_number_gets_the_same_refusal_and_consumes_the_number() {
    let mut harness = Harness::with_mugs(1);
    harness.ask(&register("register", "erp")).accepted();
    let ask = remembered(reserve("k", &TWO_MUGS));
    let refusal = harness.ask(&numbered(ask.clone(), 1));
    assert_eq!(reason(&refusal), Some(Reason::InsufficientStock));
    harness.ask(&numbered(stock("", Received, "mug", "wh-1", 5), 2)).accepted();
    harness.restart();
    for number in [3, 4] {
        assert_eq!(harness.ask(&numbered(ask.clone(), number)), refusal);
        assert_eq!(harness.ledger.sources()[0].last, number);
        assert_eq!(harness.ask(&numbered(ask.clone(), number)), refusal, "the number has its own answer");
    }
    assert_eq!(harness.level("mug", "wh-1").1, 0);
    harness.ask(&numbered(stock("", Received, "mug", "wh-1", 1), 5)).accepted();
}

#[test]
fn releasing_the_key_of_a_refused_command_is_accepted_and_leaves_its_refusal() {
    let mut harness = Harness::with_mugs(1);
    let ask = remembered(reserve("k", &TWO_MUGS));
    let refusal = harness.ask(&ask);
    assert_eq!(harness.ask(&release("r", by_key("k"))).accepted(), Outcome::KeyCancelled);
    assert!(harness.ask(&release("r", by_key("k"))).replayed());
    harness.ask(&stock("more", Received, "mug", "wh-1", 5)).accepted();
    for _ in 0..2 {
        assert_eq!(harness.ask(&ask), refusal, "not KEY_CANCELLED");
        harness.restart();
    }
    assert_eq!(harness.level("mug", "wh-1").1, 0);
}

#[test]
fn refusals_are_forgotten_with_the_keys_and_a_repeat_is_then_too_old() {
    const WINDOW_MS: i64 = 1_000;
    let mut harness = Harness::with_window(WINDOW_MS).opened();
    let ask = remembered(issued(reserve("k", &TWO_MUGS), START_MS));
    let refusal = harness.ask(&ask);
    harness.wait(WINDOW_MS);
    assert!(harness.forget());
    assert_eq!(harness.ask(&ask), refusal, "found for the whole window");
    harness.wait(WINDOW_MS);
    assert!(harness.forget());
    assert_eq!((harness.ledger.refusal_count(), harness.ledger.refusal_bytes()), (0, 0));
    assert_eq!(reason(&harness.ask(&ask)), Some(Reason::DedupeWindowExpired));
    harness.restart();
    assert_eq!(reason(&harness.ask(&ask)), Some(Reason::DedupeWindowExpired));
}

/// A ledger with memory for a few dozen refusals, the first of which has been made.
fn with_little_memory(lead_ms: i64) -> (Harness, LedgerOptions, Command<'static>) {
    let options = LedgerOptions { refusal_bytes_max: 20_000, ..LedgerOptions::new("main") };
    let mut harness = Harness::new(options.clone()).opened();
    let ask = remembered(issued(reserve("first", &TWO_MUGS), START_MS + lead_ms));
    assert_eq!(reason(&harness.ask(&ask)), Some(Reason::InsufficientStock));
    (harness, options, ask)
}

/// Refuses this many other commands, of another channel.
fn refuse_others(harness: &mut Harness, count: usize) {
    for number in 0..count {
        harness.wait(1);
        let key = format!("bot-{number}");
        let mut other = remembered(issued(reserve(&key, &[("mug", "wh-1", 99)]), harness.now_ms));
        other.context.channel = "web";
        let reply = harness.ask(&other);
        assert_eq!(reason(&reply), Some(Reason::InsufficientStock), "{reply:?}");
        assert!(harness.ledger.refusal_bytes() <= 20_500, "{}", harness.ledger.refusal_bytes());
    }
}

#[test]
fn bots_that_fill_the_memory_of_refusals_shrink_nobodys_keys_and_nothing_forgotten_is_executed() {
    for lead_ms in [0, 3_600_000] {
        let (mut harness, options, ask) = with_little_memory(lead_ms);
        let yes = issued(stock("more", Received, "mug", "wh-1", 5), harness.now_ms);
        harness.ask(&yes).accepted();
        let before_ms = harness.now_ms;
        refuse_others(&mut harness, 500);
        assert!(harness.ledger.remembered_refusal(Scope::Operator, "first").is_none(), "it is forgotten");
        for how in ["at once", "after a crash", "after a snapshot"] {
            match how {
                "after a crash" => harness.restart(),
                "after a snapshot" => harness.ledger = through_an_image(&mut harness, options.clone()),
                _ => {}
            }
            let reply = harness.ask(&ask);
            assert_eq!(reason(&reply), Some(Reason::DedupeWindowExpired), "{how}, ahead by {lead_ms} ms");
            let window_ms: i64 = reply.fact("window").unwrap().parse().unwrap();
            assert!(
                (1..harness.now_ms - before_ms).contains(&window_ms),
                "it says how far back refusals are remembered"
            );
            assert!(harness.ask(&yes).replayed(), "{how}: keys are remembered as long as before");
            assert_eq!(harness.level("mug", "wh-1").1, 0);
        }
        assert!(
            harness.ledger.effective_refusal_window_ms(harness.now_ms)
                < harness.ledger.effective_window_ms(harness.now_ms)
        );
        let key = issued(reserve("old", &[("mug", "wh-1", 1)]), START_MS);
        harness.ask(&key).accepted();
        let young = remembered(issued(reserve("young", &[("mug", "wh-1", 1)]), harness.now_ms + lead_ms + 1));
        harness.ask(&young).accepted();
    }
}

#[test]
fn refusals_are_kept_as_long_as_keys_whenever_their_windows_rotate() {
    const WINDOW_MS: i64 = 10_000;
    // The refusal windows rotate once on their own just before the keys do: what is younger than the keys' older window
    // must stay.
    let options =
        LedgerOptions { refusal_bytes_max: 20_000, dedupe_window_ms: WINDOW_MS, ..LedgerOptions::new("main") };
    let mut harness = Harness::new(options).opened();
    harness.wait(WINDOW_MS - 200);
    refuse_others(&mut harness, 100);
    assert_eq!(harness.ledger.refusal_count(), 100, "turned once, and none is forgotten");
    harness.wait(200);
    assert!(harness.forget());
    assert_eq!(harness.ledger.refusal_count(), 100, "all of them are younger than what keys remember");
    harness.restart();
    assert_eq!(harness.ledger.refusal_count(), 100);
    harness.wait(WINDOW_MS);
    assert!(harness.forget());
    let count = harness.ledger.refusal_count();
    assert!((1..100).contains(&count), "{count}: those before the turn are older than what keys remember");
    harness.wait(WINDOW_MS);
    assert!(harness.forget());
    assert_eq!(harness.ledger.refusal_count(), 0);
    harness.restart();
}

#[test]
fn a_refusal_that_does_not_fit_the_frame_leaves_no_trace() {
    let mut harness = Harness::with_mugs(1);
    harness.bytes_max = harness.open_bytes() + 20;
    let ask = remembered(reserve("k", &TWO_MUGS));
    let (before, sequence) = (harness.digest(), harness.ledger.sequence());
    assert_eq!(reason(&harness.ask(&ask)), Some(Reason::TooLarge));
    assert_eq!((harness.digest(), harness.ledger.sequence()), (before, sequence));
    harness.bytes_max = harness::ROOMY;
    assert_eq!(reason(&harness.ask(&ask)), Some(Reason::InsufficientStock));
}
