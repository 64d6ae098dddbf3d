//! Rebuilds the ledger when a journal is opened: from a snapshot and the frames after it, or from all frames.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use invengine_ledger::{ImageLoader, Ledger, LedgerOptions, planted};

use super::settings::check_new_ledger;
use super::start_clock::StartClock;
use crate::journal::{Frame, JournalError, Manifest, Replay};
use crate::positions::{EventEpochs, EventPosition};

/// The progress of a recovery, readable by other threads while it runs.
#[derive(Debug, Default)]
pub struct RecoveryProgress {
    done_bytes: AtomicU64,
    of_bytes: AtomicU64,
    cancelled: AtomicBool,
}

impl RecoveryProgress {
    /// Bytes of snapshot and journal that were read, and roughly how many there are; (0, 0) before that is known.
    pub fn bytes(&self) -> (u64, u64) {
        (self.done_bytes.load(Relaxed), self.of_bytes.load(Relaxed))
    }

    /// Cancels the recovery: the engine is no longer needed. Nothing was changed.
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }
}

/// A ledger that is being rebuilt.
pub(crate) struct Rebuild {
    pub ledger: Ledger,
    /// The writers of its events.
    pub epochs: EventEpochs,
    /// Notes for the operator.
    pub notes: Vec<String>,
    /// Whether the notes are not printed to stderr at once.
    quiet: bool,
    /// Bytes of frames after the snapshot it began with.
    pub tail_bytes: u64,
    loader: Option<ImageLoader>,
    options: LedgerOptions,
    progress: Arc<RecoveryProgress>,
    /// The clock that the ledger will continue with, if it is rebuilt for a start.
    clock: Option<StartClock>,
    /// Whether the ledger was begun by an earlier start.
    begun: bool,
}

impl Rebuild {
    /// Starts with an empty ledger.
    pub fn new(options: LedgerOptions, progress: Arc<RecoveryProgress>) -> Self {
        let ledger = Ledger::new(options.clone());
        let (epochs, notes) = (EventEpochs::default(), Vec::new());
        let (quiet, tail_bytes, loader, clock, begun) = (false, 0, None, None, false);
        Rebuild { ledger, epochs, notes, quiet, tail_bytes, loader, options, progress, clock, begun }
    }

    /// The same for a start: the ledger will continue with this clock.
    pub fn for_start(self, clock: StartClock) -> Self {
        Rebuild { clock: Some(clock), ..self }
    }

    /// The same for a ledger that exists although nothing of it is read.
    pub fn of_existing(self) -> Self {
        Rebuild { begun: true, ..self }
    }

    /// Like `new`, for a caller who reports the notes itself.
    pub fn quiet(options: LedgerOptions) -> Self {
        Rebuild { quiet: true, ..Self::new(options, Arc::default()) }
    }
}

impl Replay for Rebuild {
    fn begin(&mut self, _snapshot: &Manifest) -> bool {
        self.begin_empty();
        self.loader = Some(ImageLoader::new(self.options.clone()));
        true
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<(), String> {
        let loader = self.loader.as_mut().ok_or("a piece came before its snapshot")?;
        loader.piece(bytes).map_err(|malformed| malformed.to_string())
    }

    fn end(&mut self, snapshot: &Manifest) -> Result<(), String> {
        let loader = self.loader.take().ok_or("the snapshot had no pieces")?;
        let mut ledger = loader.finish().map_err(|malformed| malformed.to_string())?;
        let same = ledger.sequence() == snapshot.position.sequence() && ledger.digest().to_string() == snapshot.digest;
        if !same && !planted::is("snapshot_not_compared") {
            return Err("its state is not the one that its manifest describes".into());
        }
        self.epochs = EventEpochs::behind(EventPosition { writer_epoch: ledger.epoch(), sequence: ledger.sequence() });
        self.ledger = ledger;
        self.begun = true;
        Ok(())
    }

    fn begin_empty(&mut self) {
        self.ledger = Ledger::new(self.options.clone());
        self.epochs = EventEpochs::default();
        self.loader = None;
        self.tail_bytes = 0;
    }

    fn frame(&mut self, frame: Frame<'_>) -> Result<(), String> {
        if self.progress.cancelled.load(Relaxed) {
            return Err("the recovery was cancelled".into());
        }
        self.tail_bytes += frame.payload.len() as u64;
        self.begun = true;
        if !frame.is_claim() {
            self.epochs.push(EventPosition { writer_epoch: frame.writer_epoch, sequence: frame.last_sequence });
        }
        fold(&mut self.ledger, &frame)
    }

    fn admit(&mut self) -> Result<(), JournalError> {
        let Some(clock) = self.clock else { return Ok(()) };
        if !self.begun {
            check_new_ledger(&self.options.name)?;
        }
        clock.check(&self.ledger)
    }

    fn note(&mut self, note: &str) {
        if !self.quiet {
            eprintln!("invengine: {note}");
        }
        self.notes.push(note.into());
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
