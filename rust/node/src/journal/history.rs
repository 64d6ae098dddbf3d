//! What lies behind the writer: snapshots, and the journal that no recovery needs any more.
//!
//! A snapshot is the state at a place between two durable frames. It arrives as pieces that a journal keeps without looking
//! into them, and counts only once its manifest is durable. The two newest are kept: should the newest turn out bad, the
//! older one and a longer tail give the same state. Frames before the older one move to the archive, which keeps them for a
//! stated time; what is older than that is `Trimmed`.

use super::line::Line;
use super::{Frame, JournalError};

/// Length of the longest piece of a snapshot.
pub const PIECE_BYTES_MAX: usize = 1 << 20;
/// Snapshots that a recovery may begin with.
pub const SNAPSHOTS_KEPT: usize = 2;

/// A place between two frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub(super) line: Line,
    /// Frames before it, claims included.
    pub(super) frames: u64,
}

impl Mark {
    /// The place before the first frame of a ledger.
    pub fn start(ledger: &str) -> Self {
        Self { line: Line::start(ledger), frames: 0 }
    }

    /// Sequence of the last event before it.
    pub fn sequence(&self) -> u64 {
        self.line.next_sequence - 1
    }

    /// Time of the last frame before it, ms.
    pub fn time_ms(&self) -> i64 {
        self.line.time_ms
    }

    /// Epoch of the writer that wrote the frame before it.
    pub fn writer_epoch(&self) -> u64 {
        self.line.writer_epoch
    }
}

/// What a journal says about one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Where it stands.
    pub mark: Mark,
    /// Digest of the state, as text.
    pub digest: String,
    /// How many pieces it has.
    pub pieces: u64,
    /// Their bytes, all together.
    pub bytes: u64,
}

/// What a trim did.
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
pub trait History: Send {
    /// The snapshots that a recovery may begin with, newest first. A bad manifest is left out.
    fn snapshots(&mut self) -> Result<Vec<Manifest>, JournalError>;

    /// Calls `f` with every piece of a snapshot in order, each as it was given; a damaged one is an error.
    fn read(&mut self, snapshot: &Manifest, f: &mut dyn FnMut(&[u8]) -> Result<(), String>)
    -> Result<(), JournalError>;

    /// Calls `f` with every durable frame behind a mark, claims included, until it returns false or there are no more; answers
    /// the mark behind the last frame that `f` saw.
    fn frames_after(&mut self, mark: &Mark, f: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<Mark, JournalError>;

    /// Begins a snapshot of the state at a mark; what an unfinished one left is removed.
    fn begin(&mut self, mark: &Mark) -> Result<(), JournalError>;

    /// Takes the next piece, at most [`PIECE_BYTES_MAX`] bytes.
    fn piece(&mut self, bytes: &[u8]) -> Result<(), JournalError>;

    /// Makes the snapshot count: pieces first, manifest last, each durable before the next step.
    fn commit(&mut self, digest: &str) -> Result<Manifest, JournalError>;

    /// Removes all but the two newest snapshots, archives the frames before the older one, and lets the archive forget what
    /// its retention no longer covers at this time. May be called again after any failure.
    fn trim(&mut self, now_ms: i64) -> Result<Trimmed, JournalError>;

    /// The first sequence that can still be read, the archive included.
    fn first_sequence(&mut self) -> Result<u64, JournalError>;
}

/// Who rebuilds the state when a journal is opened.
pub trait Replay {
    /// A snapshot follows: everything so far is void. False if this replay cannot begin with one; then the whole journal is
    /// replayed, or refused as `Trimmed` if its beginning is gone.
    fn begin(&mut self, snapshot: &Manifest) -> bool;

    /// The next piece of the snapshot.
    ///
    /// # Errors
    /// The snapshot is bad: the older one is tried, `begin` is called again.
    fn piece(&mut self, bytes: &[u8]) -> Result<(), String>;

    /// The snapshot is complete: is it the state its manifest speaks of?
    ///
    /// # Errors
    /// As `piece`.
    fn end(&mut self, snapshot: &Manifest) -> Result<(), String>;

    /// No snapshot is of use: everything so far is void, and the journal follows from its first frame.
    fn begin_empty(&mut self);

    /// The next frame, claims included.
    ///
    /// # Errors
    /// The frame cannot be replayed; opening ends with `Replay`.
    fn frame(&mut self, frame: Frame<'_>) -> Result<(), String>;

    /// Everything was replayed, and the journal is about to be claimed. May come again, after more frames.
    ///
    /// # Errors
    /// The state must not be served from here and now: nothing is claimed.
    fn admit(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    /// Something that people should hear of, though the recovery goes on: a snapshot that cannot be used.
    fn note(&mut self, note: &str);

    /// How far the recovery is: bytes done, of about so many.
    fn progress(&mut self, done_bytes: u64, of_bytes: u64);
}

/// A replay that wants every frame and no snapshot.
pub struct EveryFrame<'f>(pub &'f mut dyn FnMut(Frame<'_>) -> Result<(), String>);

impl Replay for EveryFrame<'_> {
    fn begin(&mut self, _snapshot: &Manifest) -> bool {
        false
    }

    fn piece(&mut self, _bytes: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn end(&mut self, _snapshot: &Manifest) -> Result<(), String> {
        Ok(())
    }

    fn begin_empty(&mut self) {}

    fn frame(&mut self, frame: Frame<'_>) -> Result<(), String> {
        (self.0)(frame)
    }

    fn note(&mut self, _note: &str) {}

    fn progress(&mut self, _done_bytes: u64, _of_bytes: u64) {}
}
