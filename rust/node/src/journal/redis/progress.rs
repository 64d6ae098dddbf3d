//! How far a recovery is. A stream does not tell its length in bytes, so that of its rest is guessed from what was read.

use crate::journal::Replay;

/// Told each time that so much more was read.
const STEP_BYTES: u64 = 1 << 20;
/// Length of a frame as long as none was read.
const FRAME_BYTES: u64 = 256;

/// Counts bytes, and tells from time to time.
#[derive(Debug, Default)]
pub struct Progress {
    done: u64,
    told: u64,
    frames: u64,
    frame_bytes: u64,
    /// Bytes of the snapshot that were not read yet.
    snapshot_left: u64,
    /// Entries that were not read yet.
    entries_left: u64,
}

impl Progress {
    /// A snapshot of so many bytes comes first, and so many entries follow.
    pub fn start(snapshot_bytes: u64, entries: u64) -> Self {
        Self { snapshot_left: snapshot_bytes, entries_left: entries, ..Self::default() }
    }

    /// A piece was read.
    pub fn piece(&mut self, replay: &mut dyn Replay, bytes: usize) {
        self.snapshot_left = self.snapshot_left.saturating_sub(bytes as u64);
        self.tell(replay, bytes);
    }

    /// A frame was read.
    pub fn frame(&mut self, replay: &mut dyn Replay, bytes: usize) {
        self.entries_left = self.entries_left.saturating_sub(1);
        self.frames += 1;
        self.frame_bytes += bytes as u64;
        self.tell(replay, bytes);
    }

    fn tell(&mut self, replay: &mut dyn Replay, bytes: usize) {
        self.done += bytes as u64;
        if self.done >= self.told + STEP_BYTES {
            self.told = self.done;
            let mean = self.frame_bytes.checked_div(self.frames).unwrap_or(FRAME_BYTES);
            replay.progress(self.done, self.done + self.snapshot_left + self.entries_left.saturating_mul(mean));
        }
    }
}
