//! Rules of authority and profiles that come and go, and messages that pass on others.

use invengine_ledger::authority::{AuthorityRuleDraft, Holder, PlaceDraft, Right, SourceKind};
use invengine_ledger::command::{Body, Upsert};
use invengine_ledger::entity::{LocationType, SourceProfileDraft};
use invengine_ledger::{EntityDraft, EntityKind, StockState};
use proptest::collection::vec;
use proptest::prelude::*;

use super::player::{CHANNELS, LOCATIONS, RULES, SOURCES, SPARE};
use super::{Operation, SourceNumber, expected_version};

/// A rule.
#[derive(Clone, Debug)]
pub struct RuleChoice {
    name: usize,
    holder: usize,
    rights: Vec<Right>,
    states: Vec<StockState>,
    place: usize,
    expected: Option<u64>,
}

/// A profile.
#[derive(Clone, Debug)]
pub struct ProfileChoice {
    name: usize,
    kind: usize,
    channels: Vec<usize>,
    locations: Vec<usize>,
    expected: Option<u64>,
}

/// The last one does not exist.
const PLACES: [&str; 5] = [LOCATIONS[0], LOCATIONS[1], LOCATIONS[2], SPARE, LOCATIONS[3]];
const KINDS: [SourceKind; 2] = [SourceKind::Erp, SourceKind::Wms];

/// Puts and deletions of rules and profiles.
pub fn operation() -> impl Strategy<Value = Operation> {
    use Right::{Adjust, Order, Promise, Report, Set};
    let rights = prop::sample::select(vec![
        vec![Set],
        vec![Set],
        vec![Set],
        vec![Set, Adjust, Report],
        vec![Set, Adjust, Report],
        vec![Set, Report],
        vec![Report],
        vec![Adjust, Report],
        vec![Promise],
        vec![Promise, Report, Set],
        vec![Order],
    ]);
    let states = prop_oneof![
        4 => Just(Vec::new()),
        1 => Just(vec![StockState::OnHand]),
        1 => Just(vec![StockState::Damaged, StockState::Returned]),
    ];
    let holder = prop_oneof![9 => Just(0usize), 14 => 1..5usize, 1 => Just(5)];
    let place = prop_oneof![4 => Just(0usize), 2 => 1..3usize, 5 => 3..7usize, 1 => Just(7)];
    let rule = (0..RULES.len(), holder, rights, states, place, expected_version()).prop_map(
        |(name, holder, rights, states, place, expected)| {
            Operation::Rule(RuleChoice { name, holder, rights, states, place, expected })
        },
    );
    let some = |choice: BoxedStrategy<usize>| prop_oneof![2 => Just(Vec::new()), 1 => vec(choice, 1..3)];
    let channels = some(prop_oneof![6 => 1..3usize, 1 => Just(3usize)].boxed());
    let locations = some(prop_oneof![20 => 0..4usize, 1 => Just(4usize)].boxed());
    let profile = (0..2usize, 0..2usize, channels, locations, expected_version()).prop_map(
        |(name, kind, channels, locations, expected)| {
            Operation::Profile(ProfileChoice { name, kind, channels, locations, expected })
        },
    );
    let kind = prop_oneof![2 => Just(EntityKind::AuthorityRules), 1 => Just(EntityKind::SourceProfiles)];
    let delete = (kind, 0..3usize, prop_oneof![5 => Just(None), 1 => (0..4u64).prop_map(Some)])
        .prop_map(|(kind, name, expected)| Operation::Delete { kind, name, expected });
    prop_oneof![7 => rule, 3 => profile, 4 => delete]
}

/// A rule that says who owns all stock.
pub fn owner() -> impl Strategy<Value = Operation> {
    (0..RULES.len(), 0..5usize, 0..4usize).prop_map(|(name, holder, place)| {
        let rights = vec![Right::Set, Right::Adjust, Right::Report];
        Operation::Rule(RuleChoice { name, holder, rights, states: Vec::new(), place, expected: None })
    })
}

/// Which message of another source a command passes on.
pub fn origin() -> impl Strategy<Value = Option<SourceNumber>> {
    let source = || 0..2usize;
    let number = prop_oneof![
        3 => (source(), 1..4u64).prop_map(|(source, back)| SourceNumber::Old(source, back)),
        2 => source().prop_map(SourceNumber::Next),
        1 => source().prop_map(SourceNumber::OldEpoch),
        1 => source().prop_map(SourceNumber::NewEpoch),
        1 => Just(SourceNumber::OfNobody),
    ];
    prop_oneof![9 => Just(None), 1 => number.prop_map(Some)]
}

/// How long ago happened what a command reports; negative for later.
pub fn event_age() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![1 => Just(None), 2 => prop::sample::select(vec![0i64, 0, 500, 5_000, 60_000, 60_000, -500]).prop_map(Some)]
}

impl RuleChoice {
    /// The put of this rule.
    pub fn body(&self) -> Body<'static> {
        let place = match self.place {
            0 => PlaceDraft::Everywhere,
            number @ 1..3 => PlaceDraft::Type(LocationType::ALL[number]),
            number => PlaceDraft::Location(PLACES[number - 3]),
        };
        let holder = match self.holder {
            0 => Holder::Operator,
            number @ 1..3 => Holder::Source(SOURCES[number - 1].into()),
            number @ 3..5 => Holder::Kind(KINDS[number - 3]),
            _ => Holder::Source("nobody".into()),
        };
        let (rights, states) = (self.rights.clone(), self.states.clone());
        let value = EntityDraft::AuthorityRule(AuthorityRuleDraft { holder, rights, states, place });
        let entries = vec![Upsert { name: RULES[self.name], expected_version: self.expected, value }];
        Body::Upsert { kind: EntityKind::AuthorityRules, entries }
    }
}

impl ProfileChoice {
    /// The put of this profile.
    pub fn body(&self) -> Body<'static> {
        let names = |list: &[usize], names: &[&'static str]| {
            let mut names: Vec<_> = list.iter().map(|number| names[*number]).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        let (channels, locations) = (names(&self.channels, &CHANNELS), names(&self.locations, &PLACES));
        let value = EntityDraft::SourceProfile(SourceProfileDraft { kind: KINDS[self.kind], channels, locations });
        let entries = vec![Upsert { name: SOURCES[self.name], expected_version: self.expected, value }];
        Body::Upsert { kind: EntityKind::SourceProfiles, entries }
    }
}
