//! What a server holds: a few keys, each a hash or a stream, and the library of functions. It changes by writes only, which a
//! replica and a file can repeat.

use std::fmt;
use std::sync::Arc;

use redis::Value;

/// Bytes that many share.
pub type Bytes = Arc<[u8]>;

/// How a server says no.
pub type Refusal = String;

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// Id of an entry of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(pub u64, pub u64);

impl Id {
    /// Reads `5-0`; a lone `5` means `5-0`.
    pub fn parse(word: &[u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(word).unwrap_or_default();
        let (first, second) = text.split_once('-').unwrap_or((text, "0"));
        match (first.parse(), second.parse()) {
            (Ok(first), Ok(second)) => Ok(Id(first, second)),
            _ => Err("ERR Invalid stream ID specified as stream command argument".into()),
        }
    }

    fn next(self) -> Self {
        Id(self.0, self.1 + 1)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// A stream whose entries have one field.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    entries: Vec<(Id, Bytes)>,
    last: Id,
}

impl Stream {
    /// Whether it has an entry of this id.
    pub fn has(&self, id: Id) -> bool {
        self.entries.binary_search_by_key(&id, |entry| entry.0).is_ok()
    }

    /// The last entry.
    pub fn newest(&self) -> Option<&(Id, Bytes)> {
        self.entries.last()
    }
}

/// What a key holds.
#[derive(Clone, Debug)]
enum Kept {
    Hash(Vec<(Bytes, Bytes)>),
    Stream(Stream),
}

/// One change, which cannot fail.
#[derive(Clone, Debug)]
pub enum Write {
    /// An entry at the end of a stream.
    Add { key: Bytes, id: Id, frame: Bytes },
    /// Fields of a hash.
    Set { key: Bytes, fields: Vec<(Bytes, Bytes)> },
    /// A field is gone.
    Unset { key: Bytes, field: Bytes },
    /// An entry is gone.
    Drop { key: Bytes, id: Id },
    /// A key is gone.
    Delete { key: Bytes },
    /// A library of functions.
    Load { code: Bytes },
}

/// All keys of a server.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    keys: Vec<(Bytes, Kept)>,
    library: Option<Bytes>,
}

impl Dataset {
    /// The code of the functions.
    pub fn library(&self) -> Option<&Bytes> {
        self.library.as_ref()
    }

    fn find(&self, key: &[u8]) -> Option<&Kept> {
        self.keys.iter().find(|(name, _)| **name == *key).map(|(_, kept)| kept)
    }

    /// The type of a key in one word.
    pub fn type_of(&self, key: &[u8]) -> &'static str {
        match self.find(key) {
            None => "none",
            Some(Kept::Hash(_)) => "hash",
            Some(Kept::Stream(_)) => "stream",
        }
    }

    /// The fields of a hash, in the order in which they were first set.
    pub fn hash(&self, key: &[u8]) -> Result<&[(Bytes, Bytes)], Refusal> {
        match self.find(key) {
            None => Ok(&[]),
            Some(Kept::Hash(fields)) => Ok(fields),
            Some(Kept::Stream(_)) => Err(WRONG_TYPE.into()),
        }
    }

    /// One field of a hash.
    pub fn field(&self, key: &[u8], field: &str) -> Result<Option<&Bytes>, Refusal> {
        let fields = self.hash(key)?;
        Ok(fields.iter().find(|(name, _)| **name == *field.as_bytes()).map(|(_, value)| value))
    }

    /// A stream; nothing if there is no such key.
    pub fn stream(&self, key: &[u8]) -> Result<Option<&Stream>, Refusal> {
        match self.find(key) {
            None => Ok(None),
            Some(Kept::Stream(stream)) => Ok(Some(stream)),
            Some(Kept::Hash(_)) => Err(WRONG_TYPE.into()),
        }
    }

    /// How many entries a stream has.
    pub fn length(&self, key: &[u8]) -> Result<usize, Refusal> {
        Ok(self.stream(key)?.map_or(0, |stream| stream.entries.len()))
    }

    /// Whether an entry with this id may be added.
    pub fn check_add(&self, key: &[u8], id: Id) -> Result<(), Refusal> {
        if id == Id(0, 0) {
            return Err("ERR The ID specified in XADD must be greater than 0-0".into());
        }
        match self.stream(key)? {
            Some(stream) if id <= stream.last => {
                Err("ERR The ID specified in XADD is equal or smaller than the target stream top item".into())
            }
            _ => Ok(()),
        }
    }

    /// Entries from an id on, as XRANGE answers them. A `(` before the id leaves it out.
    pub fn range(&self, key: &[u8], start: &[u8], count: usize) -> Result<Value, Refusal> {
        let from = match start.strip_prefix(b"(") {
            Some(after) => Id::parse(after)?.next(),
            None => Id::parse(start)?,
        };
        let entries = self.stream(key)?.map_or(&[][..], |stream| &stream.entries);
        let first = entries.partition_point(|(id, _)| *id < from);
        let text = |word: &[u8]| Value::BulkString(word.to_vec());
        let entry = |(id, frame): &(Id, Bytes)| {
            let fields = Value::Array(vec![text(b"frame"), text(frame)]);
            Value::Array(vec![text(id.to_string().as_bytes()), fields])
        };
        Ok(Value::Array(entries[first..].iter().take(count).map(entry).collect()))
    }

    /// Makes a change. Those that do not fit what is there change nothing.
    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::Add { key, id, frame } => {
                if let Kept::Stream(stream) = self.at(key, || Kept::Stream(Stream::default())) {
                    stream.entries.push((*id, frame.clone()));
                    stream.last = *id;
                }
            }
            Write::Set { key, fields } => {
                if let Kept::Hash(known) = self.at(key, || Kept::Hash(Vec::new())) {
                    fields.iter().for_each(|field| set(known, field));
                }
            }
            Write::Unset { key, field } => {
                let Kept::Hash(known) = self.at(key, || Kept::Hash(Vec::new())) else { return };
                known.retain(|(name, _)| name != field);
                if known.is_empty() {
                    self.keys.retain(|(name, _)| name != key);
                }
            }
            Write::Drop { key, id } => {
                if let Kept::Stream(stream) = self.at(key, || Kept::Stream(Stream::default())) {
                    stream.entries.retain(|entry| entry.0 != *id);
                }
            }
            Write::Delete { key } => self.keys.retain(|(name, _)| name != key),
            Write::Load { code } => self.library = Some(code.clone()),
        }
    }

    fn at(&mut self, key: &Bytes, empty: impl FnOnce() -> Kept) -> &mut Kept {
        let place = self.keys.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
            self.keys.push((key.clone(), empty()));
            self.keys.len() - 1
        });
        &mut self.keys[place].1
    }
}

fn set(known: &mut Vec<(Bytes, Bytes)>, field: &(Bytes, Bytes)) {
    match known.iter_mut().find(|(name, _)| *name == field.0) {
        Some((_, value)) => value.clone_from(&field.1),
        None => known.push(field.clone()),
    }
}
