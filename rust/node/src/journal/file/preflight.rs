//! Preflight checks of a file journal: its directory, the disk beneath, the lock, and the journal that is stored there. Writes
//! one scratch file, to see whether that is allowed and how long a sync takes, and removes it.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};
use serde::Serialize;

use super::files::{check_head, journal_files, list};
use super::markers::refuse_copies;
use super::recovery;
use super::storage::{Directory, LOCK_FILE, Storage, StoredFile, lock_owner, write_all_at};
use super::walk::BufferedFile;
use crate::journal::error::is_lack_of_space;
use crate::journal::snapshot::SNAPSHOT_PREFIX;
use crate::journal::{FileOptions, JournalError, Replay, durability};

const BLOCK: [u8; 4096] = [0xA5; 4096];
const SYNCS: usize = 50;
/// Measuring stops after this time: the disk is known to be slow by then.
const SYNC_TIME_MAX: Duration = Duration::from_secs(3);

/// The facts of a file journal. Those that could not be determined are absent.
#[derive(Debug, Default, Serialize)]
pub struct FileFacts {
    /// Its directory.
    pub directory: String,
    /// Whether it exists.
    pub exists: bool,
    /// Why a server could not write there.
    pub unwritable: Option<String>,
    /// Type of the file system, in one word.
    pub file_system: Option<String>,
    /// Bytes that this user may still write.
    pub free_bytes: Option<u64>,
    /// Length of one journal file.
    pub journal_file_bytes: u64,
    /// How long syncs took.
    pub syncs: Option<SyncTimes>,
    /// The process that has the directory open.
    pub owner: Option<String>,
    /// The journal that is stored there.
    pub journal: Option<FileJournalFacts>,
    /// Why no server could open it.
    pub refused: Option<String>,
    /// What can be lost, as text.
    pub loss_window: &'static str,
}

/// Times of an overwrite of 4 KiB with its sync, which is what every append does.
#[derive(Debug, Serialize)]
pub struct SyncTimes {
    /// How many were measured.
    pub count: usize,
    /// The median.
    pub median_us: u64,
    /// The longest.
    pub worst_us: u64,
}

/// A journal as the header of its last file describes it.
#[derive(Debug, Serialize)]
pub struct FileJournalFacts {
    /// Files, archived ones included.
    pub files: usize,
    /// Snapshots beside them.
    pub snapshots: usize,
    /// Sequence of the first event of the last file.
    pub last_file_sequence: u64,
    /// Time of the last frame before that file, ms since 1970; the smallest number if there is none.
    pub time_ms: i64,
}

/// Checks the environment of the journal that these options open.
pub fn preflight(options: &FileOptions) -> FileFacts {
    let directory = &options.directory;
    let mut facts = FileFacts {
        directory: directory.display().to_string(),
        exists: directory.is_dir(),
        journal_file_bytes: options.journal_file_bytes,
        loss_window: durability::FILE,
        ..FileFacts::default()
    };
    let disk = nearest(directory);
    facts.file_system = file_system(&disk);
    facts.free_bytes = statvfs(&disk).ok().map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    if !facts.exists {
        facts.unwritable = why_not_creatable(directory, &disk);
        return facts;
    }
    match measure(&Directory::existing(directory)) {
        Ok(syncs) => facts.syncs = Some(syncs),
        // The free space already shows this.
        Err(error) if is_lack_of_space(&error) => {}
        Err(error) => facts.unwritable = Some(error.to_string()),
    }
    match owner(directory) {
        Ok(owner) => facts.owner = owner,
        Err(error) => facts.refused = Some(JournalError::io("lock", display(directory, LOCK_FILE))(error).to_string()),
    }
    match journal(&Directory::existing(directory), &options.ledger) {
        Ok(journal) => facts.journal = journal,
        Err(error) => facts.refused = Some(error.to_string()),
    }
    facts
}

/// Rebuilds the state as a start would, without a claim.
pub fn rebuild(options: &FileOptions, replay: &mut dyn Replay) -> Result<(), JournalError> {
    let storage: Arc<dyn Storage> = Arc::new(Directory::existing(&options.directory));
    recovery::rebuild(&storage, &options.ledger, replay).map(drop)
}

/// Why a file cannot be created in a directory, which is created if it is missing; nothing is written.
pub fn why_unwritable(directory: &Path) -> Option<String> {
    let disk = nearest(directory);
    if !directory.is_dir() {
        return why_not_creatable(directory, &disk);
    }
    let allowed = accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    allowed.err().map(|error| io::Error::from(error).to_string())
}

/// The directory itself, or its nearest ancestor that exists.
fn nearest(directory: &Path) -> PathBuf {
    let there = directory.ancestors().find(|path| path.exists() && !path.as_os_str().is_empty());
    there.unwrap_or(Path::new(".")).into()
}

/// Why a directory could not be created; `None` if it could.
fn why_not_creatable(directory: &Path, above: &Path) -> Option<String> {
    if directory.exists() {
        return Some("it is not a directory".into());
    }
    if !above.is_dir() {
        return Some(format!("{} is not a directory", above.display()));
    }
    let allowed = accessat(CWD, above, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    allowed.err().map(|error| format!("it cannot be created in {}: {}", above.display(), io::Error::from(error)))
}

fn display(directory: &Path, name: &str) -> String {
    directory.join(name).display().to_string()
}

/// A file that is removed when this value is dropped.
struct Scratch<'s> {
    storage: &'s dyn Storage,
    name: String,
    file: Box<dyn StoredFile>,
}

impl<'s> Scratch<'s> {
    fn create(storage: &'s dyn Storage) -> io::Result<Self> {
        let name = format!("doctor-{}", std::process::id());
        let file = storage.create(&name)?;
        Ok(Self { storage, name, file })
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        let _ = self.storage.remove(&self.name);
    }
}

/// Measures syncs of overwritten space, which is what the journal does.
fn measure(storage: &dyn Storage) -> io::Result<SyncTimes> {
    let scratch = Scratch::create(storage)?;
    let file = scratch.file.as_ref();
    file.reserve(BLOCK.len() as u64)?;
    write_all_at(file, &[0; BLOCK.len()], 0)?;
    file.sync()?;
    let until = Instant::now() + SYNC_TIME_MAX;
    let mut times = Vec::with_capacity(SYNCS);
    while times.len() < SYNCS && (times.is_empty() || Instant::now() < until) {
        let began = Instant::now();
        write_all_at(file, &BLOCK, 0)?;
        file.sync()?;
        times.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    times.sort_unstable();
    Ok(SyncTimes { count: times.len(), median_us: times[times.len() / 2], worst_us: times[times.len() - 1] })
}

/// The holder of the lock. Others are kept from taking it only for the moment of the test.
fn owner(directory: &Path) -> io::Result<Option<String>> {
    let mut file = match File::open(directory.join(LOCK_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(lock_owner(&mut file))),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The journal that is stored there, as far as names and the last header show.
fn journal(storage: &dyn Storage, ledger: &str) -> Result<Option<FileJournalFacts>, JournalError> {
    refuse_copies(storage)?;
    let names = journal_files(storage)?;
    let snapshots = list(storage)?.iter().filter(|name| name.starts_with(SNAPSHOT_PREFIX)).count();
    if snapshots == 0 || names.is_empty() {
        check_head(storage, &names)?;
    }
    let Some(last) = names.last() else {
        return Ok(None);
    };
    let header = BufferedFile::open(storage, *last)?.header(*last)?;
    if header.ledger != ledger {
        let (file, wanted) = (storage.describe(&last.text()), ledger.to_owned());
        return Err(JournalError::OtherLedger { file, found: header.ledger, wanted });
    }
    Ok(Some(FileJournalFacts {
        files: names.len(),
        snapshots,
        last_file_sequence: header.name.first_sequence,
        time_ms: header.time_ms,
    }))
}

/// Names of file systems, by the number that Linux gives them.
#[cfg(target_os = "linux")]
const FILE_SYSTEMS: &[(u64, &str)] = &[
    (0xEF53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683E, "btrfs"),
    (0x2FC1_2FC1, "zfs"),
    (0xF2F5_2010, "f2fs"),
    (0x0102_1994, "tmpfs"),
    (0x8584_58F6, "ramfs"),
    (0x794C_7630, "overlay"),
    (0x6969, "nfs"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x6573_5546, "fuse"),
    (0x0102_1997, "9p"),
];

#[cfg(target_os = "linux")]
fn file_system(path: &Path) -> Option<String> {
    // The number is a signed C long, but its sign has no meaning.
    let number = u64::from(rustix::fs::statfs(path).ok()?.f_type as u32);
    let known = FILE_SYSTEMS.iter().find(|known| known.0 == number);
    Some(known.map_or_else(|| format!("{number:#x}"), |known| known.1.to_owned()))
}

#[cfg(not(target_os = "linux"))]
fn file_system(_path: &Path) -> Option<String> {
    None
}
