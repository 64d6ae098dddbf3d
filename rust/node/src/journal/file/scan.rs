//! Scans a journal without opening it: no lock, no write, every check.

use std::path::Path;
use std::sync::Arc;

use super::storage::{Directory, Storage};
use super::walk::{WalkEnd, walk};
use crate::journal::{Frame, JournalError};

/// The result of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    let walked = walk(&storage, None, &mut |frame, _, _| Ok(f(frame)))?;
    Ok(walked.map_or_else(ScanSummary::empty, |walked| ScanSummary::of(walked, storage.as_ref())))
}

impl ScanSummary {
    fn empty() -> Self {
        Self {
            ledger: String::new(),
            files: 0,
            frames: 0,
            last_sequence: 0,
            time_ms: 0,
            writer_epoch: 0,
            torn_tail: None,
        }
    }

    pub(in crate::journal) fn of(walked: WalkEnd, storage: &dyn Storage) -> Self {
        let torn_tail = walked.torn_end.map(|end| TornTail {
            file: storage.describe(&walked.header.name.text()),
            offset: walked.offset,
            bytes: end - walked.offset,
        });
        Self {
            ledger: walked.header.ledger,
            files: walked.files,
            frames: walked.frames,
            last_sequence: walked.tip.next_sequence - 1,
            time_ms: walked.tip.time_ms,
            writer_epoch: walked.tip.writer_epoch,
            torn_tail,
        }
    }
}
