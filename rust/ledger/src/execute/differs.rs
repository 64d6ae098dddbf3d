//! Which field of a command differs from the first command with its key. The ledger keeps a fingerprint and the effect of that
//! command, not the command itself. Most differences show in the effect; in addition the fingerprint has a few bits of each
//! field, unless it comes from an older journal.

use crate::command::{Body, Command, Line};
use crate::decide::reserve::expires_at;
use crate::fingerprint::{Fingerprint, differing_field};
use crate::ledger::Ledger;
use crate::level::LevelFigures;
use crate::outcome::{Effect, HoldChange};
use crate::rejection::Rejection;

/// A field, and the item and location of its line if it is a field of a line.
type Field<'c> = (&'static str, Option<(&'c str, &'c str)>);

impl Ledger {
    /// Adds the differing field to the rejection, and for a quantity its line where that is known. `before` is what the key
    /// did, if it did anything.
    pub(super) fn name_difference(
        &self,
        rejection: Rejection,
        before: Option<&Effect>,
        command: &Command<'_>,
        fingerprint: Fingerprint,
    ) -> Rejection {
        let texts = [command.context.order_ref, command.context.holder];
        match before.and_then(|before| self.difference(before, &command.body, texts)) {
            Some((field, Some((sku, location)))) => {
                rejection.text("field", field).text("sku", sku).text("location", location)
            }
            Some((field, None)) => rejection.text("field", field),
            None if fingerprint.has_parts => rejection.text("field", differing_field(command, fingerprint.hash)),
            None => rejection,
        }
    }

    fn difference<'c>(&self, before: &Effect, body: &Body<'c>, texts: [&str; 2]) -> Option<Field<'c>> {
        match (before, body) {
            (Effect::Reserved(hold), Body::Reserve { lines, ttl_ms, allow_partial, .. }) => self
                .difference_of_lines(hold, lines, *allow_partial)
                .or_else(|| self.difference_of_hold(hold, *ttl_ms, texts).map(|field| (field, None))),
            (Effect::Levels(_) | Effect::Claimed { .. }, Body::Stock { lines, .. }) => {
                self.difference_of_levels(before.levels(), lines.iter().map(|line| (line.sku, line.location)))
            }
            (Effect::Levels(levels), Body::MoveQuantity { lines }) => {
                self.difference_of_levels(levels, lines.iter().map(|line| (line.sku, line.location)))
            }
            (Effect::Transfer(change), Body::StockTransfer(command)) => {
                self.difference_of_transfer(change, command).map(|field| (field, None))
            }
            (
                Effect::Holds(_),
                Body::Extend { .. }
                | Body::Amend { .. }
                | Body::Allocate(_)
                | Body::Release(_)
                | Body::Fulfill(_)
                | Body::Transfer { .. },
            )
            | (Effect::Echo | Effect::Waits, _)
            | (Effect::KeyCancelled, Body::Release(_))
            | (Effect::Done, Body::Upsert { .. } | Body::Delete { .. })
            | (Effect::Put(_), Body::Upsert { .. })
            | (Effect::Registered { .. }, Body::RegisterSource { .. }) => None,
            _ => Some(("command", None)),
        }
    }

    fn difference_of_levels<'c>(
        &self,
        levels: &[LevelFigures],
        lines: impl ExactSizeIterator<Item = (&'c str, &'c str)>,
    ) -> Option<Field<'c>> {
        let same = levels.len() == lines.len()
            && levels.iter().zip(lines).all(|(level, names)| self.level_names(level.level) == names);
        (!same).then_some(("lines", None))
    }

    fn difference_of_lines<'c>(&self, hold: &HoldChange, lines: &[Line<'c>], allow_partial: bool) -> Option<Field<'c>> {
        let is_there =
            |line: &Line<'_>| hold.lines.iter().find(|held| self.level_names(held.level) == (line.sku, line.location));
        let fewer = lines.len() < hold.lines.len() || (lines.len() > hold.lines.len() && !allow_partial);
        if fewer || (!allow_partial && lines.iter().any(|line| is_there(line).is_none())) {
            return Some(("lines", None));
        }
        // A partial hold may have been granted less than was asked.
        let differs = |line: &&Line<'_>| {
            is_there(line)
                .is_some_and(|held| held.quantity > line.quantity || (!allow_partial && held.quantity != line.quantity))
        };
        lines.iter().find(differs).map(|line| ("lines.quantity", Some((line.sku, line.location))))
    }

    /// `None` if no field differs or the hold is no longer known.
    fn difference_of_hold(&self, hold: &HoldChange, ttl_ms: i64, texts: [&str; 2]) -> Option<&'static str> {
        let reservation = self.slab.find(hold.id)?;
        let [order_ref, holder] = texts;
        // An allocation may have assigned it to another order since.
        if reservation.version == hold.version && *reservation.order_ref != *order_ref {
            return Some("context.order_ref");
        }
        if *reservation.holder != *holder {
            return Some("context.holder");
        }
        (hold.expire_ms != expires_at(reservation.create_ms, ttl_ms)).then_some("ttl")
    }
}
