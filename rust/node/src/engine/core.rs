//! What the engine's single lock protects: the ledger and the frame that is being filled. Nothing here does I/O.

use std::collections::BTreeMap;
use std::time::Instant;

use invengine_ledger::EntityKind;
use invengine_ledger::command::{Body, Upsert};
use invengine_ledger::{Ahead, Answer, Command, Context, Executed, Ledger, Payload, Reason};

use super::counters::CommandCounts;
use crate::refusal::Refusal;

/// The state behind the lock.
pub(super) struct Core {
    pub ledger: Ledger,
    pub payload: Payload,
    /// When each command of the open frame was decided.
    pub decided_at: Vec<Instant>,
    /// Longest payload of one frame; the journal always has this much room, unless it is full.
    pub frame_bytes_max: usize,
    /// New commands are refused.
    pub draining: bool,
    /// The commit thread ends once the open frame is durable.
    pub closing: bool,
    pub auto_create: bool,
    pub counts: BTreeMap<&'static str, CommandCounts>,
}

impl Core {
    /// Executes one command into the open frame.
    pub fn execute(&mut self, ahead: &Ahead<'_, '_>, now_ms: i64, moment: Instant) -> Result<Executed, Refusal> {
        let command = ahead.command();
        let sequence = self.ledger.sequence();
        if self.auto_create {
            self.create_missing(command, now_ms);
        }
        let executed = self.ledger.execute_ahead(ahead, now_ms, &mut self.payload, self.frame_bytes_max);
        #[cfg(test)]
        assert_ne!(command.context.key, super::panics::KEY, "a panic between a change and its answer");
        let counts = self.counts.entry(command.body.name()).or_default();
        match &executed.answer {
            Answer::Accepted { replayed: true, .. } | Answer::Deferred { replayed: true, .. } => counts.replayed += 1,
            Answer::Accepted { .. } | Answer::Deferred { .. } => counts.accepted += 1,
            Answer::Buried { rejection, .. } => {
                *counts.rejected.entry(rejection.reason.name()).or_default() += 1;
            }
            Answer::Rejected(rejection) => {
                *counts.rejected.entry(rejection.reason.name()).or_default() += 1;
                if rejection.reason == Reason::TooLarge && !self.payload.is_empty() {
                    // Only the frame is full, and the next one begins in a moment.
                    return Err(Refusal::overloaded());
                }
            }
        }
        if self.ledger.sequence() > sequence {
            // Only commands that depend on the open frame are waited for and counted; repeats depend on earlier frames.
            self.decided_at.push(moment);
        }
        Ok(executed)
    }

    /// Creates the unknown names that a command mentions, by commands of the engine's own, if the command is then
    /// accepted: a typo in one that is refused creates nothing.
    pub(super) fn create_missing(&mut self, command: &Command<'_>, now_ms: i64) {
        let mut missing: Vec<(EntityKind, &str)> = Vec::new();
        let mut mention = |kind, name| {
            if missing.contains(&(kind, name)) {
                return;
            }
            if !name.is_empty() && self.ledger.entities(kind).names().find(name).is_none() {
                missing.push((kind, name));
            }
        };
        mention(EntityKind::Channels, command.context.channel);
        let mut level = |sku, location| {
            mention(EntityKind::Items, sku);
            mention(EntityKind::Locations, location);
        };
        match &command.body {
            Body::Reserve { lines, .. } | Body::Amend { lines, .. } => {
                lines.iter().for_each(|line| level(line.sku, line.location));
            }
            Body::Stock { lines, .. } => lines.iter().for_each(|line| level(line.sku, line.location)),
            Body::MoveQuantity { lines } => lines.iter().for_each(|line| level(line.sku, line.location)),
            Body::StockTransfer(command) => {
                let (skus, locations) = command.mentions();
                skus.into_iter().for_each(|sku| mention(EntityKind::Items, sku));
                locations.into_iter().for_each(|location| mention(EntityKind::Locations, location));
            }
            Body::Transfer { to_location, .. } => mention(EntityKind::Locations, to_location),
            _ => {}
        }
        if missing.is_empty() || !self.ledger.would_accept(command, &missing, now_ms) {
            return;
        }
        for (kind, name) in missing {
            let entries = vec![Upsert::labels(name, "", "")];
            let create = Command { context: Context::default(), body: Body::Upsert { kind, entries } };
            self.ledger.execute(&create, now_ms, &mut self.payload, self.frame_bytes_max);
        }
    }
}
