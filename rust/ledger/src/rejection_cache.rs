//! A bounded cache of the rejections of commands without a source whose callers did not ask for more (`refusals.rs`). It is in
//! memory only: not part of the journal or the digest, and lost at a restart. While a rejection is cached, a repeat gets the
//! same one, even if stock has arrived since.
//!
//! A flash sale refuses far more than it accepts, so caching a rejection makes no allocation of its own: keys and rejections
//! are stored one after another in one buffer, which is dropped as a whole.

use crate::codec::{Field, Reader};
use crate::fingerprint::Fingerprint;
use crate::index::Index;
use crate::keys::{KeyHash, Scope};
use crate::rejection::Rejection;

/// Most rejections in one of the two windows, which take turns.
const WINDOW_ENTRIES_MAX: usize = 65_536;

struct CacheEntry {
    scope: Scope,
    fingerprint: Fingerprint,
    /// Offsets: start of the key, start of the rejection, end of the rejection.
    bytes: [usize; 3],
}

#[derive(Default)]
struct CacheWindow {
    index: Index,
    entries: Vec<CacheEntry>,
    bytes: Vec<u8>,
}

impl CacheWindow {
    fn find(&self, hash: KeyHash, scope: Scope, key: &str) -> Option<(Fingerprint, Rejection)> {
        let is_it = |at: u32| {
            let entry = &self.entries[at as usize];
            entry.scope == scope && self.bytes[entry.bytes[0]..entry.bytes[1]] == *key.as_bytes()
        };
        let entry = &self.entries[self.index.find(hash.tag(), is_it)? as usize];
        let rejection = Rejection::read(&mut Reader::new(&self.bytes[entry.bytes[1]..entry.bytes[2]]));
        Some((entry.fingerprint, rejection.expect("Invariant: it was written here")))
    }

    fn push(&mut self, hash: KeyHash, scope: Scope, key: &str, fingerprint: Fingerprint, rejection: &Rejection) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key.as_bytes());
        let middle = self.bytes.len();
        rejection.put(&mut self.bytes);
        self.index.insert(hash.tag(), self.entries.len() as u32);
        self.entries.push(CacheEntry { scope, fingerprint, bytes: [start, middle, self.bytes.len()] });
    }
}

/// The rejections of the latest 65,536 to 131,072 refused keys.
#[derive(Default)]
pub(crate) struct RejectionCache {
    younger: CacheWindow,
    older: CacheWindow,
}

impl RejectionCache {
    /// The fingerprint and rejection of a key that was refused.
    pub fn find(&self, hash: KeyHash, scope: Scope, key: &str) -> Option<(Fingerprint, Rejection)> {
        self.younger.find(hash, scope, key).or_else(|| self.older.find(hash, scope, key))
    }

    /// Caches a rejection.
    pub fn insert(&mut self, hash: KeyHash, scope: Scope, key: &str, fingerprint: Fingerprint, rejection: &Rejection) {
        if self.younger.entries.len() >= WINDOW_ENTRIES_MAX {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.push(hash, scope, key, fingerprint, rejection);
    }
}
