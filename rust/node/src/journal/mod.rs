//! The journal: frames of events, each durable before its commands are acknowledged.
//!
//! This file states the guarantees that every journal gives; one contract suite
//! (`tests/journal/contract.rs`) tests them for each. It knows nothing of commands or ledgers: a
//! payload is bytes.

pub mod backup;
mod chain_tip;
pub(crate) mod durability;
mod error;
mod file;
pub mod frame;
pub mod inspect;
mod memory;
mod recovery;
pub mod redis;
mod snapshot;
mod snapshot_store;
mod walk;
mod writer_state;

pub use durability::Ack;
pub use error::JournalError;
pub(crate) use file::preflight;
pub use file::{FileInspection, FileJournal, FileOptions, ScanSummary, look_again, scan, scan_on, storage};
pub use frame::Frame;
pub use inspect::TornTail;
pub use memory::MemoryJournal;
pub use redis::{RedisJournal, RedisOptions, Secret};
pub use snapshot_store::{
    EveryFrame, JournalPosition, Manifest, PIECE_BYTES_MAX, Replay, SNAPSHOTS_KEPT, SnapshotStore, Trimmed,
};

use std::fmt::Display;

use crate::positions::EventPosition;

/// An append-only sequence of frames with one writer.
pub trait Journal: Send {
    /// The kind of journal in one word: `file`, `memory` or `redis`.
    fn kind(&self) -> &'static str;

    /// What can be lost, as text for people.
    fn loss_window(&self) -> String;

    /// The epoch this writer claimed when it opened the journal: the previous one plus one, durable
    /// before any append.
    fn writer_epoch(&self) -> u64;

    /// The sequence of the last durable event; 0 if there is none.
    fn durable_sequence(&self) -> u64;

    /// The longest payload that `append` accepts, in bytes.
    fn payload_bytes_max(&self) -> u64;

    /// Appends one frame; once this returns `Ok` the frame is durable.
    ///
    /// `first_sequence` must be `durable_sequence() + 1`, `last_sequence` at least that. An error
    /// means "unknown", never "not written": the frame may be found at the next open. After any error but
    /// `Full` (nothing was written) every later append returns `Poisoned`; a failed write or sync
    /// is never retried, because the kernel may have marked the lost pages clean.
    fn append(
        &mut self,
        first_sequence: u64,
        last_sequence: u64,
        time_ms: i64,
        payload: &[u8],
    ) -> Result<(), JournalError>;

    /// Makes sure that the next payload fits if it has at most `bytes`, so that lack of space is reported
    /// before anything is decided.
    ///
    /// May wait for the disk when the current file is full. `Full` and `FrameTooLarge` change
    /// nothing and do not poison the journal: call again once there is space. Any other error poisons it.
    fn ensure_room(&mut self, bytes: u64) -> Result<(), JournalError>;

    /// A reader that never disturbs the writer and sees durable frames only; it may outlive the
    /// writer.
    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError>;

    /// The snapshots and the archive, for one thread beside the writer; `None` if this journal keeps neither.
    fn snapshot_store(&self) -> Result<Option<Box<dyn SnapshotStore>>, JournalError> {
        Ok(None)
    }

    /// Whether another process could claim this journal while its writer is away.
    fn is_leased(&self) -> bool {
        false
    }

    /// Verifies that this writer still owns the journal, without writing a frame; false if that could not be determined. An
    /// error poisons the journal.
    fn verify_ownership(&mut self) -> Result<bool, JournalError> {
        Ok(true)
    }

    /// Closes the journal: later appends return `Closed`, and another process may open it.
    fn close(&mut self) -> Result<(), JournalError>;
}

/// Called with each frame, the full name of where it is and its offset; false ends the walk.
type FrameVisitor<'v> = dyn FnMut(Frame<'_>, &dyn Display, u64) -> Result<bool, JournalError> + 'v;

/// Reads durable frames in order, from any sequence.
pub trait JournalReader: Send {
    /// Calls `f` for each durable frame whose last sequence is `sequence` or later, in order, until
    /// `f` returns false or there are no more.
    ///
    /// Claims are frames too: their last sequence is the one before them. The reader keeps its
    /// position, so asking again for the sequence after the last one seen costs only what is new.
    fn read_from(&mut self, sequence: u64, f: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<(), JournalError>;

    /// Epoch of the writer of a durable event; `None` if there is no such event. Costs one lookup, like the start of a read.
    fn epoch_of(&mut self, sequence: u64) -> Result<Option<u64>, JournalError> {
        let mut epoch = None;
        self.read_from(sequence, &mut |frame| {
            // A claim may precede the frame that has the event.
            epoch = (frame.first_sequence..=frame.last_sequence).contains(&sequence).then_some(frame.writer_epoch);
            frame.is_claim()
        })?;
        Ok(epoch)
    }

    /// The newest event up to `sequence`, which is durable, written by a writer of at most this epoch; `None` if there is none.
    /// Epochs rise, so a few lookups find it.
    fn newest_up_to(&mut self, epoch: u64, sequence: u64) -> Result<Option<EventPosition>, JournalError> {
        let (mut found, mut high, mut trimmed) = (EventPosition::START, sequence, None);
        let mut low = 0;
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match self.epoch_of(middle) {
                Ok(Some(writer_epoch)) if writer_epoch <= epoch => {
                    low = middle;
                    found = EventPosition { writer_epoch, sequence: middle };
                }
                Ok(_) => high = middle - 1,
                Err(JournalError::Trimmed { first_sequence, .. }) if trimmed.is_none() && first_sequence > middle => {
                    low = first_sequence - 1;
                    trimmed = Some(first_sequence);
                }
                Err(error) => return Err(error),
            }
        }
        match trimmed.filter(|_| found == EventPosition::START) {
            Some(first_sequence) => Err(JournalError::Trimmed { sequence: first_sequence - 1, first_sequence }),
            None => Ok((found != EventPosition::START).then_some(found)),
        }
    }
}
