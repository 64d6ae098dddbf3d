//! One command from its arrival to its answer. The order of checks is fixed, so that retries agree: (form and limits, before the
//! ledger) · key · source epoch · source sequence · names · state · stock.

use crate::codec::{self, PAYLOAD_VERSION};
use crate::command::{Body, Command};
use crate::event::{Event, LevelUnits};
use crate::few::Few;
use crate::fingerprint::fingerprint;
use crate::keys::{KeyEntry, KeyPlace, Scope};
use crate::ledger::Ledger;
use crate::outcome::{Answer, Effect, EffectPlace, EffectRef, Executed};
use crate::record::{Origin, OriginSource, Record};
use crate::rejection::{Reason, Rejection};
use crate::source::Kept;

/// Lines that one sweep of expired holds touches at most.
pub const SWEEP_LINES_MAX: usize = 2_000;

/// The payload of the frame that is being filled.
#[derive(Debug, Default)]
pub struct Payload {
    bytes: Vec<u8>,
    first_time_ms: i64,
    time_ms: i64,
}

impl Payload {
    /// The bytes so far; empty if there is no record.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// True if there is no record.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Time of its first record: the time of the frame.
    pub fn frame_time_ms(&self) -> i64 {
        self.first_time_ms
    }

    /// Empties it and keeps its memory, up to a limit.
    pub fn clear(&mut self, bytes_kept: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(bytes_kept);
    }

    /// Appends a record unless the payload would get longer than `bytes_max`; tells whether it did.
    fn push(&mut self, record: &Record<'_>, bytes_max: usize) -> bool {
        let length = self.bytes.len();
        let before_ms = if length == 0 { record.time_ms } else { self.time_ms };
        if length == 0 {
            self.bytes.push(PAYLOAD_VERSION);
        }
        codec::encode(&mut self.bytes, record, before_ms);
        if self.bytes.len() > bytes_max {
            self.bytes.truncate(length);
            return false;
        }
        if length == 0 {
            self.first_time_ms = record.time_ms;
        }
        self.time_ms = record.time_ms;
        true
    }
}

/// What the checks of key and source came to.
enum Admission<'a> {
    Execute(Origin<'a>),
    /// The key did this before; its number, if it has one, was consumed then.
    Replay(KeyPlace),
    /// The key did this before, under another number: this one is consumed too.
    Repeat(Origin<'a>, KeyPlace),
    /// This number did this before.
    ReplayNumber(OriginSource),
    Refuse(Rejection, u64),
    /// A no that consumes the message's number.
    Reject(Origin<'a>, Rejection),
}

impl Ledger {
    /// Executes one command: decides, appends its record to the payload, applies it, and answers.
    ///
    /// The time never goes back: an earlier `now_ms` counts as the time of the last record. A record that would make the
    /// payload longer than `bytes_max` is not made (`Reason::TooLarge`), and nothing changes.
    pub fn execute(&mut self, command: &Command<'_>, now_ms: i64, payload: &mut Payload, bytes_max: usize) -> Executed {
        let now_ms = now_ms.max(self.time_ms);
        let fingerprint = fingerprint(command);
        match self.admit(command, fingerprint, now_ms) {
            Admission::Refuse(rejection, rests_on) => Executed { answer: Answer::Rejected(rejection), rests_on },
            Admission::Reject(origin, rejection) => self.reject(origin, rejection, now_ms, payload, bytes_max),
            Admission::Replay(place) => self.answer_of_key(place),
            Admission::ReplayNumber(place) => self.answer_of_number(place),
            Admission::Repeat(origin, place) => self.repeat(origin, place, now_ms, payload, bytes_max),
            Admission::Execute(origin) => match self.decide(command, &origin, now_ms) {
                Ok(events) => self.accept(Record { time_ms: now_ms, origin: Some(origin), events }, payload, bytes_max),
                Err(rejection) => self.reject(origin, rejection, now_ms, payload, bytes_max),
            },
        }
    }

    /// What an accepted command did. The reference is that of the newest answers: the ledger forgets what is old.
    #[inline]
    pub fn effect(&self, effect: EffectRef) -> &Effect {
        match effect.0 {
            EffectPlace::Nowhere => Some(&Effect::Done),
            EffectPlace::Key(place) => self.keys.at(place).map(|entry| &entry.effect),
            EffectPlace::Message(place) => self.sources.get(place.source).and_then(|found| found.effect(place.number)),
        }
        .expect("Condition failed: the effect is read before the ledger changes again")
    }

    /// Writes the Expired events of holds that are over, at most about [`SWEEP_LINES_MAX`] lines of them. Tells how many holds.
    pub fn sweep(&mut self, now_ms: i64, payload: &mut Payload, bytes_max: usize) -> usize {
        let now_ms = now_ms.max(self.time_ms);
        let mut events = Few::default();
        let (mut lines_left, mut taken) = (SWEEP_LINES_MAX, Vec::new());
        while lines_left > 0 {
            let Some((tick, mut slots)) = self.schedule.take_over(now_ms) else { break };
            while lines_left > 0 {
                let Some(slot) = slots.pop() else { break };
                if let Some(event) = self.expiry_of(slot, tick) {
                    lines_left = lines_left.saturating_sub(event.lines());
                    events.push(event);
                    taken.push((tick, slot));
                }
            }
            self.schedule.give_back(tick, slots);
        }
        let count = events.len();
        if count == 0 || self.write(&Record { time_ms: now_ms, origin: None, events }, payload, bytes_max) {
            return count;
        }
        // No room in this frame: the next one has.
        for (tick, slot) in taken {
            self.schedule.give_back(tick, vec![slot]);
        }
        0
    }

    fn expiry_of(&self, slot: crate::event::Slot, tick: i64) -> Option<Event> {
        let reservation = self.slab.at(slot).filter(|reservation| reservation.expire_ms == tick)?;
        expired(reservation)
    }

    /// Forgets the older keys if the younger ones have their age or take their share of memory. Tells whether it did.
    pub fn forget_keys(&mut self, now_ms: i64, payload: &mut Payload, bytes_max: usize) -> bool {
        let now_ms = now_ms.max(self.time_ms);
        let since = self.keys.younger_since_ms().max(self.first_time_ms);
        let aged = self.sequence > 0 && now_ms.saturating_sub(since) >= self.options.dedupe_window_ms;
        if !aged && self.keys.younger_bytes() < self.options.key_bytes_max / 2 {
            return false;
        }
        let before_ms = since;
        let events = Few::One(Event::KeysForgotten { before_ms });
        self.write(&Record { time_ms: now_ms, origin: None, events }, payload, bytes_max)
    }

    fn write(&mut self, record: &Record<'_>, payload: &mut Payload, bytes_max: usize) -> bool {
        let written = payload.push(record, bytes_max);
        if written {
            self.apply(record);
            debug_assert_eq!(self.misfits, 0, "Invariant: what was decided fits the state: {record:?}");
        }
        written
    }

    fn accept(&mut self, record: Record<'_>, payload: &mut Payload, bytes_max: usize) -> Executed {
        if !self.write(&record, payload, bytes_max) {
            return Executed { answer: Answer::Rejected(Rejection::new(Reason::TooLarge)), rests_on: 0 };
        }
        let sequence = self.sequence;
        let place = match record.origin {
            Some(Origin { key, .. }) if !key.is_empty() => self.keys.last().map(EffectPlace::Key),
            Some(Origin { source, .. }) => source.map(EffectPlace::Message),
            None => None,
        };
        let effect = EffectRef(place.unwrap_or(EffectPlace::Nowhere));
        let answer = Answer::Accepted { sequence, replayed: false, effect };
        Executed { answer, rests_on: sequence }
    }

    fn reject(
        &mut self,
        origin: Origin<'_>,
        rejection: Rejection,
        now_ms: i64,
        payload: &mut Payload,
        bytes_max: usize,
    ) -> Executed {
        let remembered = rejection.reason != Reason::InvalidField;
        let mut rests_on = if rejection.reason.needs_no_wait() { 0 } else { self.sequence };
        if remembered && origin.source.is_some() {
            let events = Few::One(Event::MessageRejected { rejection: rejection.clone() });
            if !self.write(&Record { time_ms: now_ms, origin: Some(origin), events }, payload, bytes_max) {
                return Executed { answer: Answer::Rejected(Rejection::new(Reason::TooLarge)), rests_on: 0 };
            }
            rests_on = self.sequence;
        } else if remembered && !origin.key.is_empty() && origin.unknown_channel.is_empty() {
            self.refused.insert(origin.scope(), origin.key, origin.fingerprint, rejection.clone());
        }
        Executed { answer: Answer::Rejected(rejection), rests_on }
    }

    fn repeat(
        &mut self,
        origin: Origin<'_>,
        place: KeyPlace,
        now_ms: i64,
        payload: &mut Payload,
        bytes_max: usize,
    ) -> Executed {
        let answered = self.answer_of_key(place);
        let events = Few::One(Event::MessageRepeated { sequence: answered.rests_on });
        if !self.write(&Record { time_ms: now_ms, origin: Some(origin), events }, payload, bytes_max) {
            return Executed { answer: Answer::Rejected(Rejection::new(Reason::TooLarge)), rests_on: 0 };
        }
        Executed { rests_on: self.sequence, ..answered }
    }

    fn answer_of_key(&self, place: KeyPlace) -> Executed {
        let sequence = self.keys.at(place).map_or(0, |entry| entry.sequence);
        let answer = Answer::Accepted { sequence, replayed: true, effect: EffectRef(EffectPlace::Key(place)) };
        Executed { answer, rests_on: sequence }
    }

    fn answer_of_number(&self, place: OriginSource) -> Executed {
        let source = self.sources.get(place.source).expect("Invariant: the source was found just now");
        let applied = source.applied(place.number).expect("Invariant: the number was found just now");
        let answer = match &applied.kept {
            Kept::Accepted(_) => {
                let effect = EffectRef(EffectPlace::Message(place));
                Answer::Accepted { sequence: applied.sequence, replayed: true, effect }
            }
            Kept::Rejected(rejection) => Answer::Rejected(rejection.clone()),
        };
        Executed { answer, rests_on: applied.sequence }
    }

    /// Key, source epoch, source sequence.
    fn admit<'a>(&self, command: &Command<'a>, fingerprint: u64, now_ms: i64) -> Admission<'a> {
        let context = &command.context;
        let channel = self.channels().find(context.channel);
        let source = match context.source {
            Some(place) => match self.sources.find(place.id) {
                Some(source) => Some(OriginSource { source, epoch: place.epoch, number: place.sequence }),
                None => {
                    return Admission::Refuse(Rejection::new(Reason::UnknownSource).text("source", place.id), 0);
                }
            },
            None => None,
        };
        let origin = Origin {
            fingerprint,
            key: context.key,
            issue_time_ms: context.issue_time_ms,
            channel,
            unknown_channel: if channel.is_none() { context.channel } else { "" },
            source,
            order_ref: context.order_ref,
            holder: context.holder,
            event_time_ms: context.event_time_ms,
            actor: context.actor,
            reason_code: context.reason_code,
            reference: context.reference,
            causation: context.causation,
        };
        if let Some(found) = self.admit_key(&origin, now_ms) {
            return found;
        }
        match source {
            Some(place) => self.admit_number(origin, place),
            None => Admission::Execute(origin),
        }
    }

    fn admit_key<'a>(&self, origin: &Origin<'a>, now_ms: i64) -> Option<Admission<'a>> {
        let scope = origin.scope();
        if !origin.key.is_empty() && origin.unknown_channel.is_empty() {
            if let Some((place, entry)) = self.find_key(scope, origin.key) {
                let next = origin.source.filter(|place| self.sources.is_next(*place));
                if entry.effect == Effect::Tombstone {
                    // A no for ever: the message's number is consumed, or its source could never go on.
                    let cancelled = Rejection::new(Reason::KeyCancelled);
                    return Some(match next {
                        Some(_) => Admission::Reject(*origin, cancelled),
                        None => Admission::Refuse(cancelled, entry.sequence),
                    });
                }
                if entry.fingerprint != origin.fingerprint {
                    let reused = Rejection::new(Reason::IdempotencyKeyReused).number("sequence", entry.sequence as i64);
                    return Some(Admission::Refuse(reused, entry.sequence));
                }
                return Some(match next {
                    Some(_) => Admission::Repeat(*origin, place),
                    None => Admission::Replay(place),
                });
            }
            // A numbered message is decided afresh: its rejection uses up its number.
            let refused = if origin.source.is_none() { self.refused.find(scope, origin.key) } else { None };
            if let Some((fingerprint, rejection)) = refused {
                let again = if *fingerprint == origin.fingerprint {
                    rejection.clone()
                } else {
                    Rejection::new(Reason::IdempotencyKeyReused)
                };
                return Some(Admission::Refuse(again, self.sequence));
            }
        }
        // A numbered message is never executed twice by being forgotten: its number is remembered for ever.
        let start = self.window_start_ms(now_ms);
        if origin.issue_time_ms != 0 && origin.issue_time_ms < start && origin.source.is_none() {
            let window = now_ms.saturating_sub(start);
            return Some(Admission::Refuse(Rejection::new(Reason::DedupeWindowExpired).number("window", window), 0));
        }
        None
    }

    fn find_key(&self, scope: Scope, key: &str) -> Option<(KeyPlace, &KeyEntry)> {
        let place = self.keys.locate(scope, key)?;
        Some((place, self.keys.at(place)?))
    }

    fn admit_number<'a>(&self, origin: Origin<'a>, place: OriginSource) -> Admission<'a> {
        let source = self.sources.get(place.source).expect("Invariant: the source was found just now");
        let refuse = |reason| Rejection::new(reason).text("source", &source.name);
        if place.epoch != source.epoch {
            let stale = refuse(Reason::StaleEpoch).number("current", source.epoch as i64);
            return Admission::Refuse(stale, self.sequence);
        }
        if place.number == source.last + 1 {
            return Admission::Execute(origin);
        }
        if place.number > source.last {
            let gap = refuse(Reason::SequenceGap)
                .number("expected", source.last as i64 + 1)
                .number("got", place.number as i64);
            return Admission::Refuse(gap, self.sequence);
        }
        match source.applied(place.number) {
            Some(applied) if applied.fingerprint == origin.fingerprint => Admission::ReplayNumber(place),
            Some(_) => {
                let conflict = refuse(Reason::SequenceConflict).number("sequence", place.number as i64);
                Admission::Refuse(conflict, self.sequence)
            }
            None => {
                let consumed = refuse(Reason::SequenceConsumed).number("last", source.last as i64);
                Admission::Refuse(consumed, self.sequence)
            }
        }
    }

    /// Names, state, stock.
    fn decide(&self, command: &Command<'_>, origin: &Origin<'_>, now_ms: i64) -> Result<Few<Event>, Rejection> {
        if !origin.unknown_channel.is_empty() {
            return Err(Rejection::new(Reason::UnknownChannel).text("channel", origin.unknown_channel));
        }
        match &command.body {
            Body::Reserve { lines, ttl_ms, allow_partial, replace_own } => {
                let own = if *replace_own { command.context.holder } else { "" };
                self.decide_reserve(lines, *ttl_ms, *allow_partial, own, now_ms)
            }
            Body::Extend { target, ttl_ms } => self.decide_extend(target, *ttl_ms, origin.scope(), now_ms),
            Body::Amend { target, lines } => self.decide_amend(target, lines, origin.scope(), now_ms),
            Body::Allocate(target) => self.decide_allocate(target, origin.scope(), now_ms),
            Body::Release(target) => self.decide_release(target, origin.scope(), now_ms),
            Body::Fulfill(target) => self.decide_fulfill(target, origin.scope(), now_ms),
            Body::Transfer { target, to_location } => self.decide_transfer(target, to_location, origin.scope(), now_ms),
            Body::Stock { kind, lines } => self.decide_stock(*kind, lines),
            Body::Upsert { catalogue, entries } => Ok(Self::decide_upsert(*catalogue, entries)),
            Body::RegisterSource { source } => Ok(self.decide_register(source)),
        }
    }
}

/// The event that ends what a hold has reserved.
pub(crate) fn expired(reservation: &crate::reservation::Reservation) -> Option<Event> {
    let lines: Few<LevelUnits> = reservation
        .lines
        .iter()
        .filter(|line| line.reserved > 0)
        .map(|line| LevelUnits { level: line.level, units: line.reserved })
        .collect();
    (!lines.is_empty()).then_some(Event::Expired { id: reservation.id, lines })
}
