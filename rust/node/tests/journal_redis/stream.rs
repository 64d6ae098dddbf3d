//! The stream of a journal in a server: read and damaged directly, bypassing the journal.

use super::Redis;

/// Entries as they are sent.
pub type Entries = Vec<(String, Vec<Vec<u8>>)>;

/// Every entry of a stream.
pub fn entries_of(server: &Redis, frames: &str) -> Entries {
    redis::cmd("XRANGE").arg(frames).arg("-").arg("+").query(&mut server.connection()).unwrap()
}

/// Replaces the stored entries with these.
pub fn put(server: &Redis, frames: &str, entries: &Entries) {
    let mut raw = server.connection();
    redis::cmd("DEL").arg(frames).exec(&mut raw).unwrap();
    for (id, fields) in entries {
        redis::cmd("XADD").arg(frames).arg(id).arg(fields).exec(&mut raw).unwrap();
    }
}
