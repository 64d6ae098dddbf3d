//! The store for snapshots, and for the part of the journal that no recovery needs any more.
//!
//! A snapshot is the state at a position between two durable frames. It arrives as pieces that a journal stores as opaque
//! bytes, and is valid only once its manifest is durable. The two newest are kept: should the newest turn out bad, the
//! older one and a longer tail give the same state. Frames before the older one move to the archive, which keeps them for a
//! configured time; anything older is `Trimmed`.

use super::chain_tip::ChainTip;
use super::{Frame, JournalError};

/// Length of the longest piece of a snapshot.
pub const PIECE_BYTES_MAX: usize = 1 << 20;
/// How many snapshots are kept for a recovery to begin with.
pub const SNAPSHOTS_KEPT: usize = 2;

/// A position between two frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalPosition {
    pub(super) tip: ChainTip,
    /// Frames before it, claims included.
    pub(super) frames: u64,
}

impl JournalPosition {
    /// The position before the first frame of a ledger.
    pub fn start(ledger: &str) -> Self {
        Self { tip: ChainTip::start(ledger), frames: 0 }
    }

    /// Sequence of the last event before it.
    pub fn sequence(&self) -> u64 {
        self.tip.next_sequence - 1
    }

    /// Time of the last frame before it, ms.
    pub fn time_ms(&self) -> i64 {
        self.tip.time_ms
    }

    /// Epoch of the writer that wrote the frame before it.
    pub fn writer_epoch(&self) -> u64 {
        self.tip.writer_epoch
    }
}

/// How much of the journal is kept that no recovery needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    /// What is older than this is removed, ms; 0 keeps it forever.
    pub archive_ms: u64,
    /// The oldest parts are removed while there are more bytes than this; 0 means no limit in files, 256 MiB in Redis.
    pub archive_bytes_max: u64,
}

/// Describes one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Position of the state.
    pub position: JournalPosition,
    /// Digest of the state, as text.
    pub digest: String,
    /// Number of its pieces.
    pub pieces: u64,
    /// Their bytes in total.
    pub bytes: u64,
}

impl AsRef<Self> for Manifest {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// The result of a trim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Bytes that moved to the archive.
    pub archived_bytes: u64,
    /// Bytes that the archive no longer keeps.
    pub removed_bytes: u64,
    /// The first sequence that can still be read, archive included.
    pub first_sequence: u64,
}

/// The snapshots and the archive of one open journal, for one thread beside its writer.
pub trait SnapshotStore: Send {
    /// The snapshots that a recovery may begin with, newest first, without those whose manifest is bad.
    fn snapshots(&mut self) -> Result<Vec<Manifest>, JournalError>;

    /// These and the ones of the archive, newest first: every state that can be loaded.
    fn every_snapshot(&mut self) -> Result<Vec<Manifest>, JournalError> {
        self.snapshots()
    }

    /// Calls `f` with every piece of a snapshot in order, each as it was passed to `piece`; a damaged one is an error.
    fn read(&mut self, snapshot: &Manifest, f: &mut dyn FnMut(&[u8]) -> Result<(), String>)
    -> Result<(), JournalError>;

    /// Calls `f` with every durable frame after a position, claims included, until it returns false or there are no more;
    /// returns the position after the last frame that `f` saw.
    fn frames_after(
        &mut self,
        position: &JournalPosition,
        f: &mut dyn FnMut(Frame<'_>) -> bool,
    ) -> Result<JournalPosition, JournalError>;

    /// Begins a snapshot of the state at a position; removes what an unfinished one left behind.
    fn begin(&mut self, position: &JournalPosition) -> Result<(), JournalError>;

    /// Writes the next piece, at most [`PIECE_BYTES_MAX`] bytes.
    fn piece(&mut self, bytes: &[u8]) -> Result<(), JournalError>;

    /// Commits the snapshot: pieces first, manifest last, each durable before the next step.
    fn commit(&mut self, digest: &str) -> Result<Manifest, JournalError>;

    /// Removes all but the two newest snapshots, archives the frames before the older one, and removes from the archive what
    /// its retention no longer covers at this time. May be called again after any failure.
    fn trim(&mut self, now_ms: i64) -> Result<Trimmed, JournalError>;

    /// The first sequence that can still be read, the archive included.
    fn first_sequence(&mut self) -> Result<u64, JournalError>;
}

/// Rebuilds the state when a journal is opened.
pub trait Replay {
    /// A snapshot follows: the state built so far is discarded. Returns false if this replay cannot begin with a snapshot; then
    /// the whole journal is replayed, or refused as `Trimmed` if its beginning is gone.
    fn begin(&mut self, _snapshot: &Manifest) -> bool {
        false
    }

    /// The next piece of the snapshot.
    ///
    /// # Errors
    /// The snapshot is bad: `begin` is called again for the older one.
    fn piece(&mut self, _bytes: &[u8]) -> Result<(), String> {
        Ok(())
    }

    /// The snapshot is complete; checks that it is the state that its manifest describes.
    ///
    /// # Errors
    /// As for `piece`.
    fn end(&mut self, _snapshot: &Manifest) -> Result<(), String> {
        Ok(())
    }

    /// No snapshot can be used: the state built so far is discarded, and the journal follows from its first frame.
    fn begin_empty(&mut self) {}

    /// The next frame, claims included.
    ///
    /// # Errors
    /// The frame cannot be replayed; opening fails with `Replay`.
    fn frame(&mut self, frame: Frame<'_>) -> Result<(), String>;

    /// Everything was replayed, and the journal is about to be claimed. May be called again, after more frames.
    ///
    /// # Errors
    /// The state must not be served on this machine at this time: nothing is claimed.
    fn admit(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    /// Notes something that operators should know, although the recovery continues: a snapshot that cannot be used.
    fn note(&mut self, _note: &str) {}

    /// Reports progress: bytes done, of about `of_bytes` in total.
    fn progress(&mut self, _done_bytes: u64, _of_bytes: u64) {}
}

/// A replay that wants every frame and no snapshot.
pub struct EveryFrame<'f>(pub &'f mut dyn FnMut(Frame<'_>) -> Result<(), String>);

impl Replay for EveryFrame<'_> {
    fn frame(&mut self, frame: Frame<'_>) -> Result<(), String> {
        (self.0)(frame)
    }
}
