//! What a Redis server guarantees, according to itself, and whether that is what was requested.

use redis::cmd;

use super::errors::RedisError;
use super::{Connection, text, texts};
use crate::journal::redis::Ack;
use crate::journal::{JournalError, durability};

const VERSION_MIN: (u32, u32) = (7, 0);
const WAITAOF_SINCE: (u32, u32) = (7, 2);

/// The facts of a server that durability depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    name: String,
    /// Kind and version, as text.
    pub product: String,
    version: (u32, u32),
    replica: bool,
    /// Connected replicas.
    pub replicas: u32,
    /// `maxmemory-policy`.
    pub eviction: String,
    aof: bool,
    /// `appendfsync`; `None` if the server does not report it.
    pub sync: Option<String>,
    /// Whether syncs are suspended while the file is rewritten.
    sync_pauses: bool,
}

impl Server {
    /// Queries a server.
    pub fn ask(connection: &mut Connection) -> Result<Self, RedisError> {
        let answer = connection.call(&cmd("INFO"))?;
        let info = text(answer).ok_or_else(|| RedisError::nonsense(connection.server(), "INFO"))?;
        if let Some(loading) = loading(connection.server(), &info) {
            return Err(loading);
        }
        let mut server = Self::read(connection.server(), &info);
        server.sync = config(connection, "appendfsync")?;
        server.sync_pauses = config(connection, "no-appendfsync-on-rewrite")?.is_some_and(|value| value != "no");
        Ok(server)
    }

    fn read(name: &str, info: &str) -> Self {
        let field = |wanted: &str| field(info, wanted);
        let (valkey, redis) = (field("valkey_version"), field("redis_version"));
        let mut numbers = redis.split('.').map_while(|number| number.parse().ok());
        Self {
            name: name.into(),
            product: if valkey.is_empty() { format!("Redis {redis}") } else { format!("Valkey {valkey}") },
            version: (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)),
            replica: field("role") == "slave",
            replicas: field("connected_slaves").parse().unwrap_or(0),
            eviction: field("maxmemory_policy").into(),
            aof: field("aof_enabled") == "1",
            sync: None,
            sync_pauses: false,
        }
    }

    /// Whether it can wait for a replica's disk and not only for its memory.
    pub fn has_waitaof(&self) -> bool {
        self.version >= WAITAOF_SINCE
    }

    /// Whether it keeps an append-only file itself.
    pub fn has_aof(&self) -> bool {
        self.aof
    }

    /// Refuses a server that cannot guarantee what `ack` promises.
    pub fn check(&self, ack: Ack) -> Result<(), JournalError> {
        self.check_version()?;
        self.check_role()?;
        self.check_eviction()?;
        self.check_ack(ack)
    }

    /// Refuses a server without functions.
    pub fn check_version(&self) -> Result<(), JournalError> {
        if self.version >= VERSION_MIN {
            return Ok(());
        }
        let (product, name) = (&self.product, &self.name);
        let why =
            format!("leads to {product} at {name}, which is too old; upgrade it to Redis 7.0 or later, or to Valkey");
        Err(JournalError::BadOption { option: "redis_url", why })
    }

    /// Refuses a server that accepts no writes.
    pub fn check_role(&self) -> Result<(), JournalError> {
        if !self.replica {
            return Ok(());
        }
        let (server, code) = (self.name.clone(), "READONLY".into());
        Err(RedisError::Refused { server, code, text: "it is a replica".into() }.into())
    }

    /// Refuses a server that evicts keys.
    pub fn check_eviction(&self) -> Result<(), JournalError> {
        if self.eviction == "noeviction" {
            return Ok(());
        }
        let why = format!(
            "leads to a Redis that drops keys when memory is short ({}); CONFIG SET maxmemory-policy noeviction",
            self.eviction
        );
        Err(JournalError::BadOption { option: "redis_url", why })
    }

    /// Refuses a server that does not provide what `ack` promises.
    pub fn check_ack(&self, ack: Ack) -> Result<(), JournalError> {
        self.weakness(ack).map_or(Ok(()), |why| {
            let why = format!("{} is not what {} at {} does: {why}", ack.name(), self.product, self.name);
            Err(JournalError::BadOption { option: "redis_ack", why })
        })
    }

    /// Why this server does not provide what `ack` promises, with the remedy.
    fn weakness(&self, ack: Ack) -> Option<String> {
        let sync = self.sync.as_deref();
        match ack {
            Ack::Fsync | Ack::Everysec if !self.aof => {
                let remedy = "CONFIG SET appendonly yes (and in its configuration file), or choose memory";
                Some(format!("it keeps no append-only file; {remedy}"))
            }
            Ack::Fsync | Ack::Everysec if sync.is_none() => {
                Some("it does not report appendfsync; grant +config|get, or choose replicated or memory".into())
            }
            Ack::Fsync if sync != Some("always") => {
                let sync = sync.unwrap_or_default();
                Some(format!("it has appendfsync {sync}; CONFIG SET appendfsync always, or choose everysec"))
            }
            Ack::Fsync if self.sync_pauses => {
                Some("it does not sync during rewrites; CONFIG SET no-appendfsync-on-rewrite no".into())
            }
            Ack::Everysec if sync == Some("no") => {
                Some("it has appendfsync no; CONFIG SET appendfsync everysec, or choose memory".into())
            }
            Ack::Replicated if self.replicas == 0 => Some("it has no replica; connect one, or choose fsync".into()),
            _ => None,
        }
    }

    /// What can be lost, as text.
    pub fn loss_window(&self, ack: Ack) -> String {
        let facts = match (self.aof, self.sync.as_deref()) {
            (false, _) => "appendonly no".into(),
            (true, Some(sync)) => format!("appendonly yes, appendfsync {sync}"),
            (true, None) => "appendonly yes, appendfsync unknown".into(),
        };
        let failover = match self.replicas {
            0 => String::new(),
            count => format!("; a failover to one of its {count} replicas {}", durability::FAILOVER),
        };
        // WAITAOF counts replicas that have the data in their file, whatever this server does itself.
        let in_files = if ack == Ack::Replicated { self.has_waitaof() } else { self.aof };
        let failover = if ack == Ack::Replicated { String::new() } else { failover };
        let window = format!("{}{failover}", durability::redis(ack, in_files));
        format!("{window} ({} with {facts})", self.product)
    }
}

/// How many bytes a server may still use; `None` if it has no limit.
pub fn memory_left(connection: &mut Connection) -> Result<Option<u64>, RedisError> {
    let answer = connection.call(cmd("INFO").arg("memory"))?;
    let info = text(answer).ok_or_else(|| RedisError::nonsense(connection.server(), "INFO"))?;
    let number = |name: &str| field(&info, name).parse::<u64>().unwrap_or(0);
    let limit = number("maxmemory");
    Ok((limit != 0).then(|| limit.saturating_sub(number("used_memory"))))
}

/// While a server loads its files it answers INFO, but with facts that are not valid yet.
fn loading(server: &str, info: &str) -> Option<RedisError> {
    let is_loading = field(info, "loading") == "1" || field(info, "async_loading") == "1";
    let text = "it is loading the dataset in memory".to_owned();
    is_loading.then(|| RedisError::Refused { server: server.into(), code: "LOADING".into(), text })
}

/// The value of one line of INFO; empty if there is none.
pub fn field<'i>(info: &'i str, wanted: &str) -> &'i str {
    let mut lines = info.lines().filter_map(|line| line.trim_end().split_once(':'));
    lines.find(|(name, _)| *name == wanted).map_or("", |(_, value)| value)
}

/// A setting of the server; `None` if it does not report it.
pub fn config(connection: &mut Connection, name: &str) -> Result<Option<String>, RedisError> {
    match connection.call(cmd("CONFIG").arg("GET").arg(name)) {
        Ok(answer) => Ok(texts(answer).and_then(|pair| pair.into_iter().nth(1))),
        Err(error) if error.is_unavailable_command() => Ok(None),
        Err(error) => Err(error),
    }
}
