//! The answer to a batch, appended outcome by outcome as bytes of the message that is sent.

use invengine_ledger::outcome::{HoldChange, LineChange};
use invengine_ledger::{Answer, Context, Effect, Executed, Ledger};
use prost::Message;

use super::answer::{accepted_outcome, refused_outcome, scope_names};
use super::fields::{put_message, put_number, put_text};
use super::shape::{line_state, timestamp};
use crate::refusal::Refusal;
use crate::sizes::{ANSWER_BYTES_MAX, COMMAND_ANSWER_BYTES_MAX, SUBMIT_COMMANDS_MAX};

/// An upper bound of the bytes of an outcome that only says that the batch's answer is full.
const FULL_OUTCOME_BYTES: usize = 256;
/// An upper bound of what an outcome takes besides its own bytes.
const OUTCOME_PREFIX_BYTES: usize = 8;
/// Once outcomes take more bytes than this, there is no room for one more full answer and for refusing the rest.
const BATCH_FULL_BYTES: usize =
    ANSWER_BYTES_MAX - COMMAND_ANSWER_BYTES_MAX - SUBMIT_COMMANDS_MAX * (FULL_OUTCOME_BYTES + OUTCOME_PREFIX_BYTES);

/// The answer to a batch. It accepts outcomes as long as any next one is certain to fit.
#[derive(Debug, Default)]
pub struct Outcomes {
    message: Vec<u8>,
    bytes: usize,
}

impl Outcomes {
    /// True if there may be no room for one more answer besides the refusals of all remaining commands.
    pub fn are_full(&self) -> bool {
        self.bytes > BATCH_FULL_BYTES
    }

    /// Appends the outcome of the next command, which the ledger has decided. Must be called before the ledger changes again.
    pub fn push(&mut self, ledger: &Ledger, executed: &Executed, context: &Context<'_>) {
        match &executed.answer {
            Answer::Rejected(rejection) => self.push_refused(&rejection.into()),
            Answer::Deferred { .. } | Answer::Buried { .. } => unreachable!("Invariant: only messages are kept"),
            Answer::Accepted { sequence, replayed, effect } => {
                let receipt = (*sequence, *replayed);
                match ledger.effect(*effect) {
                    Effect::Reserved(hold) => self.push_holds(ledger, receipt, std::slice::from_ref(hold)),
                    effect @ Effect::Holds(holds) if ledger.fits_in_full_answer(effect) => {
                        self.push_holds(ledger, receipt, holds);
                    }
                    effect => self.push_message(&accepted_outcome(ledger, receipt, effect, scope_names(context))),
                }
            }
        }
    }

    /// Appends the outcome of the next command, which was refused.
    pub fn push_refused(&mut self, refusal: &Refusal) {
        self.push_message(&refused_outcome(refusal));
    }

    /// Appends the outcome of the next element, whatever kind of answer this is.
    pub fn push_message(&mut self, outcome: &impl Message) {
        self.push_fields(|to| outcome.encode(to).expect("Invariant: a Vec has room for any message"));
    }

    /// The outcome of a command that changed these holds: the same bytes as of [`accepted_outcome`].
    fn push_holds(&mut self, ledger: &Ledger, (sequence, replayed): (u64, bool), holds: &[HoldChange]) {
        self.push_fields(|to| {
            put_message(to, 1, |to| {
                put_number(to, 1, sequence as i64);
                put_number(to, 2, sequence as i64);
                put_number(to, 3, replayed.into());
            });
            for hold in holds {
                put_message(to, 2, |to| put_hold(to, ledger, hold));
            }
        });
    }

    #[inline]
    fn push_fields(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.bytes += put_message(&mut self.message, 1, write) + OUTCOME_PREFIX_BYTES;
    }

    /// The answer message. Everything up to `durable_sequence` is durable when it is sent.
    pub fn into_response(mut self, durable_sequence: u64) -> Vec<u8> {
        put_number(&mut self.message, 2, durable_sequence as i64);
        self.message
    }
}

/// The fields of a `HoldChange`.
fn put_hold(to: &mut Vec<u8>, ledger: &Ledger, hold: &HoldChange) {
    put_text(to, 1, &ledger.token_digits(hold.id));
    put_number(to, 2, hold.version.into());
    put_message(to, 3, |to| {
        let time = timestamp(hold.expire_ms);
        put_number(to, 1, time.seconds);
        put_number(to, 2, time.nanos.into());
    });
    put_number(to, 4, hold.reacquired.into());
    for line in hold.lines.iter() {
        put_message(to, 5, |to| put_line(to, ledger, line));
    }
}

/// The fields of a `LineChange`.
fn put_line(to: &mut Vec<u8>, ledger: &Ledger, line: &LineChange) {
    let (sku, location) = ledger.level_names(line.level);
    put_text(to, 1, sku.as_bytes());
    put_text(to, 2, location.as_bytes());
    put_number(to, 3, line.quantity);
    put_number(to, 4, i64::from(line_state(line.state) as i32));
    put_number(to, 5, line.outstanding);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_answer_has_room_for_the_refusals_of_all_remaining_commands() {
        let refusal = Refusal::answer_full();
        let left_out = refused_outcome(&refusal).encoded_len();
        assert!(left_out <= FULL_OUTCOME_BYTES, "{left_out}");
        // One answer of the greatest length just before the batch is full, and then nothing but refusals.
        let most =
            BATCH_FULL_BYTES + COMMAND_ANSWER_BYTES_MAX + SUBMIT_COMMANDS_MAX * (left_out + OUTCOME_PREFIX_BYTES);
        assert!(most <= ANSWER_BYTES_MAX, "{most}");
        let mut outcomes = Outcomes::default();
        for _ in 0..SUBMIT_COMMANDS_MAX {
            outcomes.push_refused(&refusal);
        }
        assert!(!outcomes.are_full(), "refusals alone leave room for an answer");
        let bytes = outcomes.bytes;
        let response = outcomes.into_response(i64::MAX as u64);
        assert!(response.len() <= bytes, "{} {bytes}", response.len());
    }
}
