//! What this machine acknowledged, written down beside a journal that lives elsewhere.
//!
//! A Redis that fails over to a replica may forget what it confirmed. While the engine lives it appends the missing tail again
//! from memory; if the engine died too, nobody would know. So the last acknowledged position also goes to a small file of the
//! engine's own directory, before its answers leave: at the next start a journal that ends before it is told apart from one
//! that is whole, and no epoch is claimed that a forgotten claim had. The file is not synced: it must outlive this process,
//! not this machine.
//!
//! A directory may serve several ledgers: each has a note of its own. Where its Redis was is written beside it for people and is
//! not compared: after a failover, or under another name, it is the same ledger at another address.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use invengine_ledger::{Ledger, Mix};

/// What the name of every note begins with.
const FILE: &str = "acknowledged";
const MAGIC: [u8; 8] = *b"INVACK02";
/// Magic, whose it is, writer epoch, sequence, CRC32C of those; then, for people, the ledger and its Redis.
const BYTES: usize = 36;

/// Whose a note is: one ledger's, wherever its Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whose {
    directory: PathBuf,
    text: String,
    tag: u64,
}

impl Whose {
    /// The note that this directory keeps for a ledger in a Redis that is described so.
    pub fn of(directory: &Path, ledger: &str, place: &str) -> Self {
        let text = format!("ledger {ledger:?} in Redis at {place}\n");
        let tag = Mix::new(0).bytes(ledger.as_bytes()).short();
        Whose { directory: directory.to_owned(), text, tag }
    }

    fn file(&self) -> PathBuf {
        self.directory.join(format!("{FILE}-{:016x}", self.tag))
    }
}

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
    pub fn compare(whose: &Whose, found: Option<Acknowledged>, ledger: &Ledger) -> Self {
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
        let marker = Marker::open(whose).inspect_err(|error| {
            eprintln!("invengine: cannot keep {}: {error}; {UNREPORTED}", whose.file().display());
        });
        Self { marker: marker.ok(), lost_events }
    }
}

/// What a note says; `None` if there is none.
///
/// # Errors
/// It is there and cannot be read: a loss would go unnoticed.
pub(super) fn read(whose: &Whose) -> Result<Option<Acknowledged>, String> {
    let mut bytes = [0; BYTES];
    match File::open(whose.file()).and_then(|file| file.read_exact_at(&mut bytes, 0)) {
        Ok(()) => Ok(decode(&bytes, whose.tag)),
        // It was just made, or nobody has noted anything yet.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => Ok(None),
        Err(error) => Err(format!(
            "directory: cannot read {}, which says what was acknowledged: {error}; mend its permissions",
            whose.file().display()
        )),
    }
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
    /// Opens the file, and makes it and its directory if need be.
    fn open(whose: &Whose) -> std::io::Result<Self> {
        std::fs::create_dir_all(&whose.directory)?;
        let name = whose.file();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&name)?;
        file.write_all_at(whose.text.as_bytes(), BYTES as u64)?;
        Ok(Self { file, name: name.display().to_string(), tag: whose.tag, failed: AtomicBool::new(false) })
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

    const PLACE: &str = "127.0.0.1:6379/0";

    // case: F02
    #[test]
    fn a_loss_is_told_where_nothing_can_be_written() {
        let found = Acknowledged { writer_epoch: 3, sequence: 12 };
        let ledger = Ledger::new(LedgerOptions::new("main"));
        let whose = Whose::of(Path::new("/dev/null/no directory"), "main", PLACE);
        let kept = Kept::compare(&whose, Some(found), &ledger);
        assert!(kept.marker.is_none());
        assert_eq!(kept.lost_events, 12);
    }

    #[test]
    fn a_note_remembers_the_last_position_of_its_ledger_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let whose = |ledger, place| Whose::of(directory.path(), ledger, place);
        let at = |sequence| Acknowledged { writer_epoch: 3, sequence };
        let mine = whose("main", PLACE);
        assert_eq!(read(&mine), Ok(None));
        let marker = Marker::open(&mine).unwrap();
        assert_eq!(read(&mine), Ok(None));
        marker.note(at(10));
        marker.note(at(12));
        assert_eq!(read(&mine), Ok(Some(at(12))));
        let other = whose("web", PLACE);
        assert_eq!(read(&other), Ok(None));
        // Beside each other in one directory, neither touches the other's.
        Marker::open(&other).unwrap().note(at(99));
        assert_eq!(read(&mine), Ok(Some(at(12))));
        let elsewhere = whose("main", "127.0.0.1:6380/0");
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
    fn a_note_that_is_there_and_cannot_be_read_is_not_taken_for_none() {
        let directory = tempfile::tempdir().unwrap();
        let whose = Whose::of(directory.path(), "main", PLACE);
        std::fs::create_dir(whose.file()).unwrap();
        assert!(read(&whose).unwrap_err().starts_with("directory: cannot read"));
    }
}
