//! Inspects a journal that may be damaged: what is intact, where that ends, and what follows the damage. Writes nothing,
//! takes no lock.
//!
//! It never decides that something may be skipped; it only reports what is there.

use super::FrameVisitor;
use super::snapshot_store::{JournalPosition, Manifest, Replay};
use super::{JournalError, frame::FrameHeader};

/// Where the intact part of a journal ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Full name of the file or of the stream.
    pub file: String,
    /// First invalid byte of the file.
    pub offset: u64,
    /// In a stream the id of the first invalid entry, or of the one after which entries are missing.
    pub entry: Option<String>,
    /// Which rule it breaks.
    pub why: String,
}

/// What was found after the damage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AfterDamage {
    /// Bytes up to the next valid frame, or else up to the last byte that was written.
    pub unreadable_bytes: u64,
    /// Valid frames, claims included.
    pub frames: u64,
    /// First sequence of their events; 0 if they have none.
    pub first_sequence: u64,
    /// Last sequence of their events.
    pub last_sequence: u64,
}

/// A stored snapshot, valid or not.
#[derive(Debug)]
pub struct StoredSnapshot {
    /// Its name; those of the archive start with `archive/`.
    pub name: String,
    /// Its manifest, or why it cannot be used.
    pub manifest: Result<Manifest, String>,
}

/// Where a journal ends in an unfinished append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// Full name of the file.
    pub file: String,
    /// First byte of the tail.
    pub offset: u64,
    /// Bytes up to the last one written; 0 if the file was cut just here.
    pub bytes: u64,
}

/// The result of a walk that reached its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalkSummary {
    /// Sequence of the last event that was read.
    pub last_sequence: u64,
    /// An unfinished append at the end, which the next start will cut.
    pub torn_tail: Option<TornTail>,
}

/// One journal, perhaps damaged.
pub trait Inspection {
    /// Name of the ledger.
    fn ledger(&self) -> &str;

    /// Whether the journal begins with its first frame.
    fn has_head(&self) -> bool;

    /// The first sequence that it may hold.
    fn first_sequence(&self) -> u64;

    /// What it is stored in, and how many of these there are.
    fn parts(&self) -> (&'static str, u64);

    /// Every snapshot, oldest first, those of the archive included.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn snapshots(&mut self) -> Result<Vec<StoredSnapshot>, JournalError>;

    /// Calls `f` with every piece of a snapshot.
    ///
    /// # Errors
    /// It cannot be read or is damaged, or `f` returns an error.
    fn read(
        &mut self,
        name: &str,
        manifest: &Manifest,
        f: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), JournalError>;

    /// Whether a snapshot is gone: a server that is running may have removed it.
    fn is_gone(&mut self, name: &str) -> bool;

    /// Checks every frame up to the end, to damage, or until `visit` returns false; it is called with those after a position,
    /// or with all.
    ///
    /// # Errors
    /// The journal cannot be read, or is of a newer build.
    fn walk(
        &mut self,
        position: Option<&JournalPosition>,
        visit: &mut FrameVisitor<'_>,
    ) -> Result<(Option<WalkSummary>, Option<Damage>), JournalError>;

    /// The damage of a journal without its beginning and without a snapshot to begin with.
    fn no_head(&self) -> Damage;

    /// Rebuilds the state as a start would; returns the sequence of the snapshot that it begins with.
    ///
    /// # Errors
    /// Those of a start.
    fn start(&mut self, replay: &mut dyn Replay) -> Result<Option<u64>, JournalError>;

    /// Counts what follows the damage.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn after_damage(&mut self, damage: &Damage) -> Result<AfterDamage, JournalError>;
}

impl AfterDamage {
    /// Counts a valid frame.
    pub(in crate::journal) fn count(&mut self, header: &FrameHeader) {
        self.frames += 1;
        if !header.claim {
            let first = header.first_sequence;
            self.first_sequence = if self.first_sequence == 0 { first } else { self.first_sequence.min(first) };
            self.last_sequence = self.last_sequence.max(header.last_sequence);
        }
    }
}

/// How often an inspection is made because a running server trimmed its journal meanwhile.
const LOOKS_MAX: u32 = 8;

/// Inspects a journal, and again if that failed while what it keeps changed.
pub(super) fn look_again<J, K: PartialEq, T>(
    journal: &mut J,
    kept: impl Fn(&mut J) -> Result<K, JournalError>,
    has_failed: impl Fn(&Result<T, JournalError>) -> bool,
    mut look: impl FnMut(&mut J) -> Result<T, JournalError>,
) -> Result<T, JournalError> {
    for _ in 1..LOOKS_MAX {
        let before = kept(journal)?;
        let seen = look(journal);
        if !has_failed(&seen) || kept(journal).map_or(true, |after| after == before) {
            return seen;
        }
    }
    look(journal)
}
