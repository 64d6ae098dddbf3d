//! The ledger's data as messages of the contract: handles become names, ids become tokens, milliseconds become
//! timestamps.

use invengine_ledger::command::RESERVATION_LINES_MAX;
use invengine_ledger::outcome::{HoldChange, LineChange};
use invengine_ledger::reservation::{HeldLine, LineState};
use invengine_ledger::{Effect, Ledger, LevelFigures, LevelIndex, OriginSource, Reservation};
use invengine_wire::v1;
use prost_types::Timestamp;

use super::states::STATES;

/// A moment of engine time.
pub fn timestamp(ms: i64) -> Timestamp {
    Timestamp { seconds: ms.div_euclid(1_000), nanos: (ms.rem_euclid(1_000) * 1_000_000) as i32 }
}

/// The position of a message in the sequence of its source.
pub(super) fn source_position(ledger: &Ledger, place: OriginSource) -> v1::SourcePosition {
    let source_id = ledger.source_name(place.source).to_owned();
    v1::SourcePosition { source_id, epoch: place.epoch as i64, sequence: place.number as i64 }
}

/// The receipt of a command. It is sent only once everything up to `sequence` is durable, and a repeat gets the same.
pub(super) fn receipt(sequence: u64, replayed: bool, effect: &Effect) -> v1::Receipt {
    let echo = *effect == Effect::Echo;
    v1::Receipt { sequence: sequence as i64, durable_sequence: sequence as i64, replayed, echo }
}

/// The effect of a command on reservations: a change for each of them or, if that would be too long, a summary. Neither
/// if the command does not act on reservations.
pub(super) fn holds(ledger: &Ledger, effect: &Effect, sequence: u64) -> (Vec<v1::HoldChange>, Option<v1::HoldSummary>) {
    match effect {
        Effect::Reserved(hold) => (vec![hold_change(ledger, hold)], None),
        Effect::Holds(holds) if !ledger.fits_in_full_answer(effect) => {
            (Vec::new(), Some(hold_summary(holds, sequence)))
        }
        Effect::Holds(holds) => (holds.iter().map(|hold| hold_change(ledger, hold)).collect(), None),
        _ => (Vec::new(), None),
    }
}

/// The summary of the effect of a command whose last event has this sequence.
fn hold_summary(holds: &[HoldChange], sequence: u64) -> v1::HoldSummary {
    const STATES: [LineState; 5] =
        [LineState::Reserved, LineState::Allocated, LineState::Released, LineState::Expired, LineState::Fulfilled];
    let lines = || holds.iter().flat_map(|hold| hold.lines.iter());
    let units = |state| {
        let units =
            lines().filter(|line| line.state == state).fold(0i64, |sum, line| sum.saturating_add(line.quantity));
        v1::UnitsInState { state: line_state(state) as i32, units }
    };
    v1::HoldSummary {
        reservations: holds.len() as i64,
        lines: lines().count() as i64,
        units: STATES.into_iter().map(units).filter(|found| found.units > 0).collect(),
        // One event per hold, and one more for each hold whose expiry had not been recorded yet.
        first_sequence: (sequence + 1).saturating_sub(2 * holds.len() as u64).max(1) as i64,
    }
}

/// The effect of a command on one reservation.
pub(super) fn hold_change(ledger: &Ledger, hold: &HoldChange) -> v1::HoldChange {
    v1::HoldChange {
        reservation_id: ledger.token(hold.id),
        version: i64::from(hold.version),
        expire_time: Some(timestamp(hold.expire_ms)),
        reacquired: hold.reacquired,
        lines: hold.lines.iter().map(|line| line_change(ledger, line)).collect(),
    }
}

fn line_change(ledger: &Ledger, line: &LineChange) -> v1::LineChange {
    let (sku, location) = ledger.level_names(line.level);
    v1::LineChange {
        sku: sku.to_owned(),
        location: location.to_owned(),
        quantity: line.quantity,
        state: line_state(line.state) as i32,
        outstanding: line.outstanding,
    }
}

pub(super) fn line_state(state: LineState) -> v1::LineState {
    match state {
        LineState::Reserved => v1::LineState::Reserved,
        LineState::Allocated => v1::LineState::Allocated,
        LineState::Released => v1::LineState::Released,
        LineState::Expired => v1::LineState::Expired,
        LineState::Fulfilled => v1::LineState::Fulfilled,
    }
}

/// The levels that a physical command changed; empty for any other command.
pub(super) fn levels(ledger: &Ledger, effect: &Effect) -> Vec<v1::InventoryLevel> {
    effect.levels().iter().map(|figures| level(ledger, figures)).collect()
}

/// The lines of a command that were only recorded as claims.
pub(super) fn claimed_lines(effect: &Effect) -> Vec<i32> {
    match effect {
        Effect::Claimed { lines, .. } => lines.iter().map(|line| *line as i32).collect(),
        _ => Vec::new(),
    }
}

/// The quantities of one level.
pub(super) fn level(ledger: &Ledger, figures: &LevelFigures) -> v1::InventoryLevel {
    let (sku, location) = ledger.level_names(figures.level);
    let mut level = v1::InventoryLevel {
        sku: sku.to_owned(),
        location: location.to_owned(),
        reserved: figures.reserved,
        allocated: figures.allocated,
        available: figures.available(),
        oversold: figures.oversold(),
        ..v1::InventoryLevel::default()
    };
    for row in &STATES {
        *(row.units)(&mut level) = figures.stock.of(row.state);
    }
    level
}

/// A reservation as of this time: if it has expired, its reserved units count as expired, whether or not the event was
/// written. If it has more lines than an answer may hold, the first lines and the number of omitted ones.
pub(super) fn reservation(ledger: &Ledger, found: &Reservation, now_ms: i64) -> v1::Reservation {
    let live = found.is_live(now_ms);
    v1::Reservation {
        reservation_id: ledger.token(found.id),
        version: i64::from(found.version),
        expire_time: Some(timestamp(found.expire_ms)),
        create_time: Some(timestamp(found.create_ms)),
        channel: found.channel.map_or_else(String::new, |channel| ledger.channels().name(channel).to_owned()),
        order_ref: found.order_ref.to_string(),
        holder: found.holder.to_string(),
        idempotency_key: found.key.to_string(),
        lines: found
            .lines
            .iter()
            .take(RESERVATION_LINES_MAX)
            .map(|line| reservation_line(ledger, line, live))
            .collect(),
        lines_omitted: found.lines.len().saturating_sub(RESERVATION_LINES_MAX) as i64,
    }
}

fn reservation_line(ledger: &Ledger, line: &HeldLine, live: bool) -> v1::ReservationLine {
    let (sku, location) = ledger.level_names(line.level);
    let reserved = if live { line.reserved } else { 0 };
    v1::ReservationLine {
        sku: sku.to_owned(),
        location: location.to_owned(),
        quantity: line.quantity(),
        reserved,
        allocated: line.allocated,
        released: line.released,
        expired: line.expired + line.reserved - reserved,
        fulfilled: line.fulfilled,
    }
}

/// Units of one line of an event.
pub(super) fn selection(ledger: &Ledger, level: LevelIndex, units: i64) -> v1::LineSelection {
    let (sku, location) = ledger.level_names(level);
    v1::LineSelection { sku: sku.to_owned(), location: location.to_owned(), quantity: units }
}
