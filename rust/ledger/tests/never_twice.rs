//! What was done is never done again: under a flood of keys, with clocks that are ahead, after a crash, after a year of
//! silence.

mod harness;

use invengine_ledger::command::SourcePosition;
use invengine_ledger::event::StockKind::Received;
use invengine_ledger::{Command, DEDUPE_WINDOW_MS, ISSUE_TIME_SKEW_MAX_MS, ImageLoader, Ledger, LedgerOptions, Reason};

use harness::answers::{Outcome, Reply};
use harness::commands::{allocate, by_key, register, release, reserve, stock, upsert, whole};
use harness::{Harness, fold};

const MUG: [(&str, &str, i64); 1] = [("mug", "wh-1", 1)];
const WINDOW_MS: i64 = 10_000;

/// One more mug, from a channel that states an issue time.
fn one_more<'a>(key: &'a str, channel: &'a str, issue_time_ms: i64) -> Command<'a> {
    let mut command = stock(key, Received, "mug", "wh-1", 1);
    (command.context.channel, command.context.issue_time_ms) = (channel, Some(issue_time_ms));
    command
}

fn numbered(mut command: Command<'_>, sequence: u64) -> Command<'_> {
    command.context.source = Some(SourcePosition { id: "erp", epoch: 1, sequence });
    command
}

fn on_hand(harness: &Harness) -> i64 {
    harness.level("mug", "wh-1").0
}

/// The same ledger, saved and loaded as an image.
fn reloaded(ledger: &mut Ledger, options: LedgerOptions) -> Ledger {
    let (mut loader, mut piece) = (ImageLoader::new(options), Vec::new());
    let mut image = ledger.image();
    while image.next(&mut piece) {
        loader.piece(&piece).expect("an image of its own");
    }
    loader.finish().expect("an image of its own")
}

// case: A11
#[test]
fn a_flood_of_keys_shrinks_the_window_and_does_nothing_twice() {
    // 2 GiB for 10 million keys of the greatest length, a thousandth of it.
    const KEYS: usize = 10_000;
    let budget = (2 << 30) / 1_000;
    let mut harness = Harness::new(LedgerOptions { key_bytes_max: budget, ..LedgerOptions::new("main") }).opened();
    let keys: Vec<String> = (0..KEYS).map(|number| format!("{number:0>128}")).collect();
    let mut issued = Vec::new();
    let (mut turns, mut replayed, mut refused) = (0, 0, 0);
    for (number, key) in keys.iter().enumerate() {
        harness.wait(1);
        issued.push(harness.now_ms);
        harness.ask(&one_more(key, "app", harness.now_ms)).accepted();
        turns += u32::from(harness.forget());
        assert!(harness.ledger.key_bytes() <= budget + 1_000, "{}", harness.ledger.key_bytes());
        let earlier = (number * 7_919) % (number + 1);
        let reply = harness.ask(&one_more(&keys[earlier], "app", issued[earlier]));
        assert!(reply.replayed() || reply.reason() == Some(Reason::DedupeWindowExpired), "{reply:?}");
        *(if reply.replayed() { &mut replayed } else { &mut refused }) += 1;
    }
    assert_eq!(on_hand(&harness), KEYS as i64, "each once");
    assert!(turns >= 2 && replayed > 100 && refused > 100, "{turns} turns, {replayed} replayed, {refused} refused");
    assert!(harness.ledger.effective_window_ms(harness.now_ms) < KEYS as i64, "the window says so");
    assert!(harness.ask(&one_more(&keys[0], "app", issued[0])).fact("window").is_some());
    let live = harness.digest();
    assert_eq!(harness.refold().digest(), live);
}

// case: A06, A11
#[test]
fn a_writer_ahead_of_time_does_nothing_twice() {
    for lead_ms in [0, 1, WINDOW_MS / 2, 3 * WINDOW_MS, ISSUE_TIME_SKEW_MAX_MS] {
        let options = LedgerOptions { dedupe_window_ms: WINDOW_MS, ..LedgerOptions::new("main") };
        let mut harness = Harness::new(options.clone()).opened();
        harness.wait(WINDOW_MS / 2);
        let command = one_more("k", "app", harness.now_ms + lead_ms);
        harness.ask(&command).accepted();
        // The windows rotate in the same millisecond, and repeatedly after that.
        for turn in 0..12 {
            let reply = harness.ask(&command);
            assert!(
                reply.replayed() || reply.reason() == Some(Reason::DedupeWindowExpired),
                "{lead_ms}, {turn}: {reply:?}"
            );
            harness.forget();
            match turn % 3 {
                0 => harness.restart(),
                1 => harness.ledger = reloaded(&mut harness.ledger, options.clone()),
                _ => {}
            }
            harness.wait(WINDOW_MS / 2);
        }
        assert_eq!(on_hand(&harness), 1, "{lead_ms}");
        assert!(!harness.ask(&one_more("other", "web", harness.now_ms)).replayed(), "nobody else is refused");
    }
}

// case: A06
#[test]
fn a_key_of_the_millisecond_in_which_the_windows_rotate_is_not_executed_twice() {
    let mut harness = Harness::with_window(WINDOW_MS).opened();
    harness.wait(WINDOW_MS);
    let command = one_more("k", "", harness.now_ms);
    harness.ask(&command).accepted();
    assert!(harness.forget());
    harness.ledger.forget_keys(harness.now_ms, &mut invengine_ledger::Payload::default(), harness::ROOMY);
    for _ in 0..3 {
        harness.wait(WINDOW_MS);
        assert!(harness.forget());
        let reply = harness.ask(&command);
        assert!(reply.replayed() || reply.reason() == Some(Reason::DedupeWindowExpired), "{reply:?}");
    }
    assert_eq!(on_hand(&harness), 1);
}

// case: A08
#[test]
fn an_impossible_issue_time_is_refused_and_consumes_nothing() {
    let mut harness = Harness::default().opened();
    let before = harness.digest();
    let reply = harness.ask(&one_more("k", "", harness.now_ms + ISSUE_TIME_SKEW_MAX_MS + 1));
    assert_eq!((reply.reason(), reply.fact("field")), (Some(Reason::InvalidField), Some("context.issue_time")));
    assert_eq!(harness.digest(), before);
    assert!(!harness.ask(&one_more("k", "", harness.now_ms)).replayed(), "corrected, it is taken");
}

// case: A13
#[test]
fn one_key_twice_in_one_frame() {
    let mut harness = Harness::with_mugs(5);
    harness.cut();
    let first = harness.ask(&reserve("k", &MUG));
    let Reply::Accepted { sequence, outcome, .. } = first else { panic!("{first:?}") };
    assert_eq!(harness.ask(&reserve("k", &MUG)), Reply::Accepted { sequence, replayed: true, outcome });
    assert_eq!(harness.ask(&reserve("k", &[("mug", "wh-1", 2)])).reason(), Some(Reason::IdempotencyKeyReused));
    assert_eq!((harness.ledger.sequence(), harness.level("mug", "wh-1").1), (sequence, 1));
    harness.cut();
    let live = harness.digest();
    assert_eq!(harness.refold().digest(), live);
}

/// A day in a shop, one command per frame.
fn day() -> Vec<Command<'static>> {
    vec![
        stock("in", Received, "mug", "wh-1", 4),
        register("reg", "erp"),
        reserve("h1", &[("mug", "wh-1", 2)]),
        numbered(stock("", Received, "mug", "wh-1", 3), 1),
        allocate("a1", by_key("h1")),
        release("never", by_key("not-seen")),
        numbered(reserve("", &[("mug", "wh-1", 900)]), 2),
        reserve("h2", &[("mug", "wh-1", 1)]),
        release("r2", by_key("h2")),
    ]
}

// case: A09, A14, A15
#[test]
fn a_crash_before_the_journal_leaves_no_trace_and_after_it_the_answer() {
    let options = LedgerOptions::new("main");
    let mut harness = Harness::default().opened();
    harness.cut();
    for (number, command) in day().iter().enumerate() {
        let before = harness.digest();
        let first = harness.ask(command);
        // The frame was not written yet: nobody was answered.
        let lost = fold(&options, &harness.frames).expect("its own frames");
        let mut again = Harness::new(options.clone());
        again.ledger = lost;
        again.now_ms = harness.now_ms;
        again.ledger.set_epoch(1);
        assert_eq!(again.digest(), before, "{number}: no trace");
        assert_eq!(again.ask(command), first, "{number}: it is executed once");
        assert_eq!(again.digest(), harness.digest(), "{number}");
        // The frame was written, the answer was lost.
        harness.restart();
        match (first, harness.ask(command)) {
            (Reply::Accepted { sequence, outcome, .. }, again) => {
                assert_eq!(again, Reply::Accepted { sequence, replayed: true, outcome })
            }
            (refusal, again) => assert_eq!(again, refusal, "{number}"),
        }
        harness.ledger.set_epoch(1);
    }
    assert_eq!(harness.level("mug", "wh-1"), (7, 0, 2, 5, 0));
}

// case: B09
#[test]
fn numbers_at_the_edge_wrap_nothing() {
    let mut harness = Harness::with_mugs(1);
    harness.ask(&register("reg", "erp")).accepted();
    let more = |number| numbered(stock("", Received, "mug", "wh-1", 1), number);
    harness.ask(&more(1)).accepted();
    let before = harness.digest();
    for number in [1 << 53, (1 << 53) + 1, 1 << 63, u64::MAX] {
        assert_eq!(harness.ask(&more(number)).reason(), Some(Reason::SequenceGap), "{number}");
    }
    assert_eq!(harness.ask(&more(0)).reason(), Some(Reason::SequenceConsumed));
    assert_eq!(harness.digest(), before);
    harness.ask(&more(2)).accepted();
}

// case: B10
#[test]
fn a_source_that_was_silent_for_a_year_goes_on() {
    let mut harness = Harness::with_mugs(1);
    harness.ask(&register("reg", "erp")).accepted();
    let more = |number| numbered(stock("", Received, "mug", "wh-1", 1), number);
    for number in 1..=3 {
        harness.ask(&more(number)).accepted();
    }
    for day in 0..365 {
        harness.wait(DEDUPE_WINDOW_MS);
        assert!(harness.forget(), "day {day}");
    }
    assert_eq!(harness.ledger.key_count(), 0, "all keys are forgotten");
    harness.restart();
    harness.ledger = reloaded(&mut harness.ledger, LedgerOptions::new("main"));
    assert!(harness.ask(&more(3)).replayed());
    assert_eq!(harness.ask(&more(5)).fact("expected"), Some("4"));
    assert!(!harness.ask(&more(4)).replayed());
    assert_eq!(on_hand(&harness), 5);
}

// case: C09
#[test]
fn a_compensation_twice_and_before_its_reserve_leaks_nothing() {
    let mut harness = Harness::with_mugs(3);
    assert_eq!(harness.ask(&release("undo", by_key("saga"))).accepted(), Outcome::KeyCancelled);
    for _ in 0..2 {
        assert_eq!(harness.ask(&reserve("saga", &MUG)).reason(), Some(Reason::KeyCancelled));
        assert!(harness.ask(&release("undo", by_key("saga"))).replayed());
        harness.restart();
    }
    let id = harness.ask(&reserve("other", &MUG)).hold().id;
    harness.ask(&release("undo-2", by_key("other"))).accepted();
    assert_eq!(harness.ask(&release("undo-3", whole(id))).reason(), Some(Reason::AlreadyReleased));
    assert_eq!(harness.level("mug", "wh-1"), (3, 0, 0, 3, 0));
}

// case: C16
#[test]
fn an_unknown_name_stays_unknown_for_its_key() {
    let mut harness = Harness::with_mugs(3);
    let refusal = harness.ask(&reserve("k", &[("pot", "wh-1", 1)]));
    assert_eq!(refusal.reason(), Some(Reason::UnknownSku));
    harness.ask(&upsert("pots", invengine_ledger::EntityKind::Items, &["pot"])).accepted();
    harness.ask(&stock("in", Received, "pot", "wh-1", 1)).accepted();
    assert_eq!(harness.ask(&reserve("k", &[("pot", "wh-1", 1)])), refusal, "the same rejection");
    harness.ask(&reserve("k2", &[("pot", "wh-1", 1)])).accepted();
}
