//! The settings of an engine, which every caller passes as JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;

use invengine_ledger::visible;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::journal::frame::LEDGER_NAME_BYTES_MAX;
use crate::journal::{Ack, JournalError, Secret};

/// Where the journal lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalKind {
    /// Files of one directory.
    File,
    /// A stream in Redis or Valkey.
    Redis,
    /// Lost when the process ends.
    Memory,
}

impl JournalKind {
    /// Whether an engine with this journal uses a setting; a setting that it does not use is refused.
    fn uses(self, setting: &str) -> bool {
        let users: &[JournalKind] = match setting {
            "redis_url" | "redis_username" | "redis_password" | "redis_ca_file" | "redis_ack" => &[JournalKind::Redis],
            "journal_file_bytes" | "force_empty" => &[JournalKind::File],
            "directory"
            | "snapshot_journal_bytes"
            | "snapshot_interval_ms"
            | "archive_ms"
            | "archive_bytes_max"
            | "accept_clock" => &[JournalKind::File, JournalKind::Redis],
            _ => &[JournalKind::File, JournalKind::Redis, JournalKind::Memory],
        };
        users.contains(&self)
    }
}

impl std::fmt::Display for JournalKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            JournalKind::File => "a journal in files",
            JournalKind::Redis => "a journal in Redis",
            JournalKind::Memory => "a journal in memory",
        })
    }
}

/// Settings of one engine. Every field has a default.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineSettings {
    /// Where the journal lives.
    pub journal: JournalKind,
    /// Directory of the file journal; with a Redis journal, of the file that notes what was acknowledged.
    pub directory: PathBuf,
    /// Where the Redis journal lives; may hold a password.
    pub redis_url: Secret,
    /// User of that Redis, if the URL names none.
    pub redis_username: String,
    /// Its password, if the URL has none.
    pub redis_password: Secret,
    /// Certificates to trust instead of the system's; empty means the system's.
    pub redis_ca_file: PathBuf,
    /// When the Redis journal counts as durable.
    pub redis_ack: Ack,
    /// Name of the ledger.
    pub ledger: String,
    /// How much faster than the clock engine time runs.
    pub time_scale: f64,
    /// Create items, locations and channels when a command mentions them; for development.
    pub auto_create: bool,
    /// Length of one journal file; 0 is the journal's default.
    pub journal_file_bytes: u64,
    /// A snapshot is written after this many bytes of journal; 0 is never.
    pub snapshot_journal_bytes: u64,
    /// A snapshot is also written after this time, if there are new events, ms; 0 is never.
    pub snapshot_interval_ms: u64,
    /// How long the archive keeps parts of the journal that no recovery needs, ms; 0 is for ever.
    pub archive_ms: u64,
    /// Most bytes that the archive keeps; 0 is unlimited, in Redis 256 MiB.
    pub archive_bytes_max: u64,
    /// Set aside a journal that cannot be recovered, and begin an empty one.
    pub force_empty: bool,
    /// The wall clock is right, however far it is from the end of the journal: for a single start, set by an operator
    /// who knows.
    pub accept_clock: bool,
    /// Commands that may wait for the disk at once; 0 is the engine's default.
    pub in_flight_max: u32,
    /// The wall clock at the start, ms since 1970, instead of the machine's; for simulations.
    pub wall_time_ms: Option<i64>,
    /// Whether the wall clock is synchronised, instead of what the kernel says; for tests.
    pub clock_synchronised: Option<bool>,
    /// How long keys are remembered, ms, instead of the ledger's default; for simulations.
    pub dedupe_window_ms: Option<i64>,
    /// Memory for remembered refusals, bytes; 0 is the ledger's default, 256 MiB.
    pub refusal_bytes_max: u64,
}

/// Commands that may wait for the disk unless the settings say otherwise.
pub const IN_FLIGHT_MAX: u32 = 32_768;

impl Default for EngineSettings {
    fn default() -> Self {
        EngineSettings {
            journal: JournalKind::File,
            directory: PathBuf::from("invengine-data"),
            redis_url: "redis://127.0.0.1:6379".into(),
            redis_username: String::new(),
            redis_password: Secret::default(),
            redis_ca_file: PathBuf::new(),
            redis_ack: Ack::default(),
            ledger: "main".into(),
            time_scale: 1.0,
            auto_create: false,
            journal_file_bytes: 0,
            snapshot_journal_bytes: 256 << 20,
            snapshot_interval_ms: 3_600_000,
            archive_ms: 30 * 24 * 3_600_000,
            archive_bytes_max: 0,
            force_empty: false,
            accept_clock: false,
            in_flight_max: 0,
            wall_time_ms: None,
            clock_synchronised: None,
            dedupe_window_ms: None,
            refusal_bytes_max: 0,
        }
    }
}

impl EngineSettings {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// One line that names the wrong setting and says why.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let settings: Self = serde_json::from_str(text).map_err(|error| format!("engine settings: {error}"))?;
        settings.check()?;
        let given: BTreeMap<String, IgnoredAny> = serde_json::from_str(text).unwrap_or_default();
        match given.keys().find(|name| !settings.journal.uses(name)) {
            Some(name) => {
                Err(format!("{name}: {} does not use it; leave it out or choose another journal", settings.journal))
            }
            None => Ok(settings),
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if !(self.time_scale > 0.0 && self.time_scale <= 1_000_000.0) {
            return Err(format!("time_scale must be above 0 and at most 1,000,000, not {}", self.time_scale));
        }
        if self.dedupe_window_ms.is_some_and(|window_ms| window_ms < 1) {
            return Err("dedupe_window_ms must be at least 1".into());
        }
        if !(1..=LEDGER_NAME_BYTES_MAX).contains(&self.ledger.len()) || self.ledger.chars().any(char::is_control) {
            let shown = visible(&self.ledger);
            return Err(format!(
                "ledger must be a name of 1 to {LEDGER_NAME_BYTES_MAX} bytes without control characters, not {shown}"
            ));
        }
        Ok(())
    }

    pub(super) fn in_flight_max(&self) -> u32 {
        if self.in_flight_max == 0 { IN_FLIGHT_MAX } else { self.in_flight_max }
    }
}

/// Refuses a name that a new ledger cannot have. Callers name their ledger in the metadata of a call, which has printable ASCII
/// characters only and no space at either end. A ledger that exists is served whatever its name is.
pub(super) fn check_new_ledger(ledger: &str) -> Result<(), JournalError> {
    let why = match ledger.chars().zip(1..).find(|(character, _)| !matches!(character, ' '..='~')) {
        Some((character, number)) => format!("character {number} is U+{:04X}", u32::from(character)),
        None if ledger.starts_with(' ') => "it begins with a space".into(),
        None if ledger.ends_with(' ') => "it ends with a space".into(),
        None => return Ok(()),
    };
    Err(JournalError::NewLedgerName { name: visible(ledger), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_named() {
        assert_eq!(EngineSettings::from_json("{}").unwrap(), EngineSettings::default());
        for (text, part) in [
            ("{\"time_scale\": 0}", "time_scale"),
            ("{\"time_scale\": 1e9}", "time_scale"),
            ("{\"ledger\": \"\"}", "ledger"),
            ("{\"ledger\": \"a\\nb\"}", "\"a<U+000A>b\""),
            ("{\"dedupe_window_ms\": 0}", "dedupe_window_ms"),
            ("{\"jurnal\": \"file\"}", "jurnal"),
            ("{\"journal\": \"tape\"}", "tape"),
            ("{\"redis_ack\": \"maybe\"}", "maybe"),
            ("nothing", "engine settings"),
        ] {
            let error = EngineSettings::from_json(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_is_read_and_not_shown() {
        let text = "{\"journal\": \"redis\", \"redis_url\": \"redis://:s3cret@h\", \"redis_password\": \"s3cret\"}";
        let settings = EngineSettings::from_json(text).unwrap();
        assert_eq!(settings.redis_password.reveal(), "s3cret");
        assert!(!format!("{settings:?}").contains("s3cret"));
    }
}
