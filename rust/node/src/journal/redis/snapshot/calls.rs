//! The calls that write snapshots. Each carries the owner and the number of the snapshot that is being written, so that
//! neither a fenced writer nor a delayed call changes anything.

use redis::Cmd;

use crate::journal::redis::connection::functions::{Owner, call_with};
use crate::journal::redis::connection::keys::{EntryId, RedisKeys};

/// Pieces that one call of `clear` frees, as in `functions.lua`.
pub const CLEARED_AT_ONCE_MAX: u64 = 16;

/// The identity that each call carries: the owner, and the number of the last snapshot.
pub struct SnapshotCaller<'c> {
    /// The keys of the journal.
    pub keys: &'c RedisKeys,
    /// The writer it belongs to.
    pub owner: &'c Owner,
    /// Number of the last snapshot that was begun; 0 before the first.
    pub begun: u64,
}

impl SnapshotCaller<'_> {
    fn call(&self, name: &str, locations: &[usize]) -> Cmd {
        let locations: Vec<&str> = locations.iter().map(|location| self.keys.locations[*location].as_str()).collect();
        let mut call = call_with(name, self.keys, &locations);
        call.arg(&self.owner.token).arg(self.owner.epoch).arg(self.begun);
        call
    }

    /// Invalidates a location and frees some of its pieces.
    pub fn clear(&self, location: usize) -> Cmd {
        self.call("invengine_clear", &[location])
    }

    /// Begins the next snapshot in a cleared location.
    pub fn begin(&self, location: usize, header: &[u8], bytes_before: u64) -> Cmd {
        let mut call = self.call("invengine_begin", &[location]);
        call.arg(self.begun + 1).arg(header).arg(bytes_before);
        call
    }

    /// Stores one piece.
    pub fn piece(&self, location: usize, number: u64, bytes: &[u8]) -> Cmd {
        let mut call = self.call("invengine_piece", &[location]);
        call.arg(number).arg(bytes);
        call
    }

    /// Makes a snapshot of `pieces` pieces valid.
    pub fn commit(&self, location: usize, pieces: u64, entries: u64, manifest: &[u8]) -> Cmd {
        let mut call = self.call("invengine_commit", &[location]);
        call.arg(pieces).arg(entries).arg(manifest);
        call
    }

    /// Lets later appends trim the entries before an id, which the snapshots of two locations cover.
    pub fn trim(&self, covering: [usize; 2], first_kept: Option<EntryId>, milestones: &str) -> Cmd {
        let mut call = self.call("invengine_trim", &covering);
        call.arg(first_kept.map(|id| id.to_string()).unwrap_or_default()).arg(milestones);
        call
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_free_as_many_pieces_as_their_callers_expect() {
        let code = include_str!("../functions.lua");
        assert!(code.contains(&format!("local CLEARED_AT_ONCE_MAX = {CLEARED_AT_ONCE_MAX}\n")));
    }
}
