//! Rebuilds the ledger when a journal is opened: from a snapshot and the frames behind it, or from every frame.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use invengine_ledger::{Ledger, LedgerOptions};

use crate::journal::{Frame, Manifest, Replay};

/// How far a recovery is; read by others while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    done_bytes: AtomicU64,
    of_bytes: AtomicU64,
}

impl Progress {
    /// Bytes of snapshot and journal that were read, and about how many there are; (0, 0) before anything is known.
    pub fn bytes(&self) -> (u64, u64) {
        (self.done_bytes.load(Relaxed), self.of_bytes.load(Relaxed))
    }
}

/// A ledger that is being rebuilt.
pub(super) struct Rebuild {
    pub ledger: Ledger,
    options: LedgerOptions,
    progress: Arc<Progress>,
}

impl Rebuild {
    /// Starts with an empty ledger.
    pub fn new(options: LedgerOptions, progress: Arc<Progress>) -> Self {
        Rebuild { ledger: Ledger::new(options.clone()), options, progress }
    }
}

impl Replay for Rebuild {
    fn begin(&mut self, _snapshot: &Manifest) -> bool {
        false
    }

    fn piece(&mut self, _bytes: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn end(&mut self, _snapshot: &Manifest) -> Result<(), String> {
        Ok(())
    }

    fn begin_empty(&mut self) {
        self.ledger = Ledger::new(self.options.clone());
    }

    fn frame(&mut self, frame: Frame<'_>) -> Result<(), String> {
        fold(&mut self.ledger, &frame)
    }

    fn progress(&mut self, done_bytes: u64, of_bytes: u64) {
        self.progress.done_bytes.store(done_bytes, Relaxed);
        self.progress.of_bytes.store(of_bytes, Relaxed);
    }
}

/// Folds one frame of a journal, claims included, and checks that its sequences are those of its events.
pub(super) fn fold(ledger: &mut Ledger, frame: &Frame<'_>) -> Result<(), String> {
    if frame.is_claim() {
        return Ok(());
    }
    ledger.fold(frame.payload, frame.time_ms, frame.writer_epoch).map_err(|malformed| malformed.to_string())?;
    if ledger.sequence() == frame.last_sequence {
        return Ok(());
    }
    Err("the frame's last sequence is not that of its last event".into())
}
