//! From the effect of a command to the answer message.

use invengine_ledger::command::Body;
use invengine_ledger::stock_transfer::TransferCommand;
use invengine_ledger::{Answer, Command, Context, Effect, EntityKind, Executed, Ledger};
use invengine_wire::v1;

use super::command::CommandMethod;
use super::entities::stock_transfer;
use super::shape::{claimed_lines, holds, levels, receipt};
use crate::refusal::Refusal;

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
        Answer::Deferred { .. } | Answer::Buried { .. } => unreachable!("Invariant: only messages are kept"),
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
        Some(receipt(self.sequence, self.replayed, self.effect))
    }

    /// The holds that it changed, or their summary.
    pub(super) fn holds(&self) -> (Vec<v1::HoldChange>, Option<v1::HoldSummary>) {
        holds(self.ledger, self.effect, self.sequence)
    }

    /// The levels that it changed.
    pub(super) fn levels(&self) -> Vec<v1::InventoryLevel> {
        levels(self.ledger, self.effect)
    }

    /// Its lines that were only recorded as claims.
    pub(super) fn claimed_lines(&self) -> Vec<i32> {
        claimed_lines(self.effect)
    }

    /// The stock transfer that it was about.
    pub(super) fn transfer(&self) -> Option<v1::StockTransfer> {
        transfer(self.ledger, self.effect)
    }

    /// Whether it left only a tombstone, and the scope in which the key was looked up.
    pub(super) fn cancelled(&self) -> (bool, Option<v1::KeyScope>) {
        cancelled(self.effect, scope_names(&self.command.context))
    }

    /// The epoch of a registered source, its previous epoch, that epoch's last number, and how many parked messages were dropped.
    pub(super) fn registered(&self) -> [u64; 4] {
        match self.effect {
            Effect::Registered { epoch, previous_epoch, previous_sequence, parked_dropped } => {
                [*epoch, *previous_epoch, *previous_sequence, *parked_dropped]
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
            Body::StockTransfer(TransferCommand::Ship { transfer, .. }) => {
                let names = self.ledger.entities(EntityKind::StockTransfers).names();
                look_alike(transfer, names.look_alike(transfer)).into_iter().collect()
            }
            Body::RegisterSource { source } => {
                look_alike(source, self.ledger.source_look_alike(source)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
}

fn transfer(ledger: &Ledger, effect: &Effect) -> Option<v1::StockTransfer> {
    let Effect::Transfer(change) = effect else { return None };
    let name = ledger.entities(EntityKind::StockTransfers).names().name(change.transfer);
    Some(stock_transfer(ledger, name, change.version, &change.value))
}

fn versions(effect: &Effect) -> Vec<i64> {
    match effect {
        Effect::Put(versions) => versions.iter().map(|version| *version as i64).collect(),
        _ => Vec::new(),
    }
}

/// Channel and source of a command, which determine the scope of its keys.
pub(super) type ScopeNames<'a> = (&'a str, &'a str);

pub(super) fn scope_names<'a>(context: &Context<'a>) -> ScopeNames<'a> {
    (context.channel, context.source.map_or("", |place| place.id))
}

/// Whether the command left only a tombstone, and the scope in which the key was looked up.
fn cancelled(effect: &Effect, (channel, source): ScopeNames<'_>) -> (bool, Option<v1::KeyScope>) {
    let source_id = if channel.is_empty() { source } else { "" };
    let scope = || v1::KeyScope { channel: channel.into(), source_id: source_id.into() };
    let cancelled = *effect == Effect::KeyCancelled;
    (cancelled, cancelled.then(scope))
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
        receipt: Some(receipt(sequence, replayed, effect)),
        holds,
        levels: levels(ledger, effect),
        rejection: None,
        key_cancelled,
        summary,
        key_scope,
        versions: versions(effect),
        transfer: transfer(ledger, effect),
        claimed_lines: claimed_lines(effect),
    }
}

/// The outcome of a refused command.
pub fn refused_outcome(refusal: &Refusal) -> v1::Outcome {
    v1::Outcome { rejection: Some(refusal.to_rejection()), ..v1::Outcome::default() }
}
