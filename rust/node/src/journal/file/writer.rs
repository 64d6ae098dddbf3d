//! The file journal: one writer, one write and one sync per frame.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use invengine_ledger::planted;

use super::aside::set_aside;
use super::files::remove;
use super::header::{FILE_BYTES_MAX, FILE_BYTES_MIN, FILE_HEADER_BYTES, FileHeader};
use super::markers::refuse_copies;
use super::preallocate::{PreallocatedFile, SPARE_FILE};
use super::reader::{DurableEnd, FileReader};
use super::recovery::{rebuild, repair};
use super::snapshot_store::{DRAFT, FileSnapshotStore};
use super::storage::{Directory, Storage, StoredFile, write_all_at};
use super::walk::WalkEnd;
use crate::journal::chain_tip::ChainTip;
use crate::journal::error::is_lack_of_space;
use crate::journal::frame::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameHeader, encode, frame_bytes};
use crate::journal::snapshot_store::Retention;
use crate::journal::writer_state::{WriterState, check_ledger, check_order, check_size};
use crate::journal::{Journal, JournalError, JournalReader, Replay, SnapshotStore, durability};

pub(in crate::journal) const JOURNAL_FILE_BYTES_DEFAULT: u64 = 64 << 20;
const ARCHIVE_MS_DEFAULT: u64 = 30 * 24 * 3_600_000;
const JOURNAL_FILE_BYTES_MIN: u64 = 1 << 20;
/// A larger buffer, which one rare huge frame needed, is freed again.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// How to open a file journal.
#[derive(Debug, Clone)]
pub struct FileOptions {
    /// Directory of the journal; created if missing.
    pub directory: PathBuf,
    /// Name of the ledger, 1 to 128 bytes; a journal of another one is refused.
    pub ledger: String,
    /// Length of each new journal file, 1 MiB to 16 GiB, rounded up to 4 KiB. Also bounds a frame.
    pub journal_file_bytes: u64,
    /// Whether a thread preallocates the next file. If not, an append at the end of a file waits for
    /// that.
    pub preallocate: bool,
    /// How long the archive keeps journal files that no recovery needs, ms; 0 means forever.
    pub archive_ms: u64,
    /// Most bytes of journal files that the archive keeps; 0 means no limit.
    pub archive_bytes_max: u64,
    /// Sets everything in the directory aside, and begins an empty journal under a higher writer epoch.
    pub force_empty: bool,
    /// The lowest writer epoch to claim: a copy continues above all epochs that its original can reach.
    pub writer_epoch_min: u64,
}

impl FileOptions {
    /// The default options: files of 64 MiB, the next one preallocated.
    pub fn new(directory: impl Into<PathBuf>, ledger: impl Into<String>) -> Self {
        Self {
            directory: directory.into(),
            ledger: ledger.into(),
            journal_file_bytes: JOURNAL_FILE_BYTES_DEFAULT,
            preallocate: true,
            archive_ms: ARCHIVE_MS_DEFAULT,
            archive_bytes_max: 0,
            force_empty: false,
            writer_epoch_min: 0,
        }
    }
}

/// A journal in preallocated files of one directory; its format is in the [module
/// documentation](super).
///
/// What `append` has confirmed survives a crash of the process and of the machine. It does not
/// survive the loss of the disk.
pub struct FileJournal {
    storage: Arc<dyn Storage>,
    preallocated: PreallocatedFile,
    file: Box<dyn StoredFile>,
    header: FileHeader,
    offset: u64,
    tip: ChainTip,
    buffer: Vec<u8>,
    durable: Arc<DurableEnd>,
    retention: Retention,
    state: WriterState,
    /// Dropped last, so that no other process starts before this one has ended.
    lock: Option<Box<dyn Any + Send>>,
}

impl FileJournal {
    /// Opens the journal of a directory, new or not, after passing what it holds to `replay`: the newest good snapshot if
    /// `replay` accepts one, and every frame behind that, claims included.
    ///
    /// Claims the next writer epoch only when all frames were replayed. An `Err` of `replay` is returned as `Replay` and changes
    /// nothing. Snapshots that cannot be used are noted and left where they are: the older one and a longer tail give the same
    /// state.
    pub fn recover(options: &FileOptions, replay: &mut dyn Replay) -> Result<Self, JournalError> {
        check_range(options.journal_file_bytes, JOURNAL_FILE_BYTES_MIN)?;
        let full_name = options.directory.display().to_string();
        let directory =
            Directory::create(&options.directory).map_err(JournalError::io("create directory", full_name))?;
        Self::recover_on(Arc::new(directory), options, replay)
    }

    /// The same on any storage, with files as small as 8 KiB; `options.directory` is not used.
    pub fn recover_on(
        storage: Arc<dyn Storage>,
        options: &FileOptions,
        replay: &mut dyn Replay,
    ) -> Result<Self, JournalError> {
        check_range(options.journal_file_bytes, FILE_BYTES_MIN)?;
        check_ledger(&options.ledger)?;
        let lock = storage.lock()?;
        refuse_copies(storage.as_ref())?;
        Self::recover_locked(storage, lock, options, replay)
    }

    /// The same for a caller that has checked the options and holds the lock.
    pub(in crate::journal) fn recover_locked(
        storage: Arc<dyn Storage>,
        lock: Box<dyn Any + Send>,
        options: &FileOptions,
        replay: &mut dyn Replay,
    ) -> Result<Self, JournalError> {
        remove(storage.as_ref(), DRAFT)?;
        let aside_epoch = if options.force_empty { set_aside(storage.as_ref())? } else { 0 };
        let (_, walked) = rebuild(&storage, &options.ledger, replay)?;
        replay.admit()?;
        let journal_file_bytes = options.journal_file_bytes.next_multiple_of(FILE_HEADER_BYTES as u64);
        let mut preallocated = PreallocatedFile::new(storage.clone(), journal_file_bytes, options.preallocate);
        preallocated.discard();
        check_writable(storage.as_ref())?;
        let (file, header, offset, tip) = last_file(storage.as_ref(), &mut preallocated, walked, &options.ledger)?;
        let durable = Arc::new(DurableEnd::new(header.name.number, offset, tip.next_sequence - 1));
        let mut journal = Self {
            storage,
            preallocated,
            file,
            header,
            offset,
            tip,
            buffer: Vec::new(),
            durable,
            retention: Retention { archive_ms: options.archive_ms, archive_bytes_max: options.archive_bytes_max },
            state: WriterState::Open,
            lock: Some(lock),
        };
        journal.claim(options.writer_epoch_min.max(aside_epoch + 1))?;
        Ok(journal)
    }

    fn claim(&mut self, epoch_min: u64) -> Result<(), JournalError> {
        self.make_room(frame_bytes(0) as u64)?;
        self.write_frame(self.tip.claim_header(epoch_min), &[])
    }

    fn poison_unless(
        &mut self,
        harmless: fn(&JournalError) -> bool,
        result: Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        if result.as_ref().is_err_and(|error| !harmless(error)) {
            self.state = WriterState::Poisoned;
        }
        result
    }

    fn try_append(&mut self, first: u64, last: u64, time_ms: i64, payload: &[u8]) -> Result<(), JournalError> {
        let expected = self.tip.next_sequence;
        check_order(first, last, expected, u64::MAX - 1)?;
        check_size(payload.len() as u64, self.payload_bytes_max())?;
        self.make_room(frame_bytes(payload.len()) as u64)?;
        self.write_frame(self.tip.frame_header(last, time_ms), payload)
    }

    /// Continues in the next file if a frame of this length does not fit into this one.
    fn make_room(&mut self, frame_bytes: u64) -> Result<(), JournalError> {
        if self.offset + frame_bytes <= self.header.file_bytes {
            return Ok(());
        }
        let header =
            self.tip.file_header(self.header.name.number + 1, &self.header.ledger, self.preallocated.file_bytes());
        self.file = begin_file(self.storage.as_ref(), &mut self.preallocated, &header)?;
        self.header = header;
        self.offset = FILE_HEADER_BYTES as u64;
        Ok(())
    }

    fn write_frame(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), JournalError> {
        self.buffer.clear();
        let crc = encode(&mut self.buffer, &header, payload);
        let name = self.header.name.text();
        write_all_at(self.file.as_ref(), &self.buffer, self.offset)
            .map_err(JournalError::io("write", self.storage.describe(&name)))?;
        let again = |error| if planted::is("failed_sync_retried") { self.file.sync() } else { Err(error) };
        let synced = if planted::is("frame_not_synced") { Ok(()) } else { self.file.sync().or_else(again) };
        synced.map_err(JournalError::io("sync", self.storage.describe(&name)))?;
        self.offset += self.buffer.len() as u64;
        self.tip.advance(&header, crc);
        self.durable.move_to(self.header.name.number, self.offset, header.last_sequence);
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = Vec::new();
        }
        if self.offset > self.header.file_bytes / 4 {
            self.preallocated.start();
        }
        Ok(())
    }
}

impl Journal for FileJournal {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn loss_window(&self) -> String {
        durability::FILE.into()
    }

    fn writer_epoch(&self) -> u64 {
        self.tip.writer_epoch
    }

    fn durable_sequence(&self) -> u64 {
        self.tip.next_sequence - 1
    }

    fn payload_bytes_max(&self) -> u64 {
        (self.preallocated.file_bytes() - FILE_HEADER_BYTES as u64).min(FRAME_BYTES_MAX as u64)
            - FRAME_HEADER_BYTES as u64
    }

    fn append(
        &mut self,
        first_sequence: u64,
        last_sequence: u64,
        time_ms: i64,
        payload: &[u8],
    ) -> Result<(), JournalError> {
        self.state.usable()?;
        let result = self.try_append(first_sequence, last_sequence, time_ms, payload);
        self.poison_unless(|error| matches!(error, JournalError::Full { .. }), result)
    }

    fn ensure_room(&mut self, bytes: u64) -> Result<(), JournalError> {
        self.state.usable()?;
        check_size(bytes, self.payload_bytes_max())?;
        if planted::is("room_ignored") {
            return Ok(());
        }
        let result = self.make_room(frame_bytes(bytes as usize) as u64);
        self.poison_unless(|error| matches!(error, JournalError::Full { .. }), result)
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        Ok(Box::new(FileReader::new(self.storage.clone(), self.durable.clone())))
    }

    fn snapshot_store(&self) -> Result<Option<Box<dyn SnapshotStore>>, JournalError> {
        let (storage, durable) = (self.storage.clone(), self.durable.clone());
        Ok(Some(Box::new(FileSnapshotStore::new(storage, durable, self.header.ledger.clone(), self.retention))))
    }

    fn close(&mut self) -> Result<(), JournalError> {
        // Every append was synced, so there is nothing left to write.
        self.state = WriterState::Closed;
        self.preallocated.close();
        self.lock = None;
        Ok(())
    }
}

/// The file in which a new writer continues, and where it does: the repaired last one, or the very first.
fn last_file(
    storage: &dyn Storage,
    preallocated: &mut PreallocatedFile,
    walked: Option<WalkEnd>,
    ledger: &str,
) -> Result<(Box<dyn StoredFile>, FileHeader, u64, ChainTip), JournalError> {
    if let Some(walked) = walked {
        return Ok((repair(storage, &walked)?, walked.header, walked.offset, *walked.walk.tip()));
    }
    let tip = ChainTip::start(ledger);
    let header = tip.file_header(0, ledger, preallocated.file_bytes());
    Ok((begin_file(storage, preallocated, &header)?, header, FILE_HEADER_BYTES as u64, tip))
}

/// Turns the preallocated file into the journal file of this header. Its name appears only once all its
/// bytes are durable.
fn begin_file(
    storage: &dyn Storage,
    preallocated: &mut PreallocatedFile,
    header: &FileHeader,
) -> Result<Box<dyn StoredFile>, JournalError> {
    let name = header.name.text();
    let renamed = preallocated.take().and_then(|file| {
        write_all_at(file.as_ref(), &header.encode(), 0)?;
        file.sync()?;
        storage.rename(SPARE_FILE, &name)?;
        Ok(file)
    });
    let file = renamed.map_err(|error| {
        preallocated.discard();
        let file = storage.describe(&name);
        if is_lack_of_space(&error) {
            return JournalError::Full { file, bytes: header.file_bytes };
        }
        JournalError::io("prepare", file)(error)
    })?;
    storage.sync_directory().map_err(JournalError::io("sync", storage.describe("")))?;
    Ok(file)
}

/// Refuses a directory in which no file can be created, before anything is claimed in it. Lack of space is not refused: what is
/// there can still be read.
fn check_writable(storage: &dyn Storage) -> Result<(), JournalError> {
    match storage.create(DRAFT) {
        Err(error) if is_lack_of_space(&error) => Ok(()),
        Err(error) => Err(JournalError::io("create", storage.describe(DRAFT))(error)),
        Ok(_) => remove(storage, DRAFT),
    }
}

fn check_range(journal_file_bytes: u64, bytes_min: u64) -> Result<(), JournalError> {
    if (bytes_min..=FILE_BYTES_MAX).contains(&journal_file_bytes) {
        return Ok(());
    }
    let why = format!("must be between {bytes_min} and {FILE_BYTES_MAX}, not {journal_file_bytes}");
    Err(JournalError::BadOption { option: "journal_file_bytes", why })
}
