//! Which journal files and snapshots a directory holds, its archive included.

use std::io;

use super::header::{FileName, NAME_PREFIX};
use super::storage::{Storage, StoredFile};
use crate::journal::JournalError;
use crate::journal::snapshot::SNAPSHOT_PREFIX;
use crate::journal::snapshot_store::JournalPosition;

/// The subdirectory for files that no recovery needs any more.
pub(in crate::journal) const ARCHIVE: &str = "archive/";

/// The name of a journal file in the archive.
pub(in crate::journal) fn archived(name: FileName) -> String {
    format!("{ARCHIVE}{}", name.text())
}

/// The journal's files in order, archived ones first; refuses a directory whose names show that some in between are missing or
/// renamed.
pub(in crate::journal) fn journal_files(storage: &dyn Storage) -> Result<Vec<FileName>, JournalError> {
    let names = file_names(storage)?;
    if let Some(pair) = names.windows(2).find(|pair| pair[1].number != pair[0].number + 1) {
        let why = format!("the file before it is missing; the last one here is {}", pair[0].text());
        return Err(JournalError::Corrupt { file: storage.describe(&pair[1].text()), offset: 0, why });
    }
    Ok(names)
}

/// The same, whether or not some are missing.
pub(in crate::journal) fn file_names(storage: &dyn Storage) -> Result<Vec<FileName>, JournalError> {
    let mut names = Vec::new();
    for text in list(storage)? {
        let name = text.strip_prefix(ARCHIVE).unwrap_or(&text);
        if name.starts_with(NAME_PREFIX) {
            names.push(FileName::parse(name).ok_or_else(|| JournalError::Foreign {
                file: storage.describe(&text),
                why: "its name is not that of a journal file".into(),
            })?);
        }
    }
    names.sort_unstable_by_key(|name| name.number);
    names.dedup();
    Ok(names)
}

/// Refuses a journal that does not begin with its first frame.
pub(in crate::journal) fn check_head(storage: &dyn Storage, names: &[FileName]) -> Result<(), JournalError> {
    let head = FileName { first_sequence: 1, number: 0 };
    let headless = match names.first() {
        Some(first) => *first != head,
        None => list(storage)?.iter().any(|text| text.starts_with(SNAPSHOT_PREFIX)),
    };
    if headless {
        let why = "this first file of the journal is missing, but later parts are here and no good snapshot; as a last resort \
                   --force-empty sets them aside and begins an empty journal"
            .into();
        return Err(JournalError::Corrupt { file: storage.describe(&head.text()), offset: 0, why });
    }
    Ok(())
}

/// Index of the file in which to look for a position: it may be anywhere in that file, or at its end.
pub(in crate::journal) fn start_of(names: &[FileName], position: &JournalPosition) -> Option<usize> {
    let next = position.sequence() + 1;
    let before = names.partition_point(|name| name.first_sequence < next);
    before.checked_sub(1).or_else(|| names.first().filter(|name| name.first_sequence == next).map(|_| 0))
}

/// Opens a journal file for reading, wherever it is: files move to the archive and never back, so one that is moving right now
/// is found there.
pub(in crate::journal) fn open_journal_file(storage: &dyn Storage, name: FileName) -> io::Result<Box<dyn StoredFile>> {
    match storage.open(&name.text(), false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => storage.open(&archived(name), false),
        other => other,
    }
}

/// All names, in any order.
pub(in crate::journal) fn list(storage: &dyn Storage) -> Result<Vec<String>, JournalError> {
    storage.list().map_err(JournalError::io("list", storage.describe("")))
}

/// Removes a file; it is not an error if it is gone already.
pub(in crate::journal) fn remove(storage: &dyn Storage, name: &str) -> Result<(), JournalError> {
    match storage.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(JournalError::io("remove", storage.describe(name))(error))
        }
        _ => Ok(()),
    }
}
