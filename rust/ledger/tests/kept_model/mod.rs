//! A slow and obvious model of the messages of two sources: lists that are searched from their beginning.

use std::collections::BTreeSet;

use invengine_ledger::{Deferral, Reason};

/// What a message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Mugs, or jugs, which become known later, came to wh-1.
    Came {
        jugs: bool,
        units: i64,
    },
    /// A transfer of mugs left wh-1 for wh-2, or arrived there.
    Left {
        transfer: usize,
        units: i64,
    },
    Arrived {
        transfer: usize,
        units: i64,
    },
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Applied { again: bool },
    Kept(Deferral, bool),
    Refused(Reason),
}

/// A message: source, epoch, number, id, what it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub source: usize,
    pub epoch: u64,
    pub number: u64,
    pub id: String,
    pub told: Told,
}

#[derive(Clone, Debug)]
enum Outcome {
    Applied,
    Waits,
    Refused(Reason),
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    pub held: usize,
    pub letters: usize,
}

#[derive(Debug, Default)]
pub struct Kept {
    limits: Limits,
    /// Epoch and last number of each source.
    pub sources: [(u64, u64); 2],
    /// What was told under an id of a source, if it was applied, or why it was refused.
    done: Vec<(usize, String, Told)>,
    refused: Vec<(usize, String, Told, Reason)>,
    numbers: Vec<(usize, u64, Told, Outcome, String)>,
    pub parked: Vec<Sent>,
    /// With the time when it came.
    pub waiting: Vec<(Sent, i64)>,
    pub letters: Vec<(Sent, Reason)>,
    /// Sources whose next message, and messages that wait, which may be executed.
    due: BTreeSet<usize>,
    due_waiting: Vec<Sent>,
    draining: bool,
    pub mugs: [i64; 2],
    pub knows_jugs: bool,
    transfers: BTreeSet<usize>,
    pub now_ms: i64,
}

impl Kept {
    pub fn new(limits: Limits, mugs: i64, now_ms: i64) -> Self {
        Kept { limits, sources: [(1, 0); 2], mugs: [mugs, 0], now_ms, ..Kept::default() }
    }

    /// What a message does, or why it is refused.
    fn decide(&self, told: Told) -> Result<(), Reason> {
        match told {
            Told::Came { jugs: true, .. } if !self.knows_jugs => Err(Reason::UnknownSku),
            Told::Came { .. } => Ok(()),
            Told::Left { transfer, .. } if self.transfers.contains(&transfer) => Err(Reason::TransferState),
            Told::Left { units, .. } if units > self.mugs[0] => Err(Reason::InsufficientStock),
            Told::Left { .. } => Ok(()),
            Told::Arrived { transfer, .. } if !self.transfers.contains(&transfer) => Err(Reason::EntityNotFound),
            Told::Arrived { .. } => Ok(()),
        }
    }

    fn apply(&mut self, told: Told) {
        match told {
            Told::Came { jugs: true, .. } => {}
            Told::Came { units, .. } => self.mugs[0] += units,
            Told::Left { transfer, units } => {
                self.mugs[0] -= units;
                self.transfers.insert(transfer);
                let waits =
                    |sent: &Sent| matches!(sent.told, Told::Arrived { transfer: other, .. } if other == transfer);
                let found: Vec<Sent> = self.waiting.iter().map(|waiting| waiting.0.clone()).filter(waits).collect();
                self.due_waiting.extend(found);
            }
            Told::Arrived { units, .. } => self.mugs[1] += units,
        }
    }

    /// A command of nobody's.
    pub fn plain(&mut self, told: Told) -> Fate {
        match self.decide(told) {
            Ok(()) => {
                self.apply(told);
                Fate::Applied { again: false }
            }
            Err(reason) => Fate::Refused(reason),
        }
    }

    fn is_next(&self, sent: &Sent) -> bool {
        self.sources[sent.source] == (sent.epoch, sent.number.wrapping_sub(1))
    }

    fn consume(&mut self, sent: &Sent, outcome: Outcome) {
        self.sources[sent.source].1 = sent.number;
        self.numbers.push((sent.source, sent.number, sent.told, outcome, sent.id.clone()));
        self.parked.retain(|parked| (parked.source, parked.number) != (sent.source, sent.number));
        self.due.insert(sent.source);
    }

    fn next_is_parked(&self, source: usize) -> Option<Sent> {
        let next = self.sources[source].1 + 1;
        self.parked.iter().find(|parked| (parked.source, parked.number) == (source, next)).cloned()
    }

    fn held(&self, source: usize, besides: u64) -> usize {
        let parked = self.parked.iter().filter(|parked| parked.source == source && parked.number != besides).count();
        parked + self.waiting.iter().filter(|waiting| waiting.0.source == source).count()
    }

    fn buried(&self, source: usize) -> usize {
        self.letters.iter().filter(|letter| letter.0.source == source).count()
    }

    /// Keeps a message that was refused.
    fn keep(&mut self, sent: &Sent, reason: Reason) -> Fate {
        if reason == Reason::EntityNotFound {
            if self.held(sent.source, sent.number) >= self.limits.held {
                return Fate::Refused(Reason::Overloaded);
            }
            self.consume(sent, Outcome::Waits);
            self.waiting.push((sent.clone(), self.now_ms));
            return Fate::Kept(Deferral::Waiting, false);
        }
        if self.buried(sent.source) >= self.limits.letters {
            return Fate::Refused(Reason::Overloaded);
        }
        self.consume(sent, Outcome::Refused(reason));
        self.bury(sent, reason);
        Fate::Refused(reason)
    }

    fn bury(&mut self, sent: &Sent, reason: Reason) {
        self.letters.push((sent.clone(), reason));
        let known = self.refused.iter().any(|known| (known.0, &known.1) == (sent.source, &sent.id));
        if reason != Reason::IdempotencyKeyReused && !known {
            self.refused.push((sent.source, sent.id.clone(), sent.told, reason));
        }
    }

    pub fn send(&mut self, sent: &Sent) -> Fate {
        let (epoch, last) = self.sources[sent.source];
        if sent.epoch == epoch && sent.number > last + 1 {
            return self.park(sent);
        }
        let (is_next, of_id) = (self.is_next(sent), (sent.source, &sent.id));
        let reused = Reason::IdempotencyKeyReused;
        let done = self.done.iter().find(|done| (done.0, &done.1) == of_id).map(|done| done.2);
        let waiting = self.waiting.iter().find(|waiting| (waiting.0.source, &waiting.0.id) == of_id);
        let waiting = waiting.map(|waiting| waiting.0.told);
        let refused = self.refused.iter().find(|known| (known.0, &known.1) == of_id).map(|known| (known.2, known.3));
        let before = done.or(waiting).or(refused.map(|refused| refused.0));
        if before.is_some_and(|before| before != sent.told) {
            return if is_next { self.keep(sent, reused) } else { Fate::Refused(reused) };
        }
        if done.is_some() {
            if is_next {
                self.consume(sent, Outcome::Applied);
            }
            return Fate::Applied { again: true };
        }
        if waiting.is_some() {
            if is_next {
                self.consume(sent, Outcome::Waits);
            }
            return Fate::Kept(Deferral::Waiting, true);
        }
        if let Some((_, reason)) = refused {
            let is_it =
                |letter: &(Sent, Reason)| (letter.0.source, &letter.0.id) == of_id && letter.0.told == sent.told;
            if is_next && !self.letters.iter().any(is_it) {
                return self.keep(sent, reason);
            }
            if is_next {
                self.consume(sent, Outcome::Refused(reason));
            }
            return Fate::Refused(reason);
        }
        if sent.epoch != epoch {
            return Fate::Refused(Reason::StaleEpoch);
        }
        if !is_next {
            return self.answer_of_number(sent);
        }
        match self.decide(sent.told) {
            Ok(()) => {
                self.consume(sent, Outcome::Applied);
                self.done.push((sent.source, sent.id.clone(), sent.told));
                self.apply(sent.told);
                Fate::Applied { again: false }
            }
            Err(reason) => self.keep(sent, reason),
        }
    }

    fn answer_of_number(&self, sent: &Sent) -> Fate {
        let Some(known) = self.numbers.iter().find(|known| (known.0, known.1) == (sent.source, sent.number)) else {
            return Fate::Refused(Reason::SequenceConsumed);
        };
        let place = (sent.source, sent.epoch, sent.number);
        let waits = |waiting: &(Sent, i64)| (waiting.0.source, waiting.0.epoch, waiting.0.number) == place;
        let is_other = known.4 != sent.id;
        let buried = |letter: &(Sent, Reason)| {
            (letter.0.source, letter.0.epoch, letter.0.number) == place && letter.0.id == known.4
        };
        match &known.3 {
            _ if known.2 != sent.told => Fate::Refused(Reason::SequenceConflict),
            // The number of another message; of one that was refused that is known as long as its letter is there.
            Outcome::Applied | Outcome::Waits if is_other => Fate::Refused(Reason::SequenceConflict),
            Outcome::Refused(_) if is_other && self.letters.iter().any(buried) => {
                Fate::Refused(Reason::SequenceConflict)
            }
            Outcome::Applied => Fate::Applied { again: true },
            Outcome::Refused(reason) => Fate::Refused(*reason),
            Outcome::Waits if self.waiting.iter().any(waits) => Fate::Kept(Deferral::Waiting, true),
            Outcome::Waits => Fate::Refused(Reason::SequenceConsumed),
        }
    }

    fn park(&mut self, sent: &Sent) -> Fate {
        if !self.draining {
            self.due.insert(sent.source);
        }
        let place = (sent.source, sent.number);
        if let Some(parked) = self.parked.iter().find(|parked| (parked.source, parked.number) == place) {
            let is_same = parked.id == sent.id && parked.told == sent.told;
            let conflict = Fate::Refused(Reason::SequenceConflict);
            return if is_same { Fate::Kept(Deferral::Parked, true) } else { conflict };
        }
        if self.held(sent.source, sent.number) >= self.limits.held {
            return Fate::Refused(Reason::Overloaded);
        }
        self.parked.push(sent.clone());
        Fate::Kept(Deferral::Parked, false)
    }

    /// Executes what may be executed now.
    pub fn drain(&mut self) {
        self.draining = true;
        loop {
            if let Some(source) = self.due.pop_first() {
                if let Some(next) = self.next_is_parked(source) {
                    self.send(&next);
                }
            } else if !self.due_waiting.is_empty() {
                // In the order in which they came.
                let due: Vec<Sent> = std::mem::take(&mut self.due_waiting);
                let first = self.waiting.iter().find(|waiting| due.contains(&waiting.0)).map(|found| found.0.clone());
                self.due_waiting = due.into_iter().filter(|sent| Some(sent) != first.as_ref()).collect();
                match first {
                    Some(first) => self.end_wait(&first, false),
                    None => self.due_waiting.clear(),
                }
            } else {
                break;
            }
        }
        self.draining = false;
    }

    fn end_wait(&mut self, sent: &Sent, gives_up: bool) {
        match self.decide(sent.told) {
            Ok(()) => {
                self.done.push((sent.source, sent.id.clone(), sent.told));
                self.apply(sent.told);
            }
            Err(reason) if gives_up && self.buried(sent.source) < self.limits.letters => self.bury(sent, reason),
            Err(_) => return,
        }
        self.waiting.retain(|waiting| waiting.0 != *sent);
        self.due.insert(sent.source);
    }

    /// Those that have waited for too long.
    pub fn end_overdue(&mut self, wait_ms: i64) {
        for (sent, since_ms) in self.waiting.clone() {
            if self.now_ms - since_ms >= wait_ms {
                self.end_wait(&sent, true);
            }
        }
    }

    /// The number of this dead letter of a source in the list of all.
    fn letter(&self, source: usize, at: usize) -> Option<usize> {
        let of_source = (0..self.letters.len()).filter(|letter| self.letters[*letter].0.source == source);
        of_source.collect::<Vec<_>>().get(at).copied()
    }

    pub fn redrive(&mut self, (source, at): (usize, usize), corrected: Option<Told>, dry_run: bool) -> Option<Fate> {
        let letter = self.letter(source, at)?;
        let sent = self.letters[letter].0.clone();
        let told = corrected.unwrap_or(sent.told);
        let of_id = (source, &sent.id);
        let done = self.done.iter().find(|done| (done.0, &done.1) == of_id).map(|done| done.2);
        let waiting = self.waiting.iter().find(|waiting| (waiting.0.source, &waiting.0.id) == of_id);
        if done.or(waiting.map(|waiting| waiting.0.told)).is_some_and(|before| before != told) {
            return Some(Fate::Refused(Reason::IdempotencyKeyReused));
        }
        if done.is_none()
            && let Err(reason) = self.decide(told)
        {
            return Some(Fate::Refused(reason));
        }
        if !dry_run {
            self.letters.remove(letter);
            self.due.insert(source);
            if done.is_none() {
                self.done.push((source, sent.id, told));
                self.apply(told);
            }
        }
        Some(Fate::Applied { again: done.is_some() })
    }

    pub fn discard(&mut self, (source, at): (usize, usize)) -> Fate {
        match self.letter(source, at) {
            Some(letter) => {
                self.letters.remove(letter);
                self.due.insert(source);
                Fate::Applied { again: false }
            }
            None => Fate::Refused(Reason::EntityNotFound),
        }
    }

    pub fn skip(&mut self, source: usize, through: u64) -> Fate {
        let first = self.parked.iter().filter(|parked| parked.source == source).map(|parked| parked.number).min();
        if through <= self.sources[source].1 {
            return Fate::Refused(Reason::SequenceConsumed);
        }
        if first.is_none_or(|first| through >= first) {
            return Fate::Refused(Reason::InvalidField);
        }
        self.sources[source].1 = through;
        self.numbers.retain(|number| number.0 != source);
        self.due.insert(source);
        Fate::Applied { again: false }
    }

    pub fn register(&mut self, source: usize, epoch: u64) {
        self.sources[source] = (epoch, 0);
        self.numbers.retain(|number| number.0 != source);
        self.parked.retain(|parked| parked.source != source);
    }

    pub fn restart(&mut self) {
        self.due = [0, 1].into();
        let is_known =
            |sent: &Sent| matches!(sent.told, Told::Arrived { transfer, .. } if self.transfers.contains(&transfer));
        self.due_waiting = self.waiting.iter().map(|waiting| waiting.0.clone()).filter(is_known).collect();
    }
}
