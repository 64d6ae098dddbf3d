//! Follows the journal frame by frame, as frames become durable and as each recovery reads them back: what was durable is
//! found again, nothing else is, and every rule that a journal alone can break holds at every prefix.
//!
//! Redis may lose acknowledged frames where its acknowledgement mode allows it. The simulated Redis reports which frames are
//! then at risk; these may be missing or replaced by others, and no other frame may.

use invengine_ledger::{Audit, ClaimReason, Event, Ledger, LedgerOptions, Record, RecordReader};
use invengine_node::journal::Frame;
use invengine_node::journal::frame::decode;

use crate::coverage_marks::{Mark, Marks};
use crate::model::{Model, Violation};
use crate::random::mix;
use crate::reads::Reads;

const FOUND_AGAIN: &str = "durable frames are found again";

/// A durable frame of events.
#[derive(Clone, Debug)]
struct StoredFrame {
    first_sequence: u64,
    last_sequence: u64,
    time_ms: i64,
    writer_epoch: u64,
    payload: Vec<u8>,
}

impl StoredFrame {
    fn of(frame: &Frame<'_>) -> Self {
        StoredFrame {
            first_sequence: frame.first_sequence,
            last_sequence: frame.last_sequence,
            time_ms: frame.time_ms,
            writer_epoch: frame.writer_epoch,
            payload: frame.payload.to_vec(),
        }
    }

    fn frame(&self) -> Frame<'_> {
        Frame {
            first_sequence: self.first_sequence,
            last_sequence: self.last_sequence,
            time_ms: self.time_ms,
            writer_epoch: self.writer_epoch,
            payload: &self.payload,
        }
    }

    fn is(&self, frame: &Frame<'_>) -> bool {
        self.frame() == *frame
    }
}

/// Progress of a recovery.
#[derive(Clone, Copy, Debug, Default)]
struct ReplayProgress {
    /// Sequence of the last event that was read.
    sequence: u64,
    epoch: u64,
}

/// What one process does with the journal.
#[derive(Clone, Debug, Default)]
struct WriterState {
    attempted: Option<StoredFrame>,
    replaying: Option<ReplayProgress>,
}

/// What is known about the journal.
pub struct JournalChecker {
    pub model: Model,
    pub reads: Reads,
    pub marks: Marks,
    window_ms: i64,
    shadow: Ledger,
    audit: Audit,
    frames: Vec<StoredFrame>,
    writers: Vec<WriterState>,
    /// Highest epoch of a writer that opened.
    epoch: u64,
    /// Sequence up to which durability has been acknowledged to anybody.
    acknowledged: u64,
    /// First sequence that a fault may have taken, as the acknowledgement mode allows.
    at_risk_from: Option<u64>,
    /// A claim may be lost too.
    claims_at_risk: bool,
    /// First sequence that was in fact lost; cleared when it is taken.
    lost: Option<u64>,
    /// Frames that were discarded; the process that wrote them may still have them.
    discarded: Vec<StoredFrame>,
    /// A former owner, made owner again by a fault, is appending the frames of its own history again.
    restoring_discarded: bool,
    pub violation: Option<Violation>,
    pub digest: u64,
}

fn empty_ledger(dedupe_window_ms: i64) -> Ledger {
    Ledger::new(LedgerOptions { dedupe_window_ms, ..LedgerOptions::new("main") })
}

impl JournalChecker {
    /// A checker of an empty journal that this many processes may open.
    pub fn new(processes: usize, window_ms: i64) -> Self {
        JournalChecker {
            model: Model::default(),
            reads: Reads::default(),
            marks: Marks::default(),
            window_ms,
            shadow: empty_ledger(window_ms),
            audit: Audit::default(),
            frames: Vec::new(),
            writers: vec![WriterState::default(); processes],
            epoch: 0,
            acknowledged: 0,
            at_risk_from: None,
            claims_at_risk: false,
            lost: None,
            discarded: Vec::new(),
            restoring_discarded: false,
            violation: None,
            digest: 0,
        }
    }

    /// A process is appending a frame.
    pub fn appending(&mut self, writer: usize, frame: &Frame<'_>) {
        self.writers[writer].attempted = Some(StoredFrame::of(frame));
    }

    /// The frame that the process was appending is durable.
    pub fn confirmed(&mut self, writer: usize) {
        if let Some(stored_frame) = self.writers[writer].attempted.take() {
            let (last, result) = (stored_frame.last_sequence, self.try_confirmed(stored_frame));
            self.restoring_discarded = false;
            self.acknowledged = self.acknowledged.max(last);
            self.record(result);
        }
    }

    fn try_confirmed(&mut self, stored_frame: StoredFrame) -> Result<(), Violation> {
        let index = self.index(stored_frame.first_sequence);
        match self.frames.get(index) {
            None => {}
            // Another process has already read it.
            Some(known) if known.is(&stored_frame.frame()) => return Ok(()),
            Some(_) => self.discard_at_risk(index, "one history", stored_frame.first_sequence)?,
        }
        self.push_frame(stored_frame);
        Ok(())
    }

    /// Puts everything from this sequence on at risk; with `keeps_acknowledged`, only what was not acknowledged.
    pub fn put_at_risk(&mut self, from_sequence: u64, keeps_acknowledged: bool) {
        let from = if keeps_acknowledged { from_sequence.max(self.acknowledged + 1) } else { from_sequence };
        let from = self.at_risk_from.map_or(from, |before| before.min(from));
        self.at_risk_from = (from <= self.model.sequence).then_some(from);
        self.claims_at_risk |= !keeps_acknowledged;
        self.restoring_discarded = false;
    }

    /// Whether any frame is at risk.
    pub fn has_frames_at_risk(&self) -> bool {
        self.at_risk_from.is_some()
    }

    /// Whether a fault may have taken what later owners wrote, and perhaps their claims: a former owner then does not know
    /// of them.
    pub fn may_have_lost_owners_after(&self, epoch: u64) -> bool {
        self.has_frames_at_risk() && epoch < self.epoch
    }

    /// Redis has stored a frame: a frame at risk may be stored again, or one that was discarded before.
    pub fn stored(&mut self, frame: &[u8]) {
        let Ok(decoded) = decode(frame) else { return };
        let frame = decoded.frame();
        if self.restoring_discarded {
            return self.restore_discarded(&frame);
        }
        let Some(from) = self.at_risk_from else { return };
        let index = self.index(from);
        if self.frames.get(index).is_some_and(|stored_frame| stored_frame.is(&frame)) {
            let next = frame.last_sequence + 1;
            self.at_risk_from = (next <= self.model.sequence).then_some(next);
            self.marks.hit(Mark::TailRestored);
        } else if frame.first_sequence == from && self.discarded.iter().any(|stored_frame| stored_frame.is(&frame)) {
            self.discard_from(index);
            self.restoring_discarded = true;
            self.restore_discarded(&frame);
        }
    }

    /// Appends the next frame of a discarded history. A frame that is not part of it is handled when it is confirmed.
    fn restore_discarded(&mut self, frame: &Frame<'_>) {
        let known = self.discarded.iter().any(|stored_frame| stored_frame.is(frame));
        if known && frame.first_sequence == self.model.sequence + 1 {
            self.marks.hit(Mark::TailRestored);
            self.push_frame(StoredFrame::of(frame));
        }
    }

    /// The first sequence that was lost since the last call.
    pub fn take_lost(&mut self) -> Option<u64> {
        self.lost.take()
    }

    /// Discards frames that were at risk.
    ///
    /// # Errors
    /// They were not at risk.
    fn discard_at_risk(&mut self, index: usize, rule: &'static str, sequence: u64) -> Result<(), Violation> {
        if self.at_risk_from.is_none_or(|from| sequence < from) {
            let found = format!("sequence {sequence} is not what it was; in danger: {:?}", self.at_risk_from);
            return Violation::err(rule, found);
        }
        self.discard_from(index);
        Ok(())
    }

    /// A process starts and has read nothing yet.
    pub fn starts(&mut self, writer: usize) {
        self.writers[writer].replaying = None;
    }

    /// A recovery begins at a sequence and an epoch; it may begin more than once.
    pub fn replay(&mut self, writer: usize, sequence: u64, epoch: u64) {
        let again = self.writers[writer].replaying.is_some_and(|replaying| replaying.sequence > 0);
        if again {
            self.marks.hit(Mark::OlderSnapshot);
        } else if sequence > 0 {
            self.marks.hit(Mark::SnapshotLoaded);
        }
        self.writers[writer].replaying = Some(ReplayProgress { sequence, epoch });
    }

    /// A recovery has read this frame.
    pub fn replayed(&mut self, writer: usize, frame: &Frame<'_>) {
        let mut replaying = self.writers[writer].replaying.take().unwrap_or_default();
        let result = self.try_replayed(frame, &mut replaying);
        self.writers[writer].replaying = Some(replaying);
        self.record(result);
    }

    fn try_replayed(&mut self, frame: &Frame<'_>, replaying: &mut ReplayProgress) -> Result<(), Violation> {
        if frame.is_claim() {
            if frame.writer_epoch <= replaying.epoch {
                let found = format!("{} after {}", frame.writer_epoch, replaying.epoch);
                return Violation::err("writer epochs rise", found);
            }
            replaying.epoch = frame.writer_epoch;
            return Ok(());
        }
        if frame.writer_epoch != replaying.epoch {
            let found = format!("a frame of {} after the claim of {}", frame.writer_epoch, replaying.epoch);
            return Violation::err("one writer", found);
        }
        if frame.first_sequence != replaying.sequence + 1 {
            let found = format!("{} after {}", frame.first_sequence, replaying.sequence);
            return Violation::err("sequences have no gap", found);
        }
        replaying.sequence = frame.last_sequence;
        let index = self.index(frame.first_sequence);
        match self.frames.get(index) {
            Some(stored_frame) if stored_frame.is(frame) => return Ok(()),
            Some(_) => self.discard_at_risk(index, FOUND_AGAIN, frame.first_sequence)?,
            None => self.check_unconfirmed(frame)?,
        }
        self.push_frame(StoredFrame::of(frame));
        Ok(())
    }

    /// A frame that was never acknowledged may be found, but only if a process was appending it.
    fn check_unconfirmed(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        let attempted = self.writers.iter().filter_map(|writer| writer.attempted.as_ref());
        if !attempted.into_iter().any(|attempted| attempted.is(frame)) {
            let found = format!("{}..={} was never appended", frame.first_sequence, frame.last_sequence);
            return Violation::err("a recovery finds a prefix of what was appended", found);
        }
        self.marks.hit(Mark::FoundUnacknowledged);
        Ok(())
    }

    /// The recovery is complete and this writer may append. If it still owns the journal, what it read is the whole journal.
    pub fn opened(&mut self, writer: usize, epoch: u64, owns: bool) {
        let result = if owns { self.try_opened(writer, epoch) } else { Ok(()) };
        self.writers[writer] = WriterState::default();
        self.record(result);
    }

    fn try_opened(&mut self, writer: usize, epoch: u64) -> Result<(), Violation> {
        let replaying = self.writers[writer].replaying.take().unwrap_or_default();
        if replaying.sequence < self.model.sequence {
            self.discard_at_risk(self.index(replaying.sequence + 1), FOUND_AGAIN, replaying.sequence + 1)?;
        }
        if epoch <= self.epoch && !self.claims_at_risk {
            return Violation::err("writer epochs rise", format!("{epoch} after {}", self.epoch));
        }
        (self.epoch, self.at_risk_from, self.acknowledged) = (epoch, None, self.model.sequence);
        self.claims_at_risk = false;
        self.restoring_discarded = false;
        self.reads.forget();
        self.recompute()
    }

    /// Index of the frame that begins with a sequence.
    fn index(&self, first_sequence: u64) -> usize {
        self.frames.partition_point(|stored_frame| stored_frame.first_sequence < first_sequence)
    }

    /// Keeps the first `count` frames only and rebuilds the state from them.
    fn discard_from(&mut self, count: usize) {
        let mut frames = std::mem::take(&mut self.frames);
        let discarded = frames.split_off(count.min(frames.len()));
        let first = discarded.first().map(|stored_frame| stored_frame.first_sequence);
        self.discarded.extend(discarded);
        self.lost = self.lost.into_iter().chain(first).min();
        self.marks.hit(Mark::LostByDesign);
        (self.model, self.shadow, self.audit) = (Model::default(), empty_ledger(self.window_ms), Audit::default());
        self.reads.forget();
        for stored_frame in frames {
            self.push_frame(stored_frame);
        }
        self.acknowledged = self.acknowledged.min(self.model.sequence);
        self.at_risk_from = None;
    }

    fn push_frame(&mut self, stored_frame: StoredFrame) {
        let result = self.fold(&stored_frame);
        self.digest = mix(self.digest ^ mix(stored_frame.last_sequence) ^ stored_frame.payload.len() as u64);
        self.frames.push(stored_frame);
        self.record(result);
    }

    fn fold(&mut self, stored_frame: &StoredFrame) -> Result<(), Violation> {
        if stored_frame.first_sequence != self.model.sequence + 1 {
            return Violation::err(
                "sequences have no gap",
                format!("{} after {}", stored_frame.first_sequence, self.model.sequence),
            );
        }
        let bad = |why: String| Violation::new("frames can be folded", why);
        let mut records =
            RecordReader::new(&stored_frame.payload, stored_frame.time_ms).map_err(|error| bad(error.to_string()))?;
        while let Some(record) = records.next().map_err(|error| bad(error.to_string()))? {
            self.model.apply(&record)?;
            self.mark(&record);
            self.reads.reached(stored_frame.writer_epoch, &self.model)?;
        }
        let audit = std::cell::RefCell::new(&mut self.audit);
        let folded = self.shadow.fold_with(
            &stored_frame.payload,
            stored_frame.time_ms,
            stored_frame.writer_epoch,
            &mut |ledger, record| {
                audit.borrow_mut().before(ledger, record);
                true
            },
            &mut |ledger, record| {
                audit.borrow_mut().after(ledger, record);
                true
            },
        );
        folded.map_err(|error| bad(error.to_string()))?;
        if self.model.sequence != stored_frame.last_sequence || self.shadow.sequence() != stored_frame.last_sequence {
            return Err(bad("the last sequence is not that of the last event".into()));
        }
        if self.audit.oversold_by_holds() > 0 {
            return Violation::err("no oversell", format!("{} units", self.audit.oversold_by_holds()));
        }
        Ok(())
    }

    /// Notes what only rules of authority lead to.
    fn mark(&mut self, record: &Record<'_>) {
        for event in record.events.iter() {
            match event {
                Event::ClaimMade { reason: ClaimReason::NotOwner, .. } => self.marks.hit(Mark::Claimed),
                Event::ClaimMade { reason: ClaimReason::AsOfStale, .. } => self.marks.hit(Mark::CountedLate),
                Event::Echoed { .. } => self.marks.hit(Mark::Echoed),
                _ => {}
            }
        }
    }

    /// Recomputes every counter twice: in the model and by the ledger's own audit.
    ///
    /// # Errors
    /// A counter is wrong.
    pub fn recompute(&self) -> Result<(), Violation> {
        self.model.recompute()?;
        self.model.compare_claims(&self.shadow)?;
        match Audit::check(&self.shadow).first() {
            Some(broken) => Violation::err(broken.rule, broken.at.clone()),
            None => match self.audit.check_units(&self.shadow).first() {
                Some(broken) => Violation::err(broken.rule, broken.at.clone()),
                None => Ok(()),
            },
        }
    }

    /// Digest of the state that all durable frames lead to.
    pub fn state_digest(&mut self) -> String {
        self.shadow.digest().to_string()
    }

    /// The token of a reservation.
    pub fn token(&self, id: invengine_ledger::ReservationId) -> String {
        self.shadow.token(id)
    }

    /// Keeps the first violation.
    pub fn record(&mut self, result: Result<(), Violation>) {
        if let (None, Err(violation)) = (&self.violation, result) {
            self.violation = Some(violation);
        }
    }
}
