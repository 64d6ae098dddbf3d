//! What this machine acknowledged, written down beside a journal that lives elsewhere.
//!
//! A Redis that fails over to a replica may forget what it confirmed. While the engine lives it appends the missing tail again
//! from memory; if the engine died too, nobody would know. So the last acknowledged position also goes to a small file of the
//! engine's own directory, before its answers leave: at the next start a journal that ends before it is told apart from one
//! that is whole, and no epoch is claimed that a forgotten claim had. The file is not synced: it must outlive this process,
//! not this machine.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use invengine_ledger::Ledger;

/// Name of the file; one directory serves one ledger.
const FILE: &str = "acknowledged";
const MAGIC: [u8; 8] = *b"INVACK01";
/// Magic, tag of the ledger, writer epoch, sequence, CRC32C of those.
const BYTES: usize = 36;

/// A position that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub writer_epoch: u64,
    pub sequence: u64,
}

/// What a start learnt from the file.
#[derive(Default)]
pub(super) struct Kept {
    /// Where the next positions go; `None` if nothing could be written.
    pub marker: Option<Marker>,
    /// Acknowledged events that the journal no longer has.
    pub lost_events: u64,
}

impl Kept {
    /// Compares what was found in the file with what the journal had, and tells the operator of a loss.
    pub fn compare(directory: &Path, found: Option<Acknowledged>, ledger: &Ledger) -> Self {
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
        let marker = Marker::open(directory, ledger.tag()).inspect_err(|error| {
            let name = directory.join(FILE);
            eprintln!("invengine: cannot keep {}: {error}; {UNREPORTED}", name.display());
        });
        Self { marker: marker.ok(), lost_events }
    }
}

/// What the file of a directory holds; `None` if there is none, or it is torn or of another ledger.
pub(super) fn read(directory: &Path, tag: u64) -> Option<Acknowledged> {
    let mut bytes = [0; BYTES];
    File::open(directory.join(FILE)).ok()?.read_exact_at(&mut bytes, 0).ok()?;
    decode(&bytes, tag)
}

/// What follows from a file that cannot be written.
const UNREPORTED: &str = "a loss of acknowledged events in Redis would go unreported at the next start";

/// The file that holds the last one.
pub(super) struct Marker {
    file: File,
    name: String,
    tag: u64,
    failed: AtomicBool,
}

impl Marker {
    /// Opens the file of a directory, and makes both if need be.
    fn open(directory: &Path, tag: u64) -> std::io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let name = directory.join(FILE);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&name)?;
        Ok(Self { file, name: name.display().to_string(), tag, failed: AtomicBool::new(false) })
    }

    /// Notes that answers up to this position may leave. A file that cannot be written costs the report, never the answers.
    pub fn note(&self, at: Acknowledged) {
        if let Err(error) = self.file.write_all_at(&encode(at, self.tag), 0)
            && !self.failed.swap(true, Relaxed)
        {
            eprintln!("invengine: cannot write {}: {error}; {UNREPORTED}", self.name);
        }
    }
}

fn encode(at: Acknowledged, tag: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&tag.to_le_bytes());
    bytes[16..24].copy_from_slice(&at.writer_epoch.to_le_bytes());
    bytes[24..32].copy_from_slice(&at.sequence.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..32]);
    bytes[32..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; BYTES], tag: u64) -> Option<Acknowledged> {
    let number = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
    let at = Acknowledged { writer_epoch: number(16)?, sequence: number(24)? };
    (*bytes == encode(at, tag)).then_some(at)
}

#[cfg(test)]
mod tests {
    use invengine_ledger::LedgerOptions;

    use super::*;

    // case: F02
    #[test]
    fn a_loss_is_told_where_nothing_can_be_written() {
        let found = Acknowledged { writer_epoch: 3, sequence: 12 };
        let ledger = Ledger::new(LedgerOptions::new("main"));
        let kept = Kept::compare(Path::new("/dev/null/no directory"), Some(found), &ledger);
        assert!(kept.marker.is_none());
        assert_eq!(kept.lost_events, 12);
    }

    #[test]
    fn a_marker_remembers_the_last_position_of_its_ledger_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let at = |sequence| Acknowledged { writer_epoch: 3, sequence };
        assert_eq!(read(directory.path(), 7), None);
        let marker = Marker::open(directory.path(), 7).unwrap();
        assert_eq!(read(directory.path(), 7), None);
        marker.note(at(10));
        marker.note(at(12));
        assert_eq!(read(directory.path(), 7), Some(at(12)));
        assert_eq!(read(directory.path(), 8), None, "another ledger's");
        for index in 0..BYTES {
            let mut bytes = encode(at(12), 7);
            bytes[index] ^= 1;
            assert_eq!(decode(&bytes, 7), None, "byte {index}");
        }
    }
}
