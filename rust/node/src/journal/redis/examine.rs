//! What a Redis journal would stand on: whether the server lets us in, what it promises, what its user may do, and what lies
//! under the keys of the ledger. It writes nothing: a right is tried with a command that fails after the right was checked.

use redis::{Cmd, cmd};
use serde::Serialize;

use super::address::{Address, Node, Topology};
use super::connection::{Link, text};
use super::ground::Machine;
use super::keys::Keys;
use super::server::{Server, config, field};
use super::trouble::{Fault, Trouble};
use super::{Ack, RedisOptions, functions, state};
use crate::journal::JournalError;

/// What was found of a Redis journal. What could not be learnt is not there.
#[derive(Debug, Default, Serialize)]
pub struct RedisFacts {
    /// Where it is, without user and password.
    pub place: String,
    /// Whether the way there is encrypted, or does not leave this machine.
    pub private: bool,
    /// When an append counts as done.
    pub ack: &'static str,
    /// Why no server could use it, and nothing more is known.
    pub refused: Option<String>,
    /// Commands that its user lacks.
    pub rights_missing: Vec<&'static str>,
    /// Commands that its user should not have.
    pub rights_dangerous: Vec<&'static str>,
    /// What the server promises.
    pub server: Option<ServerFacts>,
    /// The version of the functions that this build needs.
    pub functions_version: u32,
    /// Whether the server has them.
    pub functions_there: Option<bool>,
    /// Why those that it has cannot be used.
    pub functions_refused: Option<String>,
    /// Why it would not take a write now.
    pub write_refused: Option<String>,
    /// The journal of this ledger.
    pub journal: Option<StoredFacts>,
    /// Why its keys cannot be used.
    pub keys_refused: Option<String>,
}

/// A server as it describes itself.
#[derive(Debug, Serialize)]
pub struct ServerFacts {
    /// Kind and version.
    pub product: String,
    /// Why it is too old, a replica, forgetful, or weaker than the acknowledgement.
    pub version_refused: Option<String>,
    pub role_refused: Option<String>,
    pub eviction_refused: Option<String>,
    pub ack_refused: Option<String>,
    /// `maxmemory-policy`.
    pub eviction: String,
    /// `appendonly`, and `appendfsync` if it tells.
    pub aof: bool,
    pub appendfsync: Option<String>,
    /// What can be lost, in words.
    pub loss_window: String,
    /// `maxmemory`, 0 for no limit, and what is used.
    pub memory_bytes_max: u64,
    pub memory_bytes_used: u64,
    /// Replicas that are connected, and how many it wants before it takes a write, if it tells.
    pub replicas: u32,
    pub replicas_min: Option<u32>,
    /// Whether it can wait for the disk of a replica.
    pub waitaof: bool,
}

/// A journal in Redis.
#[derive(Debug, Serialize)]
pub struct StoredFacts {
    /// Epoch of its last writer.
    pub writer_epoch: u64,
    /// Sequence of its last event.
    pub last_sequence: u64,
}

/// Looks at the ground of the journal that these options open.
pub fn examine(options: &RedisOptions) -> RedisFacts {
    let mut facts =
        RedisFacts { ack: options.ack.name(), functions_version: functions::VERSION, ..RedisFacts::default() };
    if let Err(error) = look(options, &mut facts) {
        facts.refused = Some(error.to_string());
    }
    facts
}

fn look(options: &RedisOptions, facts: &mut RedisFacts) -> Result<(), JournalError> {
    let session = options.session(std::sync::Arc::new(Machine))?;
    facts.place = session.place.address.to_string();
    facts.private = is_private(&session.place.address);
    let mut link = session.place.connect()?;
    facts.server = ServerFacts::ask(&mut link, session.ack)?;
    let waitaof = facts.server.as_ref().map(|server| server.waitaof);
    for (name, probe) in needed(&session.keys, session.ack, waitaof) {
        if !is_allowed(&mut link, &probe)? {
            facts.rights_missing.push(name);
        }
    }
    facts.rights_dangerous = dangerous(&mut link, &session.keys)?;
    look_at_functions(&mut link, &session.keys, facts)?;
    match state::read(&mut link, &session.keys, &session.ledger) {
        Ok(stored) => facts.journal = stored.as_ref().map(StoredFacts::of),
        Err(fault) => facts.keys_refused = told(fault)?,
    }
    // Where they are, nobody needs to load them.
    facts.rights_missing.retain(|name| *name != LOAD || facts.functions_there == Some(false));
    Ok(())
}

/// Calls the function that writes nothing and is admitted only where a write would be.
fn look_at_functions(link: &mut Link, keys: &Keys, facts: &mut RedisFacts) -> Result<(), JournalError> {
    match functions::is_there(link, keys) {
        Ok(there) => facts.functions_there = Some(there),
        Err(Fault::Lasting(error @ JournalError::FunctionVersion { .. })) => {
            facts.functions_there = Some(true);
            facts.functions_refused = Some(error.to_string());
        }
        Err(fault) => facts.write_refused = told(fault)?,
    }
    Ok(())
}

/// An error that says something about what was asked; one that says that nobody answers ends the examination. A missing right
/// was found before.
fn told(fault: Fault) -> Result<Option<String>, JournalError> {
    match fault.error() {
        error @ JournalError::Unreachable { .. } => Err(error),
        JournalError::Refused { code, .. } if code == "NOPERM" => Ok(None),
        error => Ok(Some(error.to_string())),
    }
}

fn is_private(address: &Address) -> bool {
    let stays_here = |node: &Node| match node {
        Node::Unix(_) => true,
        Node::Tcp(host, _) => {
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|host| host.is_loopback())
        }
    };
    // Where Sentinels and clusters send us is not known here.
    address.tls || (address.topology == Topology::Single && address.nodes.iter().all(stays_here))
}

impl StoredFacts {
    fn of(stored: &state::Stored) -> Self {
        Self { writer_epoch: stored.epoch, last_sequence: stored.end.last }
    }
}

impl ServerFacts {
    /// What a server says; nothing if this user may not ask.
    fn ask(link: &mut Link, ack: Ack) -> Result<Option<Self>, Trouble> {
        let server = match Server::ask(link) {
            Err(trouble) if trouble.is_unavailable_command() => return Ok(None),
            other => other?,
        };
        let answer = link.call(&cmd("INFO"))?;
        let told = text(answer).ok_or_else(|| Trouble::nonsense(link.server(), "INFO"))?;
        let number = |name: &str| field(&told, name).parse().unwrap_or(0);
        let refusal = |result: Result<(), JournalError>| result.err().map(|error| error.to_string());
        Ok(Some(Self {
            version_refused: refusal(server.check_version()),
            role_refused: refusal(server.check_role()),
            eviction_refused: refusal(server.check_eviction()),
            ack_refused: refusal(server.check_ack(ack)),
            aof: server.has_aof(),
            loss_window: server.loss_window(ack),
            memory_bytes_max: number("maxmemory"),
            memory_bytes_used: number("used_memory"),
            replicas_min: config(link, "min-replicas-to-write")?.and_then(|text| text.parse().ok()),
            waitaof: server.has_waitaof(),
            product: server.product,
            eviction: server.eviction,
            appendfsync: server.sync,
            replicas: server.replicas,
        }))
    }
}

const LOAD: &str = "function|load";

/// The commands of docs/operations.md, each in a form that does nothing: it reads, or it fails after the right was checked.
fn needed(keys: &Keys, ack: Ack, waitaof: Option<bool>) -> Vec<(&'static str, Cmd)> {
    let (state, frames) = (keys.state.as_str(), keys.frames.as_str());
    let mut all = vec![
        ("fcall", functions::room(keys)),
        (LOAD, command(&["FUNCTION", "LOAD", "no library"])),
        ("hgetall", command(&["HGETALL", state])),
        ("type", command(&["TYPE", state])),
        ("xrange", command(&["XRANGE", frames, "-", "+", "COUNT", "1"])),
        ("info", command(&["INFO", "server"])),
        ("hmget", command(&["HMGET", state, "last"])),
        ("hset", command(&["HSET", state, "one", "two", "three"])),
        ("xadd", command(&["XADD", frames, "NOMKSTREAM", "0-0", "frame", ""])),
        ("xlen", command(&["XLEN", frames])),
    ];
    match (ack, waitaof) {
        (Ack::Fsync | Ack::Everysec, _) => all.push(("config|get", command(&["CONFIG", "GET", "appendfsync"]))),
        (Ack::Replicated, Some(true)) => all.push(("waitaof", command(&["WAITAOF", "0", "0", "1"]))),
        (Ack::Replicated, Some(false)) => all.push(("wait", command(&["WAIT", "0", "1"]))),
        _ => {}
    }
    all
}

/// Which of the commands that end a journal this user may run. The server is asked where the user may ask it; else those are
/// tried that have a form which does nothing.
fn dangerous(link: &mut Link, keys: &Keys) -> Result<Vec<&'static str>, Trouble> {
    let frames = keys.frames.as_str();
    let user = link.call(&command(&["ACL", "WHOAMI"])).ok().and_then(text);
    let commands: [(&'static str, &[&str], bool); 4] = [
        ("flushall", &[], false),
        ("del", &[frames], false),
        ("xtrim", &[frames, "MAXLEN", "no number"], true),
        ("xsetid", &[frames, "no id"], true),
    ];
    let mut found = Vec::new();
    for (name, words, is_harmless) in commands {
        let asked = user.as_ref().map(|user| link.call(cmd("ACL").arg("DRYRUN").arg(user).arg(name).arg(words)));
        let allowed = match asked {
            Some(Ok(said)) => text(said).as_deref() == Some("OK"),
            _ if is_harmless => is_allowed(link, cmd(name).arg(words))?,
            _ => false,
        };
        if allowed {
            found.push(name);
        }
    }
    Ok(found)
}

fn command(words: &[&str]) -> Cmd {
    let mut command = cmd(words[0]);
    command.arg(&words[1..]);
    command
}

/// Whether a command comes past the check of rights.
fn is_allowed(link: &mut Link, probe: &Cmd) -> Result<bool, Trouble> {
    match link.call(probe) {
        Err(trouble @ Trouble::NoAnswer { .. }) => Err(trouble),
        // While it loads, or before it knows us, it says nothing about rights.
        Err(trouble) if ["LOADING", "NOAUTH"].iter().any(|code| trouble.is(code)) => Err(trouble),
        Err(trouble) => Ok(!trouble.is_unavailable_command()),
        Ok(_) => Ok(true),
    }
}
