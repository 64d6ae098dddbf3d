//! One simulated server: it executes commands one by one on what it holds, and refuses them for every reason a server has.

use std::collections::VecDeque;
use std::sync::Arc;

use redis::{Value, parse_redis_value};

use super::dataset::{Bytes, Dataset, Id, Refusal, Write};
use super::library;

/// What a server may be kept from, and until when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mood {
    pub loading_until_us: u64,
    pub busy_until_us: u64,
    /// Memory is nearly gone, then gone.
    pub scarce_from_us: u64,
    pub no_room_from_us: u64,
    pub no_room_until_us: u64,
    pub misconfigured_until_us: u64,
    pub few_replicas_until_us: u64,
    pub read_only_until_us: u64,
}

impl Mood {
    /// Whether it refuses nothing at this moment.
    pub fn is_good(&self, now_us: u64) -> bool {
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

/// How a server is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    pub version: (u32, u32),
    /// It keeps an append-only file.
    pub has_file: bool,
    /// It syncs that file before it answers.
    pub syncs_always: bool,
    pub replicas: u32,
}

/// Writes that were executed and are not in a file, or not at a replica, when they were.
pub type Pending = VecDeque<(u64, Arc<[Write]>)>;

/// A server.
#[derive(Clone, Debug)]
pub struct Node {
    pub setup: Setup,
    pub data: Dataset,
    pub mood: Mood,
}

const READS: [&[u8]; 7] = [b"XRANGE", b"TYPE", b"HGETALL", b"HMGET", b"INFO", b"CONFIG", b"PING"];

impl Node {
    /// A server that holds this.
    pub fn new(setup: Setup, data: Dataset) -> Self {
        Node { setup, data, mood: Mood::default() }
    }

    /// Executes a command: its answer, and what it changed.
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

    /// Why it does not even look at a command.
    fn refused(&self, words: &[&[u8]], now_us: u64) -> Option<Refusal> {
        let mood = &self.mood;
        let name = words.first().copied().unwrap_or_default();
        let reads = READS.contains(&name);
        let text = match name {
            b"INFO" => return None,
            _ if mood.loading_until_us > now_us => "LOADING Redis is loading the dataset in memory",
            _ if mood.busy_until_us > now_us => "BUSY Redis is busy running a script. You can only call FUNCTION KILL.",
            _ if reads => return None,
            _ if mood.read_only_until_us > now_us => "READONLY Can not run script with write flag on readonly replica.",
            _ if mood.misconfigured_until_us > now_us => {
                "MISCONF Errors writing to the AOF file: No space left on device"
            }
            _ if mood.few_replicas_until_us > now_us => "NOREPLICAS Not enough good replicas to write.",
            _ if (mood.no_room_from_us..mood.no_room_until_us).contains(&now_us) => {
                "OOM allow-oom flag is not set on the function, can not run it when used memory > 'maxmemory'"
            }
            _ => return None,
        };
        Some(text.into())
    }

    fn run(&self, words: &[&[u8]], now_us: u64) -> library::Called {
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
            [b"CONFIG", b"GET", name] => Ok(read(self.config(name))),
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

    fn load(&self, code: &[u8]) -> library::Called {
        if self.data.library().is_some() {
            return Err("ERR Library 'invengine_journal' already exists".into());
        }
        Ok((Value::BulkString(b"invengine_journal".into()), vec![Write::Load { code: code.into() }]))
    }

    fn delete(&self, key: &[u8]) -> (Value, Vec<Write>) {
        let found = self.data.type_of(key) != "none";
        (Value::Int(found.into()), if found { vec![Write::Delete { key: key.into() }] } else { Vec::new() })
    }

    fn unset(&self, key: &[u8], field: &[u8]) -> library::Called {
        let found = self.data.hash(key)?.iter().any(|(name, _)| **name == *field);
        let unset = Write::Unset { key: key.into(), field: field.into() };
        Ok((Value::Int(found.into()), if found { vec![unset] } else { Vec::new() }))
    }

    fn drop_entry(&self, key: &[u8], id: &[u8]) -> library::Called {
        let id = Id::parse(id)?;
        let found = self.data.stream(key)?.is_some_and(|stream| stream.has(id));
        let drop = Write::Drop { key: key.into(), id };
        Ok((Value::Int(found.into()), if found { vec![drop] } else { Vec::new() }))
    }

    /// INFO, as far as anybody asks.
    fn describe(&self, now_us: u64) -> String {
        let Setup { version, has_file, replicas, .. } = self.setup;
        let full = (self.mood.scarce_from_us..self.mood.no_room_until_us).contains(&now_us);
        let read_only = self.mood.read_only_until_us > now_us;
        format!(
            "redis_version:{}.{}.0\r\nloading:{}\r\nasync_loading:0\r\nused_memory:{}\r\nmaxmemory:1000000000\r\n\
             maxmemory_policy:noeviction\r\naof_enabled:{}\r\nrole:{}\r\nconnected_slaves:{replicas}\r\n",
            version.0,
            version.1,
            u8::from(self.mood.loading_until_us > now_us),
            if full { 1_000_000_000 } else { 1_000_000 },
            u8::from(has_file),
            if read_only { "slave" } else { "master" },
        )
    }

    fn config(&self, name: &[u8]) -> Value {
        let value: &[u8] = match (name, self.setup.syncs_always) {
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

/// An error as it arrives at a client.
pub fn error(text: &str) -> Value {
    parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap_or_default()
}
