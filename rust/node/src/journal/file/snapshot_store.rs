//! The snapshots and the archive of the file journal, for one thread beside the writer.

use std::sync::Arc;

use super::files::{ARCHIVE, archived, journal_files, list, remove, start_of};
use super::header::FileName;
use super::reader::{DurableEnd, FileReader};
use super::snapshots;
use super::storage::{Storage, StoredFile, write_all_at};
use super::walk::BufferedFile;
use crate::journal::error::is_lack_of_space;
use crate::journal::snapshot::{self, SnapshotDraft, no_draft};
use crate::journal::snapshot_store::{JournalPosition, Manifest, Retention, SNAPSHOTS_KEPT, SnapshotStore, Trimmed};
use crate::journal::{Frame, JournalError};

/// A snapshot while it is being written.
pub(in crate::journal) const DRAFT: &str = "draft";
/// Synced in steps of this size: a longer sync would hold up the appends to the same disk.
const STEP_BYTES: u64 = 4 << 20;
/// Snapshots in the archive are at least this many journal files apart.
const SPACING_FILES: u64 = 4;

/// The name of a snapshot, with its sequence and frames.
type Named = (String, (u64, u64));

/// The snapshots and the archive of one directory.
pub(in crate::journal) struct FileSnapshotStore {
    storage: Arc<dyn Storage>,
    durable: Arc<DurableEnd>,
    ledger: String,
    retention: Retention,
    draft: Option<Draft>,
}

struct Draft {
    file: Box<dyn StoredFile>,
    content: SnapshotDraft,
    offset: u64,
    unsynced: u64,
}

impl FileSnapshotStore {
    pub fn new(storage: Arc<dyn Storage>, durable: Arc<DurableEnd>, ledger: String, retention: Retention) -> Self {
        Self { storage, durable, ledger, retention, draft: None }
    }

    fn full_name(&self, name: &str) -> String {
        self.storage.describe(name)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let full_name = self.full_name(DRAFT);
        let Some(draft) = &mut self.draft else { return Err(no_draft()) };
        let failed = |error: std::io::Error| {
            if is_lack_of_space(&error) {
                return JournalError::NoRoomForSnapshot { why: full_name.clone() };
            }
            JournalError::io("write", full_name.clone())(error)
        };
        write_all_at(draft.file.as_ref(), bytes, draft.offset).map_err(failed)?;
        draft.offset += bytes.len() as u64;
        draft.unsynced += bytes.len() as u64;
        if draft.unsynced >= STEP_BYTES {
            draft.file.sync().map_err(failed)?;
            draft.unsynced = 0;
        }
        Ok(())
    }

    /// Snapshots in the archive, oldest first, by name and position.
    fn archived_snapshots(&self) -> Result<Vec<Named>, JournalError> {
        let mut found = Vec::new();
        for text in list(self.storage.as_ref())? {
            if let Some(position) = text.strip_prefix(ARCHIVE).and_then(snapshot::parse_name) {
                found.push((text, position));
            }
        }
        found.sort_unstable_by_key(|(_, position)| *position);
        Ok(found)
    }

    /// Of the snapshots that recovery no longer needs, archives those that the archive needs and removes the others.
    fn retire(&self, old: &[Manifest], names: &[FileName]) -> Result<(), JournalError> {
        for manifest in old.iter().rev() {
            let name = snapshot::file_name(&manifest.position);
            let number = |position: &JournalPosition| start_of(names, position).map_or(0, |start| names[start].number);
            let before = self.archived_snapshots()?.pop().map_or(0, |(_, (sequence, _))| {
                names.iter().rev().find(|name| name.first_sequence <= sequence).map_or(0, |name| name.number)
            });
            if number(&manifest.position) >= before + SPACING_FILES {
                let to = format!("{ARCHIVE}{name}");
                self.storage.rename(&name, &to).map_err(JournalError::io("archive", self.full_name(&name)))?;
            } else {
                remove(self.storage.as_ref(), &name)?;
            }
        }
        Ok(())
    }

    /// Moves the journal files before a position to the archive; returns their bytes.
    fn archive_before(&self, position: &JournalPosition, names: &[FileName]) -> Result<u64, JournalError> {
        let needed = start_of(names, position).unwrap_or(0);
        let there = list(self.storage.as_ref())?;
        let mut bytes = 0;
        for name in names[..needed].iter().filter(|name| there.contains(&name.text())) {
            bytes += self.file_bytes(*name)?;
            let full_name = self.full_name(&name.text());
            self.storage.rename(&name.text(), &archived(*name)).map_err(JournalError::io("archive", full_name))?;
        }
        Ok(bytes)
    }

    fn file_bytes(&self, name: FileName) -> Result<u64, JournalError> {
        Ok(BufferedFile::open(self.storage.as_ref(), name)?.header(name)?.file_bytes)
    }

    /// Removes from the archive what its retention does not cover. The rest begins at a snapshot, so that every sequence that
    /// is kept can be reached from one.
    fn expire(&self, older: &JournalPosition, now_ms: i64) -> Result<u64, JournalError> {
        let names = journal_files(self.storage.as_ref())?;
        let needed = start_of(&names, older).unwrap_or(0);
        let over = self.files_over(&names[..=needed.min(names.len().saturating_sub(1))], now_ms)?;
        let mut begins: Vec<u64> = self.archived_snapshots()?.iter().map(|(_, position)| position.0).collect();
        begins.push(older.sequence());
        // The latest snapshot that is in or before the first file that must stay.
        let first_kept = names.get(over).map_or(u64::MAX, |name| name.first_sequence);
        let Some(begin) = begins.into_iter().filter(|sequence| *sequence < first_kept).max() else { return Ok(0) };
        let cut = names.partition_point(|name| name.first_sequence <= begin).saturating_sub(1).min(over);
        let mut removed = 0;
        for name in &names[..cut] {
            removed += self.file_bytes(*name)?;
            remove(self.storage.as_ref(), &archived(*name))?;
        }
        let first_sequence = names.get(cut).map_or(1, |name| name.first_sequence);
        for (name, (sequence, _)) in self.archived_snapshots()? {
            if sequence + 1 < first_sequence {
                remove(self.storage.as_ref(), &name)?;
            }
        }
        Ok(removed)
    }

    /// How many of these files, the last one excepted, exceed the retention.
    fn files_over(&self, names: &[FileName], now_ms: i64) -> Result<usize, JournalError> {
        let Retention { archive_ms, archive_bytes_max } = self.retention;
        let archived = &names[..names.len().saturating_sub(1)];
        let mut bytes = 0;
        for name in archived {
            bytes += self.file_bytes(*name)?;
        }
        let mut over = 0;
        for (index, name) in archived.iter().enumerate() {
            let next = names[index + 1];
            let ended_ms = BufferedFile::open(self.storage.as_ref(), next)?.header(next)?.time_ms;
            let too_old = archive_ms > 0 && now_ms.saturating_sub(ended_ms) > archive_ms.min(i64::MAX as u64) as i64;
            let too_large = archive_bytes_max > 0 && bytes > archive_bytes_max;
            if !too_old && !too_large {
                break;
            }
            bytes -= self.file_bytes(*name)?;
            over = index + 1;
        }
        Ok(over)
    }
}

impl SnapshotStore for FileSnapshotStore {
    fn snapshots(&mut self) -> Result<Vec<Manifest>, JournalError> {
        Ok(snapshots::stored(self.storage.as_ref(), &self.ledger)?.0)
    }

    fn every_snapshot(&mut self) -> Result<Vec<Manifest>, JournalError> {
        let mut all = self.snapshots()?;
        for (name, _) in self.archived_snapshots()?.iter().rev() {
            // One that is damaged, or was removed just now, is none.
            all.extend(snapshots::read_manifest(self.storage.as_ref(), name, Some(&self.ledger)));
        }
        Ok(all)
    }

    fn read(
        &mut self,
        snapshot: &Manifest,
        f: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), JournalError> {
        snapshots::read(self.storage.as_ref(), &self.ledger, snapshot, f)
    }

    fn frames_after(
        &mut self,
        position: &JournalPosition,
        f: &mut dyn FnMut(Frame<'_>) -> bool,
    ) -> Result<JournalPosition, JournalError> {
        FileReader::new(self.storage.clone(), self.durable.clone()).read_after(position, f)
    }

    fn begin(&mut self, position: &JournalPosition) -> Result<(), JournalError> {
        self.draft = None;
        remove(self.storage.as_ref(), DRAFT)?;
        let file = self.storage.create(DRAFT).map_err(JournalError::io("create", self.full_name(DRAFT)))?;
        let (content, header) = SnapshotDraft::begin(&self.ledger, position);
        self.draft = Some(Draft { file, content, offset: 0, unsynced: 0 });
        self.write(&header)
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let Some(draft) = &mut self.draft else { return Err(no_draft()) };
        let head = draft.content.piece(bytes)?;
        self.write(&head)?;
        self.write(bytes)
    }

    fn commit(&mut self, digest: &str) -> Result<Manifest, JournalError> {
        let Some(draft) = &self.draft else { return Err(no_draft()) };
        let (manifest, end) = draft.content.end(digest)?;
        // The pieces are durable before there is a manifest, and the manifest before there is a name.
        self.sync_draft()?;
        self.write(&end)?;
        self.sync_draft()?;
        let name = snapshot::file_name(&manifest.position);
        self.storage.rename(DRAFT, &name).map_err(JournalError::io("rename", self.full_name(DRAFT)))?;
        self.storage.sync_directory().map_err(JournalError::io("sync", self.full_name("")))?;
        self.draft = None;
        Ok(manifest)
    }

    fn trim(&mut self, now_ms: i64) -> Result<Trimmed, JournalError> {
        let snapshots = self.snapshots()?;
        let mut trimmed = Trimmed::default();
        if let Some(older) = snapshots.get(SNAPSHOTS_KEPT - 1) {
            let names = journal_files(self.storage.as_ref())?;
            self.retire(&snapshots[SNAPSHOTS_KEPT..], &names)?;
            trimmed.archived_bytes = self.archive_before(&older.position, &names)?;
            self.storage.sync_directory().map_err(JournalError::io("sync", self.full_name("")))?;
            trimmed.removed_bytes = self.expire(&older.position, now_ms)?;
        }
        trimmed.first_sequence = self.first_sequence()?;
        Ok(trimmed)
    }

    fn first_sequence(&mut self) -> Result<u64, JournalError> {
        Ok(journal_files(self.storage.as_ref())?.first().map_or(1, |name| name.first_sequence))
    }
}

impl FileSnapshotStore {
    fn sync_draft(&mut self) -> Result<(), JournalError> {
        let full_name = self.full_name(DRAFT);
        let Some(draft) = &mut self.draft else { return Err(no_draft()) };
        draft.unsynced = 0;
        draft.file.sync().map_err(JournalError::io("sync", full_name))
    }
}
