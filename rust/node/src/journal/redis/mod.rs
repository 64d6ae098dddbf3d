//! The Redis journal: the same guarantees, given by a Redis or Valkey server as far as that server keeps its own.
//!
//! # Keys
//!
//! All keys of a ledger share one hash tag; `{`, `}` and `%` in its name are written as `%7B`, `%7D` and `%25`.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `invengine:{<ledger>}:state` | hash | `format`, `ledger`, `owner` (a random token), `epoch`, `last` (sequence), `chain` (16 hex digits), `entries` (number ever written), `trimmed` (number of them that were trimmed), `trim` (id up to which trimming continues), `begun` (snapshots begun), `milestones` (see `retention.rs`); only `restoring` while a restore is under way |
//! | `invengine:{<ledger>}:frames` | stream | one entry for each frame, with one field `frame`: the bytes of `frame.rs` |
//! | `invengine:{<ledger>}:snapshot:0` to `2` | hash | a snapshot, as described in `locations.rs`: two are kept, one is being written |
//!
//! The id of an entry is `<last sequence>-0`, that of a claim `<last sequence>-<epoch>`. Sequences stay below 2^53.
//!
//! # Writing
//!
//! Only the functions of `functions.lua` write, and the steps of a restore into an empty ledger (`restore.rs`). Each checks
//! owner, epoch, end of the journal and number of entries, then writes frame and state in one step; repeating the same frame
//! returns success. A writer that lost its connection compares before it continues: it is fenced if another one owns the
//! journal; it appends the frames again that a server has lost, if it still keeps all of them; else it is poisoned. Its epoch
//! stays the same.
//!
//! # Snapshots
//!
//! A snapshot is written to the third location, piece by piece, the manifest last; each call proves the owner and carries the
//! number of the snapshot. Once two snapshots cover it, the beginning of the stream may be trimmed: `trim` is the id, and every
//! append removes a few entries before it. `entries` stays a total, so the number that is stored and the number that was
//! trimmed must add up to it: entries that anyone else removes are detected.
//!
//! # Recovery
//!
//! The newest good snapshot is loaded first, then the frames after it; without one, all frames from the first. Every frame is
//! checked as in a file: CRC, ledger, sequence, epoch, chain, and here also its id. An append is stored whole or not at all, so
//! there is no torn tail: the first invalid entry is `CorruptEntry`. Frames and state must agree.
//!
//! The limits of this journal: it trusts what the server reports. A replica that is promoted without having received everything
//! lacks what it was not sent, perhaps a newer claim too; `replicated` waits for one replica, the other modes do not.

mod connection;
pub(crate) mod preflight;
mod read;
mod recovery;
mod restore;
mod snapshot;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::connection::ConnectionTarget;
use self::connection::address::Address;
pub use self::connection::environment;
use self::connection::environment::RedisEnvironment;
use self::connection::keys::RedisKeys;
pub use self::connection::secret::Secret;
pub use self::connection::session::RedisSource;
use self::connection::session::Session;
pub(super) use self::connection::state::StoredState;
pub(super) use self::read::walk::StreamWalk;
pub(super) use self::recovery::Recovery;
pub use self::recovery::inspect::RedisInspection;
pub use self::restore::{RedisRestore, RedisTarget};
pub use self::write::writer::RedisJournal;
use super::JournalError;
use super::durability::Ack;
use super::writer_state::check_ledger;

/// Numbers in Lua, with which others may read our keys, are exact below this.
const SEQUENCE_MAX: u64 = (1 << 53) - 1;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
const ARCHIVE_MS: u64 = 30 * 24 * 3_600_000;

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
    /// How long an append retries to reach Redis before the journal is poisoned.
    pub retry_timeout: Duration,
    /// Timeout of one connection attempt, and of one reply.
    pub answer_timeout: Duration,
    /// How long frames that no recovery needs are kept, ms; 0 means forever.
    pub archive_ms: u64,
    /// Most bytes of them that are kept, since they take memory of the server; 0 means 256 MiB.
    pub archive_bytes_max: u64,
    /// The lowest epoch to claim: the epochs of claims that a server has lost must not be claimed again.
    pub writer_epoch_min: u64,
}

impl RedisOptions {
    /// The default options: `fsync`, a retry timeout of 30 s, a reply timeout of 2 s, 30 days or 256 MiB of old frames.
    pub fn new(url: impl Into<Secret>, ledger: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            username: String::new(),
            password: Secret::default(),
            ca_file: None,
            ledger: ledger.into(),
            ack: Ack::default(),
            retry_timeout: RETRY_TIMEOUT,
            answer_timeout: ANSWER_TIMEOUT,
            archive_ms: ARCHIVE_MS,
            archive_bytes_max: 0,
            writer_epoch_min: 0,
        }
    }

    /// Identifies this Redis, without user and password: the same text for the same hosts, in whatever order they are named.
    ///
    /// # Errors
    /// The URL is invalid.
    pub fn location(&self) -> Result<String, JournalError> {
        let mut address = Address::parse(self.url.reveal())?;
        address.nodes.sort_by_key(ToString::to_string);
        Ok(format!("{address}, database {}", address.database))
    }

    fn session(&self, environment: Arc<dyn RedisEnvironment>) -> Result<Session, JournalError> {
        check_ledger(&self.ledger)?;
        let mut address = Address::parse(self.url.reveal())?;
        if address.username.is_empty() {
            address.username.clone_from(&self.username);
        }
        if address.password.is_empty() {
            address.password.clone_from(&self.password);
        }
        let keys = RedisKeys::of(&self.ledger);
        let target = ConnectionTarget::new(
            address,
            self.ca_file.as_ref(),
            self.answer_timeout,
            keys.state.clone(),
            environment,
        )?;
        let (ledger, writer_epoch_min) = (self.ledger.clone(), self.writer_epoch_min);
        Ok(Session { target, keys, ledger, ack: self.ack, writer_epoch_min })
    }
}
