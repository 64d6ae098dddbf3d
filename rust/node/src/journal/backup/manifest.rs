//! The manifest of a backup: one line of JSON for people and programs, then a line with its checksum.

use serde::{Deserialize, Serialize};

use super::{MANIFEST, UNFINISHED_BACKUP};
use crate::journal::JournalError;
use crate::journal::file::storage::{Storage, read_full_at, write_all_at};

/// The newest version of the format that this build writes and reads.
const FORMAT: u32 = 1;
/// A longer file is not a manifest: it would list more files than any journal has.
const BYTES_MAX: u64 = 64 << 20;
const SUM: &str = "crc32c ";

/// Describes a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupManifest {
    /// Version of this format.
    pub format: u32,
    /// What it holds.
    #[serde(flatten)]
    pub facts: BackupFacts,
    /// Every file but the manifest.
    pub files: Vec<BackupFile>,
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFacts {
    /// Name of the ledger.
    pub ledger: String,
    /// Sequence of the last event.
    pub sequence: u64,
    /// Writer epoch of the last frame.
    pub writer_epoch: u64,
    /// Engine time of the last frame, ms.
    pub time_ms: i64,
    /// Digest of the state at that sequence.
    pub digest: String,
    /// Sequence of the snapshot that a restart begins with; `None` if the journal is complete from its first frame.
    pub snapshot_sequence: Option<u64>,
    /// When the backup was made, ms since 1970, by the clock of its machine.
    pub created_ms: i64,
    /// Bytes of all files in total.
    pub bytes: u64,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Checksum of all its bytes.
    pub crc32c: u32,
}

impl BackupManifest {
    /// The version that this build writes.
    pub(super) const FORMAT: u32 = FORMAT;

    fn encode(&self) -> Result<String, JournalError> {
        let json = serde_json::to_string(self).map_err(|error| bad(MANIFEST, &error.to_string()))?;
        let sum = crc32c::crc32c(json.as_bytes());
        Ok(format!("{json}\n{SUM}{sum:08x}\n"))
    }

    fn decode(text: &str, file: &str) -> Result<Self, JournalError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let (json, sum) = text.split_once('\n').ok_or_else(|| bad(file, "its manifest is cut short"))?;
        if sum != format!("{SUM}{:08x}\n", crc32c::crc32c(json.as_bytes())) {
            return Err(bad(file, "its manifest is damaged"));
        }
        let strange = |error: serde_json::Error| bad(file, &error.to_string());
        let found = serde_json::from_str::<Format>(json).map_err(strange)?.format;
        if found > FORMAT {
            return Err(JournalError::NewerFormat { file: file.into(), found, known: FORMAT });
        }
        serde_json::from_str(json).map_err(strange)
    }
}

/// Writes the manifest in place of the marker: from then on the backup is valid.
pub(super) fn write_manifest(storage: &dyn Storage, manifest: &BackupManifest) -> Result<(), JournalError> {
    let text = manifest.encode()?;
    let full_name = storage.describe(UNFINISHED_BACKUP);
    let file = storage.open(UNFINISHED_BACKUP, true).map_err(JournalError::io("open", full_name.clone()))?;
    write_all_at(file.as_ref(), text.as_bytes(), 0).map_err(JournalError::io("write", full_name.clone()))?;
    file.sync().map_err(JournalError::io("sync", full_name.clone()))?;
    storage.rename(UNFINISHED_BACKUP, MANIFEST).map_err(JournalError::io("rename", full_name))?;
    super::sync_names(storage)
}

/// Reads the manifest of a backup.
///
/// # Errors
/// It is missing, damaged, or of a newer build.
pub fn read_manifest(storage: &dyn Storage) -> Result<BackupManifest, JournalError> {
    let full_name = storage.describe(MANIFEST);
    let file = storage.open(MANIFEST, false).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => bad(&full_name, "it is missing: no backup was finished here"),
        _ => JournalError::io("open", full_name.clone())(error),
    })?;
    let length = file.length().map_err(JournalError::io("read the length of", full_name.clone()))?;
    if length > BYTES_MAX {
        return Err(bad(&full_name, "it is too long for a manifest"));
    }
    let mut bytes = vec![0; length as usize];
    let got = read_full_at(file.as_ref(), &mut bytes, 0).map_err(JournalError::io("read", full_name.clone()))?;
    let text = str::from_utf8(&bytes[..got]).map_err(|_| bad(&full_name, "its manifest is damaged"))?;
    BackupManifest::decode(text, &full_name)
}

/// The error for a backup that cannot be used.
pub(super) fn bad(file: &str, why: &str) -> JournalError {
    JournalError::BadBackup { file: file.into(), why: why.into() }
}
