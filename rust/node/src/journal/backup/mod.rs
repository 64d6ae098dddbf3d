//! A backup: a directory with the newest good snapshot and the journal after it, checked while it was copied. It has the format
//! of the file journal, whatever journal it was made from.
//!
//! | name | what it is |
//! |---|---|
//! | `snapshot-…`, `journal-…` | as in a journal's directory; the last journal file ends after its last whole frame |
//! | `backup.json` | the manifest, written last: position, digest, length and CRC32C of every file, then a checksum of its own |
//! | `backup.unfinished` | exists from the beginning until the manifest replaces it |
//!
//! A directory with one of the last two is never opened as a journal, and one without a manifest is never restored. A restore
//! works the same way: `restore.unfinished` exists before anything else and is removed when everything is durable and
//! checked, and when the last frame is a claim that raises the writer epoch above all that the lost original can have
//! reached. So a crash at any moment leaves a directory that is either refused or complete.

mod copy;
mod create;
mod manifest;
mod restore;
mod writer;

use super::JournalError;
use super::file::files::{ARCHIVE, journal_files, list, remove};
use super::file::header::NAME_PREFIX;
use super::file::markers::{MANIFEST, UNFINISHED_BACKUP, UNFINISHED_RESTORE};
use super::file::preallocate::SPARE_FILE;
use super::file::snapshot_store::DRAFT;
use super::file::storage::{LOCK_FILE, Storage};
use super::file::walk::BufferedFile;
use super::snapshot::SNAPSHOT_PREFIX;

pub use create::{BackupPlan, PendingBackup, copy_redis};
pub use manifest::{BackupFacts, BackupFile, BackupManifest, read_manifest};
pub use restore::{FileRestore, check, install_in_redis, other_state, rebuild_backup};

/// Whether this is a finished backup.
pub fn is_backup(storage: &dyn Storage) -> bool {
    storage.open(MANIFEST, false).is_ok()
}

/// The name of the ledger that this journal belongs to, from its newest file.
///
/// # Errors
/// There is no journal, or it is a backup, or its newest file is damaged.
pub fn ledger_of(storage: &dyn Storage) -> Result<String, JournalError> {
    let Some(last) = journal_files(storage)?.pop() else {
        return Err(no_journal(storage));
    };
    Ok(BufferedFile::open(storage, last)?.header(last)?.ledger)
}

/// The error for a directory without a journal.
pub(crate) fn no_journal(storage: &dyn Storage) -> JournalError {
    let why = "no journal is there: name the --directory of a server".into();
    JournalError::NoJournal { directory: storage.describe(""), why }
}

/// Refuses a directory that a backup must not be written into.
///
/// # Errors
/// It holds anything but an unfinished backup.
pub fn check_backup_target(storage: &dyn Storage) -> Result<(), JournalError> {
    leftovers(storage, UNFINISHED_BACKUP).map(drop)
}

/// Refuses a directory that nothing must be restored into.
///
/// # Errors
/// It holds anything but an unfinished restore.
pub fn check_restore_target(storage: &dyn Storage) -> Result<(), JournalError> {
    leftovers(storage, UNFINISHED_RESTORE).map(drop)
}

/// What an earlier attempt has left in a directory; anything else in it is an error.
fn leftovers(storage: &dyn Storage, marker: &str) -> Result<Vec<String>, JournalError> {
    let mut names = list(storage)?;
    names.retain(|name| name != LOCK_FILE && name != "lost+found");
    let unfinished = names.iter().any(|name| name == marker);
    let ours = |name: &str| {
        let made = name.starts_with(NAME_PREFIX) || name.starts_with(SNAPSHOT_PREFIX);
        unfinished && (made || [marker, SPARE_FILE, DRAFT].contains(&name))
    };
    match names.iter().find(|name| !ours(name)) {
        Some(found) => {
            let found = found.strip_prefix(ARCHIVE).unwrap_or(found).to_owned();
            Err(JournalError::NotEmpty { directory: storage.describe(""), found })
        }
        None => Ok(names),
    }
}

/// Prepares a directory: empty except for the marker, which says that what follows is not valid yet.
fn begin(storage: &dyn Storage, marker: &str) -> Result<(), JournalError> {
    let names = leftovers(storage, marker)?;
    if names.is_empty() {
        storage.create(marker).map_err(JournalError::io("create", storage.describe(marker)))?;
    }
    names.iter().filter(|name| *name != marker).try_for_each(|name| remove(storage, name))?;
    sync_names(storage)
}

fn sync_names(storage: &dyn Storage) -> Result<(), JournalError> {
    storage.sync_directory().map_err(JournalError::io("sync", storage.describe("")))
}
