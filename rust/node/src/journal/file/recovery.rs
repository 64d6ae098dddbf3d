//! Rebuilds the state from snapshot and journal, then prepares the end of the journal for appending; the only code that
//! overwrites bytes of an existing journal.

use std::sync::Arc;

use invengine_ledger::planted;

use super::files::journal_files;
use super::snapshots::{read, stored};
use super::storage::{Storage, StoredFile, write_all_at};
use super::walk::{BufferedFile, WalkEnd, walk};
use crate::journal::JournalError;
use crate::journal::recovery::{FramesLeft, NewestSnapshot, Progress, load_newest, replay_frame};
use crate::journal::snapshot::file_name;
use crate::journal::snapshot_store::{Manifest, Replay};
use crate::journal::walk::WalkedFrame;

/// Rebuilds the state through `replay`: from the newest good snapshot and the frames after it, else from every frame. Returns
/// the snapshot that it began with, and where the journal ends if there is one.
pub(in crate::journal) fn rebuild(
    storage: &Arc<dyn Storage>,
    ledger: &str,
    replay: &mut dyn Replay,
) -> Result<(Option<Manifest>, Option<WalkEnd>), JournalError> {
    let newest = load_newest(
        &mut storage.as_ref(),
        replay,
        |files| stored(*files, ledger),
        |files, snapshot, replay| Ok(load(*files, ledger, snapshot, replay)),
    )?;
    let (snapshot, mut progress) = match newest {
        NewestSnapshot::Loaded(snapshot, progress) => (Some(snapshot), progress),
        NewestSnapshot::NoneGood | NewestSnapshot::Declined => {
            replay.begin_empty();
            (None, Progress::start(0, bytes_left(storage.as_ref())?))
        }
    };
    let visit = &mut |frame: &WalkedFrame<'_>| replay_frame(replay, &mut progress, frame);
    let position = snapshot.as_ref().map(|snapshot| &snapshot.position);
    let walked = walk(storage, Some(ledger), position, visit)?;
    Ok((snapshot, walked))
}

fn load(
    storage: &dyn Storage,
    ledger: &str,
    snapshot: &Manifest,
    replay: &mut dyn Replay,
) -> Result<Progress, JournalError> {
    let mut progress = Progress::start(snapshot.bytes, bytes_left(storage)?);
    read(storage, ledger, snapshot, &mut |piece| {
        progress.piece(replay, piece.len());
        replay.piece(piece)
    })?;
    let file = storage.describe(&file_name(&snapshot.position));
    replay.end(snapshot).map_err(|why| JournalError::BadSnapshot { file, why })?;
    Ok(progress)
}

/// The length of all journal files that are not archived.
fn bytes_left(storage: &dyn Storage) -> Result<FramesLeft, JournalError> {
    let names = journal_files(storage)?;
    let files = names.iter().filter_map(|name| storage.open(&name.text(), false).ok());
    Ok(FramesLeft::Bytes(files.map(|file| file.length().unwrap_or(0)).sum()))
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
