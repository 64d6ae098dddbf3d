//! Load generator, bare listener and probes for the benchmarks of invengine.
//!
//! Everything here runs in a separate process, on its own core, and takes and returns JSON. The generator keeps a ledger of
//! the answers it received, so that every run can be checked against the server's ledger.
#![forbid(unsafe_code)]

mod answers;
mod bare;
mod chance;
mod connection;
mod hpack;
mod huffman;
mod ledger;
mod machine;
mod report;
mod run;
mod spec;
mod sync;
mod tally;
mod template;

pub use bare::{serve_bare, until_input_ends};
pub use ledger::{LedgerReport, LedgerRun, bench_ledger};
pub use report::{ItemUnits, Latency, Report};
pub use run::run;
pub use spec::{Buyers, CallKind, Pace, Phase, Skus, Spec};
pub use sync::{SyncReport, SyncSpec, probe_sync};
pub use tally::{Interval, Window};

/// Why a run, a listener or a probe has no result.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The specification cannot be executed; the text says what to change.
    #[error("{0}")]
    Spec(String),
    /// The connection, the listener or the file failed.
    #[error("{0}")]
    Connection(#[from] std::io::Error),
    /// A JSON argument or result is malformed.
    #[error("malformed JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<rustix::io::Errno> for LoadError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Connection(error.into())
    }
}

/// Runs a JSON `Spec` and returns its `Report` as JSON.
pub fn run_json(spec: &str) -> Result<String, LoadError> {
    Ok(serde_json::to_string(&run(serde_json::from_str(spec)?)?)?)
}

/// Runs the probe of a JSON `SyncSpec` and returns its `SyncReport` as JSON.
pub fn probe_sync_json(spec: &str) -> Result<String, LoadError> {
    Ok(serde_json::to_string(&probe_sync(&serde_json::from_str(spec)?)?)?)
}

/// Benchmarks the ledger alone and returns its `LedgerReport` as JSON.
pub fn bench_ledger_json(operations: u64, levels: u32, run: &str) -> Result<String, LoadError> {
    Ok(serde_json::to_string(&bench_ledger(operations, levels, run.parse()?)?)?)
}
