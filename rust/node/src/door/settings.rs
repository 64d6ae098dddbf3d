//! The settings of a door. Every field has a default; limits keep one caller from using up the machine at the expense
//! of others.

use std::path::PathBuf;

use serde::Deserialize;

/// Settings of a door, read from JSON.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DoorSettings {
    /// Threads that serve connections. One is enough for one ledger.
    pub threads: usize,
    /// The unix socket of the service that answers all methods that the door does not.
    pub forward_socket: Option<PathBuf>,
    /// Most connections at once. For one more, the one that has been idle longest is closed; if none is idle, the calls
    /// of a few more are refused OVERLOADED, and further connections are closed at once.
    pub connections_max: usize,
    /// How long a connection may have no call in progress, ms; 0 is for ever.
    pub connection_idle_ms: u64,
    /// Most calls in progress at once; beyond that, OVERLOADED.
    pub calls_max: usize,
    /// Most calls in progress on one connection. HTTP/2 itself announces the limit to callers, who wait by themselves.
    pub streams_max: u32,
    /// Most bytes of the metadata of a call, counted as HTTP/2 does.
    pub headers_bytes_max: u32,
    /// Most readers of the journal at once; beyond that, OVERLOADED.
    pub readers_max: usize,
    /// Most bytes of all incomplete messages; beyond that, OVERLOADED.
    pub partial_bytes_max: usize,
    /// How long a message may take to arrive, ms.
    pub message_ms_max: u64,
    /// Most bytes of all answers that their callers have not read; beyond that, OVERLOADED for callers who have some.
    pub answer_bytes_max: usize,
    /// The same for one connection: its further calls get OVERLOADED.
    pub connection_answer_bytes_max: usize,
    /// How long a caller may read nothing of its answer, ms; the answer is dropped then, and at its deadline.
    pub stall_ms_max: u64,
    /// Most calls to the service behind the door at once; beyond that, OVERLOADED.
    pub forwards_max: usize,
    /// Most streams of that service at once: health watches and reflection.
    pub service_streams_max: usize,
    /// How long a reflection stream may last, ms.
    pub reflection_ms_max: u64,
}

impl Default for DoorSettings {
    fn default() -> Self {
        DoorSettings {
            threads: 1,
            forward_socket: None,
            connections_max: 4_096,
            connection_idle_ms: 300_000,
            calls_max: 65_536,
            streams_max: 1_024,
            headers_bytes_max: 64 << 10,
            readers_max: 32,
            partial_bytes_max: 256 << 20,
            message_ms_max: 30_000,
            answer_bytes_max: 256 << 20,
            connection_answer_bytes_max: 16 << 20,
            stall_ms_max: 30_000,
            forwards_max: 1_024,
            service_streams_max: 256,
            reflection_ms_max: 60_000,
        }
    }
}

impl DoorSettings {
    /// The first setting that cannot be used, as an error message.
    pub(super) fn problem(&self) -> Option<String> {
        let limits = [
            ("threads", self.threads, 64),
            ("connections_max", self.connections_max, 1 << 20),
            ("calls_max", self.calls_max, 1 << 24),
            ("streams_max", self.streams_max as usize, 1 << 16),
            ("headers_bytes_max", self.headers_bytes_max as usize, 1 << 20),
            ("readers_max", self.readers_max, 512),
            ("answer_bytes_max", self.answer_bytes_max, 1 << 40),
            ("connection_answer_bytes_max", self.connection_answer_bytes_max, 1 << 40),
            ("forwards_max", self.forwards_max, 4_096),
            ("service_streams_max", self.service_streams_max, 4_096),
        ];
        let wrong = limits.into_iter().find(|(_, value, most)| !(1..=*most).contains(value));
        wrong.map(|(name, value, most)| format!("{name} is {value}; it must be 1 to {most}"))
    }
}
