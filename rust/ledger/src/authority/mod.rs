//! Authority: who may assert which state where, what becomes of numbers from others, and messages that only pass on what is known
//! already.

mod check;
mod claims;
mod rule;
mod table;

use std::sync::OnceLock;

pub(crate) use check::ClaimedLines;
pub use claims::{CLAIMS_MAX, Claim, ClaimKey, ClaimReason};
pub(crate) use claims::{Claims, LastChanges};
pub use rule::{AuthorityRule, AuthorityRuleDraft, Holder, Place, PlaceDraft, Right, SourceKind};
use table::{AuthorityTable, Cell, Writer};

use crate::entity::{Attributes, EntityKind, EntityValue, LocationType, SourceProfile};
use crate::event::{Event, StockKind};
use crate::ids::{Handle, LevelIndex};
use crate::ledger::Ledger;
use crate::one_or_many::OneOrMany;
use crate::planted;
use crate::record::{Origin, OriginSource, Record};
use crate::states::StockState;
use crate::stock_transfer::{Remainder, Route};

/// What a ledger knows beside its entities: the compiled rules, claims, and when levels changed.
#[derive(Debug, Default)]
pub(crate) struct Authority {
    /// Compiled at first use, and again after a rule was put or removed.
    table: OnceLock<Option<Box<AuthorityTable>>>,
    pub claims: Claims,
    pub changes: LastChanges,
}

impl Authority {
    /// Rules were put or removed.
    pub fn forget_table(&mut self) {
        self.table.take();
    }
}

impl Ledger {
    /// The compiled rules, if there are any.
    #[inline]
    fn authority_table(&self) -> Option<&AuthorityTable> {
        let rules = || self.entities(EntityKind::AuthorityRules).from(0).map(|(_, rule)| rule);
        self.authority.table.get_or_init(|| AuthorityTable::of(rules()).map(Box::new)).as_deref()
    }

    /// Whether no rule was ever put, which is quicker to say than whether there is one.
    #[inline]
    fn never_had_rules(&self) -> bool {
        self.entities(EntityKind::AuthorityRules).names().is_empty()
    }

    /// The profile of a source, if it has one.
    fn profile_of(&self, source: &str) -> Option<&SourceProfile> {
        let profiles = self.entities(EntityKind::SourceProfiles);
        match profiles.value(profiles.names().find(source)?)? {
            EntityValue::SourceProfile(profile) => Some(profile),
            _ => None,
        }
    }

    fn writer(&self, source: Option<OriginSource>) -> Writer<'_> {
        let source = source.and_then(|position| self.sources.get(position.source)).map(|source| &*source.name);
        Writer { source, kind: source.and_then(|name| self.profile_of(name)).map(|profile| profile.kind) }
    }

    fn type_of(&self, location: Handle) -> Option<LocationType> {
        match self.entities(EntityKind::Locations).labels(location)?.attributes {
            Attributes::Location(kind) => Some(kind),
            _ => None,
        }
    }

    /// Whether rules say who has this right. If not, everybody has.
    pub fn is_governed(&self, right: Right) -> bool {
        self.authority_table().is_some_and(|table| table.governs(right))
    }

    /// Those who have a right at a location, by the rules that count there; for rights that are about states on this one.
    pub fn holders_of(&self, right: Right, state: StockState, location: Handle) -> &[Holder] {
        let cell: Cell = (right, right.is_of_stock().then_some(state));
        self.authority_table().map_or(&[], |table| table.holders(cell, location, self.type_of(location)))
    }

    /// The claims behind one, in order; all without one.
    pub fn claims_after(&self, last: Option<ClaimKey>) -> impl Iterator<Item = (&ClaimKey, &Claim)> {
        self.authority.claims.after(last)
    }

    /// The last claim, in order, before those of a source.
    pub fn last_claim_before(&self, source: Handle) -> Option<ClaimKey> {
        self.authority.claims.last_before(source)
    }

    /// The claim of a writer about a level and state.
    pub fn claim(&self, key: &ClaimKey) -> Option<&Claim> {
        self.authority.claims.get(key)
    }

    /// Number of claims of a source, or of commands that come from none.
    pub fn claim_count(&self, source: Option<Handle>) -> usize {
        self.authority.claims.count(source)
    }

    /// Whether there is anything for which physical changes matter.
    #[inline]
    pub(crate) fn notes_changes(&self) -> bool {
        !self.authority.claims.is_empty() || !self.never_had_rules()
    }

    /// Notes what an event that was applied, and no other, means for claims: its writer's older claim is settled by a number that took
    /// effect, and counts from before a physical change are recognised.
    #[cold]
    pub(crate) fn note_physical_change(&mut self, event: &Event, record: &Record<'_>) {
        if let Event::StockChanged { item, location, kind: StockKind::Set | StockKind::Counted, state, .. } = event
            && !planted::is("settled_claim_stays")
            && let Some(level) = self.levels.find(*item, *location)
        {
            let source = source_of(record.origin.as_ref());
            self.authority.claims.remove(&ClaimKey { source, level, state: *state });
        }
        if self.is_governed(Right::Set) {
            let event_time_ms = record.origin.as_ref().and_then(|origin| origin.event_time_ms);
            let time_ms = event_time_ms.map_or(record.time_ms, |time_ms| time_ms.min(record.time_ms));
            for level in self.physically_changed(event).iter() {
                self.authority.changes.note(*level, time_ms);
            }
        }
    }

    /// The levels whose goods an event moved.
    fn physically_changed(&self, event: &Event) -> OneOrMany<LevelIndex> {
        let at = |item: Handle, location: Handle| self.levels.find(item, location);
        match event {
            Event::Fulfilled { lines, .. } => lines.iter().map(|line| line.level).collect(),
            Event::StockChanged { item, location, .. } | Event::StockMoved { item, location, .. } => {
                at(*item, *location).into_iter().collect()
            }
            Event::TransferShipped { route, lines, .. } => {
                lines.iter().filter_map(|line| at(line.item, route.origin)).collect()
            }
            Event::TransferReceived { route: Route { origin, destination }, lines, .. } => {
                let arrived = lines.iter().filter_map(|line| at(line.item, *destination));
                let back = lines.iter().filter(|line| line.sent_back > 0);
                arrived.chain(back.filter_map(|line| at(line.item, *origin))).collect()
            }
            Event::TransferClosed { route, remainder: Remainder::SentBack, lines, .. } => {
                lines.iter().filter_map(|line| at(line.item, route.origin)).collect()
            }
            _ => OneOrMany::default(),
        }
    }

    /// Records a claim; returns the level that it is about, or `None` if the event does not apply to the state.
    pub(crate) fn apply_claim(
        &mut self,
        (item, location, state): (Handle, Handle, StockState),
        (quantity, reason): (i64, ClaimReason),
        record: &Record<'_>,
    ) -> Option<LevelIndex> {
        if item as usize >= self.items().len() || location as usize >= self.locations().len() {
            return None;
        }
        let source = source_of(record.origin.as_ref());
        if source.is_some_and(|source| self.sources.get(source).is_none()) {
            return None;
        }
        let level = self.level_at(item, location);
        let event_time_ms = record.origin.and_then(|origin| origin.event_time_ms);
        let claim = Claim { quantity, reason, sequence: self.sequence, time_ms: record.time_ms, event_time_ms };
        self.authority.claims.put(ClaimKey { source, level, state }, claim);
        Some(level)
    }
}

fn source_of(origin: Option<&Origin<'_>>) -> Option<Handle> {
    Some(origin?.source?.source)
}
