//! Restores a backup into an empty directory, and raises the writer epoch before the result is valid.

use std::sync::Arc;

use super::copy::copy;
use super::create::check_files;
use super::manifest::bad;
use super::{BackupManifest, UNFINISHED_RESTORE, begin, check_restore_target, sync_names};
use crate::journal::chain_tip::ChainTip;
use crate::journal::file::files::{journal_files, list, remove};
use crate::journal::file::header::NAME_PREFIX;
use crate::journal::file::recovery::rebuild;
use crate::journal::file::snapshots;
use crate::journal::file::storage::Storage;
use crate::journal::file::walk::{BufferedFile, WalkStart, walk_files};
use crate::journal::redis::{RedisRestore, RedisTarget};
use crate::journal::snapshot::SNAPSHOT_PREFIX;
use crate::journal::snapshot_store::Replay;
use crate::journal::{FileJournal, FileOptions, Journal, JournalError};

/// Reads every byte of a backup and compares it with the manifest.
///
/// # Errors
/// A file is not the one that the manifest describes, or is not listed there.
pub fn check(backup: &dyn Storage, manifest: &BackupManifest) -> Result<(), JournalError> {
    let is_listed = |name: &String| manifest.files.iter().any(|file| file.name == *name);
    let is_part = |name: &String| name.starts_with(NAME_PREFIX) || name.starts_with(SNAPSHOT_PREFIX);
    if let Some(strange) = list(backup)?.iter().find(|name| is_part(name) && !is_listed(name)) {
        return Err(bad(&backup.describe(strange), "its manifest does not list it"));
    }
    if let Some(file) = manifest.files.iter().find(|file| !is_part(&file.name) || file.name.contains('/')) {
        return Err(bad(&backup.describe(&file.name), "it is not part of a backup"));
    }
    check_files(backup, &manifest.files)
}

/// Writes a backup that was checked and rebuilt into an empty ledger in Redis, where it is not valid yet.
///
/// # Errors
/// The ledger is not empty, the state is a different one, or Redis rejects it. The next attempt begins again.
pub fn install_in_redis(
    backup: &Arc<dyn Storage>,
    manifest: &BackupManifest,
    mut target: RedisTarget,
) -> Result<RedisRestore, JournalError> {
    target.check_empty()?;
    let names = journal_files(backup.as_ref())?;
    let first = names.first().ok_or_else(|| bad(&backup.describe(""), "it holds no journal"))?;
    let start = ChainTip::at_start_of(&BufferedFile::open(backup.as_ref(), *first)?.header(*first)?);
    let snapshot = snapshots::stored(backup.as_ref(), &manifest.facts.ledger)?.0.into_iter().next();
    let mut restore = target.begin(start, snapshot.as_ref())?;
    // Frames first: from then on no server that started before the restore can begin the ledger.
    walk_files(backup, &names, Some(&manifest.facts.ledger), &WalkStart::FirstHere, &mut |frame| {
        restore.frame(&frame.decoded).map(|()| true)
    })?;
    if let Some(snapshot) = &snapshot {
        let mut failed = None;
        let read = snapshots::read(backup.as_ref(), &manifest.facts.ledger, snapshot, &mut |piece| {
            restore.piece(piece).map_err(|error| {
                let why = error.to_string();
                failed = Some(error);
                why
            })
        });
        read.map_err(|error| failed.unwrap_or(error))?;
    }
    Ok(restore)
}

/// Rebuilds the state of a backup, as a start would from its copy.
///
/// # Errors
/// It does not end where its manifest says.
pub fn rebuild_backup(
    backup: &Arc<dyn Storage>,
    manifest: &BackupManifest,
    replay: &mut dyn Replay,
) -> Result<(), JournalError> {
    let (_, walked) = rebuild(backup, &manifest.facts.ledger, replay)?;
    match walked.filter(|walked| walked.walk.position().sequence() == manifest.facts.sequence) {
        Some(_) => Ok(()),
        None => Err(bad(&backup.describe(""), OTHER_STATE)),
    }
}

const OTHER_STATE: &str = "the state is not the one that its manifest describes";

/// The error for a backup whose state is not the one that its manifest describes.
pub fn other_state(backup: &dyn Storage) -> JournalError {
    bad(&backup.describe(""), OTHER_STATE)
}

/// A restored journal that is not valid yet.
pub struct FileRestore {
    target: Arc<dyn Storage>,
    journal: FileJournal,
    manifest: BackupManifest,
}

impl FileRestore {
    /// Copies a backup that was checked into an empty directory, rebuilds the state from the copy as a start would, and
    /// claims a writer epoch of at least `options.writer_epoch_min`.
    ///
    /// # Errors
    /// The directory is not empty, cannot be written, or does not hold what the manifest says. The next attempt begins again.
    pub fn install(
        backup: &dyn Storage,
        manifest: &BackupManifest,
        target: &Arc<dyn Storage>,
        options: &FileOptions,
        replay: &mut dyn Replay,
    ) -> Result<Self, JournalError> {
        check_restore_target(target.as_ref())?;
        let lock = target.lock()?;
        begin(target.as_ref(), UNFINISHED_RESTORE)?;
        for file in &manifest.files {
            let full_name = backup.describe(&file.name);
            let opened = backup.open(&file.name, false);
            if copy(opened, full_name.clone(), Some(file.bytes), target.as_ref(), &file.name)? != *file {
                return Err(bad(&full_name, "it changed while it was read"));
            }
        }
        sync_names(target.as_ref())?;
        let journal = FileJournal::recover_locked(target.clone(), lock, options, replay)?;
        Ok(Self { target: target.clone(), journal, manifest: manifest.clone() })
    }

    /// Makes it valid, if the rebuilt state has the digest of the manifest; returns the writer epoch that it is raised to.
    ///
    /// # Errors
    /// It is a different state, or the disk failed.
    pub fn finish(mut self, digest: &str) -> Result<u64, JournalError> {
        if digest != self.manifest.facts.digest || self.journal.durable_sequence() != self.manifest.facts.sequence {
            return Err(other_state(self.target.as_ref()));
        }
        remove(self.target.as_ref(), UNFINISHED_RESTORE)?;
        sync_names(self.target.as_ref())?;
        // Only now may another process open it.
        self.journal.close()?;
        Ok(self.journal.writer_epoch())
    }
}
