//! Names from outside become dense handles, once. Handles are given in the order of the journal and never reused, so an
//! event can hold a handle for ever.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use crate::chunks::{Span, Texts};
use crate::index::{Index, Tag};
use crate::mix::Mix;
use crate::naming::Looks;

/// A name's handle: its position in the order of creation.
pub type Handle = u32;

/// One entry of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The name that callers use.
    pub name: &'a str,
    /// A name for people; may be empty.
    pub display_name: &'a str,
    /// GTIN-14 of an item, GLN of a location; empty for others.
    pub gs1: &'a str,
}

/// What of an entry may be replaced.
struct Labels {
    display_name: Box<str>,
    gs1: Box<str>,
}

impl Labels {
    fn of(entry: Entry<'_>) -> Self {
        Labels { display_name: entry.display_name.into(), gs1: entry.gs1.into() }
    }
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
    starts: Vec<Start>,
    /// The whole names.
    spans: Vec<Span>,
    texts: Texts,
    labels: Vec<Labels>,
    hasher: DefaultHashBuilder,
    index: Index,
    looks: Looks,
}

impl Names {
    /// The handle of a name, if it exists.
    #[inline]
    pub fn find(&self, name: &str) -> Option<Handle> {
        if name.is_empty() {
            return None;
        }
        self.index.find(self.tag(name), |handle| self.is(handle, name))
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
    pub fn entry(&self, handle: Handle) -> Entry<'_> {
        let labels = &self.labels[handle as usize];
        Entry { name: self.name(handle), display_name: &labels.display_name, gs1: &labels.gs1 }
    }

    /// The name behind a handle of this ledger.
    #[inline]
    pub fn name(&self, handle: Handle) -> &str {
        self.texts.get(self.spans[handle as usize])
    }

    /// The oldest name that people may take for this one, if that is another and older one.
    pub fn look_alike(&self, name: &str) -> Option<&str> {
        let oldest = self.looks.oldest(name, |handle| self.name(handle))?;
        let is_older = self.find(name).is_none_or(|own| oldest < own);
        is_older.then(|| self.name(oldest))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Adds an entry whose name is new.
    pub(crate) fn add(&mut self, entry: Entry<'_>) -> Handle {
        let handle = self.add_on_trial(entry);
        self.note_look(handle);
        handle
    }

    /// The same for a while, after `make_room`: `take_back` takes it out again. Nothing is like it meanwhile.
    pub(crate) fn add_on_trial(&mut self, entry: Entry<'_>) -> Handle {
        self.index.insert(self.tag(entry.name), self.len() as Handle);
        self.append(entry)
    }

    fn note_look(&mut self, handle: Handle) {
        let mut looks = std::mem::take(&mut self.looks);
        looks.add(self.name(handle), handle, |handle| self.name(handle));
        self.looks = looks;
    }

    /// Makes room for so many more that are added on trial.
    pub(crate) fn make_room(&mut self, count: usize) {
        self.index.make_room(count);
    }

    /// Takes out the name that came last, on trial.
    pub(crate) fn take_back(&mut self) {
        let Some(last) = self.len().checked_sub(1) else { return };
        let tag = self.tag(self.name(last as Handle));
        self.index.take_back(tag, last as Handle);
        self.texts.take_back(self.spans[last]);
        self.starts.pop();
        self.spans.pop();
        self.labels.pop();
    }

    /// The same where `index_all` comes before anybody looks for the name, and finds out whether it is new.
    pub(crate) fn append(&mut self, entry: Entry<'_>) -> Handle {
        let handle = Handle::try_from(self.len()).expect("fewer than 2^32 names");
        self.starts.push(Start::of(entry.name));
        self.spans.push(self.texts.push(entry.name));
        self.labels.push(Labels::of(entry));
        handle
    }

    /// Makes all names findable at once; nothing if one comes twice.
    pub(crate) fn index_all(&mut self) -> Option<()> {
        let tags = (0..self.len() as Handle).map(|handle| self.tag(self.name(handle)));
        // Nobody finds a name that is empty.
        let same = |one, other| !self.name(other).is_empty() && self.is(one, self.name(other));
        self.index = Index::of(tags, same)?;
        (0..self.len() as Handle).for_each(|handle| self.note_look(handle));
        Some(())
    }

    /// Replaces all but the name.
    pub(crate) fn replace(&mut self, handle: Handle, entry: Entry<'_>) {
        self.labels[handle as usize] = Labels::of(entry);
    }

    #[inline]
    fn tag(&self, name: &str) -> Tag {
        Tag::of(self.hasher.hash_one(name))
    }
}

/// The digest of one entry.
pub(crate) fn entry_hash(kind: u64, handle: Handle, entry: Entry<'_>) -> u128 {
    Mix::new(0x10 + kind)
        .word(u64::from(handle))
        .bytes(entry.name.as_bytes())
        .bytes(entry.display_name.as_bytes())
        .bytes(entry.gs1.as_bytes())
        .digest()
}
