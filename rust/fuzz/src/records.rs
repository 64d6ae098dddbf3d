//! Records: whatever the payload of a frame contains, a fold refuses it or gives a state that can be read and continued.

use invengine_ledger::{Audit, Digest, Ledger, LedgerOptions, Malformed, Payload, RecordReader};

use crate::Signature;
use crate::byte_source::ByteSource;
use crate::script;

const FRAMES_MAX: usize = 64;
const ROOMY: usize = 1 << 20;

struct InputFrame<'a> {
    time_ms: i64,
    epoch: u64,
    payload: &'a [u8],
}

/// The bytes describe frames: a time difference, an epoch, a length, a payload.
pub fn run(bytes: &[u8]) -> Signature {
    let mut feed = ByteSource::new(bytes);
    let mut frames = Vec::new();
    let mut time_ms = script::START_MS;
    while !feed.is_empty() && frames.len() < FRAMES_MAX {
        time_ms = time_ms.saturating_add(i64::from(feed.short() as i16) << (feed.byte() % 48));
        let epoch = u64::from(feed.byte());
        let length = usize::from(feed.short());
        frames.push(InputFrame { time_ms, epoch, payload: feed.take(length) });
    }
    let (mut ledger, folded) = fold(&frames);
    let digest = read_everything(&mut ledger);
    let (mut again, folded_again) = fold(&frames);
    assert_eq!((digest, folded), (again.digest(), folded_again), "the same bytes gave two states");
    let what = folded.map(|()| kinds(&frames));
    if what.is_ok() {
        go_on(ledger);
    }
    Signature::of(what.map_err(|malformed| malformed.0))
}

fn fold(frames: &[InputFrame<'_>]) -> (Ledger, Result<(), Malformed>) {
    let mut ledger = Ledger::new(LedgerOptions::new("main"));
    let folded = frames.iter().try_for_each(|frame| ledger.fold(frame.payload, frame.time_ms, frame.epoch));
    (ledger, folded)
}

/// The kinds of events that occur, one bit each.
fn kinds(frames: &[InputFrame<'_>]) -> u64 {
    let mut kinds = 0;
    for frame in frames {
        let mut reader = RecordReader::new(frame.payload, frame.time_ms).expect("it was folded");
        while let Some(record) = reader.next().expect("it was folded") {
            for event in record.events.iter() {
                kinds |= 1 << (Signature::of(std::mem::discriminant(event)).0 % 64);
            }
        }
    }
    kinds
}

fn read_everything(ledger: &mut Ledger) -> Digest {
    let digest = ledger.digest();
    let _ = Audit::check(ledger);
    for level in 0..ledger.level_count() as u32 {
        let _ = (ledger.level_names(level), ledger.figures(level, i64::MAX));
    }
    for reservation in ledger.reservations() {
        assert_eq!(ledger.parse_token(&ledger.token(reservation.id)), Some(reservation.id));
        assert!(ledger.reservations_of_order(&reservation.order_ref).count() <= ledger.reservation_count());
    }
    digest
}

fn go_on(mut ledger: Ledger) {
    let mut payload = Payload::default();
    let now_ms = ledger.time_ms().saturating_add(10_000_000);
    ledger.sweep(now_ms, &mut payload, ROOMY);
    ledger.forget_keys(now_ms, &mut payload, ROOMY);
    read_everything(&mut ledger);
}

fn input(frames: &[script::StoredFrame]) -> Vec<u8> {
    let mut input = Vec::new();
    for frame in frames {
        input.extend([7, 0, 0, 1]);
        input.extend((frame.payload.len() as u16).to_le_bytes());
        input.extend(&frame.payload);
    }
    input
}

/// The day's journal, and each prefix of it.
pub fn seeds() -> Vec<Vec<u8>> {
    let frames = &*script::FRAMES;
    (1..=frames.len()).map(|count| input(&frames[..count])).collect()
}
