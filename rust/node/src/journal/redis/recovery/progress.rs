//! The progress of a recovery. The length of a stream in bytes is not known, so that of the rest is estimated from what was
//! read.

use crate::journal::Replay;

/// Progress is reported each time that this much more was read.
const STEP_BYTES: u64 = 1 << 20;
/// Assumed length of a frame before one was read.
const FRAME_BYTES: u64 = 256;

/// Counts bytes, and reports from time to time.
#[derive(Debug, Default)]
pub struct ReplayProgress {
    done: u64,
    reported: u64,
    frames: u64,
    frame_bytes: u64,
    /// Bytes of the snapshot that were not read yet.
    snapshot_left: u64,
    /// Entries that were not read yet.
    entries_left: u64,
}

impl ReplayProgress {
    /// A snapshot of `snapshot_bytes` is read first, then this number of entries.
    pub fn start(snapshot_bytes: u64, entries: u64) -> Self {
        Self { snapshot_left: snapshot_bytes, entries_left: entries, ..Self::default() }
    }

    /// A piece was read.
    pub fn piece(&mut self, replay: &mut dyn Replay, bytes: usize) {
        self.snapshot_left = self.snapshot_left.saturating_sub(bytes as u64);
        self.report(replay, bytes);
    }

    /// A frame was read.
    pub fn frame(&mut self, replay: &mut dyn Replay, bytes: usize) {
        self.entries_left = self.entries_left.saturating_sub(1);
        self.frames += 1;
        self.frame_bytes += bytes as u64;
        self.report(replay, bytes);
    }

    fn report(&mut self, replay: &mut dyn Replay, bytes: usize) {
        self.done += bytes as u64;
        if self.done >= self.reported + STEP_BYTES {
            self.reported = self.done;
            let mean = self.frame_bytes.checked_div(self.frames).unwrap_or(FRAME_BYTES);
            replay.progress(self.done, self.done + self.snapshot_left + self.entries_left.saturating_mul(mean));
        }
    }
}
