//! Rebuilds the state from snapshot and journal, then prepares the end of the journal for appending; the only code that
//! overwrites bytes of an existing journal.

use std::sync::Arc;

use invengine_ledger::planted;

use super::files::journal_files;
use super::snapshot_store;
use super::storage::{Storage, StoredFile, write_all_at};
use super::walk::{BufferedFile, WalkEnd, walk, walk_from};
use crate::journal::JournalError;
use crate::journal::snapshot_store::{Manifest, Replay};

/// Rebuilds the state through `replay`: from the newest good snapshot and the frames after it, else from every frame.
pub(in crate::journal) fn rebuild(
    storage: &Arc<dyn Storage>,
    ledger: &str,
    replay: &mut dyn Replay,
) -> Result<Option<WalkEnd>, JournalError> {
    rebuild_from(storage, ledger, replay).map(|(_, walked)| walked)
}

/// The same, also returning the snapshot that it began with.
pub(in crate::journal) fn rebuild_from(
    storage: &Arc<dyn Storage>,
    ledger: &str,
    replay: &mut dyn Replay,
) -> Result<(Option<Manifest>, Option<WalkEnd>), JournalError> {
    let mut bad = Vec::new();
    let snapshots = snapshot_store::stored(storage.as_ref(), ledger, &mut |error| bad.push(error))?;
    // A newer build was here. What else it wrote is unknown to a build that reads only the older parts.
    if let Some(newer) = bad.iter().position(|error| matches!(error, JournalError::NewerFormat { .. })) {
        return Err(bad.swap_remove(newer));
    }
    bad.iter().for_each(|error| replay.note(&error.to_string()));
    for snapshot in &snapshots {
        if !replay.begin(snapshot) {
            break;
        }
        match load(storage.as_ref(), ledger, snapshot, replay) {
            Ok(()) => {
                let walked = replay_after(storage, ledger, snapshot, replay)?;
                return Ok((Some(snapshot.clone()), Some(walked)));
            }
            Err(error) => replay.note(&format!("{error}; an older one is tried")),
        }
    }
    replay.begin_empty();
    let mut progress = Progress::start(storage.as_ref(), 0)?;
    let walked = walk(storage, Some(ledger), &mut |frame, file, offset| {
        progress.report(replay, frame.payload.len());
        replay.frame(frame).map_err(|why| JournalError::Replay { file: file.into(), offset, why })?;
        Ok(true)
    })?;
    Ok((None, walked))
}

fn load(storage: &dyn Storage, ledger: &str, snapshot: &Manifest, replay: &mut dyn Replay) -> Result<(), JournalError> {
    let mut progress = Progress::start(storage, snapshot.bytes)?;
    snapshot_store::read(storage, ledger, snapshot, &mut |piece| {
        progress.report(replay, piece.len());
        replay.piece(piece)
    })?;
    let file = storage.describe(&crate::journal::snapshot::file_name(&snapshot.position));
    replay.end(snapshot).map_err(|why| JournalError::BadSnapshot { file, why })
}

fn replay_after(
    storage: &Arc<dyn Storage>,
    ledger: &str,
    snapshot: &Manifest,
    replay: &mut dyn Replay,
) -> Result<WalkEnd, JournalError> {
    let mut progress = Progress::start(storage.as_ref(), snapshot.bytes)?;
    progress.done = snapshot.bytes;
    walk_from(storage, ledger, &snapshot.position, &mut |frame, file, offset| {
        progress.report(replay, frame.payload.len());
        replay.frame(frame).map_err(|why| JournalError::Replay { file: file.into(), offset, why })?;
        Ok(true)
    })
}

/// Counts bytes, and reports from time to time.
struct Progress {
    done: u64,
    of: u64,
    reported: u64,
}

impl Progress {
    /// The total is a snapshot of `snapshot_bytes` and all journal files that are not archived.
    fn start(storage: &dyn Storage, snapshot_bytes: u64) -> Result<Self, JournalError> {
        let mut of = snapshot_bytes;
        for name in journal_files(storage)? {
            if let Ok(file) = storage.open(&name.text(), false) {
                of += file.length().unwrap_or(0);
            }
        }
        Ok(Self { done: 0, of, reported: 0 })
    }

    fn report(&mut self, replay: &mut dyn Replay, bytes: usize) {
        const STEP_BYTES: u64 = 1 << 20;
        self.done += bytes as u64;
        if self.done >= self.reported + STEP_BYTES {
            self.reported = self.done;
            replay.progress(self.done.min(self.of), self.of);
        }
    }
}

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Opens the last file for the new writer, with its torn tail zeroed and its last frame made
/// durable.
///
/// Repeating this after a crash half way gives the same result: the zeros are beyond the valid
/// frames, and the last frame is written over itself.
pub(in crate::journal) fn repair(storage: &dyn Storage, walked: &WalkEnd) -> Result<Box<dyn StoredFile>, JournalError> {
    let name = walked.header.name.text();
    let full_name = storage.describe(&name);
    let file = storage.open(&name, true).map_err(JournalError::io("open", full_name.clone()))?;
    zero_tail(file.as_ref(), walked).map_err(JournalError::io("zero the torn tail of", full_name.clone()))?;
    write_last_frame_again(storage, file.as_ref(), walked)?;
    if walked.torn_end.is_some() || walked.last_frame.is_some() {
        file.sync().map_err(JournalError::io("sync", full_name))?;
    }
    // The file's name may not be durable yet: an earlier process may have ended between renaming
    // and syncing.
    storage.sync_directory().map_err(JournalError::io("sync", storage.describe("")))?;
    Ok(file)
}

fn zero_tail(file: &dyn StoredFile, walked: &WalkEnd) -> std::io::Result<()> {
    let Some(torn_end) = walked.torn_end.filter(|_| !planted::is("torn_tail_kept")) else {
        return Ok(());
    };
    let shortened = walked.length < walked.header.file_bytes;
    let end = if shortened { walked.header.file_bytes } else { torn_end };
    write_zeros(file, walked.offset, end)
}

/// Writes zeros from one offset up to another.
pub(in crate::journal) fn write_zeros(file: &dyn StoredFile, mut from: u64, to: u64) -> std::io::Result<()> {
    while from < to {
        let count = (to - from).min(ZEROS.len() as u64);
        write_all_at(file, &ZEROS[..count as usize], from)?;
        from += count;
    }
    Ok(())
}

fn write_last_frame_again(storage: &dyn Storage, file: &dyn StoredFile, walked: &WalkEnd) -> Result<(), JournalError> {
    let Some(start) = walked.last_frame else {
        return Ok(());
    };
    let mut buffered = BufferedFile::open(storage, walked.header.name)?;
    let bytes = buffered.bytes(start, (walked.offset - start) as usize, walked.offset)?;
    let written = write_all_at(file, bytes, start);
    written.map_err(JournalError::io("write", buffered.name))
}
