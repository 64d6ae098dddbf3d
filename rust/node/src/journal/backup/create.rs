//! Creates a backup, with or without a running server: finds what is durable, copies it, checks the copy.

use std::any::Any;
use std::io;
use std::sync::Arc;

use super::copy::{copy, sum_of};
use super::manifest::{bad, write_manifest};
use super::writer::BackupWriter;
use super::{BackupFacts, BackupFile, BackupManifest, UNFINISHED_BACKUP, begin, ledger_of, no_journal, sync_names};
use crate::journal::chain_tip::ChainTip;
use crate::journal::file::files::{journal_files, open_journal_file, start_of};
use crate::journal::file::header::FileName;
use crate::journal::file::markers::refuse_copies;
use crate::journal::file::recovery::rebuild;
use crate::journal::file::snapshots;
use crate::journal::file::storage::Storage;
use crate::journal::file::walk::walk_all;
use crate::journal::file::writer::JOURNAL_FILE_BYTES_DEFAULT;
use crate::journal::redis::{Recovery, RedisSource, StoredState, StreamWalk};
use crate::journal::snapshot_store::{Manifest, Replay};
use crate::journal::{JournalError, snapshot};

/// What a backup will hold: found and checked in its source, not yet copied.
pub struct BackupPlan {
    source: Arc<dyn Storage>,
    content: Content,
    /// Where the last of its journal files ends.
    offset: u64,
}

/// What a backup holds, whatever journal it is made from.
pub(super) struct Content {
    pub ledger: String,
    pub snapshot: Option<Manifest>,
    pub names: Vec<FileName>,
    /// Where the journal ends.
    pub tip: ChainTip,
}

impl BackupPlan {
    /// Reads what a restart would begin with, from the newest good snapshot to the last whole frame, and rebuilds the state;
    /// with `archive` includes all older journal files that still exist.
    ///
    /// Takes no lock and writes nothing. The last file is synced, so that the backup holds nothing that its server could still
    /// lose.
    ///
    /// # Errors
    /// There is no journal, or a start would refuse it too.
    pub fn prepare(source: &Arc<dyn Storage>, archive: bool, replay: &mut dyn Replay) -> Result<Self, JournalError> {
        refuse_copies(source.as_ref())?;
        let ledger = ledger_of(source.as_ref())?;
        let (snapshot, walked) = rebuild(source, &ledger, replay)?;
        let walked = walked.ok_or_else(|| no_journal(source.as_ref()))?;
        let mut names = journal_files(source.as_ref())?;
        names.retain(|name| name.number <= walked.header.name.number);
        let first = match &snapshot {
            Some(snapshot) if !archive => start_of(&names, &snapshot.position).unwrap_or(0),
            _ => 0,
        };
        names.drain(..first);
        let full_name = source.describe(&walked.header.name.text());
        let last = open_journal_file(source.as_ref(), walked.header.name).and_then(|file| file.sync());
        last.map_err(JournalError::io("sync", full_name))?;
        // What precedes the snapshot was not read yet.
        walk_all(source, &names, &ledger)?;
        let content = Content { ledger, snapshot, names, tip: *walked.walk.tip() };
        Ok(Self { source: source.clone(), content, offset: walked.offset })
    }

    /// Sequence of the last event in it.
    pub fn sequence(&self) -> u64 {
        self.content.sequence()
    }

    /// Copies it into an empty directory, checks the copy, and makes it valid.
    ///
    /// # Errors
    /// The directory is not empty or cannot be written. What was copied so far is then not a valid backup.
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
        self.content.finish(target, files, digest, created_ms)
    }

    fn copy_files(&self, target: &dyn Storage) -> Result<Vec<BackupFile>, JournalError> {
        let mut files = Vec::new();
        let full_name = |name: &str| self.source.describe(name);
        if let Some(snapshot) = &self.content.snapshot {
            let name = snapshot::file_name(&snapshot.position);
            files.push(copy(self.source.open(&name, false), full_name(&name), None, target, &name)?);
        }
        let names = &self.content.names;
        for (index, name) in names.iter().enumerate() {
            let bytes = (index + 1 == names.len()).then_some(self.offset);
            let (opened, name) = (open_journal_file(self.source.as_ref(), *name), name.text());
            files.push(copy(opened, full_name(&name), bytes, target, &name)?);
        }
        Ok(files)
    }
}

/// Reads a journal in Redis once, from the newest good snapshot to its end or with `archive` from the first frame that is
/// stored, and writes it into an empty directory while `replay` rebuilds the state.
///
/// # Errors
/// There is no journal, a start would refuse it too, or the directory is not empty or cannot be written. What was written so
/// far is then not a valid backup.
pub fn copy_redis(
    source: &mut RedisSource,
    archive: bool,
    target: &Arc<dyn Storage>,
    replay: &mut dyn Replay,
) -> Result<PendingBackup, JournalError> {
    super::check_backup_target(target.as_ref())?;
    let stored = source.stored()?;
    let lock = target.lock()?;
    begin(target.as_ref(), UNFINISHED_BACKUP)?;
    let ledger = source.ledger().to_owned();
    let mut writer = BackupWriter::new(target.as_ref(), &ledger, JOURNAL_FILE_BYTES_DEFAULT, replay);
    let read = read_redis(source, &stored, archive, &mut writer);
    read.map_err(|error| writer.explain(error))?;
    let (content, files) = writer.finish()?;
    Ok(PendingBackup { content, files, _lock: lock })
}

fn read_redis(
    source: &mut RedisSource,
    stored: &StoredState,
    archive: bool,
    writer: &mut BackupWriter<'_>,
) -> Result<(), JournalError> {
    let begun = Recovery::begin(source, Some(stored), writer)?;
    let mut walk = match &begun.snapshot {
        Some(snapshot) if archive => StreamWalk::from_first(source, stored, Some(&snapshot.position))?,
        _ => begun.walk,
    };
    writer.begin_frames(*walk.walk.tip())?;
    let journal = source.describe();
    walk.read_on(source, &journal, &mut |frame| {
        if frame.reached {
            writer.frame(frame.decoded.frame()).map_err(|why| frame.refused(why))?;
        }
        writer.write_frame(&frame.decoded)?;
        Ok(true)
    })?;
    source.compare(&walk, stored)
}

/// A journal that was written into a directory and is not a valid backup yet.
pub struct PendingBackup {
    content: Content,
    files: Vec<BackupFile>,
    _lock: Box<dyn Any + Send>,
}

impl PendingBackup {
    /// Checks the copy, and makes it valid.
    ///
    /// # Errors
    /// It differs from what was read, or the disk failed.
    pub fn finish(
        self,
        target: &Arc<dyn Storage>,
        digest: &str,
        created_ms: i64,
    ) -> Result<BackupManifest, JournalError> {
        self.content.finish(target, self.files, digest, created_ms)
    }
}

impl Content {
    fn sequence(&self) -> u64 {
        self.tip.next_sequence - 1
    }

    /// Checks the copy, and writes the manifest.
    fn finish(
        &self,
        target: &Arc<dyn Storage>,
        files: Vec<BackupFile>,
        digest: &str,
        created_ms: i64,
    ) -> Result<BackupManifest, JournalError> {
        sync_names(target.as_ref())?;
        self.check_copy(target, &files)?;
        let facts = BackupFacts {
            ledger: self.ledger.clone(),
            sequence: self.sequence(),
            writer_epoch: self.tip.writer_epoch,
            time_ms: self.tip.time_ms,
            digest: digest.into(),
            snapshot_sequence: self.snapshot.as_ref().map(|snapshot| snapshot.position.sequence()),
            created_ms,
            bytes: files.iter().map(|file| file.bytes).sum(),
        };
        let manifest = BackupManifest { format: BackupManifest::FORMAT, facts, files };
        write_manifest(target.as_ref(), &manifest)?;
        Ok(manifest)
    }

    /// Reads the copy: every frame and every piece of the snapshot must be good, and it must end where the source did.
    fn check_copy(&self, copy: &Arc<dyn Storage>, files: &[BackupFile]) -> Result<(), JournalError> {
        check_files(copy.as_ref(), files)?;
        let walked = walk_all(copy, &self.names, &self.ledger)?;
        if *walked.walk.tip() != self.tip {
            return Err(bad(&copy.describe(""), "it does not end as its source did"));
        }
        match &self.snapshot {
            Some(snapshot) => snapshots::read(copy.as_ref(), &self.ledger, snapshot, &mut |_| Ok(())),
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
            return Err(bad(&full_name, "its checksum does not match its manifest"));
        }
    }
    Ok(())
}
