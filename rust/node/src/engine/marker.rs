//! A local note of what this machine acknowledged, for a journal that is stored elsewhere.
//!
//! A Redis that fails over to a replica may lose what it confirmed. A running engine appends the missing tail again
//! from memory; if the engine had died too, the loss would go unnoticed. So the last acknowledged position is also
//! written to a small file in the engine's own directory, before its answers are sent: the next start can tell a
//! journal that ends before this position from a complete one, and claims no epoch that a lost claim had. The file is
//! not synced: it must outlive this process, not this machine.
//!
//! A directory may serve several ledgers, each with a note of its own. The address of its Redis is written into the
//! note for people and is not compared: after a failover, or under another name, it is the same ledger at another
//! address.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use invengine_ledger::{Ledger, StableHash};

/// The prefix of the name of every note.
const FILE: &str = "acknowledged";
const MAGIC: [u8; 8] = *b"INVACK02";
/// Magic, tag of the ledger, writer epoch, sequence, CRC32C of those; then, for people, the ledger and its Redis.
const BYTES: usize = 36;

/// Identifies the note of one ledger, wherever its Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MarkerId {
    directory: PathBuf,
    text: String,
    tag: u64,
}

impl MarkerId {
    /// The note in this directory for a ledger in the Redis at `place`.
    pub fn of(directory: &Path, ledger: &str, place: &str) -> Self {
        let text = format!("ledger {ledger:?} in Redis at {place}\n");
        let tag = StableHash::new(0).bytes(ledger.as_bytes()).short();
        MarkerId { directory: directory.to_owned(), text, tag }
    }

    fn file(&self) -> PathBuf {
        self.directory.join(format!("{FILE}-{:016x}", self.tag))
    }
}

/// A position up to which everything was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AcknowledgedPosition {
    pub writer_epoch: u64,
    pub sequence: u64,
}

/// What a start learns from the note.
#[derive(Default)]
pub(super) struct Acknowledgements {
    /// Where the next positions are written; `None` if the file cannot be opened.
    pub marker: Option<Marker>,
    /// Acknowledged events that the journal no longer has.
    pub lost_events: u64,
}

impl Acknowledgements {
    /// Compares the noted position with the end of the journal, and reports a loss to the operator.
    pub fn compare(marker_id: &MarkerId, found: Option<AcknowledgedPosition>, ledger: &Ledger) -> Self {
        let lost_events = found.map_or(0, |at| at.sequence.saturating_sub(ledger.sequence()));
        if let Some(at) = found.filter(|_| lost_events > 0) {
            eprintln!(
                "invengine: Redis lost {lost_events} acknowledged events: the journal ends at sequence {}, but writer epoch {} \
                 acknowledged up to {}; compare the orders since then",
                ledger.sequence(),
                at.writer_epoch,
                at.sequence
            );
        }
        let marker = Marker::open(marker_id).inspect_err(|error| {
            eprintln!("invengine: cannot keep {}: {error}; {UNREPORTED}", marker_id.file().display());
        });
        Self { marker: marker.ok(), lost_events }
    }
}

/// The position in a note; `None` if absent.
///
/// # Errors
/// It exists but cannot be read, so that a loss would go unnoticed.
pub(super) fn read(marker_id: &MarkerId) -> Result<Option<AcknowledgedPosition>, String> {
    let mut bytes = [0; BYTES];
    match File::open(marker_id.file()).and_then(|file| file.read_exact_at(&mut bytes, 0)) {
        Ok(()) => Ok(decode(&bytes, marker_id.tag)),
        // There is no file, or nothing has been noted in it yet.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => Ok(None),
        Err(error) => Err(format!(
            "directory: cannot read {}, which says what was acknowledged: {error}; fix its permissions",
            marker_id.file().display()
        )),
    }
}

/// The consequence of a file that cannot be written.
const UNREPORTED: &str = "a loss of acknowledged events in Redis would go unreported at the next start";

/// The file that holds the last acknowledged position.
pub(super) struct Marker {
    file: File,
    name: String,
    tag: u64,
    failed: AtomicBool,
}

impl Marker {
    /// Opens the file, and creates it and its directory if necessary.
    fn open(marker_id: &MarkerId) -> std::io::Result<Self> {
        std::fs::create_dir_all(&marker_id.directory)?;
        let name = marker_id.file();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&name)?;
        file.write_all_at(marker_id.text.as_bytes(), BYTES as u64)?;
        Ok(Self { file, name: name.display().to_string(), tag: marker_id.tag, failed: AtomicBool::new(false) })
    }

    /// Notes that answers up to this position may be sent. If the file cannot be written, the report of a loss is
    /// missing at the next start; answers are not affected.
    pub fn note(&self, at: AcknowledgedPosition) {
        if let Err(error) = self.file.write_all_at(&encode(at, self.tag), 0)
            && !self.failed.swap(true, Relaxed)
        {
            eprintln!("invengine: cannot write {}: {error}; {UNREPORTED}", self.name);
        }
    }
}

fn encode(at: AcknowledgedPosition, tag: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&tag.to_le_bytes());
    bytes[16..24].copy_from_slice(&at.writer_epoch.to_le_bytes());
    bytes[24..32].copy_from_slice(&at.sequence.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..32]);
    bytes[32..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; BYTES], tag: u64) -> Option<AcknowledgedPosition> {
    let number = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
    let at = AcknowledgedPosition { writer_epoch: number(16)?, sequence: number(24)? };
    (*bytes == encode(at, tag)).then_some(at)
}

#[cfg(test)]
mod tests {
    use invengine_ledger::LedgerOptions;

    use super::*;

    const PLACE: &str = "127.0.0.1:6379/0";

    // case: F02
    #[test]
    fn a_loss_is_reported_even_if_the_note_cannot_be_written() {
        let found = AcknowledgedPosition { writer_epoch: 3, sequence: 12 };
        let ledger = Ledger::new(LedgerOptions::new("main"));
        let marker_id = MarkerId::of(Path::new("/dev/null/no directory"), "main", PLACE);
        let acknowledgements = Acknowledgements::compare(&marker_id, Some(found), &ledger);
        assert!(acknowledgements.marker.is_none());
        assert_eq!(acknowledgements.lost_events, 12);
    }

    #[test]
    fn a_note_holds_the_last_position_of_its_ledger_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let marker_id = |ledger, place| MarkerId::of(directory.path(), ledger, place);
        let at = |sequence| AcknowledgedPosition { writer_epoch: 3, sequence };
        let mine = marker_id("main", PLACE);
        assert_eq!(read(&mine), Ok(None));
        let marker = Marker::open(&mine).unwrap();
        assert_eq!(read(&mine), Ok(None));
        marker.note(at(10));
        marker.note(at(12));
        assert_eq!(read(&mine), Ok(Some(at(12))));
        let other = marker_id("web", PLACE);
        assert_eq!(read(&other), Ok(None));
        // Side by side in one directory, neither touches the other's note.
        Marker::open(&other).unwrap().note(at(99));
        assert_eq!(read(&mine), Ok(Some(at(12))));
        let elsewhere = marker_id("main", "127.0.0.1:6380/0");
        assert_eq!(read(&elsewhere), Ok(Some(at(12))), "a failover brings the same ledger to another address");
        let text = String::from_utf8_lossy(&std::fs::read(mine.file()).unwrap()).into_owned();
        assert!(text.contains("ledger \"main\" in Redis at 127.0.0.1:6379/0"), "{text}");
        for index in 0..BYTES {
            let mut bytes = encode(at(12), 7);
            bytes[index] ^= 1;
            assert_eq!(decode(&bytes, 7), None, "byte {index}");
        }
    }

    #[test]
    fn a_note_that_cannot_be_read_is_not_taken_for_an_absent_one() {
        let directory = tempfile::tempdir().unwrap();
        let marker_id = MarkerId::of(directory.path(), "main", PLACE);
        std::fs::create_dir(marker_id.file()).unwrap();
        assert!(read(&marker_id).unwrap_err().starts_with("directory: cannot read"));
    }
}
