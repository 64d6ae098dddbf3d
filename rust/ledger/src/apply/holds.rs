//! What events do to holds and their levels. The functions return `None` if the event does not apply to the state; `apply`
//! counts these.

use crate::apply::{add_to_index, remove_from_index};
use crate::event::{LevelUnits, LineMove};
use crate::ids::{Handle, LevelIndex, ReservationId, Slot};
use crate::ledger::Ledger;
use crate::level::in_range;
use crate::one_or_many::OneOrMany;
use crate::outcome::{HoldChange, LineChange};
use crate::planted;
use crate::record::{Origin, Record};
use crate::reservation::{HeldLine, LineState, Reservation};

impl Ledger {
    pub(super) fn apply_reserved(
        &mut self,
        id: ReservationId,
        expire_ms: i64,
        lines: &OneOrMany<LevelUnits>,
        record: &Record<'_>,
    ) -> Option<HoldChange> {
        if self.slab.next() != (id.slot, id.generation) || self.levels_missing(lines) || any_twice(lines) {
            return None;
        }
        let nobody = Origin::default();
        let origin = record.origin.as_ref().unwrap_or(&nobody);
        for line in lines.iter() {
            let fits = self.levels.get_mut(line.level)?.hold(line.units, 0, expire_ms);
            self.expect_applicable(fits);
        }
        let held = lines.iter().map(|line| HeldLine { reserved: line.units, ..HeldLine::empty(line.level) }).collect();
        self.slab.insert(Reservation {
            id,
            version: 1,
            channel: origin.channel,
            expire_ms,
            create_ms: record.time_ms,
            sequence: self.sequence,
            key: origin.key.into(),
            order_ref: origin.order_ref.into(),
            holder: origin.holder.into(),
            lines: held,
        });
        self.schedule.add(expire_ms, id.slot);
        add_to_index(&mut self.orders, origin.order_ref, id.slot);
        add_to_index(&mut self.holders, origin.holder, id.slot);
        self.open_reservations += 1;
        let changes =
            lines.iter().map(|line| change(line.level, LineState::Reserved, line.units, line.units)).collect();
        Some(HoldChange { id, version: 1, reacquired: false, expire_ms, lines: changes })
    }

    fn levels_missing(&self, lines: &[LevelUnits]) -> bool {
        lines.iter().any(|line| self.levels.get(line.level).is_none())
    }

    pub(super) fn apply_extended(&mut self, id: ReservationId, expire_ms: i64) -> Option<HoldChange> {
        let reservation = self.slab.next_version(id)?;
        let before = std::mem::replace(&mut reservation.expire_ms, expire_ms);
        let version = reservation.version;
        let held: Vec<HeldLine> = reservation.lines.iter().filter(|line| line.reserved > 0).copied().collect();
        for line in &held {
            if let Some(level) = self.levels.get_mut(line.level) {
                level.extend(line.reserved, before, expire_ms);
            }
        }
        self.schedule.add(expire_ms, id.slot);
        let changes = held
            .iter()
            .map(|line| change(line.level, LineState::Reserved, line.reserved, line.reserved + line.allocated))
            .collect();
        Some(HoldChange { id, version, reacquired: false, expire_ms, lines: changes })
    }

    pub(super) fn apply_amended(&mut self, id: ReservationId, lines: &OneOrMany<LevelUnits>) -> Option<HoldChange> {
        if self.levels_missing(lines) {
            return None;
        }
        let unchanged = lines.is_empty();
        let reservation = self.slab.next_version(id)?;
        reservation.version -= u32::from(unchanged);
        let (version, expire_ms) = (reservation.version, reservation.expire_ms);
        let mut changes = OneOrMany::default();
        for line in lines.iter() {
            let reservation = self.slab.at_mut(id.slot)?;
            let added = reservation.line(line.level).is_none();
            if added {
                reservation.lines.push(HeldLine::empty(line.level));
            }
            let held = reservation.line_mut(line.level)?;
            let delta = line.units - held.reserved;
            held.reserved = line.units;
            held.released += (-delta).max(0);
            held.last = if delta < 0 { LineState::Released } else { LineState::Reserved };
            changes.push(change(line.level, LineState::Reserved, line.units, held.outstanding()));
            let fits = in_range(held.quantity()) && self.levels.get_mut(line.level)?.hold(delta, 0, expire_ms);
            if !fits {
                return None;
            }
            if added {
                self.sort_lines(id.slot);
            }
        }
        self.note_if_ended(id.slot);
        Some(HoldChange { id, version, reacquired: false, expire_ms, lines: changes })
    }

    pub(super) fn apply_allocated(
        &mut self,
        id: ReservationId,
        reacquired: bool,
        lines: &OneOrMany<LevelUnits>,
        order_ref: &str,
    ) -> Option<HoldChange> {
        let reservation = self.slab.next_version(id)?;
        let revived = !reservation.outstanding();
        let (version, expire_ms) = (reservation.version, reservation.expire_ms);
        let before = (!order_ref.is_empty() && *reservation.order_ref != *order_ref)
            .then(|| std::mem::replace(&mut reservation.order_ref, order_ref.into()));
        let mut changes = OneOrMany::default();
        for line in lines.iter() {
            let (reserved, expired) = if reacquired { (0, line.units) } else { (line.units, 0) };
            let held = reservation.line_mut(line.level);
            let held = held.filter(|held| held.reserved >= reserved && held.expired >= expired)?;
            held.reserved -= reserved;
            held.expired -= if planted::is("reacquire_keeps_expired") { 0 } else { expired };
            held.allocated += line.units;
            held.last = LineState::Allocated;
            changes.push(change(line.level, LineState::Allocated, line.units, held.outstanding()));
            if let Some(level) = self.levels.get_mut(line.level) {
                self.inapplicable_events += u64::from(!level.hold(-reserved, line.units, expire_ms));
            }
        }
        if let Some(before) = before {
            remove_from_index(&mut self.orders, &before, id.slot);
            add_to_index(&mut self.orders, order_ref, id.slot);
        }
        self.open_reservations += u64::from(revived && reacquired);
        Some(HoldChange { id, version, reacquired, expire_ms, lines: changes })
    }

    /// Release and fulfill: units leave a line permanently.
    pub(super) fn apply_moved(
        &mut self,
        id: ReservationId,
        lines: &OneOrMany<LineMove>,
        to: LineState,
    ) -> Option<HoldChange> {
        let reservation = self.slab.next_version(id)?;
        let (version, expire_ms) = (reservation.version, reservation.expire_ms);
        let mut changes = OneOrMany::default();
        for line in lines.iter() {
            let units = line.reserved + line.allocated;
            let held = reservation.line_mut(line.level);
            let there = |held: &&mut HeldLine| held.reserved >= line.reserved && held.allocated >= line.allocated;
            let held = held.filter(there)?;
            let forgotten = planted::is("double_release") && to == LineState::Released;
            held.reserved -= if forgotten { 0 } else { line.reserved };
            held.allocated -= line.allocated;
            let goods_leave = to == LineState::Fulfilled;
            if goods_leave {
                held.fulfilled += units
            } else {
                held.released += units
            };
            held.last = to;
            changes.push(change(line.level, to, units, held.outstanding()));
            let there = !goods_leave || self.levels.quantities(line.level).on_hand() >= units;
            if let Some(level) = self.levels.get_mut(line.level) {
                let fits = level.hold(-line.reserved, -line.allocated, expire_ms) && there;
                self.inapplicable_events += u64::from(!fits);
                if goods_leave && fits {
                    self.levels.fulfill(line.level, units);
                }
            }
        }
        self.note_if_ended(id.slot);
        Some(HoldChange { id, version, reacquired: false, expire_ms, lines: changes })
    }

    pub(super) fn apply_expired(&mut self, id: ReservationId, lines: &OneOrMany<LevelUnits>) -> Option<()> {
        let reservation = self.slab.next_version(id)?;
        let expire_ms = reservation.expire_ms;
        for line in lines.iter() {
            let held = reservation.line_mut(line.level);
            let held = held.filter(|held| held.reserved >= line.units)?;
            held.reserved -= line.units;
            held.expired += line.units;
            held.last = LineState::Expired;
            if let Some(level) = self.levels.get_mut(line.level) {
                self.inapplicable_events += u64::from(!level.hold(-line.units, 0, expire_ms));
            }
        }
        self.expired_reservations += 1;
        self.note_if_ended(id.slot);
        Some(())
    }

    pub(super) fn apply_transferred(
        &mut self,
        id: ReservationId,
        to: Handle,
        lines: &OneOrMany<LineMove>,
    ) -> Option<HoldChange> {
        if to as usize >= self.locations().len() || lines.iter().any(|line| self.levels.get(line.level).is_none()) {
            return None;
        }
        let unchanged = lines.is_empty();
        let reservation = self.slab.next_version(id)?;
        reservation.version -= u32::from(unchanged);
        let (version, expire_ms) = (reservation.version, reservation.expire_ms);
        let mut changes: OneOrMany<LineChange> = OneOrMany::default();
        for line in lines.iter() {
            let item = self.levels.get(line.level)?.item;
            let target = self.level_at(item, to);
            self.move_promise(id.slot, expire_ms, line, target)?;
            for (state, units) in [(LineState::Reserved, line.reserved), (LineState::Allocated, line.allocated)] {
                match changes.iter_mut().find(|change| (change.level, change.state) == (target, state)) {
                    Some(change) => change.quantity += units,
                    None if units > 0 => changes.push(change(target, state, units, 0)),
                    None => {}
                }
            }
        }
        let reservation = self.slab.at(id.slot)?;
        for change in changes.iter_mut() {
            change.outstanding = reservation.line(change.level).map_or(0, HeldLine::outstanding);
        }
        self.sort_lines(id.slot);
        Some(HoldChange { id, version, reacquired: false, expire_ms, lines: changes })
    }

    fn move_promise(&mut self, slot: Slot, expire_ms: i64, line: &LineMove, target: LevelIndex) -> Option<()> {
        let reservation = self.slab.at_mut(slot)?;
        let there = |held: &&mut HeldLine| held.reserved >= line.reserved && held.allocated >= line.allocated;
        let held = reservation.line_mut(line.level).filter(there)?;
        held.reserved -= line.reserved;
        held.allocated -= line.allocated;
        if held.quantity() == 0 {
            reservation.lines = reservation.lines.iter().filter(|held| held.level != line.level).copied().collect();
        }
        if reservation.line(target).is_none() {
            reservation.lines.push(HeldLine::empty(target));
        }
        let held = reservation.line_mut(target)?;
        held.reserved += line.reserved;
        held.allocated += line.allocated;
        held.last = if line.allocated > 0 { LineState::Allocated } else { LineState::Reserved };
        let mut fits = in_range(held.quantity());
        for (level, sign) in [(line.level, -1), (target, 1)] {
            fits &= self.levels.get_mut(level)?.hold(sign * line.reserved, sign * line.allocated, expire_ms);
        }
        fits.then_some(())
    }

    fn note_if_ended(&mut self, slot: Slot) {
        if self.slab.at(slot).is_some_and(|reservation| !reservation.outstanding()) {
            self.open_reservations = self.open_reservations.saturating_sub(1);
            self.slab.set_ended_in(slot, self.keys.window());
            self.keys.note_ended(slot);
        }
    }

    /// Restores the order of a reservation's lines by (sku, location).
    fn sort_lines(&mut self, slot: Slot) {
        let (levels, [items, locations, ..]) = (&self.levels, &self.entities);
        let names = |level: LevelIndex| {
            levels.get(level).map(|found| (items.names().name(found.item), locations.names().name(found.location)))
        };
        if let Some(reservation) = self.slab.at_mut(slot) {
            reservation.lines.sort_by(|a, b| names(a.level).cmp(&names(b.level)));
        }
    }
}

#[inline]
fn change(level: LevelIndex, state: LineState, quantity: i64, outstanding: i64) -> LineChange {
    LineChange { level, state, quantity, outstanding }
}

/// True if two lines are on the same level. The lines of a command are merged before it is decided.
fn any_twice(lines: &[LevelUnits]) -> bool {
    if lines.len() <= 32 {
        return (1..lines.len()).any(|at| lines[..at].iter().any(|line| line.level == lines[at].level));
    }
    let mut levels: Vec<LevelIndex> = lines.iter().map(|line| line.level).collect();
    levels.sort_unstable();
    levels.windows(2).any(|pair| pair[0] == pair[1])
}
