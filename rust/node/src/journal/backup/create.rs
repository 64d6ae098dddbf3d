//! Makes a backup beside a running server, or without one: finds what is durable, copies it, checks the copy.

use std::io;
use std::sync::Arc;

use super::copy::{Original, copy, sum_of};
use super::manifest::{bad, write_manifest};
use super::{BackupFile, BackupManifest, UNFINISHED_BACKUP, begin, ledger_of, no_journal, refuse_copies, sync_names};
use crate::journal::files::{journal_files, open_journal_file, start_of};
use crate::journal::header::FileName;
use crate::journal::history::{Manifest, Replay};
use crate::journal::line::Line;
use crate::journal::recovery::rebuild_from;
use crate::journal::storage::{Storage, StoredFile};
use crate::journal::walk::walk_all;
use crate::journal::{JournalError, shelf, snapshot};

/// What a backup is going to hold: found and checked in its source, not yet copied.
pub struct Taken {
    source: Arc<dyn Storage>,
    ledger: String,
    snapshot: Option<Manifest>,
    names: Vec<FileName>,
    /// Where the last of these files ends.
    offset: u64,
    line: Line,
}

impl Taken {
    /// Reads what a restart would begin with, from the newest good snapshot to the last whole frame, and has it rebuilt; with
    /// `archive` all older journal that is still there too.
    ///
    /// Takes no lock and writes nothing. The last file is synced, so that nothing is taken which its server could still lose.
    ///
    /// # Errors
    /// There is no journal, or a start would refuse it too.
    pub fn look(source: &Arc<dyn Storage>, archive: bool, replay: &mut dyn Replay) -> Result<Self, JournalError> {
        refuse_copies(source.as_ref())?;
        let ledger = ledger_of(source.as_ref())?;
        let (snapshot, walked) = rebuild_from(source, &ledger, replay)?;
        let walked = walked.ok_or_else(|| no_journal(source.as_ref()))?;
        let mut names = journal_files(source.as_ref())?;
        names.retain(|name| name.number <= walked.header.name.number);
        let first = match &snapshot {
            Some(snapshot) if !archive => start_of(&names, &snapshot.mark).unwrap_or(0),
            _ => 0,
        };
        names.drain(..first);
        let full_name = source.describe(&walked.header.name.text());
        let last = open_journal_file(source.as_ref(), walked.header.name).and_then(|file| file.sync());
        last.map_err(JournalError::io("sync", full_name))?;
        // What lies before the snapshot was not read yet.
        walk_all(source, &names, &ledger)?;
        Ok(Self { source: source.clone(), ledger, snapshot, names, offset: walked.offset, line: walked.line })
    }

    /// Sequence of the last event in it.
    pub fn sequence(&self) -> u64 {
        self.line.next_sequence - 1
    }

    /// Copies it into an empty directory, checks the copy, and makes it count.
    ///
    /// # Errors
    /// The directory is not empty or cannot be written. What was copied so far then counts for nothing.
    pub fn write(
        &self,
        target: &Arc<dyn Storage>,
        digest: &str,
        created_ms: i64,
    ) -> Result<BackupManifest, JournalError> {
        super::check_backup_target(target.as_ref())?;
        let _lock = target.lock()?;
        begin(target.as_ref(), UNFINISHED_BACKUP)?;
        let files = self.copy_files(target.as_ref())?;
        sync_names(target.as_ref())?;
        self.check_copy(target, &files)?;
        let manifest = BackupManifest {
            format: BackupManifest::FORMAT,
            ledger: self.ledger.clone(),
            sequence: self.sequence(),
            writer_epoch: self.line.writer_epoch,
            time_ms: self.line.time_ms,
            digest: digest.into(),
            snapshot_sequence: self.snapshot.as_ref().map(|snapshot| snapshot.mark.sequence()),
            created_ms,
            bytes: files.iter().map(|file| file.bytes).sum(),
            files,
        };
        write_manifest(target.as_ref(), &manifest)?;
        Ok(manifest)
    }

    fn copy_files(&self, target: &dyn Storage) -> Result<Vec<BackupFile>, JournalError> {
        let mut files = Vec::new();
        if let Some(snapshot) = &self.snapshot {
            let name = snapshot::file_name(&snapshot.mark);
            files.push(copy(&self.original(&name, self.source.open(&name, false), None)?, target, &name)?);
        }
        for (index, name) in self.names.iter().enumerate() {
            let bytes = (index + 1 == self.names.len()).then_some(self.offset);
            let opened = open_journal_file(self.source.as_ref(), *name);
            files.push(copy(&self.original(&name.text(), opened, bytes)?, target, &name.text())?);
        }
        Ok(files)
    }

    /// A file of the source, whole unless `bytes` says how much of it counts.
    fn original(
        &self,
        name: &str,
        opened: io::Result<Box<dyn StoredFile>>,
        bytes: Option<u64>,
    ) -> Result<Original, JournalError> {
        let full_name = self.source.describe(name);
        let file = opened.map_err(JournalError::io("open", full_name.clone()))?;
        let length = file.length().map_err(JournalError::io("read the length of", full_name.clone()))?;
        Ok(Original { file, full_name, bytes: bytes.unwrap_or(length) })
    }

    /// Reads the copy: every frame and every piece of the snapshot must be good, and the end that of the source.
    fn check_copy(&self, copy: &Arc<dyn Storage>, files: &[BackupFile]) -> Result<(), JournalError> {
        check_files(copy.as_ref(), files)?;
        let walked = walk_all(copy, &self.names, &self.ledger)?;
        if walked.line != self.line {
            return Err(bad(&copy.describe(""), "it does not end as its source did"));
        }
        match &self.snapshot {
            Some(snapshot) => shelf::read(copy.as_ref(), &self.ledger, snapshot, &mut |_| Ok(())),
            None => Ok(()),
        }
    }
}

/// Reads the copied files again: each must be what was written.
pub(super) fn check_files(storage: &dyn Storage, files: &[BackupFile]) -> Result<(), JournalError> {
    for file in files {
        let full_name = storage.describe(&file.name);
        let opened = storage.open(&file.name, false).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => bad(&full_name, "it is missing"),
            _ => JournalError::io("open", full_name.clone())(error),
        })?;
        let length = opened.length().map_err(JournalError::io("read the length of", full_name.clone()))?;
        if length != file.bytes {
            return Err(bad(&full_name, &format!("it has {length} bytes, its manifest says {}", file.bytes)));
        }
        if sum_of(opened.as_ref(), &full_name, length)? != file.crc32c {
            return Err(bad(&full_name, "its checksum is not that of its manifest"));
        }
    }
    Ok(())
}
