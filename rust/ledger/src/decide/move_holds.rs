//! Amend and TransferReservation: the same hold with different quantities, or at another location.

use crate::command::{Line, QUANTITY_MAX, RESERVATION_LINES_MAX, Target};
use crate::decide::RequestedUnits;
use crate::decide::holds::{HoldAction, actionable, moves, push_expiry_if_due, rank};
use crate::event::{Event, LevelUnits};
use crate::keys::Scope;
use crate::ledger::Ledger;
use crate::one_or_many::OneOrMany;
use crate::rejection::{Reason, Rejection};
use crate::reservation::{HeldLine, Reservation};

impl Ledger {
    pub(crate) fn decide_amend(
        &self,
        target: &Target<'_>,
        lines: &[Line<'_>],
        scope: Scope,
        now_ms: i64,
    ) -> Result<OneOrMany<Event>, Rejection> {
        let levels = self.levels_of(lines)?;
        // Only a hold that has something reserved can be amended.
        let holds = self.shares(HoldAction::Amend, target, scope, now_ms)?;
        let reservation = holds[0].0;
        let helds: OneOrMany<Option<&HeldLine>> =
            levels.iter().map(|level| level.and_then(|level| reservation.line(level))).collect();
        let refused = helds.iter().flatten().filter_map(|held| actionable(HoldAction::Amend, held, true).err());
        if let Some(reason) = refused.min_by_key(|reason| rank(*reason)) {
            return Err(self.refusal(reservation, reason));
        }
        let mut changed = OneOrMany::default();
        let mut wanted = RequestedUnits::default();
        let mut added = 0;
        for ((line, level), held) in lines.iter().zip(levels.iter()).zip(helds.iter()) {
            let before = held.map_or(Ok(0), |held| reserved_before(held, line.quantity))?;
            let Some(level) = *level else {
                if line.quantity == 0 {
                    continue;
                }
                return Err(crate::decide::no_stock(line.sku, line.location, line.quantity, 0));
            };
            wanted.add(level, line.quantity - before);
            if line.quantity != before {
                added += usize::from(held.is_none());
                changed.push(LevelUnits { level, units: line.quantity });
            }
        }
        check_line_count(reservation, added, 0)?;
        self.check_free(wanted, now_ms)?;
        Ok(OneOrMany::One(Event::Amended { id: reservation.id, lines: changed }))
    }

    pub(crate) fn decide_transfer(
        &self,
        target: &Target<'_>,
        to_location: &str,
        scope: Scope,
        now_ms: i64,
    ) -> Result<OneOrMany<Event>, Rejection> {
        let to = self.location(to_location)?;
        let holds = self.shares(HoldAction::Transfer, target, scope, now_ms)?;
        let (reservation, shares) = &holds[0];
        let mut events = OneOrMany::default();
        push_expiry_if_due(&mut events, reservation, now_ms);
        let mut wanted = RequestedUnits::default();
        let mut moving = OneOrMany::default();
        let (mut added, mut emptied) = (Vec::new(), 0);
        for (level, share) in shares.iter() {
            let found = self.levels.get(*level).ok_or_else(|| Rejection::new(Reason::ReservationNotFound))?;
            if found.location == to {
                continue;
            }
            match self.levels.find(found.item, to) {
                Some(room) => {
                    wanted.add(room, share.units());
                    added.extend(reservation.line(room).is_none().then_some(room));
                }
                None => {
                    return Err(crate::decide::no_stock(self.items().name(found.item), to_location, share.units(), 0));
                }
            }
            emptied += usize::from(reservation.line(*level).is_some_and(|held| held.quantity() == share.units()));
            moving.push((*level, *share));
        }
        // Each line is of one item, but its parts may come from several locations.
        added.sort_unstable();
        added.dedup();
        check_line_count(reservation, added.len(), emptied)?;
        self.check_free(wanted, now_ms)?;
        events.push(Event::Transferred { id: reservation.id, to_location: to, lines: moves(&moving) });
        Ok(events)
    }
}

/// Refuses what would make a reservation too long for one answer.
fn check_line_count(reservation: &Reservation, added: usize, emptied: usize) -> Result<(), Rejection> {
    if added <= emptied || reservation.lines.len() + added - emptied <= RESERVATION_LINES_MAX {
        return Ok(());
    }
    Err(Rejection::new(Reason::InvalidField).text("field", "lines").text(
        "description",
        "a reservation has at most 2,000 lines, those with nothing left included: make another one",
    ))
}

/// The reserved units of a line before an amendment.
fn reserved_before(held: &HeldLine, quantity: i64) -> Result<i64, Rejection> {
    if held.quantity() + (quantity - held.reserved) > QUANTITY_MAX {
        return Err(Rejection::new(Reason::InvalidField)
            .text("field", "lines")
            .text("description", "a line must stay at or below 2^53 - 1 units, with those that it gave back"));
    }
    Ok(held.reserved)
}
