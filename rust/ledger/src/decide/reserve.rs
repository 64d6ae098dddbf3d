//! Reserve: a timed hold on all lines or on none.

use crate::command::{Line, TICK_MS};
use crate::decide::no_stock;
use crate::event::{Event, LevelUnits, LineMove};
use crate::ids::{LevelIndex, ReservationId};
use crate::ledger::Ledger;
use crate::one_or_many::OneOrMany;
use crate::planted;
use crate::rejection::Rejection;

impl Ledger {
    /// `own` is the holder whose reserved units on the same levels are released first; empty for none.
    pub(crate) fn decide_reserve(
        &self,
        lines: &[Line<'_>],
        ttl_ms: i64,
        allow_partial: bool,
        own: &str,
        now_ms: i64,
    ) -> Result<OneOrMany<Event>, Rejection> {
        let levels = self.levels_of(lines)?;
        let mut events = if own.is_empty() { OneOrMany::default() } else { self.release_own(own, &levels, now_ms) };
        let mut granted = OneOrMany::default();
        let mut short = None;
        for (line, level) in lines.iter().zip(levels.iter()) {
            let free = level.map_or(0, |level| self.levels.free(level, now_ms) + released_by(&events, level));
            let free = free + i64::from(planted::is("oversell_by_one"));
            let units = line.quantity.min(free.max(0));
            if units < line.quantity {
                let rejection = || no_stock(line.sku, line.location, line.quantity, free.max(0));
                if !allow_partial && !planted::is("multi_line_not_atomic") {
                    return Err(rejection());
                }
                short.get_or_insert_with(rejection);
            }
            if let Some(level) = level.filter(|_| units > 0) {
                granted.push(LevelUnits { level, units });
            }
        }
        if granted.is_empty() {
            return Err(short.unwrap_or_else(|| no_stock("", "", 0, 0)));
        }
        let (slot, generation) = self.slab.next();
        let id = ReservationId { slot, generation, epoch: self.epoch };
        events.push(Event::Reserved { id, expire_ms: expires_at(now_ms, ttl_ms), lines: granted });
        Ok(events)
    }

    /// Releases what a holder has reserved on these levels.
    fn release_own(&self, holder: &str, levels: &[Option<LevelIndex>], now_ms: i64) -> OneOrMany<Event> {
        let mut events = OneOrMany::default();
        for reservation in self.reservations_of_holder(holder).filter(|reservation| reservation.is_live(now_ms)) {
            let lines: OneOrMany<LineMove> = reservation
                .lines
                .iter()
                .filter(|line| line.reserved > 0 && levels.contains(&Some(line.level)))
                .map(|line| LineMove { level: line.level, reserved: line.reserved, allocated: 0 })
                .collect();
            if !lines.is_empty() {
                events.push(Event::Released { id: reservation.id, lines });
            }
        }
        events
    }
}

/// The first tick at or after the end of a time to live.
pub(crate) fn expires_at(now_ms: i64, ttl_ms: i64) -> i64 {
    let end = now_ms.saturating_add(ttl_ms);
    let over = end.rem_euclid(TICK_MS);
    if over == 0 { end } else { end.saturating_add(TICK_MS - over) }
}

fn released_by(events: &[Event], level: LevelIndex) -> i64 {
    let of_event = |event: &Event| match event {
        Event::Released { lines, .. } => lines.iter().find(|line| line.level == level).map_or(0, |line| line.reserved),
        _ => 0,
    };
    events.iter().map(of_event).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_rounded_up_to_a_tick() {
        assert_eq!(
            [(0, 1_000), (1, 1_000), (99, 1_000), (100, 1_001)].map(|(now, ttl)| expires_at(now, ttl)),
            [1_000, 1_100, 1_100, 1_200]
        );
    }
}
