//! What Redis says about a journal besides its frames: who owns it and where it ends.

use std::collections::HashMap;

use redis::{Value, cmd};

use super::connection::{Link, text, texts};
use super::keys::Keys;
use super::trouble::{Fault, Trouble};
use crate::journal::JournalError;
use crate::journal::frame::FORMAT_VERSION;
use crate::journal::line::Line;

/// A place between two frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Sequence of the last event before it.
    pub last: u64,
    /// Chain value of all frames before it.
    pub chain: u64,
    /// Entries before it, claims included.
    pub entries: u64,
}

impl Position {
    /// The place that a line has reached after so many entries.
    pub(in crate::journal) fn of(line: &Line, entries: u64) -> Self {
        Self { last: line.next_sequence - 1, chain: line.chain, entries }
    }

    /// The chain as it is stored; nothing for the empty journal, whose chain nobody stored.
    pub fn chain_text(&self) -> String {
        if self.entries == 0 { String::new() } else { format!("{:016x}", self.chain) }
    }

    /// Reads the three texts that a function answers with.
    pub fn read(last: &str, chain: &str, entries: &str) -> Option<Self> {
        let chain = if chain.is_empty() { 0 } else { u64::from_str_radix(chain, 16).ok()? };
        Some(Self { last: last.parse().ok()?, chain, entries: entries.parse().ok()? })
    }
}

/// The state of a journal that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Epoch of its owner.
    pub epoch: u64,
    /// Where it ends.
    pub end: Position,
    /// Entries that were trimmed from its beginning.
    pub trimmed: u64,
}

/// Reads the state, or nothing if all keys are free. Anything else under these names is refused, and so is what a restore has
/// left that did not end.
pub fn read(link: &mut Link, keys: &Keys, ledger: &str) -> Result<Option<Stored>, Fault> {
    let mut types = [key_type(link, &keys.state)?, key_type(link, &keys.frames)?];
    if types.iter().filter(|found| *found == "none").count() == 1 {
        // Another process may have made both between the two questions.
        types = [key_type(link, &keys.state)?, key_type(link, &keys.frames)?];
    }
    let mut places = Vec::new();
    for key in &keys.places {
        places.push((key, key_type(link, key)?));
    }
    let fields = match types[0].as_str() {
        "hash" => fields(link.call(cmd("HGETALL").arg(&keys.state))?),
        _ => None,
    };
    if fields.as_ref().is_some_and(is_half_made) {
        let directory = format!("ledger {ledger:?} in Redis at {}", link.server());
        let why = "a restore that was not finished: run `invengine backup restore` into it again".into();
        return Err(Fault::Lasting(JournalError::NoJournal { directory, why }));
    }
    let foreign = |(key, why): (&str, String)| {
        let file = format!("key {key} of Redis at {}", link.server());
        Fault::Lasting(JournalError::Foreign { file, why })
    };
    if !is_there(keys, [&types[0], &types[1]], &places).map_err(foreign)? {
        return Ok(None);
    }
    let fields = fields.ok_or_else(|| Trouble::nonsense(link.server(), "HGETALL"))?;
    judge(&fields, keys, ledger).map(Some).map_err(|unfit| match unfit {
        Some(error) => Fault::Lasting(error),
        None => foreign((&keys.state, "no journal wrote it".into())),
    })
}

/// Whether a restore was begun here and did not end.
fn is_half_made(fields: &HashMap<String, String>) -> bool {
    fields.get("restoring").is_some_and(|token| !token.is_empty()) && !fields.contains_key("owner")
}

/// Whether a journal can lie under keys of these types; else which key speaks against it, and why.
fn is_there<'k>(
    keys: &'k Keys,
    [state, frames]: [&str; 2],
    places: &[(&'k String, String)],
) -> Result<bool, (&'k str, String)> {
    let is_strange = |(_, kind): &&(&String, String)| !["none", "hash"].contains(&kind.as_str());
    if let Some((key, kind)) = places.iter().find(is_strange) {
        return Err((key, format!("it is a {kind}, not a hash")));
    }
    match [state, frames] {
        ["none", "none"] => match places.iter().rfind(|(_, kind)| kind == "hash") {
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
fn judge(fields: &HashMap<String, String>, keys: &Keys, ledger: &str) -> Result<Stored, Option<JournalError>> {
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
    let end = Position::read(field("last")?, field("chain")?, field("entries")?).ok_or(None)?;
    field("owner")?;
    let trimmed = if fields.contains_key("trimmed") { number("trimmed")? } else { 0 };
    if trimmed > end.entries {
        return Err(None);
    }
    Ok(Stored { epoch: number("epoch")?, end, trimmed })
}

/// Some fields of a hash, each as it is or nothing.
pub fn hash_fields(link: &mut Link, key: &str, names: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Fault> {
    let answer = link.call(cmd("HMGET").arg(key).arg(names))?;
    let nonsense = || Trouble::nonsense(link.server(), "HMGET");
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

/// A field of the state as text; empty if it is not there.
pub fn field(link: &mut Link, keys: &Keys, name: &str) -> Result<String, Fault> {
    let value = hash_fields(link, &keys.state, &[name])?.pop().flatten().unwrap_or_default();
    String::from_utf8(value).map_err(|_| Trouble::nonsense(link.server(), "HMGET").into())
}

fn key_type(link: &mut Link, key: &str) -> Result<String, Fault> {
    let answer = link.call(cmd("TYPE").arg(key))?;
    text(answer).ok_or_else(|| Trouble::nonsense(link.server(), "TYPE").into())
}

fn fields(answer: Value) -> Option<HashMap<String, String>> {
    let items = texts(answer)?;
    Some(items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
}
