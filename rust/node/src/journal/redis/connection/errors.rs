//! The errors of a Redis server: what each means for a journal, and what an operator can do about it.

use redis::ErrorKind;

use crate::journal::JournalError;

const TEXT_CHARS_MAX: usize = 200;

/// Whether an error may resolve without an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// Nothing was executed; the error may resolve by itself or on another server.
    Transient,
    /// Nothing was executed for lack of memory or disk.
    NoRoom,
    /// An operator must fix something.
    Permanent,
}

/// The class and the remedy of each error code. A code that is not listed is permanent.
const CODES: &[(&str, ErrorClass, &str)] = &[
    ("LOADING", ErrorClass::Transient, "it is still reading its files: start again once it has"),
    ("BUSY", ErrorClass::Transient, "end the script that blocks it (SCRIPT KILL or FUNCTION KILL)"),
    ("TRYAGAIN", ErrorClass::Transient, "its keys are being moved: start again once they are"),
    ("ASK", ErrorClass::Transient, "its keys are being moved: start again once they are"),
    ("MOVED", ErrorClass::Transient, "its keys were moved to another node: start again once the cluster is stable"),
    ("CLUSTERDOWN", ErrorClass::Transient, "fix the cluster: it does not serve all slots"),
    ("MASTERDOWN", ErrorClass::Transient, "fix replication: this replica has no master"),
    ("READONLY", ErrorClass::Transient, "it is a replica: name the master in redis_url, or use redis+sentinel://"),
    (
        "NOREPLICAS",
        ErrorClass::Transient,
        "connect its replicas (for replicated from Redis 7.2 on: with appendonly yes)",
    ),
    ("UNBLOCKED", ErrorClass::Transient, "it changed its role: start again"),
    ("OOM", ErrorClass::NoRoom, "raise maxmemory or free memory"),
    ("MISCONF", ErrorClass::NoRoom, "free disk space or fix its disk, so that it can save again"),
    ("CLUSTER", ErrorClass::Permanent, "it is part of a cluster: redis_url must be redis+cluster://host:port"),
    ("NOAUTH", ErrorClass::Permanent, "give user and password in redis_url or INVENGINE_REDIS_PASSWORD"),
    ("WRONGPASS", ErrorClass::Permanent, "correct user and password in redis_url or INVENGINE_REDIS_PASSWORD"),
    ("NOPERM", ErrorClass::Permanent, "grant its user the commands listed in docs/operations.md"),
    (
        "WRONGTYPE",
        ErrorClass::Permanent,
        "something else uses the keys of this ledger: move it or choose another ledger name",
    ),
    ("CROSSSLOT", ErrorClass::Permanent, "a proxy changes key names: connect to Redis itself"),
    ("DENIED", ErrorClass::Permanent, "it is in protected mode: set a password or bind it to this host"),
];
/// The texts with which Redis 7.0 and its successors report NOPERM inside a function.
const SCRIPT_RIGHTS: [&str; 2] = ["The user executing the script can't", "ACL failure in script"];
const OTHERWISE: &str = "look at its log, fix it, then start again";

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisError {
    /// No reply: whether the command was executed is unknown.
    NoAnswer {
        /// Which server.
        server: String,
        /// Why not.
        why: String,
    },
    /// An error reply: the command was not executed.
    Refused {
        /// Which server.
        server: String,
        /// First word of the reply.
        code: String,
        /// The rest of it.
        text: String,
    },
}

impl RedisError {
    /// Classifies an error of the client library.
    pub fn of(error: &redis::RedisError, server: &str) -> Self {
        let server = server.to_owned();
        match (error.kind(), error.code()) {
            (ErrorKind::Server(_) | ErrorKind::Extension, Some(code)) => {
                let text = clean(error.detail().unwrap_or_default());
                // Inside a function a missing permission has no code of its own, and two texts.
                let is_right = SCRIPT_RIGHTS.iter().any(|words| text.contains(words));
                Self::Refused { server, code: if is_right { "NOPERM".into() } else { clean(code) }, text }
            }
            _ if error.is_timeout() => Self::NoAnswer { server, why: "no answer in time".into() },
            _ => Self::NoAnswer { server, why: clean(&error.to_string()) },
        }
    }

    /// A reply that Redis never sends to this command.
    pub fn nonsense(server: &str, to: &str) -> Self {
        let text = format!("unexpected reply to {to}");
        Self::Refused { server: server.into(), code: "PROTOCOL".into(), text }
    }

    /// Its class.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NoAnswer { .. } => ErrorClass::Transient,
            Self::Refused { code, .. } => entry(code).map_or(ErrorClass::Permanent, |entry| entry.1),
        }
    }

    /// Whether the server replied with this code.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }

    /// Whether the server lacks the function that was called.
    pub fn is_unknown_function(&self) -> bool {
        matches!(self, Self::Refused { code, text, .. } if code == "ERR" && text.contains("Function not found"))
    }

    /// Whether the server does not know the command, or does not permit it to this user.
    pub fn is_unavailable_command(&self) -> bool {
        self.is("NOPERM") || matches!(self, Self::Refused { text, .. } if text.contains("unknown command"))
    }
}

impl From<RedisError> for JournalError {
    fn from(error: RedisError) -> Self {
        match error {
            RedisError::NoAnswer { server, why } => JournalError::Unreachable { server, why },
            RedisError::Refused { server, code, text } => {
                let remedy = entry(&code).map_or(OTHERWISE, |entry| entry.2);
                JournalError::Refused { server, code, text, remedy }
            }
        }
    }
}

/// Why an operation failed.
#[derive(Debug)]
pub enum Failure {
    /// It may succeed later; whether it was already done is unknown.
    Transient(JournalError),
    /// The server has no room; it was not done.
    NoRoom(JournalError),
    /// Retrying is useless.
    Permanent(JournalError),
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        match error.class() {
            ErrorClass::Transient => Failure::Transient(error.into()),
            ErrorClass::NoRoom => Failure::NoRoom(error.into()),
            ErrorClass::Permanent => Failure::Permanent(error.into()),
        }
    }
}

/// What no server replied is permanent. Not for an error that was a `Failure` before: whether it is transient is lost by then.
impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Failure::Permanent(error)
    }
}

/// The error itself, for a caller who does not retry.
impl From<Failure> for JournalError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Transient(error) | Failure::NoRoom(error) | Failure::Permanent(error) => error,
        }
    }
}

fn entry(code: &str) -> Option<&'static (&'static str, ErrorClass, &'static str)> {
    CODES.iter().find(|entry| entry.0 == code)
}

/// Text from a server must neither break a line nor fill a log.
fn clean(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(TEXT_CHARS_MAX).collect()
}
