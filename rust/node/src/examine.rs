//! What an engine with some settings would stand on, as plain values; whoever asks judges them. Opens no engine.

use invengine_ledger::LedgerOptions;
use serde::Serialize;

use crate::door::DoorSettings;
use crate::engine::{EngineSettings, JournalKind, file_options, redis_options};
pub use crate::journal::examine::{FileFacts, FileJournalFacts, SyncTimes};
use crate::journal::redis::examine as redis;
pub use crate::journal::redis::examine::{RedisFacts, ServerFacts, StoredFacts};
use crate::journal::{examine as files, loss};

/// What was found.
#[derive(Debug, Serialize)]
pub struct Examination {
    /// Name of the ledger.
    pub ledger: String,
    /// Memory that keys may take, remembered refusals included.
    pub key_bytes_max: u64,
    /// Connections that the native door takes.
    pub connections_max: u64,
    /// The kind of journal and what was found of it.
    #[serde(flatten)]
    pub journal: JournalFacts,
}

/// What was found of each kind of journal.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JournalFacts {
    /// Files of one directory.
    File(FileFacts),
    /// A stream in Redis or Valkey.
    Redis(RedisFacts),
    /// Nothing can be found out about memory.
    Memory {
        /// What can be lost, in words.
        loss_window: &'static str,
    },
}

/// Looks at everything that an engine with these settings would stand on. It writes nothing but one scratch file in the
/// directory of a file journal, which it removes.
pub fn examine(settings: &EngineSettings) -> Examination {
    let journal = match settings.journal {
        JournalKind::File => JournalFacts::File(files::examine(&file_options(settings))),
        JournalKind::Redis => JournalFacts::Redis(redis::examine(&redis_options(settings))),
        JournalKind::Memory => JournalFacts::Memory { loss_window: loss::MEMORY },
    };
    let options = LedgerOptions::new("");
    Examination {
        ledger: settings.ledger.clone(),
        key_bytes_max: (options.key_bytes_max + options.refusal_bytes_max) as u64,
        connections_max: DoorSettings::default().connections_max as u64,
        journal,
    }
}
