//! Names of files that make a directory something else than a journal: a backup, or a copy that was not finished.

use super::files::list;
use super::storage::Storage;
use crate::journal::JournalError;

pub(in crate::journal) const MANIFEST: &str = "backup.json";
pub(in crate::journal) const UNFINISHED_BACKUP: &str = "backup.unfinished";
pub(in crate::journal) const UNFINISHED_RESTORE: &str = "restore.unfinished";

/// Refuses a backup, or an unfinished copy, as a journal.
pub(in crate::journal) fn refuse_copies(storage: &dyn Storage) -> Result<(), JournalError> {
    refuse(storage, MANIFEST, "a backup, which only `invengine backup restore` may read")?;
    refuse_unfinished(storage)
}

/// Refuses an unfinished copy.
pub(in crate::journal) fn refuse_unfinished(storage: &dyn Storage) -> Result<(), JournalError> {
    refuse(storage, UNFINISHED_BACKUP, "a backup that was not finished: make it again")?;
    let why = "a restore that was not finished: run `invengine backup restore` on it again";
    refuse(storage, UNFINISHED_RESTORE, why)
}

fn refuse(storage: &dyn Storage, name: &str, why: &str) -> Result<(), JournalError> {
    if list(storage)?.iter().any(|found| found == name) {
        return Err(JournalError::NoJournal { directory: storage.describe(""), why: format!("{name}: {why}") });
    }
    Ok(())
}
