//! The commit thread: group commit without a timer. The next frame is whatever came while the last sync ran; an idle engine
//! commits at once. The same thread ends holds whose time is over and forgets old keys.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use invengine_ledger::Payload;

use super::Shared;
use super::core::Core;
use crate::journal::JournalError;

/// Memory of a frame's buffer that is kept for the next one.
const BUFFER_BYTES_KEPT: usize = 1 << 20;
/// Longest sleep: the sweep and the forgetting of keys look at the clock themselves.
const IDLE: Duration = Duration::from_secs(1);
/// How often a full journal looks whether there is room again.
const FULL_RETRY: Duration = Duration::from_millis(100);

/// One frame on its way to the journal.
struct Frame {
    first_sequence: u64,
    last_sequence: u64,
    taken: Vec<Instant>,
}

/// Runs until the engine is closed or its journal fails.
pub(super) fn run(shared: &Shared) {
    let mut payload = Payload::default();
    let mut taken = Vec::new();
    while let Some(frame) = next_frame(shared, &mut payload, std::mem::take(&mut taken)) {
        match append(shared, &frame, &payload) {
            Ok(()) => taken = frame.taken,
            Err(error) => return shared.poison(&error.to_string()),
        }
        payload.clear(BUFFER_BYTES_KEPT);
        taken.clear();
    }
    let closed = shared.journal().close();
    if let Err(error) = closed {
        shared.poison(&error.to_string());
    }
}

/// Waits for the next frame and takes it; nothing once the engine closes.
fn next_frame(shared: &Shared, payload: &mut Payload, taken: Vec<Instant>) -> Option<Frame> {
    let mut core = shared.core();
    loop {
        if shared.poisoned.load(Acquire) {
            return None;
        }
        if !core.full {
            house_keeping(shared, &mut core);
            if !core.payload.is_empty() {
                break;
            }
        }
        if core.closing {
            return None;
        }
        core = if core.full { wait_for_room(shared, core) } else { wait_for_work(shared, core) };
    }
    let mut core = gather(shared, core);
    if shared.poisoned.load(Acquire) {
        return None;
    }
    std::mem::swap(&mut core.payload, payload);
    let last_sequence = core.ledger.sequence();
    let first_sequence = shared.durable_sequence.load(Acquire) + 1;
    let taken = std::mem::replace(&mut core.taken, taken);
    Some(Frame { first_sequence, last_sequence, taken })
}

/// Lets a door on this core end its turn, so that what has already come shares the sync. Never waits: with nobody else to
/// run on the core it returns at once.
fn gather<'a>(shared: &'a Shared, core: MutexGuard<'a, Core>) -> MutexGuard<'a, Core> {
    drop(core);
    std::thread::yield_now();
    shared.core()
}

fn house_keeping(shared: &Shared, core: &mut Core) {
    let now_ms = shared.clock.at(Instant::now());
    if core.ledger.next_expiry_ms().is_some_and(|expiry| expiry <= now_ms) {
        core.ledger.sweep(now_ms, &mut core.payload, core.frame_bytes_max);
    }
    core.ledger.forget_keys(now_ms, &mut core.payload, core.frame_bytes_max);
    core.ledger.bound_unhashed();
}

fn wait_for_work<'a>(shared: &'a Shared, core: MutexGuard<'a, Core>) -> MutexGuard<'a, Core> {
    let until_expiry = core.ledger.next_expiry_ms().map(|expiry| shared.clock.until(expiry, Instant::now()));
    let wait = until_expiry.map_or(IDLE, |until| until.clamp(Duration::from_micros(100), IDLE));
    shared.work.wait_timeout(core, wait).unwrap_or_else(PoisonError::into_inner).0
}

fn wait_for_room<'a>(shared: &'a Shared, core: MutexGuard<'a, Core>) -> MutexGuard<'a, Core> {
    let frame_bytes_max = core.frame_bytes_max as u64;
    drop(shared.work.wait_timeout(core, FULL_RETRY).unwrap_or_else(PoisonError::into_inner));
    let room = shared.journal().ensure_room(frame_bytes_max);
    match room {
        Ok(()) => shared.core().full = false,
        Err(JournalError::Full { .. }) => {}
        Err(error) => shared.poison(&error.to_string()),
    }
    shared.core()
}

fn append(shared: &Shared, frame: &Frame, payload: &Payload) -> Result<(), JournalError> {
    let mut journal = shared.journal();
    let started = Instant::now();
    journal.append(frame.first_sequence, frame.last_sequence, payload.frame_time_ms(), payload.bytes())?;
    let ended = Instant::now();
    shared.durable_sequence.store(frame.last_sequence, Release);
    shared.in_flight.fetch_sub(frame.taken.len() as u32, AcqRel);
    shared.tell_committed();
    let room = journal.ensure_room(shared.frame_bytes_max);
    drop(journal);
    count(shared, frame, payload, started, ended);
    match room {
        Err(JournalError::Full { .. }) => {
            shared.core().full = true;
            Ok(())
        }
        other => other,
    }
}

fn count(shared: &Shared, frame: &Frame, payload: &Payload, started: Instant, ended: Instant) {
    let mut counts = shared.commits.lock().unwrap_or_else(PoisonError::into_inner);
    counts.frames += 1;
    counts.journal_bytes += payload.bytes().len() as u64;
    counts.sync_seconds.add_time(ended.saturating_duration_since(started), 1);
    counts.frame_commands.add(frame.taken.len() as f64, 1);
    for taken in &frame.taken {
        counts.commit_seconds.add_time(ended.saturating_duration_since(*taken), 1);
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
