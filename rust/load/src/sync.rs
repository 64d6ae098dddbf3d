//! Measures how long this disk takes to make a small write durable, the lower bound for a durable answer.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::report::{Latency, latencies};
use crate::{LoadError, machine};

const BLOCK_BYTES: usize = 4096;

/// The parameters of a probe.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncSpec {
    /// A file to write on the disk to be measured. It is overwritten.
    pub file: PathBuf,
    /// Number of writes.
    pub writes: u32,
    /// The core to run on.
    #[serde(default)]
    pub core: Option<usize>,
    /// Size of the file, which is filled with zeros first: a growing file would cost far more.
    #[serde(default = "file_bytes")]
    pub file_bytes: usize,
}

fn file_bytes() -> usize {
    16 << 20
}

/// How long an overwrite of 4 KiB and its fdatasync took.
#[derive(Debug, Serialize)]
pub struct SyncReport {
    pub writes: u32,
    pub sync_us: Latency,
}

/// Overwrites blocks of a preallocated file one after another and syncs each. Does not remove the file.
pub fn probe_sync(spec: &SyncSpec) -> Result<SyncReport, LoadError> {
    if let Some(core) = spec.core {
        machine::pin(core)?;
    }
    let blocks = (spec.file_bytes / BLOCK_BYTES).max(1);
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&spec.file)?;
    let zeros = vec![0; BLOCK_BYTES];
    for _ in 0..blocks {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    let mut times = latencies();
    let block = vec![0xa5; BLOCK_BYTES];
    for write in 0..spec.writes {
        let at = write as usize % blocks * BLOCK_BYTES;
        let began = Instant::now();
        file.seek(SeekFrom::Start(at as u64))?;
        file.write_all(&block)?;
        file.sync_data()?;
        times.saturating_record(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(SyncReport { writes: spec.writes, sync_us: Latency::from(&times) })
}

#[cfg(test)]
mod tests {
    use super::{SyncSpec, probe_sync};

    #[test]
    fn each_write_is_measured() {
        let file = std::env::temp_dir().join(format!("invengine-sync-{}", std::process::id()));
        let spec = SyncSpec { file: file.clone(), writes: 5, core: None, file_bytes: 8192 };
        let report = probe_sync(&spec).unwrap();
        assert!(report.sync_us.p50 > 0.1 && report.sync_us.p50 <= report.sync_us.max);
        assert_eq!(std::fs::metadata(&file).unwrap().len(), 8192);
        std::fs::remove_file(file).unwrap();
    }
}
