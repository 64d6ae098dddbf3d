//! Follows the journal frame by frame, as it becomes durable and as each recovery finds it again: what was durable once is
//! found again, nothing else is, and every rule that a journal alone can break holds at every prefix.

use invengine_ledger::{Audit, Ledger, LedgerOptions, RecordReader};
use invengine_node::journal::Frame;

use crate::model::{Breach, Model};
use crate::random::mix;

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

/// A read whose position is not durable yet.
#[derive(Clone, Debug)]
struct Pending {
    sequence: u64,
    now_ms: i64,
    sku: String,
    location: String,
    available: i64,
}

/// How a recovery is going.
#[derive(Clone, Copy, Debug, Default)]
struct Replaying {
    /// Frames of events seen.
    seen: usize,
    epoch: u64,
    /// Found although nobody was told about it.
    unconfirmed: u64,
}

/// What is known of the journal.
pub struct Follower {
    pub model: Model,
    shadow: Ledger,
    audit: Audit,
    frames: Vec<Kept>,
    attempted: Option<Kept>,
    replaying: Option<Replaying>,
    /// Highest epoch of a writer that opened.
    epoch: u64,
    pending: Vec<Pending>,
    /// Journals that may lose what they acknowledged do so only when this was set, and are rebuilt.
    may_lose: bool,
    /// Frames that were lost so, all together.
    pub lost: u64,
    pub breach: Option<Breach>,
    pub digest: u64,
}

fn empty_ledger() -> Ledger {
    Ledger::new(LedgerOptions::new("main"))
}

impl Default for Follower {
    fn default() -> Self {
        Follower {
            model: Model::default(),
            shadow: empty_ledger(),
            audit: Audit::default(),
            frames: Vec::new(),
            attempted: None,
            replaying: None,
            epoch: 0,
            pending: Vec::new(),
            may_lose: false,
            lost: 0,
            breach: None,
            digest: 0,
        }
    }
}

impl Follower {
    /// A frame is on its way.
    pub fn attempts(&mut self, frame: &Frame<'_>) {
        self.attempted = Some(Kept::of(frame));
    }

    /// It is durable.
    pub fn confirmed(&mut self) {
        if let Some(kept) = self.attempted.take() {
            self.next(kept);
        }
    }

    /// A recovery begins, again perhaps.
    pub fn replay(&mut self) {
        self.replaying = Some(Replaying::default());
    }

    /// The redis journal may have lost frames by design.
    pub fn may_lose(&mut self) {
        self.may_lose = true;
    }

    /// A recovery found this frame.
    pub fn replayed(&mut self, frame: &Frame<'_>) {
        let result = self.try_replayed(frame);
        self.note(result);
    }

    fn try_replayed(&mut self, frame: &Frame<'_>) -> Result<(), Breach> {
        let mut replaying = self.replaying.take().unwrap_or_default();
        if frame.is_claim() {
            if frame.writer_epoch != replaying.epoch + 1 {
                let found = format!("{} after {}", frame.writer_epoch, replaying.epoch);
                return Breach::err("writer epochs rise by one", found);
            }
            replaying.epoch = frame.writer_epoch;
        } else {
            if frame.writer_epoch != replaying.epoch {
                let found = format!("a frame of {} after the claim of {}", frame.writer_epoch, replaying.epoch);
                return Breach::err("one writer", found);
            }
            self.match_frame(frame, &mut replaying)?;
            replaying.seen += 1;
        }
        self.replaying = Some(replaying);
        Ok(())
    }

    fn match_frame(&mut self, frame: &Frame<'_>, replaying: &mut Replaying) -> Result<(), Breach> {
        match self.frames.get(replaying.seen) {
            Some(kept) if kept.is(frame) => Ok(()),
            Some(kept) if !self.may_lose => {
                let found = format!(
                    "{}..={} instead of {}..={}",
                    frame.first_sequence, frame.last_sequence, kept.first_sequence, kept.last_sequence
                );
                Breach::err("durable frames are found again", found)
            }
            Some(_) => {
                self.forget_from(replaying.seen);
                self.next(Kept::of(frame));
                Ok(())
            }
            None => self.unconfirmed(frame, replaying),
        }
    }

    /// A frame that nobody was told about may be there, but only the one that was on its way.
    fn unconfirmed(&mut self, frame: &Frame<'_>, replaying: &mut Replaying) -> Result<(), Breach> {
        replaying.unconfirmed += 1;
        let expected = self.attempted.take().is_some_and(|attempted| attempted.is(frame));
        if !expected && !self.may_lose {
            let found = format!("{}..={} was never appended", frame.first_sequence, frame.last_sequence);
            return Breach::err("a recovery finds a prefix of what was appended", found);
        }
        self.next(Kept::of(frame));
        Ok(())
    }

    /// The recovery is done and this writer may go on.
    pub fn opened(&mut self, epoch: u64) {
        let result = self.try_opened(epoch);
        self.note(result);
    }

    fn try_opened(&mut self, epoch: u64) -> Result<(), Breach> {
        let replaying = self.replaying.take().unwrap_or_default();
        if replaying.seen < self.frames.len() {
            if !self.may_lose {
                let kept = &self.frames[replaying.seen];
                let found = format!("from {} on nothing is there", kept.first_sequence);
                return Breach::err("durable frames are found again", found);
            }
            self.forget_from(replaying.seen);
        }
        if epoch <= self.epoch && !self.may_lose {
            return Breach::err("writer epochs rise by one", format!("{epoch} after {}", self.epoch));
        }
        (self.epoch, self.attempted, self.may_lose) = (epoch, None, false);
        self.pending.clear();
        self.recompute()
    }

    /// The state as of the first frames, from nothing.
    fn forget_from(&mut self, count: usize) {
        self.lost += (self.frames.len() - count) as u64;
        let frames = std::mem::take(&mut self.frames);
        (self.model, self.shadow, self.audit) = (Model::default(), empty_ledger(), Audit::default());
        self.pending.clear();
        for kept in frames.into_iter().take(count) {
            self.next(kept);
        }
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
            self.check_pending()?;
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

    /// Compares a read with the state at its position, now or once that is durable.
    pub fn read(&mut self, sequence: u64, now_ms: i64, sku: &str, location: &str, available: i64) {
        let (sku, location) = (sku.to_owned(), location.to_owned());
        let read = Pending { sequence, now_ms, sku, location, available };
        if sequence > self.model.sequence {
            self.pending.push(read);
        } else if sequence == self.model.sequence {
            let result = self.compare(&read);
            self.note(result);
        } else {
            let found = format!("at {sequence}, while {} is durable", self.model.sequence);
            self.note(Breach::err("reads see what is durable", found));
        }
    }

    fn check_pending(&mut self) -> Result<(), Breach> {
        let reached = self.model.sequence;
        if self.pending.first().is_none_or(|read| read.sequence > reached) {
            return Ok(());
        }
        let place = self.pending.partition_point(|read| read.sequence <= reached);
        let due: Vec<Pending> = self.pending.drain(..place).collect();
        for read in due {
            if read.sequence != reached {
                return Breach::err("reads stand between commands", format!("{read:?}"));
            }
            self.compare(&read)?;
        }
        Ok(())
    }

    fn compare(&self, read: &Pending) -> Result<(), Breach> {
        let free = self.model.level(&read.sku, &read.location).map_or(0, |level| level.free(read.now_ms));
        if read.available == free.max(0) {
            return Ok(());
        }
        Breach::err("reads show the state at their position", format!("{read:?}, it is {free}"))
    }

    /// Keeps the first breach.
    pub fn note(&mut self, result: Result<(), Breach>) {
        if let (None, Err(breach)) = (&self.breach, result) {
            self.breach = Some(breach);
        }
    }
}
