//! What each journal can lose, as text: `GetServerInfo`, `invengine doctor` and docs/operations.md use these sentences.

use serde::Deserialize;

/// When an append counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ack {
    /// The server has synced it; needs `appendonly yes` and `appendfsync always`.
    #[default]
    Fsync,
    /// The server has it and syncs once a second; needs `appendonly yes`.
    Everysec,
    /// A replica has it too: in its append-only file if the server supports WAITAOF, else in its memory.
    Replicated,
    /// The server has it.
    Memory,
}

impl Ack {
    /// Its name, as in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Ack::Fsync => "fsync",
            Ack::Everysec => "everysec",
            Ack::Replicated => "replicated",
            Ack::Memory => "memory",
        }
    }
}

/// What the file journal can lose.
pub const FILE: &str = "nothing that was acknowledged, as long as the disk keeps what it confirmed; \
    rot inside the very last frame cannot be told from an unfinished write and is cut";

/// What the memory journal can lose.
pub const MEMORY: &str = "everything, when the process ends";

/// What can be lost after an acknowledgement of a Redis journal. `in_files`: the server keeps an append-only file, or for
/// `replicated` can wait for that of a replica.
pub fn redis(ack: Ack, in_files: bool) -> &'static str {
    match (ack, in_files) {
        (Ack::Fsync, _) => "nothing that was acknowledged, as long as this server and its disk come back",
        (Ack::Everysec, _) => "up to 2 s of acknowledged commands when the server's machine stops",
        (Ack::Replicated, true) => {
            "nothing that was acknowledged, unless the master and the replica that confirmed into its append-only file are \
             both lost, or a replica that had not confirmed is promoted"
        }
        (Ack::Replicated, false) => {
            "nothing that was acknowledged, unless the master and the replica that confirmed into its memory are both lost, \
             or a replica that had not confirmed is promoted"
        }
        (Ack::Memory, true) => "what the server had not written to disk when it stops; invengine does not wait for it",
        (Ack::Memory, false) => "everything since the server's last save, when it stops",
    }
}

/// What a failover adds to that, unless a replica confirms.
pub const FAILOVER: &str = "loses what that had not received";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_uses_the_same_sentences() {
        let page = include_str!("../../../../docs/operations.md").split_whitespace().collect::<Vec<_>>().join(" ");
        let acks = [Ack::Fsync, Ack::Everysec, Ack::Replicated, Ack::Memory];
        let of_redis = acks.into_iter().flat_map(|ack| [redis(ack, true), redis(ack, false)]);
        for words in of_redis.chain([FILE, MEMORY, FAILOVER]) {
            assert!(page.contains(words), "docs/operations.md does not say: {words}");
        }
    }
}
