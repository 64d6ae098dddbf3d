//! Makes the end of a recovered journal fit to append to; the only code that writes to bytes
//! written before.

use super::JournalError;
use super::storage::{Storage, StoredFile, write_all_at};
use super::walk::{Walked, Window};

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Opens the last file for the new writer, with its torn tail zeroed and its last frame surely
/// durable.
///
/// Doing this again after a crash half way gives the same result: the zeros lie beyond the valid
/// frames, and the last frame is written over itself.
pub(super) fn mend(storage: &dyn Storage, walked: &Walked) -> Result<Box<dyn StoredFile>, JournalError> {
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

fn zero_tail(file: &dyn StoredFile, walked: &Walked) -> std::io::Result<()> {
    let Some(torn_end) = walked.torn_end else {
        return Ok(());
    };
    let shortened = walked.length < walked.header.file_bytes;
    let end = if shortened { walked.header.file_bytes } else { torn_end };
    write_zeros(file, walked.offset, end)
}

/// Writes zeros from one offset up to another.
pub(super) fn write_zeros(file: &dyn StoredFile, mut from: u64, to: u64) -> std::io::Result<()> {
    while from < to {
        let count = (to - from).min(ZEROS.len() as u64);
        write_all_at(file, &ZEROS[..count as usize], from)?;
        from += count;
    }
    Ok(())
}

fn write_last_frame_again(storage: &dyn Storage, file: &dyn StoredFile, walked: &Walked) -> Result<(), JournalError> {
    let Some(start) = walked.last_frame else {
        return Ok(());
    };
    let mut window = Window::open(storage, walked.header.name)?;
    let bytes = window.bytes(start, (walked.offset - start) as usize, walked.offset)?;
    let written = write_all_at(file, bytes, start);
    written.map_err(JournalError::io("write", window.name))
}
