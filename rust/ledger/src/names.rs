//! Names from outside become dense handles, once. Handles are given in the order of the journal and never reused, so an
//! event can hold a handle for ever.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::chunks::{Span, Texts, spread, tag_of};
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

/// All names of one kind.
#[derive(Default)]
pub struct Names {
    entries: Vec<Entry>,
    /// The names once more, close together: a look-up reads nothing else.
    spans: Vec<Span>,
    texts: Texts,
    hasher: DefaultHashBuilder,
    /// Part of each name's hash, and its handle.
    handles: HashTable<(u32, Handle)>,
}

impl Names {
    /// The handle of a name, if it exists.
    #[inline]
    pub fn find(&self, name: &str) -> Option<Handle> {
        if self.spans.is_empty() || name.is_empty() {
            return None;
        }
        let tag = tag_of(self.hasher.hash_one(name));
        self.handles.find(spread(tag), |found| found.0 == tag && self.name(found.1) == name).map(|found| found.1)
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
        let tag = tag_of(self.hasher.hash_one(&*entry.name));
        self.handles.insert_unique(spread(tag), (tag, handle), |found| spread(found.0));
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
