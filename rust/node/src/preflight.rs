//! Preflight checks of the environment of an engine, as plain values that the caller evaluates. Opens no engine.

use invengine_ledger::LedgerOptions;
use serde::Serialize;

use crate::door::DoorSettings;
use crate::engine::{EngineSettings, JournalKind, Rebuild, StartClock, file_options, ledger_options, redis_options};
pub use crate::journal::preflight::{FileFacts, FileJournalFacts, SyncTimes};
use crate::journal::redis::RedisSource;
use crate::journal::redis::preflight as redis;
pub use crate::journal::redis::preflight::{RedisFacts, ServerFacts, StoredFacts};
use crate::journal::{JournalError, Replay, durability, preflight as files};

/// The result of a preflight.
#[derive(Debug, Serialize)]
pub struct PreflightReport {
    /// Name of the ledger.
    pub ledger: String,
    /// Memory that keys may take, remembered refusals included.
    pub key_bytes_max: u64,
    /// Connections that the native door accepts.
    pub connections_max: u64,
    /// Why no server would start with the clock of this machine.
    pub clock_refused: Option<String>,
    /// Why no server would begin a ledger of this name.
    pub ledger_refused: Option<String>,
    /// The kind of journal and its facts.
    #[serde(flatten)]
    pub journal: JournalFacts,
}

/// The facts of each kind of journal.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JournalFacts {
    /// Files of one directory.
    File(FileFacts),
    /// A stream in Redis or Valkey.
    Redis {
        /// The facts of the journal.
        #[serde(flatten)]
        facts: Box<RedisFacts>,
        /// Directory of the note of what was acknowledged.
        note_directory: String,
        /// Why the note cannot be written there.
        note_unwritable: Option<String>,
    },
    /// Memory, which needs no checks.
    Memory {
        /// What can be lost, as text.
        loss_window: &'static str,
    },
}

/// Checks everything that an engine with these settings would depend on. Writes nothing but one scratch file in the directory
/// of a file journal, which it removes.
pub fn preflight(settings: &EngineSettings) -> PreflightReport {
    let mut journal = match settings.journal {
        JournalKind::File => JournalFacts::File(files::preflight(&file_options(settings))),
        JournalKind::Redis => JournalFacts::Redis {
            facts: Box::new(redis::preflight(&redis_options(settings))),
            note_directory: settings.directory.display().to_string(),
            note_unwritable: files::why_unwritable(&settings.directory),
        },
        JournalKind::Memory => JournalFacts::Memory { loss_window: durability::MEMORY },
    };
    let (mut clock_refused, mut ledger_refused) = (None, None);
    match start(settings, &journal) {
        Ok(()) => {}
        Err(error @ JournalError::WrongClock { .. }) => clock_refused = Some(error.to_string()),
        Err(error @ JournalError::NewLedgerName { .. }) => ledger_refused = Some(error.to_string()),
        Err(error) => journal.refuse(&error),
    }
    let options = LedgerOptions::new("");
    PreflightReport {
        ledger: settings.ledger.clone(),
        key_bytes_max: (options.key_bytes_max + options.refusal_bytes_max) as u64,
        connections_max: DoorSettings::default().connections_max as u64,
        clock_refused,
        ledger_refused,
        journal,
    }
}

/// Reads the journal as a start does, if no problem was found so far: without a claim, and not if a server has it open.
/// Without a journal a start begins one.
fn start(settings: &EngineSettings, found: &JournalFacts) -> Result<(), JournalError> {
    let mut rebuild = Rebuild::quiet(ledger_options(settings)).for_start(StartClock::of(settings));
    match found {
        JournalFacts::File(facts) if facts.journal.is_some() && facts.owner.is_none() && facts.refused.is_none() => {
            files::rebuild(&file_options(settings), &mut rebuild)?;
        }
        JournalFacts::Redis { facts, .. } if facts.journal.is_some() => {
            RedisSource::connect(&redis_options(settings))?.rebuild(&mut rebuild)?;
        }
        JournalFacts::File(facts) if facts.journal.is_none() && facts.refused.is_none() => {}
        JournalFacts::Redis { facts, .. } if facts.refused.is_none() && facts.keys_refused.is_none() => {}
        JournalFacts::Memory { .. } => {}
        _ => return Ok(()),
    }
    rebuild.admit()
}

impl JournalFacts {
    /// Records why a start would refuse a journal without other problems. A journal in Redis may change while it is read
    /// beside a running server, so nothing is recorded for it.
    fn refuse(&mut self, error: &JournalError) {
        if let JournalFacts::File(facts) = self {
            facts.refused.get_or_insert(error.to_string());
        }
    }
}
