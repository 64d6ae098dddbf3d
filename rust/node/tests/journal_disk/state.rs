//! A test run with a state: what a snapshot of it holds, and what any recovery must come to.

use invengine_node::journal::{FileJournal, Frame, Journal, JournalError, Manifest, Mark, Replay};

use super::disk::{Call, Disk, Left, sectors_of};
use super::run::{append_next, expected, small};
use super::storage::TestStorage;

/// Length of the journal files of this run.
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

    /// What the test run has folded to at a sequence, computed from nothing but the run's rule.
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

/// Opens the journal, from a snapshot if there is a good one.
pub fn recover(storage: &TestStorage) -> Result<(FileJournal, Rebuilt), JournalError> {
    let mut rebuilt = Rebuilt::default();
    let journal = FileJournal::recover_on(storage.shared(), &small(FILE_BYTES), &mut rebuilt)?;
    assert_eq!(journal.durable_sequence(), rebuilt.sum.last);
    Ok((journal, rebuilt))
}

/// Writes a snapshot of all that is durable, then trims.
pub fn snapshot(journal: &dyn Journal, mark: &mut Mark, sum: &mut Sum) -> Result<(), JournalError> {
    let mut history = journal.history()?.expect("the file journal has a history");
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

/// Appends so many frames, with a snapshot and a trim after each 50; answers the last acknowledged sequence and how many
/// snapshots failed.
pub fn run(storage: &TestStorage, frames: usize) -> (u64, usize) {
    let Ok((mut journal, _)) = recover(storage) else { return (0, 0) };
    let (mut mark, mut sum, mut acknowledged, mut failed) = (Mark::start("main"), Sum::default(), 0, 0);
    for index in 1..=frames {
        match append_next(&mut journal, false) {
            Ok(sequence) => acknowledged = sequence,
            Err(JournalError::Full { .. }) => {}
            Err(_) => break,
        }
        storage.mark(acknowledged);
        if index % 50 == 0 && snapshot(&journal, &mut mark, &mut sum).is_err() {
            failed += 1;
        }
    }
    (acknowledged, failed)
}

/// All states a crash can leave just before a call, and in the first sectors of a write.
pub fn crashes(disk: &Disk, call: &Call) -> Vec<Disk> {
    let mut states = vec![disk.after_crash(&Left::Nothing), disk.after_crash(&Left::Everything)];
    if let Call::Write(_, offset, data) = call {
        let mut half_way = disk.clone();
        half_way.apply(call);
        let sectors = sectors_of(*offset, data);
        // A write of many sectors (zeros of a new file) is torn at each of its first ones.
        for cut in 1..sectors.min(8) {
            states.push(half_way.after_crash(&Left::Sectors(0..cut)));
            states.push(half_way.after_crash(&Left::Sectors(cut..sectors)));
        }
    }
    states
}
