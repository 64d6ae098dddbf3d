//! From the effect of a command to the answer message.

use invengine_ledger::command::Body;
use invengine_ledger::{Answer, Command, Context, Effect, Executed, Ledger};
use invengine_wire::v1;
use prost::Message;

use super::command::CommandMethod;
use super::shape::{holds, levels, receipt};
use crate::refusal::Refusal;
use crate::sizes::{ANSWER_BYTES_MAX, COMMAND_ANSWER_BYTES_MAX, SUBMIT_COMMANDS_MAX};

/// An upper bound of the bytes of an outcome that only says that the batch's answer is full.
const FULL_OUTCOME_BYTES: usize = 256;
/// An upper bound of what an outcome takes besides its own bytes.
const OUTCOME_PREFIX_BYTES: usize = 8;
/// Once outcomes take more bytes than this, there is no room for one more full answer and for refusing the rest.
const BATCH_FULL_BYTES: usize =
    ANSWER_BYTES_MAX - COMMAND_ANSWER_BYTES_MAX - SUBMIT_COMMANDS_MAX * (FULL_OUTCOME_BYTES + OUTCOME_PREFIX_BYTES);

/// The answer to a unary command. Must be called before the ledger changes again.
///
/// # Errors
/// The ledger rejected the command.
pub fn reply(
    method: &CommandMethod,
    ledger: &Ledger,
    command: &Command<'_>,
    executed: &Executed,
) -> Result<Vec<u8>, Refusal> {
    match &executed.answer {
        Answer::Rejected(rejection) => Err(rejection.into()),
        Answer::Accepted { sequence, replayed, effect } => {
            let (sequence, replayed, effect) = (*sequence, *replayed, ledger.effect(*effect));
            Ok(method.answer(&Accepted { ledger, command, effect, sequence, replayed }))
        }
    }
}

/// An accepted command, with the parts of its answer.
pub struct Accepted<'a> {
    ledger: &'a Ledger,
    command: &'a Command<'a>,
    effect: &'a Effect,
    sequence: u64,
    replayed: bool,
}

impl Accepted<'_> {
    pub(super) fn receipt(&self) -> Option<v1::Receipt> {
        Some(receipt(self.sequence, self.replayed))
    }

    /// The holds that it changed, or their summary.
    pub(super) fn holds(&self) -> (Vec<v1::HoldChange>, Option<v1::HoldSummary>) {
        holds(self.ledger, self.effect, self.sequence)
    }

    /// The levels that it changed.
    pub(super) fn levels(&self) -> Vec<v1::InventoryLevel> {
        levels(self.ledger, self.effect)
    }

    /// Whether it left only a tombstone, and the scope in which the key was looked up.
    pub(super) fn cancelled(&self) -> (bool, Option<v1::KeyScope>) {
        cancelled(self.effect, scope_names(&self.command.context))
    }

    /// The epoch of a registered source, its previous epoch and that epoch's last number.
    pub(super) fn registered(&self) -> [u64; 3] {
        match self.effect {
            Effect::Registered { epoch, previous_epoch, previous_sequence } => {
                [*epoch, *previous_epoch, *previous_sequence]
            }
            _ => Default::default(),
        }
    }

    /// The versions of the entities that it put.
    pub(super) fn versions(&self) -> Vec<i64> {
        versions(self.effect)
    }

    /// The names in it that people may mistake for older ones. A repeat gets the same answer, because names of deleted
    /// entities remain known.
    pub(super) fn look_alikes(&self) -> Vec<v1::LookAlike> {
        let look_alike = |name: &str, older: Option<&str>| {
            older.map(|older| v1::LookAlike { name: name.to_owned(), older_name: older.to_owned() })
        };
        match &self.command.body {
            Body::Upsert { kind, entries } => {
                let names = self.ledger.entities(*kind).names();
                entries.iter().filter_map(|entry| look_alike(entry.name, names.look_alike(entry.name))).collect()
            }
            Body::RegisterSource { source } => {
                look_alike(source, self.ledger.source_look_alike(source)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
}

fn versions(effect: &Effect) -> Vec<i64> {
    match effect {
        Effect::Put(versions) => versions.iter().map(|version| *version as i64).collect(),
        _ => Vec::new(),
    }
}

/// Channel and source of a command, which determine the scope of its keys.
pub(super) type ScopeNames<'a> = (&'a str, &'a str);

fn scope_names<'a>(context: &Context<'a>) -> ScopeNames<'a> {
    (context.channel, context.source.map_or("", |place| place.id))
}

/// Whether the command left only a tombstone, and the scope in which the key was looked up.
fn cancelled(effect: &Effect, (channel, source): ScopeNames<'_>) -> (bool, Option<v1::KeyScope>) {
    let source_id = if channel.is_empty() { source } else { "" };
    let scope = || v1::KeyScope { channel: channel.into(), source_id: source_id.into() };
    let cancelled = *effect == Effect::KeyCancelled;
    (cancelled, cancelled.then(scope))
}

/// The answer to one command of a batch. Must be called before the ledger changes again.
pub fn outcome(ledger: &Ledger, executed: &Executed, context: &Context<'_>) -> v1::Outcome {
    match &executed.answer {
        Answer::Rejected(rejection) => refused_outcome(&rejection.into()),
        Answer::Accepted { sequence, replayed, effect } => {
            accepted_outcome(ledger, (*sequence, *replayed), ledger.effect(*effect), scope_names(context))
        }
    }
}

/// The outcome of an accepted command with this effect.
pub(super) fn accepted_outcome(
    ledger: &Ledger,
    (sequence, replayed): (u64, bool),
    effect: &Effect,
    scope_names: ScopeNames<'_>,
) -> v1::Outcome {
    let (key_cancelled, key_scope) = cancelled(effect, scope_names);
    let (holds, summary) = holds(ledger, effect, sequence);
    v1::Outcome {
        receipt: Some(receipt(sequence, replayed)),
        holds,
        levels: levels(ledger, effect),
        rejection: None,
        key_cancelled,
        summary,
        key_scope,
        versions: versions(effect),
    }
}

/// The outcome of a refused command.
pub fn refused_outcome(refusal: &Refusal) -> v1::Outcome {
    v1::Outcome { rejection: Some(refusal.to_rejection()), ..v1::Outcome::default() }
}

/// The answer to a batch, built outcome by outcome. It accepts outcomes as long as any next one is certain to fit.
#[derive(Default)]
pub struct Outcomes {
    outcomes: Vec<v1::Outcome>,
    bytes: usize,
}

impl Outcomes {
    /// True if there may be no room for one more answer besides the refusals of all remaining commands.
    pub fn are_full(&self) -> bool {
        self.bytes > BATCH_FULL_BYTES
    }

    /// Appends the outcome of the next command.
    pub fn push(&mut self, outcome: v1::Outcome) {
        self.bytes += outcome.encoded_len() + OUTCOME_PREFIX_BYTES;
        self.outcomes.push(outcome);
    }

    /// The answer message. Everything up to `durable_sequence` is durable when it is sent.
    pub fn into_response(self, durable_sequence: u64) -> Vec<u8> {
        v1::SubmitResponse { outcomes: self.outcomes, durable_sequence: durable_sequence as i64 }.encode_to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_answer_has_room_for_the_refusals_of_all_remaining_commands() {
        let left_out = refused_outcome(&Refusal::answer_full());
        assert!(left_out.encoded_len() <= FULL_OUTCOME_BYTES, "{}", left_out.encoded_len());
        // One answer of the greatest length just before the batch is full, and then nothing but refusals.
        let most = BATCH_FULL_BYTES
            + COMMAND_ANSWER_BYTES_MAX
            + SUBMIT_COMMANDS_MAX * (left_out.encoded_len() + OUTCOME_PREFIX_BYTES);
        assert!(most <= ANSWER_BYTES_MAX, "{most}");
        let mut outcomes = Outcomes::default();
        for _ in 0..SUBMIT_COMMANDS_MAX {
            outcomes.push(left_out.clone());
        }
        assert!(!outcomes.are_full(), "refusals alone leave room for an answer");
        let bytes = outcomes.bytes;
        let response = outcomes.into_response(i64::MAX as u64);
        assert!(response.len() <= bytes, "{} {bytes}", response.len());
    }
}
