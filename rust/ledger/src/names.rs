//! Maps names from outside to dense handles. Handles are assigned in the order of the journal and never reused, so a handle in
//! an event stays valid for ever.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap};

use crate::chunks::{Span, Texts};
use crate::ids::Handle;
use crate::index::{Index, Tag};
use crate::name_rules::Confusables;

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

/// How often an entity was put and removed, and whether it is removed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Revision {
    version: u64,
    is_removed: bool,
}

impl Revision {
    const FIRST: Revision = Revision { version: 1, is_removed: false };
}

/// All names of one kind, those of removed entities included: a name that comes back has the handle that it had.
#[derive(Default)]
pub struct Names {
    prefixes: Vec<NamePrefix>,
    /// The whole names.
    spans: Vec<Span>,
    texts: Texts,
    /// Where it is not what most names have: version 1, and an entity.
    revisions: HashMap<Handle, Revision>,
    hasher: DefaultHashBuilder,
    index: Index,
    confusables: Confusables,
}

impl Names {
    /// The handle of a name, if such an entity exists.
    #[inline]
    pub fn find(&self, name: &str) -> Option<Handle> {
        if name.is_empty() {
            return None;
        }
        self.index.find(self.tag(name), |handle| self.is(handle, name) && !self.is_removed(handle))
    }

    /// The handle of a name, even if its entity was removed.
    pub(crate) fn find_ever(&self, name: &str) -> Option<Handle> {
        if name.is_empty() {
            return None;
        }
        self.index.find(self.tag(name), |handle| self.is(handle, name))
    }

    /// True if the handle belongs to an entity that was not removed.
    #[inline]
    pub fn exists(&self, handle: Handle) -> bool {
        (handle as usize) < self.len() && !self.is_removed(handle)
    }

    #[inline]
    pub(crate) fn is_removed(&self, handle: Handle) -> bool {
        !self.revisions.is_empty() && self.revisions.get(&handle).is_some_and(|revision| revision.is_removed)
    }

    /// The handles whose entity was removed or put again, with version and whether it is removed, in order.
    pub(crate) fn revised(&self) -> Vec<(Handle, u64, bool)> {
        let mut all: Vec<_> =
            self.revisions.iter().map(|(handle, revision)| (*handle, revision.version, revision.is_removed)).collect();
        all.sort_unstable();
        all
    }

    /// How often the entity was put and removed.
    pub fn version(&self, handle: Handle) -> u64 {
        self.revisions.get(&handle).unwrap_or(&Revision::FIRST).version
    }

    pub(crate) fn set_version(&mut self, handle: Handle, version: u64, is_removed: bool) {
        let revision = Revision { version, is_removed };
        if revision == Revision::FIRST {
            self.revisions.remove(&handle);
        } else {
            self.revisions.insert(handle, revision);
        }
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

    /// Adds a new name.
    pub(crate) fn add(&mut self, name: &str) -> Handle {
        let handle = self.add_tentatively(name);
        self.note_confusable(handle);
        handle
    }

    /// Adds a name temporarily, after `make_room`; `remove_last` removes it again. `look_alike` does not find it meanwhile.
    pub(crate) fn add_tentatively(&mut self, name: &str) -> Handle {
        self.index.insert(self.tag(name), self.len() as Handle);
        self.append(name)
    }

    fn note_confusable(&mut self, handle: Handle) {
        let mut confusables = std::mem::take(&mut self.confusables);
        confusables.add(self.name(handle), handle, |handle| self.name(handle));
        self.confusables = confusables;
    }

    /// Reserves room for `count` names that are added tentatively.
    pub(crate) fn make_room(&mut self, count: usize) {
        self.index.make_room(count);
    }

    /// Removes the name that was added last, tentatively.
    pub(crate) fn remove_last(&mut self) {
        let Some(last) = self.len().checked_sub(1) else { return };
        let tag = self.tag(self.name(last as Handle));
        self.index.remove_last(tag, last as Handle);
        self.texts.remove_last(self.spans[last]);
        self.prefixes.pop();
        self.spans.pop();
    }

    /// Appends a name that cannot be found until `index_all` is called, which also checks that its name is new.
    pub(crate) fn append(&mut self, name: &str) -> Handle {
        let handle = Handle::try_from(self.len()).expect("fewer than 2^32 names");
        self.prefixes.push(NamePrefix::of(name));
        self.spans.push(self.texts.push(name));
        handle
    }

    /// Indexes all names in one go; `None` if one occurs twice.
    pub(crate) fn index_all(&mut self) -> Option<()> {
        let tags = (0..self.len() as Handle).map(|handle| self.tag(self.name(handle)));
        // An empty name is never found.
        let same = |one, other| !self.name(other).is_empty() && self.is(one, self.name(other));
        self.index = Index::of(self.len(), tags, same)?;
        (0..self.len() as Handle).for_each(|handle| self.note_confusable(handle));
        Some(())
    }

    #[inline]
    fn tag(&self, name: &str) -> Tag {
        Tag::of(self.hasher.hash_one(name))
    }
}
