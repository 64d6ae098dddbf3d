//! Events become state. Applying cannot fail: what was decided is a fact. An event that does not fit the state (a journal that
//! this ledger did not write) is counted in `misfits`, and nothing after it can be trusted.

use crate::event::{Event, LevelIndex, LevelUnits, LineMove, Slot, StockState};
use crate::few::Few;
use crate::keys::Scope;
use crate::ledger::Ledger;
use crate::level::possible;
use crate::names::{Entry, Handle, entry_hash};
use crate::outcome::{Effect, HoldChange, LineChange};
use crate::record::{Origin, Record};
use crate::reservation::{HeldLine, LineState, Reservation, ReservationId};
use crate::source::{Applied, Kept};

/// What a record amounts to, put together event by event.
enum Sum {
    Nothing,
    Effect(Effect),
    /// A refused message.
    Refused(crate::rejection::Rejection),
    /// A message that repeated what its key had done.
    Repeated,
}

impl Ledger {
    /// Applies one record: the events take the next sequences, the key and the source remember what they did.
    pub(crate) fn apply(&mut self, record: &Record<'_>) {
        self.time_ms = record.time_ms;
        if self.sequence == 0 {
            self.first_time_ms = record.time_ms;
        }
        let channel = record.origin.and_then(|origin| origin.channel);
        if !self.fits(channel.is_none_or(|channel| (channel as usize) < self.channels().len())) {
            return;
        }
        let reserves = record.events.iter().any(|event| matches!(event, Event::Reserved { .. }));
        let mut sum = Sum::Nothing;
        for event in record.events.iter() {
            self.sequence += 1;
            self.apply_event(event, record, reserves, &mut sum);
        }
        if let Sum::Effect(Effect::Levels(levels)) = &mut sum {
            // Several lines may touch one level: each shows it as it is after all of them.
            for figures in levels.iter_mut() {
                *figures = self.figures(figures.level, record.time_ms);
            }
        }
        if let Some(origin) = &record.origin {
            self.remember(origin, sum);
        }
    }

    fn apply_event(&mut self, event: &Event, record: &Record<'_>, reserves: bool, sum: &mut Sum) {
        let origin = record.origin.as_ref();
        match event {
            Event::Reserved { id, expire_ms, lines } => {
                let hold = self.apply_reserved(*id, *expire_ms, lines, record);
                sum.set(hold.map(Effect::Reserved));
            }
            Event::Extended { id, expire_ms } => sum.hold(self.apply_extended(*id, *expire_ms)),
            Event::Amended { id, lines } => sum.hold(self.apply_amended(*id, lines)),
            Event::Allocated { id, reacquired, lines } => {
                let order_ref = origin.map_or("", |origin| origin.order_ref);
                sum.hold(self.apply_allocated(*id, *reacquired, lines, order_ref));
            }
            Event::Released { id, lines } => {
                let hold = self.apply_moved(*id, lines, LineState::Released);
                // Beside a Reserved it gave way to the new hold, which is what the command was about.
                if !reserves {
                    sum.hold(hold);
                }
            }
            Event::Fulfilled { id, lines } => sum.hold(self.apply_moved(*id, lines, LineState::Fulfilled)),
            Event::Expired { id, lines } => self.apply_expired(*id, lines),
            Event::Transferred { id, to_location, lines } => sum.hold(self.apply_transferred(*id, *to_location, lines)),
            Event::StockChanged { item, location, state, delta, .. } => {
                let level = self.apply_stock(*item, *location, *state, *delta);
                if let Some(figures) = level.and_then(|level| self.levels.figures(level, record.time_ms)) {
                    sum.level(figures);
                }
            }
            Event::Upserted { catalogue, name, display_name, gs1 } => {
                let entry = Entry { name: name.clone(), display_name: display_name.clone(), gs1: gs1.clone() };
                self.apply_upserted(*catalogue, entry);
                sum.set(Some(Effect::Done));
            }
            Event::SourceRegistered { source, epoch } => {
                let (previous_epoch, previous_sequence) = self.sources.register(source, *epoch);
                sum.set(Some(Effect::Registered { epoch: *epoch, previous_epoch, previous_sequence }));
            }
            Event::KeyCancelled { key } => {
                // A command that cancels its own key uses it, which keeps others from it just as well.
                if origin.is_none_or(|origin| *origin.key != **key) {
                    self.keys.cancel(origin.map_or(Scope::Operator, Origin::scope), key, self.sequence);
                }
                sum.set(Some(Effect::KeyCancelled));
            }
            Event::MessageRejected { rejection } => *sum = Sum::Refused(rejection.clone()),
            Event::MessageRepeated { .. } => *sum = Sum::Repeated,
            Event::KeysForgotten { .. } => self.apply_forgotten(record.time_ms),
        }
    }

    fn remember(&mut self, origin: &Origin<'_>, sum: Sum) {
        let scope = origin.scope();
        let kept = match sum {
            Sum::Nothing => return self.misfits += 1,
            Sum::Refused(rejection) => Kept::Rejected(rejection),
            Sum::Repeated => match self.keys.find(scope, origin.key) {
                Some(entry) => Kept::Accepted(entry.effect.clone()),
                None => return self.misfits += 1,
            },
            Sum::Effect(effect) => {
                if !origin.key.is_empty() {
                    let copy = origin.source.map(|_| effect.clone());
                    self.keys.insert(scope, origin.key, origin.fingerprint, self.sequence, effect);
                    match copy {
                        Some(effect) => Kept::Accepted(effect),
                        None => return,
                    }
                } else {
                    Kept::Accepted(effect)
                }
            }
        };
        if let Some(place) = origin.source {
            let (number, fingerprint, sequence) = (place.number, origin.fingerprint, self.sequence);
            let recorded = self.sources.record(place, Applied { number, fingerprint, sequence, kept });
            self.fits(recorded);
        }
    }

    /// Counts an event that does not fit.
    #[inline]
    fn fits(&mut self, fits: bool) -> bool {
        self.misfits += u64::from(!fits);
        fits
    }

    fn apply_reserved(
        &mut self,
        id: ReservationId,
        expire_ms: i64,
        lines: &Few<LevelUnits>,
        record: &Record<'_>,
    ) -> Option<HoldChange> {
        if self.slab.next() != (id.slot, id.generation) || self.levels_missing(lines) || any_twice(lines) {
            self.misfits += 1;
            return None;
        }
        let origin = record.origin.unwrap_or_default();
        for line in lines.iter() {
            let (level, due) = self.levels.get_mut(line.level)?;
            let fits = level.hold(line.units, 0);
            due.add(expire_ms, line.units);
            self.fits(fits);
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
        let changes = lines.iter().map(|line| change(line.level, LineState::Reserved, line.units, line.units)).collect();
        Some(HoldChange { id, version: 1, reacquired: false, expire_ms, lines: changes })
    }

    fn levels_missing(&self, lines: &[LevelUnits]) -> bool {
        lines.iter().any(|line| self.levels.get(line.level).is_none())
    }

    fn apply_extended(&mut self, id: ReservationId, expire_ms: i64) -> Option<HoldChange> {
        let Some(reservation) = self.slab.next_version(id) else {
            self.misfits += 1;
            return None;
        };
        let before = std::mem::replace(&mut reservation.expire_ms, expire_ms);
        let version = reservation.version;
        let held: Vec<HeldLine> = reservation.lines.iter().filter(|line| line.reserved > 0).copied().collect();
        for line in &held {
            if let Some((_, due)) = self.levels.get_mut(line.level) {
                due.add(before, -line.reserved);
                due.add(expire_ms, line.reserved);
            }
        }
        self.schedule.add(expire_ms, id.slot);
        let changes = held
            .iter()
            .map(|line| change(line.level, LineState::Reserved, line.reserved, line.reserved + line.allocated))
            .collect();
        Some(HoldChange { id, version, reacquired: false, expire_ms, lines: changes })
    }

    fn apply_amended(&mut self, id: ReservationId, lines: &Few<LevelUnits>) -> Option<HoldChange> {
        if self.levels_missing(lines) {
            self.misfits += 1;
            return None;
        }
        let unchanged = lines.is_empty();
        let Some(reservation) = self.slab.next_version(id) else {
            self.misfits += 1;
            return None;
        };
        reservation.version -= u32::from(unchanged);
        let (version, expire_ms) = (reservation.version, reservation.expire_ms);
        let mut changes = Few::default();
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
            let (level, due) = self.levels.get_mut(line.level)?;
            let fits = possible(held.quantity()) && level.hold(delta, 0);
            due.add(expire_ms, delta);
            if !self.fits(fits) {
                return None;
            }
            if added {
                self.sort_lines(id.slot);
            }
        }
        self.note_if_ended(id.slot);
        Some(HoldChange { id, version, reacquired: false, expire_ms, lines: changes })
    }

    fn apply_allocated(
        &mut self,
        id: ReservationId,
        reacquired: bool,
        lines: &Few<LevelUnits>,
        order_ref: &str,
    ) -> Option<HoldChange> {
        let Some(reservation) = self.slab.next_version(id) else {
            self.misfits += 1;
            return None;
        };
        let revived = !reservation.outstanding();
        let (version, expire_ms) = (reservation.version, reservation.expire_ms);
        let before = (!order_ref.is_empty() && *reservation.order_ref != *order_ref)
            .then(|| std::mem::replace(&mut reservation.order_ref, order_ref.into()));
        let mut changes = Few::default();
        for line in lines.iter() {
            let (reserved, expired) = if reacquired { (0, line.units) } else { (line.units, 0) };
            let held = reservation.line_mut(line.level);
            let Some(held) = held.filter(|held| held.reserved >= reserved && held.expired >= expired) else {
                self.misfits += 1;
                return None;
            };
            held.reserved -= reserved;
            held.expired -= expired;
            held.allocated += line.units;
            held.last = LineState::Allocated;
            changes.push(change(line.level, LineState::Allocated, line.units, held.outstanding()));
            if let Some((level, due)) = self.levels.get_mut(line.level) {
                self.misfits += u64::from(!level.hold(-reserved, line.units));
                due.add(expire_ms, -reserved);
            }
        }
        if let Some(before) = before {
            remove_from_index(&mut self.orders, &before, id.slot);
            add_to_index(&mut self.orders, order_ref, id.slot);
        }
        self.open_reservations += u64::from(revived && reacquired);
        Some(HoldChange { id, version, reacquired, expire_ms, lines: changes })
    }

    /// Release and fulfill: units leave a line for good.
    fn apply_moved(&mut self, id: ReservationId, lines: &Few<LineMove>, to: LineState) -> Option<HoldChange> {
        let Some(reservation) = self.slab.next_version(id) else {
            self.misfits += 1;
            return None;
        };
        let (version, expire_ms) = (reservation.version, reservation.expire_ms);
        let mut changes = Few::default();
        for line in lines.iter() {
            let units = line.reserved + line.allocated;
            let held = reservation.line_mut(line.level);
            let there = |held: &&mut HeldLine| held.reserved >= line.reserved && held.allocated >= line.allocated;
            let Some(held) = held.filter(there) else {
                self.misfits += 1;
                return None;
            };
            held.reserved -= line.reserved;
            held.allocated -= line.allocated;
            let goods_leave = to == LineState::Fulfilled;
            if goods_leave { held.fulfilled += units } else { held.released += units };
            held.last = to;
            changes.push(change(line.level, to, units, held.outstanding()));
            if let Some((level, due)) = self.levels.get_mut(line.level) {
                let fits = level.hold(-line.reserved, -line.allocated) && (!goods_leave || level.on_hand >= units);
                self.misfits += u64::from(!fits);
                level.on_hand -= if goods_leave && fits { units } else { 0 };
                due.add(expire_ms, -line.reserved);
            }
        }
        self.note_if_ended(id.slot);
        Some(HoldChange { id, version, reacquired: false, expire_ms, lines: changes })
    }

    fn apply_expired(&mut self, id: ReservationId, lines: &Few<LevelUnits>) {
        let Some(reservation) = self.slab.next_version(id) else {
            return self.misfits += 1;
        };
        let expire_ms = reservation.expire_ms;
        for line in lines.iter() {
            let held = reservation.line_mut(line.level);
            let Some(held) = held.filter(|held| held.reserved >= line.units) else {
                self.misfits += 1;
                return;
            };
            held.reserved -= line.units;
            held.expired += line.units;
            held.last = LineState::Expired;
            if let Some((level, due)) = self.levels.get_mut(line.level) {
                self.misfits += u64::from(!level.hold(-line.units, 0));
                due.add(expire_ms, -line.units);
            }
        }
        self.expired_reservations += 1;
        self.note_if_ended(id.slot);
    }

    fn apply_transferred(&mut self, id: ReservationId, to: Handle, lines: &Few<LineMove>) -> Option<HoldChange> {
        if to as usize >= self.locations().len() || lines.iter().any(|line| self.levels.get(line.level).is_none()) {
            self.misfits += 1;
            return None;
        }
        let unchanged = lines.is_empty();
        let Some(reservation) = self.slab.next_version(id) else {
            self.misfits += 1;
            return None;
        };
        reservation.version -= u32::from(unchanged);
        let (version, expire_ms) = (reservation.version, reservation.expire_ms);
        let mut changes: Few<LineChange> = Few::default();
        for line in lines.iter() {
            let item = self.levels.get(line.level)?.item;
            let target = self.levels.find_or_add(item, to);
            let moved = self.move_promise(id.slot, expire_ms, line, target);
            if !self.fits(moved.is_some()) {
                return None;
            }
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
        let mut fits = possible(held.quantity());
        for (level, sign) in [(line.level, -1), (target, 1)] {
            let (level, due) = self.levels.get_mut(level)?;
            fits &= level.hold(sign * line.reserved, sign * line.allocated);
            due.add(expire_ms, sign * line.reserved);
        }
        fits.then_some(())
    }

    fn apply_stock(&mut self, item: Handle, location: Handle, state: StockState, delta: i64) -> Option<LevelIndex> {
        if item as usize >= self.items().len() || location as usize >= self.locations().len() {
            self.misfits += 1;
            return None;
        }
        let level = self.levels.find_or_add(item, location);
        let changed = self.levels.get_mut(level)?.0.change(state, delta);
        self.fits(changed);
        Some(level)
    }

    fn apply_upserted(&mut self, catalogue: u8, entry: Entry) {
        let Some(names) = self.catalogues.get_mut(usize::from(catalogue)) else {
            return self.misfits += 1;
        };
        let kind = u64::from(catalogue);
        let (handle, before) = names.upsert(entry);
        if let Some(before) = before {
            self.digest.remove(entry_hash(kind, handle, &before));
        }
        self.digest.add(entry_hash(kind, handle, names.entry(handle)));
    }

    fn apply_forgotten(&mut self, time_ms: i64) {
        let (window, ended) = self.keys.rotate(time_ms);
        for slot in ended {
            let forget = self.slab.at(slot).is_some_and(|reservation| !reservation.outstanding());
            if forget && self.slab.ended_in(slot) == window {
                if let Some(gone) = self.slab.remove(slot) {
                    remove_from_index(&mut self.orders, &gone.order_ref, slot);
                    remove_from_index(&mut self.holders, &gone.holder, slot);
                }
            }
        }
    }

    fn note_if_ended(&mut self, slot: Slot) {
        if self.slab.at(slot).is_some_and(|reservation| !reservation.outstanding()) {
            self.open_reservations = self.open_reservations.saturating_sub(1);
            self.slab.set_ended_in(slot, self.keys.window());
            self.keys.note_ended(slot);
        }
    }

    /// Puts the lines of a reservation back in the order of (sku, location).
    fn sort_lines(&mut self, slot: Slot) {
        let (levels, catalogues) = (&self.levels, &self.catalogues);
        let names = |level: LevelIndex| {
            levels.get(level).map(|found| (catalogues[0].name(found.item), catalogues[1].name(found.location)))
        };
        if let Some(reservation) = self.slab.at_mut(slot) {
            reservation.lines.sort_by(|a, b| names(a.level).cmp(&names(b.level)));
        }
    }
}

impl Sum {
    fn set(&mut self, effect: Option<Effect>) {
        if let Some(effect) = effect {
            *self = Sum::Effect(effect);
        }
    }

    fn hold(&mut self, hold: Option<HoldChange>) {
        let Some(hold) = hold else { return };
        if let Sum::Effect(Effect::Holds(holds)) = self {
            holds.push(hold);
        } else {
            *self = Sum::Effect(Effect::Holds(Few::One(hold)));
        }
    }

    fn level(&mut self, figures: crate::outcome::LevelFigures) {
        if let Sum::Effect(Effect::Levels(levels)) = self {
            levels.push(figures);
        } else {
            *self = Sum::Effect(Effect::Levels(Few::One(figures)));
        }
    }
}

#[inline]
fn change(level: LevelIndex, state: LineState, quantity: i64, outstanding: i64) -> LineChange {
    LineChange { level, state, quantity, outstanding }
}

/// True if two lines are of one level. Commands are merged before they are decided.
fn any_twice(lines: &[LevelUnits]) -> bool {
    if lines.len() <= 32 {
        return (1..lines.len()).any(|at| lines[..at].iter().any(|line| line.level == lines[at].level));
    }
    let mut levels: Vec<LevelIndex> = lines.iter().map(|line| line.level).collect();
    levels.sort_unstable();
    levels.windows(2).any(|pair| pair[0] == pair[1])
}

type SlotIndex = hashbrown::HashMap<Box<str>, Few<Slot>>;

fn add_to_index(index: &mut SlotIndex, name: &str, slot: Slot) {
    if name.is_empty() {
        return;
    }
    match index.get_mut(name) {
        Some(slots) => slots.push(slot),
        None => {
            index.insert(name.into(), Few::One(slot));
        }
    }
}

fn remove_from_index(index: &mut SlotIndex, name: &str, slot: Slot) {
    let Some(slots) = index.get_mut(name) else { return };
    *slots = slots.iter().copied().filter(|other| *other != slot).collect();
    if slots.is_empty() {
        index.remove(name);
    }
}
