//! One command from its arrival to its answer. The order of checks is fixed, so that retries agree: (form and limits, before the
//! ledger) · key · source epoch · source sequence · names · state · stock.

mod admit;
mod differs;

use self::admit::Admission;
use crate::codec::{self, PAYLOAD_VERSION};
use crate::command::{Body, Command};
use crate::correction::ClockCorrection;
use crate::event::{Event, LevelUnits, Slot};
use crate::few::Few;
use crate::keys::{KeyHash, KeyPlace};
use crate::ledger::Ledger;
use crate::outcome::{Answer, Effect, EffectPlace, EffectRef, Executed};
use crate::planted;
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

/// Where the record of a command goes.
struct Frame<'p> {
    payload: &'p mut Payload,
    bytes_max: usize,
    now_ms: i64,
    /// The hash of the command's key, if it has one.
    key: Option<KeyHash>,
}

impl Ledger {
    /// Executes one command: decides, appends its record to the payload, applies it, and answers.
    ///
    /// The time never goes back: an earlier `now_ms` counts as the time of the last record. A record that would make the
    /// payload longer than `bytes_max` is not made (`Reason::TooLarge`), and nothing changes. Nor is one whose answer could
    /// not be told (`Reason::AnswerTooLarge`).
    pub fn execute(&mut self, command: &Command<'_>, now_ms: i64, payload: &mut Payload, bytes_max: usize) -> Executed {
        let now_ms = now_ms.max(self.time_ms);
        let origin = match self.origin_of(command) {
            Ok(origin) => origin,
            Err(rejection) => return Executed { answer: Answer::Rejected(rejection), rests_on: 0 },
        };
        let key = self.key_of(&origin);
        let mut frame = Frame { payload, bytes_max, now_ms, key };
        match self.admit(&origin, key, &command.body, now_ms) {
            Admission::Execute => match self.decide(command, &origin, now_ms) {
                Ok(events) if !command.context.accept_summary && !self.can_be_told_in_full(&events) => {
                    Executed::answer_too_large()
                }
                Ok(events) => self.accept(&mut frame, origin, events),
                Err(rejection) => self.reject(&mut frame, origin, rejection),
            },
            Admission::Refuse(rejection, rests_on) => Executed { answer: Answer::Rejected(rejection), rests_on },
            Admission::Reject(rejection) => self.reject(&mut frame, origin, rejection),
            Admission::Replay(place) => self.answer_of_key(place),
            Admission::ReplayNumber(place) => self.answer_of_number(place),
            Admission::Repeat(place) => self.repeat(&mut frame, origin, place),
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
        let record = Record { time_ms: now_ms, origin: None, events };
        self.write_expired(record, &taken, &mut Frame { payload, bytes_max, now_ms, key: None })
    }

    /// Writes as many of the Expired events as the frame has room for, halving them until they fit; tells how many.
    fn write_expired(&mut self, mut record: Record<'_>, taken: &[(i64, Slot)], frame: &mut Frame<'_>) -> usize {
        while !record.events.is_empty() && !self.write_record(frame, &record) {
            let half = record.events.len() / 2;
            record.events = record.events.into_iter().take(half).collect();
        }
        let written = record.events.len();
        for (tick, slot) in &taken[written..] {
            self.schedule.give_back(*tick, vec![*slot]);
        }
        written
    }

    fn expiry_of(&self, slot: Slot, tick: i64) -> Option<Event> {
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
        self.write_own(now_ms, Few::One(Event::KeysForgotten { before_ms }), payload, bytes_max)
    }

    /// Begins to read issue times with the distance of engine time from the wall clock, which shows `wall_ms` now. Tells
    /// whether it did: engine time must be ahead, and the payload needs room.
    pub fn correct_clock(&mut self, wall_ms: i64, now_ms: i64, payload: &mut Payload, bytes_max: usize) -> bool {
        let engine_ms = now_ms.max(self.time_ms);
        let correction = ClockCorrection { wall_ms, engine_ms };
        correction.is_possible()
            && self.write_own(engine_ms, Few::One(Event::ClockCorrected(correction)), payload, bytes_max)
    }

    /// Appends and applies a record of the engine's own; false if there is no room for it.
    fn write_own(&mut self, now_ms: i64, events: Few<Event>, payload: &mut Payload, bytes_max: usize) -> bool {
        self.write(&mut Frame { payload, bytes_max, now_ms, key: None }, None, events)
    }

    fn write(&mut self, frame: &mut Frame<'_>, origin: Option<Origin<'_>>, events: Few<Event>) -> bool {
        self.write_record(frame, &Record { time_ms: frame.now_ms, origin, events })
    }

    fn write_record(&mut self, frame: &mut Frame<'_>, record: &Record<'_>) -> bool {
        let written = frame.payload.push(record, frame.bytes_max);
        if written {
            self.apply(record, frame.key);
            debug_assert_eq!(self.misfits, 0, "Invariant: what was decided fits the state: {record:?}");
        }
        written
    }

    fn accept(&mut self, frame: &mut Frame<'_>, origin: Origin<'_>, events: Few<Event>) -> Executed {
        let (has_key, source) = (!origin.key.is_empty(), origin.source);
        if !self.write(frame, Some(origin), events) {
            return Executed::too_large();
        }
        let place = if has_key { self.keys.last().map(EffectPlace::Key) } else { source.map(EffectPlace::Message) };
        let effect = EffectRef(place.unwrap_or(EffectPlace::Nowhere));
        let answer = Answer::Accepted { sequence: self.sequence, replayed: false, effect };
        Executed { answer, rests_on: self.sequence }
    }

    fn reject(&mut self, frame: &mut Frame<'_>, origin: Origin<'_>, rejection: Rejection) -> Executed {
        let remembered = rejection.reason != Reason::InvalidField;
        let mut rests_on = if rejection.reason.needs_no_wait() { 0 } else { self.sequence };
        if remembered && origin.source.is_some() {
            let events = Few::One(Event::MessageRejected { rejection: rejection.clone() });
            if !self.write(frame, Some(origin), events) {
                return Executed::too_large();
            }
            rests_on = self.sequence;
        } else if remembered && let Some(key) = frame.key {
            self.refused.insert(key, origin.scope(), origin.key, origin.fingerprint, &rejection);
        }
        Executed { answer: Answer::Rejected(rejection), rests_on }
    }

    fn repeat(&mut self, frame: &mut Frame<'_>, origin: Origin<'_>, place: KeyPlace) -> Executed {
        let answered = self.answer_of_key(place);
        let events = Few::One(Event::MessageRepeated { sequence: answered.rests_on });
        if !self.write(frame, Some(origin), events) {
            return Executed::too_large();
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

    /// Whether a command would be executed now, and accepted.
    pub(crate) fn is_acceptable(&self, command: &Command<'_>, now_ms: i64) -> bool {
        let Ok(origin) = self.origin_of(command) else { return false };
        let admission = self.admit(&origin, self.key_of(&origin), &command.body, now_ms);
        matches!(admission, Admission::Execute) && self.decide(command, &origin, now_ms).is_ok()
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
            Body::Upsert { catalogue, entries } => self.decide_upsert(*catalogue, entries),
            Body::RegisterSource { source } => self.decide_register(source),
        }
    }
}

impl Executed {
    /// There is no room for the events; nothing happened.
    fn too_large() -> Self {
        Executed { answer: Answer::Rejected(Rejection::new(Reason::TooLarge)), rests_on: 0 }
    }

    /// There is no room for the answer; nothing happened, and neither key nor number is used.
    fn answer_too_large() -> Self {
        Executed { answer: Answer::Rejected(Rejection::new(Reason::AnswerTooLarge)), rests_on: 0 }
    }
}

/// The event that ends what a hold has reserved.
pub(crate) fn expired(reservation: &crate::reservation::Reservation) -> Option<Event> {
    let lines: Few<LevelUnits> = reservation
        .lines
        .iter()
        .filter(|line| line.reserved > 0)
        .map(|line| LevelUnits {
            level: line.level,
            units: line.reserved - i64::from(planted::is("sweep_forgets_a_unit") && line.reserved > 1),
        })
        .collect();
    (!lines.is_empty()).then_some(Event::Expired { id: reservation.id, lines })
}
