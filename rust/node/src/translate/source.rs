//! Sources: registrations, and what people do with messages that were kept.

use invengine_ledger::Context;
use invengine_ledger::command::{Body, QUANTITY_MAX};
use invengine_ledger::inbox::Settling;
use invengine_wire::v1;
use prost::Message;

use super::answer::Accepted;
use super::check::Violations;
use super::command::{CommandRequest, shared_fields};
use super::read::checked;
use crate::refusal::Refusal;

impl CommandRequest for v1::RegisterSourceRequest {
    type Answer = v1::RegisterSourceResponse;

    shared_fields!();

    fn body<'a>(&'a self, context: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        let rule = "absent: a source is not registered by one of its messages";
        found.require(context.source.is_none(), format_args!("context.source"), rule);
        found.name(&self.source_id, format_args!("source_id"));
        Body::RegisterSource { source: &self.source_id }
    }

    fn answer(accepted: &Accepted<'_>) -> v1::RegisterSourceResponse {
        let [epoch, previous_epoch, previous_sequence, parked_dropped] =
            accepted.registered().map(|number| number as i64);
        v1::RegisterSourceResponse {
            receipt: accepted.receipt(),
            epoch,
            previous_epoch,
            previous_sequence,
            parked_dropped,
            look_alikes: accepted.look_alikes(),
        }
    }
}

impl CommandRequest for v1::SkipGapRequest {
    type Answer = v1::SkipGapResponse;

    shared_fields!();

    fn body<'a>(&'a self, context: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        by_hand(context, found);
        found.name(&self.source_id, format_args!("source_id"));
        found.require(self.epoch >= 1, format_args!("epoch"), "at least 1; ListSources has it");
        let counted = (1..=QUANTITY_MAX).contains(&self.through);
        found.require(counted, format_args!("through"), "from 1 to 2^53 - 1");
        Body::SkipGap { source: &self.source_id, epoch: self.epoch as u64, through: self.through as u64 }
    }

    fn answer(accepted: &Accepted<'_>) -> v1::SkipGapResponse {
        v1::SkipGapResponse { receipt: accepted.receipt() }
    }
}

impl CommandRequest for v1::DiscardDeadLettersRequest {
    type Answer = v1::DiscardDeadLettersResponse;

    shared_fields!();

    fn body<'a>(&'a self, context: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        by_hand(context, found);
        found.name(&self.source_id, format_args!("source_id"));
        Body::DiscardLetters { source: &self.source_id, letters: letters(&self.dead_letters, found) }
    }

    fn answer(accepted: &Accepted<'_>) -> v1::DiscardDeadLettersResponse {
        v1::DiscardDeadLettersResponse { receipt: accepted.receipt() }
    }
}

fn by_hand(context: &Context<'_>, found: &mut Violations) {
    let rule = "absent: this is for people, not for messages";
    found.require(context.source.is_none(), format_args!("context.source"), rule);
}

/// The ids of dead letters that a request names.
pub(super) fn letters(given: &[i64], found: &mut Violations) -> Vec<u64> {
    if found.count(given.len(), "dead_letters") {
        for (number, letter) in given.iter().enumerate() {
            found.require(*letter >= 1, format_args!("dead_letters[{number}]"), "the id of a dead letter, at least 1");
        }
        found.distinct(given.iter(), "dead_letters", "");
    }
    given.iter().map(|letter| *letter as u64).collect()
}

/// What a request to send dead letters again asks for.
pub struct Redrive<'a> {
    /// Their source.
    pub source: &'a str,
    /// Their ids.
    pub letters: Vec<u64>,
    /// The bytes of the message instead of the only one.
    pub corrected: Option<Vec<u8>>,
    /// Who asks, why, and whether only to say what would happen.
    pub settling: Settling<'a>,
}

/// Reads a request to send dead letters again.
///
/// # Errors
/// A field is invalid.
pub fn redrive(asked: &v1::RedriveDeadLettersRequest) -> Result<Redrive<'_>, Refusal> {
    checked(|found| {
        found.text(&asked.actor, format_args!("actor"));
        found.text(&asked.reason_code, format_args!("reason_code"));
        found.name(&asked.source_id, format_args!("source_id"));
        let letters = letters(&asked.dead_letters, found);
        let rule = "only with one dead letter, which it replaces";
        found.require(asked.corrected.is_none() || letters.len() == 1, format_args!("corrected"), rule);
        Redrive {
            source: &asked.source_id,
            letters,
            corrected: asked.corrected.as_ref().map(Message::encode_to_vec),
            settling: Settling { actor: &asked.actor, reason_code: &asked.reason_code, dry_run: asked.dry_run },
        }
    })
}
