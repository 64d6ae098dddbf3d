//! A state so small that a test can compute it twice: for the promises of snapshots, whatever the journal.
#![allow(dead_code, reason = "each test target uses a part of it")]

use invengine_node::journal::{Frame, Journal, JournalError, Manifest, Mark, Replay};

use crate::journal_disk::expected;

/// A state that depends on every frame: the last sequence and a hash of all payloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    pub last: u64,
    pub hash: u64,
}

impl Sum {
    /// Takes one frame with events.
    pub fn fold(&mut self, last: u64, payload: &[u8]) {
        self.last = last;
        self.hash = self.hash.wrapping_mul(31).wrapping_add(u64::from(crc32c::crc32c(payload)) + last);
    }

    /// What the test run has folded to at a sequence, computed from nothing but the run's rule.
    pub fn at(sequence: u64) -> Self {
        let mut sum = Self::default();
        while sum.last < sequence {
            let frame = expected(sum.last + 1, false);
            sum.fold(frame.last_sequence, &frame.payload);
        }
        sum
    }

    /// The digest that its snapshot carries.
    pub fn digest(self) -> String {
        format!("{:032x}", self.hash)
    }
}

/// Rebuilds the sum, from a snapshot where there is one.
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
        let same = self.sum.last == snapshot.mark.sequence() && self.sum.digest() == snapshot.digest;
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

/// Writes a snapshot of all that is durable, then trims.
pub fn snapshot(journal: &dyn Journal, mark: &mut Mark, sum: &mut Sum) -> Result<(), JournalError> {
    let mut history = journal.history()?.expect("this journal has a history");
    *mark = history.frames_after(mark, &mut |frame| {
        if !frame.is_claim() {
            sum.fold(frame.last_sequence, frame.payload);
        }
        true
    })?;
    history.begin(mark)?;
    history.piece(&[sum.last.to_le_bytes(), sum.hash.to_le_bytes()].concat())?;
    history.piece(&[7; 300])?;
    history.commit(&sum.digest())?;
    history.trim(mark.time_ms()).map(drop)
}
