//! The engine: one ledger with its journal. Commands are decided one after the other and made durable a frame at a
//! time.
//!
//! All decisions are made under one lock, whose holder never does I/O; the commit thread takes the records that have
//! accumulated and makes them durable. A caller gets the answer as soon as it is decided, together with the sequence
//! that it depends on, and sends it only once that sequence is durable.

mod calls;
mod clock;
mod commit;
mod core;
mod counters;
mod description;
mod events;
mod history;
mod lease;
mod marker;
mod messages;
mod opening;
#[cfg(test)]
mod panics;
mod positions;
mod recovery;
mod ring;
mod settings;
mod snapshots;
mod start;
mod start_clock;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use invengine_wire::v1;
use prost::Message;

use self::clock::Clock;
pub(crate) use self::clock::wall_ms;
use self::commit::Committer;
pub use self::commit::Step;
use self::core::Core;
use self::counters::{CommitCounts, Stats};
use self::description::create_snapshot_response;
pub use self::events::EventPage;
use self::events::Readers;
use self::history::HistoryReads;
use self::lease::Lease;
use self::marker::Acknowledgements;
pub use self::opening::Opening;
pub use self::positions::EventQuery;
pub(crate) use self::recovery::Rebuild;
pub use self::recovery::RecoveryProgress;
pub use self::ring::Durable;
use self::ring::Ring;
pub use self::settings::{EngineSettings, IN_FLIGHT_MAX, JournalKind};
use self::snapshots::{SnapshotThrottle, Snapshots};
use self::start::{build_shared, holds_journal, marker_id_of, open_journal, proved_lease};
pub(crate) use self::start::{file_options, ledger_options, redis_options};
pub(crate) use self::start_clock::StartClock;
use self::watch::Watch;
use crate::incident;
use crate::journal::{Journal, JournalError, Replay};
use crate::methods::MethodKind;
use crate::positions::EventEpochs;
use crate::refusal::Refusal;

/// The longest wait for a snapshot, for a caller without a deadline.
const SNAPSHOT_TIME_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// One unary call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Path, such as `/invengine.v1.ReservationService/Reserve`.
    pub path: &'a str,
    /// The request message.
    pub payload: &'a [u8],
    /// Idempotency key from the metadata, used where the message has none; may be empty.
    pub key: &'a str,
    /// Ledger from the metadata; empty means this one.
    pub ledger: &'a str,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
}

/// The decision on a call. Its answer may be sent once everything up to `depends_on` is durable (0: at once).
#[derive(Debug)]
pub struct Decision {
    /// The answer message, or the refusal.
    pub reply: Result<Vec<u8>, Refusal>,
    /// The last sequence that the answer depends on.
    pub depends_on: u64,
}

impl Decision {
    /// Bytes of the answer message.
    pub fn bytes(&self) -> usize {
        self.reply.as_ref().map_or(0, Vec::len)
    }
}

/// Why an engine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting is wrong.
    #[error("{0}")]
    Setting(String),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The commit thread could not be started.
    #[error("cannot start a thread: {0}; raise the limit of threads")]
    Thread(#[from] std::io::Error),
}

/// Opens a journal and replays its frames.
pub type OpenJournal<'o> = &'o mut dyn FnMut(&mut dyn Replay) -> Result<Box<dyn Journal>, JournalError>;

type Hook = Arc<dyn Fn() + Send + Sync>;

/// What the callers, the commit thread and the readers share.
struct Shared {
    ring: Ring<Core>,
    journal: Mutex<Box<dyn Journal>>,
    in_flight: AtomicU32,
    in_flight_max: u32,
    /// There is no space for the journal.
    full: AtomicBool,
    /// Only for a journal that another process could claim.
    lease: Option<Lease>,
    /// Another writer has claimed the journal, which is why the engine is poisoned.
    fenced: AtomicBool,
    snapshots: Snapshots,
    /// Only for a journal in Redis, which may lose what it confirmed.
    acknowledgements: Acknowledgements,
    /// Bytes of journal after the newest snapshot at the start.
    tail_bytes: u64,
    /// `None` in a simulation, whose wall clock is not that of this machine.
    watch: Option<Watch>,
    hooks: Mutex<Vec<Hook>>,
    commits: Mutex<CommitCounts>,
    readers: Readers,
    history: HistoryReads,
    /// Who wrote the events before this start.
    epochs: EventEpochs,
    clock: Clock,
    frame_bytes_max: u64,
    facts: Facts,
}

/// What does not change after the start.
struct Facts {
    ledger: String,
    tag: u64,
    journal: &'static str,
    loss_window: String,
    writer_epoch: u64,
    recovery: Duration,
    recovered_events: u64,
}

/// One ledger with its journal. Every method may be called from any thread.
pub struct Engine {
    shared: Arc<Shared>,
    commit: Mutex<Commits>,
    snapshots: Mutex<Option<JoinHandle<()>>>,
}

/// Who makes frames durable.
enum Commits {
    /// A thread of the engine's own; `None` once the engine is closed.
    Thread(Option<JoinHandle<()>>),
    /// Whoever calls `step`.
    Steps(Committer),
}

impl Engine {
    /// Opens an engine: recovers its journal and claims the next writer epoch.
    ///
    /// # Errors
    /// A setting is wrong, the directory belongs to another process, the journal is damaged.
    pub fn open(settings: &EngineSettings) -> Result<Self, OpenError> {
        Self::open_with_progress(settings, Arc::default())
    }

    fn open_with_progress(settings: &EngineSettings, progress: Arc<RecoveryProgress>) -> Result<Self, OpenError> {
        let started = Instant::now();
        let clock = StartClock::of(settings);
        let mut rebuild = Rebuild::new(ledger_options(settings), progress).for_start(clock);
        let marker_id = match settings.journal {
            JournalKind::Redis => Some(marker_id_of(settings)?),
            JournalKind::File | JournalKind::Memory => None,
        };
        let acknowledged = marker_id.as_ref().map_or(Ok(None), marker::read).map_err(OpenError::Setting)?;
        if settings.force_empty && holds_journal(&settings.directory) {
            // It is set aside before anything is read, and its ledger continues empty.
            rebuild = rebuild.of_existing();
        }
        let mut journal = open_journal(settings, acknowledged, &mut rebuild)?;
        let lease = proved_lease(&mut *journal, started)?;
        let acknowledgements = marker_id.map_or_else(Acknowledgements::default, |marker_id| {
            Acknowledgements::compare(&marker_id, acknowledged, &rebuild.ledger)
        });
        let shared = Arc::new(Shared {
            acknowledgements,
            ..build_shared(settings, rebuild, journal, lease, (started, Instant::now()), clock)?
        });
        let commit = commit::start(Arc::clone(&shared))?;
        let engine = Engine { shared, commit: Mutex::new(Commits::Thread(Some(commit))), snapshots: Mutex::default() };
        if engine.shared.snapshots.has_store() {
            *lock(&engine.snapshots) = Some(snapshots::start(Arc::clone(&engine.shared))?);
        }
        Ok(engine)
    }

    /// Opens an engine without a thread and without a clock of its own, for simulations: it advances only in `step`,
    /// and its caller provides the time. `open` opens the journal.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_driven(settings: &EngineSettings, now: Instant, open: OpenJournal<'_>) -> Result<Self, OpenError> {
        settings.check().map_err(OpenError::Setting)?;
        let clock = StartClock::of(settings);
        let mut rebuild = Rebuild::new(ledger_options(settings), Arc::default()).for_start(clock);
        let journal = open(&mut rebuild)?;
        let lease = journal.is_leased().then(|| Lease::start(now));
        let shared = Arc::new(build_shared(settings, rebuild, journal, lease, (now, now), clock)?);
        Ok(Engine { shared, commit: Mutex::new(Commits::Steps(Committer::default())), snapshots: Mutex::default() })
    }

    /// Does what the commit thread would do at this moment; returns `Ended` for an engine that has a thread of its own.
    pub fn step(&self, now: Instant) -> Step {
        match &mut *lock(&self.commit) {
            Commits::Thread(_) => Step::Ended,
            Commits::Steps(committer) => committer.step(&self.shared, now),
        }
    }

    /// Writes a snapshot of what is durable, unless there is one already, and returns its position. Blocks on the disk:
    /// do not call it from an async thread.
    ///
    /// # Errors
    /// The journal keeps no snapshots, the snapshot failed, or `until` has passed, in which case it is still being
    /// written.
    pub fn create_snapshot(&self, until: Instant) -> Result<u64, Refusal> {
        if !self.shared.snapshots.has_store() {
            return Err(Refusal::unimplemented("a snapshot of this kind of journal"));
        }
        let threaded = matches!(&*lock(&self.commit), Commits::Thread(_));
        if threaded {
            return self.shared.snapshots.create(until);
        }
        let written = snapshots::write(&self.shared, SnapshotThrottle::unlimited());
        // A simulated engine fails all the time, and nobody reads its log.
        written.map(|(manifest, _)| manifest.position.sequence()).map_err(|_| Refusal::internal("simulated"))
    }

    /// Decides a call now. Never waits for the disk.
    pub fn call(&self, call: &Call<'_>) -> Decision {
        self.call_at(call, Instant::now())
    }

    /// Like `call`, at a moment that the caller provides.
    pub fn call_at(&self, call: &Call<'_>, now: Instant) -> Decision {
        self.shared.call(call, now)
    }

    /// Answers a call of a method that itself reads or writes a disk ([`crate::methods::Method::waits`]). Blocks: do not call
    /// it from an async thread.
    ///
    /// # Errors
    /// The call is refused, or the answer to any other method would be.
    pub fn call_waiting(&self, call: &Call<'_>) -> Result<Vec<u8>, Refusal> {
        let answered = catch_unwind(AssertUnwindSafe(|| {
            let moment = Instant::now();
            match self.shared.admit(call, moment)?.kind {
                MethodKind::CreateSnapshot => {
                    v1::CreateSnapshotRequest::decode(call.payload).map_err(|_| Refusal::malformed())?;
                    let until = call.deadline.unwrap_or(moment + SNAPSHOT_TIME_MAX);
                    self.create_snapshot(until).map(create_snapshot_response)
                }
                MethodKind::StateAt => self.shared.state_at(call, moment),
                MethodKind::InventoryHistory => self.shared.inventory_history(call, moment),
                _ => Err(Refusal::unimplemented("this method as a call that waits")),
            }
        }));
        answered.unwrap_or_else(|panic| Err(incident::report(call.path, incident::cause(&*panic))))
    }

    /// How far the journal is durable. Reads two atomics.
    #[inline]
    pub fn durable(&self) -> Durable {
        self.shared.ring.durable()
    }

    /// Calls `hook` after every commit and when the engine is poisoned, from the commit thread: it must be quick.
    pub fn on_commit(&self, hook: Arc<dyn Fn() + Send + Sync>) {
        lock(&self.shared.hooks).push(hook);
    }

    /// Waits until everything up to `sequence` is durable, the engine is poisoned, or `until` has passed.
    pub fn wait(&self, sequence: u64, until: Instant) -> Durable {
        self.shared.ring.wait(sequence, until)
    }

    /// What a `ReadEvents` asks for, if the position that it names belongs to this history. May read the disk: do not
    /// call it from an async thread.
    ///
    /// # Errors
    /// The call is refused as any other would be, a field is invalid, or the position does not belong to this history
    /// or is no longer kept.
    pub fn begin_events(&self, call: &Call<'_>) -> Result<EventQuery, Refusal> {
        self.shared.begin_events(call, Instant::now())
    }

    /// The next durable events that a reader asks for; none if there are none yet. Reads the disk: do not call it from an
    /// async thread.
    ///
    /// # Errors
    /// The engine is poisoned, the sequence is beyond the next event, or the journal cannot be read.
    pub fn read_events(&self, wanted: &EventQuery) -> Result<EventPage, Refusal> {
        self.shared.read_events(wanted)
    }

    /// Counters and gauges, as a JSON object.
    pub fn stats(&self) -> String {
        let shared = &*self.shared;
        let core = shared.core();
        let commits = lock(&shared.commits);
        let now_ms = shared.clock.at(Instant::now());
        let durable = self.durable();
        serde_json::to_string(&Stats {
            commands: &core.counts,
            sequence: core.ledger.sequence(),
            durable_sequence: durable.sequence,
            writer_epoch: shared.facts.writer_epoch,
            in_flight: shared.in_flight.load(Acquire),
            open_reservations: core.ledger.open_reservations(),
            keys: core.ledger.key_count(),
            key_bytes: core.ledger.key_bytes(),
            refusals: core.ledger.refusal_count(),
            refusal_bytes: core.ledger.refusal_bytes(),
            refusal_bytes_max: core.ledger.refusal_bytes_max(),
            levels: core.ledger.level_count(),
            expired: core.ledger.expired_reservations(),
            engine_time_ms: now_ms,
            effective_window_ms: core.ledger.effective_window_ms(now_ms),
            effective_refusal_window_ms: core.ledger.effective_refusal_window_ms(now_ms),
            poisoned: durable.poisoned,
            draining: core.draining,
            journal_full: shared.full.load(Acquire),
            recovery_ms: shared.facts.recovery.as_secs_f64() * 1_000.0,
            recovered_events: shared.facts.recovered_events,
            lost_events: shared.acknowledgements.lost_events,
            snapshots: shared.snapshots.status(),
            wall_clock_drift_ms: shared.watch.as_ref().map_or(0, Watch::drift_ms),
            wall_clock_jumps: shared.watch.as_ref().map_or(0, Watch::jumps),
            commits: &commits,
        })
        .unwrap_or_default()
    }

    /// Refuses new commands (DRAINING) and returns once everything that was accepted is durable or the engine is
    /// poisoned.
    pub fn drain(&self) {
        let sequence = {
            let mut core = self.shared.core();
            core.draining = true;
            core.ledger.sequence()
        };
        self.shared.ring.wake();
        let mut durable = self.durable();
        while durable.sequence < sequence && !durable.poisoned && !self.shared.ring.has_ended() {
            durable = self.wait(sequence, Instant::now() + Duration::from_secs(1));
        }
    }

    /// Drains, ends the commit thread and releases the journal. Closing again does nothing, nor does closing a driven
    /// engine: dropping that one simulates a crash.
    pub fn close(&self) {
        let mut commit = lock(&self.commit);
        let Commits::Thread(commit) = &mut *commit else {
            return;
        };
        self.shared.snapshots.stop();
        if let Some(thread) = lock(&self.snapshots).take() {
            let _ = thread.join();
        }
        self.drain();
        self.shared.core().closing = true;
        self.shared.ring.wake();
        if let Some(commit) = commit.take() {
            // A panic of that thread has poisoned the engine already.
            let _ = commit.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.ring.open()
    }

    fn journal(&self) -> MutexGuard<'_, Box<dyn Journal>> {
        lock(&self.journal)
    }

    fn commit(&self, sequence: u64) {
        self.ring.commit(sequence);
        self.run_hooks();
    }

    /// Stops all answers: the outcome of what was not durable is unknown until a restart has read the journal. Must not
    /// be called while the core is locked.
    fn poison(&self, why: &str) {
        // A simulated engine fails all the time, and the simulation checks for it.
        if self.ring.poison() && self.watch.is_some() {
            eprintln!("invengine: the engine is poisoned: {why}; start again to recover");
        }
        self.run_hooks();
    }

    /// The refusal that a poisoned engine answers a call with.
    fn poisoned_refusal(&self, path: &str) -> Refusal {
        if self.fenced.load(Acquire) { Refusal::fenced() } else { Refusal::journal_failed(path) }
    }

    /// Wakes all waiters: the commit thread has ended.
    fn ended(&self) {
        self.ring.end();
        self.run_hooks();
    }

    fn run_hooks(&self) {
        for hook in lock(&self.hooks).iter() {
            hook();
        }
    }
}

/// Locks even if an earlier holder panicked: a panic has poisoned the engine as a whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
