//! The fast ledger and the slow, obvious model give the same answers and have the same quantities after every step of any
//! history.

mod harness;
mod history;
mod labels;
mod model;

use std::collections::BTreeMap;

use invengine_ledger::EntityKind;
use invengine_ledger::authority::Right;
use invengine_ledger::command::Body;
use invengine_ledger::{
    ClaimReason, Command, DEDUPE_WINDOW_MS, Effect, EntityValue, LedgerOptions, Reason, Scope, StockState,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use harness::Harness;
use harness::answers::{LevelQuantities, Outcome, Reply, described as described_transfer};
use harness::authority;
use history::{Player, Step, Turn, history};
use labels::{label, wanted_labels};
use model::entities::Entity;
use model::{Hold, Model, Writer};

/// The part of a command to which a rejection's field refers.
fn part(command: &Command<'_>, field: &str) -> String {
    let target = match &command.body {
        Body::Extend { target, .. } | Body::Amend { target, .. } | Body::Transfer { target, .. } => Some(target),
        Body::Allocate(target) | Body::Release(target) | Body::Fulfill(target) => Some(target),
        _ => None,
    };
    match (field, &command.body, target) {
        ("command", body, _) => body.name().into(),
        ("lines", Body::Reserve { lines, .. } | Body::Amend { lines, .. }, _) => {
            format!("{:?}", lines.iter().map(|line| (line.sku, line.location)).collect::<Vec<_>>())
        }
        ("lines", Body::Stock { lines, .. }, _) => {
            format!("{:?}", lines.iter().map(|line| (line.sku, line.location, line.state)).collect::<Vec<_>>())
        }
        ("lines.quantity", Body::Reserve { lines, .. } | Body::Amend { lines, .. }, _) => format!("{lines:?}"),
        ("lines", Body::MoveQuantity { lines }, _) => {
            format!("{:?}", lines.iter().map(|line| (line.sku, line.location, line.from, line.to)).collect::<Vec<_>>())
        }
        ("lines.quantity", Body::MoveQuantity { lines }, _) => format!("{lines:?}"),
        ("lines.quantity" | "lines.delta" | "lines.expected_quantity", Body::Stock { lines, .. }, _) => {
            format!("{lines:?}")
        }
        ("transfer", Body::StockTransfer(asked), _) => asked.transfer().into(),
        (
            "from_location" | "to_location" | "lines" | "remainder" | "expected_version",
            Body::StockTransfer(asked),
            _,
        ) => {
            format!("{asked:?}")
        }
        ("context", ..) => format!("{:?} {:?}", command.context.order_ref, command.context.holder),
        ("ttl", Body::Reserve { ttl_ms, .. } | Body::Extend { ttl_ms, .. }, _) => ttl_ms.to_string(),
        ("allow_partial", Body::Reserve { allow_partial, .. }, _) => allow_partial.to_string(),
        ("replace_own", Body::Reserve { replace_own, .. }, _) => replace_own.to_string(),
        ("to_location", Body::Transfer { to_location, .. }, _) => (*to_location).into(),
        ("target", _, Some(target)) => format!("{:?}", target.by),
        ("target.lines", _, Some(target)) => format!("{:?}", target.lines),
        ("target.expected_version", _, Some(target)) => target.expected_version.to_string(),
        (
            "items" | "locations" | "channels" | "location_groups" | "source_profiles" | "authority_rules",
            Body::Upsert { entries, .. },
            _,
        ) => {
            format!("{entries:?}")
        }
        (
            "items" | "locations" | "channels" | "location_groups" | "stock_transfers" | "source_profiles"
            | "authority_rules",
            Body::Delete { entries, .. },
            _,
        ) => {
            format!("{entries:?}")
        }
        ("source_id", Body::RegisterSource { source }, _) => (*source).into(),
        ("context.order_ref", ..) => command.context.order_ref.into(),
        ("context.holder", ..) => command.context.holder.into(),
        ("context.reason_code", Body::Stock { .. } | Body::MoveQuantity { .. } | Body::StockTransfer(_), _) => {
            command.context.reason_code.into()
        }
        ("context.reference", Body::Stock { .. } | Body::MoveQuantity { .. } | Body::StockTransfer(_), _) => {
            command.context.reference.into()
        }
        ("body", ..) => format!("{:?} {:?}", command.context, command.body),
        _ => panic!("{field} is no part of {command:?}"),
    }
}

/// Few enough that histories reach the bound.
const CLAIMS_MAX: usize = 4;

/// The ledger and the model side by side.
struct Pair {
    harness: Harness,
    model: Model,
    player: Player,
    /// Counts by command and outcome.
    seen: BTreeMap<String, u32>,
    /// Commands that were accepted, or whose refusal is remembered, by their position.
    written: BTreeMap<u64, Command<'static>>,
}

impl Pair {
    fn new(window_ms: i64) -> Self {
        let mut pair = Pair {
            harness: Harness::new(LedgerOptions {
                dedupe_window_ms: window_ms,
                claims_max: CLAIMS_MAX,
                ..LedgerOptions::new("main")
            }),
            model: Model::new(window_ms, CLAIMS_MAX),
            player: Player::default(),
            seen: BTreeMap::new(),
            written: BTreeMap::new(),
        };
        for command in Player::opening() {
            pair.command(&command);
        }
        pair
    }

    fn step(&mut self, step: &Step) {
        let sources = |name: &str| self.model.sources.get(name).map_or((0, 0), |source| (source.epoch, source.last));
        match self.player.turn(step, self.harness.now_ms, &sources) {
            Turn::Command(command) => self.command(&command),
            Turn::Wait(ms) => self.harness.wait(ms),
            Turn::Sweep => assert_eq!(self.harness.sweep(), self.model.sweep(self.harness.now_ms)),
            Turn::Forget => assert_eq!(self.harness.forget(), self.model.forget(self.harness.now_ms)),
            Turn::Restart => {
                self.harness.restart();
                self.model.restart();
            }
            Turn::Cut => self.harness.cut(),
        }
        self.compare();
    }

    fn command(&mut self, command: &Command<'static>) {
        let before = self.harness.ledger.sequence();
        let reply = self.harness.ask(command);
        let reply = self.without_difference(command, reply);
        let new_id = match &reply {
            Reply::Accepted { replayed: false, outcome: Outcome::Reserved(hold), .. } => Some(hold.id),
            _ => None,
        };
        assert_eq!(reply, self.model.execute(command, self.harness.now_ms, new_id), "{command:?}");
        let written = self.harness.ledger.sequence() > before;
        let mut claims = self.harness.ledger.claims_after(None).map(|(_, claim)| claim);
        let is_stale = claims.any(|claim| claim.sequence > before && claim.reason == ClaimReason::AsOfStale);
        *self.seen.entry(label(command, &reply, written, is_stale)).or_default() += 1;
        if written {
            self.written.insert(self.harness.ledger.sequence(), command.clone());
        }
        match reply {
            Reply::Accepted { replayed: false, outcome: Outcome::Reserved(hold), .. } => self.player.note(&hold),
            Reply::Accepted { replayed: false, outcome: Outcome::Holds(holds), .. } => {
                holds.iter().for_each(|hold| self.player.note(hold));
            }
            _ => {}
        }
    }

    /// Removes the field from a rejection for a reused key or number: the model does not name it, but the named field must
    /// differ.
    fn without_difference(&self, command: &Command<'static>, reply: Reply) -> Reply {
        let Reply::Rejected(mut refusal) = reply else { return reply };
        let of_number = refusal.reason == Reason::SequenceConflict;
        if refusal.reason != Reason::IdempotencyKeyReused && !of_number {
            return Reply::Rejected(refusal);
        }
        let fact = |name| refusal.facts.iter().find(|fact| fact.0 == name).map(|fact| fact.1.as_str());
        let field = fact("field").expect("the differing field is always named");
        let sequence = match command.context.source.filter(|_| of_number) {
            Some(position) => self.model.sources[position.id].sequence_of(position.sequence),
            None => fact("sequence").map(|sequence| sequence.parse().unwrap()),
        };
        if let Some(sequence) = sequence {
            let before = &self.written[&sequence];
            assert_ne!(part(before, field), part(command, field), "{field}: {before:?} {command:?}");
        }
        refusal.facts.retain(|fact| ["source", "sequence"].contains(&fact.0));
        Reply::Rejected(refusal)
    }

    fn compare(&self) {
        self.harness.check();
        let (ledger, model) = (&self.harness.ledger, &self.model);
        assert_eq!((ledger.sequence(), ledger.time_ms()), (model.sequence, model.time_ms));
        assert_eq!(ledger.open_reservations(), model.open_holds() as u64);
        assert_eq!(ledger.expired_reservations(), model.expiries);
        self.compare_levels();
        self.compare_holds();
        self.compare_memory();
        for source in ledger.sources() {
            let modelled = &model.sources[&*source.name];
            assert_eq!((source.epoch, source.last), (modelled.epoch, modelled.last), "{}", source.name);
        }
        EntityKind::ALL.into_iter().for_each(|kind| self.compare_entities(kind));
        self.compare_authority();
    }

    fn compare_authority(&self) {
        let (ledger, model) = (&self.harness.ledger, &self.model);
        assert_eq!(authority::claims(ledger), model.named_claims());
        for right in Right::ALL {
            assert_eq!(ledger.is_governed(right), model.is_governed(right), "{right:?}");
            let locations = (0..ledger.locations().len() as u32).filter(|handle| ledger.locations().exists(*handle));
            for (location, state) in
                locations.flat_map(|location| StockState::all().map(move |state| (location, state)))
            {
                let modelled = model.holders_of(right, state, ledger.locations().name(location));
                assert_eq!(ledger.holders_of(right, state, location), modelled, "{right:?} {state:?} {location}");
            }
        }
    }

    fn compare_entities(&self, kind: EntityKind) {
        let entities = self.harness.ledger.entities(kind);
        let location = |handle: &u32| self.harness.ledger.locations().name(*handle).to_owned();
        let value = |value: &EntityValue| match value {
            EntityValue::Labels(labels) => {
                vec![labels.display_name.to_string(), labels.gs1.to_string(), format!("{:?}", labels.attributes)]
            }
            EntityValue::LocationGroup(group) => group.locations.iter().map(location).collect(),
            EntityValue::StockTransfer(transfer) => described_transfer(&self.harness.ledger, transfer),
            EntityValue::Consumer(at) => {
                vec![at.ledger.to_string(), at.writer_epoch.to_string(), at.sequence.to_string()]
            }
            value => authority::described(&self.harness.ledger, value).expect("a rule or a profile"),
        };
        let found: Vec<_> = (0..entities.names().len() as u32)
            .map(|handle| {
                let version = entities.names().version(handle);
                (entities.names().name(handle), Entity { version, value: entities.value(handle).map(value) })
            })
            .collect();
        let modelled: Vec<_> = self.model.entities.ever(kind).map(|(name, entity)| (name, entity.clone())).collect();
        assert_eq!(found, modelled, "{kind:?}");
        for (name, entity) in modelled {
            assert_eq!(entities.names().find(name).is_some(), entity.value.is_some(), "{name}");
        }
    }

    /// Levels in the order of first mention: now, a moment later, and when everything has expired.
    fn compare_levels(&self) {
        assert_eq!(self.harness.ledger.level_count(), self.model.stock.len());
        for now_ms in [self.harness.now_ms, self.harness.now_ms + 1_000, i64::MAX] {
            for (level, (place, _)) in self.model.stock.iter().enumerate() {
                let figures = self.harness.ledger.figures(level as u32, now_ms);
                let found = LevelQuantities::new(&self.harness.ledger, &figures);
                assert_eq!(found, self.model.figures(place, now_ms));
                let parts = figures.available() + figures.reserved + figures.allocated + found.unsellable();
                assert_eq!(figures.stock.on_hand() + figures.oversold(), parts, "{figures:?}");
            }
        }
    }

    fn compare_holds(&self) {
        let ledger = &self.harness.ledger;
        let mut found: Vec<_> = ledger.reservations().collect();
        found.sort_by_key(|reservation| reservation.sequence);
        assert_eq!((found.len(), ledger.reservation_count()), (self.model.holds.len(), self.model.holds.len()));
        for (reservation, hold) in found.into_iter().zip(&self.model.holds) {
            assert_eq!(described(ledger, reservation), described_model(hold));
            assert_eq!(ledger.reservation(hold.id), Some(reservation));
        }
        for name in ["order-1", "order-2", "ann", "bob"] {
            let of_order: Vec<_> = ledger.reservations_of_order(name).map(|found| found.id).collect();
            let of_holder: Vec<_> = ledger.reservations_of_holder(name).map(|found| found.id).collect();
            let ids = |wanted: &dyn Fn(&Hold) -> bool| -> Vec<_> {
                self.model.holds.iter().filter(|hold| wanted(hold)).map(|hold| hold.id).collect()
            };
            assert_eq!(sorted(of_order), sorted(ids(&|hold| hold.order_ref == name)));
            assert_eq!(of_holder, ids(&|hold| hold.holder == name));
        }
    }

    fn compare_memory(&self) {
        let ledger = &self.harness.ledger;
        let mut writers = vec![Writer::Operator];
        let channels = self.model.entities.ever(EntityKind::Channels);
        writers.extend(channels.map(|(name, _)| Writer::Channel(name.to_owned())));
        writers.extend(self.model.sources.keys().cloned().map(Writer::Source));
        for writer in writers {
            let scope = match &writer {
                Writer::Operator => Some(Scope::Operator),
                Writer::Channel(channel) => ledger.scope(channel, ""),
                Writer::Source(source) => ledger.scope("", source),
            };
            for key in self.player.keys() {
                let found = ledger.key(scope.expect("a known writer"), key);
                let found = found.map(|entry| (entry.sequence, entry.effect != Effect::Tombstone));
                let known = self.model.keys.get(&(writer.clone(), key.to_owned()));
                assert_eq!(found, known.map(|known| (known.sequence, known.outcome.is_some())), "{writer:?} {key}");
                let found = ledger.remembered_refusal(scope.expect("a known writer"), key);
                let found = found.map(|entry| (entry.sequence, entry.refusal().map(|refusal| refusal.reason)));
                let remembered = self.model.remembered.get(&(writer.clone(), key.to_owned()));
                let remembered = remembered.map(|found| (found.sequence, Some(found.refusal.reason)));
                assert_eq!(found, remembered, "{writer:?} {key}");
            }
        }
    }
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

type Described = (u32, String, i64, i64, u64, [String; 3], Vec<(String, String, [i64; 5])>);

fn described(ledger: &invengine_ledger::Ledger, found: &invengine_ledger::Reservation) -> Described {
    let line = |line: &invengine_ledger::reservation::HeldLine| {
        let (sku, location) = ledger.level_names(line.level);
        let units = [line.reserved, line.allocated, line.released, line.expired, line.fulfilled];
        (sku.to_owned(), location.to_owned(), units)
    };
    let channel = found.channel.map_or("", |handle| ledger.channels().name(handle));
    (
        found.version,
        channel.to_owned(),
        found.expire_ms,
        found.create_ms,
        found.sequence,
        [found.key.to_string(), found.order_ref.to_string(), found.holder.to_string()],
        found.lines.iter().map(line).collect(),
    )
}

fn described_model(hold: &Hold) -> Described {
    let line = |((sku, location), line): (&model::LevelKey, &model::Line)| {
        let units = [line.reserved, line.allocated, line.released, line.expired, line.fulfilled];
        (sku.clone(), location.clone(), units)
    };
    (
        hold.version,
        hold.channel.clone(),
        hold.expire_ms,
        hold.create_ms,
        hold.sequence,
        [hold.key.clone(), hold.order_ref.clone(), hold.holder.clone()],
        hold.lines.iter().map(line).collect(),
    )
}

fn play(window_ms: i64, steps: &[Step]) -> BTreeMap<String, u32> {
    let mut pair = Pair::new(window_ms);
    steps.iter().for_each(|step| pair.step(step));
    pair.harness.restart();
    pair.compare();
    pair.seen
}

/// The histories, the same on every machine, reach every command with every kind of answer, so that equality is meaningful.
#[test]
fn the_same_histories_reach_every_answer() {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut runner = TestRunner::deterministic();
    for number in 0..1_700 {
        let steps = history(120).new_tree(&mut runner).expect("a history").current();
        let window_ms = if number % 2 == 0 { SHORT_WINDOW_MS } else { DEDUPE_WINDOW_MS };
        for (label, count) in play(window_ms, &steps) {
            *seen.entry(label).or_default() += count;
        }
    }
    let missing: Vec<_> = wanted_labels().into_iter().filter(|label| !seen.contains_key(label)).collect();
    assert!(missing.is_empty(), "{missing:?} of {seen:#?}");
}

/// Short enough to forget keys and ended holds within a history.
const SHORT_WINDOW_MS: i64 = 2_000;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history(steps in history(120)) {
        play(DEDUPE_WINDOW_MS, &steps);
    }

    #[test]
    fn any_history_of_a_ledger_that_soon_forgets(steps in history(120)) {
        play(SHORT_WINDOW_MS, &steps);
    }
}
