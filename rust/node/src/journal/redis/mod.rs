//! The Redis journal: the same promises, kept by a Redis or Valkey server as far as that server keeps its own.
//!
//! # Keys
//!
//! All keys of a ledger share one hash tag; `{`, `}` and `%` in its name are written as `%7B`, `%7D` and `%25`.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `invengine:{<ledger>}:state` | hash | `format`, `ledger`, `owner` (a random token), `epoch`, `last` (sequence), `chain` (16 hex digits), `entries` (how many were ever written), `trimmed` (how many of them were trimmed), `trim` (id up to which that goes on), `begun` (snapshots begun), `milestones` (see `retention.rs`); only `restoring` while a restore is under way |
//! | `invengine:{<ledger>}:frames` | stream | one entry for each frame, with one field `frame`: the bytes of `frame.rs` |
//! | `invengine:{<ledger>}:snapshot:0` to `2` | hash | a snapshot, as `places.rs` says: two are kept, one is being written |
//!
//! The id of an entry is `<last sequence>-0`, that of a claim `<last sequence>-<epoch>`. Sequences stay below 2^53.
//!
//! # Writing
//!
//! Only the functions of `functions.lua` write, and the steps of a restore into an empty ledger (`restore.rs`). Each checks owner, epoch, end of the journal and number of entries, then
//! writes frame and state in one step; the same frame again is answered as done. A writer that lost its connection compares
//! before it goes on: it is fenced if another one owns the journal; it appends the frames again that a server has lost, if
//! it still keeps all of them; else it is poisoned. Its epoch stays the same.
//!
//! # Snapshots
//!
//! A snapshot is written into the third place, piece by piece, the manifest last; each call proves the owner and names the
//! number of the snapshot. Once two cover it, the beginning of the stream may go: `trim` names the id, and every append takes
//! away a little before it. `entries` stays a total, so the number that is there and the number that was trimmed must add up
//! to it: what anybody else removes is noticed.
//!
//! # Recovery
//!
//! The newest good snapshot comes first, the frames behind it follow; without one, all of them from the first. Every frame is checked as in a file: CRC, ledger, sequence, epoch, chain, and here also its id. An append is whole or not
//! there, so there is no torn tail: the first invalid entry is `CorruptEntry`. Frames and state must agree.
//!
//! The edge of this journal: it trusts the server's word. A replica that is promoted without having received everything
//! has forgotten what it was not sent, perhaps a newer claim too; `replicated` waits for one replica, the other modes do not.

mod address;
mod connection;
mod drafts;
mod entries;
pub(crate) mod examine;
mod functions;
pub mod ground;
mod keys;
mod open;
mod places;
mod progress;
mod reader;
mod recovery;
mod restore;
mod retention;
mod secret;
mod server;
mod session;
mod shelf;
mod source;
mod state;
mod survey;
mod tail;
mod trouble;
mod walk;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use self::address::Address;
use self::connection::Place;
use self::ground::Ground;
use self::keys::Keys;
pub use self::restore::{RedisRestoring, RedisTarget};
pub use self::secret::Secret;
use self::session::Session;
pub use self::source::RedisSource;
pub(super) use self::state::Stored;
pub use self::survey::RedisSurvey;
pub use self::writer::RedisJournal;
use super::JournalError;
use super::header::LEDGER_NAME_BYTES_MAX;

/// Lua's numbers, in which others may read our keys, are exact below this.
const SEQUENCE_MAX: u64 = (1 << 53) - 1;
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);
const ARCHIVE_MS: u64 = 30 * 24 * 3_600_000;

/// When an append counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ack {
    /// The server has synced it; needs `appendonly yes` and `appendfsync always`.
    #[default]
    Fsync,
    /// The server has it and syncs once a second; needs `appendonly yes`.
    Everysec,
    /// A replica has it too: in its append-only file where the server has WAITAOF, else in its memory.
    Replicated,
    /// The server has it.
    Memory,
}

impl Ack {
    /// Its name, as in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Ack::Fsync => "fsync",
            Ack::Everysec => "everysec",
            Ack::Replicated => "replicated",
            Ack::Memory => "memory",
        }
    }
}

/// How to open a Redis journal.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// Where Redis is; see `docs/operations.md` for the forms.
    pub url: Secret,
    /// User, if the URL names none.
    pub username: String,
    /// Password, if the URL has none.
    pub password: Secret,
    /// Certificates to trust instead of the system's, a file in PEM.
    pub ca_file: Option<PathBuf>,
    /// Name of the ledger, 1 to 128 bytes.
    pub ledger: String,
    /// When an append counts as done.
    pub ack: Ack,
    /// How long an append goes on trying to reach Redis before the journal is poisoned.
    pub patience: Duration,
    /// How long to wait for one connection, and for one answer.
    pub answer_patience: Duration,
    /// Frames that no recovery needs are kept for so long, ms; 0 is any time.
    pub archive_ms: u64,
    /// And only so many bytes of them, since they take memory of the server; 0 is 256 MiB.
    pub archive_bytes_max: u64,
    /// The epoch that is claimed is at least this one: a server that forgot claims must not have their epochs claimed again.
    pub writer_epoch_min: u64,
}

impl RedisOptions {
    /// The usual options: `fsync`, 30 s of patience, 2 s for an answer, 30 days or 256 MiB of old frames.
    pub fn new(url: impl Into<Secret>, ledger: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            username: String::new(),
            password: Secret::default(),
            ca_file: None,
            ledger: ledger.into(),
            ack: Ack::default(),
            patience: PATIENCE,
            answer_patience: ANSWER_PATIENCE,
            archive_ms: ARCHIVE_MS,
            archive_bytes_max: 0,
            writer_epoch_min: 0,
        }
    }

    /// Which Redis it is, without user and password: the same text for the same place, in whatever order its hosts are named.
    ///
    /// # Errors
    /// The URL is none.
    pub fn place(&self) -> Result<String, JournalError> {
        let mut address = Address::parse(self.url.reveal())?;
        address.nodes.sort_by_key(ToString::to_string);
        Ok(format!("{address}, database {}", address.database))
    }

    fn session(&self, ground: Arc<dyn Ground>) -> Result<Session, JournalError> {
        if !(1..=LEDGER_NAME_BYTES_MAX).contains(&self.ledger.len()) {
            let why = format!("must have 1 to {LEDGER_NAME_BYTES_MAX} bytes, not {}", self.ledger.len());
            return Err(JournalError::BadOption { option: "ledger", why });
        }
        let mut address = Address::parse(self.url.reveal())?;
        if address.username.is_empty() {
            address.username.clone_from(&self.username);
        }
        if address.password.is_empty() {
            address.password.clone_from(&self.password);
        }
        let keys = Keys::of(&self.ledger);
        let place = Place::new(address, self.ca_file.as_ref(), self.answer_patience, keys.state.clone(), ground)?;
        let (ledger, writer_epoch_min) = (self.ledger.clone(), self.writer_epoch_min);
        Ok(Session { place, keys, ledger, ack: self.ack, writer_epoch_min })
    }
}
