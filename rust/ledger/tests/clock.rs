//! A ledger whose engine time is ahead after a start with a fast clock: how to correct it, and that nothing is done twice
//! because of it.

mod harness;

use std::collections::BTreeMap;

use invengine_ledger::event::StockKind::Received;
use invengine_ledger::{Command, ISSUE_TIME_SKEW_MAX_MS, ImageLoader, Ledger, LedgerOptions, Payload, Reason};
use proptest::prelude::*;

use harness::Harness;
use harness::commands::stock;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// One more mug, from a channel that states an issue time.
fn one_more<'a>(key: &'a str, channel: &'a str, issue_time_ms: i64) -> Command<'a> {
    let mut command = stock(key, Received, "mug", "wh-1", 1);
    (command.context.channel, command.context.issue_time_ms) = (channel, Some(issue_time_ms));
    command
}

/// Corrects the clock of a ledger; the clock shows `wall_ms` now.
fn correct(harness: &mut Harness, wall_ms: i64) -> bool {
    harness.cut();
    harness.own(|ledger, now_ms, payload, bytes_max| ledger.correct_clock(wall_ms, now_ms, payload, bytes_max))
}

fn reloaded(ledger: &mut Ledger) -> Ledger {
    let (mut loader, mut piece) = (ImageLoader::new(LedgerOptions::new("main")), Vec::new());
    let mut image = ledger.image();
    while image.next(&mut piece) {
        loader.piece(&piece).expect("an image of its own");
    }
    loader.finish().expect("an image of its own")
}

#[test]
fn a_corrected_clock_reopens_the_ledger_and_what_was_issued_before_stays_refused() {
    for ahead_ms in [2 * DAY_MS, 400 * DAY_MS] {
        let mut harness = Harness::default().opened();
        harness.wait(ahead_ms);
        assert!(harness.forget(), "time has passed");
        let wall_ms = harness.now_ms - ahead_ms;
        let locked = harness.ask(&one_more("before", "app", wall_ms));
        assert_eq!(locked.reason(), Some(Reason::DedupeWindowExpired), "the fault: a right clock is refused");
        let uncorrected = harness.digest();
        assert!(correct(&mut harness, wall_ms));
        assert_ne!(harness.digest(), uncorrected, "the correction is part of the state");
        for (restarted, reload) in [(false, false), (true, false), (false, true)] {
            if restarted {
                harness.restart();
            }
            if reload {
                harness.ledger = reloaded(&mut harness.ledger);
            }
            assert_eq!(harness.ledger.clock_offset_ms(), ahead_ms);
            let reply = harness.ask(&one_more("before", "app", wall_ms - 1));
            assert_eq!(reply.reason(), Some(Reason::DedupeWindowExpired), "issued before the correction");
            let key = format!("after-{restarted}-{reload}");
            let after = one_more(&key, "app", wall_ms + 1);
            assert!(!harness.ask(&after).replayed());
            assert!(harness.ask(&after).replayed());
            let ahead = one_more("ahead", "app", wall_ms + ISSUE_TIME_SKEW_MAX_MS + 1);
            assert_eq!(harness.ask(&ahead).fact("field"), Some("context.issue_time"), "7 days, by the corrected clock");
        }
        // Two windows later the key is forgotten, and its command is still refused.
        harness.wait(DAY_MS);
        assert!(harness.forget());
        harness.wait(DAY_MS);
        assert!(harness.forget());
        let again = harness.ask(&one_more("after-false-false", "app", wall_ms + 1));
        assert_eq!(again.reason(), Some(Reason::DedupeWindowExpired));
        harness.check();
    }
}

#[test]
fn a_writer_whose_clock_was_as_fast_as_the_engine_is_served_by_its_correct_clock_and_does_nothing_twice() {
    for ahead_ms in [2 * DAY_MS, 400 * DAY_MS] {
        let mut harness = Harness::default().opened();
        harness.wait(ahead_ms);
        let first_ms = harness.now_ms;
        let first = one_more("first", "app", first_ms);
        harness.ask(&first).accepted();
        harness.wait(HOUR_MS);
        harness.ask(&one_more("second", "app", harness.now_ms)).accepted();
        let mut wall_ms = harness.now_ms - ahead_ms;
        assert!(correct(&mut harness, wall_ms));
        assert!(harness.ask(&first).replayed());
        // By its correct clock, until that reaches the issue times that it used before.
        for turn in 0..ahead_ms / HOUR_MS - 2 {
            let key = format!("later-{turn}");
            harness.ask(&one_more(&key, "app", wall_ms)).accepted();
            harness.forget();
            wall_ms += HOUR_MS;
            harness.wait(HOUR_MS);
            if turn % 24 == 0 {
                let reply = harness.ask(&first);
                assert!(reply.replayed() || reply.reason() == Some(Reason::DedupeWindowExpired), "{turn}: {reply:?}");
            }
        }
        // Then it cannot be distinguished from what was done and forgotten, for as long as the clock had been fast.
        harness.wait(2 * HOUR_MS);
        let reply = harness.ask(&one_more("there", "app", first_ms + HOUR_MS / 2));
        assert_eq!(reply.reason(), Some(Reason::DedupeWindowExpired));
        harness.ask(&one_more("other", "web", first_ms + HOUR_MS / 2)).accepted();
        harness.ask(&one_more("behind", "app", first_ms + HOUR_MS + 1)).accepted();
    }
}

#[test]
fn a_clock_ahead_of_engine_time_corrects_nothing() {
    let mut harness = Harness::default().opened();
    let before = harness.digest();
    let ahead_ms = harness.now_ms + 1;
    assert!(!correct(&mut harness, ahead_ms));
    assert!(!harness.ledger.correct_clock(i64::MIN, i64::MAX, &mut Payload::default(), harness::ROOMY));
    assert_eq!((harness.digest(), harness.ledger.clock_offset_ms()), (before, 0));
}

#[test]
fn the_first_image_format_has_no_issue_times_so_none_of_its_period_gets_the_offset() {
    let image = include_bytes!("fixtures/image-v1.bin");
    let mut loader = ImageLoader::new(LedgerOptions::new("main"));
    loader.piece(image).expect("the first format");
    let mut harness = Harness::default();
    harness.ledger = loader.finish().expect("the first format");
    let written_ms = harness.ledger.time_ms();
    harness.now_ms = written_ms + 2 * DAY_MS;
    let wall_ms = written_ms - HOUR_MS;
    assert!(correct(&mut harness, wall_ms));
    let reply = harness.ask(&one_more("k", "app", written_ms));
    assert_eq!(reply.reason(), Some(Reason::DedupeWindowExpired), "perhaps it was done and is forgotten");
    harness.ask(&one_more("k", "app", written_ms + 1)).accepted();
}

/// What happens to a ledger and its clocks.
#[derive(Clone, Debug)]
enum Step {
    /// A new command of a writer whose clock is this far ahead of the correct one.
    New {
        writer: usize,
        lead_ms: i64,
    },
    /// An earlier command again.
    Again(prop::sample::Index),
    Wait(i64),
    Forget,
    /// A start with a clock that is this far ahead of the correct one.
    Fast(i64),
    Correct,
    Restart,
    Reload,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lead = prop_oneof![3 => Just(0i64), 2 => -30_000..30_000i64, 1 => 0..200_000i64];
    let step = prop_oneof![
        6 => (0..3usize, lead).prop_map(|(writer, lead_ms)| Step::New { writer, lead_ms }),
        8 => any::<prop::sample::Index>().prop_map(Step::Again),
        4 => (0..8_000i64).prop_map(Step::Wait),
        4 => Just(Step::Forget),
        1 => (0..120_000i64).prop_map(Step::Fast),
        2 => Just(Step::Correct),
        1 => Just(Step::Restart),
        1 => Just(Step::Reload),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

    // case: A06
    #[test]
    fn nothing_is_done_twice_however_often_clocks_are_wrong_and_corrected(steps in steps()) {
        const WINDOW_MS: i64 = 10_000;
        let options = LedgerOptions { dedupe_window_ms: WINDOW_MS, ..LedgerOptions::new("main") };
        let mut harness = Harness::new(options.clone()).opened();
        let mut wall_ms = harness.now_ms;
        let mut asked: Vec<(String, usize, i64)> = Vec::new();
        let mut done: BTreeMap<String, u32> = BTreeMap::new();
        for step in &steps {
            match step {
                Step::New { writer, lead_ms } => {
                    asked.push((format!("k-{}", asked.len()), *writer, wall_ms + lead_ms));
                }
                Step::Again(_) => {}
                Step::Wait(ms) => {
                    wall_ms += ms;
                    harness.wait(*ms);
                    continue;
                }
                Step::Forget => {
                    harness.forget();
                    continue;
                }
                Step::Fast(ms) => {
                    harness.wait(*ms);
                    continue;
                }
                Step::Correct => {
                    correct(&mut harness, wall_ms);
                    continue;
                }
                Step::Restart => {
                    harness.restart();
                    continue;
                }
                Step::Reload => {
                    let (mut loader, mut piece) = (ImageLoader::new(options.clone()), Vec::new());
                    let mut image = harness.ledger.image();
                    while image.next(&mut piece) {
                        loader.piece(&piece).expect("an image of its own");
                    }
                    harness.ledger = loader.finish().expect("an image of its own");
                    continue;
                }
            }
            let place = match step {
                Step::Again(index) if !asked.is_empty() => index.index(asked.len()),
                Step::Again(_) => continue,
                _ => asked.len() - 1,
            };
            let (key, writer, issued_ms) = &asked[place];
            let reply = harness.ask(&one_more(key, ["app", "web", ""][*writer], *issued_ms));
            if reply.reason().is_none() && !reply.replayed() {
                *done.entry(key.clone()).or_default() += 1;
            }
        }
        prop_assert!(done.values().all(|times| *times == 1), "{done:?}");
        harness.check();
        let live = harness.digest();
        prop_assert_eq!(harness.refold().digest(), live);
    }
}
