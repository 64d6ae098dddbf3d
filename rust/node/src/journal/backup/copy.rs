//! Writes one file, durable and summed up: byte for byte from another one, or as its bytes come.

use crate::journal::JournalError;
use crate::journal::storage::{Storage, StoredFile, read_full_at, write_all_at};

use super::BackupFile;

const CHUNK_BYTES: u64 = 1 << 20;
/// Synced in steps of this size: a longer sync would hold up the appends of a server on the same disk.
const STEP_BYTES: u64 = 4 << 20;

/// Takes a piece of a file.
type Take<'t> = dyn FnMut(&[u8]) -> Result<(), JournalError> + 't;

/// A file to copy: opened, with its full name for messages and the bytes that count.
pub(super) struct Original {
    pub file: Box<dyn StoredFile>,
    pub full_name: String,
    pub bytes: u64,
}

/// A new file while it is written from its beginning to its end.
pub(super) struct Writing<'s> {
    storage: &'s dyn Storage,
    file: Box<dyn StoredFile>,
    so_far: BackupFile,
    unsynced: u64,
}

impl<'s> Writing<'s> {
    /// Makes the file.
    pub fn begin(storage: &'s dyn Storage, name: &str) -> Result<Self, JournalError> {
        let file = storage.create(name).map_err(JournalError::io("make", storage.describe(name)))?;
        Ok(Self { storage, file, so_far: BackupFile { name: name.into(), bytes: 0, crc32c: 0 }, unsynced: 0 })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.so_far.name
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.so_far.bytes
    }

    /// Writes at its end.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let failed = |error| JournalError::io("write", self.storage.describe(&self.so_far.name))(error);
        write_all_at(self.file.as_ref(), bytes, self.so_far.bytes).map_err(failed)?;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= STEP_BYTES {
            self.unsynced = 0;
            self.file.sync().map_err(failed)?;
        }
        self.so_far.bytes += bytes.len() as u64;
        self.so_far.crc32c = crc32c::crc32c_append(self.so_far.crc32c, bytes);
        Ok(())
    }

    /// Writes so many zeros.
    pub fn write_zeros(&mut self, mut count: u64) -> Result<(), JournalError> {
        while count > 0 {
            let step = count.min(CHUNK_BYTES);
            self.write(&vec![0; step as usize])?;
            count -= step;
        }
        Ok(())
    }

    /// Syncs it.
    pub fn finish(self) -> Result<BackupFile, JournalError> {
        self.file.sync().map_err(JournalError::io("sync", self.storage.describe(&self.so_far.name)))?;
        Ok(self.so_far)
    }
}

/// Copies a file under a new name and syncs it.
pub(super) fn copy(from: &Original, to: &dyn Storage, name: &str) -> Result<BackupFile, JournalError> {
    let mut writing = Writing::begin(to, name)?;
    for_each_chunk(from.file.as_ref(), &from.full_name, from.bytes, &mut |chunk| writing.write(chunk))?;
    writing.finish()
}

/// The CRC32C of the first so many bytes of a file.
pub(super) fn sum_of(file: &dyn StoredFile, full_name: &str, bytes: u64) -> Result<u32, JournalError> {
    let mut crc = 0;
    for_each_chunk(file, full_name, bytes, &mut |chunk| {
        crc = crc32c::crc32c_append(crc, chunk);
        Ok(())
    })?;
    Ok(crc)
}

/// Reads so many bytes piece by piece.
fn for_each_chunk(file: &dyn StoredFile, full_name: &str, bytes: u64, take: &mut Take<'_>) -> Result<(), JournalError> {
    let mut chunk = vec![0; CHUNK_BYTES.min(bytes) as usize];
    let mut offset = 0;
    while offset < bytes {
        let chunk = &mut chunk[..CHUNK_BYTES.min(bytes - offset) as usize];
        let got = read_full_at(file, chunk, offset).map_err(JournalError::io("read", full_name.into()))?;
        if got < chunk.len() {
            let why = "the file ends too early".into();
            return Err(JournalError::Corrupt { file: full_name.into(), offset: offset + got as u64, why });
        }
        take(chunk)?;
        offset += got as u64;
    }
    Ok(())
}
