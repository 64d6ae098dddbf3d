//! Snapshots: written beside the engine, never out of its memory.
//!
//! A thread of its own folds what is durable into a ledger of its own (the newest snapshot and the frames behind it), writes
//! that down and lets the journal archive what no recovery needs any more. So a snapshot takes nothing from the writer but
//! time on the disk and on a core, and only a fifth of those while the engine is busy; it also proves that the journal can
//! be read. The price is the memory of a second ledger while it runs.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use invengine_ledger::{Ledger, LedgerOptions};

use super::recovery::{Rebuild, fold};
use super::{Shared, lock};
use crate::incident;
use crate::journal::{History, JournalError, Manifest, Mark, Replay};
use crate::refusal::Refusal;

/// How often to look whether it is time for one.
const LOOK: Duration = Duration::from_secs(1);
/// A snapshot that failed by itself is tried again after this.
const RETRY: Duration = Duration::from_secs(60);
/// Work between two looks at the clock of the pace.
const WORK: Duration = Duration::from_millis(2);
/// Why a snapshot is given up that nobody is to blame for.
const CLOSING: &str = "the engine is closing";
/// Rest for each unit of work while the engine is busy.
const REST_FACTOR: u32 = 4;

/// When snapshots are written without being asked for; 0 is never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// After so many bytes of journal.
    pub journal_bytes: u64,
    /// After so long, if anything happened.
    pub interval: Duration,
}

/// What is known of snapshots.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(super) struct Last {
    /// Position of the newest one, 0 if there is none.
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

/// Why there is none.
#[derive(Clone, Debug)]
enum Failed {
    NoRoom(String),
    Other(String),
}

impl Failed {
    fn of(error: &JournalError) -> Self {
        let why = error.to_string();
        if error.is_lack_of_space() { Failed::NoRoom(why) } else { Failed::Other(why) }
    }

    /// What whoever asked is told; the log gets what only its reader may know.
    fn refusal(&self) -> Refusal {
        match self {
            Failed::NoRoom(why) => {
                eprintln!("invengine: {why}");
                Refusal::snapshot_full()
            }
            Failed::Other(why) => incident::report("CreateSnapshot", why),
        }
    }
}

#[derive(Default)]
struct State {
    asked: u64,
    answered: u64,
    outcome: Option<Result<u64, Failed>>,
    stop: bool,
    last: Last,
}

/// The desk of the snapshot thread: who asked, and what came of it.
pub(super) struct Snapshots {
    state: Mutex<State>,
    changed: Condvar,
    /// `None` for a journal that keeps no snapshots.
    history: Mutex<Option<Box<dyn History>>>,
    schedule: Schedule,
    options: LedgerOptions,
}

impl Snapshots {
    /// Starts with what the journal holds.
    pub fn new(
        mut history: Option<Box<dyn History>>,
        schedule: Schedule,
        options: LedgerOptions,
    ) -> Result<Self, JournalError> {
        let mut last = Last::default();
        if let Some(history) = &mut history {
            last.first_sequence = history.first_sequence()?;
            last = history.snapshots()?.first().map_or(last, |manifest| last.at(manifest));
        }
        let state = Mutex::new(State { last, ..State::default() });
        Ok(Snapshots { state, changed: Condvar::new(), history: Mutex::new(history), schedule, options })
    }

    /// What is known of snapshots.
    pub fn last(&self) -> Last {
        lock(&self.state).last
    }

    /// Whether this journal keeps snapshots.
    pub fn has_history(&self) -> bool {
        lock(&self.history).is_some()
    }

    /// Asks for a snapshot of what is durable now, or later, and waits for it; answers its position.
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

    /// Ends the thread soon: an unfinished snapshot is given up.
    pub fn stop(&self) {
        lock(&self.state).stop = true;
        self.changed.notify_all();
    }

    fn stopped(&self) -> bool {
        lock(&self.state).stop
    }

    /// Rests until something may be due: true if somebody asks, and the number of that question; `None` once it is over.
    fn wait(&self) -> Option<(bool, u64)> {
        let state = lock(&self.state);
        if state.stop {
            return None;
        }
        if state.asked > state.answered {
            return Some((true, state.asked));
        }
        let state = self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        (!state.stop).then_some((state.asked > state.answered, state.asked))
    }

    fn note(&self, asked: u64, outcome: Result<(Manifest, u64), JournalError>) {
        let mut state = lock(&self.state);
        state.answered = asked;
        match outcome {
            Ok((manifest, first_sequence)) => {
                state.outcome = Some(Ok(manifest.mark.sequence()));
                let written = state.last.written + 1;
                state.last = Last { first_sequence, written, ..state.last.at(&manifest) };
            }
            Err(error) => {
                state.outcome = Some(Err(Failed::of(&error)));
                state.last.failed += 1;
            }
        }
        self.changed.notify_all();
    }
}

impl Last {
    fn at(self, manifest: &Manifest) -> Self {
        let (sequence, time_ms) = (manifest.mark.sequence(), manifest.mark.time_ms());
        Last { sequence, time_ms, bytes: manifest.bytes, ..self }
    }
}

/// Runs until the engine is closed.
pub(super) fn run(shared: &Shared) {
    let snapshots = &shared.snapshots;
    let mut written_at = Instant::now();
    let mut bytes_at = 0;
    let mut rest_until = written_at;
    while let Some((is_asked, asked)) = snapshots.wait() {
        let journal_bytes = shared.tail_bytes + lock(&shared.commits).journal_bytes;
        let due = is_asked || Instant::now() >= rest_until && is_due(shared, written_at, journal_bytes - bytes_at);
        if !due || shared.ring.durable().poisoned && !is_asked {
            continue;
        }
        let pace = Pace::new(shared);
        let outcome = write(shared, pace);
        match &outcome {
            Ok(_) => (written_at, bytes_at) = (Instant::now(), journal_bytes),
            Err(_) if snapshots.stopped() => return,
            Err(error) => {
                eprintln!(
                    "invengine: no snapshot was written: {error}; the journal goes on, the next try is in a minute"
                );
                rest_until = Instant::now() + RETRY;
            }
        }
        snapshots.note(asked, outcome);
    }
}

fn is_due(shared: &Shared, written_at: Instant, journal_bytes: u64) -> bool {
    let schedule = shared.snapshots.schedule;
    let grown = schedule.journal_bytes > 0 && journal_bytes >= schedule.journal_bytes;
    let old = !schedule.interval.is_zero() && written_at.elapsed() >= schedule.interval;
    grown || old && shared.ring.durable().sequence > shared.snapshots.last().sequence
}

/// Writes a snapshot of what is durable now, unless the newest one is that already; then trims. Answers the newest one and the
/// first sequence that can still be read.
pub(super) fn write(shared: &Shared, mut pace: Pace<'_>) -> Result<(Manifest, u64), JournalError> {
    let snapshots = &shared.snapshots;
    let mut history = lock(&snapshots.history);
    let Some(history) = history.as_deref_mut() else {
        return Err(given_up("this journal keeps no snapshots"));
    };
    let target = shared.ring.durable().sequence;
    let (mut ledger, mark, newest) = newest_state(history, &snapshots.options, &mut pace)?;
    let newest = match newest {
        Some(manifest) if manifest.mark.sequence() >= target => manifest,
        _ => {
            let mark = fold_to(history, &mut ledger, mark, target, &mut pace)?;
            write_down(history, &mut ledger, &mark, &mut pace)?
        }
    };
    drop(ledger);
    let trimmed = history.trim(shared.clock.at(Instant::now()))?;
    Ok((newest, trimmed.first_sequence))
}

/// The newest state that is written down: of a snapshot, else the empty one.
fn newest_state(
    history: &mut dyn History,
    options: &LedgerOptions,
    pace: &mut Pace<'_>,
) -> Result<(Ledger, Mark, Option<Manifest>), JournalError> {
    for manifest in history.snapshots()? {
        let mut rebuild = Rebuild::new(options.clone(), Arc::default());
        rebuild.begin(&manifest);
        let read = history.read(&manifest, &mut |piece| {
            pace.step().map_err(|error| error.to_string())?;
            rebuild.piece(piece)
        });
        match read.map_err(|error| error.to_string()).and_then(|()| rebuild.end(&manifest)) {
            Ok(()) => return Ok((rebuild.ledger, manifest.mark, Some(manifest))),
            Err(_) if pace.is_stopped() => return Err(given_up(CLOSING)),
            Err(why) => eprintln!("invengine: the snapshot at sequence {} is bad: {why}", manifest.mark.sequence()),
        }
    }
    Ok((Ledger::new(options.clone()), Mark::start(&options.name), None))
}

fn fold_to(
    history: &mut dyn History,
    ledger: &mut Ledger,
    mark: Mark,
    target: u64,
    pace: &mut Pace<'_>,
) -> Result<Mark, JournalError> {
    let mut bad = None;
    let mark = history.frames_after(&mark, &mut |frame| {
        bad = pace.step().err().or_else(|| fold(ledger, &frame).err().map(|why| given_up(&why)));
        bad.is_none() && frame.last_sequence < target
    })?;
    bad.map_or(Ok(mark), Err)
}

fn write_down(
    history: &mut dyn History,
    ledger: &mut Ledger,
    mark: &Mark,
    pace: &mut Pace<'_>,
) -> Result<Manifest, JournalError> {
    let digest = ledger.digest().to_string();
    history.begin(mark)?;
    let mut image = ledger.image();
    let mut piece = Vec::new();
    while image.next(&mut piece) {
        history.piece(&piece)?;
        pace.step()?;
    }
    history.commit(&digest)
}

fn given_up(why: &str) -> JournalError {
    JournalError::NoSnapshot { why: why.into() }
}

/// Leaves the core and the disk to the engine while that is busy.
pub(super) struct Pace<'p> {
    shared: Option<&'p Shared>,
    started: Instant,
    sequence: u64,
}

impl<'p> Pace<'p> {
    fn new(shared: &'p Shared) -> Self {
        Pace { shared: Some(shared), started: Instant::now(), sequence: shared.ring.durable().sequence }
    }

    /// No pace at all, for an engine that moves only when it is told.
    pub fn none() -> Self {
        Pace { shared: None, started: Instant::now(), sequence: 0 }
    }

    /// Whether the engine is closing.
    fn is_stopped(&self) -> bool {
        self.shared.is_some_and(|shared| shared.snapshots.stopped())
    }

    /// Rests if it is time to; an error once the engine is closing.
    fn step(&mut self) -> Result<(), JournalError> {
        let Some(shared) = self.shared else { return Ok(()) };
        let worked = self.started.elapsed();
        if worked < WORK {
            return Ok(());
        }
        if self.is_stopped() {
            return Err(given_up(CLOSING));
        }
        let sequence = shared.ring.durable().sequence;
        if sequence != self.sequence {
            std::thread::sleep((worked * REST_FACTOR).min(LOOK));
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
            eprintln!("invengine: the snapshot thread failed; the journal goes on without snapshots until a restart");
        }
        shared.snapshots.stop();
    })
}
