//! The fold of a journal for verification: every record is audited before and after it, all counters from time to time.

use std::collections::BTreeMap;

use invengine_ledger::{Audit, BrokenInvariant, Ledger, Record};

use super::{UnitReport, VerifyReport, names};
use crate::journal::Frame;

/// Most broken rules that a report lists one by one.
const BROKEN_MAX: usize = 20;

const NO_OVERSELL: &str = "no_hold_takes_more_than_is_there";
const SEQUENCES: &str = "sequences_have_no_gap";
const TIME: &str = "time_never_goes_back";

/// The fold in progress.
pub(super) struct Fold {
    ledger: Option<Ledger>,
    audit: Audit,
    events: BTreeMap<&'static str, u64>,
    at: u64,
    writer_epoch: u64,
    broken: Vec<BrokenInvariant>,
    /// Number of records until all counters are recomputed; doubles, since each check takes time proportional to the state.
    next_check: u64,
    records: u64,
    frames: u64,
    /// Digests at the positions of snapshots; `None` until a position is reached.
    digests: BTreeMap<u64, Option<String>>,
}

impl Fold {
    /// Continues from a state up to a position; takes the digest at the wanted positions on the way.
    pub fn new(ledger: Ledger, at: u64, wanted: impl Iterator<Item = u64>) -> Self {
        let mut fold = Fold {
            ledger: Some(ledger),
            audit: Audit::default(),
            events: BTreeMap::new(),
            at,
            writer_epoch: 0,
            broken: Vec::new(),
            next_check: 1,
            records: 0,
            frames: 0,
            digests: wanted.map(|sequence| (sequence, None)).collect(),
        };
        fold.note_digest();
        fold
    }

    fn note_digest(&mut self) {
        let Some(ledger) = &mut self.ledger else { return };
        if let Some(found) = self.digests.get_mut(&ledger.sequence()) {
            *found = Some(ledger.digest().to_string());
        }
    }

    /// The digest at a wanted position, if the fold reached it.
    pub fn digest_at(&self, sequence: u64) -> Option<&str> {
        self.digests.get(&sequence)?.as_deref()
    }

    /// The position of the fold: sequence and time of the last record.
    pub fn position(&self) -> (u64, i64) {
        let at = |ledger: &Ledger| (ledger.sequence(), if ledger.sequence() == 0 { 0 } else { ledger.time_ms() });
        self.ledger.as_ref().map_or((0, 0), at)
    }

    /// Folds one frame; returns false once the last position is reached.
    pub fn frame(&mut self, frame: &Frame<'_>) -> Result<bool, String> {
        self.writer_epoch = frame.writer_epoch;
        self.frames += 1;
        // The fold may begin at the position itself.
        if self.position().0 >= self.at {
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
            &mut |ledger, record| {
                audit.borrow_mut().before(ledger, record);
                true
            },
            &mut |ledger, record| {
                audit.borrow_mut().after(ledger, record);
                self.note(ledger, record);
                ledger.sequence() < self.at
            },
        );
        self.audit = audit.into_inner();
        let sequence = ledger.sequence();
        self.ledger = Some(ledger);
        self.note_digest();
        let whole = folded.map_err(|malformed| malformed.to_string())?;
        if whole && sequence != frame.last_sequence {
            return Err(format!("{SEQUENCES}: the frame ends at {}, its events at {sequence}", frame.last_sequence));
        }
        Ok(whole && sequence < self.at)
    }

    fn note(&mut self, ledger: &Ledger, record: &Record<'_>) {
        for event in record.events.iter() {
            *self.events.entry(event.name()).or_default() += 1;
        }
        self.records += 1;
        if self.records == self.next_check {
            self.next_check *= 2;
            self.broken.extend(Audit::check(ledger));
        }
    }

    /// The report, as far as a fold can fill it.
    pub fn report(mut self) -> VerifyReport {
        let mut ledger = self.ledger.take().expect("Invariant: every frame puts the ledger back");
        self.broken.extend(Audit::check(&ledger));
        self.broken.extend(self.audit.check_units(&ledger));
        let rules = Audit::RULES.into_iter().chain([Audit::UNITS]);
        let mut invariants: BTreeMap<_, _> = rules.map(|rule| (rule, true)).collect();
        invariants.insert(NO_OVERSELL, self.audit.oversold_by_holds() == 0);
        // The fold would have ended with an error otherwise.
        invariants.insert(SEQUENCES, true);
        invariants.insert(TIME, true);
        for broken in &self.broken {
            invariants.insert(broken.rule, false);
        }
        let broken = self.broken.iter().take(BROKEN_MAX).map(|broken| format!("{} at {}", broken.rule, broken.at));
        let names = names::Findings::of(&ledger);
        let counts = BTreeMap::from([
            ("frames", self.frames),
            ("records", self.records),
            ("reservations", ledger.reservation_count() as u64),
            ("open_reservations", ledger.open_reservations()),
            ("levels", ledger.level_count() as u64),
            ("keys", ledger.key_count() as u64),
            ("names_against_the_rule", names.against_the_rule),
            ("look_alikes", names.look_alikes),
        ]);
        VerifyReport {
            ledger: ledger.name().to_owned(),
            sequence: ledger.sequence(),
            first_sequence: 1,
            last_sequence: ledger.sequence(),
            time_ms: if ledger.sequence() == 0 { 0 } else { ledger.time_ms() },
            writer_epoch: self.writer_epoch,
            digest: ledger.digest().to_string(),
            invariants,
            broken: broken.collect(),
            oversold_units_by_reserve: self.audit.oversold_by_holds(),
            units: UnitReport::new(&self.audit.units(&ledger)),
            events: self.events,
            counts,
            names: names.first,
            torn_tail: None,
            snapshots: Vec::new(),
            damage: None,
            backup: None,
            elapsed_ms: 0.0,
        }
    }
}
