//! Bytes that are not a journal are refused, or give a state that can be read. Nothing panics, whatever they are.

mod harness;
mod history;

use std::cell::RefCell;
use std::sync::LazyLock;

use invengine_ledger::{Audit, Digest, Ledger, LedgerOptions, Payload, RecordReader};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use harness::commands::reserve;
use harness::{Frame, ROOMY, START_MS};
use history::{Look, Player, history, play};

/// The journals to damage, from histories with a fixed seed.
static JOURNALS: LazyLock<Vec<Vec<Frame>>> = LazyLock::new(|| {
    let mut runner = TestRunner::deterministic();
    let mut make = |_| {
        let steps = history(60).new_tree(&mut runner).expect("a history").current();
        play(&steps, 2_000, Look::End, false).harness.frames
    };
    (0..16).map(&mut make).collect()
});

/// Folds any frames. If that succeeds, everything can be read and the ledger can go on.
fn fold_anything(frames: &[Frame]) -> bool {
    let mut ledger = Ledger::new(LedgerOptions::new("main"));
    let mut audit = Audit::default();
    let mut folded = true;
    for frame in frames {
        let audited = RefCell::new(std::mem::take(&mut audit));
        folded = ledger
            .fold_with(
                &frame.payload,
                frame.time_ms,
                frame.writer_epoch,
                &mut |ledger, record| {
                    audited.borrow_mut().before(ledger, record);
                    true
                },
                &mut |ledger, record| {
                    audited.borrow_mut().after(ledger, record);
                    true
                },
            )
            .is_ok();
        audit = audited.into_inner();
        if !folded {
            break;
        }
    }
    read_everything(&mut ledger);
    if folded {
        go_on(ledger);
    }
    folded
}

fn read_everything(ledger: &mut Ledger) {
    let digest = ledger.digest();
    assert_eq!(ledger.digest(), digest);
    let _ = Audit::check(ledger);
    for level in 0..ledger.level_count() as u32 {
        let (sku, location) = ledger.level_names(level);
        assert!(!format!("{sku}{location}{:?}", ledger.figures(level, i64::MAX)).is_empty());
    }
    for reservation in ledger.reservations() {
        assert_eq!(ledger.parse_token(&ledger.token(reservation.id)), Some(reservation.id));
        let channel = reservation.channel.map_or("", |channel| ledger.channels().name(channel));
        let quantity: i64 = reservation.lines.iter().map(|line| line.quantity() / 1_000).sum();
        assert!(!format!("{channel} {quantity} {}", reservation.is_live(0)).is_empty());
        assert!(ledger.reservations_of_order(&reservation.order_ref).count() <= ledger.reservation_count());
    }
}

fn go_on(mut ledger: Ledger) {
    let mut payload = Payload::default();
    let now_ms = ledger.time_ms().saturating_add(10_000_000);
    ledger.sweep(now_ms, &mut payload, ROOMY);
    ledger.forget_keys(now_ms, &mut payload, ROOMY);
    for command in Player::opening() {
        ledger.execute(&command, now_ms, &mut payload, ROOMY);
    }
    ledger.execute(&reserve("after", &[("mug", "wh-1", 1)]), now_ms, &mut payload, ROOMY);
    read_everything(&mut ledger);
}

#[test]
fn a_payload_cut_anywhere_is_refused_or_lacks_whole_records() {
    let frames = &JOURNALS[0];
    let mut refused = 0;
    for length in 0..frames[0].payload.len() {
        let mut cut = frames[0].clone();
        cut.payload.truncate(length);
        refused += usize::from(!fold_anything(&[cut]));
    }
    let mut reader = RecordReader::new(&frames[0].payload, frames[0].time_ms).expect("a frame of its own");
    let records = std::iter::from_fn(|| reader.next().expect("a record of its own")).count();
    // The version byte alone is a payload without records; a cut at the end of a record is also a valid payload.
    assert_eq!(frames[0].payload.len() - refused, records);
}

// case: H17
#[test]
fn every_flipped_bit_of_a_journal_is_survived() {
    for frames in &*JOURNALS {
        for number in 0..frames.len() {
            for bit in 0..frames[number].payload.len() * 8 {
                let mut flipped = frames[..=number].to_vec();
                flipped[number].payload[bit / 8] ^= 1 << (bit % 8);
                fold_anything(&flipped);
            }
        }
    }
}

// case: E16
#[test]
fn another_version_and_an_empty_payload_are_refused() {
    let mut ledger = Ledger::new(LedgerOptions::new("main"));
    for payload in [&[][..], &[0], &[2], &[255, 0, 0]] {
        ledger.fold(payload, START_MS, 1).expect_err("not of this version");
    }
    ledger.fold(&[1], START_MS, u64::MAX).expect_err("a writer epoch beyond 2^32");
    assert_eq!(ledger.digest(), Digest::default());
}

/// One way to damage a journal: what, where, with which byte.
type Damage = (u8, Index, Index, u8);

fn damage(frames: &mut Vec<Frame>, (kind, frame, place, byte): &Damage) {
    let (number, count) = (frame.index(frames.len()), frames.len());
    let payload = &mut frames[number].payload;
    let at = place.index(payload.len());
    match kind {
        0 => payload[at] = *byte,
        1 => payload.insert(at, *byte),
        2 => drop(payload.remove(at)),
        3 => payload.truncate(at.max(1)),
        4 => payload.extend_from_within(at..),
        5 => frames.swap(number, at % count),
        6 => drop(frames.remove(number)),
        _ => {
            let twice = frames[number].clone();
            frames.insert(number, twice);
        }
    }
    if frames.is_empty() {
        frames.push(Frame { time_ms: START_MS, writer_epoch: 1, payload: vec![1, *byte], sequence: 0 });
    }
    frames.iter_mut().filter(|frame| frame.payload.is_empty()).for_each(|frame| frame.payload.push(1));
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let kind = prop_oneof![8 => 0..3u8, 1 => 3..8u8];
    prop::collection::vec((kind, any::<Index>(), any::<Index>(), any::<u8>()), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() })]

    // case: H17
    #[test]
    fn damaged_journals_are_survived(number in 0..16usize, damages in damages()) {
        let mut frames = JOURNALS[number].clone();
        damages.iter().for_each(|one| damage(&mut frames, one));
        fold_anything(&frames);
    }

    // case: H17
    #[test]
    fn arbitrary_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), time_ms in any::<i64>()) {
        let mut payload = vec![1];
        payload.extend(bytes);
        fold_anything(&[Frame { time_ms, writer_epoch: 1, payload, sequence: 0 }]);
    }
}
