//! What becomes of a message that cannot be applied now, and of one that was kept when its time comes.

use std::collections::BTreeSet;

use super::{DeadLetter, HeldMessage, Inbox, Ready, Waited, awaited, leaves_number, of_message};
use crate::command::{Command, Context};
use crate::event::Event;
use crate::execute::admit::is_same;
use crate::execute::{Payload, RecordTarget};
use crate::ids::Handle;
use crate::ledger::Ledger;
use crate::one_or_many::OneOrMany;
use crate::outcome::{Answer, Deferral, Effect, Executed};
use crate::planted;
use crate::record::{Origin, OriginSource};
use crate::rejection::{Reason, Rejection};

/// Who settles a dead letter, and why.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settling<'a> {
    /// Who asks for it.
    pub actor: &'a str,
    /// Why.
    pub reason_code: &'a str,
    /// Nothing is done, only decided.
    pub dry_run: bool,
}

impl Ledger {
    /// The answer to a message whose turn has not come; `None` if it is to be executed.
    pub(crate) fn hold_back(
        &mut self,
        frame: &mut RecordTarget<'_>,
        origin: Origin<'_>,
        message: &[u8],
    ) -> Option<Executed> {
        let position = origin.source?;
        let source = self.sources.get(position.source).filter(|source| source.epoch == position.epoch)?;
        let next = source.last + 1;
        if position.number > next && !planted::is("gap_accepted") {
            return Some(self.park(frame, origin, position, message));
        }
        None
    }

    /// The answer to a message that waits already. Another number of it is consumed.
    pub(crate) fn wait_again(&mut self, frame: &mut RecordTarget<'_>, origin: Origin<'_>, waiting: u64) -> Executed {
        if !self.is_next(&origin) {
            return self.deferred(Deferral::Waiting, (waiting, true), waiting);
        }
        let repeated = Event::MessageRepeated { sequence: waiting };
        if !self.write(frame, Some(origin), OneOrMany::One(repeated)) {
            return Executed::too_large();
        }
        self.deferred(Deferral::Waiting, (waiting, true), self.sequence)
    }

    fn park(
        &mut self,
        frame: &mut RecordTarget<'_>,
        origin: Origin<'_>,
        position: OriginSource,
        message: &[u8],
    ) -> Executed {
        if !self.inboxes.is_draining && self.next_parked(position.source).is_some() {
            // Its turn came when it could not be kept (OVERLOADED): its source does not know, so any of its messages will do.
            self.inboxes.push_ready(Ready::Next(position.source));
        }
        if let Some(held) = self.parked_at(position) {
            let (sequence, is_same) =
                (held.sequence, held.fingerprint == origin.fingerprint && *held.key == *origin.key);
            if is_same {
                return self.deferred(Deferral::Parked, (sequence, true), sequence);
            }
            let conflict = Rejection::new(Reason::SequenceConflict)
                .text("source", self.source_name(position.source))
                .number("sequence", position.number as i64);
            return Executed { answer: Answer::Rejected(conflict), depends_on: sequence };
        }
        if let Some(full) = self.held_full(position, message.len()) {
            return full;
        }
        let event = Event::MessageParked { message: message.into() };
        if !self.write(frame, Some(origin), OneOrMany::One(event)) {
            return Executed::too_large();
        }
        self.deferred(Deferral::Parked, (self.sequence, false), self.sequence)
    }

    /// Keeps a message that was refused: until what it names exists, or as a dead letter.
    pub(crate) fn keep(
        &mut self,
        frame: &mut RecordTarget<'_>,
        origin: Origin<'_>,
        rejection: Rejection,
        message: &[u8],
    ) -> Executed {
        let Some(position) = origin.source.filter(|_| !leaves_number(rejection.reason)) else {
            return Executed { answer: Answer::Rejected(rejection), depends_on: self.sequence };
        };
        if let Some((kind, name)) = awaited(&rejection) {
            if let Some(full) = self.held_full(position, message.len()) {
                return full;
            }
            let event = Event::MessageWaits { kind, name: name.into(), message: message.into() };
            if !self.write(frame, Some(origin), OneOrMany::One(event)) {
                return Executed::too_large();
            }
            return self.deferred(Deferral::Waiting, (self.sequence, false), self.sequence);
        }
        if let Some(full) = self.letters_full(position.source, message.len()) {
            return full;
        }
        let event = self.death(&rejection, message);
        if !self.write(frame, Some(origin), OneOrMany::One(event)) {
            return Executed::too_large();
        }
        let answer = Answer::Buried { sequence: self.sequence, replayed: false, rejection };
        Executed { answer, depends_on: self.sequence }
    }

    /// The answer to a message that was refused: if it is one that is kept as a dead letter already, that letter.
    pub(crate) fn of_dead_letter(&self, origin: &Origin<'_>, executed: Executed) -> Executed {
        let (Answer::Rejected(rejection), Some(position)) = (&executed.answer, origin.source) else { return executed };
        let known = self.remembered_refusal(origin.scope(), origin.key).map(|entry| entry.sequence);
        let letter_at = |sequence: u64| self.inbox(position.source)?.letter(sequence);
        let is_it = |sequence: &u64| {
            letter_at(*sequence).is_some_and(|letter| *letter.held.key == *origin.key && letter.rejection == *rejection)
        };
        match known.filter(is_it).or_else(|| Some(executed.depends_on).filter(is_it)) {
            Some(sequence) => {
                let answer = Answer::Buried { sequence, replayed: true, rejection: rejection.clone() };
                Executed { answer, ..executed }
            }
            None => executed,
        }
    }

    fn death(&self, rejection: &Rejection, message: &[u8]) -> Event {
        let forgets = self.refusals.is_full(self.options.refusal_bytes_max);
        Event::MessageDead { forgets, rejection: rejection.clone(), message: message.into() }
    }

    /// Executes a message that waited, if what it waits for exists; if it is to wait no longer, it becomes a dead letter otherwise.
    pub fn execute_waiting(
        &mut self,
        command: &Command<'_>,
        (source, waiting): (Handle, u64),
        give_up: bool,
        (now_ms, payload, bytes_max): (i64, &mut Payload, usize),
    ) -> Waited {
        let now_ms = now_ms.max(self.time_ms);
        let Ok(origin) = self.origin_of(command) else { return Waited::Goes };
        let Some(held) = self.inbox(source).and_then(|inbox| inbox.waiting.get(&waiting)) else { return Waited::Goes };
        let message = held.held.message.clone();
        let mut events = OneOrMany::One(Event::WaitEnded { source, waiting });
        match self.decide_kept(command, &origin, now_ms) {
            Ok(effects) => effects.into_iter().flatten().for_each(|event| events.push(event)),
            Err(rejection) if awaited(&rejection).is_some() && !give_up => return Waited::Goes,
            Err(_) if self.letters_full(source, message.len()).is_some() => {
                self.inboxes.note_unburied(source, waiting);
                return Waited::Goes;
            }
            Err(rejection) => events.push(self.death(&rejection, &message)),
        }
        let written = self.write(&mut RecordTarget::own(payload, bytes_max, now_ms), Some(origin), events);
        if written { Waited::Over } else { Waited::NoRoom }
    }

    /// What a message that is kept would do now; `None` if its key has done that since. A key that did something else, or was
    /// cancelled, refuses it.
    fn decide_kept(
        &self,
        command: &Command<'_>,
        origin: &Origin<'_>,
        now_ms: i64,
    ) -> Result<Option<OneOrMany<Event>>, Rejection> {
        let reused = |sequence| Rejection::new(Reason::IdempotencyKeyReused).number("sequence", sequence as i64);
        match self.keys.find(origin.scope(), origin.key) {
            Some(entry) if entry.effect == Effect::Tombstone => Err(Rejection::new(Reason::KeyCancelled)),
            Some(entry) if !is_same(command, origin, entry.fingerprint()) => Err(reused(entry.sequence)),
            Some(_) => Ok(None),
            None => match self.inboxes.waiting(origin.scope(), origin.key) {
                Some(waiting) if !is_same(command, origin, waiting.held.fingerprint) => {
                    Err(reused(waiting.held.sequence))
                }
                _ => self.decide(command, origin, now_ms).map(Some).map_err(of_message),
            },
        }
    }

    /// Sends a dead letter again: its message, which may have been corrected, as `command`. If it cannot be applied, nothing
    /// changes, and it remains one.
    pub fn redrive(
        &mut self,
        command: &Command<'_>,
        (source, letter): (Handle, u64),
        settling: Settling<'_>,
        (now_ms, payload, bytes_max): (i64, &mut Payload, usize),
    ) -> Executed {
        let now_ms = now_ms.max(self.time_ms);
        let refuse = |rejection| Executed { answer: Answer::Rejected(rejection), depends_on: 0 };
        let origin = match self.origin_of(command) {
            Ok(origin) => origin,
            Err(rejection) => return refuse(rejection),
        };
        if let Err(rejection) = self.letter_of(source, letter) {
            return refuse(rejection);
        }
        let mut events = OneOrMany::One(settled((source, letter), true, (settling.actor, settling.reason_code)));
        let effects = match self.decide_kept(command, &origin, now_ms) {
            Ok(effects) => effects,
            Err(rejection) => return Executed { answer: Answer::Rejected(rejection), depends_on: self.sequence },
        };
        let is_done = effects.is_none();
        effects.into_iter().flatten().for_each(|event| events.push(event));
        let mut frame = RecordTarget::own(payload, bytes_max, now_ms);
        if !settling.dry_run && !self.write(&mut frame, Some(origin), events) {
            return Executed::too_large();
        }
        let answer = self.accepted_letter(is_done, is_done || settling.dry_run);
        Executed { answer, depends_on: self.sequence }
    }

    pub(crate) fn decide_skip_gap(
        &self,
        source: &str,
        epoch: u64,
        through: u64,
        origin: &Origin<'_>,
    ) -> Result<OneOrMany<Event>, Rejection> {
        let handle = self.source_named(source)?;
        if origin.source.is_some_and(|position| position.source == handle) {
            let rule = "absent: a message does not give up numbers of its own source";
            return Err(Rejection::new(Reason::InvalidField).text("field", "context.source").text("description", rule));
        }
        let found = self.sources.get(handle).ok_or_else(|| Rejection::new(Reason::UnknownSource))?;
        let refuse = |reason| Rejection::new(reason).text("source", source);
        if found.epoch != epoch {
            return Err(refuse(Reason::StaleEpoch).number("current", found.epoch as i64));
        }
        if through <= found.last {
            return Err(refuse(Reason::SequenceConsumed).number("last", found.last as i64));
        }
        let first = self.inbox(handle).and_then(|inbox| inbox.parked.keys().next().copied());
        if first.is_none_or(|first| through >= first) {
            let rule = match first {
                Some(first) => {
                    format!("at most {}, because message {first} is parked and waits for its turn", first - 1)
                }
                None => "no message is parked, so none is missing".into(),
            };
            return Err(Rejection::new(Reason::InvalidField).text("field", "through").text("description", &rule));
        }
        Ok(OneOrMany::One(Event::GapSkipped { source: handle, epoch, through }))
    }

    pub(crate) fn decide_discard(
        &self,
        source: &str,
        letters: &[u64],
        context: &Context<'_>,
    ) -> Result<OneOrMany<Event>, Rejection> {
        let handle = self.source_named(source)?;
        let discard = |letter: &u64| {
            self.letter_of(handle, *letter)?;
            Ok(settled((handle, *letter), false, (context.actor, context.reason_code)))
        };
        let distinct: BTreeSet<u64> = letters.iter().copied().collect();
        if distinct.is_empty() || distinct.len() < letters.len() {
            let rule = "at least one dead letter, and each once";
            let invalid = Rejection::new(Reason::InvalidField).text("field", "dead_letters");
            return Err(invalid.text("description", rule));
        }
        letters.iter().map(discard).collect()
    }

    /// Refuses a position at which the source has no dead letter.
    fn letter_of(&self, source: Handle, letter: u64) -> Result<(), Rejection> {
        match self.inbox(source).and_then(|inbox| inbox.letter(letter)) {
            Some(_) => Ok(()),
            None => Err(Rejection::new(Reason::EntityNotFound)
                .text("kind", "dead_letter")
                .text("name", &letter.to_string())),
        }
    }

    /// Whether the refusal that the key of a message remembers is that of a dead letter. Otherwise a plain command was refused, and
    /// the message is kept nowhere.
    pub(crate) fn is_dead(&self, origin: &Origin<'_>) -> bool {
        let refused = self.remembered_refusal(origin.scope(), origin.key);
        let is_it = |letter: &DeadLetter| {
            (letter.held.scope, &*letter.held.key) == (origin.scope().word(), origin.key)
                && letter.held.fingerprint == origin.fingerprint
        };
        let is_letter = |inbox: &Inbox| {
            let first = refused.and_then(|refused| inbox.letter(refused.sequence));
            first.is_some_and(is_it) || inbox.letters.values().any(is_it)
        };
        refused.is_some() && self.inboxes.of_source.values().any(is_letter)
    }

    fn parked_at(&self, position: OriginSource) -> Option<&HeldMessage> {
        let held = self.inbox(position.source)?.parked.get(&position.number)?;
        Some(held).filter(|held| held.epoch == position.epoch)
    }

    fn source_named(&self, source: &str) -> Result<Handle, Rejection> {
        self.sources.find(source).ok_or_else(|| Rejection::new(Reason::UnknownSource).text("source", source))
    }

    /// The refusal of a message that would be parked or wait where there is no room for it.
    fn held_full(&self, position: OriginSource, bytes: usize) -> Option<Executed> {
        let (limits, source) = (self.options.inbox, position.source);
        let inbox = |inbox: &Inbox| (inbox.parked.len() + inbox.waiting.len(), inbox.held_bytes);
        let (held, held_bytes) = self.inbox(source).map_or((0, 0), inbox);
        // One that was parked and is to wait takes no more room than before.
        let own = self.parked_at(position).map_or((0, 0), |own| (1, own.message.len()));
        let full = held - own.0 >= limits.held || held_bytes - own.1 + bytes > limits.held_bytes;
        full.then(|| self.overloaded(source, "parked and waiting messages"))
    }

    pub(super) fn letters_full(&self, source: Handle, bytes: usize) -> Option<Executed> {
        let limits = self.options.inbox;
        let (letters, letter_bytes) =
            self.inbox(source).map_or((0, 0), |inbox| (inbox.letters.len(), inbox.letter_bytes));
        let full = letters >= limits.letters || letter_bytes + bytes > limits.letter_bytes;
        full.then(|| self.overloaded(source, "dead letters"))
    }

    fn overloaded(&self, source: Handle, limit: &str) -> Executed {
        let refusal = Rejection::new(Reason::Overloaded).text("source", self.source_name(source)).text("limit", limit);
        Executed { answer: Answer::Rejected(refusal), depends_on: 0 }
    }

    fn deferred(&self, deferral: Deferral, (sequence, replayed): (u64, bool), depends_on: u64) -> Executed {
        Executed { answer: Answer::Deferred { sequence, replayed, deferral }, depends_on }
    }

    /// The answer to a repeat of a number whose message waited, when its key is not known: it waits still, or what became of it
    /// is no longer known.
    pub(crate) fn answer_of_waited(&self, position: OriginSource, depends_on: u64) -> Executed {
        let is_it = |held: &HeldMessage| (held.epoch, held.number) == (position.epoch, position.number);
        let waiting = self.inbox(position.source).and_then(|inbox| {
            inbox.waiting.iter().find(|(_, waiting)| is_it(&waiting.held)).map(|(sequence, _)| *sequence)
        });
        match waiting {
            Some(sequence) => self.deferred(Deferral::Waiting, (sequence, true), depends_on),
            None => {
                let last = self.sources.get(position.source).map_or(0, |source| source.last);
                let consumed = Rejection::new(Reason::SequenceConsumed)
                    .text("source", self.source_name(position.source))
                    .number("last", last as i64);
                Executed { answer: Answer::Rejected(consumed), depends_on }
            }
        }
    }
}

fn settled((source, letter): (Handle, u64), redriven: bool, (actor, reason_code): (&str, &str)) -> Event {
    Event::LetterSettled { source, letter, redriven, actor: actor.into(), reason_code: reason_code.into() }
}
