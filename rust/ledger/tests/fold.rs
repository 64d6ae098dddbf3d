//! The journal is the source of truth: its fold equals the live ledger bit for bit, wherever frames end and whenever the digest
//! is read.

mod harness;
mod history;

use invengine_ledger::event::StockKind;
use invengine_ledger::{Audit, DEDUPE_WINDOW_MS, Digest, Ledger, LedgerOptions, RecordReader, SWEEP_LINES_MAX};
use proptest::prelude::*;

use harness::commands::{reserve, stock};
use harness::{Frame, Harness, START_MS};
use history::{Look, history, play};

/// Folds frames and returns the digest at the end of each.
fn digests_of(frames: &[Frame]) -> Vec<(u64, Digest)> {
    let mut ledger = Ledger::new(LedgerOptions::new("main"));
    frames
        .iter()
        .map(|frame| {
            ledger.fold(&frame.payload, frame.time_ms, frame.writer_epoch).expect("a frame of its own");
            assert_eq!(ledger.sequence(), frame.sequence);
            (ledger.sequence(), ledger.digest())
        })
        .collect()
}

fn window() -> impl Strategy<Value = i64> {
    prop_oneof![Just(2_000i64), Just(DEDUPE_WINDOW_MS)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    // case: E17
    #[test]
    fn the_fold_is_the_live_ledger_at_every_frame_boundary(steps in history(100), window_ms in window()) {
        let played = play(&steps, window_ms, Look::EachFrame, false);
        for (sequence, digest) in digests_of(&played.harness.frames) {
            if let Some(live) = played.digests.get(&sequence) {
                prop_assert_eq!(*live, digest, "at {}", sequence);
            }
        }
        let last = digests_of(&played.harness.frames).pop().expect("a history has frames");
        prop_assert_eq!(last.1, played.last());
    }

    #[test]
    fn neither_frames_nor_reading_digests_change_the_state(steps in history(100), window_ms in window()) {
        let played = play(&steps, window_ms, Look::End, false);
        let often = play(&steps, window_ms, Look::EachStep, true);
        prop_assert_eq!(played.last(), often.last());
        prop_assert!(often.harness.frames.len() >= played.harness.frames.len());
        prop_assert_eq!(digests_of(&often.harness.frames).pop(), digests_of(&played.harness.frames).pop());
        // The records are the same, however they are divided into frames.
        let records = |frames: &[Frame]| -> Vec<String> {
            frames.iter().flat_map(records_of).collect()
        };
        prop_assert_eq!(records(&often.harness.frames), records(&played.harness.frames));
    }

    // case: C11
    #[test]
    fn a_fold_can_stop_after_any_record(steps in history(60)) {
        let played = play(&steps, 2_000, Look::EachStep, false);
        for (sequence, digest) in &played.digests {
            prop_assert_eq!(fold_until(&played.harness.frames, *sequence).digest(), *digest, "at {}", sequence);
        }
    }

    // case: C11
    #[test]
    fn no_hold_takes_more_than_the_stock(steps in history(100)) {
        let mut played = play(&steps, 2_000, Look::End, false);
        // The fold of the harness compares free units before and after each record.
        let ledger = played.harness.refold();
        prop_assert!(Audit::check(&ledger).is_empty());
    }
}

fn records_of(frame: &Frame) -> Vec<String> {
    let mut reader = RecordReader::new(&frame.payload, frame.time_ms).expect("a frame of its own");
    let mut records = Vec::new();
    while let Some(record) = reader.next().expect("a record of its own") {
        records.push(format!("{record:?}"));
    }
    records
}

/// The state at a sequence, with every counter verified after every record.
fn fold_until(frames: &[Frame], sequence: u64) -> Ledger {
    let mut ledger = Ledger::new(LedgerOptions::new("main"));
    for frame in frames {
        let whole = ledger
            .fold_with(&frame.payload, frame.time_ms, frame.writer_epoch, &mut |_, _| true, &mut |ledger, _| {
                assert_eq!(Audit::check(ledger), Vec::new());
                ledger.sequence() < sequence
            })
            .expect("a frame of its own");
        assert_eq!(ledger.sequence() >= sequence, !whole);
        if !whole {
            break;
        }
    }
    ledger
}

#[test]
fn a_fold_can_stop_before_any_record() {
    let mut harness = Harness::with_mugs(5);
    let first = harness.ledger.sequence();
    harness.wait(1_000);
    harness.ask(&stock("in", StockKind::Received, "mug", "wh-1", 1)).accepted();
    harness.cut();
    let frame = harness.frames.last().expect("a frame");
    for (until_ms, expected) in [(999, first), (1_000, first + 1)] {
        let mut ledger = Ledger::new(LedgerOptions::new("main"));
        let whole = ledger
            .fold_with(
                &frame.payload,
                frame.time_ms,
                1,
                &mut |_, record| record.time_ms <= START_MS + until_ms,
                &mut |_, _| true,
            )
            .expect("a frame of its own");
        assert_eq!((ledger.sequence(), whole), (expected, expected > first), "{until_ms}");
    }
}

#[test]
fn the_audit_finds_holds_on_missing_stock() {
    // The frames of a ledger with 8 mugs, except the frame that received them, which is from a ledger with 5.
    let journal = |quantity: i64| {
        let mut harness = Harness::default().opened();
        harness.cut();
        harness.ask(&stock("in", StockKind::Received, "mug", "wh-1", quantity)).accepted();
        harness.cut();
        harness.ask(&reserve("r", &[("mug", "wh-1", quantity)])).accepted();
        harness.cut();
        harness.frames
    };
    let mut frames = journal(8);
    frames[1] = journal(5).swap_remove(1);
    let mut ledger = Ledger::new(LedgerOptions::new("main"));
    let mut audit = Audit::default();
    for frame in &frames {
        let mut reader = RecordReader::new(&frame.payload, frame.time_ms).unwrap();
        let record = reader.next().unwrap().expect("a record");
        audit.before(&ledger, &record);
        ledger.fold(&frame.payload, frame.time_ms, 1).unwrap();
        if frame.sequence != frames[0].sequence {
            audit.after(&ledger, &record);
        }
    }
    assert_eq!(audit.oversold_by_holds(), 3);
    assert_eq!(Audit::check(&ledger), Vec::new(), "the counters still equal their parts");
}

// case: D07
#[test]
fn a_sweep_works_in_slices_while_expired_units_are_free_at_once() {
    let mut harness = Harness::with_mugs(10_000);
    let keys: Vec<String> = (0..5_000).map(|number| format!("r-{number}")).collect();
    for key in &keys {
        harness.ask(&reserve(key, &[("mug", "wh-1", 2)])).accepted();
    }
    assert_eq!(harness.level("mug", "wh-1"), (10_000, 10_000, 0, 0, 0));
    harness.wait(60_100);
    assert_eq!(harness.level("mug", "wh-1"), (10_000, 0, 0, 10_000, 0), "before any event is written");
    let mut left = 5_000;
    while left > 0 {
        let count = harness.sweep();
        assert!((1..=SWEEP_LINES_MAX).contains(&count), "{count}");
        harness.cut();
        harness.check();
        left -= count;
        assert_eq!(harness.level("mug", "wh-1"), (10_000, 0, 0, 10_000, 0));
        assert_eq!(harness.ledger.open_reservations(), left as u64);
        let live = harness.digest();
        assert_eq!(harness.refold().digest(), live);
    }
    assert_eq!((harness.sweep(), harness.ledger.expired_reservations()), (0, 5_000));
    assert_eq!(harness.ledger.next_expiry_ms(), None);
}

#[test]
fn a_sweep_that_finds_no_room_loses_nothing() {
    let mut harness = Harness::with_mugs(10);
    harness.ask(&reserve("r", &[("mug", "wh-1", 3)])).accepted();
    harness.cut();
    let sequence = harness.ledger.sequence();
    harness.wait(60_100);
    harness.bytes_max = 3;
    let before = harness.digest();
    assert_eq!((harness.sweep(), harness.ledger.sequence(), harness.digest()), (0, sequence, before));
    harness.bytes_max = harness::ROOMY;
    assert_eq!((harness.sweep(), harness.ledger.sequence()), (1, sequence + 1));
}

#[test]
fn a_sweep_expires_what_the_frame_has_room_for() {
    let mut harness = Harness::with_mugs(1_000);
    let keys: Vec<String> = (0..500).map(|number| format!("r-{number}")).collect();
    for key in &keys {
        harness.ask(&reserve(key, &[("mug", "wh-1", 2)])).accepted();
    }
    harness.cut();
    harness.wait(60_100);
    harness.bytes_max = 300;
    let mut frames = 0;
    while harness.ledger.open_reservations() > 0 {
        assert!(harness.sweep() > 0, "an empty frame has room for some");
        assert!(harness.open_bytes() <= 300);
        harness.cut();
        frames += 1;
    }
    assert!(frames > 5, "all of them did not fit into one: {frames}");
    let live = harness.digest();
    assert_eq!((harness.refold().digest(), harness.ledger.expired_reservations()), (live, 500));
}

#[test]
fn sweeps_that_are_sliced_differently_leave_the_same_levels() {
    let run = |sweep_each: bool| {
        let mut harness = Harness::with_mugs(100);
        let keys: Vec<String> = (0..20).map(|number| format!("r-{number}")).collect();
        for key in &keys {
            harness.ask(&reserve(key, &[("mug", "wh-1", 5)])).accepted();
            harness.wait(7_000);
            if sweep_each {
                harness.sweep();
            }
        }
        let level = harness.level("mug", "wh-1");
        harness.sweep();
        let live = harness.digest();
        assert_eq!(harness.refold().digest(), live);
        (level, harness.level("mug", "wh-1"), harness.ledger.expired_reservations(), harness.ledger.sequence())
    };
    assert_eq!(run(true), run(false));
}

// case: D02
#[test]
fn time_that_goes_back_is_refused() {
    let mut harness = Harness::with_mugs(5);
    harness.cut();
    harness.wait(1_000);
    harness.ask(&stock("in", StockKind::Received, "mug", "wh-1", 1)).accepted();
    harness.cut();
    let frames = &harness.frames;
    let mut ledger = Ledger::new(LedgerOptions::new("main"));
    ledger.fold(&frames[1].payload, frames[1].time_ms, 1).expect_err("events on names that do not exist");
    let mut ledger = Ledger::new(LedgerOptions::new("main"));
    ledger.fold(&frames[0].payload, frames[0].time_ms, 1).expect("the first frame");
    ledger.fold(&frames[1].payload, START_MS - 1, 1).expect_err("time does not go back");
}
