//! Rejections of unsourced commands, remembered in memory only and bounded: outside journal and digest, gone at a restart.
//! While remembered, a repeat gets the same no, even if the stock has arrived since.

use hashbrown::{Equivalent, HashMap};

use crate::keys::Scope;
use crate::rejection::Rejection;

/// Most rejections in one of the two tables that take turns.
const KEPT_MAX: usize = 65_536;

type Table = HashMap<(Scope, Box<str>), (u64, Rejection)>;

/// A key to look for, without owning it. Hashes like the tables' own.
#[derive(Hash)]
struct Wanted<'a>(Scope, &'a str);

impl Equivalent<(Scope, Box<str>)> for Wanted<'_> {
    fn equivalent(&self, kept: &(Scope, Box<str>)) -> bool {
        self.0 == kept.0 && *self.1 == *kept.1
    }
}

/// The rejections of the last 65,536 to 131,072 refused keys.
#[derive(Default)]
pub(crate) struct Refused {
    younger: Table,
    older: Table,
}

impl Refused {
    /// The fingerprint and rejection of a key that was refused.
    pub fn find(&self, scope: Scope, key: &str) -> Option<&(u64, Rejection)> {
        if self.younger.is_empty() && self.older.is_empty() {
            return None;
        }
        let wanted = Wanted(scope, key);
        self.younger.get(&wanted).or_else(|| self.older.get(&wanted))
    }

    /// Remembers a rejection.
    pub fn insert(&mut self, scope: Scope, key: &str, fingerprint: u64, rejection: Rejection) {
        if self.younger.len() >= KEPT_MAX {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert((scope, key.into()), (fingerprint, rejection));
    }
}
