//! Snapshots: written alongside the engine, never from its memory.
//!
//! A separate thread folds what is durable into a ledger of its own (the newest snapshot and the frames after it),
//! writes that ledger out and lets the journal archive what no recovery needs any more. So a snapshot costs the writer
//! only time on the disk and on a core, and only a fifth of those while the engine is busy; it also proves that the
//! journal can be read. The price is the memory of a second ledger while it runs.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use invengine_ledger::{Ledger, LedgerOptions};

use super::recovery::{Rebuild, fold};
use super::{Shared, lock};
use crate::incident;
use crate::journal::{JournalError, JournalPosition, Manifest, Replay, SnapshotStore};
use crate::refusal::Refusal;

/// How often to check whether a snapshot is due.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long to wait after a failed snapshot before the next scheduled one.
const RETRY: Duration = Duration::from_secs(60);
/// How long to work between two checks of the throttle.
const WORK: Duration = Duration::from_millis(2);
/// Why a snapshot is abandoned without a fault.
const CLOSING: &str = "the engine is closing";
/// Time to pause per unit of work time while the engine is busy.
const REST_FACTOR: u32 = 4;

/// When snapshots are written without a request; 0 means never.
#[derive(Clone, Copy, Debug)]
pub(super) struct SnapshotSchedule {
    /// After this many bytes of journal.
    pub journal_bytes: u64,
    /// After this time, if there are new events.
    pub interval: Duration,
}

/// The state of the snapshots.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(super) struct SnapshotStatus {
    /// Position of the newest snapshot; 0 if there is none.
    pub sequence: u64,
    /// Engine time of that position.
    pub time_ms: i64,
    /// Bytes of its pieces.
    pub bytes: u64,
    /// The first sequence that can still be read.
    pub first_sequence: u64,
    /// Written by this engine so far.
    pub written: u64,
    /// Failed so far.
    pub failed: u64,
}

/// Why a snapshot was not written.
#[derive(Clone, Debug)]
enum SnapshotFailure {
    NoRoom(String),
    Other(String),
}

impl SnapshotFailure {
    fn of(error: &JournalError) -> Self {
        let why = error.to_string();
        if error.is_lack_of_space() { SnapshotFailure::NoRoom(why) } else { SnapshotFailure::Other(why) }
    }

    /// The refusal for the caller; details that only operators may see go to the log.
    fn refusal(&self) -> Refusal {
        match self {
            SnapshotFailure::NoRoom(why) => {
                eprintln!("invengine: {why}");
                Refusal::snapshot_full()
            }
            SnapshotFailure::Other(why) => incident::report("CreateSnapshot", why),
        }
    }
}

#[derive(Default)]
struct State {
    asked: u64,
    answered: u64,
    outcome: Option<Result<u64, SnapshotFailure>>,
    stop: bool,
    status: SnapshotStatus,
}

/// The requests to the snapshot thread and their results.
pub(super) struct Snapshots {
    state: Mutex<State>,
    changed: Condvar,
    /// `None` for a journal that keeps no snapshots.
    store: Mutex<Option<Box<dyn SnapshotStore>>>,
    schedule: SnapshotSchedule,
    options: LedgerOptions,
}

impl Snapshots {
    /// Starts with the newest snapshot of the journal.
    pub fn new(
        mut store: Option<Box<dyn SnapshotStore>>,
        schedule: SnapshotSchedule,
        options: LedgerOptions,
    ) -> Result<Self, JournalError> {
        let mut status = SnapshotStatus::default();
        if let Some(store) = &mut store {
            status.first_sequence = store.first_sequence()?;
            status = store.snapshots()?.first().map_or(status, |manifest| status.at(manifest));
        }
        let state = Mutex::new(State { status, ..State::default() });
        Ok(Snapshots { state, changed: Condvar::new(), store: Mutex::new(store), schedule, options })
    }

    /// The state of the snapshots.
    pub fn status(&self) -> SnapshotStatus {
        lock(&self.state).status
    }

    /// Whether this journal keeps snapshots.
    pub fn has_store(&self) -> bool {
        lock(&self.store).is_some()
    }

    /// Requests a snapshot of what is durable now or later, waits for it and returns its position.
    pub fn create(&self, until: Instant) -> Result<u64, Refusal> {
        let mut state = lock(&self.state);
        state.asked += 1;
        let mine = state.asked;
        self.changed.notify_all();
        while state.answered < mine {
            let left = until.saturating_duration_since(Instant::now());
            if state.stop {
                return Err(Refusal::draining());
            }
            if left.is_zero() {
                return Err(Refusal::snapshot_takes_longer());
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        match state.outcome.clone() {
            Some(Ok(sequence)) => Ok(sequence),
            Some(Err(failed)) => Err(failed.refusal()),
            None => Err(Refusal::draining()),
        }
    }

    /// Tells the thread to end: an unfinished snapshot is abandoned.
    pub fn stop(&self) {
        lock(&self.state).stop = true;
        self.changed.notify_all();
    }

    /// The options of the ledger.
    pub fn options(&self) -> &LedgerOptions {
        &self.options
    }

    /// Whether the engine is closing.
    pub fn stopped(&self) -> bool {
        lock(&self.state).stop
    }

    /// Waits until a snapshot may be due. Returns whether one was requested, and the number of that request; `None`
    /// once the thread is to end.
    fn wait(&self) -> Option<(bool, u64)> {
        let state = lock(&self.state);
        if state.stop {
            return None;
        }
        if state.asked > state.answered {
            return Some((true, state.asked));
        }
        let state = self.changed.wait_timeout(state, CHECK_INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
        (!state.stop).then_some((state.asked > state.answered, state.asked))
    }

    fn note(&self, asked: u64, outcome: Result<(Manifest, u64), JournalError>) {
        let mut state = lock(&self.state);
        state.answered = asked;
        match outcome {
            Ok((manifest, first_sequence)) => {
                state.outcome = Some(Ok(manifest.position.sequence()));
                let written = state.status.written + 1;
                state.status = SnapshotStatus { first_sequence, written, ..state.status.at(&manifest) };
            }
            Err(error) => {
                state.outcome = Some(Err(SnapshotFailure::of(&error)));
                state.status.failed += 1;
            }
        }
        self.changed.notify_all();
    }
}

impl SnapshotStatus {
    fn at(self, manifest: &Manifest) -> Self {
        let (sequence, time_ms) = (manifest.position.sequence(), manifest.position.time_ms());
        SnapshotStatus { sequence, time_ms, bytes: manifest.bytes, ..self }
    }
}

/// Runs until the engine is closed.
pub(super) fn run(shared: &Shared) {
    let snapshots = &shared.snapshots;
    let mut written_at = Instant::now();
    let mut bytes_at = 0;
    let mut retry_at = written_at;
    while let Some((is_asked, asked)) = snapshots.wait() {
        shared.history.forget_unused(Instant::now());
        let journal_bytes = shared.tail_bytes + lock(&shared.commits).journal_bytes;
        let due = is_asked || Instant::now() >= retry_at && is_due(shared, written_at, journal_bytes - bytes_at);
        if !due || shared.ring.durable().poisoned && !is_asked {
            continue;
        }
        let throttle = SnapshotThrottle::new(shared);
        let outcome = write(shared, throttle);
        match &outcome {
            Ok(_) => (written_at, bytes_at) = (Instant::now(), journal_bytes),
            Err(_) if snapshots.stopped() => return,
            Err(error) => {
                eprintln!(
                    "invengine: no snapshot was written: {error}; the journal continues, the next try is in a minute"
                );
                retry_at = Instant::now() + RETRY;
            }
        }
        snapshots.note(asked, outcome);
    }
}

fn is_due(shared: &Shared, written_at: Instant, journal_bytes: u64) -> bool {
    let schedule = shared.snapshots.schedule;
    let grown = schedule.journal_bytes > 0 && journal_bytes >= schedule.journal_bytes;
    let old = !schedule.interval.is_zero() && written_at.elapsed() >= schedule.interval;
    grown || old && shared.ring.durable().sequence > shared.snapshots.status().sequence
}

/// Writes a snapshot of what is durable now, unless the newest one covers it already; then trims. Returns the newest
/// one and the first sequence that can still be read.
pub(super) fn write(shared: &Shared, mut throttle: SnapshotThrottle<'_>) -> Result<(Manifest, u64), JournalError> {
    let snapshots = &shared.snapshots;
    let mut store = lock(&snapshots.store);
    let Some(store) = store.as_deref_mut() else {
        return Err(no_snapshot("this journal keeps no snapshots"));
    };
    let target = shared.ring.durable().sequence;
    let (mut ledger, position, newest) = newest_state(store, &snapshots.options, &mut throttle)?;
    let newest = match newest {
        Some(manifest) if manifest.position.sequence() >= target => manifest,
        _ => {
            let position = fold_to(store, &mut ledger, position, target, &mut throttle)?;
            write_image(store, &mut ledger, &position, &mut throttle)?
        }
    };
    drop(ledger);
    let trimmed = store.trim(shared.clock.at(Instant::now()))?;
    Ok((newest, trimmed.first_sequence))
}

/// The newest stored state: that of a snapshot, or the empty one.
fn newest_state(
    store: &mut dyn SnapshotStore,
    options: &LedgerOptions,
    throttle: &mut SnapshotThrottle<'_>,
) -> Result<(Ledger, JournalPosition, Option<Manifest>), JournalError> {
    for manifest in store.snapshots()? {
        let loaded = load(store, &manifest, options, &mut || throttle.pause().map_err(|error| error.to_string()));
        match loaded {
            Ok(ledger) => return Ok((ledger, manifest.position, Some(manifest))),
            Err(_) if throttle.is_stopped() => return Err(no_snapshot(CLOSING)),
            Err(why) => eprintln!("invengine: the snapshot at sequence {} is bad: {why}", manifest.position.sequence()),
        }
    }
    Ok((Ledger::new(options.clone()), JournalPosition::start(&options.name), None))
}

/// Loads the state of a snapshot; `pause` is called before each piece, and ends the loading with an error.
pub(super) fn load(
    store: &mut dyn SnapshotStore,
    manifest: &Manifest,
    options: &LedgerOptions,
    pause: &mut dyn FnMut() -> Result<(), String>,
) -> Result<Ledger, String> {
    let mut rebuild = Rebuild::new(options.clone(), Arc::default());
    rebuild.begin(manifest);
    let read = store.read(manifest, &mut |piece| {
        pause()?;
        rebuild.piece(piece)
    });
    read.map_err(|error| error.to_string()).and_then(|()| rebuild.end(manifest))?;
    Ok(rebuild.ledger)
}

fn fold_to(
    store: &mut dyn SnapshotStore,
    ledger: &mut Ledger,
    position: JournalPosition,
    target: u64,
    throttle: &mut SnapshotThrottle<'_>,
) -> Result<JournalPosition, JournalError> {
    let mut bad = None;
    let position = store.frames_after(&position, &mut |frame| {
        bad = throttle.pause().err().or_else(|| fold(ledger, &frame).err().map(|why| no_snapshot(&why)));
        bad.is_none() && frame.last_sequence < target
    })?;
    bad.map_or(Ok(position), Err)
}

fn write_image(
    store: &mut dyn SnapshotStore,
    ledger: &mut Ledger,
    position: &JournalPosition,
    throttle: &mut SnapshotThrottle<'_>,
) -> Result<Manifest, JournalError> {
    let digest = ledger.digest().to_string();
    store.begin(position)?;
    let mut image = ledger.image();
    let mut piece = Vec::new();
    while image.next(&mut piece) {
        store.piece(&piece)?;
        throttle.pause()?;
    }
    store.commit(&digest)
}

fn no_snapshot(why: &str) -> JournalError {
    JournalError::NoSnapshot { why: why.into() }
}

/// Leaves the core and the disk to the engine while the engine is busy.
pub(super) struct SnapshotThrottle<'p> {
    shared: Option<&'p Shared>,
    started: Instant,
    sequence: u64,
}

impl<'p> SnapshotThrottle<'p> {
    fn new(shared: &'p Shared) -> Self {
        SnapshotThrottle { shared: Some(shared), started: Instant::now(), sequence: shared.ring.durable().sequence }
    }

    /// No throttling, for an engine that advances only in `step`.
    pub fn unlimited() -> Self {
        SnapshotThrottle { shared: None, started: Instant::now(), sequence: 0 }
    }

    /// Whether the engine is closing.
    fn is_stopped(&self) -> bool {
        self.shared.is_some_and(|shared| shared.snapshots.stopped())
    }

    /// Pauses if it is time to; fails once the engine is closing.
    fn pause(&mut self) -> Result<(), JournalError> {
        let Some(shared) = self.shared else { return Ok(()) };
        let worked = self.started.elapsed();
        if worked < WORK {
            return Ok(());
        }
        if self.is_stopped() {
            return Err(no_snapshot(CLOSING));
        }
        let sequence = shared.ring.durable().sequence;
        if sequence != self.sequence {
            std::thread::sleep((worked * REST_FACTOR).min(CHECK_INTERVAL));
        }
        self.sequence = sequence;
        self.started = Instant::now();
        Ok(())
    }
}

/// Starts the snapshot thread.
pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("invengine-snapshot".into()).spawn(move || {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&shared)));
        if ended.is_err() {
            eprintln!("invengine: the snapshot thread failed; the journal continues without snapshots until a restart");
        }
        shared.snapshots.stop();
    })
}
