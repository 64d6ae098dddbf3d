//! The test run: frames that are determined by their sequence alone, so any journal can be checked to
//! hold a prefix of it.

use invengine_node::journal::{EveryFrame, FileJournal, FileOptions, Frame, Journal, JournalError};

use super::storage::TestStorage;

/// Options for small files without a preallocating thread, so that a run makes the same calls every
/// time.
pub fn small(file_bytes: u64) -> FileOptions {
    let mut options = FileOptions::new("", "main");
    options.journal_file_bytes = file_bytes;
    options.preallocate = false;
    options
}

/// A copy of a frame with events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub first_sequence: u64,
    pub last_sequence: u64,
    pub time_ms: i64,
    pub payload: Vec<u8>,
}

impl Kept {
    pub fn of(frame: &Frame<'_>) -> Self {
        Self {
            first_sequence: frame.first_sequence,
            last_sequence: frame.last_sequence,
            time_ms: frame.time_ms,
            payload: frame.payload.into(),
        }
    }
}

/// The frame that starts at a sequence in every test run: its length and bytes are determined by the
/// sequence alone.
pub fn expected(first_sequence: u64, long: bool) -> Kept {
    let bytes = match first_sequence % 16 {
        0 if long => 1700,
        5 => 0,
        rest => 20 + 9 * rest as usize,
    };
    let payload = (0..bytes).map(|index| (first_sequence as usize * 31 + index * 7) as u8).collect();
    let last_sequence = first_sequence + first_sequence % 3;
    Kept { first_sequence, last_sequence, time_ms: 1_000 + first_sequence as i64, payload }
}

/// Appends the next frame of a test run.
pub fn append_next(journal: &mut dyn Journal, long: bool) -> Result<u64, JournalError> {
    let kept = expected(journal.durable_sequence() + 1, long);
    journal.append(kept.first_sequence, kept.last_sequence, kept.time_ms, &kept.payload)?;
    Ok(kept.last_sequence)
}

/// A journal of `frames` frames on a fresh disk, with each acknowledgement recorded among the calls.
pub fn written(frames: usize, file_bytes: u64, long: bool) -> TestStorage {
    let storage = TestStorage::default();
    let mut journal = open(&storage, file_bytes).unwrap().0;
    for _ in 0..frames {
        let sequence = append_next(&mut journal, long).unwrap();
        storage.mark(sequence);
    }
    journal.close().unwrap();
    storage
}

/// Opens the journal and returns the frames with events it held.
pub fn open(storage: &TestStorage, file_bytes: u64) -> Result<(FileJournal, Vec<Kept>), JournalError> {
    let mut frames = Vec::new();
    let journal = FileJournal::recover_on(
        storage.shared(),
        &small(file_bytes),
        &mut EveryFrame(&mut |frame| {
            if !frame.is_claim() {
                frames.push(Kept::of(&frame));
            }
            Ok(())
        }),
    )?;
    Ok((journal, frames))
}

/// Checks that these frames are the start of the test run; returns the last sequence.
pub fn assert_prefix(frames: &[Kept], long: bool) -> u64 {
    let mut last = 0;
    for frame in frames {
        assert_eq!(*frame, expected(last + 1, long));
        last = frame.last_sequence;
    }
    last
}
