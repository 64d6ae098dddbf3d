//! Authority in the reference model: whether each record was its writer's right is found by reading all rules, and claims are
//! kept by hand.

use std::collections::{BTreeMap, HashMap};

use invengine_ledger::authority::{AuthorityRule, Holder, Place, Right};
use invengine_ledger::entity::{Attributes, LocationType, SourceProfile, VersionedEntity};
use invengine_ledger::event::StockKind;
use invengine_ledger::stock_transfer::Remainder;
use invengine_ledger::{ClaimReason, EntityKind, EntityValue, Event, Ledger, Record, StockState};

use crate::model::{Model, Violation};

const RIGHTS: &str = "nobody does what is not their right";
const CLAIMS: &str = "a claim is the newest number of its writer that had no effect";

/// A claim: source, level, state.
type ClaimKey = (Option<u32>, u32, StockState);

/// Rules, profiles and claims.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authority {
    rules: BTreeMap<String, AuthorityRule>,
    profiles: BTreeMap<String, SourceProfile>,
    types: HashMap<u32, LocationType>,
    /// Units and position.
    claims: BTreeMap<ClaimKey, (i64, u64)>,
    /// When goods of a level last moved, as far as rules were in force.
    moved: HashMap<u32, i64>,
}

fn is_of_stock(right: Right) -> bool {
    matches!(right, Right::Set | Right::Adjust | Right::Report)
}

impl Authority {
    fn is_governed(&self, right: Right) -> bool {
        let same = |other: &Right| *other == right || (is_of_stock(*other) && is_of_stock(right));
        self.rules.values().any(|rule| rule.rights.iter().any(same))
    }

    fn put(&mut self, entity: &VersionedEntity) {
        match &entity.value {
            EntityValue::AuthorityRule(rule) => drop(self.rules.insert(entity.name.to_string(), rule.clone())),
            EntityValue::SourceProfile(profile) => {
                self.profiles.insert(entity.name.to_string(), profile.clone());
            }
            _ => {}
        }
    }

    /// Whether a writer may do something to a state at a location.
    fn may(&self, source: Option<&str>, right: Right, state: StockState, location: u32) -> bool {
        let profile = source.and_then(|source| self.profiles.get(source));
        if profile.is_some_and(|profile| !profile.locations.is_empty() && !profile.locations.contains(&location)) {
            return false;
        }
        if !self.is_governed(right) {
            return true;
        }
        let is = |holder: &Holder| match holder {
            Holder::Operator => source.is_none(),
            Holder::Source(name) => source == Some(&**name),
            Holder::Kind(kind) => profile.is_some_and(|profile| profile.kind == *kind),
        };
        let grants = |rule: &&AuthorityRule| {
            let about = !is_of_stock(right) || rule.states.is_empty() || rule.states.contains(&state);
            rule.rights.contains(&right) && about
        };
        let of_type = self.types.get(&location).map(|kind| Place::Type(*kind));
        for place in [Some(Place::Location(location)), of_type, Some(Place::Everywhere)] {
            let mut rules = self.rules.values().filter(|rule| Some(rule.place) == place).filter(grants).peekable();
            if rules.peek().is_some() {
                return rules.any(|rule| is(&rule.holder));
            }
        }
        false
    }
}

impl Model {
    /// What an event put or removed that decides rights later.
    pub(crate) fn note_authority(&mut self, event: &Event) {
        match event {
            Event::EntityPut { entity } => self.authority.put(entity),
            Event::EntityRemoved { kind, handle, .. } => {
                let name = self.entity_name(*kind, *handle);
                match kind {
                    EntityKind::AuthorityRules => drop(self.authority.rules.remove(&name)),
                    EntityKind::SourceProfiles => drop(self.authority.profiles.remove(&name)),
                    _ => {}
                }
            }
            Event::Upserted { kind: EntityKind::Locations, name, .. } => {
                let location = self.handle(EntityKind::Locations, name);
                location.and_then(|location| self.authority.types.remove(&location));
            }
            Event::UpsertedWithAttributes { kind: EntityKind::Locations, name, labels } => {
                if let (Some(location), Attributes::Location(kind)) =
                    (self.handle(EntityKind::Locations, name), &labels.attributes)
                {
                    self.authority.types.insert(location, *kind);
                }
            }
            _ => {}
        }
    }

    /// Checks a record before it is applied: its writer had the right to each of its events.
    pub(crate) fn check_rights(&self, record: &Record<'_>) -> Result<(), Violation> {
        let Some(origin) = &record.origin else { return Ok(()) };
        let source = origin.source.map(|position| self.source_name(position.source));
        let source = source.as_deref();
        let channels = source.and_then(|source| self.authority.profiles.get(source)).map(|profile| &profile.channels);
        let did_something = record.events.iter().any(|event| event.refusal().is_none());
        let is_echo = record.events.iter().any(|event| matches!(event, Event::Echoed { .. }));
        let repeats = record.events.iter().any(|event| matches!(event, Event::MessageRepeated { .. }));
        if let (Some(channels), Some(channel)) = (channels, origin.channel)
            && did_something
            && !is_echo
            && !repeats
            && !channels.is_empty()
            && !channels.contains(&channel)
        {
            return Violation::err(RIGHTS, format!("{source:?} on channel {channel}"));
        }
        for event in record.events.iter() {
            for (right, state, location) in self.needed(event) {
                if !self.authority.may(source, right, state, location) {
                    return Violation::err(RIGHTS, format!("{source:?} has no {right:?}: {event:?}"));
                }
            }
            let counted_ms = origin.event_time_ms.unwrap_or(i64::MAX);
            let is_late = |item: u32, location: u32| {
                let moved_ms = self.level_index(item, location).and_then(|level| self.authority.moved.get(&level));
                self.authority.is_governed(Right::Set) && moved_ms.is_some_and(|moved_ms| counted_ms < *moved_ms)
            };
            match event {
                Event::StockChanged { item, location, kind: StockKind::Counted, .. } if is_late(*item, *location) => {
                    return Violation::err(RIGHTS, format!("a late count took effect: {event:?}"));
                }
                Event::ClaimMade { item, location, state, reason, .. } => {
                    let may = self.authority.may(source, Right::Set, *state, *location);
                    let is_right = match reason {
                        ClaimReason::NotOwner => !may,
                        ClaimReason::AsOfStale => may && is_late(*item, *location),
                    };
                    if !is_right {
                        return Violation::err(CLAIMS, format!("{source:?}: {event:?}"));
                    }
                }
                Event::Echoed { source, epoch, number } => {
                    let known = self.source_position(*source);
                    if known.is_none_or(|(now, last)| *epoch > now || (*epoch == now && *number > last)) {
                        return Violation::err("an echo was applied before", format!("{event:?} at {known:?}"));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The rights that an event needs.
    fn needed(&self, event: &Event) -> Vec<(Right, StockState, u32)> {
        let on_hand = StockState::OnHand;
        let at = |right, location: u32| vec![(right, on_hand, location)];
        match event {
            Event::StockChanged { location, kind, state, .. } => {
                let right = match kind {
                    StockKind::Received | StockKind::Returned => Right::Report,
                    StockKind::Adjusted => Right::Adjust,
                    StockKind::Set | StockKind::Counted => Right::Set,
                };
                vec![(right, *state, *location)]
            }
            Event::StockMoved { location, from, to, .. } => {
                vec![(Right::Adjust, *from, *location), (Right::Adjust, *to, *location)]
            }
            Event::TransferShipped { route, .. } => at(Right::Report, route.origin),
            Event::TransferReceived { route, lines, .. } => {
                lines.iter().map(|line| (Right::Report, line.state, route.destination)).collect()
            }
            Event::TransferClosed { route, remainder: Remainder::Lost, .. } => at(Right::Report, route.destination),
            Event::TransferClosed { route, .. } => at(Right::Report, route.origin),
            Event::Expired { .. } => Vec::new(),
            event => {
                let Some((_, lines)) = event.hold() else { return Vec::new() };
                let right = if matches!(event, Event::Fulfilled { .. }) { Right::Report } else { Right::Promise };
                let places = lines.units().filter_map(|line| self.levels.get(line.level as usize));
                let mut needed: Vec<_> = places.map(|level| (right, on_hand, level.location)).collect();
                if let Event::Transferred { to_location, .. } = event {
                    needed.push((right, on_hand, *to_location));
                }
                needed
            }
        }
    }

    /// A number that has no effect.
    pub(crate) fn claimed(&mut self, event: &Event, record: &Record<'_>) -> Result<i64, Violation> {
        if let Event::ClaimMade { item, location, state, quantity, .. } = event {
            let level = self.level_at(*item, *location);
            let claim = (quantity.0, self.sequence);
            self.authority.claims.insert((writer(record), level, *state), claim);
        }
        Ok(0)
    }

    /// After an event: a number that took effect ends its writer's claim, and goods moved.
    pub(crate) fn settle(&mut self, event: &Event, record: &Record<'_>) {
        if let Event::StockChanged { item, location, kind: StockKind::Set | StockKind::Counted, state, .. } = event {
            let level = self.level_at(*item, *location);
            self.authority.claims.remove(&(writer(record), level, *state));
        }
        if !self.authority.is_governed(Right::Set) {
            return;
        }
        let said_ms = record.origin.as_ref().and_then(|origin| origin.event_time_ms);
        let time_ms = said_ms.map_or(record.time_ms, |said_ms| said_ms.min(record.time_ms));
        for level in self.levels_moved(event) {
            let moved_ms = self.authority.moved.entry(level).or_insert(time_ms);
            *moved_ms = time_ms.max(*moved_ms);
        }
    }

    fn levels_moved(&self, event: &Event) -> Vec<u32> {
        let places: Vec<(u32, u32)> = match event {
            Event::Fulfilled { lines, .. } => return lines.iter().map(|line| line.level).collect(),
            Event::StockChanged { item, location, .. } | Event::StockMoved { item, location, .. } => {
                vec![(*item, *location)]
            }
            Event::TransferShipped { route, lines, .. } => lines.iter().map(|line| (line.item, route.origin)).collect(),
            Event::TransferReceived { route, lines, .. } => {
                let back = lines.iter().filter(|line| line.sent_back > 0).map(|line| (line.item, route.origin));
                lines.iter().map(|line| (line.item, route.destination)).chain(back).collect()
            }
            Event::TransferClosed { route, remainder: Remainder::SentBack, lines, .. } => {
                lines.iter().map(|line| (line.item, route.origin)).collect()
            }
            _ => Vec::new(),
        };
        places.into_iter().filter_map(|(item, location)| self.level_index(item, location)).collect()
    }

    /// Compares claims with those of a ledger that folded the same journal.
    ///
    /// # Errors
    /// They differ.
    pub fn compare_claims(&self, ledger: &Ledger) -> Result<(), Violation> {
        let claims = ledger.claims_after(None);
        let found: Vec<_> =
            claims.map(|(key, claim)| ((key.source, key.level, key.state), (claim.quantity, claim.sequence))).collect();
        let expected: Vec<_> = self.authority.claims.iter().map(|(key, claim)| (*key, *claim)).collect();
        if found == expected {
            Ok(())
        } else {
            Violation::err(CLAIMS, format!("{found:?}, the journal says {expected:?}"))
        }
    }
}

fn writer(record: &Record<'_>) -> Option<u32> {
    Some(record.origin.as_ref()?.source?.source)
}
