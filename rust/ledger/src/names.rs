//! Maps names from outside to dense handles. Handles are assigned in the order of the journal and never reused, so a handle in
//! an event stays valid for ever.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use crate::chunks::{Span, Texts};
use crate::ids::Handle;
use crate::index::{Index, Tag};
use crate::name_rules::Confusables;
use crate::stable_hash::StableHash;

/// One entry of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogueEntry<'a> {
    /// The name that callers use.
    pub name: &'a str,
    /// A name for people; may be empty.
    pub display_name: &'a str,
    /// GTIN-14 of an item, GLN of a location; empty for others.
    pub gs1: &'a str,
}

/// The parts of an entry that may be replaced.
struct Labels {
    display_name: Box<str>,
    gs1: Box<str>,
}

impl Labels {
    fn of(entry: CatalogueEntry<'_>) -> Self {
        Labels { display_name: entry.display_name.into(), gs1: entry.gs1.into() }
    }
}

/// The first bytes of a name, stored inline so that most look-ups need no further memory access.
#[derive(Clone, Copy)]
struct NamePrefix {
    bytes: [u8; NamePrefix::BYTES],
    /// Length of the whole name, or 255 if it is longer than that.
    length: u8,
}

impl NamePrefix {
    const BYTES: usize = 23;

    fn of(name: &str) -> Self {
        let mut bytes = [0; NamePrefix::BYTES];
        let kept = name.len().min(NamePrefix::BYTES);
        bytes[..kept].copy_from_slice(&name.as_bytes()[..kept]);
        NamePrefix { bytes, length: u8::try_from(name.len()).unwrap_or(u8::MAX) }
    }
}

/// All names of one kind.
#[derive(Default)]
pub struct Names {
    prefixes: Vec<NamePrefix>,
    /// The whole names.
    spans: Vec<Span>,
    texts: Texts,
    labels: Vec<Labels>,
    hasher: DefaultHashBuilder,
    index: Index,
    confusables: Confusables,
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

    /// True if the handle belongs to this name.
    #[inline]
    pub(crate) fn is(&self, handle: Handle, name: &str) -> bool {
        let prefix = &self.prefixes[handle as usize];
        match prefix.bytes.get(..name.len()) {
            Some(bytes) => usize::from(prefix.length) == name.len() && bytes == name.as_bytes(),
            None => self.name(handle) == name,
        }
    }

    /// Reads a value from what [`Names::is`] needs.
    #[inline]
    pub(crate) fn touch(&self, handle: Handle) -> i64 {
        self.prefixes.get(handle as usize).map_or(0, |prefix| i64::from(prefix.length))
    }

    /// The entry behind a handle of this ledger.
    pub fn entry(&self, handle: Handle) -> CatalogueEntry<'_> {
        let labels = &self.labels[handle as usize];
        CatalogueEntry { name: self.name(handle), display_name: &labels.display_name, gs1: &labels.gs1 }
    }

    /// The name behind a handle of this ledger.
    #[inline]
    pub fn name(&self, handle: Handle) -> &str {
        self.texts.get(self.spans[handle as usize])
    }

    /// The oldest name that people may confuse with this one, if that is another and older name.
    pub fn look_alike(&self, name: &str) -> Option<&str> {
        let oldest = self.confusables.oldest(name, |handle| self.name(handle))?;
        let is_older = self.find(name).is_none_or(|own| oldest < own);
        is_older.then(|| self.name(oldest))
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True if there are no names.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Adds an entry with a new name.
    pub(crate) fn add(&mut self, entry: CatalogueEntry<'_>) -> Handle {
        let handle = self.add_tentatively(entry);
        self.note_confusable(handle);
        handle
    }

    /// Adds an entry temporarily, after `make_room`; `remove_last` removes it again. `look_alike` does not find it meanwhile.
    pub(crate) fn add_tentatively(&mut self, entry: CatalogueEntry<'_>) -> Handle {
        self.index.insert(self.tag(entry.name), self.len() as Handle);
        self.append(entry)
    }

    fn note_confusable(&mut self, handle: Handle) {
        let mut confusables = std::mem::take(&mut self.confusables);
        confusables.add(self.name(handle), handle, |handle| self.name(handle));
        self.confusables = confusables;
    }

    /// Reserves room for `count` entries that are added tentatively.
    pub(crate) fn make_room(&mut self, count: usize) {
        self.index.make_room(count);
    }

    /// Removes the entry that was added last, tentatively.
    pub(crate) fn remove_last(&mut self) {
        let Some(last) = self.len().checked_sub(1) else { return };
        let tag = self.tag(self.name(last as Handle));
        self.index.remove_last(tag, last as Handle);
        self.texts.remove_last(self.spans[last]);
        self.prefixes.pop();
        self.spans.pop();
        self.labels.pop();
    }

    /// Appends an entry that cannot be found until `index_all` is called, which also checks that its name is new.
    pub(crate) fn append(&mut self, entry: CatalogueEntry<'_>) -> Handle {
        let handle = Handle::try_from(self.len()).expect("fewer than 2^32 names");
        self.prefixes.push(NamePrefix::of(entry.name));
        self.spans.push(self.texts.push(entry.name));
        self.labels.push(Labels::of(entry));
        handle
    }

    /// Indexes all names in one go; `None` if one occurs twice.
    pub(crate) fn index_all(&mut self) -> Option<()> {
        let tags = (0..self.len() as Handle).map(|handle| self.tag(self.name(handle)));
        // An empty name is never found.
        let same = |one, other| !self.name(other).is_empty() && self.is(one, self.name(other));
        self.index = Index::of(tags, same)?;
        (0..self.len() as Handle).for_each(|handle| self.note_confusable(handle));
        Some(())
    }

    /// Replaces everything except the name.
    pub(crate) fn replace(&mut self, handle: Handle, entry: CatalogueEntry<'_>) {
        self.labels[handle as usize] = Labels::of(entry);
    }

    #[inline]
    fn tag(&self, name: &str) -> Tag {
        Tag::of(self.hasher.hash_one(name))
    }
}

/// The digest of one entry.
pub(crate) fn entry_hash(kind: u64, handle: Handle, entry: CatalogueEntry<'_>) -> u128 {
    StableHash::new(0x10 + kind)
        .word(u64::from(handle))
        .bytes(entry.name.as_bytes())
        .bytes(entry.display_name.as_bytes())
        .bytes(entry.gs1.as_bytes())
        .digest()
}
