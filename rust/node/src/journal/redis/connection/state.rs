//! What Redis stores about a journal besides its frames: who owns it and where it ends.

use std::collections::HashMap;

use redis::{Value, cmd};

use super::errors::{Failure, RedisError};
use super::keys::RedisKeys;
use super::{Connection, text, texts};
use crate::journal::JournalError;
use crate::journal::chain_tip::ChainTip;
use crate::journal::frame::FORMAT_VERSION;

/// A position between two frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisPosition {
    /// Sequence of the last event before it.
    pub last: u64,
    /// Chain value of all frames before it.
    pub chain: u64,
    /// Entries before it, claims included.
    pub entries: u64,
}

impl RedisPosition {
    /// The position of a tip after `entries` entries.
    pub(in crate::journal) fn of(tip: &ChainTip, entries: u64) -> Self {
        Self { last: tip.next_sequence - 1, chain: tip.chain, entries }
    }

    /// The chain as it is stored; empty for the empty journal, whose chain is not stored.
    pub fn chain_text(&self) -> String {
        if self.entries == 0 { String::new() } else { format!("{:016x}", self.chain) }
    }

    /// Parses the three texts that a function replies with.
    pub fn read(last: &str, chain: &str, entries: &str) -> Option<Self> {
        let chain = if chain.is_empty() { 0 } else { u64::from_str_radix(chain, 16).ok()? };
        Some(Self { last: last.parse().ok()?, chain, entries: entries.parse().ok()? })
    }
}

/// The state of an existing journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredState {
    /// Epoch of its owner.
    pub epoch: u64,
    /// Where it ends.
    pub end: RedisPosition,
    /// Entries that were trimmed from its beginning.
    pub trimmed: u64,
}

/// Reads the state; `None` if all keys are free. Anything else under these names is refused, and so are the leftovers of an
/// unfinished restore.
pub fn read(connection: &mut Connection, keys: &RedisKeys, ledger: &str) -> Result<Option<StoredState>, Failure> {
    let mut types = [key_type(connection, &keys.state)?, key_type(connection, &keys.frames)?];
    if types.iter().filter(|found| *found == "none").count() == 1 {
        // Another process may have created both between the two queries.
        types = [key_type(connection, &keys.state)?, key_type(connection, &keys.frames)?];
    }
    let mut locations = Vec::new();
    for key in &keys.locations {
        locations.push((key, key_type(connection, key)?));
    }
    let fields = match types[0].as_str() {
        "hash" => fields(connection.call(cmd("HGETALL").arg(&keys.state))?),
        _ => None,
    };
    if fields.as_ref().is_some_and(is_unfinished_restore) {
        let directory = format!("ledger {ledger:?} in Redis at {}", connection.server());
        let why = "a restore that was not finished: run `invengine backup restore` into it again".into();
        return Err(Failure::Permanent(JournalError::NoJournal { directory, why }));
    }
    let foreign = |(key, why): (&str, String)| {
        let file = format!("key {key} of Redis at {}", connection.server());
        Failure::Permanent(JournalError::Foreign { file, why })
    };
    if !has_journal(keys, [&types[0], &types[1]], &locations).map_err(foreign)? {
        return Ok(None);
    }
    let fields = fields.ok_or_else(|| RedisError::nonsense(connection.server(), "HGETALL"))?;
    parse(&fields, keys, ledger).map(Some).map_err(|error| match error {
        Some(error) => Failure::Permanent(error),
        None => foreign((&keys.state, "no journal wrote it".into())),
    })
}

/// Whether a restore was begun here and not finished.
fn is_unfinished_restore(fields: &HashMap<String, String>) -> bool {
    fields.get("restoring").is_some_and(|token| !token.is_empty()) && !fields.contains_key("owner")
}

/// Whether keys of these types hold a journal; an error names the key that rules it out, and why.
fn has_journal<'k>(
    keys: &'k RedisKeys,
    [state, frames]: [&str; 2],
    locations: &[(&'k String, String)],
) -> Result<bool, (&'k str, String)> {
    let is_strange = |(_, kind): &&(&String, String)| !["none", "hash"].contains(&kind.as_str());
    if let Some((key, kind)) = locations.iter().find(is_strange) {
        return Err((key, format!("it is a {kind}, not a hash")));
    }
    match [state, frames] {
        ["none", "none"] => match locations.iter().rfind(|(_, kind)| kind == "hash") {
            Some((key, _)) => Err((key, format!("{} and {} are missing", keys.state, keys.frames))),
            None => Ok(false),
        },
        ["hash", "stream"] => Ok(true),
        ["none", "stream"] => Err((&keys.frames, format!("{} is missing", keys.state))),
        ["hash", "none"] => Err((&keys.state, format!("{} is missing", keys.frames))),
        ["hash" | "none", other] => Err((&keys.frames, format!("it is a {other}, not a stream"))),
        [other, _] => Err((&keys.state, format!("it is a {other}, not a hash"))),
    }
}

/// The state in these fields; `Err(None)` if no journal wrote them.
fn parse(
    fields: &HashMap<String, String>,
    keys: &RedisKeys,
    ledger: &str,
) -> Result<StoredState, Option<JournalError>> {
    let field = |name: &str| fields.get(name).map(String::as_str).ok_or(None);
    let number = |name: &str| field(name)?.parse::<u64>().map_err(|_| None);
    let (found, known) = (number("format")?, u32::from(FORMAT_VERSION));
    if found > u64::from(known) {
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        return Err(Some(JournalError::NewerFormat { file: keys.state.clone(), found, known }));
    }
    if field("ledger")? != ledger {
        let (file, found) = (keys.state.clone(), field("ledger")?.chars().take(128).collect());
        return Err(Some(JournalError::OtherLedger { file, found, wanted: ledger.into() }));
    }
    let end = RedisPosition::read(field("last")?, field("chain")?, field("entries")?).ok_or(None)?;
    field("owner")?;
    let trimmed = if fields.contains_key("trimmed") { number("trimmed")? } else { 0 };
    if trimmed > end.entries {
        return Err(None);
    }
    Ok(StoredState { epoch: number("epoch")?, end, trimmed })
}

/// Some fields of a hash, each `None` if absent.
pub fn hash_fields(connection: &mut Connection, key: &str, names: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
    let answer = connection.call(cmd("HMGET").arg(key).arg(names))?;
    let nonsense = || RedisError::nonsense(connection.server(), "HMGET");
    let Value::Array(items) = answer else { return Err(nonsense().into()) };
    if items.len() != names.len() {
        return Err(nonsense().into());
    }
    let field = |item| match item {
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::Nil => Ok(None),
        _ => Err(nonsense().into()),
    };
    items.into_iter().map(field).collect()
}

/// A field of the state as text; empty if absent.
pub fn field(connection: &mut Connection, keys: &RedisKeys, name: &str) -> Result<String, Failure> {
    let value = hash_fields(connection, &keys.state, &[name])?.pop().flatten().unwrap_or_default();
    String::from_utf8(value).map_err(|_| RedisError::nonsense(connection.server(), "HMGET").into())
}

fn key_type(connection: &mut Connection, key: &str) -> Result<String, Failure> {
    let answer = connection.call(cmd("TYPE").arg(key))?;
    text(answer).ok_or_else(|| RedisError::nonsense(connection.server(), "TYPE").into())
}

fn fields(answer: Value) -> Option<HashMap<String, String>> {
    let items = texts(answer)?;
    Some(items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
}
