//! The last resort: everything in the directory is set aside, nothing is deleted, and an empty journal begins.

use super::files::{ARCHIVE, list};
use super::header::{FILE_HEADER_BYTES, FileHeader, NAME_PREFIX};
use super::snapshots::read_manifest;
use super::storage::{Storage, read_full_at};
use crate::journal::JournalError;
use crate::journal::snapshot::SNAPSHOT_PREFIX;

/// Epochs that an unreadable journal may have reached after the last header that can be read.
const EPOCHS_UNSEEN: u64 = 1 << 16;

/// Moves journal, snapshots and archive into a directory of their own; returns an epoch above all of theirs.
pub(in crate::journal) fn set_aside(storage: &dyn Storage) -> Result<u64, JournalError> {
    let names = list(storage)?;
    let ours = |name: &&String| {
        let bare = name.strip_prefix(ARCHIVE).unwrap_or(name);
        bare.starts_with(NAME_PREFIX) || bare.starts_with(SNAPSHOT_PREFIX)
    };
    let mut ours: Vec<&String> = names.iter().filter(ours).collect();
    // The newest journal file last: after a crash half way it still shows which epochs there were.
    ours.sort_unstable_by_key(|name| (name.starts_with(NAME_PREFIX), name.rsplit('-').next().map(str::to_owned)));
    if ours.is_empty() {
        return Ok(0);
    }
    let epoch = ours.iter().filter_map(|name| epoch_in(storage, name)).max().unwrap_or(0);
    let taken = |number: &u32| names.iter().any(|name| name.starts_with(&format!("set-aside-{number}")));
    let number = (1..).find(|number| !taken(number)).unwrap_or(u32::MAX);
    for name in ours {
        let to = format!("set-aside-{number}/{name}");
        storage.rename(name, &to).map_err(JournalError::io("set aside", storage.describe(name)))?;
    }
    storage.sync_directory().map_err(JournalError::io("sync", storage.describe("")))?;
    Ok(epoch + EPOCHS_UNSEEN)
}

/// The epoch in the header of a file, if it can be read.
fn epoch_in(storage: &dyn Storage, name: &str) -> Option<u64> {
    if name.strip_prefix(ARCHIVE).unwrap_or(name).starts_with(SNAPSHOT_PREFIX) {
        return read_manifest(storage, name, None).ok().map(|found| found.position.writer_epoch());
    }
    let file = storage.open(name, false).ok()?;
    let mut head = vec![0; FILE_HEADER_BYTES];
    read_full_at(file.as_ref(), &mut head, 0).ok()?;
    FileHeader::decode(&head, name).ok().map(|header| header.writer_epoch)
}
