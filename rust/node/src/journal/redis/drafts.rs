//! The calls that write snapshots. Each carries the owner and the number of the snapshot that is being written, so that a
//! writer that was fenced changes nothing, nor does a call that comes late.

use redis::Cmd;

use super::functions::{Owner, call_with};
use super::keys::{Id, Keys};

/// Pieces that one call of `clear` frees, as in `functions.lua`.
pub const CLEARED_AT_ONCE_MAX: u64 = 16;

/// Who calls, and which snapshot was begun last.
pub struct Caller<'c> {
    /// The keys of the journal.
    pub keys: &'c Keys,
    /// The writer it belongs to.
    pub owner: &'c Owner,
    /// Number of the last snapshot that was begun; 0 before the first.
    pub begun: u64,
}

impl Caller<'_> {
    fn call(&self, name: &str, places: &[usize]) -> Cmd {
        let places: Vec<&str> = places.iter().map(|place| self.keys.places[*place].as_str()).collect();
        let mut call = call_with(name, self.keys, &places);
        call.arg(&self.owner.token).arg(self.owner.epoch).arg(self.begun);
        call
    }

    /// Makes a place void and frees some of its pieces.
    pub fn clear(&self, place: usize) -> Cmd {
        self.call("invengine_clear", &[place])
    }

    /// Begins the next snapshot in a place that was cleared.
    pub fn begin(&self, place: usize, header: &[u8], bytes_before: u64) -> Cmd {
        let mut call = self.call("invengine_begin", &[place]);
        call.arg(self.begun + 1).arg(header).arg(bytes_before);
        call
    }

    /// Stores one piece.
    pub fn piece(&self, place: usize, number: u64, bytes: &[u8]) -> Cmd {
        let mut call = self.call("invengine_piece", &[place]);
        call.arg(number).arg(bytes);
        call
    }

    /// Makes a snapshot of so many pieces count.
    pub fn commit(&self, place: usize, pieces: u64, entries: u64, manifest: &[u8]) -> Cmd {
        let mut call = self.call("invengine_commit", &[place]);
        call.arg(pieces).arg(entries).arg(manifest);
        call
    }

    /// Lets the appends to come trim what lies before an id, which the snapshots of two places cover.
    pub fn trim(&self, covering: [usize; 2], first_kept: Option<Id>, milestones: &str) -> Cmd {
        let mut call = self.call("invengine_trim", &covering);
        call.arg(first_kept.map(|id| id.to_string()).unwrap_or_default()).arg(milestones);
        call
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_free_as_many_pieces_as_their_callers_count_on() {
        let code = include_str!("functions.lua");
        assert!(code.contains(&format!("local CLEARED_AT_ONCE_MAX = {CLEARED_AT_ONCE_MAX}\n")));
    }
}
