//! Rejections of unsourced commands whose callers did not ask for more (`refusals.rs`), remembered in memory only and bounded:
//! outside journal and digest, gone at a restart.
//! While remembered, a repeat gets the same no, even if the stock has arrived since.
//!
//! A flash sale refuses far more than it accepts, so remembering a no allocates nothing of its own: keys and rejections lie one
//! after the other in one buffer, which is dropped whole.

use crate::codec::{decode_rejection, encode_rejection};
use crate::fingerprint::Fingerprint;
use crate::index::Index;
use crate::keys::{KeyHash, Scope};
use crate::rejection::Rejection;

/// Most rejections in one of the two windows that take turns.
const KEPT_MAX: usize = 65_536;

struct Entry {
    scope: Scope,
    fingerprint: Fingerprint,
    /// Where its key begins, its rejection begins and its rejection ends.
    bytes: [usize; 3],
}

#[derive(Default)]
struct Window {
    index: Index,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

impl Window {
    fn find(&self, hash: KeyHash, scope: Scope, key: &str) -> Option<(Fingerprint, Rejection)> {
        let is_it = |at: u32| {
            let entry = &self.entries[at as usize];
            entry.scope == scope && self.bytes[entry.bytes[0]..entry.bytes[1]] == *key.as_bytes()
        };
        let entry = &self.entries[self.index.find(hash.tag(), is_it)? as usize];
        let rejection = decode_rejection(&self.bytes[entry.bytes[1]..entry.bytes[2]]);
        Some((entry.fingerprint, rejection.expect("Invariant: it was written here")))
    }

    fn push(&mut self, hash: KeyHash, scope: Scope, key: &str, fingerprint: Fingerprint, rejection: &Rejection) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key.as_bytes());
        let middle = self.bytes.len();
        encode_rejection(&mut self.bytes, rejection);
        self.index.insert(hash.tag(), self.entries.len() as u32);
        self.entries.push(Entry { scope, fingerprint, bytes: [start, middle, self.bytes.len()] });
    }
}

/// The rejections of the last 65,536 to 131,072 refused keys.
#[derive(Default)]
pub(crate) struct Refused {
    younger: Window,
    older: Window,
}

impl Refused {
    /// The fingerprint and rejection of a key that was refused.
    pub fn find(&self, hash: KeyHash, scope: Scope, key: &str) -> Option<(Fingerprint, Rejection)> {
        self.younger.find(hash, scope, key).or_else(|| self.older.find(hash, scope, key))
    }

    /// Remembers a rejection.
    pub fn insert(&mut self, hash: KeyHash, scope: Scope, key: &str, fingerprint: Fingerprint, rejection: &Rejection) {
        if self.younger.entries.len() >= KEPT_MAX {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.push(hash, scope, key, fingerprint, rejection);
    }
}
