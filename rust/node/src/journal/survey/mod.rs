//! Looks into a journal that may be damaged: what is whole, where that ends, and what lies behind. Writes nothing, takes no lock.
//!
//! It never decides that something may be skipped; it only tells a person what is there.

mod files;

use super::history::{Manifest, Mark, Replay};
use super::scan::TornTail;
use super::walk::Visit;
use super::{JournalError, frame::FrameHeader};

pub use files::{FileSurvey, look_again};

/// Where a journal stops being whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Full name of the file or of the stream.
    pub file: String,
    /// First byte of the file that is not good.
    pub offset: u64,
    /// In a stream the id of the entry that is not good, or behind which others are gone.
    pub entry: Option<String>,
    /// Which rule it breaks.
    pub why: String,
}

/// What lies behind a damage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Behind {
    /// Bytes up to the next whole frame, or else up to the last one that was written.
    pub unreadable_bytes: u64,
    /// Whole frames, claims included.
    pub frames: u64,
    /// First sequence of their events, 0 if they have none.
    pub first_sequence: u64,
    /// Last sequence of their events.
    pub last_sequence: u64,
}

/// A snapshot as it lies there.
#[derive(Debug)]
pub struct StoredSnapshot {
    /// Its name; those of the archive start with `archive/`.
    pub name: String,
    /// What it says of itself, or why it is none.
    pub manifest: Result<Manifest, String>,
}

/// What a walk found that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walked {
    /// Sequence of the last event that was read.
    pub last_sequence: u64,
    /// An unfinished append at the end, which the next start will cut.
    pub torn_tail: Option<TornTail>,
}

/// One journal, perhaps damaged.
pub trait Survey {
    /// Name of the ledger.
    fn ledger(&self) -> &str;

    /// Whether the journal begins with its first frame.
    fn has_head(&self) -> bool;

    /// The first sequence that may be in it.
    fn first_sequence(&self) -> u64;

    /// What it lies in, and how many of these there are.
    fn parts(&self) -> (&'static str, u64);

    /// Every snapshot, oldest first, those of the archive included.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn snapshots(&mut self) -> Result<Vec<StoredSnapshot>, JournalError>;

    /// Calls `f` with every piece of a snapshot.
    ///
    /// # Errors
    /// It cannot be read or is damaged, or `f` says so.
    fn read(
        &mut self,
        name: &str,
        manifest: &Manifest,
        f: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), JournalError>;

    /// Whether a snapshot is no longer there: a server beside may have removed it.
    fn is_gone(&mut self, name: &str) -> bool;

    /// Checks every frame up to the end, a damage, or until `visit` says that it is enough; it is called with those behind a
    /// mark, or with all.
    ///
    /// # Errors
    /// The journal cannot be read, or is of a newer build.
    fn walk(
        &mut self,
        mark: Option<&Mark>,
        visit: &mut Visit<'_>,
    ) -> Result<(Option<Walked>, Option<Damage>), JournalError>;

    /// The damage of a journal without its beginning and without a snapshot to begin with.
    fn no_head(&self) -> Damage;

    /// Has the state rebuilt as a start would; answers the position of the snapshot that it begins with.
    ///
    /// # Errors
    /// Those of a start.
    fn start(&mut self, replay: &mut dyn Replay) -> Result<Option<u64>, JournalError>;

    /// What lies behind a damage.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn behind(&mut self, damage: &Damage) -> Result<Behind, JournalError>;
}

impl Behind {
    /// Counts a whole frame.
    pub(super) fn count(&mut self, header: &FrameHeader) {
        self.frames += 1;
        if !header.claim {
            let first = header.first_sequence;
            self.first_sequence = if self.first_sequence == 0 { first } else { self.first_sequence.min(first) };
            self.last_sequence = self.last_sequence.max(header.last_sequence);
        }
    }
}
