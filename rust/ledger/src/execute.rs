//! One command from its arrival to its answer. The order of checks is fixed, so that retries get the same answer: (form and
//! limits, before the ledger) · key · source epoch · source sequence · names · authority · state · stock.

pub(crate) mod admit;
mod differs;

use self::admit::Admission;

use crate::authority::ClaimedLines;
use crate::command::{Body, Command};
use crate::correction::ClockCorrection;
use crate::event::{Event, LevelUnits};
use crate::ids::Slot;
use crate::inbox::{leaves_number, of_message};
use crate::keys::{KeyHash, KeyPosition};
use crate::ledger::Ledger;
use crate::look_ahead::Ahead;
use crate::one_or_many::OneOrMany;
use crate::outcome::{Answer, Effect, EffectLocation, EffectRef, Executed};
use crate::planted;
use crate::record::{self, Origin, OriginSource, PAYLOAD_VERSION, Record};
use crate::rejection::{Reason, Rejection};
use crate::source::StoredOutcome;

/// Most lines that one sweep of expired holds touches.
pub const SWEEP_LINES_MAX: usize = 2_000;

/// The payload of the frame that is being filled.
#[derive(Debug, Default)]
pub struct Payload {
    bytes: Vec<u8>,
    first_time_ms: i64,
    time_ms: i64,
}

impl Payload {
    /// The bytes so far; empty if there are no records.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// True if there are no records.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Time of the first record, which is the time of the frame.
    pub fn frame_time_ms(&self) -> i64 {
        self.first_time_ms
    }

    /// Clears the payload, and keeps at most `bytes_kept` of its memory.
    pub fn clear(&mut self, bytes_kept: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(bytes_kept);
    }

    /// Appends a record unless the payload would become longer than `bytes_max`; returns whether it did.
    fn push(&mut self, record: &Record<'_>, bytes_max: usize) -> bool {
        let length = self.bytes.len();
        let before_ms = if length == 0 { record.time_ms } else { self.time_ms };
        if length == 0 {
            self.bytes.push(PAYLOAD_VERSION);
        }
        record::encode(&mut self.bytes, record, before_ms);
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
pub(crate) struct RecordTarget<'p> {
    payload: &'p mut Payload,
    bytes_max: usize,
    pub(crate) now_ms: i64,
    /// The hash of the command's key, if it has one.
    key: Option<KeyHash>,
    /// The caller asks that a rejection be remembered.
    remember_refusal: bool,
}

impl<'p> RecordTarget<'p> {
    /// For a record that the engine writes on its own.
    pub(crate) fn own(payload: &'p mut Payload, bytes_max: usize, now_ms: i64) -> Self {
        RecordTarget { payload, bytes_max, now_ms, key: None, remember_refusal: false }
    }
}

impl Ledger {
    /// Executes one command: decides it, appends its record to the payload, applies the record and returns the answer.
    ///
    /// Time never goes back: an earlier `now_ms` counts as the time of the last record. A command whose record would make the
    /// payload longer than `bytes_max` is refused (`Reason::TooLarge`), as is one whose answer could be too long
    /// (`Reason::AnswerTooLarge`); in both cases nothing changes.
    pub fn execute(&mut self, command: &Command<'_>, now_ms: i64, payload: &mut Payload, bytes_max: usize) -> Executed {
        self.execute_ahead(&Ahead::none(command), now_ms, payload, bytes_max)
    }

    /// The same for a command of [`Ledger::look_ahead`].
    pub fn execute_ahead(
        &mut self,
        ahead: &Ahead<'_, '_>,
        now_ms: i64,
        payload: &mut Payload,
        bytes_max: usize,
    ) -> Executed {
        let command = ahead.command;
        let now_ms = now_ms.max(self.time_ms);
        let origin = match self.origin_of(command) {
            Ok(origin) => origin,
            Err(rejection) => return Executed { answer: Answer::Rejected(rejection), depends_on: 0 },
        };
        let key = self.key_of(&origin, ahead.key);
        let remember_refusal = command.context.remember_refusal;
        let mut frame = RecordTarget { payload, bytes_max, now_ms, key, remember_refusal };
        let message = command.context.message;
        if let Some(message) = message
            && let Some(held_back) = self.hold_back(&mut frame, origin, message)
        {
            return held_back;
        }
        match self.admit(command, &origin, key, now_ms) {
            Admission::Execute => match self.decide(command, &origin, now_ms) {
                Ok(events) if !command.context.accept_summary && !self.will_fit_in_full_answer(&events) => {
                    Executed::answer_too_large()
                }
                Ok(events) => self.accept(&mut frame, origin, events),
                Err(rejection) => match message {
                    Some(message) => self.keep(&mut frame, origin, of_message(rejection), message),
                    None => self.reject(&mut frame, origin, rejection),
                },
            },
            not_executed => match message {
                Some(message) => self.answer_message(&mut frame, origin, not_executed, message),
                None => self.answer(&mut frame, origin, not_executed),
            },
        }
    }

    /// The answer to a command that is not executed now.
    #[inline(never)]
    fn answer(&mut self, frame: &mut RecordTarget<'_>, origin: Origin<'_>, admission: Admission) -> Executed {
        match admission {
            Admission::Execute => unreachable!("Invariant: it was not admitted"),
            Admission::Refuse(rejection, depends_on) => Executed { answer: Answer::Rejected(rejection), depends_on },
            Admission::Reject(rejection) => self.reject(frame, origin, rejection),
            Admission::Consume(rejection) => self.consume(frame, origin, rejection),
            Admission::Waits(position) => self.wait_again(frame, origin, position),
            Admission::Replay(position) => self.answer_of_key(position),
            Admission::ReplayNumber(position) => self.answer_of_number(position),
            Admission::Repeat(position) => self.repeat(frame, origin, position),
        }
    }

    /// The answer to a message that is not executed now. What was refused for good is kept.
    #[cold]
    fn answer_message(
        &mut self,
        frame: &mut RecordTarget<'_>,
        origin: Origin<'_>,
        admission: Admission,
        message: &[u8],
    ) -> Executed {
        match admission {
            Admission::Refuse(rejection, _) if self.is_next(&origin) && !leaves_number(rejection.reason) => {
                self.keep(frame, origin, rejection, message)
            }
            Admission::Consume(rejection) if !self.is_dead(&origin) => self.keep(frame, origin, rejection, message),
            other => {
                let executed = self.answer(frame, origin, other);
                self.of_dead_letter(&origin, executed)
            }
        }
    }

    /// What an accepted command did. The reference must come from a recent answer, because the ledger forgets old outcomes.
    #[inline]
    pub fn effect(&self, effect: EffectRef) -> &Effect {
        match effect.0 {
            EffectLocation::Nowhere => Some(&Effect::Done),
            EffectLocation::Key(position) => self.keys.at(position).map(|entry| &entry.effect),
            EffectLocation::Message(position) => {
                self.sources.get(position.source).and_then(|found| found.effect(position.number))
            }
        }
        .expect("Condition failed: the effect is read before the ledger changes again")
    }

    /// Writes the Expired events of holds that have expired, at most about [`SWEEP_LINES_MAX`] lines of them. Returns the
    /// number of holds.
    pub fn sweep(&mut self, now_ms: i64, payload: &mut Payload, bytes_max: usize) -> usize {
        let now_ms = now_ms.max(self.time_ms);
        let mut events = OneOrMany::default();
        let (mut lines_left, mut taken) = (SWEEP_LINES_MAX, Vec::new());
        while lines_left > 0 {
            let Some((tick, mut slots)) = self.schedule.take_due(now_ms) else { break };
            while lines_left > 0 {
                let Some(slot) = slots.pop() else { break };
                if let Some(event) = self.expiry_event_of(slot, tick) {
                    lines_left = lines_left.saturating_sub(event.lines().len());
                    events.push(event);
                    taken.push((tick, slot));
                }
            }
            self.schedule.put_back(tick, slots);
        }
        let record = Record { time_ms: now_ms, origin: None, events };
        self.write_expired(record, &taken, &mut RecordTarget::own(payload, bytes_max, now_ms))
    }

    /// Writes as many of the Expired events as the frame has room for, halving their number until they fit; returns that
    /// number.
    fn write_expired(&mut self, mut record: Record<'_>, taken: &[(i64, Slot)], frame: &mut RecordTarget<'_>) -> usize {
        while !record.events.is_empty() && !self.write_record(frame, &record) {
            let half = record.events.len() / 2;
            record.events = record.events.into_iter().take(half).collect();
        }
        let written = record.events.len();
        for (tick, slot) in &taken[written..] {
            self.schedule.put_back(*tick, vec![*slot]);
        }
        written
    }

    fn expiry_event_of(&self, slot: Slot, tick: i64) -> Option<Event> {
        let reservation = self.slab.at(slot).filter(|reservation| reservation.expire_ms == tick)?;
        expiry_event(reservation)
    }

    /// Forgets the older keys if the younger ones have reached the window's age or their share of memory. Returns whether
    /// it did.
    pub fn forget_keys(&mut self, now_ms: i64, payload: &mut Payload, bytes_max: usize) -> bool {
        let now_ms = now_ms.max(self.time_ms);
        let since = self.keys.younger_since_ms().max(self.first_time_ms);
        let aged = self.sequence > 0 && now_ms.saturating_sub(since) >= self.options.dedupe_window_ms;
        if !aged && self.keys.younger_bytes() < self.options.key_bytes_max / 2 {
            return false;
        }
        let before_ms = since;
        self.write_own(now_ms, OneOrMany::One(Event::KeysForgotten { before_ms }), payload, bytes_max)
    }

    /// From now on adds the offset of engine time from the wall clock, which shows `wall_ms` now, to issue times. Returns
    /// whether it did: engine time must be ahead, and the payload needs room.
    pub fn correct_clock(&mut self, wall_ms: i64, now_ms: i64, payload: &mut Payload, bytes_max: usize) -> bool {
        let engine_ms = now_ms.max(self.time_ms);
        let correction = ClockCorrection { wall_ms, engine_ms };
        correction.is_possible()
            && self.write_own(engine_ms, OneOrMany::One(Event::ClockCorrected { correction }), payload, bytes_max)
    }

    /// Appends and applies a record of the engine's own; returns false if there is no room for it.
    fn write_own(&mut self, now_ms: i64, events: OneOrMany<Event>, payload: &mut Payload, bytes_max: usize) -> bool {
        self.write(&mut RecordTarget::own(payload, bytes_max, now_ms), None, events)
    }

    pub(crate) fn write(
        &mut self,
        frame: &mut RecordTarget<'_>,
        origin: Option<Origin<'_>>,
        events: OneOrMany<Event>,
    ) -> bool {
        self.write_record(frame, &Record { time_ms: frame.now_ms, origin, events })
    }

    fn write_record(&mut self, frame: &mut RecordTarget<'_>, record: &Record<'_>) -> bool {
        let written = frame.payload.push(record, frame.bytes_max);
        if written {
            self.apply(record, frame.key);
            debug_assert_eq!(
                self.inapplicable_events, 0,
                "Invariant: what was decided applies to the state: {record:?}"
            );
        }
        written
    }

    fn accept(&mut self, frame: &mut RecordTarget<'_>, origin: Origin<'_>, events: OneOrMany<Event>) -> Executed {
        let (has_key, source) = (!origin.key.is_empty(), origin.source);
        if !self.write(frame, Some(origin), events) {
            return Executed::too_large();
        }
        let position =
            if has_key { self.keys.last().map(EffectLocation::Key) } else { source.map(EffectLocation::Message) };
        let effect = EffectRef(position.unwrap_or(EffectLocation::Nowhere));
        let answer = Answer::Accepted { sequence: self.sequence, replayed: false, effect };
        Executed { answer, depends_on: self.sequence }
    }

    /// Answers with a rejection and remembers it: durably if the caller asked for that or a number is consumed, else in memory.
    fn reject(&mut self, frame: &mut RecordTarget<'_>, origin: Origin<'_>, rejection: Rejection) -> Executed {
        let no_wait = rejection.reason.needs_no_wait();
        match frame.key {
            _ if matches!(rejection.reason, Reason::InvalidField | Reason::Overloaded) => {}
            Some(_) if frame.remember_refusal => {
                let forgets = self.refusals.is_full(self.options.refusal_bytes_max);
                let event = Event::CommandRefused { rejection: rejection.clone(), forgets };
                return self.refuse(frame, origin, rejection, event);
            }
            _ if origin.source.is_some() => return self.consume(frame, origin, rejection),
            Some(key) => self.rejection_cache.insert(key, origin.scope(), origin.key, origin.fingerprint, &rejection),
            None => {}
        }
        Executed { answer: Answer::Rejected(rejection), depends_on: if no_wait { 0 } else { self.sequence } }
    }

    /// A rejection that consumes the message's number.
    fn consume(&mut self, frame: &mut RecordTarget<'_>, origin: Origin<'_>, rejection: Rejection) -> Executed {
        let event = Event::MessageRejected { rejection: rejection.clone() };
        self.refuse(frame, origin, rejection, event)
    }

    /// A rejection that is recorded as an event.
    fn refuse(
        &mut self,
        frame: &mut RecordTarget<'_>,
        origin: Origin<'_>,
        rejection: Rejection,
        event: Event,
    ) -> Executed {
        if !self.write(frame, Some(origin), OneOrMany::One(event)) {
            return Executed::too_large();
        }
        Executed { answer: Answer::Rejected(rejection), depends_on: self.sequence }
    }

    fn repeat(&mut self, frame: &mut RecordTarget<'_>, origin: Origin<'_>, position: KeyPosition) -> Executed {
        let answered = self.answer_of_key(position);
        let events = OneOrMany::One(Event::MessageRepeated { sequence: answered.depends_on });
        if !self.write(frame, Some(origin), events) {
            return Executed::too_large();
        }
        Executed { depends_on: self.sequence, ..answered }
    }

    fn answer_of_key(&self, position: KeyPosition) -> Executed {
        let sequence = self.keys.at(position).map_or(0, |entry| entry.sequence);
        let answer = Answer::Accepted { sequence, replayed: true, effect: EffectRef(EffectLocation::Key(position)) };
        Executed { answer, depends_on: sequence }
    }

    /// The answer to a dead letter that was sent again; without its effect if there is none to show.
    pub(crate) fn accepted_letter(&self, replayed: bool, without_effect: bool) -> Answer {
        let found = self.keys.last().filter(|_| !without_effect).map_or(EffectLocation::Nowhere, EffectLocation::Key);
        Answer::Accepted { sequence: self.sequence, replayed, effect: EffectRef(found) }
    }

    fn answer_of_number(&self, position: OriginSource) -> Executed {
        let source = self.sources.get(position.source).expect("Invariant: the source was found just now");
        let applied = source.applied(position.number).expect("Invariant: the number was found just now");
        let answer = match &applied.outcome {
            StoredOutcome::Accepted(Effect::Waits) => return self.answer_of_waited(position, applied.sequence),
            StoredOutcome::Accepted(_) => {
                let effect = EffectRef(EffectLocation::Message(position));
                Answer::Accepted { sequence: applied.sequence, replayed: true, effect }
            }
            StoredOutcome::Rejected(rejection) => Answer::Rejected(rejection.clone()),
        };
        Executed { answer, depends_on: applied.sequence }
    }

    /// Whether a command would be executed now and accepted. An echo is accepted without being executed.
    pub(crate) fn is_acceptable(&self, command: &Command<'_>, now_ms: i64) -> bool {
        let Ok(origin) = self.origin_of(command) else { return false };
        let admission = self.admit(command, &origin, self.key_of(&origin, None), now_ms);
        let is_done = |events: &OneOrMany<Event>| !matches!(events.first(), Some(Event::Echoed { .. }));
        matches!(admission, Admission::Execute)
            && self.decide(command, &origin, now_ms).is_ok_and(|events| is_done(&events))
    }

    /// Echo, names, authority, state, stock.
    #[inline]
    pub(crate) fn decide(
        &self,
        command: &Command<'_>,
        origin: &Origin<'_>,
        now_ms: i64,
    ) -> Result<OneOrMany<Event>, Rejection> {
        if !origin.unknown_channel.is_empty() {
            return Err(Rejection::new(Reason::UnknownChannel).text("channel", origin.unknown_channel));
        }
        if let Some(passed_on) = &command.context.origin
            && let Some(echo) = self.echo_of(passed_on)?
        {
            return Ok(OneOrMany::One(echo));
        }
        if !self.has_no_limits(origin) {
            let claimed = self.check_authority(command, origin)?;
            if let Body::Stock { kind, lines } = &command.body {
                return self.decide_stock(*kind, lines, &claimed);
            }
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
            Body::Stock { kind, lines } => self.decide_stock(*kind, lines, &ClaimedLines::new()),
            Body::MoveQuantity { lines } => self.decide_move_quantity(lines),
            Body::StockTransfer(command) => self.decide_stock_transfer(command),
            Body::Upsert { kind, entries } => self.decide_upsert(*kind, entries),
            Body::Delete { kind, entries } => self.decide_delete(*kind, entries),
            Body::RegisterSource { source } => self.decide_register(source),
            Body::SkipGap { source, epoch, through } => self.decide_skip_gap(source, *epoch, *through, origin),
            Body::DiscardLetters { source, letters } => self.decide_discard(source, letters, &command.context),
            Body::Invalid(rejection) => Err(rejection.clone()),
        }
    }
}

impl Executed {
    /// There is no room for the events; nothing changed.
    pub(crate) fn too_large() -> Self {
        Executed { answer: Answer::Rejected(Rejection::new(Reason::TooLarge)), depends_on: 0 }
    }

    /// The answer would be too long; nothing changed, and neither the key nor the number is used.
    fn answer_too_large() -> Self {
        Executed { answer: Answer::Rejected(Rejection::new(Reason::AnswerTooLarge)), depends_on: 0 }
    }
}

/// The event that expires the reserved units of a hold.
pub(crate) fn expiry_event(reservation: &crate::reservation::Reservation) -> Option<Event> {
    let lines: OneOrMany<LevelUnits> = reservation
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
