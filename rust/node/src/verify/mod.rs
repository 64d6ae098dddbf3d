//! Folds a journal again without opening it, and verifies the invariants of the state. Writes nothing and takes no lock, so it
//! may run beside a server and then sees what is durable.

mod damage;
mod fold;
mod names;
mod snapshots;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use invengine_ledger::{Ledger, LedgerOptions, UnitFlows};
use serde::Serialize;

use self::fold::Fold;
use crate::backup::not_kept;
use crate::engine::{EngineSettings, JournalKind, redis_options};
use crate::journal::backup::{check, is_backup, no_journal, read_manifest};
use crate::journal::inspect::Inspection;
use crate::journal::redis::{RedisInspection, RedisSource};
use crate::journal::storage::Directory;
use crate::journal::{FileInspection, JournalError, RedisOptions, TornTail, look_again};

/// The result of folding a journal.
#[derive(Debug, Serialize)]
pub struct VerifyReport {
    /// The ledger.
    pub ledger: String,
    /// Position that the report describes: the end of the last record folded.
    pub sequence: u64,
    /// The first sequence that is kept.
    pub first_sequence: u64,
    /// Position of the last event in the journal, as far as it was read.
    pub last_sequence: u64,
    /// Engine time of the last record folded.
    pub time_ms: i64,
    /// Epoch of the last writer seen.
    pub writer_epoch: u64,
    /// Digest of the state at `sequence`.
    pub digest: String,
    /// Whether each invariant holds, by name.
    pub invariants: BTreeMap<&'static str, bool>,
    /// The first places where one does not hold, as text.
    pub broken: Vec<String>,
    /// Units by which reserves, amendments, re-acquisitions and transfers took more than was available.
    pub oversold_units_by_reserve: i64,
    /// The units of all items: what there was, what came in and left, and what there is.
    pub units: UnitReport,
    /// Events by kind.
    pub events: BTreeMap<&'static str, u64>,
    /// Frames, files or entries, reservations, levels, keys.
    pub counts: BTreeMap<&'static str, u64>,
    /// Names that break the rule for new ones, and names that people may mistake for older ones: the first of them, by kind and
    /// age. They work, and are not damage.
    pub names: Vec<NameReport>,
    /// An unfinished append at the end that the next start will cut, as text; `None` if there is none.
    pub torn_tail: Option<String>,
    /// Every snapshot, oldest first.
    pub snapshots: Vec<SnapshotReport>,
    /// Where the intact part of the journal ends; `None` if all of it is intact.
    pub damage: Option<DamageReport>,
    /// For a backup: `whole`, or why it cannot be restored; `None` for a journal.
    pub backup: Option<String>,
    /// How long the fold took.
    pub elapsed_ms: f64,
}

/// Units of all items together: `opening + received + returned + adjusted − fulfilled − lost = closing`.
#[derive(Debug, Serialize)]
pub struct UnitReport {
    /// On hand or in transit where the fold began.
    pub opening: i64,
    /// Received.
    pub received: i64,
    /// Returned by customers.
    pub returned: i64,
    /// Found or missing: adjustments, set and counted quantities, surpluses of stock transfers.
    pub adjusted: i64,
    /// Left for customers.
    pub fulfilled: i64,
    /// Lost on the way.
    pub lost: i64,
    /// On hand or in transit at the position of the report, by this sum.
    pub closing: i64,
}

impl UnitReport {
    fn new(flows: &UnitFlows) -> Self {
        let UnitFlows { opening, received, returned, adjusted, fulfilled, lost } = *flows;
        UnitReport { opening, received, returned, adjusted, fulfilled, lost, closing: flows.expected() }
    }
}

/// A name that deserves attention.
#[derive(Debug, Serialize)]
pub struct NameReport {
    /// `item`, `location`, `channel` or `source`.
    pub kind: &'static str,
    /// The name, byte by byte.
    pub name: String,
    /// The finding, as text; invisible characters are shown as `<U+200B>`.
    pub finding: String,
}

/// The result of checking one snapshot.
#[derive(Debug, Serialize)]
pub struct SnapshotReport {
    /// Its file.
    pub name: String,
    /// Its sequence; 0 if unknown.
    pub sequence: u64,
    /// Bytes of its pieces.
    pub bytes: u64,
    /// Whether the fold of the journal was at its position, so that both digests could be compared.
    pub compared: bool,
    /// Why it cannot be used; `None` if it is good.
    pub bad: Option<String>,
}

/// Where the intact part of a journal ends, what follows, and what a start would do with it.
#[derive(Debug, Serialize)]
pub struct DamageReport {
    /// Full name of the file, or of the stream in Redis.
    pub file: String,
    /// First invalid byte of the file.
    pub offset: u64,
    /// In a stream the id of the first invalid entry, or of the one after which entries are missing.
    pub entry: Option<String>,
    /// Which rule it breaks.
    pub why: String,
    /// Every frame up to here is intact.
    pub whole_sequence: u64,
    /// Engine time of that position.
    pub whole_time_ms: i64,
    /// Bytes up to the next valid frame, or else up to the last byte that was written.
    pub unreadable_bytes: u64,
    /// Valid frames after the damage.
    pub frames_behind: u64,
    /// First sequence of their events; 0 if they have none.
    pub first_sequence_behind: u64,
    /// Last sequence of their events.
    pub last_sequence_behind: u64,
    /// Position that a start reaches, if it is not refused.
    pub start_sequence: Option<u64>,
    /// Snapshot that a start begins with, if it is not refused and there is one.
    pub start_snapshot: Option<u64>,
    /// Why a start is refused.
    pub start_refused: Option<String>,
}

/// Folds the journal in `directory` up to a position (the end of the record that holds it) or to its end, and compares its
/// snapshots with it. A journal whose beginning is no longer kept is folded from its oldest snapshot on. Damage is reported,
/// not an error.
///
/// # Errors
/// There is no journal, it cannot be read, is of a newer build, or does not hold the position: a proof of less than was asked for,
/// or of nothing, would look like a proof.
pub fn verify(directory: &Path, at_sequence: Option<u64>) -> Result<VerifyReport, JournalError> {
    look_again(directory, is_wrong, || verify_once(directory, at_sequence))
}

/// Verifies the journal of these settings.
///
/// # Errors
/// As for `verify` and `verify_redis`; a journal in memory is not kept.
pub fn verify_for(settings: &EngineSettings, at_sequence: Option<u64>) -> Result<VerifyReport, JournalError> {
    match settings.journal {
        JournalKind::File => verify(&settings.directory, at_sequence),
        JournalKind::Redis => verify_redis(&redis_options(settings), at_sequence),
        JournalKind::Memory => Err(not_kept()),
    }
}

/// The same for a journal in Redis, on the server that accepts its writes.
///
/// # Errors
/// As for `verify`; also if Redis is unreachable, denies access, or holds no journal of this ledger.
pub fn verify_redis(options: &RedisOptions, at_sequence: Option<u64>) -> Result<VerifyReport, JournalError> {
    let started = Instant::now();
    let mut source = RedisSource::connect(options)?;
    // A missing journal is reported as such, whatever is stored under its keys.
    source.stored()?;
    let mut report = source.look_again(is_wrong, |source| {
        let mut inspection = RedisInspection::of(source)?;
        report_on(&mut inspection, at_sequence)
    })?;
    report.elapsed_ms = started.elapsed().as_secs_f64() * 1_000.0;
    Ok(report)
}

/// Whether something is wrong, which beside a running server may only seem so.
fn is_wrong(seen: &Result<VerifyReport, JournalError>) -> bool {
    let has_findings =
        |report: &VerifyReport| report.damage.is_some() || report.snapshots.iter().any(|each| each.bad.is_some());
    seen.as_ref().map_or(true, has_findings)
}

fn verify_once(directory: &Path, at_sequence: Option<u64>) -> Result<VerifyReport, JournalError> {
    let started = Instant::now();
    let mut inspection = FileInspection::of(directory)?.ok_or_else(|| no_journal(&Directory::existing(directory)))?;
    let mut report = report_on(&mut inspection, at_sequence)?;
    report.backup = backup_state(directory);
    report.elapsed_ms = started.elapsed().as_secs_f64() * 1_000.0;
    Ok(report)
}

fn report_on(inspection: &mut dyn Inspection, at: Option<u64>) -> Result<VerifyReport, JournalError> {
    let (mut snapshots, base) = snapshots::load_all(inspection)?;
    let position = base.as_ref().map(|base| base.position);
    let headless = !inspection.has_head() && base.is_none();
    let ledger = base.map_or_else(|| Ledger::new(LedgerOptions::new(inspection.ledger())), |base| base.ledger);
    let first = ledger.sequence().max(1);
    // For a position before the first one the journal is folded to its end, which the refusal names.
    let until = at.filter(|at| *at >= first).unwrap_or(u64::MAX);
    let mut fold = Fold::new(ledger, until, snapshots.iter().map(|snapshot| snapshot.report.sequence));
    let (summary, damage) = inspection.walk(position.as_ref(), &mut |frame, file, offset| {
        if headless {
            return Ok(true);
        }
        fold.frame(&frame).map_err(|why| JournalError::Replay { file: file.to_string(), offset, why })
    })?;
    let damage = if headless { Some(inspection.no_head()) } else { damage };
    let end = fold.position().0;
    if let Some(sequence) = at.filter(|at| damage.is_none() && !(first..=end).contains(at)) {
        return Err(JournalError::NoPosition { sequence, extent: extent(first, end) });
    }
    snapshots.iter_mut().for_each(|snapshot| snapshot.compare(&fold));
    let damage = damage.map(|damage| damage::explain(inspection, damage, fold.position())).transpose()?;
    let mut report = fold.report();
    report.first_sequence = inspection.first_sequence();
    let (kind, parts) = inspection.parts();
    report.counts.insert(kind, parts);
    if let Some(summary) = summary {
        report.last_sequence = summary.last_sequence;
        report.torn_tail = summary.torn_tail.filter(|tail| tail.bytes > 0).map(describe);
    }
    report.snapshots = snapshots.into_iter().map(|snapshot| snapshot.report).collect();
    report.damage = damage;
    Ok(report)
}

/// The positions up to which a journal can be folded.
fn extent(first: u64, end: u64) -> String {
    match (first, end) {
        (_, 0) => "has no events".into(),
        (1, _) => format!("ends at sequence {end}"),
        _ => format!("is kept from sequence {first} on and ends at sequence {end}"),
    }
}

fn describe(tail: TornTail) -> String {
    format!("{} bytes at byte {} of {}", tail.bytes, tail.offset, tail.file)
}

/// The state of a directory that is a backup: `whole`, or why it cannot be restored; `None` if it is not a backup.
fn backup_state(directory: &Path) -> Option<String> {
    let storage = Directory::existing(directory);
    if !is_backup(&storage) {
        return None;
    }
    let checked = read_manifest(&storage).and_then(|manifest| check(&storage, &manifest));
    Some(checked.err().map_or_else(|| "whole".into(), |error| error.to_string()))
}
