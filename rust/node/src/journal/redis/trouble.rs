//! What a Redis server's errors mean for a journal, and what a person can do about each.

use redis::{ErrorKind, RedisError};

use crate::journal::JournalError;

const TEXT_CHARS_MAX: usize = 200;

/// Whether an error may pass without a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// Nothing was executed; it may pass by itself or on another server.
    Passing,
    /// Nothing was executed for lack of memory or disk.
    NoRoom,
    /// A person must mend something.
    Lasting,
}

/// What each error code means. A code that is not here is lasting.
const CODES: &[(&str, Outlook, &str)] = &[
    ("LOADING", Outlook::Passing, "it is still reading its files: start again once it has"),
    ("BUSY", Outlook::Passing, "end the script that blocks it (SCRIPT KILL or FUNCTION KILL)"),
    ("TRYAGAIN", Outlook::Passing, "its keys are being moved: start again once they are"),
    ("ASK", Outlook::Passing, "its keys are being moved: start again once they are"),
    ("MOVED", Outlook::Passing, "its keys were moved to another node: start again once the cluster is at rest"),
    ("CLUSTERDOWN", Outlook::Passing, "mend the cluster: it does not serve all slots"),
    ("MASTERDOWN", Outlook::Passing, "mend replication: this replica has no master"),
    ("READONLY", Outlook::Passing, "it is a replica: name the master in redis_url, or use redis+sentinel://"),
    ("NOREPLICAS", Outlook::Passing, "connect its replicas (for replicated from Redis 7.2 on: with appendonly yes)"),
    ("UNBLOCKED", Outlook::Passing, "it changed its role: start again"),
    ("OOM", Outlook::NoRoom, "raise maxmemory or free memory"),
    ("MISCONF", Outlook::NoRoom, "free disk space or mend its disk, so that it can save again"),
    ("CLUSTER", Outlook::Lasting, "it is part of a cluster: redis_url must be redis+cluster://host:port"),
    ("NOAUTH", Outlook::Lasting, "give user and password in redis_url or INVENGINE_REDIS_PASSWORD"),
    ("WRONGPASS", Outlook::Lasting, "correct user and password in redis_url or INVENGINE_REDIS_PASSWORD"),
    ("NOPERM", Outlook::Lasting, "grant its user the commands listed in docs/operations.md"),
    (
        "WRONGTYPE",
        Outlook::Lasting,
        "something else uses the keys of this ledger: move it or choose another ledger name",
    ),
    ("CROSSSLOT", Outlook::Lasting, "a proxy changes key names: connect to Redis itself"),
    ("DENIED", Outlook::Lasting, "it is in protected mode: set a password or bind it to this host"),
];
/// How Redis 7.0 and its successors say NOPERM inside a function.
const SCRIPT_RIGHTS: [&str; 2] = ["The user executing the script can't", "ACL failure in script"];
const OTHERWISE: &str = "look at its log, mend it, then start again";

/// Why Redis did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// No answer: whether it was done is unknown.
    NoAnswer {
        /// Which server.
        server: String,
        /// Why not.
        why: String,
    },
    /// An error answer: it was not done.
    Refused {
        /// Which server.
        server: String,
        /// First word of the answer.
        code: String,
        /// The rest of it.
        text: String,
    },
}

impl Trouble {
    /// Sorts what the client library reports.
    pub fn of(error: &RedisError, server: &str) -> Self {
        let server = server.to_owned();
        match (error.kind(), error.code()) {
            (ErrorKind::Server(_) | ErrorKind::Extension, Some(code)) => {
                let text = clean(error.detail().unwrap_or_default());
                // Inside a function a missing right has no code of its own, and two wordings.
                let is_right = SCRIPT_RIGHTS.iter().any(|words| text.contains(words));
                Self::Refused { server, code: if is_right { "NOPERM".into() } else { clean(code) }, text }
            }
            _ if error.is_timeout() => Self::NoAnswer { server, why: "no answer in time".into() },
            _ => Self::NoAnswer { server, why: clean(&error.to_string()) },
        }
    }

    /// An answer that no Redis gives to what was asked.
    pub fn nonsense(server: &str, to: &str) -> Self {
        let text = format!("answered {to} with something else");
        Self::Refused { server: server.into(), code: "PROTOCOL".into(), text }
    }

    /// Whether it may pass.
    pub fn outlook(&self) -> Outlook {
        match self {
            Self::NoAnswer { .. } => Outlook::Passing,
            Self::Refused { code, .. } => entry(code).map_or(Outlook::Lasting, |entry| entry.1),
        }
    }

    /// Whether the server answered with this code.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }

    /// Whether the server does not have the function it was asked to call.
    pub fn is_unknown_function(&self) -> bool {
        matches!(self, Self::Refused { code, text, .. } if code == "ERR" && text.contains("Function not found"))
    }

    /// Whether the server does not know the command, or keeps this user from it.
    pub fn is_unavailable_command(&self) -> bool {
        self.is("NOPERM") || matches!(self, Self::Refused { text, .. } if text.contains("unknown command"))
    }
}

impl From<Trouble> for JournalError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NoAnswer { server, why } => JournalError::Unreachable { server, why },
            Trouble::Refused { server, code, text } => {
                let remedy = entry(&code).map_or(OTHERWISE, |entry| entry.2);
                JournalError::Refused { server, code, text, remedy }
            }
        }
    }
}

/// Why something was not done.
#[derive(Debug)]
pub enum Fault {
    /// It may be done later; whether it was done already is unknown.
    Passing(JournalError),
    /// The server has no room; it was not done.
    NoRoom(JournalError),
    /// It is of no use to try again.
    Lasting(JournalError),
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        match trouble.outlook() {
            Outlook::Passing => Fault::Passing(trouble.into()),
            Outlook::NoRoom => Fault::NoRoom(trouble.into()),
            Outlook::Lasting => Fault::Lasting(trouble.into()),
        }
    }
}

impl Fault {
    /// The error itself.
    pub fn error(self) -> JournalError {
        match self {
            Fault::Passing(error) | Fault::NoRoom(error) | Fault::Lasting(error) => error,
        }
    }
}

fn entry(code: &str) -> Option<&'static (&'static str, Outlook, &'static str)> {
    CODES.iter().find(|entry| entry.0 == code)
}

/// What a server says must neither break a line nor fill a log.
fn clean(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(TEXT_CHARS_MAX).collect()
}
