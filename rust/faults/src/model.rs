//! A slow, obvious reference model of what a journal contains, which shares nothing with the ledger but the format of its
//! records. Every rule that a journal alone can break is checked here, record by record.

use std::collections::{BTreeMap, HashMap};

use invengine_ledger::event::{LevelUnits, LineMove};
use invengine_ledger::{EntityKind, Event, Origin, Record, ReservationId, Scope};

use crate::authority::Authority;
use crate::holds::{Hold, LevelState};
use crate::sources::Source;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// What was found.
    pub found: String,
}

impl Violation {
    /// A violation of a rule, with what was found.
    pub fn new(rule: &'static str, found: impl Into<String>) -> Self {
        Violation { rule, found: found.into() }
    }

    /// The same as an `Err`.
    pub fn err<T>(rule: &'static str, found: impl Into<String>) -> Result<T, Self> {
        Err(Self::new(rule, found))
    }
}

/// The effect of a key or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandEffect {
    /// Position of its last event.
    pub sequence: u64,
    /// Sum of the units that its events name.
    pub units: i64,
    /// The command only cancelled the key.
    pub cancelled: bool,
    /// The command was refused, which consumed its number.
    pub refused: bool,
    /// The command passed on what was applied already.
    pub echo: bool,
}

/// An entity that is or was.
#[derive(Clone, Debug)]
pub(crate) struct NamedVersion {
    pub(crate) name: String,
    pub(crate) version: u64,
    is_removed: bool,
}

/// The state after some prefix of a journal.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub sequence: u64,
    pub time_ms: i64,
    /// By kind and handle.
    pub(crate) entities: [Vec<NamedVersion>; EntityKind::ALL.len()],
    pub levels: Vec<LevelState>,
    level_of: HashMap<(u32, u32), u32>,
    pub holds: HashMap<ReservationId, Hold>,
    /// By scope and key.
    keys: HashMap<u64, HashMap<String, CommandEffect>>,
    /// Positions of the refusals that keys remember, likewise.
    refusals: HashMap<u64, HashMap<String, u64>>,
    pub(crate) numbers: HashMap<(u32, u64, u64), CommandEffect>,
    pub(crate) sources: Vec<Source>,
    /// Units on their way, by stock transfer and item.
    pub(crate) on_their_way: HashMap<(u32, u32), i64>,
    /// Units that will not arrive, and units that are at the origin again, likewise.
    pub(crate) given_up: HashMap<(u32, u32), [i64; 2]>,
    pub(crate) authority: Authority,
    pub accepted: u64,
}

/// Encodes the scope of a key as one number.
fn scope_code(scope: Scope) -> u64 {
    match scope {
        Scope::Operator => 0,
        Scope::Channel(handle) => 1 << 32 | u64::from(handle),
        Scope::Source(handle) => 2 << 32 | u64::from(handle),
    }
}

impl Model {
    /// Applies the next record of the journal.
    ///
    /// # Errors
    /// The record breaks a rule.
    pub fn apply(&mut self, record: &Record<'_>) -> Result<(), Violation> {
        if record.time_ms < self.time_ms && self.sequence > 0 {
            return Violation::err("time never goes back", format!("{} after {}", record.time_ms, self.time_ms));
        }
        self.time_ms = record.time_ms;
        self.check_rights(record)?;
        let mut units = 0;
        for event in record.events.iter() {
            self.sequence += 1;
            units += self.event(event, record)?;
            self.note_authority(event);
            self.settle(event, record);
        }
        record.origin.as_ref().map_or(Ok(()), |origin| self.remember(origin, record, units))
    }

    /// What a key did. The writer is named as in a command.
    pub fn key(&self, channel: &str, source: &str, key: &str) -> Option<CommandEffect> {
        self.keys.get(&self.scope(channel, source)?)?.get(key).copied()
    }

    /// Position of the refusal that a key remembers.
    pub fn refusal(&self, channel: &str, source: &str, key: &str) -> Option<u64> {
        self.refusals.get(&self.scope(channel, source)?)?.get(key).copied()
    }

    fn scope(&self, channel: &str, source: &str) -> Option<u64> {
        Some(scope_code(if !channel.is_empty() {
            Scope::Channel(self.handle(EntityKind::Channels, channel)?)
        } else if !source.is_empty() {
            Scope::Source(self.source(source)?)
        } else {
            Scope::Operator
        }))
    }

    /// The effect of a numbered message.
    pub fn number(&self, source: &str, epoch: u64, number: u64) -> Option<CommandEffect> {
        self.numbers.get(&(self.source(source)?, epoch, number)).copied()
    }

    /// The level of an item at a location.
    pub fn level(&self, sku: &str, location: &str) -> Option<&LevelState> {
        let names = (self.handle(EntityKind::Items, sku)?, self.handle(EntityKind::Locations, location)?);
        self.level_of.get(&names).map(|level| &self.levels[*level as usize])
    }

    pub(crate) fn handle(&self, kind: EntityKind, name: &str) -> Option<u32> {
        self.entities[kind as usize].iter().position(|known| known.name == name).map(|handle| handle as u32)
    }

    pub(crate) fn level_index(&self, item: u32, location: u32) -> Option<u32> {
        self.level_of.get(&(item, location)).copied()
    }

    pub(crate) fn entity_changed(
        &mut self,
        kind: EntityKind,
        name: &str,
        version: u64,
        removed: bool,
    ) -> Result<i64, Violation> {
        let entities = &mut self.entities[kind as usize];
        if entities.iter().all(|known| known.name != name) {
            entities.push(NamedVersion { name: name.to_owned(), version: 0, is_removed: true });
        }
        let known = entities.iter_mut().find(|known| known.name == name).expect("it is there by now");
        if version != known.version + 1 || (removed && known.is_removed) {
            return Violation::err(
                "versions have no gaps",
                format!("{kind:?} {name}: {version} after {}", known.version),
            );
        }
        (known.version, known.is_removed) = (version, removed);
        Ok(0)
    }

    /// Recomputes every counter from its parts.
    ///
    /// # Errors
    /// A counter is not the sum of its parts.
    pub fn recompute(&self) -> Result<(), Violation> {
        let mut sums: BTreeMap<u32, (i64, i64)> = BTreeMap::new();
        for hold in self.holds.values() {
            for line in &hold.lines {
                let sum = sums.entry(line.level).or_default();
                sum.0 += line.reserved;
                sum.1 += line.allocated;
            }
        }
        for (index, level) in self.levels.iter().enumerate() {
            let sum = sums.get(&(index as u32)).copied().unwrap_or_default();
            let units_by_expiry: i64 = level.units_by_expiry.values().sum();
            if sum != (level.reserved, level.allocated) || units_by_expiry != level.reserved {
                return Violation::err(
                    "counters equal their parts",
                    format!("level {index}: {level:?} against {sum:?}"),
                );
            }
        }
        Ok(())
    }

    fn event(&mut self, event: &Event, record: &Record<'_>) -> Result<i64, Violation> {
        match event {
            Event::Reserved { id, expire_ms, lines } => self.reserved(*id, *expire_ms, lines, record),
            Event::Extended { id, expire_ms } => self.extended(*id, *expire_ms),
            Event::Amended { id, lines } => self.amended(*id, lines),
            Event::Allocated { id, lines } => self.allocated(*id, false, lines),
            Event::Reacquired { id, lines } => self.allocated(*id, true, lines),
            Event::Released { id, lines } => self.removed(*id, lines, false),
            Event::Fulfilled { id, lines } => self.removed(*id, lines, true),
            Event::Expired { id, lines } => self.expired(*id, lines),
            Event::Transferred { id, to_location, lines } => self.transferred(*id, *to_location, lines),
            Event::StockChanged { item, location, state, delta, .. } => {
                let level = self.level_at(*item, *location);
                self.levels[level as usize].change(*state, delta.0).map(|()| delta.0)
            }
            Event::StockMoved { item, location, from, to, units } => {
                let level = self.level_at(*item, *location) as usize;
                self.levels[level].change(*from, -units.0)?;
                self.levels[level].change(*to, units.0).map(|()| 0)
            }
            Event::TransferShipped { transfer, route, lines } => self.shipped(transfer, *route, lines),
            Event::TransferReceived { transfer, route, lines } => self.arrived(*transfer, *route, lines),
            Event::TransferClosed { transfer, route, remainder, lines } => {
                self.closed(*transfer, *route, *remainder, lines)
            }
            Event::Upserted { kind, name, .. } | Event::UpsertedWithAttributes { kind, name, .. } => {
                let entities = &mut self.entities[*kind as usize];
                match entities.iter_mut().find(|known| *known.name == **name) {
                    // Putting it again is no new version, unless it was removed.
                    Some(known) => known.version += u64::from(std::mem::take(&mut known.is_removed)),
                    None => entities.push(NamedVersion { name: name.to_string(), version: 1, is_removed: false }),
                }
                Ok(0)
            }
            Event::EntityPut { entity } => self.entity_changed(entity.kind, &entity.name, entity.version, false),
            Event::EntityRemoved { kind, handle, version } => {
                match self.entities[*kind as usize].get(*handle as usize).map(|known| known.name.clone()) {
                    Some(name) => self.entity_changed(*kind, &name, *version, true),
                    None => Violation::err("only what exists is removed", format!("{event:?}")),
                }
            }
            Event::ClaimMade { .. } => self.claimed(event, record),
            Event::SourceRegistered { source, epoch } => self.registered(source, *epoch),
            Event::KeyCancelled { key } => self.cancelled(key, record),
            Event::MessageRejected { .. }
            | Event::MessageRepeated { .. }
            | Event::KeysForgotten { .. }
            | Event::ClockCorrected { .. }
            | Event::CommandRefused { .. }
            | Event::MessageParked { .. }
            | Event::MessageWaits { .. }
            | Event::MessageDead { .. }
            | Event::WaitEnded { .. }
            | Event::LetterSettled { .. }
            | Event::GapSkipped { .. }
            | Event::Echoed { .. } => Ok(0),
        }
    }

    fn cancelled(&mut self, key: &str, record: &Record<'_>) -> Result<i64, Violation> {
        let scope = record.origin.as_ref().map_or(Scope::Operator, Origin::scope);
        let effect = CommandEffect { sequence: self.sequence, units: 0, cancelled: true, refused: false, echo: false };
        let before = self.keys.entry(scope_code(scope)).or_default().insert(key.to_owned(), effect);
        if before.is_some_and(|before| !before.cancelled) {
            return Violation::err("one effect for each key", format!("{key} was cancelled after it was used"));
        }
        Ok(0)
    }

    fn remember(&mut self, origin: &Origin<'_>, record: &Record<'_>, units: i64) -> Result<(), Violation> {
        let is = |wanted: fn(&Event) -> bool| record.events.iter().any(wanted);
        let remembered = is(Event::remembers_refusal);
        let refused = is(|event| event.refusal().is_some());
        let repeated = is(|event| matches!(event, Event::MessageRepeated { .. }));
        let echo = is(|event| matches!(event, Event::Echoed { .. }));
        let mut effect = CommandEffect { sequence: self.sequence, units, cancelled: false, refused, echo };
        let scope = scope_code(origin.scope());
        let refusals = self.refusals.entry(scope).or_default();
        if remembered && refusals.insert(origin.key.to_owned(), self.sequence).is_some() {
            return Violation::err("one refusal for each key", origin.key);
        }
        if let Some(before) = refusals.get(origin.key).filter(|_| !refused && !origin.key.is_empty()) {
            let found = format!("{} was refused at {before} and executed at {}", origin.key, self.sequence);
            return Violation::err("a remembered refusal stands", found);
        }
        if !origin.key.is_empty() && !refused {
            let cancels = is(|event| matches!(event, Event::KeyCancelled { .. }));
            let own = cancels
                && record
                    .events
                    .iter()
                    .any(|event| matches!(event, Event::KeyCancelled { key } if **key == *origin.key));
            let keys = self.keys.entry(scope).or_default();
            match keys.get(origin.key) {
                Some(before) if repeated => effect = *before,
                Some(before) if !own => {
                    let found = format!("{} at {} and again at {}", origin.key, before.sequence, self.sequence);
                    return Violation::err("one effect for each key", found);
                }
                None if repeated => return Violation::err("a repeat has something to repeat", origin.key),
                _ => {
                    self.accepted += 1;
                    keys.insert(origin.key.to_owned(), effect);
                }
            }
        }
        origin.source.map_or(Ok(()), |position| self.consumed(position, effect))
    }

    pub(crate) fn level_at(&mut self, item: u32, location: u32) -> u32 {
        let next = self.levels.len() as u32;
        let level = *self.level_of.entry((item, location)).or_insert(next);
        if level == next {
            self.levels.push(LevelState { item, location, ..LevelState::default() });
        }
        level
    }

    fn add_held(&mut self, level: u32, reserved: i64, allocated: i64, expire_ms: i64) -> Result<(), Violation> {
        let now_ms = self.time_ms;
        let sequence = self.sequence;
        let found = self.levels.get_mut(level as usize).ok_or_else(|| Violation::new("names exist", "a level"))?;
        found.hold(reserved, allocated, expire_ms)?;
        if found.free(now_ms) < 0 {
            return Violation::err("no oversell", format!("at {sequence}: {found:?}"));
        }
        Ok(())
    }

    fn remove_held(&mut self, level: u32, reserved: i64, allocated: i64, expire_ms: i64) -> Result<(), Violation> {
        let found = self.levels.get_mut(level as usize).ok_or_else(|| Violation::new("names exist", "a level"))?;
        found.hold(-reserved, -allocated, expire_ms)
    }

    fn hold(&mut self, id: ReservationId) -> Result<&mut Hold, Violation> {
        self.holds.get_mut(&id).ok_or_else(|| Violation::new("names exist", format!("{id:?}")))
    }

    fn reserved(
        &mut self,
        id: ReservationId,
        expire_ms: i64,
        lines: &[LevelUnits],
        record: &Record<'_>,
    ) -> Result<i64, Violation> {
        let mut hold = Hold { expire_ms, ..Hold::default() };
        hold.key = record.origin.as_ref().map_or_else(String::new, |origin| origin.key.to_owned());
        for line in lines {
            self.add_held(line.level, line.units, 0, expire_ms)?;
            hold.line(line.level).reserved += line.units;
        }
        if self.holds.insert(id, hold).is_some() {
            return Violation::err("no reservation id twice", format!("{id:?}"));
        }
        Ok(lines.iter().map(|line| line.units).sum())
    }

    fn extended(&mut self, id: ReservationId, expire_ms: i64) -> Result<i64, Violation> {
        let now_ms = self.time_ms;
        let hold = self.hold(id)?;
        let before = std::mem::replace(&mut hold.expire_ms, expire_ms);
        let held: Vec<(u32, i64)> = hold.lines.iter().map(|line| (line.level, line.reserved)).collect();
        if before <= now_ms {
            return Violation::err("the lifecycle of a hold", format!("{id:?} was extended after it expired"));
        }
        for (level, units) in held {
            self.remove_held(level, units, 0, before)?;
            self.levels[level as usize].hold(units, 0, expire_ms)?;
        }
        Ok(0)
    }

    fn amended(&mut self, id: ReservationId, lines: &[LevelUnits]) -> Result<i64, Violation> {
        for line in lines {
            let hold = self.hold(id)?;
            let expire_ms = hold.expire_ms;
            let held = hold.line(line.level);
            let delta = line.units - held.reserved;
            held.reserved = line.units;
            held.released += (-delta).max(0);
            if delta > 0 {
                self.add_held(line.level, delta, 0, expire_ms)?
            } else {
                self.remove_held(line.level, -delta, 0, expire_ms)?
            }
        }
        Ok(lines.iter().map(|line| line.units).sum())
    }

    fn allocated(&mut self, id: ReservationId, reacquired: bool, lines: &[LevelUnits]) -> Result<i64, Violation> {
        for line in lines {
            let now_ms = self.time_ms;
            let hold = self.hold(id)?;
            let expire_ms = hold.expire_ms;
            let live = expire_ms > now_ms;
            let held = hold.line(line.level);
            let from = if reacquired { &mut held.expired } else { &mut held.reserved };
            *from -= line.units;
            held.allocated += line.units;
            if held.is_negative() || (!reacquired && !live) {
                return Violation::err(
                    "the lifecycle of a hold",
                    format!("{id:?} was allocated from what it did not have"),
                );
            }
            if reacquired {
                self.add_held(line.level, 0, line.units, expire_ms)?;
            } else {
                self.levels[line.level as usize].hold(-line.units, line.units, expire_ms)?;
            }
        }
        Ok(lines.iter().map(|line| line.units).sum())
    }

    fn removed(&mut self, id: ReservationId, lines: &[LineMove], fulfilled: bool) -> Result<i64, Violation> {
        for line in lines {
            let now_ms = self.time_ms;
            let hold = self.hold(id)?;
            let expire_ms = hold.expire_ms;
            let held = hold.line(line.level);
            held.reserved -= line.reserved;
            held.allocated -= line.allocated;
            let units = line.reserved + line.allocated;
            if fulfilled {
                held.fulfilled += units
            } else {
                held.released += units
            }
            if held.is_negative() || (line.reserved > 0 && expire_ms <= now_ms) {
                return Violation::err("the lifecycle of a hold", format!("{id:?} gave up what it did not have"));
            }
            self.remove_held(line.level, line.reserved, line.allocated, expire_ms)?;
            if fulfilled {
                self.levels[line.level as usize].on_hand -= units;
            }
        }
        Ok(lines.iter().map(|line| line.reserved + line.allocated).sum())
    }

    fn expired(&mut self, id: ReservationId, lines: &[LevelUnits]) -> Result<i64, Violation> {
        for line in lines {
            let now_ms = self.time_ms;
            let hold = self.hold(id)?;
            let expire_ms = hold.expire_ms;
            let held = hold.line(line.level);
            held.reserved -= line.units;
            held.expired += line.units;
            if held.is_negative() || expire_ms > now_ms {
                return Violation::err(
                    "the lifecycle of a hold",
                    format!("{id:?} expired at {now_ms}, due at {expire_ms}"),
                );
            }
            self.remove_held(line.level, line.units, 0, expire_ms)?;
        }
        Ok(0)
    }

    fn transferred(&mut self, id: ReservationId, to: u32, lines: &[LineMove]) -> Result<i64, Violation> {
        for line in lines {
            let item = self.levels.get(line.level as usize).map(|level| level.item);
            let target = self.level_at(item.ok_or_else(|| Violation::new("names exist", "a level"))?, to);
            let hold = self.hold(id)?;
            let expire_ms = hold.expire_ms;
            let held = hold.line(line.level);
            held.reserved -= line.reserved;
            held.allocated -= line.allocated;
            if held.is_negative() {
                return Violation::err("the lifecycle of a hold", format!("{id:?} moved what it did not have"));
            }
            let held = hold.line(target);
            held.reserved += line.reserved;
            held.allocated += line.allocated;
            self.remove_held(line.level, line.reserved, line.allocated, expire_ms)?;
            self.add_held(target, line.reserved, line.allocated, expire_ms)?;
        }
        Ok(lines.iter().map(|line| line.reserved + line.allocated).sum())
    }
}
