//! Scans a journal without opening it: no lock, no write, every check.

use std::path::Path;
use std::sync::Arc;

use super::storage::{Directory, Storage};
use super::walk::{WalkEnd, walk};
use crate::journal::inspect::TornTail;
use crate::journal::{Frame, JournalError};

/// The result of a scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanSummary {
    /// Name of the ledger; empty if the directory holds no journal yet.
    pub ledger: String,
    /// Journal files read.
    pub files: u64,
    /// Valid frames read, claims included.
    pub frames: u64,
    /// Sequence of the last event; 0 if there is none.
    pub last_sequence: u64,
    /// Time of the last frame.
    pub time_ms: i64,
    /// Epoch of the last writer; 0 if there was none.
    pub writer_epoch: u64,
    /// An unfinished append at the end, which the next open will cut; perhaps one that is being
    /// written right now.
    pub torn_tail: Option<TornTail>,
}

/// Reads the journal in `directory` until `f` returns false or it ends, by the same rules as
/// opening it.
///
/// Takes no lock and writes nothing, so it may run beside a writer and then sees a prefix. Damage
/// is reported as `Corrupt` with file, offset and reason.
pub fn scan(directory: &Path, f: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<ScanSummary, JournalError> {
    scan_on(Arc::new(Directory::existing(directory)), f)
}

/// The same on any storage.
pub fn scan_on(storage: Arc<dyn Storage>, f: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<ScanSummary, JournalError> {
    let walked = walk(&storage, None, None, &mut |frame| Ok(f(frame.decoded.frame())))?;
    Ok(walked.map_or_else(ScanSummary::default, |walked| ScanSummary::of(&walked, storage.as_ref())))
}

impl ScanSummary {
    fn of(walked: &WalkEnd, storage: &dyn Storage) -> Self {
        let position = walked.walk.position();
        Self {
            ledger: walked.header.ledger.clone(),
            files: walked.files,
            frames: position.frames,
            last_sequence: position.sequence(),
            time_ms: position.time_ms(),
            writer_epoch: position.writer_epoch(),
            torn_tail: torn_tail(walked, storage),
        }
    }
}

/// The unfinished append at the end of a walk.
pub(in crate::journal) fn torn_tail(walked: &WalkEnd, storage: &dyn Storage) -> Option<TornTail> {
    let file = storage.describe(&walked.header.name.text());
    walked.torn_end.map(|end| TornTail { file, offset: walked.offset, bytes: end - walked.offset })
}
