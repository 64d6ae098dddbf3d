//! Follows the journal frame by frame, as it becomes durable and as each recovery finds it again: what was durable once is
//! found again, nothing else is, and every rule that a journal alone can break holds at every prefix.
//!
//! A Redis may lose what it acknowledged where its mode says so. It tells what is in danger when that happens; frames in
//! danger may be gone, or others may be in their place, and nothing else may.

use invengine_ledger::{Audit, Ledger, LedgerOptions, RecordReader};
use invengine_node::journal::Frame;
use invengine_node::journal::frame::decode;

use crate::marks::{Mark, Marks};
use crate::model::{Breach, Model};
use crate::random::mix;
use crate::reads::Reads;

const FOUND_AGAIN: &str = "durable frames are found again";

/// A durable frame of events.
#[derive(Clone, Debug)]
struct Kept {
    first_sequence: u64,
    last_sequence: u64,
    time_ms: i64,
    writer_epoch: u64,
    payload: Vec<u8>,
}

impl Kept {
    fn of(frame: &Frame<'_>) -> Self {
        Kept {
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

/// How a recovery is going.
#[derive(Clone, Copy, Debug, Default)]
struct Replaying {
    /// Sequence of the last event seen.
    sequence: u64,
    epoch: u64,
}

/// What one process does with the journal.
#[derive(Clone, Debug, Default)]
struct Writer {
    attempted: Option<Kept>,
    replaying: Option<Replaying>,
}

/// What is known of the journal.
pub struct Follower {
    pub model: Model,
    pub reads: Reads,
    pub marks: Marks,
    window_ms: i64,
    shadow: Ledger,
    audit: Audit,
    frames: Vec<Kept>,
    writers: Vec<Writer>,
    /// Highest epoch of a writer that opened.
    epoch: u64,
    /// Sequence up to which somebody was told that it is durable.
    told: u64,
    /// First sequence that a fault may have taken, as the acknowledgement mode allows.
    endangered: Option<u64>,
    /// A claim may be gone too.
    claims_endangered: bool,
    /// First sequence that it did take, until somebody asks.
    lost: Option<u64>,
    /// Frames that were given up: whoever wrote them may have them still.
    forgotten: Vec<Kept>,
    /// An owner of before, made owner again by a fault, appends those of its own history again.
    another_history: bool,
    pub breach: Option<Breach>,
    pub digest: u64,
}

fn empty_ledger(dedupe_window_ms: i64) -> Ledger {
    Ledger::new(LedgerOptions { dedupe_window_ms, ..LedgerOptions::new("main") })
}

impl Follower {
    /// Knows nothing yet of a journal that so many processes may open.
    pub fn new(processes: usize, window_ms: i64) -> Self {
        Follower {
            model: Model::default(),
            reads: Reads::default(),
            marks: Marks::default(),
            window_ms,
            shadow: empty_ledger(window_ms),
            audit: Audit::default(),
            frames: Vec::new(),
            writers: vec![Writer::default(); processes],
            epoch: 0,
            told: 0,
            endangered: None,
            claims_endangered: false,
            lost: None,
            forgotten: Vec::new(),
            another_history: false,
            breach: None,
            digest: 0,
        }
    }

    /// A frame is on its way.
    pub fn attempts(&mut self, writer: usize, frame: &Frame<'_>) {
        self.writers[writer].attempted = Some(Kept::of(frame));
    }

    /// It is durable.
    pub fn confirmed(&mut self, writer: usize) {
        if let Some(kept) = self.writers[writer].attempted.take() {
            let (last, result) = (kept.last_sequence, self.try_confirmed(kept));
            self.another_history = false;
            self.told = self.told.max(last);
            self.note(result);
        }
    }

    fn try_confirmed(&mut self, kept: Kept) -> Result<(), Breach> {
        let place = self.place(kept.first_sequence);
        match self.frames.get(place) {
            None => {}
            // Another process has found it already.
            Some(known) if known.is(&kept.frame()) => return Ok(()),
            Some(_) => self.forgive(place, "one history", kept.first_sequence)?,
        }
        self.next(kept);
        Ok(())
    }

    /// A fault took what comes from this sequence on, unless a replica has confirmed it.
    pub fn endanger(&mut self, from_sequence: u64, spares_told: bool) {
        let from = if spares_told { from_sequence.max(self.told + 1) } else { from_sequence };
        let from = self.endangered.map_or(from, |before| before.min(from));
        self.endangered = (from <= self.model.sequence).then_some(from);
        self.claims_endangered |= !spares_told;
        self.another_history = false;
    }

    /// Whether anything is in danger.
    pub fn is_endangered(&self) -> bool {
        self.endangered.is_some()
    }

    /// Whether a fault took what later owners did, and perhaps their claim: to whoever owned the journal before, they never were.
    pub fn may_have_forgotten_owners_after(&self, epoch: u64) -> bool {
        self.is_endangered() && epoch < self.epoch
    }

    /// A server has stored a frame: what was in danger may be there again, or what was given up for it before.
    pub fn stored(&mut self, frame: &[u8]) {
        let Ok(decoded) = decode(frame) else { return };
        let frame = decoded.frame();
        if self.another_history {
            return self.take_again(&frame);
        }
        let Some(from) = self.endangered else { return };
        let place = self.place(from);
        if self.frames.get(place).is_some_and(|kept| kept.is(&frame)) {
            let next = frame.last_sequence + 1;
            self.endangered = (next <= self.model.sequence).then_some(next);
            self.marks.meet(Mark::TailAgain);
        } else if frame.first_sequence == from && self.forgotten.iter().any(|kept| kept.is(&frame)) {
            self.forget_from(place);
            self.another_history = true;
            self.take_again(&frame);
        }
    }

    /// Takes the next frame of a history that was given up before; what is not from there is met when it is confirmed.
    fn take_again(&mut self, frame: &Frame<'_>) {
        let known = self.forgotten.iter().any(|kept| kept.is(frame));
        if known && frame.first_sequence == self.model.sequence + 1 {
            self.marks.meet(Mark::TailAgain);
            self.next(Kept::of(frame));
        }
    }

    /// The first sequence that was lost since this was asked.
    pub fn take_lost(&mut self) -> Option<u64> {
        self.lost.take()
    }

    /// Forgets frames that were in danger.
    ///
    /// # Errors
    /// They were not.
    fn forgive(&mut self, place: usize, rule: &'static str, sequence: u64) -> Result<(), Breach> {
        if self.endangered.is_none_or(|from| sequence < from) {
            let found = format!("sequence {sequence} is not what it was; in danger: {:?}", self.endangered);
            return Breach::err(rule, found);
        }
        self.forget_from(place);
        Ok(())
    }

    /// A process starts, and has read nothing yet.
    pub fn starts(&mut self, writer: usize) {
        self.writers[writer].replaying = None;
    }

    /// A recovery begins, again perhaps, at a sequence and an epoch.
    pub fn replay(&mut self, writer: usize, sequence: u64, epoch: u64) {
        let again = self.writers[writer].replaying.is_some_and(|replaying| replaying.sequence > 0);
        if again {
            self.marks.meet(Mark::OlderSnapshot);
        } else if sequence > 0 {
            self.marks.meet(Mark::SnapshotLoaded);
        }
        self.writers[writer].replaying = Some(Replaying { sequence, epoch });
    }

    /// A recovery found this frame.
    pub fn replayed(&mut self, writer: usize, frame: &Frame<'_>) {
        let mut replaying = self.writers[writer].replaying.take().unwrap_or_default();
        let result = self.try_replayed(frame, &mut replaying);
        self.writers[writer].replaying = Some(replaying);
        self.note(result);
    }

    fn try_replayed(&mut self, frame: &Frame<'_>, replaying: &mut Replaying) -> Result<(), Breach> {
        if frame.is_claim() {
            if frame.writer_epoch <= replaying.epoch {
                let found = format!("{} after {}", frame.writer_epoch, replaying.epoch);
                return Breach::err("writer epochs rise", found);
            }
            replaying.epoch = frame.writer_epoch;
            return Ok(());
        }
        if frame.writer_epoch != replaying.epoch {
            let found = format!("a frame of {} after the claim of {}", frame.writer_epoch, replaying.epoch);
            return Breach::err("one writer", found);
        }
        if frame.first_sequence != replaying.sequence + 1 {
            let found = format!("{} after {}", frame.first_sequence, replaying.sequence);
            return Breach::err("sequences have no gap", found);
        }
        replaying.sequence = frame.last_sequence;
        let place = self.place(frame.first_sequence);
        match self.frames.get(place) {
            Some(kept) if kept.is(frame) => return Ok(()),
            Some(_) => self.forgive(place, FOUND_AGAIN, frame.first_sequence)?,
            None => self.unconfirmed(frame)?,
        }
        self.next(Kept::of(frame));
        Ok(())
    }

    /// A frame that nobody was told about may be there, but only one that was on its way.
    fn unconfirmed(&mut self, frame: &Frame<'_>) -> Result<(), Breach> {
        let attempted = self.writers.iter().filter_map(|writer| writer.attempted.as_ref());
        if !attempted.into_iter().any(|attempted| attempted.is(frame)) {
            let found = format!("{}..={} was never appended", frame.first_sequence, frame.last_sequence);
            return Breach::err("a recovery finds a prefix of what was appended", found);
        }
        self.marks.meet(Mark::FoundUntold);
        Ok(())
    }

    /// The recovery is done and this writer may go on; unless another one has claimed since, what it found is all there is.
    pub fn opened(&mut self, writer: usize, epoch: u64, owns: bool) {
        let result = if owns { self.try_opened(writer, epoch) } else { Ok(()) };
        self.writers[writer] = Writer::default();
        self.note(result);
    }

    fn try_opened(&mut self, writer: usize, epoch: u64) -> Result<(), Breach> {
        let replaying = self.writers[writer].replaying.take().unwrap_or_default();
        if replaying.sequence < self.model.sequence {
            self.forgive(self.place(replaying.sequence + 1), FOUND_AGAIN, replaying.sequence + 1)?;
        }
        if epoch <= self.epoch && !self.claims_endangered {
            return Breach::err("writer epochs rise", format!("{epoch} after {}", self.epoch));
        }
        (self.epoch, self.endangered, self.told) = (epoch, None, self.model.sequence);
        self.claims_endangered = false;
        self.another_history = false;
        self.reads.forget();
        self.recompute()
    }

    /// Where the frame is that begins with a sequence.
    fn place(&self, first_sequence: u64) -> usize {
        self.frames.partition_point(|kept| kept.first_sequence < first_sequence)
    }

    /// The state as of the first frames, from nothing.
    fn forget_from(&mut self, count: usize) {
        let mut frames = std::mem::take(&mut self.frames);
        let forgotten = frames.split_off(count.min(frames.len()));
        let first = forgotten.first().map(|kept| kept.first_sequence);
        self.forgotten.extend(forgotten);
        self.lost = self.lost.into_iter().chain(first).min();
        self.marks.meet(Mark::LostByDesign);
        (self.model, self.shadow, self.audit) = (Model::default(), empty_ledger(self.window_ms), Audit::default());
        self.reads.forget();
        for kept in frames {
            self.next(kept);
        }
        self.told = self.told.min(self.model.sequence);
        self.endangered = None;
    }

    fn next(&mut self, kept: Kept) {
        let result = self.fold(&kept);
        self.digest = mix(self.digest ^ mix(kept.last_sequence) ^ kept.payload.len() as u64);
        self.frames.push(kept);
        self.note(result);
    }

    fn fold(&mut self, kept: &Kept) -> Result<(), Breach> {
        if kept.first_sequence != self.model.sequence + 1 {
            return Breach::err(
                "sequences have no gap",
                format!("{} after {}", kept.first_sequence, self.model.sequence),
            );
        }
        let bad = |why: String| Breach::new("frames can be folded", why);
        let mut records = RecordReader::new(&kept.payload, kept.time_ms).map_err(|error| bad(error.to_string()))?;
        while let Some(record) = records.next().map_err(|error| bad(error.to_string()))? {
            self.model.apply(&record)?;
            self.reads.reached(kept.writer_epoch, &self.model)?;
        }
        let audit = std::cell::RefCell::new(&mut self.audit);
        let folded = self.shadow.fold_with(
            &kept.payload,
            kept.time_ms,
            kept.writer_epoch,
            &mut |ledger, record| audit.borrow_mut().before(ledger, record),
            &mut |ledger, record| {
                audit.borrow_mut().after(ledger, record);
                true
            },
        );
        folded.map_err(|error| bad(error.to_string()))?;
        if self.model.sequence != kept.last_sequence || self.shadow.sequence() != kept.last_sequence {
            return Err(bad("the last sequence is not that of the last event".into()));
        }
        if self.audit.oversold_by_holds() > 0 {
            return Breach::err("no oversell", format!("{} units", self.audit.oversold_by_holds()));
        }
        Ok(())
    }

    /// Recomputes every counter, twice: here and by the ledger's own audit.
    ///
    /// # Errors
    /// One is wrong.
    pub fn recompute(&self) -> Result<(), Breach> {
        self.model.recompute()?;
        match Audit::check(&self.shadow).first() {
            Some(broken) => Breach::err(broken.rule, broken.at.clone()),
            None => Ok(()),
        }
    }

    /// Digest of the state that all durable frames give.
    pub fn state_digest(&mut self) -> String {
        self.shadow.digest().to_string()
    }

    /// The token of a reservation.
    pub fn token(&self, id: invengine_ledger::ReservationId) -> String {
        self.shadow.token(id)
    }

    /// Keeps the first breach.
    pub fn note(&mut self, result: Result<(), Breach>) {
        if let (None, Err(breach)) = (&self.breach, result) {
            self.breach = Some(breach);
        }
    }
}
