//! A fixture with a journal in Redis and its snapshots, and access to what the server stores.
#![allow(dead_code, reason = "each test target uses a part of it")]

use invengine_node::journal::{Journal, JournalError, JournalPosition, RedisJournal, RedisOptions};

use crate::journal_disk::{Rebuilt, Sum, append_next, snapshot};
use crate::journal_redis::Redis;

pub const STATE: &str = "invengine:{main}:state";
pub const FRAMES: &str = "invengine:{main}:frames";

/// Opens the journal and checks that it holds a prefix of the test run.
pub fn recover(options: &RedisOptions) -> Result<(RedisJournal, Rebuilt), JournalError> {
    let mut rebuilt = Rebuilt::default();
    let journal = RedisJournal::recover(options, &mut rebuilt)?;
    assert_eq!(journal.durable_sequence(), rebuilt.sum.last);
    assert_eq!(rebuilt.sum, Sum::at(rebuilt.sum.last));
    Ok((journal, rebuilt))
}

/// Appends `frames` frames of the test run; returns the last sequence.
pub fn append(journal: &mut RedisJournal, frames: usize) -> u64 {
    (0..frames).map(|_| append_next(journal, false).unwrap()).last().unwrap_or(0)
}

/// A journal, with the state that a snapshot thread keeps.
pub struct JournalFixture {
    pub journal: RedisJournal,
    pub position: JournalPosition,
    pub sum: Sum,
}

impl JournalFixture {
    pub fn open(options: &RedisOptions) -> Self {
        Self { journal: recover(options).unwrap().0, position: JournalPosition::start("main"), sum: Sum::default() }
    }

    pub fn snapshot(&mut self) -> Result<(), JournalError> {
        snapshot(&self.journal, &mut self.position, &mut self.sum).map(drop)
    }

    /// Appends frames and writes a snapshot, `rounds` times.
    pub fn rounds(&mut self, rounds: usize, frames: usize) -> u64 {
        for _ in 0..rounds {
            append(&mut self.journal, frames);
            self.snapshot().unwrap();
        }
        self.journal.durable_sequence()
    }
}

/// Options with which nothing before the older snapshot is kept.
pub fn short_memory(server: &Redis) -> RedisOptions {
    let mut options = server.options("main");
    options.archive_bytes_max = 1;
    options
}

pub fn entries(server: &Redis) -> u64 {
    server.run(&format!("XLEN {FRAMES}")).parse().unwrap()
}

pub fn field(server: &Redis, name: &str) -> u64 {
    server.run(&format!("HGET {STATE} {name}")).parse().unwrap_or(0)
}

/// The keys of the newest and of the older snapshot.
pub fn newest_and_older(server: &Redis) -> [String; 2] {
    let location = |index: u64| format!("invengine:{{main}}:snapshot:{}", index % 3);
    // The locations are used in turn, since none of them was bad.
    let begun = field(server, "begun");
    [location(begun + 2), location(begun + 1)]
}

/// Digests of everything that belongs to the ledger, to detect changes.
pub fn all_of(server: &Redis) -> Vec<String> {
    let keys = (0..3).map(|index| format!("invengine:{{main}}:snapshot:{index}"));
    let keys = keys.chain([STATE.to_owned(), FRAMES.to_owned()]);
    keys.map(|key| server.run(&format!("DEBUG DIGEST-VALUE {key}"))).collect()
}
