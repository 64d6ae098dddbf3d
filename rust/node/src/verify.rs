//! Folds a journal again without opening it, and proves what the state must keep. It writes nothing and takes no lock, so it
//! may run beside a server and then sees what is durable.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use invengine_ledger::{Audit, Broken, Event, Ledger, LedgerOptions, Record};
use serde::Serialize;

use crate::journal::{Frame, JournalError, scan};

/// Broken rules that a report lists one by one.
const BROKEN_MAX: usize = 20;

/// What a fold of a journal found.
#[derive(Debug, Serialize)]
pub struct VerifyReport {
    /// The ledger.
    pub ledger: String,
    /// Position that the report speaks of: the end of the last record folded.
    pub sequence: u64,
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
    /// The first places where one does not, in words.
    pub broken: Vec<String>,
    /// Units by which reserves, amendments, re-acquisitions and transfers took more than was there.
    pub oversold_units_by_reserve: i64,
    /// Events by kind.
    pub events: BTreeMap<&'static str, u64>,
    /// Frames, files, reservations, levels, keys.
    pub counts: BTreeMap<&'static str, u64>,
    /// An unfinished append at the end that the next start will cut, in words; none if the journal ends well.
    pub torn_tail: Option<String>,
    /// How long the fold took.
    pub elapsed_ms: f64,
}

/// The fold under way.
struct Fold {
    ledger: Option<Ledger>,
    audit: Audit,
    events: BTreeMap<&'static str, u64>,
    at: u64,
    writer_epoch: u64,
    broken: Vec<Broken>,
    /// How many records until all counters are recomputed; doubles, since each look at them takes as long as the state is large.
    next_check: u64,
    records: u64,
}

const NO_OVERSELL: &str = "no_hold_takes_more_than_is_there";
const SEQUENCES: &str = "sequences_have_no_gap";
const TIME: &str = "time_never_goes_back";

/// Folds the journal in `directory` up to a position (the end of the record that holds it) or to its end.
///
/// # Errors
/// The journal cannot be read or is damaged.
pub fn verify(directory: &Path, at_sequence: Option<u64>) -> Result<VerifyReport, JournalError> {
    let started = Instant::now();
    // The name of the ledger is in the files: a first look that reads one frame at most.
    let name = scan(directory, &mut |_| false)?.ledger;
    let mut fold = Fold::new(&name, at_sequence.unwrap_or(u64::MAX));
    let mut refused: Option<String> = None;
    let summary = scan(directory, &mut |frame| match fold.frame(&frame) {
        Ok(more) => more,
        Err(why) => {
            refused = Some(why);
            false
        }
    })?;
    if let Some(why) = refused {
        let file = directory.display().to_string();
        return Err(JournalError::Replay { file, offset: 0, why });
    }
    let torn_tail =
        summary.torn_tail.map(|tail| format!("{} bytes at byte {} of {}", tail.bytes, tail.offset, tail.file));
    let mut report = fold.report(summary.last_sequence, torn_tail);
    report.ledger = name;
    report.counts.insert("files", summary.files);
    report.counts.insert("frames", summary.frames);
    report.elapsed_ms = started.elapsed().as_secs_f64() * 1_000.0;
    Ok(report)
}

impl Fold {
    fn new(name: &str, at: u64) -> Self {
        Fold {
            ledger: Some(Ledger::new(LedgerOptions::new(name))),
            audit: Audit::default(),
            events: BTreeMap::new(),
            at,
            writer_epoch: 0,
            broken: Vec::new(),
            next_check: 1,
            records: 0,
        }
    }

    /// Folds one frame; false once the wanted position is reached.
    fn frame(&mut self, frame: &Frame<'_>) -> Result<bool, String> {
        self.writer_epoch = frame.writer_epoch;
        if self.at == 0 {
            return Ok(false);
        }
        if frame.is_claim() {
            return Ok(true);
        }
        let mut ledger = self.ledger.take().ok_or("the fold has ended")?;
        let audit = std::cell::RefCell::new(std::mem::take(&mut self.audit));
        let folded = ledger.fold_with(
            frame.payload,
            frame.time_ms,
            frame.writer_epoch,
            &mut |ledger, record| audit.borrow_mut().before(ledger, record),
            &mut |ledger, record| {
                audit.borrow_mut().after(ledger, record);
                self.note(ledger, record);
                ledger.sequence() < self.at
            },
        );
        self.audit = audit.into_inner();
        let whole = folded.map_err(|malformed| malformed.to_string())?;
        let sequence = ledger.sequence();
        self.ledger = Some(ledger);
        if whole && sequence != frame.last_sequence {
            return Err(format!("{SEQUENCES}: the frame ends at {}, its events at {sequence}", frame.last_sequence));
        }
        Ok(whole && sequence < self.at)
    }

    fn note(&mut self, ledger: &Ledger, record: &Record<'_>) {
        for event in record.events.iter() {
            *self.events.entry(kind(event)).or_default() += 1;
        }
        self.records += 1;
        if self.records == self.next_check {
            self.next_check *= 2;
            self.broken.extend(Audit::check(ledger));
        }
    }

    fn report(mut self, last_sequence: u64, torn_tail: Option<String>) -> VerifyReport {
        let mut ledger = self.ledger.take().expect("Invariant: every frame gives the ledger back");
        self.broken.extend(Audit::check(&ledger));
        let mut invariants: BTreeMap<_, _> = Audit::RULES.into_iter().map(|rule| (rule, true)).collect();
        invariants.insert(NO_OVERSELL, self.audit.oversold_by_holds() == 0);
        // The fold would have ended with an error otherwise.
        invariants.insert(SEQUENCES, true);
        invariants.insert(TIME, true);
        for broken in &self.broken {
            invariants.insert(broken.rule, false);
        }
        let broken = self.broken.iter().take(BROKEN_MAX).map(|broken| format!("{} at {}", broken.rule, broken.at));
        let counts = BTreeMap::from([
            ("records", self.records),
            ("reservations", ledger.reservation_count() as u64),
            ("open_reservations", ledger.open_reservations()),
            ("levels", ledger.level_count() as u64),
            ("keys", ledger.key_count() as u64),
        ]);
        VerifyReport {
            ledger: String::new(),
            sequence: ledger.sequence(),
            last_sequence,
            time_ms: if ledger.sequence() == 0 { 0 } else { ledger.time_ms() },
            writer_epoch: self.writer_epoch,
            digest: ledger.digest().to_string(),
            invariants,
            broken: broken.collect(),
            oversold_units_by_reserve: self.audit.oversold_by_holds(),
            events: self.events,
            counts,
            torn_tail,
            elapsed_ms: 0.0,
        }
    }
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::Reserved { .. } => "reserved",
        Event::Extended { .. } => "extended",
        Event::Amended { .. } => "amended",
        Event::Allocated { reacquired: true, .. } => "reacquired",
        Event::Allocated { .. } => "allocated",
        Event::Released { .. } => "released",
        Event::Fulfilled { .. } => "fulfilled",
        Event::Expired { .. } => "expired",
        Event::Transferred { .. } => "transferred",
        Event::StockChanged { .. } => "stock_changed",
        Event::Upserted { .. } => "upserted",
        Event::SourceRegistered { .. } => "source_registered",
        Event::KeyCancelled { .. } => "key_cancelled",
        Event::MessageRejected { .. } => "message_rejected",
        Event::MessageRepeated { .. } => "message_repeated",
        Event::KeysForgotten { .. } => "keys_forgotten",
    }
}
