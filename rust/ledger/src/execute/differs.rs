//! Which field of a command differs from what its key names. The ledger keeps a fingerprint of the first command and what that
//! did, not the command: so this tells what can be seen of it still, and nothing where that is nothing.

use crate::command::{Body, Line};
use crate::decide::reserve::end_of;
use crate::ledger::Ledger;
use crate::outcome::{Effect, HoldChange};
use crate::rejection::Rejection;

impl Ledger {
    /// Adds the field to the no, and for a quantity the line.
    pub(super) fn name_difference(
        &self,
        no: Rejection,
        before: &Effect,
        body: &Body<'_>,
        texts: [&str; 2],
    ) -> Rejection {
        match (before, body) {
            (Effect::Reserved(hold), Body::Reserve { lines, ttl_ms, allow_partial, .. }) => {
                if let Some(no) = self.difference_of_lines(&no, hold, lines, *allow_partial) {
                    return no;
                }
                match self.difference_of_hold(hold, *ttl_ms, texts) {
                    Some(field) => no.text("field", field),
                    None => no,
                }
            }
            (Effect::Levels(levels), Body::Stock { lines, .. }) => {
                let same = levels.len() == lines.len()
                    && levels
                        .iter()
                        .zip(lines)
                        .all(|(level, line)| self.level_names(level.level) == (line.sku, line.location));
                if same { no } else { no.text("field", "lines") }
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
            | (Effect::KeyCancelled, Body::Release(_))
            | (Effect::Done, Body::Upsert { .. })
            | (Effect::Registered { .. }, Body::RegisterSource { .. }) => no,
            _ => no.text("field", "command"),
        }
    }

    fn difference_of_lines(
        &self,
        no: &Rejection,
        hold: &HoldChange,
        lines: &[Line<'_>],
        allow_partial: bool,
    ) -> Option<Rejection> {
        let is_there =
            |line: &Line<'_>| hold.lines.iter().find(|held| self.level_names(held.level) == (line.sku, line.location));
        let fewer = lines.len() < hold.lines.len() || (lines.len() > hold.lines.len() && !allow_partial);
        if fewer || (!allow_partial && lines.iter().any(|line| is_there(line).is_none())) {
            return Some(no.clone().text("field", "lines"));
        }
        // Of a partial hold less may have been granted than was asked.
        let differs = |line: &&Line<'_>| {
            is_there(line)
                .is_some_and(|held| held.quantity > line.quantity || (!allow_partial && held.quantity != line.quantity))
        };
        let line = lines.iter().find(differs)?;
        Some(no.clone().text("field", "lines.quantity").text("sku", line.sku).text("location", line.location))
    }

    /// As long as the hold is known.
    fn difference_of_hold(&self, hold: &HoldChange, ttl_ms: i64, texts: [&str; 2]) -> Option<&'static str> {
        let reservation = self.slab.find(hold.id)?;
        let [order_ref, holder] = texts;
        // An allocation may have bound it to another order since.
        if reservation.version == hold.version && *reservation.order_ref != *order_ref {
            return Some("context.order_ref");
        }
        if *reservation.holder != *holder {
            return Some("context.holder");
        }
        (hold.expire_ms != end_of(reservation.create_ms, ttl_ms)).then_some("ttl")
    }
}
