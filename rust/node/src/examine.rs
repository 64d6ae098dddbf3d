//! What an engine with some settings would stand on, as plain values; whoever asks judges them. Opens no engine.

use invengine_ledger::LedgerOptions;
use serde::Serialize;

use crate::door::DoorSettings;
use crate::engine::{EngineSettings, JournalKind, Rebuild, StartClock, file_options, ledger_options, redis_options};
pub use crate::journal::examine::{FileFacts, FileJournalFacts, SyncTimes};
use crate::journal::redis::RedisSource;
use crate::journal::redis::examine as redis;
pub use crate::journal::redis::examine::{RedisFacts, ServerFacts, StoredFacts};
use crate::journal::{JournalError, Replay, examine as files, loss};

/// What was found.
#[derive(Debug, Serialize)]
pub struct Examination {
    /// Name of the ledger.
    pub ledger: String,
    /// Memory that keys may take, remembered refusals included.
    pub key_bytes_max: u64,
    /// Connections that the native door takes.
    pub connections_max: u64,
    /// Why no server would start with the clock of this machine.
    pub clock_refused: Option<String>,
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
    Redis {
        /// What was found there.
        #[serde(flatten)]
        facts: Box<RedisFacts>,
        /// Where the note of what was acknowledged is kept.
        note_directory: String,
        /// Why it cannot be.
        note_unwritable: Option<String>,
    },
    /// Nothing can be found out about memory.
    Memory {
        /// What can be lost, in words.
        loss_window: &'static str,
    },
}

/// Looks at everything that an engine with these settings would stand on. It writes nothing but one scratch file in the
/// directory of a file journal, which it removes.
pub fn examine(settings: &EngineSettings) -> Examination {
    let mut journal = match settings.journal {
        JournalKind::File => JournalFacts::File(files::examine(&file_options(settings))),
        JournalKind::Redis => JournalFacts::Redis {
            facts: Box::new(redis::examine(&redis_options(settings))),
            note_directory: settings.directory.display().to_string(),
            note_unwritable: files::why_not_kept(&settings.directory),
        },
        JournalKind::Memory => JournalFacts::Memory { loss_window: loss::MEMORY },
    };
    let clock_refused = match start(settings, &journal) {
        Ok(()) => None,
        Err(JournalError::WrongClock { why }) => Some(JournalError::WrongClock { why }.to_string()),
        Err(error) => {
            journal.refuse(&error);
            None
        }
    };
    let options = LedgerOptions::new("");
    Examination {
        ledger: settings.ledger.clone(),
        key_bytes_max: (options.key_bytes_max + options.refusal_bytes_max) as u64,
        connections_max: DoorSettings::default().connections_max as u64,
        clock_refused,
        journal,
    }
}

/// Reads the journal as a start does, as far as nothing was found against it: without a claim, and not if a server has it.
fn start(settings: &EngineSettings, found: &JournalFacts) -> Result<(), JournalError> {
    let mut rebuild = Rebuild::quiet(ledger_options(settings)).for_start(StartClock::of(settings));
    match found {
        JournalFacts::File(facts) if facts.journal.is_some() && facts.owner.is_none() && facts.refused.is_none() => {
            files::rebuild(&file_options(settings), &mut rebuild)?;
        }
        JournalFacts::Redis { facts, .. } if facts.journal.is_some() => {
            RedisSource::connect(&redis_options(settings))?.rebuild(&mut rebuild)?;
        }
        _ => return Ok(()),
    }
    rebuild.admit()
}

impl JournalFacts {
    /// What a start has against a journal that looks well. Beside a server a journal in Redis changes while it is read: of
    /// that, nothing is to be said.
    fn refuse(&mut self, error: &JournalError) {
        if let JournalFacts::File(facts) = self {
            facts.refused.get_or_insert(error.to_string());
        }
    }
}
