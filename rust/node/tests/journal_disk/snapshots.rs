//! A minimal state, rebuilt from snapshots and frames, and its snapshots.

use invengine_node::journal::{
    FileJournal, FileOptions, Frame, Journal, JournalError, JournalPosition, Manifest, Replay, Trimmed,
};

use super::run::{expected, small};
use super::storage::TestStorage;

/// Size of the journal files.
pub const FILE_BYTES: u64 = 8 << 10;

/// A state that depends on every frame: the last sequence and a hash of all payloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    pub last: u64,
    pub hash: u64,
}

impl Sum {
    pub fn fold(&mut self, last: u64, payload: &[u8]) {
        self.last = last;
        self.hash = self.hash.wrapping_mul(31).wrapping_add(u64::from(crc32c::crc32c(payload)) + last);
    }

    /// The sum of the test run at a sequence, computed only from the run's rule.
    pub fn at(sequence: u64) -> Self {
        let mut sum = Self::default();
        while sum.last < sequence {
            let frame = expected(sum.last + 1, false);
            sum.fold(frame.last_sequence, &frame.payload);
        }
        sum
    }

    pub fn digest(self) -> String {
        format!("{:032x}", self.hash)
    }
}

/// Rebuilds the sum, from a snapshot if there is one.
#[derive(Default)]
pub struct Rebuilt {
    pub sum: Sum,
    bytes: Vec<u8>,
    pub from_snapshot: bool,
    pub notes: Vec<String>,
}

impl Replay for Rebuilt {
    fn begin(&mut self, _snapshot: &Manifest) -> bool {
        self.begin_empty();
        true
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self, snapshot: &Manifest) -> Result<(), String> {
        let number = |at: usize| self.bytes[at..at + 8].try_into().map(u64::from_le_bytes).unwrap();
        self.sum = Sum { last: number(0), hash: number(8) };
        self.from_snapshot = true;
        let same = self.sum.last == snapshot.position.sequence() && self.sum.digest() == snapshot.digest;
        if same { Ok(()) } else { Err("not the state of its manifest".into()) }
    }

    fn begin_empty(&mut self) {
        let notes = std::mem::take(&mut self.notes);
        *self = Self { notes, ..Self::default() };
    }

    fn frame(&mut self, frame: Frame<'_>) -> Result<(), String> {
        if !frame.is_claim() {
            self.sum.fold(frame.last_sequence, frame.payload);
        }
        Ok(())
    }

    fn note(&mut self, note: &str) {
        self.notes.push(note.into());
    }

    fn progress(&mut self, _done_bytes: u64, _of_bytes: u64) {}
}

/// Opens a journal of small files.
pub fn recover(storage: &TestStorage) -> Result<(FileJournal, Rebuilt), JournalError> {
    recover_with(storage, &small(FILE_BYTES))
}

/// The same with other options.
pub fn recover_with(storage: &TestStorage, options: &FileOptions) -> Result<(FileJournal, Rebuilt), JournalError> {
    let mut rebuilt = Rebuilt::default();
    let journal = FileJournal::recover_on(storage.shared(), options, &mut rebuilt)?;
    assert_eq!(journal.durable_sequence(), rebuilt.sum.last);
    Ok((journal, rebuilt))
}

/// Writes a snapshot of everything durable, then trims.
pub fn snapshot(journal: &dyn Journal, position: &mut JournalPosition, sum: &mut Sum) -> Result<Trimmed, JournalError> {
    let mut store = journal.snapshot_store()?.expect("the file journal keeps snapshots");
    *position = store.frames_after(position, &mut |frame| {
        if !frame.is_claim() {
            sum.fold(frame.last_sequence, frame.payload);
        }
        true
    })?;
    store.begin(position)?;
    store.piece(&[sum.last.to_le_bytes(), sum.hash.to_le_bytes()].concat())?;
    store.piece(&[7; 300])?;
    store.commit(&sum.digest())?;
    store.trim(position.time_ms())
}
