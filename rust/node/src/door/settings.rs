//! What a door may be told. Every field has a default; limits keep one caller from taking the machine from the others.

use std::path::PathBuf;

use serde::Deserialize;

/// Settings of a door, read from JSON.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DoorSettings {
    /// Threads that serve connections. One is enough for one ledger.
    pub threads: usize,
    /// The unix socket of the service that answers every method that the door does not.
    pub forward_socket: Option<PathBuf>,
    /// Most connections at once. A few beyond are told OVERLOADED, the rest is closed.
    pub connections_max: usize,
    /// Most calls under way at once; beyond them OVERLOADED.
    pub calls_max: usize,
    /// Most calls under way of one connection. HTTP/2 itself tells callers, who wait by themselves.
    pub streams_max: u32,
    /// Most bytes of the metadata of a call.
    pub headers_bytes_max: u32,
    /// Most callers who read the journal at once; beyond them OVERLOADED.
    pub readers_max: usize,
    /// Most bytes of all messages that have come in part; beyond them OVERLOADED.
    pub partial_bytes_max: usize,
    /// How long a message may take to come, ms.
    pub message_ms_max: u64,
}

impl Default for DoorSettings {
    fn default() -> Self {
        DoorSettings {
            threads: 1,
            forward_socket: None,
            connections_max: 4_096,
            calls_max: 65_536,
            streams_max: 1_024,
            headers_bytes_max: 64 << 10,
            readers_max: 32,
            partial_bytes_max: 256 << 20,
            message_ms_max: 30_000,
        }
    }
}

impl DoorSettings {
    /// The first setting that cannot be used, as a sentence.
    pub(super) fn problem(&self) -> Option<String> {
        let limits = [
            ("threads", self.threads, 64),
            ("connections_max", self.connections_max, 1 << 20),
            ("calls_max", self.calls_max, 1 << 24),
            ("streams_max", self.streams_max as usize, 1 << 16),
            ("headers_bytes_max", self.headers_bytes_max as usize, 1 << 20),
            ("readers_max", self.readers_max, 512),
        ];
        let wrong = limits.into_iter().find(|(_, value, most)| !(1..=*most).contains(value));
        wrong.map(|(name, value, most)| format!("{name} is {value}; it must be 1 to {most}"))
    }
}
