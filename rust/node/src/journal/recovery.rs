//! Rebuilds the state, the same for every journal: from the newest good snapshot and the frames after it, else from every frame.

use super::walk::WalkedFrame;
use super::{JournalError, Manifest, Replay};

/// Progress is reported each time that this much more was read.
const STEP_BYTES: u64 = 1 << 20;
/// Assumed length of a frame before one was read.
const FRAME_BYTES: u64 = 256;

/// The choice of a snapshot to begin with.
pub(super) enum NewestSnapshot<S> {
    /// It was loaded: the frames to replay begin after it.
    Loaded(S, Progress),
    /// There is none that can be used.
    NoneGood,
    /// The replay wants none.
    Declined,
}

/// Snapshots that seem good, newest first, and why others cannot be used.
pub(super) type StoredSnapshots<S> = (Vec<S>, Vec<JournalError>);

/// Loads the newest good snapshot; notes those that are not good, for which `load` returns why. `stored` is called again after
/// each of these, since a writer that still runs may have stored a newer one.
///
/// # Errors
/// One is of a newer build: what else that wrote is unknown to a build that reads only the older parts.
pub(super) fn load_newest<J, S: PartialEq + AsRef<Manifest>, E: From<JournalError>>(
    journal: &mut J,
    replay: &mut dyn Replay,
    stored: impl Fn(&mut J) -> Result<StoredSnapshots<S>, E>,
    load: impl Fn(&mut J, &S, &mut dyn Replay) -> Result<Result<Progress, JournalError>, E>,
) -> Result<NewestSnapshot<S>, E> {
    let mut failed = Vec::new();
    loop {
        let (snapshots, mut bad) = stored(journal)?;
        if let Some(newer) = bad.iter().position(|error| matches!(error, JournalError::NewerFormat { .. })) {
            return Err(bad.swap_remove(newer).into());
        }
        if failed.is_empty() {
            bad.iter().for_each(|error| replay.note(&error.to_string()));
        }
        let Some(snapshot) = snapshots.into_iter().find(|snapshot| !failed.contains(snapshot)) else {
            return Ok(NewestSnapshot::NoneGood);
        };
        if !replay.begin(snapshot.as_ref()) {
            return Ok(NewestSnapshot::Declined);
        }
        match load(journal, &snapshot, replay)? {
            Ok(progress) => return Ok(NewestSnapshot::Loaded(snapshot, progress)),
            Err(error) => replay.note(&format!("{error}; an older one is tried")),
        }
        failed.push(snapshot);
    }
}

/// Replays a frame once the walk has reached the position to begin at.
pub(super) fn replay_frame(
    replay: &mut dyn Replay,
    progress: &mut Progress,
    frame: &WalkedFrame<'_>,
) -> Result<bool, JournalError> {
    if frame.reached {
        progress.frame(replay, frame.decoded.bytes.len());
        replay.frame(frame.decoded.frame()).map_err(|why| frame.refused(why))?;
    }
    Ok(true)
}

/// What is left to read of the frames.
#[derive(Debug)]
pub(super) enum FramesLeft {
    /// Bytes of the files that hold them.
    Bytes(u64),
    /// Their number; their length is estimated from those that were read.
    Count(u64),
}

/// Counts bytes, and reports from time to time.
#[derive(Debug)]
pub(super) struct Progress {
    done: u64,
    reported: u64,
    /// Bytes of the snapshot that were not read yet.
    snapshot_left: u64,
    left: FramesLeft,
    frames: u64,
    frame_bytes: u64,
}

impl Progress {
    /// A snapshot of `snapshot_bytes` is read first, then these frames.
    pub fn start(snapshot_bytes: u64, left: FramesLeft) -> Self {
        Self { done: 0, reported: 0, snapshot_left: snapshot_bytes, left, frames: 0, frame_bytes: 0 }
    }

    /// A piece was read.
    pub fn piece(&mut self, replay: &mut dyn Replay, bytes: usize) {
        self.snapshot_left = self.snapshot_left.saturating_sub(bytes as u64);
        self.report(replay, bytes);
    }

    /// A frame was read.
    fn frame(&mut self, replay: &mut dyn Replay, bytes: usize) {
        let (left, step) = match &mut self.left {
            FramesLeft::Bytes(left) => (left, bytes as u64),
            FramesLeft::Count(left) => (left, 1),
        };
        *left = left.saturating_sub(step);
        self.frames += 1;
        self.frame_bytes += bytes as u64;
        self.report(replay, bytes);
    }

    fn report(&mut self, replay: &mut dyn Replay, bytes: usize) {
        self.done += bytes as u64;
        if self.done >= self.reported + STEP_BYTES {
            self.reported = self.done;
            let frames_left = match self.left {
                FramesLeft::Bytes(left) => left,
                FramesLeft::Count(left) => {
                    left.saturating_mul(self.frame_bytes.checked_div(self.frames).unwrap_or(FRAME_BYTES))
                }
            };
            replay.progress(self.done, self.done + self.snapshot_left + frames_left);
        }
    }
}
