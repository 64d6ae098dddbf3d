//! The functions inside Redis, as calls: what is sent, and what each reply means.

use invengine_ledger::planted;
use redis::{Cmd, Value, cmd};

use super::errors::{Failure, RedisError};
use super::keys::{EntryId, RedisKeys};
use super::state::RedisPosition;
use super::{Connection, texts};
use crate::journal::JournalError;

const CODE: &str = include_str!("../functions.lua");
/// The code that is registered.
fn code() -> std::borrow::Cow<'static, str> {
    if planted::is("no_fence") {
        return CODE.replace("state[1] ~= owner or state[2] ~= epoch", "false").into();
    }
    CODE.into()
}

/// As in `functions.lua`. A change of any function's arguments or replies needs a new one.
pub const VERSION: u32 = 2;

/// The version of a server without the functions.
pub const NO_VERSION: &str = "none";

/// The identity of a writer: a random token besides the epoch, so that two writers that claimed the same epoch on two sides of
/// a failover can be distinguished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The token, in hex.
    pub token: String,
    /// The epoch.
    pub epoch: u64,
}

/// The reply of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is done, or was done before; `resume` also returns where the journal ends.
    Done(Option<RedisPosition>),
    /// Another writer owns the journal: its epoch.
    Fenced(String),
    /// The journal ends at another position; as text.
    Elsewhere(String),
    /// It holds another number of entries than were written; as text.
    Damaged(String),
    /// The snapshots are not as the call expects: another one was begun, or the number of pieces is wrong.
    Unfit,
    /// The state is gone.
    Gone,
    /// The functions are of this other version.
    Version(String),
}

/// A call of a function on the keys of a journal, made for this version.
fn call(name: &str, keys: &RedisKeys) -> Cmd {
    call_with(name, keys, &[])
}

/// The same with snapshot locations.
pub(in crate::journal) fn call_with(name: &str, keys: &RedisKeys, locations: &[&str]) -> Cmd {
    let mut call = cmd("FCALL");
    call.arg(name).arg(2 + locations.len()).arg(&keys.state).arg(&keys.frames).arg(locations).arg(VERSION);
    call
}

/// Appends one frame that leads from one position to the next.
pub fn append(
    keys: &RedisKeys,
    owner: &Owner,
    before: &RedisPosition,
    after: &RedisPosition,
    id: EntryId,
    frame: &[u8],
) -> Cmd {
    let mut call = call("invengine_append", keys);
    call.arg(&owner.token).arg(owner.epoch);
    for position in [before, after] {
        call.arg(position.last).arg(position.chain_text()).arg(position.entries);
    }
    call.arg(id.to_string()).arg(frame);
    call
}

/// What a claim expects and what it writes.
pub struct Claim<'a> {
    /// The new owner.
    pub owner: &'a Owner,
    /// Name of the ledger.
    pub ledger: &'a str,
    /// Epoch of the owner before.
    pub epoch_before: u64,
    /// Where the journal ends.
    pub before: RedisPosition,
    /// Where it ends after the claim.
    pub after: RedisPosition,
    /// Id of the claim's entry.
    pub id: EntryId,
    /// The claim, encoded.
    pub frame: &'a [u8],
}

/// Makes a writer the owner of the journal that ends at a position.
pub fn claim(keys: &RedisKeys, claim: &Claim<'_>) -> Cmd {
    let mut call = call("invengine_claim", keys);
    call.arg(&claim.owner.token).arg(claim.owner.epoch).arg(claim.epoch_before);
    call.arg(claim.before.last).arg(claim.before.chain_text()).arg(claim.before.entries);
    call.arg(claim.after.chain_text()).arg(claim.after.entries).arg(claim.id.to_string()).arg(claim.frame);
    call.arg(claim.ledger).arg(crate::journal::frame::FORMAT_VERSION);
    call
}

/// Refuses the previous writer from now on, without claiming yet.
pub fn seal(keys: &RedisKeys, token: &str) -> Cmd {
    let mut call = call("invengine_seal", keys);
    call.arg(token);
    call
}

/// Asks whether this writer still owns the journal, and where that ends.
pub fn resume(keys: &RedisKeys, owner: &Owner) -> Cmd {
    let mut call = call("invengine_resume", keys);
    call.arg(&owner.token).arg(owner.epoch);
    call
}

/// Asks whether the server would take a write now.
pub fn room(keys: &RedisKeys) -> Cmd {
    call("invengine_room", keys)
}

/// Parses the reply of a function; `None` if none of our functions sends it.
pub fn parse_reply(answer: Value) -> Option<Reply> {
    let words = texts(answer)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["OK"] => Some(Reply::Done(None)),
        ["OK", _, _, last, chain, entries] => Some(Reply::Done(Some(RedisPosition::read(last, chain, entries)?))),
        ["FENCED", _, epoch, ..] => Some(Reply::Fenced((*epoch).to_owned())),
        ["ELSEWHERE", _, _, last, ..] => Some(Reply::Elsewhere(format!("it ends at sequence {last}"))),
        ["DAMAGED", _, _, _, _, entries] => {
            Some(Reply::Damaged(format!("it holds {entries} entries, which is not what was written")))
        }
        ["UNFIT"] => Some(Reply::Unfit),
        ["GONE", ..] => Some(Reply::Gone),
        ["VERSION", version] => Some(Reply::Version((*version).to_owned())),
        _ => None,
    }
}

/// Makes sure that the server has the functions in this version. Loads them only if it has none.
pub fn ensure(connection: &mut Connection, keys: &RedisKeys) -> Result<(), Failure> {
    if is_there(connection, keys)? {
        return Ok(());
    }
    match connection.call(cmd("FUNCTION").arg("LOAD").arg(&*code())) {
        // Another process may have loaded them at the same moment.
        Err(error) if !is_there(connection, keys)? => Err(refused(error)),
        _ => Ok(()),
    }
}

/// Whether the server has the functions; another version is an error.
pub fn is_there(connection: &mut Connection, keys: &RedisKeys) -> Result<bool, Failure> {
    let answer = match connection.call(&room(keys)) {
        Err(error) if error.is_unknown_function() => return Ok(false),
        other => other?,
    };
    match parse_reply(answer) {
        Some(Reply::Done(_)) => Ok(true),
        Some(Reply::Version(found)) => Err(Failure::Permanent(other_version(connection.server(), &found))),
        _ => Err(RedisError::nonsense(connection.server(), "FCALL").into()),
    }
}

fn refused(error: RedisError) -> Failure {
    match error {
        RedisError::Refused { server, text, .. } if text.contains("already exists") => {
            let found = "a foreign one".to_owned();
            let remedy = "a library of this name is not ours: FUNCTION DELETE it or choose another Redis";
            Failure::Permanent(JournalError::FunctionVersion { server, found, wanted: VERSION.to_string(), remedy })
        }
        other => other.into(),
    }
}

/// The error for functions of another version.
pub fn other_version(server: &str, found: &str) -> JournalError {
    let remedy = match found.parse::<u32>() {
        Ok(found) if found > VERSION => "start the newer invengine or choose another Redis",
        Ok(_) => "stop every older invengine on it, run FUNCTION DELETE invengine_journal, start again",
        Err(_) => "they were there: check whether this is the right server and whether it lost more, then start again",
    };
    JournalError::FunctionVersion { server: server.into(), found: found.into(), wanted: VERSION.to_string(), remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_carries_the_version_that_calls_are_made_for() {
        assert!(CODE.contains(&format!("local VERSION = '{VERSION}'")));
    }
}
