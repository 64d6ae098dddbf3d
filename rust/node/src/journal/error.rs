//! The errors of a journal, each with a message of one line that says what to do.

use std::io;

/// Why a journal could not be opened, read or appended to.
///
/// Only `Full` and `FrameTooLarge` from `ensure_room` leave a writer usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The operating system refused an operation on a file.
    #[error("cannot {operation} {file}: {source}; {}, then try again", remedy(.source))]
    Io { operation: &'static str, file: String, source: io::Error },

    /// There is no space for the next journal file; nothing was written.
    #[error("journal full: no space for {bytes} bytes at {file}; free some space, the journal then goes on by itself")]
    Full { file: String, bytes: u64 },

    /// Damage that cannot be the torn tail of an unfinished append.
    #[error("journal corrupt: {file} at byte {offset}: {why}; restore this file from a copy, do not delete it")]
    Corrupt { file: String, offset: u64, why: String },

    /// Another process, or another journal of this one, writes here.
    #[error("journal {directory} is in use by {owner}; stop that process or choose another directory")]
    Locked { directory: String, owner: String },

    /// An earlier append failed, so the end of the journal is unknown until it is recovered.
    #[error("journal poisoned by an earlier failure; open it again to recover")]
    Poisoned,

    /// The journal was closed.
    #[error("journal closed; open it again")]
    Closed,

    /// A newer invengine wrote this.
    #[error("{file} has journal format {found}, this version reads up to {known}; start the newer version")]
    NewerFormat { file: String, found: u32, known: u32 },

    /// The directory holds the journal of another ledger.
    #[error("{file} belongs to ledger {found:?}, not {wanted:?}; name the right ledger or another place")]
    OtherLedger { file: String, found: String, wanted: String },

    /// The directory holds something that must not be mixed with a journal.
    #[error("{file} does not fit a journal: {why}; move it elsewhere or choose another place")]
    Foreign { file: String, why: String },

    /// The payload is longer than any frame may be.
    #[error("a frame of {bytes} payload bytes is over the limit of {bytes_max}; make batches smaller or files larger")]
    FrameTooLarge { bytes: u64, bytes_max: u64 },

    /// The caller's sequences do not continue the journal.
    #[error("frame {first_sequence}..={last_sequence} does not continue the journal; append from {expected}")]
    OutOfOrder { first_sequence: u64, last_sequence: u64, expected: u64 },

    /// SnapshotStore before the archive's retention was asked for.
    #[error("sequence {sequence} is no longer kept; the first one that is kept is {first_sequence}")]
    Trimmed { sequence: u64, first_sequence: u64 },

    /// The journal cannot be folded up to this sequence.
    #[error(
        "sequence {sequence} is no position in this journal, which {extent}; name one that is, or none for all of it"
    )]
    NoPosition { sequence: u64, extent: String },

    /// A snapshot cannot be used; the older one can, or the whole journal.
    #[error("snapshot {file} cannot be used: {why}; keep it for whoever looks into it")]
    BadSnapshot { file: String, why: String },

    /// A snapshot was not written; the journal is as it was.
    #[error("no snapshot was written: {why}")]
    NoSnapshot { why: String },

    /// There is no space for a snapshot; the journal is as it was.
    #[error("no space for a snapshot: {why}; free some space, then try again")]
    NoRoomForSnapshot { why: String },

    /// A directory, or a ledger in Redis, that cannot be served or copied from.
    #[error("{directory} is no journal to use: {why}")]
    NoJournal { directory: String, why: String },

    /// A copy may only be written to an empty target.
    #[error("{directory} is not empty: it holds {found}; name a new or an empty one")]
    NotEmpty { directory: String, found: String },

    /// A backup is incomplete, or does not match its manifest.
    #[error("backup cannot be restored: {file}: {why}; take another backup, nothing was restored from this one")]
    BadBackup { file: String, why: String },

    /// The caller's `replay` refused a frame.
    #[error("cannot replay the frame in {file} at byte {offset}: {why}; start the version that wrote it")]
    Replay { file: String, offset: u64, why: String },

    /// A Redis server does not answer.
    #[error("cannot reach Redis at {server}: {why}; start it, or correct its address")]
    Unreachable { server: String, why: String },

    /// A Redis server answered with an error.
    #[error("Redis at {server} refused: {code} {text}; {remedy}")]
    Refused { server: String, code: String, text: String, remedy: &'static str },

    /// Another writer claimed this journal and is its owner now.
    #[error("fenced: {ledger:?} in Redis at {server} belongs to writer epoch {found}, not to {ours}; stop this server")]
    Fenced { server: String, ledger: String, ours: u64, found: String },

    /// A Redis server no longer has what it acknowledged, and more than this process can append again.
    #[error("Redis at {server} lost acknowledged frames of {ledger:?}: {why}; restore it, do not start an empty one")]
    Lost { server: String, ledger: String, why: String },

    /// An entry of a stream that no journal could have written.
    #[error("journal corrupt: entry {id} of {stream}: {why}; restore this Redis from a copy, do not delete the entry")]
    CorruptEntry { stream: String, id: String, why: String },

    /// The functions in a Redis server are of another version.
    #[error("Redis at {server} has version {found} of library invengine_journal, this build needs {wanted}; {remedy}")]
    FunctionVersion { server: String, found: String, wanted: String, remedy: &'static str },

    /// No new ledger may have this name; nothing was claimed.
    #[error(
        "a new ledger cannot be called {name}: {why}; choose a name of printable ASCII characters, as calls carry it"
    )]
    NewLedgerName { name: String, why: String },

    /// The wall clock of this machine is wrong, or was wrong at an earlier start; nothing was claimed.
    #[error("the clock of this machine {why}")]
    WrongClock { why: String },

    /// An option is outside its range.
    #[error("{option} {why}")]
    BadOption { option: &'static str, why: String },
}

impl JournalError {
    /// Whether there was no space, as this type or the operating system reports it.
    pub(crate) fn is_lack_of_space(&self) -> bool {
        match self {
            Self::Full { .. } | Self::NoRoomForSnapshot { .. } => true,
            Self::Io { source, .. } => is_lack_of_space(source),
            _ => false,
        }
    }

    /// Wraps an operating system error with what was being done to which file.
    pub(crate) fn io(operation: &'static str, file: String) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, file, source }
    }
}

/// What to do about an error of the operating system.
fn remedy(error: &io::Error) -> &'static str {
    if is_lack_of_space(error) { "free some space" } else { "fix the disk or its permissions" }
}

/// Whether an error says that the disk, or our share of it, is full.
pub(super) fn is_lack_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
