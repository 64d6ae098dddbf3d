//! The content of a server: a few keys, each a hash or a stream, and the library of functions. It changes only by writes,
//! which a replica and an append-only file can repeat.

use std::fmt;
use std::sync::Arc;

use redis::Value;

/// Shared bytes.
pub type Bytes = Arc<[u8]>;

/// The text of an error reply.
pub type ErrorReply = String;

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// The id of a stream entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u64, pub u64);

impl StreamId {
    /// Reads `5-0`; a lone `5` means `5-0`.
    pub fn parse(word: &[u8]) -> Result<Self, ErrorReply> {
        let text = std::str::from_utf8(word).unwrap_or_default();
        let (first, second) = text.split_once('-').unwrap_or((text, "0"));
        match (first.parse(), second.parse()) {
            (Ok(first), Ok(second)) => Ok(StreamId(first, second)),
            _ => Err("ERR Invalid stream ID specified as stream command argument".into()),
        }
    }

    fn next(self) -> Self {
        StreamId(self.0, self.1 + 1)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// A stream whose entries have one field.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    entries: Vec<(StreamId, Bytes)>,
    last: StreamId,
}

impl Stream {
    /// Whether it has an entry with this id.
    pub fn has(&self, id: StreamId) -> bool {
        self.entries.binary_search_by_key(&id, |entry| entry.0).is_ok()
    }

    /// The last entry.
    pub fn newest(&self) -> Option<&(StreamId, Bytes)> {
        self.entries.last()
    }
}

/// The value of a key.
#[derive(Clone, Debug)]
enum KeyContent {
    Hash(Vec<(Bytes, Bytes)>),
    Stream(Stream),
}

/// One change, which cannot fail.
#[derive(Clone, Debug)]
pub enum Write {
    /// Appends an entry to a stream.
    Add { key: Bytes, id: StreamId, frame: Bytes },
    /// Sets fields of a hash.
    Set { key: Bytes, fields: Vec<(Bytes, Bytes)> },
    /// Removes a field.
    Unset { key: Bytes, field: Bytes },
    /// Removes an entry.
    Drop { key: Bytes, id: StreamId },
    /// Removes a key.
    Delete { key: Bytes },
    /// Loads a library of functions.
    Load { code: Bytes },
}

/// The keys and functions of a server.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    keys: Vec<(Bytes, KeyContent)>,
    library: Option<Bytes>,
}

impl Dataset {
    /// The code of the functions, if loaded.
    pub fn library(&self) -> Option<&Bytes> {
        self.library.as_ref()
    }

    fn find(&self, key: &[u8]) -> Option<&KeyContent> {
        self.keys.iter().find(|(name, _)| **name == *key).map(|(_, content)| content)
    }

    /// The type of a key, as TYPE answers it.
    pub fn type_of(&self, key: &[u8]) -> &'static str {
        match self.find(key) {
            None => "none",
            Some(KeyContent::Hash(_)) => "hash",
            Some(KeyContent::Stream(_)) => "stream",
        }
    }

    /// The fields of a hash, in the order in which they were first set.
    pub fn hash(&self, key: &[u8]) -> Result<&[(Bytes, Bytes)], ErrorReply> {
        match self.find(key) {
            None => Ok(&[]),
            Some(KeyContent::Hash(fields)) => Ok(fields),
            Some(KeyContent::Stream(_)) => Err(WRONG_TYPE.into()),
        }
    }

    /// One field of a hash.
    pub fn field(&self, key: &[u8], field: &str) -> Result<Option<&Bytes>, ErrorReply> {
        let fields = self.hash(key)?;
        Ok(fields.iter().find(|(name, _)| **name == *field.as_bytes()).map(|(_, value)| value))
    }

    /// A stream; `None` if the key does not exist.
    pub fn stream(&self, key: &[u8]) -> Result<Option<&Stream>, ErrorReply> {
        match self.find(key) {
            None => Ok(None),
            Some(KeyContent::Stream(stream)) => Ok(Some(stream)),
            Some(KeyContent::Hash(_)) => Err(WRONG_TYPE.into()),
        }
    }

    /// Number of entries of a stream.
    pub fn length(&self, key: &[u8]) -> Result<usize, ErrorReply> {
        Ok(self.stream(key)?.map_or(0, |stream| stream.entries.len()))
    }

    /// Checks that an entry with this id may be added.
    pub fn check_add(&self, key: &[u8], id: StreamId) -> Result<(), ErrorReply> {
        if id == StreamId(0, 0) {
            return Err("ERR The ID specified in XADD must be greater than 0-0".into());
        }
        match self.stream(key)? {
            Some(stream) if id <= stream.last => {
                Err("ERR The ID specified in XADD is equal or smaller than the target stream top item".into())
            }
            _ => Ok(()),
        }
    }

    /// Entries from an id on, as XRANGE answers them. A `(` before the id excludes it.
    pub fn range(&self, key: &[u8], start: &[u8], count: usize) -> Result<Value, ErrorReply> {
        let from = match start.strip_prefix(b"(") {
            Some(after) => StreamId::parse(after)?.next(),
            None => StreamId::parse(start)?,
        };
        let entries = self.stream(key)?.map_or(&[][..], |stream| &stream.entries);
        let first = entries.partition_point(|(id, _)| *id < from);
        let text = |word: &[u8]| Value::BulkString(word.to_vec());
        let entry = |(id, frame): &(StreamId, Bytes)| {
            let fields = Value::Array(vec![text(b"frame"), text(frame)]);
            Value::Array(vec![text(id.to_string().as_bytes()), fields])
        };
        Ok(Value::Array(entries[first..].iter().take(count).map(entry).collect()))
    }

    /// Applies a change. A change of another type of key has no effect.
    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::Add { key, id, frame } => {
                if let KeyContent::Stream(stream) = self.at(key, || KeyContent::Stream(Stream::default())) {
                    stream.entries.push((*id, frame.clone()));
                    stream.last = *id;
                }
            }
            Write::Set { key, fields } => {
                if let KeyContent::Hash(known) = self.at(key, || KeyContent::Hash(Vec::new())) {
                    fields.iter().for_each(|field| set(known, field));
                }
            }
            Write::Unset { key, field } => {
                let KeyContent::Hash(known) = self.at(key, || KeyContent::Hash(Vec::new())) else { return };
                known.retain(|(name, _)| name != field);
                if known.is_empty() {
                    self.keys.retain(|(name, _)| name != key);
                }
            }
            Write::Drop { key, id } => {
                if let KeyContent::Stream(stream) = self.at(key, || KeyContent::Stream(Stream::default())) {
                    stream.entries.retain(|entry| entry.0 != *id);
                }
            }
            Write::Delete { key } => self.keys.retain(|(name, _)| name != key),
            Write::Load { code } => self.library = Some(code.clone()),
        }
    }

    fn at(&mut self, key: &Bytes, empty: impl FnOnce() -> KeyContent) -> &mut KeyContent {
        let index = self.keys.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
            self.keys.push((key.clone(), empty()));
            self.keys.len() - 1
        });
        &mut self.keys[index].1
    }
}

fn set(known: &mut Vec<(Bytes, Bytes)>, field: &(Bytes, Bytes)) {
    match known.iter_mut().find(|(name, _)| *name == field.0) {
        Some((_, value)) => value.clone_from(&field.1),
        None => known.push(field.clone()),
    }
}
