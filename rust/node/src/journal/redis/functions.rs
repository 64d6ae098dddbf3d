//! The functions inside Redis, as calls: what is sent, and what each answer means.

use invengine_ledger::planted;
use redis::{Cmd, Value, cmd};

use super::connection::{Link, texts};
use super::keys::{Id, Keys};
use super::state::Position;
use super::trouble::{Fault, Trouble};
use crate::journal::JournalError;

const CODE: &str = include_str!("functions.lua");
/// The code that is registered.
fn code() -> std::borrow::Cow<'static, str> {
    if planted::is("no_fence") {
        return CODE.replace("state[1] ~= owner or state[2] ~= epoch", "false").into();
    }
    CODE.into()
}

/// As in `functions.lua`. A change of any function's arguments or answers needs a new one.
pub const VERSION: u32 = 2;

/// What a server without the functions has.
pub const NO_VERSION: &str = "none";

/// Who writes: a random token besides the epoch, so that two writers that claimed the same epoch on two sides of a
/// failover are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The token, in hex.
    pub token: String,
    /// The epoch.
    pub epoch: u64,
}

/// What a function said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It is done, or was done before; `resume` tells where the journal ends.
    Done(Option<Position>),
    /// Another writer owns the journal: its epoch.
    Fenced(String),
    /// The journal ends elsewhere; in words.
    Elsewhere(String),
    /// It holds another number of entries than was written; in words.
    Damaged(String),
    /// Snapshots are not as the call takes them to be: another one was begun, or there are pieces too many or too few.
    Unfit,
    /// The state is gone.
    Gone,
    /// The functions are of this other version.
    Version(String),
}

/// A call of a function on the keys of a journal, made for this version.
fn call(name: &str, keys: &Keys) -> Cmd {
    call_with(name, keys, &[])
}

/// The same with places of snapshots.
pub(super) fn call_with(name: &str, keys: &Keys, places: &[&str]) -> Cmd {
    let mut call = cmd("FCALL");
    call.arg(name).arg(2 + places.len()).arg(&keys.state).arg(&keys.frames).arg(places).arg(VERSION);
    call
}

/// Appends one frame that leads from one position to the next.
pub fn append(keys: &Keys, owner: &Owner, before: &Position, after: &Position, id: Id, frame: &[u8]) -> Cmd {
    let mut call = call("invengine_append", keys);
    call.arg(&owner.token).arg(owner.epoch);
    for position in [before, after] {
        call.arg(position.last).arg(position.chain_text()).arg(position.entries);
    }
    call.arg(id.to_string()).arg(frame);
    call
}

/// What a claim rests on and what it writes.
pub struct Claim<'a> {
    /// The new owner.
    pub owner: &'a Owner,
    /// Name of the ledger.
    pub ledger: &'a str,
    /// Epoch of the owner before.
    pub epoch_before: u64,
    /// Where the journal ends.
    pub before: Position,
    /// Where it ends after the claim.
    pub after: Position,
    /// Id of the claim's entry.
    pub id: Id,
    /// The claim, encoded.
    pub frame: &'a [u8],
}

/// Makes a writer the owner of the journal that ends at a position.
pub fn claim(keys: &Keys, claim: &Claim<'_>) -> Cmd {
    let mut call = call("invengine_claim", keys);
    call.arg(&claim.owner.token).arg(claim.owner.epoch).arg(claim.epoch_before);
    call.arg(claim.before.last).arg(claim.before.chain_text()).arg(claim.before.entries);
    call.arg(claim.after.chain_text()).arg(claim.after.entries).arg(claim.id.to_string()).arg(claim.frame);
    call.arg(claim.ledger).arg(crate::journal::frame::FORMAT_VERSION);
    call
}

/// Refuses the writer before from now on, without claiming yet.
pub fn seal(keys: &Keys, token: &str) -> Cmd {
    let mut call = call("invengine_seal", keys);
    call.arg(token);
    call
}

/// Asks whether this writer still owns the journal, and where that ends.
pub fn resume(keys: &Keys, owner: &Owner) -> Cmd {
    let mut call = call("invengine_resume", keys);
    call.arg(&owner.token).arg(owner.epoch);
    call
}

/// Asks whether the server would take a write now.
pub fn room(keys: &Keys) -> Cmd {
    call("invengine_room", keys)
}

/// Reads what a function said; nothing if it is no answer of ours.
pub fn said(answer: Value) -> Option<Said> {
    let words = texts(answer)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["OK"] => Some(Said::Done(None)),
        ["OK", _, _, last, chain, entries] => Some(Said::Done(Some(Position::read(last, chain, entries)?))),
        ["FENCED", _, epoch, ..] => Some(Said::Fenced((*epoch).to_owned())),
        ["ELSEWHERE", _, _, last, ..] => Some(Said::Elsewhere(format!("it ends at sequence {last}"))),
        ["DAMAGED", _, _, _, _, entries] => {
            Some(Said::Damaged(format!("{entries} entries are there, which is not what was written")))
        }
        ["UNFIT"] => Some(Said::Unfit),
        ["GONE", ..] => Some(Said::Gone),
        ["VERSION", version] => Some(Said::Version((*version).to_owned())),
        _ => None,
    }
}

/// Makes sure that the server has the functions, in this version. Loads them only if it has none.
pub fn ensure(link: &mut Link, keys: &Keys) -> Result<(), Fault> {
    if is_there(link, keys)? {
        return Ok(());
    }
    match link.call(cmd("FUNCTION").arg("LOAD").arg(&*code())) {
        // Somebody else may have loaded them at the same moment.
        Err(trouble) if !is_there(link, keys)? => Err(refused(trouble)),
        _ => Ok(()),
    }
}

/// Whether a call meets this version; another one is an error.
pub fn is_there(link: &mut Link, keys: &Keys) -> Result<bool, Fault> {
    let answer = match link.call(&room(keys)) {
        Err(trouble) if trouble.is_unknown_function() => return Ok(false),
        other => other?,
    };
    match said(answer) {
        Some(Said::Done(_)) => Ok(true),
        Some(Said::Version(found)) => Err(Fault::Lasting(other_version(link.server(), &found))),
        _ => Err(Trouble::nonsense(link.server(), "FCALL").into()),
    }
}

fn refused(trouble: Trouble) -> Fault {
    match trouble {
        Trouble::Refused { server, text, .. } if text.contains("already exists") => {
            let found = "a foreign one".to_owned();
            let remedy = "a library of this name is not ours: FUNCTION DELETE it or choose another Redis";
            Fault::Lasting(JournalError::FunctionVersion { server, found, wanted: VERSION.to_string(), remedy })
        }
        other => other.into(),
    }
}

/// The error for functions of another version.
pub fn other_version(server: &str, found: &str) -> JournalError {
    let remedy = match found.parse::<u32>() {
        Ok(found) if found > VERSION => "start the newer invengine or choose another Redis",
        Ok(_) => "stop every older invengine on it, run FUNCTION DELETE invengine_journal, start again",
        Err(_) => "they were there: look whether this is the right server and whether it lost more, then start again",
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
