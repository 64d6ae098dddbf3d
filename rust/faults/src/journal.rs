//! Stands between engine and journal: tells the follower what becomes durable, and keeps frames short, so that small files
//! turn over.

use std::sync::{Arc, Mutex};

use invengine_node::journal::{Frame, History, Journal, JournalError, JournalReader, Manifest, Replay};

use crate::follower::Follower;
use crate::planted::Planted;
use crate::storage::lock;

/// The follower, shared with the journal.
pub type Shared = Arc<Mutex<Follower>>;

/// A journal that is looked at.
pub struct Watched {
    inner: Box<dyn Journal>,
    follower: Shared,
    writer: usize,
    payload_bytes_max: u64,
    planted: Option<Planted>,
    appends: u64,
}

impl Watched {
    /// A journal of a process, whose appends this follower hears of.
    pub fn new(
        inner: Box<dyn Journal>,
        follower: Shared,
        writer: usize,
        payload_bytes_max: u64,
        planted: Option<Planted>,
    ) -> Self {
        Watched { inner, follower, writer, payload_bytes_max, planted, appends: 0 }
    }
}

impl Journal for Watched {
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
        lock(&self.follower).attempts(self.writer, &frame);
        self.appends += 1;
        let skip = self.planted == Some(Planted::SkippedFrame) && self.appends.is_multiple_of(20);
        if !skip {
            self.inner.append(first_sequence, last_sequence, time_ms, payload)?;
        }
        lock(&self.follower).confirmed(self.writer);
        Ok(())
    }

    fn ensure_room(&mut self, bytes: u64) -> Result<(), JournalError> {
        self.inner.ensure_room(bytes)
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        self.inner.reader()
    }

    fn history(&self) -> Result<Option<Box<dyn History>>, JournalError> {
        self.inner.history()
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

/// Lets the follower see what a recovery finds.
pub struct WatchedReplay<'r> {
    pub inner: &'r mut dyn Replay,
    pub follower: Shared,
    pub writer: usize,
}

impl Replay for WatchedReplay<'_> {
    fn begin(&mut self, snapshot: &Manifest) -> bool {
        lock(&self.follower).replay(self.writer, snapshot.mark.sequence(), snapshot.mark.writer_epoch());
        self.inner.begin(snapshot)
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.inner.piece(bytes)
    }

    fn end(&mut self, snapshot: &Manifest) -> Result<(), String> {
        self.inner.end(snapshot)
    }

    fn begin_empty(&mut self) {
        lock(&self.follower).replay(self.writer, 0, 0);
        self.inner.begin_empty();
    }

    fn frame(&mut self, frame: Frame<'_>) -> Result<(), String> {
        lock(&self.follower).replayed(self.writer, &frame);
        self.inner.frame(frame)
    }

    fn admit(&mut self) -> Result<(), JournalError> {
        self.inner.admit()
    }

    /// A simulated snapshot is bad all the time: nobody need hear of it.
    fn note(&mut self, _note: &str) {}

    fn progress(&mut self, done_bytes: u64, of_bytes: u64) {
        self.inner.progress(done_bytes, of_bytes);
    }
}
