//! One simulated server: it executes commands one by one on its dataset, and refuses them for every reason that a server may
//! have.

use redis::{Value, parse_redis_value};

use super::dataset::{Bytes, Dataset, ErrorReply, StreamId, Write};
use super::library;

/// Conditions under which a server refuses commands, and how long each lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Degradation {
    pub loading_until_us: u64,
    pub busy_until_us: u64,
    /// Memory is nearly exhausted, then exhausted.
    pub scarce_from_us: u64,
    pub no_room_from_us: u64,
    pub no_room_until_us: u64,
    pub misconfigured_until_us: u64,
    pub few_replicas_until_us: u64,
    pub read_only_until_us: u64,
}

impl Degradation {
    /// Whether no condition holds at this time.
    pub fn is_clear(&self, now_us: u64) -> bool {
        let all = [
            self.loading_until_us,
            self.busy_until_us,
            self.no_room_until_us,
            self.misconfigured_until_us,
            self.few_replicas_until_us,
            self.read_only_until_us,
        ];
        all.iter().all(|until_us| *until_us <= now_us)
    }
}

/// The configuration of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceConfig {
    pub version: (u32, u32),
    /// It has an append-only file.
    pub has_file: bool,
    /// It syncs that file before it answers.
    pub syncs_always: bool,
    pub replicas: u32,
}

/// A server.
#[derive(Clone, Debug)]
pub struct Instance {
    pub config: InstanceConfig,
    pub data: Dataset,
    pub degradation: Degradation,
}

const READS: [&[u8]; 7] = [b"XRANGE", b"TYPE", b"HGETALL", b"HMGET", b"INFO", b"CONFIG", b"PING"];

impl Instance {
    /// A server with this content.
    pub fn new(config: InstanceConfig, data: Dataset) -> Self {
        Instance { config, data, degradation: Degradation::default() }
    }

    /// Executes a command. Returns its reply and the changes it made.
    pub fn execute(&mut self, words: &[&[u8]], now_us: u64) -> (Value, Vec<Write>) {
        let done = self.refused(words, now_us).map_or_else(|| self.run(words, now_us), Err);
        match done {
            Ok((value, writes)) => {
                writes.iter().for_each(|write| self.data.apply(write));
                (value, writes)
            }
            Err(text) => (error(&text), Vec::new()),
        }
    }

    /// The error with which a command is refused before it is executed, if any.
    fn refused(&self, words: &[&[u8]], now_us: u64) -> Option<ErrorReply> {
        let degradation = &self.degradation;
        let name = words.first().copied().unwrap_or_default();
        let reads = READS.contains(&name);
        let text = match name {
            b"INFO" => return None,
            _ if degradation.loading_until_us > now_us => "LOADING Redis is loading the dataset in memory",
            _ if degradation.busy_until_us > now_us => {
                "BUSY Redis is busy running a script. You can only call FUNCTION KILL."
            }
            _ if reads => return None,
            _ if degradation.read_only_until_us > now_us => {
                "READONLY Can not run script with write flag on readonly replica."
            }
            _ if degradation.misconfigured_until_us > now_us => {
                "MISCONF Errors writing to the AOF file: No space left on device"
            }
            _ if degradation.few_replicas_until_us > now_us => "NOREPLICAS Not enough good replicas to write.",
            _ if (degradation.no_room_from_us..degradation.no_room_until_us).contains(&now_us) => {
                "OOM allow-oom flag is not set on the function, can not run it when used memory > 'maxmemory'"
            }
            _ => return None,
        };
        Some(text.into())
    }

    fn run(&self, words: &[&[u8]], now_us: u64) -> library::CallResult {
        match words {
            [b"FCALL", name, rest @ ..] => library::call(&self.data, name, rest),
            [b"FUNCTION", b"LOAD", code] => self.load(code),
            [b"XRANGE", key, start, b"+", b"COUNT", count] => {
                let count = std::str::from_utf8(count).ok().and_then(|count| count.parse().ok());
                let count = count.ok_or("ERR value is not an integer or out of range")?;
                self.data.range(key, start, count).map(read)
            }
            [b"TYPE", key] => Ok(read(Value::SimpleString(self.data.type_of(key).into()))),
            [b"HGETALL", key] => {
                let text = |word: &Bytes| Value::BulkString(word.to_vec());
                let words = self.data.hash(key)?.iter().flat_map(|(field, value)| [text(field), text(value)]);
                Ok(read(Value::Array(words.collect())))
            }
            [b"HMGET", key, names @ ..] if !names.is_empty() => {
                let fields = self.data.hash(key)?;
                let value = |name: &&[u8]| {
                    let found = fields.iter().find(|(field, _)| **field == **name);
                    found.map_or(Value::Nil, |(_, value)| Value::BulkString(value.to_vec()))
                };
                Ok(read(Value::Array(names.iter().map(value).collect())))
            }
            [b"INFO", ..] => Ok(read(Value::BulkString(self.describe(now_us).into_bytes()))),
            [b"CONFIG", b"GET", name] => Ok(read(self.config_get(name))),
            [b"PING"] => Ok(read(Value::SimpleString("PONG".into()))),
            [b"DEL", key] => Ok(self.delete(key)),
            [b"HDEL", key, field] => self.unset(key, field),
            [b"XDEL", key, id] => self.drop_entry(key, id),
            _ => {
                let name = words.first().copied().unwrap_or_default();
                Err(format!("ERR unknown command '{}'", String::from_utf8_lossy(name)))
            }
        }
    }

    fn load(&self, code: &[u8]) -> library::CallResult {
        if self.data.library().is_some() {
            return Err("ERR Library 'invengine_journal' already exists".into());
        }
        Ok((Value::BulkString(b"invengine_journal".into()), vec![Write::Load { code: code.into() }]))
    }

    fn delete(&self, key: &[u8]) -> (Value, Vec<Write>) {
        let found = self.data.type_of(key) != "none";
        (Value::Int(found.into()), if found { vec![Write::Delete { key: key.into() }] } else { Vec::new() })
    }

    fn unset(&self, key: &[u8], field: &[u8]) -> library::CallResult {
        let found = self.data.hash(key)?.iter().any(|(name, _)| **name == *field);
        let unset = Write::Unset { key: key.into(), field: field.into() };
        Ok((Value::Int(found.into()), if found { vec![unset] } else { Vec::new() }))
    }

    fn drop_entry(&self, key: &[u8], id: &[u8]) -> library::CallResult {
        let id = StreamId::parse(id)?;
        let found = self.data.stream(key)?.is_some_and(|stream| stream.has(id));
        let drop = Write::Drop { key: key.into(), id };
        Ok((Value::Int(found.into()), if found { vec![drop] } else { Vec::new() }))
    }

    /// The fields of INFO that the journal reads.
    fn describe(&self, now_us: u64) -> String {
        let InstanceConfig { version, has_file, replicas, .. } = self.config;
        let full = (self.degradation.scarce_from_us..self.degradation.no_room_until_us).contains(&now_us);
        let read_only = self.degradation.read_only_until_us > now_us;
        format!(
            "redis_version:{}.{}.0\r\nloading:{}\r\nasync_loading:0\r\nused_memory:{}\r\nmaxmemory:1000000000\r\n\
             maxmemory_policy:noeviction\r\naof_enabled:{}\r\nrole:{}\r\nconnected_slaves:{replicas}\r\n",
            version.0,
            version.1,
            u8::from(self.degradation.loading_until_us > now_us),
            if full { 1_000_000_000 } else { 1_000_000 },
            u8::from(has_file),
            if read_only { "slave" } else { "master" },
        )
    }

    fn config_get(&self, name: &[u8]) -> Value {
        let value: &[u8] = match (name, self.config.syncs_always) {
            (b"appendfsync", true) => b"always",
            (b"appendfsync", false) => b"everysec",
            (b"no-appendfsync-on-rewrite", _) => b"no",
            _ => return Value::Array(Vec::new()),
        };
        Value::Array(vec![Value::BulkString(name.to_vec()), Value::BulkString(value.to_vec())])
    }
}

fn read(value: Value) -> (Value, Vec<Write>) {
    (value, Vec::new())
}

/// An error reply as a client receives it.
pub fn error(text: &str) -> Value {
    parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap_or_default()
}
