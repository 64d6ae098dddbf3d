//! The rules of authority compiled for look-ups: who holds a right on a state at a place.

use hashbrown::HashMap;

use super::rule::{AuthorityRule, Holder, Place, Right, SourceKind};
use crate::entity::{EntityValue, LocationType};
use crate::ids::Handle;
use crate::one_or_many::OneOrMany;
use crate::planted;
use crate::states::StockState;

/// Rights that are in force together: as soon as one rule grants one of them to anybody, whoever has none of its kind has none.
const PARTS: usize = 3;

/// A right on a state, if it is about states.
pub(crate) type Cell = (Right, Option<StockState>);

/// The compiled table. It follows from the rules and is never stored.
#[derive(Debug, Default)]
pub(crate) struct AuthorityTable {
    holders: HashMap<(Cell, Place), OneOrMany<Holder>>,
    in_force: [bool; PARTS],
}

/// Whoever a command comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer<'l> {
    /// Name of its source; `None` for a command that comes from no source.
    pub source: Option<&'l str>,
    /// The kind of that source, if it has a profile.
    pub kind: Option<SourceKind>,
}

impl AuthorityTable {
    /// Compiles rules; `None` without any.
    pub fn of<'l>(rules: impl Iterator<Item = &'l EntityValue>) -> Option<Self> {
        let mut table = AuthorityTable::default();
        for rule in rules.filter_map(rule_of) {
            for cell in rule.cells() {
                table.in_force[part(cell.0)] = true;
                table.holders.entry((cell, rule.place)).or_default().push(rule.holder.clone());
            }
        }
        (!table.holders.is_empty()).then_some(table)
    }

    /// Whether rules say who has this right. If not, everybody has.
    pub fn governs(&self, right: Right) -> bool {
        self.in_force[part(right)]
    }

    /// Those who have a right at a location: what rules say of the location itself counts before what they say of its type, and
    /// that before what they say of all.
    pub fn holders(&self, cell: Cell, location: Handle, kind: Option<LocationType>) -> &[Holder] {
        let mut places = [Some(Place::Location(location)), kind.map(Place::Type), Some(Place::Everywhere)];
        if planted::is("type_before_location") {
            places.swap(0, 1);
        }
        let named = |place: Option<Place>| self.holders.get(&(cell, place?));
        places.into_iter().find_map(named).map_or(&[], |holders| holders)
    }
}

impl Writer<'_> {
    /// Whether rights of a holder are this writer's.
    pub fn is(&self, holder: &Holder) -> bool {
        match holder {
            Holder::Source(name) => self.source == Some(name),
            Holder::Kind(kind) => self.source.is_some() && self.kind == Some(*kind),
            Holder::Operator => self.source.is_none(),
        }
    }
}

/// The rule that an entity is.
pub(crate) fn rule_of(value: &EntityValue) -> Option<&AuthorityRule> {
    match value {
        EntityValue::AuthorityRule(rule) => Some(rule),
        _ => None,
    }
}

fn part(right: Right) -> usize {
    match right {
        Right::Set | Right::Adjust | Right::Report => 0,
        Right::Promise => 1,
        Right::Order => 2,
    }
}
