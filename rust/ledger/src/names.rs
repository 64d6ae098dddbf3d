//! Names from outside become dense handles, once. Handles are given in the order of the journal and never reused, so an
//! event can hold a handle for ever.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use crate::chunks::{Span, Texts};
use crate::index::{Index, Tag};
use crate::mix::Mix;

/// A name's handle: its position in the order of creation.
pub type Handle = u32;

/// One entry of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name that callers use.
    pub name: Box<str>,
    /// A name for people; may be empty.
    pub display_name: Box<str>,
    /// GTIN-14 of an item, GLN of a location; empty for others.
    pub gs1: Box<str>,
}

/// The first bytes of a name, where a look-up finds them without another step.
#[derive(Clone, Copy)]
struct Start {
    bytes: [u8; Start::BYTES],
    /// Length of the whole name, or 255 if it is longer than that.
    length: u8,
}

impl Start {
    const BYTES: usize = 23;

    fn of(name: &str) -> Self {
        let mut bytes = [0; Start::BYTES];
        let kept = name.len().min(Start::BYTES);
        bytes[..kept].copy_from_slice(&name.as_bytes()[..kept]);
        Start { bytes, length: u8::try_from(name.len()).unwrap_or(u8::MAX) }
    }
}

/// All names of one kind.
#[derive(Default)]
pub struct Names {
    entries: Vec<Entry>,
    starts: Vec<Start>,
    /// The names once more, close together.
    spans: Vec<Span>,
    texts: Texts,
    hasher: DefaultHashBuilder,
    index: Index,
}

impl Names {
    /// The handle of a name, if it exists.
    #[inline]
    pub fn find(&self, name: &str) -> Option<Handle> {
        if name.is_empty() {
            return None;
        }
        self.index.find(Tag::of(self.hasher.hash_one(name)), |handle| self.is(handle, name))
    }

    /// True if the handle is that of this name.
    #[inline]
    pub(crate) fn is(&self, handle: Handle, name: &str) -> bool {
        let start = &self.starts[handle as usize];
        match start.bytes.get(..name.len()) {
            Some(bytes) => usize::from(start.length) == name.len() && bytes == name.as_bytes(),
            None => self.name(handle) == name,
        }
    }

    /// The entry behind a handle of this ledger.
    pub fn entry(&self, handle: Handle) -> &Entry {
        &self.entries[handle as usize]
    }

    /// The name behind a handle of this ledger.
    #[inline]
    pub fn name(&self, handle: Handle) -> &str {
        self.texts.get(self.spans[handle as usize])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Creates or replaces; answers the handle and what was there before.
    pub(crate) fn upsert(&mut self, entry: Entry) -> (Handle, Option<Entry>) {
        if let Some(handle) = self.find(&entry.name) {
            return (handle, Some(std::mem::replace(&mut self.entries[handle as usize], entry)));
        }
        let handle = Handle::try_from(self.entries.len()).expect("fewer than 2^32 names");
        self.index.insert(Tag::of(self.hasher.hash_one(&*entry.name)), handle);
        self.starts.push(Start::of(&entry.name));
        self.spans.push(self.texts.push(&entry.name));
        self.entries.push(entry);
        (handle, None)
    }
}

/// The digest of one entry.
pub(crate) fn entry_hash(kind: u64, handle: Handle, entry: &Entry) -> u128 {
    Mix::new(0x10 + kind)
        .word(u64::from(handle))
        .bytes(entry.name.as_bytes())
        .bytes(entry.display_name.as_bytes())
        .bytes(entry.gs1.as_bytes())
        .digest()
}
