//! Writes one file durably and with a checksum: as a copy of another one, or as its bytes arrive.

use std::io;

use crate::journal::JournalError;
use crate::journal::file::storage::{Storage, StoredFile, read_full_at, write_all_at};

use super::BackupFile;

const CHUNK_BYTES: u64 = 1 << 20;
/// Synced in steps of this size: a longer sync would hold up the appends of a server on the same disk.
const STEP_BYTES: u64 = 4 << 20;

/// Called with each chunk of a file.
type ChunkVisitor<'t> = dyn FnMut(&[u8]) -> Result<(), JournalError> + 't;

/// A new file that is being written from its beginning to its end.
pub(super) struct FileWriter<'s> {
    storage: &'s dyn Storage,
    file: Box<dyn StoredFile>,
    so_far: BackupFile,
    unsynced: u64,
}

impl<'s> FileWriter<'s> {
    /// Creates the file.
    pub fn begin(storage: &'s dyn Storage, name: &str) -> Result<Self, JournalError> {
        let file = storage.create(name).map_err(JournalError::io("create", storage.describe(name)))?;
        Ok(Self { storage, file, so_far: BackupFile { name: name.into(), bytes: 0, crc32c: 0 }, unsynced: 0 })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.so_far.name
    }

    /// Its length so far.
    pub fn bytes(&self) -> u64 {
        self.so_far.bytes
    }

    /// Appends bytes.
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

    /// Appends `count` zeros.
    pub fn write_zeros(&mut self, mut count: u64) -> Result<(), JournalError> {
        while count > 0 {
            let step = count.min(CHUNK_BYTES);
            self.write(&vec![0; step as usize])?;
            count -= step;
        }
        Ok(())
    }

    /// Syncs the file.
    pub fn finish(self) -> Result<BackupFile, JournalError> {
        self.file.sync().map_err(JournalError::io("sync", self.storage.describe(&self.so_far.name)))?;
        Ok(self.so_far)
    }
}

/// Copies a file, or its first `bytes`, under a name and syncs the copy.
pub(super) fn copy(
    opened: io::Result<Box<dyn StoredFile>>,
    full_name: String,
    bytes: Option<u64>,
    to: &dyn Storage,
    name: &str,
) -> Result<BackupFile, JournalError> {
    let file = opened.map_err(JournalError::io("open", full_name.clone()))?;
    let length = bytes.map_or_else(|| file.length(), Ok);
    let length = length.map_err(JournalError::io("read the length of", full_name.clone()))?;
    let mut writing = FileWriter::begin(to, name)?;
    for_each_chunk(file.as_ref(), &full_name, length, &mut |chunk| writing.write(chunk))?;
    writing.finish()
}

/// The CRC32C of the first `bytes` of a file.
pub(super) fn sum_of(file: &dyn StoredFile, full_name: &str, bytes: u64) -> Result<u32, JournalError> {
    let mut crc = 0;
    for_each_chunk(file, full_name, bytes, &mut |chunk| {
        crc = crc32c::crc32c_append(crc, chunk);
        Ok(())
    })?;
    Ok(crc)
}

/// Reads the first `bytes` of a file in chunks.
fn for_each_chunk(
    file: &dyn StoredFile,
    full_name: &str,
    bytes: u64,
    take: &mut ChunkVisitor<'_>,
) -> Result<(), JournalError> {
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
