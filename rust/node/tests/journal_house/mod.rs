//! A journal in Redis with snapshots, as tests live in it, and what its server holds.
#![allow(dead_code, reason = "each test target uses a part of it")]

use invengine_node::journal::{Journal, JournalError, Mark, RedisJournal, RedisOptions};

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

/// Appends so many frames of the test run; answers the last sequence.
pub fn append(journal: &mut RedisJournal, frames: usize) -> u64 {
    (0..frames).map(|_| append_next(journal, false).unwrap()).last().unwrap_or(0)
}

/// A journal, with what a snapshot thread keeps in mind.
pub struct House {
    pub journal: RedisJournal,
    pub mark: Mark,
    pub sum: Sum,
}

impl House {
    pub fn open(options: &RedisOptions) -> Self {
        Self { journal: recover(options).unwrap().0, mark: Mark::start("main"), sum: Sum::default() }
    }

    pub fn snapshot(&mut self) -> Result<(), JournalError> {
        snapshot(&self.journal, &mut self.mark, &mut self.sum).map(drop)
    }

    /// So many frames, then a snapshot, so many times.
    pub fn rounds(&mut self, rounds: usize, frames: usize) -> u64 {
        for _ in 0..rounds {
            append(&mut self.journal, frames);
            self.snapshot().unwrap();
        }
        self.journal.durable_sequence()
    }
}

/// Options with which nothing is kept behind the older snapshot.
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
    let place = |index: u64| format!("invengine:{{main}}:snapshot:{}", index % 3);
    // They take turns, since none of them was bad.
    let begun = field(server, "begun");
    [place(begun + 2), place(begun + 1)]
}

/// Everything that belongs to the ledger, to see whether something was changed.
pub fn all_of(server: &Redis) -> Vec<String> {
    let keys = (0..3).map(|place| format!("invengine:{{main}}:snapshot:{place}"));
    let keys = keys.chain([STATE.to_owned(), FRAMES.to_owned()]);
    keys.map(|key| server.run(&format!("DEBUG DIGEST-VALUE {key}"))).collect()
}
