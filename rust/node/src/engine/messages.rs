//! Messages of sources: recorded one after the other, each with what it set free, and dead letters that are sent again.

use std::time::Instant;

use invengine_ledger::inbox::{ReadyMessage, Waited};
use invengine_ledger::{Ahead, Answer, Executed, Ledger, Reason, Rejection};
use invengine_wire::v1;
use prost::Message;

use super::core::Core;
use super::{Decision, Shared};
use crate::refusal::Refusal;
use crate::translate::messages::{command_of, decode, outcome, refused_outcome, with_messages};
use crate::translate::outcomes::Outcomes;
use crate::translate::read::source;
use crate::translate::source::{Redrive, redrive};

/// Most kept messages that one command sets free at once; the commit thread goes on with the others.
const DRAINED_MAX: usize = 1_000;

impl Shared {
    pub(super) fn record_messages(&self, payload: &[u8], moment: Instant) -> Decision {
        let (mut outcomes, mut depends_on) = (Outcomes::default(), 0);
        let mut held = None;
        let mut idle = false;
        let done = with_messages(payload, self.facts.tag, &mut |command| {
            let core = held.get_or_insert_with(|| {
                let core = self.core();
                idle = core.payload.is_empty();
                core
            });
            if outcomes.are_full() {
                return outcomes.push_message(&refused_outcome(&Refusal::answer_full()));
            }
            let executed = command.and_then(|command| self.execute(core, &Ahead::none(&command), moment));
            match executed {
                Ok(executed) => {
                    outcomes.push_message(&outcome(&core.ledger, &executed));
                    depends_on = depends_on.max(executed.depends_on);
                    self.drain(core, moment);
                }
                Err(refusal) => outcomes.push_message(&refused_outcome(&refusal)),
            }
        });
        if let Some(core) = held {
            self.unlock(core, idle);
        }
        self.answer_of(done.map(|()| (outcomes, depends_on)))
    }

    /// Sends dead letters again, one by one.
    pub(super) fn redrive(&self, payload: &[u8], moment: Instant) -> Decision {
        let Ok(asked) = v1::RedriveDeadLettersRequest::decode(payload) else { return Refusal::malformed().into() };
        let asked = match redrive(&asked) {
            Ok(asked) => asked,
            Err(refusal) => return refusal.into(),
        };
        let mut core = self.core();
        let idle = core.payload.is_empty();
        let done = self.redrive_letters(&mut core, &asked, moment);
        self.unlock(core, idle);
        self.answer_of(done)
    }

    fn redrive_letters(
        &self,
        core: &mut Core,
        asked: &Redrive<'_>,
        moment: Instant,
    ) -> Result<(Outcomes, u64), Refusal> {
        self.admit_command(core)?;
        let source = source(&core.ledger, asked.source)?;
        let (mut outcomes, mut depends_on) = (Outcomes::default(), 0);
        for letter in &asked.letters {
            if outcomes.are_full() {
                outcomes.push_message(&refused_outcome(&Refusal::answer_full()));
                continue;
            }
            let Some(kept) = core.ledger.inbox(source).and_then(|inbox| inbox.letter(*letter)) else {
                outcomes.push_message(&refused_outcome(&no_letter(*letter)));
                continue;
            };
            let bytes = asked.corrected.clone().unwrap_or_else(|| kept.held.message.to_vec());
            let message = decode(&bytes)?;
            let place = |command: &invengine_ledger::Command<'_>| {
                let position = command.context.source.map(|place| (place.id.to_owned(), place.epoch, place.sequence));
                (command.context.key.to_owned(), position)
            };
            let was = (kept.held.key.to_string(), Some((asked.source.to_owned(), kept.held.epoch, kept.held.number)));
            match command_of(&message, &bytes, self.facts.tag) {
                Ok(command) if was == place(&command) => {
                    let (now_ms, room) = (self.clock.at(moment), core.frame_bytes_max);
                    let frame = (now_ms, &mut core.payload, room);
                    let executed = core.ledger.redrive(&command, (source, *letter), asked.settling, frame);
                    depends_on = depends_on.max(executed.depends_on);
                    outcomes.push_message(&redriven(&core.ledger, &executed, *letter));
                }
                Ok(_) => {
                    let rule = "the same message id and position as the dead letter";
                    return Err(Refusal::invalid(vec![("corrected".into(), rule.into())]));
                }
                Err(refusal) => outcomes.push_message(&refused_outcome(&refusal)),
            }
        }
        self.drain(core, moment);
        Ok((outcomes, depends_on))
    }

    fn answer_of(&self, done: Result<(Outcomes, u64), Refusal>) -> Decision {
        match done {
            Ok((outcomes, depends_on)) => {
                let durable = depends_on.max(self.ring.durable().sequence);
                Decision { reply: Ok(outcomes.into_response(durable)), depends_on }
            }
            Err(refusal) => refusal.into(),
        }
    }

    /// Executes the messages whose time has come.
    #[inline]
    pub(super) fn drain(&self, core: &mut Core, moment: Instant) {
        if core.ledger.has_ready() {
            core.drain(self.clock.at(moment), self.facts.tag);
        }
    }
}

/// The outcome of a letter that was sent again. What cannot be applied remains one.
fn redriven(ledger: &Ledger, executed: &Executed, letter: u64) -> v1::MessageOutcome {
    match &executed.answer {
        Answer::Rejected(rejection) if rejection.reason == Reason::TooLarge => refused_outcome(&Refusal::overloaded()),
        Answer::Rejected(rejection) => {
            let answer = Answer::Buried { sequence: letter, replayed: true, rejection: rejection.clone() };
            outcome(ledger, &Executed { answer, ..executed.clone() })
        }
        _ => outcome(ledger, executed),
    }
}

fn no_letter(letter: u64) -> Refusal {
    let name = letter.to_string();
    Refusal::from(&Rejection::new(Reason::EntityNotFound).text("kind", "dead_letter").text("name", &name))
}

impl Core {
    /// Executes messages whose time has come, as many as the frame has room for.
    #[cold]
    pub fn drain(&mut self, now_ms: i64, tag: u64) {
        for _ in 0..DRAINED_MAX {
            let Some(ready) = self.ledger.next_ready() else { return };
            if !self.execute_ready(&ready, now_ms, tag, false) {
                // Only the frame is full, and the next one begins in a moment.
                self.ledger.put_back(&ready);
                return;
            }
        }
    }

    /// Turns messages that have waited for too long into dead letters.
    pub fn end_overdue_waits(&mut self, now_ms: i64, tag: u64) {
        for _ in 0..DRAINED_MAX {
            let Some(overdue) = self.ledger.overdue_waiting(now_ms) else { return };
            if !self.execute_ready(&overdue, now_ms, tag, true) {
                return;
            }
        }
    }

    /// Returns false if the frame has no room.
    fn execute_ready(&mut self, ready: &ReadyMessage, now_ms: i64, tag: u64, gives_up: bool) -> bool {
        // What is kept was read when it came.
        let Ok(message) = decode(&ready.message) else { return true };
        let Ok(command) = command_of(&message, &ready.message, tag) else { return true };
        if self.auto_create {
            self.create_missing(&command, now_ms);
        }
        let frame = (now_ms, &mut self.payload, self.frame_bytes_max);
        match ready.waiting() {
            Some(place) => self.ledger.execute_waiting(&command, place, gives_up, frame) != Waited::NoRoom,
            None => {
                let executed = self.ledger.execute(&command, now_ms, &mut self.payload, self.frame_bytes_max);
                !matches!(&executed.answer, Answer::Rejected(rejection) if rejection.reason == Reason::TooLarge)
            }
        }
    }
}
