//! Builds the parts of an engine from its settings.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

use invengine_ledger::{Ledger, LedgerOptions, Payload};

use super::clock::Clock;
use super::core::Core;
use super::events::Readers;
use super::history::HistoryReads;
use super::lease::Lease;
use super::marker::{AcknowledgedPosition, Acknowledgements, MarkerId};
use super::recovery::Rebuild;
use super::ring::Ring;
use super::snapshots::{SnapshotSchedule, Snapshots};
use super::watch::Watch;
use super::{EngineSettings, Facts, JournalKind, OpenError, Shared, StartClock, clock};
use crate::journal::{
    FileInspection, FileJournal, FileOptions, Journal, JournalError, MemoryJournal, RedisJournal, RedisOptions, Replay,
};

/// Longest payload of one frame.
const FRAME_BYTES_MAX: u64 = 4 << 20;
/// At least this many of the longest frames fit into a journal file: room for the longest one is kept ready, and a file
/// that has less left is closed.
const FRAMES_PER_FILE_MIN: u64 = 4;
/// The lower bound of the longest payload: a command of the largest size always fits.
const FRAME_BYTES_MIN: u64 = 1 << 20;

/// Builds everything but the committer.
pub(super) fn build_shared(
    settings: &EngineSettings,
    rebuild: Rebuild,
    mut journal: Box<dyn Journal>,
    lease: Option<Lease>,
    (started, now): (Instant, Instant),
    wall: StartClock,
) -> Result<Shared, OpenError> {
    let (mut ledger, tail_bytes) = (rebuild.ledger, rebuild.tail_bytes);
    let writer_epoch = journal.writer_epoch();
    let epochs = rebuild.epochs.claimed(writer_epoch);
    if u32::try_from(writer_epoch).is_err() {
        return Err(OpenError::Setting("the ledger was started more than 2^32 times".into()));
    }
    ledger.set_epoch(writer_epoch);
    let frame_bytes_max = frame_bytes_max(journal.payload_bytes_max());
    let full = match journal.ensure_room(frame_bytes_max) {
        Ok(()) => false,
        Err(JournalError::Full { .. }) => true,
        Err(error) => return Err(error.into()),
    };
    let facts = Facts {
        ledger: settings.ledger.clone(),
        tag: ledger.tag(),
        journal: journal.kind(),
        loss_window: journal.loss_window(),
        writer_epoch,
        recovery: now.saturating_duration_since(started),
        recovered_events: ledger.sequence(),
    };
    let durable_sequence = ledger.sequence();
    let clock = Clock::start(now, ledger.time_ms(), wall.engine_ms(&ledger), settings.time_scale);
    let mut payload = Payload::default();
    let bytes_max = usize::try_from(frame_bytes_max).unwrap_or(usize::MAX);
    if wall.corrects(&ledger) {
        correct(&mut ledger, wall, clock.at(now), &mut payload, if full { 0 } else { bytes_max })?;
    }
    // Holds that expired while no engine ran are swept before anything else is decided, as far as one frame holds their
    // events.
    while !full && ledger.sweep(clock.at(now), &mut payload, bytes_max) > 0 {}
    // What was replayed is hashed now, or the first command would wait for it.
    ledger.digest();
    let core = Core {
        ledger,
        payload,
        decided_at: Vec::new(),
        frame_bytes_max: bytes_max,
        draining: false,
        closing: false,
        auto_create: settings.auto_create,
        counts: std::collections::BTreeMap::new(),
    };
    let schedule = SnapshotSchedule {
        journal_bytes: settings.snapshot_journal_bytes,
        interval: Duration::from_millis(settings.snapshot_interval_ms),
    };
    let snapshots = Snapshots::new(journal.snapshot_store()?, schedule, ledger_options(settings))?;
    Ok(Shared {
        in_flight: AtomicU32::new(0),
        in_flight_max: settings.in_flight_max(),
        full: AtomicBool::new(full),
        lease,
        fenced: AtomicBool::new(false),
        snapshots,
        acknowledgements: Acknowledgements::default(),
        tail_bytes,
        watch: settings.wall_time_ms.is_none().then(|| Watch::start(now, clock::wall_ms)),
        hooks: Mutex::new(Vec::new()),
        commits: Mutex::default(),
        readers: Readers::default(),
        history: HistoryReads::default(),
        epochs,
        clock,
        frame_bytes_max,
        facts,
        ring: Ring::new(core, durable_sequence),
        journal: Mutex::new(journal),
    })
}

/// Makes the ledger read issue times by the clock that an operator has accepted.
fn correct(
    ledger: &mut Ledger,
    wall: StartClock,
    now_ms: i64,
    payload: &mut Payload,
    bytes_max: usize,
) -> Result<(), OpenError> {
    if !ledger.correct_clock(wall.wall_ms, now_ms, payload, bytes_max) {
        let why = "the journal has no space for the correction of the clock: make room and start again";
        return Err(OpenError::Setting(format!("accept_clock: {why}")));
    }
    eprintln!(
        "invengine: the clock was corrected: from now on issue times are read {} ms later, and engine time stays so far ahead",
        ledger.clock_offset_ms()
    );
    Ok(())
}

fn frame_bytes_max(payload_bytes_max: u64) -> u64 {
    (payload_bytes_max / FRAMES_PER_FILE_MIN).clamp(FRAME_BYTES_MIN, FRAME_BYTES_MAX).min(payload_bytes_max)
}

pub(crate) fn ledger_options(settings: &EngineSettings) -> LedgerOptions {
    let mut options = LedgerOptions::new(settings.ledger.clone());
    options.dedupe_window_ms = settings.dedupe_window_ms.unwrap_or(options.dedupe_window_ms);
    // Keys guard against repeats, which arrive in real time, however fast engine time runs.
    options.dedupe_window_ms = (options.dedupe_window_ms as f64 * settings.time_scale.max(1.0)) as i64;
    if settings.refusal_bytes_max > 0 {
        options.refusal_bytes_max = usize::try_from(settings.refusal_bytes_max).unwrap_or(usize::MAX);
    }
    options
}

pub(super) fn open_journal(
    settings: &EngineSettings,
    acknowledged: Option<AcknowledgedPosition>,
    rebuild: &mut dyn Replay,
) -> Result<Box<dyn Journal>, OpenError> {
    Ok(match settings.journal {
        JournalKind::Memory => {
            rebuild.admit()?;
            Box::new(MemoryJournal::claimed(settings.ledger.clone(), memory_epoch(settings)))
        }
        JournalKind::Redis => {
            let mut options = redis_options(settings);
            // A failover may have lost that epoch, but callers hold reservation ids of it.
            options.writer_epoch_min = acknowledged.map_or(0, |at| at.writer_epoch + 1);
            Box::new(RedisJournal::recover(&options, rebuild)?)
        }
        JournalKind::File => Box::new(FileJournal::recover(&file_options(settings), rebuild)?),
    })
}

/// The writer epoch of a ledger in memory, above those of all earlier starts: the seconds since 1970, and more than the
/// last one of this process. What an earlier start issued, a position or a reservation id, must not name anything in
/// the new history.
fn memory_epoch(settings: &EngineSettings) -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    // With a given time everything else is reproducible, and so must this be.
    if settings.wall_time_ms.is_some() {
        return 1;
    }
    let seconds = u64::try_from(clock::wall_ms() / 1_000).unwrap_or(0);
    let next = |last: u64| Some(seconds.max(last + 1));
    let last = LAST.fetch_update(AcqRel, Acquire, next).unwrap_or(0);
    seconds.max(last + 1)
}

/// Whether a journal in files is in this directory, in whatever state it is.
pub(super) fn holds_journal(directory: &Path) -> bool {
    !matches!(FileInspection::of(directory), Ok(None))
}

/// A lease that begins with a proof of its own: the answer to the claim may have arrived late, after another claim.
pub(super) fn proved_lease(journal: &mut dyn Journal, started: Instant) -> Result<Option<Lease>, JournalError> {
    if !journal.is_leased() {
        return Ok(None);
    }
    let asked = Instant::now();
    let is_ours = journal.verify_ownership()?;
    Ok(Some(Lease::start(if is_ours { asked } else { started })))
}

/// The part of the settings that a file journal is opened with.
pub(crate) fn file_options(settings: &EngineSettings) -> FileOptions {
    let mut options = FileOptions::new(&settings.directory, &settings.ledger);
    if settings.journal_file_bytes != 0 {
        options.journal_file_bytes = settings.journal_file_bytes;
    }
    options.archive_ms = settings.archive_ms;
    options.archive_bytes_max = settings.archive_bytes_max;
    options.force_empty = settings.force_empty;
    options
}

/// The identity of the marker that notes what was acknowledged for the Redis journal of these settings.
pub(super) fn marker_id_of(settings: &EngineSettings) -> Result<MarkerId, JournalError> {
    let place = redis_options(settings).location()?;
    Ok(MarkerId::of(&settings.directory, &settings.ledger, &place))
}

/// The part of the settings that a Redis journal is opened with.
pub(crate) fn redis_options(settings: &EngineSettings) -> RedisOptions {
    let mut options = RedisOptions::new(settings.redis_url.clone(), &settings.ledger);
    options.username.clone_from(&settings.redis_username);
    options.password = settings.redis_password.clone();
    options.ca_file = Some(settings.redis_ca_file.clone()).filter(|file| !file.as_os_str().is_empty());
    options.ack = settings.redis_ack;
    options.archive_ms = settings.archive_ms;
    options.archive_bytes_max = settings.archive_bytes_max;
    options
}
