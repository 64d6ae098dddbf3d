//! Copies one file, byte for byte, durable and summed up.

use crate::journal::JournalError;
use crate::journal::storage::{Storage, StoredFile, read_full_at, write_all_at};

use super::BackupFile;

const CHUNK_BYTES: u64 = 1 << 20;
/// Synced in steps of this size: a longer sync would hold up the appends of a server on the same disk.
const STEP_BYTES: u64 = 4 << 20;

/// Takes a piece of a file and where it stands.
type Take<'t> = dyn FnMut(&[u8], u64) -> Result<(), JournalError> + 't;

/// A file to copy: opened, with its full name for messages and the bytes that count.
pub(super) struct Original {
    pub file: Box<dyn StoredFile>,
    pub full_name: String,
    pub bytes: u64,
}

/// Copies a file under a new name and syncs it.
pub(super) fn copy(from: &Original, to: &dyn Storage, name: &str) -> Result<BackupFile, JournalError> {
    let full_name = to.describe(name);
    let file = to.create(name).map_err(JournalError::io("make", full_name.clone()))?;
    let failed = |error| JournalError::io("write", full_name.clone())(error);
    let mut unsynced = 0;
    let crc32c = for_each_chunk(from.file.as_ref(), &from.full_name, from.bytes, &mut |chunk, offset| {
        write_all_at(file.as_ref(), chunk, offset).map_err(failed)?;
        unsynced += chunk.len() as u64;
        if unsynced >= STEP_BYTES {
            unsynced = 0;
            file.sync().map_err(failed)?;
        }
        Ok(())
    })?;
    file.sync().map_err(JournalError::io("sync", full_name.clone()))?;
    Ok(BackupFile { name: name.into(), bytes: from.bytes, crc32c })
}

/// The CRC32C of the first so many bytes of a file.
pub(super) fn sum_of(file: &dyn StoredFile, full_name: &str, bytes: u64) -> Result<u32, JournalError> {
    for_each_chunk(file, full_name, bytes, &mut |_, _| Ok(()))
}

/// Reads so many bytes piece by piece; answers their CRC32C.
fn for_each_chunk(
    file: &dyn StoredFile,
    full_name: &str,
    bytes: u64,
    take: &mut Take<'_>,
) -> Result<u32, JournalError> {
    let mut chunk = vec![0; CHUNK_BYTES.min(bytes) as usize];
    let (mut offset, mut crc) = (0, 0);
    while offset < bytes {
        let chunk = &mut chunk[..CHUNK_BYTES.min(bytes - offset) as usize];
        let got = read_full_at(file, chunk, offset).map_err(JournalError::io("read", full_name.into()))?;
        if got < chunk.len() {
            let why = "the file ends too early".into();
            return Err(JournalError::Corrupt { file: full_name.into(), offset: offset + got as u64, why });
        }
        crc = crc32c::crc32c_append(crc, chunk);
        take(chunk, offset)?;
        offset += got as u64;
    }
    Ok(crc)
}
