//! Sits between the engine and its journal: reports to the checker what becomes durable, and keeps frames short, so that
//! small files roll over.

use std::sync::{Arc, Mutex};

use invengine_node::journal::{Frame, Journal, JournalError, JournalReader, Manifest, Replay, SnapshotStore};

use crate::journal_checker::JournalChecker;
use crate::planted::Planted;
use crate::storage::lock;

/// The journal checker, shared with the journals.
pub type SharedChecker = Arc<Mutex<JournalChecker>>;

/// A journal whose appends are reported to the checker.
pub struct ObservedJournal {
    inner: Box<dyn Journal>,
    checker: SharedChecker,
    writer: usize,
    payload_bytes_max: u64,
    planted: Option<Planted>,
    appends: u64,
}

impl ObservedJournal {
    /// Wraps the journal of a process; its appends are reported to this checker.
    pub fn new(
        inner: Box<dyn Journal>,
        checker: SharedChecker,
        writer: usize,
        payload_bytes_max: u64,
        planted: Option<Planted>,
    ) -> Self {
        ObservedJournal { inner, checker, writer, payload_bytes_max, planted, appends: 0 }
    }
}

impl Journal for ObservedJournal {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn loss_window(&self) -> String {
        self.inner.loss_window()
    }

    fn writer_epoch(&self) -> u64 {
        self.inner.writer_epoch()
    }

    fn durable_sequence(&self) -> u64 {
        self.inner.durable_sequence()
    }

    fn payload_bytes_max(&self) -> u64 {
        self.inner.payload_bytes_max().min(self.payload_bytes_max)
    }

    fn append(
        &mut self,
        first_sequence: u64,
        last_sequence: u64,
        time_ms: i64,
        payload: &[u8],
    ) -> Result<(), JournalError> {
        let writer_epoch = self.inner.writer_epoch();
        let frame = Frame { first_sequence, last_sequence, time_ms, writer_epoch, payload };
        lock(&self.checker).appending(self.writer, &frame);
        self.appends += 1;
        let skip = self.planted == Some(Planted::SkippedFrame) && self.appends.is_multiple_of(20);
        if !skip {
            self.inner.append(first_sequence, last_sequence, time_ms, payload)?;
        }
        lock(&self.checker).confirmed(self.writer);
        Ok(())
    }

    fn ensure_room(&mut self, bytes: u64) -> Result<(), JournalError> {
        self.inner.ensure_room(bytes)
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        self.inner.reader()
    }

    fn snapshot_store(&self) -> Result<Option<Box<dyn SnapshotStore>>, JournalError> {
        self.inner.snapshot_store()
    }

    fn is_leased(&self) -> bool {
        self.inner.is_leased()
    }

    fn verify_ownership(&mut self) -> Result<bool, JournalError> {
        self.inner.verify_ownership()
    }

    fn close(&mut self) -> Result<(), JournalError> {
        self.inner.close()
    }
}

/// Reports to the checker what a recovery reads.
pub struct ObservedReplay<'r> {
    pub inner: &'r mut dyn Replay,
    pub checker: SharedChecker,
    pub writer: usize,
}

impl Replay for ObservedReplay<'_> {
    fn begin(&mut self, snapshot: &Manifest) -> bool {
        lock(&self.checker).replay(self.writer, snapshot.position.sequence(), snapshot.position.writer_epoch());
        self.inner.begin(snapshot)
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.inner.piece(bytes)
    }

    fn end(&mut self, snapshot: &Manifest) -> Result<(), String> {
        self.inner.end(snapshot)
    }

    fn begin_empty(&mut self) {
        lock(&self.checker).replay(self.writer, 0, 0);
        self.inner.begin_empty();
    }

    fn frame(&mut self, frame: Frame<'_>) -> Result<(), String> {
        lock(&self.checker).replayed(self.writer, &frame);
        self.inner.frame(frame)
    }

    fn admit(&mut self) -> Result<(), JournalError> {
        self.inner.admit()
    }

    /// Simulated snapshots are damaged often: their notes are of no interest.
    fn note(&mut self, _note: &str) {}

    fn progress(&mut self, done_bytes: u64, of_bytes: u64) {
        self.inner.progress(done_bytes, of_bytes);
    }
}
