//! Preflight checks of a Redis journal: whether the server grants access, what it guarantees, what its user may do, and what is
//! stored under the keys of the ledger. Writes nothing: a permission is probed with a command that fails after the permission
//! check.

use redis::{Cmd, cmd};
use serde::Serialize;

use super::connection::address::{Address, Node, Topology};
use super::connection::environment::SystemEnvironment;
use super::connection::errors::{Failure, RedisError};
use super::connection::keys::RedisKeys;
use super::connection::server::{Server, config, field};
use super::connection::{Connection, text};
use super::connection::{functions, state};
use super::{Ack, RedisOptions};
use crate::journal::JournalError;

/// The facts of a Redis journal. Those that could not be determined are absent.
#[derive(Debug, Default, Serialize)]
pub struct RedisFacts {
    /// Where it is, without user and password.
    pub place: String,
    /// Whether the connection is encrypted, or does not leave this machine.
    pub private: bool,
    /// When an append counts as done.
    pub ack: &'static str,
    /// Why no server could use it; nothing more is known then.
    pub refused: Option<String>,
    /// Required commands that its user may not run.
    pub rights_missing: Vec<&'static str>,
    /// Commands that its user may run but should not.
    pub rights_dangerous: Vec<&'static str>,
    /// What the server guarantees.
    pub server: Option<ServerFacts>,
    /// The version of the functions that this build needs.
    pub functions_version: u32,
    /// Whether the server has them.
    pub functions_there: Option<bool>,
    /// Why the functions on the server cannot be used.
    pub functions_refused: Option<String>,
    /// Why the server would not accept a write now.
    pub write_refused: Option<String>,
    /// The journal of this ledger.
    pub journal: Option<StoredFacts>,
    /// Why its keys cannot be used.
    pub keys_refused: Option<String>,
}

/// The facts that a server reports about itself.
#[derive(Debug, Serialize)]
pub struct ServerFacts {
    /// Kind and version.
    pub product: String,
    /// Why it is too old, a replica, evicting keys, or weaker than the acknowledgement mode.
    pub version_refused: Option<String>,
    pub role_refused: Option<String>,
    pub eviction_refused: Option<String>,
    pub ack_refused: Option<String>,
    /// `maxmemory-policy`.
    pub eviction: String,
    /// `appendonly`, and `appendfsync` if it reports that.
    pub aof: bool,
    pub appendfsync: Option<String>,
    /// What can be lost, as text.
    pub loss_window: String,
    /// `maxmemory`, 0 for no limit, and the memory in use.
    pub memory_bytes_max: u64,
    pub memory_bytes_used: u64,
    /// Connected replicas, and how many it requires before it accepts a write, if it reports that.
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

/// Checks the environment of the journal that these options open.
pub fn preflight(options: &RedisOptions) -> RedisFacts {
    let mut facts =
        RedisFacts { ack: options.ack.name(), functions_version: functions::VERSION, ..RedisFacts::default() };
    if let Err(error) = check(options, &mut facts) {
        facts.refused = Some(error.to_string());
    }
    facts
}

fn check(options: &RedisOptions, facts: &mut RedisFacts) -> Result<(), JournalError> {
    let session = options.session(std::sync::Arc::new(SystemEnvironment))?;
    facts.place = session.target.address.to_string();
    facts.private = is_private(&session.target.address);
    let mut connection = session.target.connect()?;
    facts.server = ServerFacts::ask(&mut connection, session.ack)?;
    let waitaof = facts.server.as_ref().map(|server| server.waitaof);
    for (name, probe) in needed(&session.keys, session.ack, waitaof) {
        if !is_allowed(&mut connection, &probe)? {
            facts.rights_missing.push(name);
        }
    }
    facts.rights_dangerous = dangerous(&mut connection, &session.keys)?;
    check_functions(&mut connection, &session.keys, facts)?;
    match state::read(&mut connection, &session.keys, &session.ledger) {
        Ok(stored) => facts.journal = stored.as_ref().map(StoredFacts::of),
        Err(failure) => facts.keys_refused = text_of(failure)?,
    }
    // If the server has the functions, nothing needs to load them.
    facts.rights_missing.retain(|name| *name != LOAD || facts.functions_there == Some(false));
    Ok(())
}

/// Calls the function that writes nothing and is admitted only if a write would be.
fn check_functions(connection: &mut Connection, keys: &RedisKeys, facts: &mut RedisFacts) -> Result<(), JournalError> {
    match functions::is_there(connection, keys) {
        Ok(there) => facts.functions_there = Some(there),
        Err(Failure::Permanent(error @ JournalError::FunctionVersion { .. })) => {
            facts.functions_there = Some(true);
            facts.functions_refused = Some(error.to_string());
        }
        Err(failure) => facts.write_refused = text_of(failure)?,
    }
    Ok(())
}

/// The text of an error that concerns the request; an unreachable server ends the preflight. A missing permission was found
/// before.
fn text_of(failure: Failure) -> Result<Option<String>, JournalError> {
    match failure.into() {
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
    // The hosts that Sentinels and clusters redirect to are not known here.
    address.tls || (address.topology == Topology::Single && address.nodes.iter().all(stays_here))
}

impl StoredFacts {
    fn of(stored: &state::StoredState) -> Self {
        Self { writer_epoch: stored.epoch, last_sequence: stored.end.last }
    }
}

impl ServerFacts {
    /// The facts of a server; `None` if this user may not query them.
    fn ask(connection: &mut Connection, ack: Ack) -> Result<Option<Self>, RedisError> {
        let server = match Server::ask(connection) {
            Err(error) if error.is_unavailable_command() => return Ok(None),
            other => other?,
        };
        let answer = connection.call(&cmd("INFO"))?;
        let info = text(answer).ok_or_else(|| RedisError::nonsense(connection.server(), "INFO"))?;
        let number = |name: &str| field(&info, name).parse().unwrap_or(0);
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
            replicas_min: config(connection, "min-replicas-to-write")?.and_then(|text| text.parse().ok()),
            waitaof: server.has_waitaof(),
            product: server.product,
            eviction: server.eviction,
            appendfsync: server.sync,
            replicas: server.replicas,
        }))
    }
}

const LOAD: &str = "function|load";

/// The commands of docs/operations.md, each in a form without effect: it reads, or it fails after the permission check.
fn needed(keys: &RedisKeys, ack: Ack, waitaof: Option<bool>) -> Vec<(&'static str, Cmd)> {
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

/// Which of the commands that destroy a journal this user may run. Queries the server if the user may do so; else probes those
/// that have a form without effect.
fn dangerous(connection: &mut Connection, keys: &RedisKeys) -> Result<Vec<&'static str>, RedisError> {
    let frames = keys.frames.as_str();
    let user = connection.call(&command(&["ACL", "WHOAMI"])).ok().and_then(text);
    let commands: [(&'static str, &[&str], bool); 4] = [
        ("flushall", &[], false),
        ("del", &[frames], false),
        ("xtrim", &[frames, "MAXLEN", "no number"], true),
        ("xsetid", &[frames, "no id"], true),
    ];
    let mut found = Vec::new();
    for (name, words, is_harmless) in commands {
        let asked = user.as_ref().map(|user| connection.call(cmd("ACL").arg("DRYRUN").arg(user).arg(name).arg(words)));
        let allowed = match asked {
            Some(Ok(reply)) => text(reply).as_deref() == Some("OK"),
            _ if is_harmless => is_allowed(connection, cmd(name).arg(words))?,
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

/// Whether a command passes the permission check.
fn is_allowed(connection: &mut Connection, probe: &Cmd) -> Result<bool, RedisError> {
    match connection.call(probe) {
        Err(error @ RedisError::NoAnswer { .. }) => Err(error),
        // While it loads, or before authentication, its errors say nothing about permissions.
        Err(error) if ["LOADING", "NOAUTH"].iter().any(|code| error.is(code)) => Err(error),
        Err(error) => Ok(!error.is_unavailable_command()),
        Ok(_) => Ok(true),
    }
}
