//! Restores a backup into an empty directory, and raises the writer epoch before the result counts.

use std::sync::Arc;

use super::copy::{Original, copy};
use super::create::check_files;
use super::manifest::bad;
use super::{BackupManifest, UNFINISHED_RESTORE, begin, check_restore_target, sync_names};
use crate::journal::files::{SNAPSHOT_PREFIX, journal_files, list, remove};
use crate::journal::header::NAME_PREFIX;
use crate::journal::history::{Mark, Replay};
use crate::journal::line::Line;
use crate::journal::recovery::rebuild_from;
use crate::journal::redis::{RedisRestoring, RedisTarget};
use crate::journal::storage::Storage;
use crate::journal::walk::{Window, walk_files};
use crate::journal::{FileJournal, FileOptions, Journal, JournalError, shelf};

/// Reads every byte of a backup: each file must be the one that its manifest speaks of, and no other may be there.
///
/// # Errors
/// As said.
pub fn check(backup: &dyn Storage, manifest: &BackupManifest) -> Result<(), JournalError> {
    let is_listed = |name: &String| manifest.files.iter().any(|file| file.name == *name);
    let is_part = |name: &String| name.starts_with(NAME_PREFIX) || name.starts_with(SNAPSHOT_PREFIX);
    if let Some(strange) = list(backup)?.iter().find(|name| is_part(name) && !is_listed(name)) {
        return Err(bad(&backup.describe(strange), "its manifest does not speak of it"));
    }
    if let Some(file) = manifest.files.iter().find(|file| !is_part(&file.name) || file.name.contains('/')) {
        return Err(bad(&backup.describe(&file.name), "it is no part of a backup"));
    }
    check_files(backup, &manifest.files)
}

/// Writes a backup that was checked and rebuilt into an empty ledger in Redis; nothing counts yet.
///
/// # Errors
/// The ledger is not empty, the state is another one, or Redis does not take it. The next try begins again.
pub fn install_in_redis(
    backup: &Arc<dyn Storage>,
    manifest: &BackupManifest,
    mut target: RedisTarget,
) -> Result<RedisRestoring, JournalError> {
    target.check_empty()?;
    let names = journal_files(backup.as_ref())?;
    let first = names.first().ok_or_else(|| bad(&backup.describe(""), "it holds no journal"))?;
    let start = Line::at_start_of(&Window::open(backup.as_ref(), *first)?.header(*first)?);
    let snapshot = shelf::stored(backup.as_ref(), &manifest.ledger, &mut |_| ())?.into_iter().next();
    let mut restoring = target.begin(start, snapshot.as_ref())?;
    // Frames first: from then on no server that came before the restore can begin the ledger.
    let mark = Mark { line: start, frames: 0 };
    walk_files(backup, &names, Some(&manifest.ledger), Some(&mark), &mut |frame, _, _| {
        restoring.frame(&frame).map(|()| true)
    })?;
    if let Some(snapshot) = &snapshot {
        let mut failed = None;
        let read = shelf::read(backup.as_ref(), &manifest.ledger, snapshot, &mut |piece| {
            restoring.piece(piece).map_err(|error| {
                let why = error.to_string();
                failed = Some(error);
                why
            })
        });
        read.map_err(|error| failed.unwrap_or(error))?;
    }
    Ok(restoring)
}

/// Has the state of a backup rebuilt, as a start would from its copy.
///
/// # Errors
/// It does not end where its manifest says.
pub fn rebuild_backup(
    backup: &Arc<dyn Storage>,
    manifest: &BackupManifest,
    replay: &mut dyn Replay,
) -> Result<(), JournalError> {
    let (_, walked) = rebuild_from(backup, &manifest.ledger, replay)?;
    match walked.filter(|walked| walked.line.next_sequence == manifest.sequence + 1) {
        Some(_) => Ok(()),
        None => Err(bad(&backup.describe(""), OTHER_STATE)),
    }
}

const OTHER_STATE: &str = "the state is not the one that its manifest speaks of";

/// The error for a backup whose state is not the one that its manifest speaks of.
pub fn other_state(backup: &dyn Storage) -> JournalError {
    bad(&backup.describe(""), OTHER_STATE)
}

/// A restored journal that does not count yet.
pub struct Restoring {
    target: Arc<dyn Storage>,
    journal: FileJournal,
    manifest: BackupManifest,
}

impl Restoring {
    /// Copies a backup that was checked into an empty directory, has the state rebuilt from the copy as a start would, and
    /// claims a writer epoch of at least `options.writer_epoch_min`.
    ///
    /// # Errors
    /// The directory is not empty, cannot be written, or does not hold what the manifest says. The next try begins again.
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
            let opened = backup.open(&file.name, false).map_err(JournalError::io("open", full_name.clone()))?;
            let from = Original { file: opened, full_name: full_name.clone(), bytes: file.bytes };
            if copy(&from, target.as_ref(), &file.name)? != *file {
                return Err(bad(&full_name, "it changed while it was read"));
            }
        }
        sync_names(target.as_ref())?;
        let journal = FileJournal::recover_locked(target.clone(), lock, options, replay)?;
        Ok(Self { target: target.clone(), journal, manifest: manifest.clone() })
    }

    /// Makes it count, if the state that was rebuilt has the digest of the manifest; answers the writer epoch it is raised to.
    ///
    /// # Errors
    /// It is another state, or the disk failed.
    pub fn finish(mut self, digest: &str) -> Result<u64, JournalError> {
        if digest != self.manifest.digest || self.journal.durable_sequence() != self.manifest.sequence {
            return Err(other_state(self.target.as_ref()));
        }
        remove(self.target.as_ref(), UNFINISHED_RESTORE)?;
        sync_names(self.target.as_ref())?;
        // Only now may another process open it.
        self.journal.close()?;
        Ok(self.journal.writer_epoch())
    }
}
