//! The commit thread: group commit without a timer. The next frame holds whatever was decided while the last sync ran;
//! an idle engine commits at once. The same thread expires holds, forgets old keys, and verifies that the journal still
//! belongs to this engine.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::time::{Duration, Instant};

use invengine_ledger::{Payload, planted};

use super::core::Core;
use super::marker::AcknowledgedPosition;
use super::{Shared, lock};
use crate::journal::JournalError;

/// Memory of a frame's buffer that is kept for the next one.
const BUFFER_BYTES_KEPT: usize = 1 << 20;
/// Longest sleep: the sweep and the forgetting of keys need a look at the clock now and then.
const IDLE: Duration = Duration::from_secs(1);
/// How often to check whether a full journal has room again.
const FULL_RETRY: Duration = Duration::from_millis(100);

/// The result of one step of the commit thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A frame is durable.
    Committed,
    /// There is nothing to do for this long, unless a call arrives.
    Idle(Duration),
    /// The journal is full; try again after this long.
    Full(Duration),
    /// The engine was closed, or its journal failed: there is no next step.
    Ended,
}

/// One frame on its way to the journal.
struct PendingFrame {
    first_sequence: u64,
    last_sequence: u64,
    decided_at: Vec<Instant>,
}

/// Makes one frame after the other durable; its buffers alternate with those of the open frame.
#[derive(Default)]
pub(super) struct Committer {
    payload: Payload,
    decided_at: Vec<Instant>,
}

impl Committer {
    /// Does the housekeeping, then takes the open frame and makes it durable. Never sleeps.
    pub fn step(&mut self, shared: &Shared, now: Instant) -> Step {
        self.try_step(shared, now).unwrap_or_else(|error| {
            shared.fenced.store(matches!(error, JournalError::Fenced { .. }), Release);
            shared.poison(&error.to_string());
            Step::Ended
        })
    }

    fn try_step(&mut self, shared: &Shared, now: Instant) -> Result<Step, JournalError> {
        if shared.ring.durable().poisoned {
            return Ok(Step::Ended);
        }
        if let Some(watch) = &shared.watch {
            watch.check(now, shared.clock.at(now));
        }
        if shared.full.load(Acquire) && !has_room_again(shared)? {
            return Ok(Step::Full(FULL_RETRY));
        }
        let Some(frame) = self.take_frame(shared, now) else {
            return self.idle(shared, now);
        };
        append(shared, &frame, &self.payload, now)?;
        self.decided_at = frame.decided_at;
        self.payload.clear(BUFFER_BYTES_KEPT);
        self.decided_at.clear();
        Ok(Step::Committed)
    }

    /// The open frame, after housekeeping has added its records; `None` if it is empty.
    fn take_frame(&mut self, shared: &Shared, now: Instant) -> Option<PendingFrame> {
        let mut core = shared.core();
        housekeeping(&mut core, shared.clock.at(now));
        if core.payload.is_empty() {
            return None;
        }
        // A door thread on this core gets to finish its turn, so that the calls which have already arrived share the
        // sync. Never waits: if there is nothing else to run on the core, it returns at once.
        drop(core);
        std::thread::yield_now();
        let mut core = shared.core();
        if shared.ring.durable().poisoned {
            // This frame may hold a part of what a decision that panicked was writing.
            return None;
        }
        std::mem::swap(&mut core.payload, &mut self.payload);
        let last_sequence = core.ledger.sequence();
        let first_sequence = shared.ring.durable().sequence + 1;
        let decided_at = std::mem::replace(&mut core.decided_at, std::mem::take(&mut self.decided_at));
        Some(PendingFrame { first_sequence, last_sequence, decided_at })
    }

    fn idle(&mut self, shared: &Shared, now: Instant) -> Result<Step, JournalError> {
        if shared.core().closing {
            return Ok(Step::Ended);
        }
        if let Some(lease) = &shared.lease
            && lease.is_due(now)
        {
            let is_ours = shared.journal().verify_ownership()?;
            if is_ours {
                lease.confirm(now);
            }
            // Whether or not there was an answer: the next question waits for its turn.
            lease.note_asked(now);
        }
        Ok(Step::Idle(idle_time(shared, now)))
    }
}

/// Runs until the engine is closed or its journal fails.
pub(super) fn run(shared: &Shared) {
    let mut committer = Committer::default();
    loop {
        match committer.step(shared, Instant::now()) {
            Step::Committed => {}
            Step::Idle(at_most) => wait_for_work(shared, at_most),
            Step::Full(at_most) => drop(shared.ring.sleep(shared.core(), at_most)),
            Step::Ended => break,
        }
    }
    if !shared.ring.durable().poisoned {
        let closed = shared.journal().close();
        if let Err(error) = closed {
            shared.poison(&error.to_string());
        }
    }
}

/// Sleeps, unless work has arrived since the step ended.
fn wait_for_work(shared: &Shared, at_most: Duration) {
    let core = shared.core();
    if core.payload.is_empty() && !core.closing && !shared.ring.durable().poisoned {
        drop(shared.ring.sleep(core, at_most));
    }
}

fn idle_time(shared: &Shared, now: Instant) -> Duration {
    let until_expiry = shared.core().ledger.next_expiry_ms().map(|expiry| shared.clock.until(expiry, now));
    let until_heartbeat = shared.lease.as_ref().map(|lease| lease.until_due(now));
    let until = [until_expiry, until_heartbeat].into_iter().flatten().min().unwrap_or(IDLE);
    until.clamp(Duration::from_micros(100), IDLE)
}

fn housekeeping(core: &mut Core, now_ms: i64) {
    if core.ledger.next_expiry_ms().is_some_and(|expiry| expiry <= now_ms) {
        core.ledger.sweep(now_ms, &mut core.payload, core.frame_bytes_max);
    }
    let tag = core.ledger.tag();
    core.drain(now_ms, tag);
    core.end_overdue_waits(now_ms, tag);
    core.ledger.forget_keys(now_ms, &mut core.payload, core.frame_bytes_max);
    core.ledger.bound_unhashed();
}

fn has_room_again(shared: &Shared) -> Result<bool, JournalError> {
    let room = shared.journal().ensure_room(shared.frame_bytes_max);
    match room {
        Ok(()) => shared.full.store(false, Release),
        Err(JournalError::Full { .. }) => return Ok(false),
        Err(error) => return Err(error),
    }
    Ok(true)
}

fn append(shared: &Shared, frame: &PendingFrame, payload: &Payload, now: Instant) -> Result<(), JournalError> {
    let mut journal = shared.journal();
    if planted::is("answer_before_sync") {
        shared.commit(frame.last_sequence);
    }
    let started = Instant::now();
    journal.append(frame.first_sequence, frame.last_sequence, payload.frame_time_ms(), payload.bytes())?;
    let ended = Instant::now();
    if let Some(lease) = &shared.lease {
        // The moment before the append: what happened during it is not known.
        lease.confirm(now);
    }
    if let Some(marker) = &shared.acknowledgements.marker {
        // Noted before any answer is sent, so that no acknowledged event can be missing without the next start
        // noticing.
        marker.note(AcknowledgedPosition { writer_epoch: shared.facts.writer_epoch, sequence: frame.last_sequence });
    }
    shared.in_flight.fetch_sub(frame.decided_at.len() as u32, AcqRel);
    shared.commit(frame.last_sequence);
    let room = journal.ensure_room(shared.frame_bytes_max);
    drop(journal);
    count(shared, frame, payload, started, ended);
    match room {
        Err(JournalError::Full { .. }) => {
            shared.full.store(true, Release);
            Ok(())
        }
        other => other,
    }
}

fn count(shared: &Shared, frame: &PendingFrame, payload: &Payload, started: Instant, ended: Instant) {
    let mut counts = lock(&shared.commits);
    counts.frames += 1;
    counts.journal_bytes += payload.bytes().len() as u64;
    counts.sync_seconds.add_time(ended.saturating_duration_since(started), 1);
    counts.frame_commands.add(frame.decided_at.len() as f64, 1);
    for decided_at in &frame.decided_at {
        counts.commit_seconds.add_time(ended.saturating_duration_since(*decided_at), 1);
    }
}

/// Starts the commit thread.
pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("invengine-commit".into()).spawn(move || {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&shared)));
        if ended.is_err() {
            shared.poison("the commit thread failed");
        }
        shared.ended();
    })
}
