//! Turns steps into commands, depending on what has happened so far.

use invengine_ledger::entity::{Attributes, LocationGroupDraft, LocationType, Money};
use invengine_ledger::{Command, Context, EntityDraft, EntityKind, ReservationId, StockState};
use std::collections::BTreeMap;
use std::sync::LazyLock;

use invengine_ledger::command::{
    Body, EntityRef, Line, MoveLine, QUANTITY_MAX, SourcePosition, StockLine, Target, TargetBy, Upsert,
};
use invengine_ledger::event::StockKind;
use invengine_ledger::stock_transfer::{Arrival, ArrivalLine, ShipmentLine, TransferCommand};

use crate::harness::answers::HoldOutcome;

use super::{Ask, HoldChoice, Key, LineChoice, Operation, SharedFields, SourceNumber, Step, TTLS, Variation};

const SKUS: [&str; 4] = ["cup", "jug", "mug", "no-such-item"];
pub const LOCATIONS: [&str; 4] = ["store-1", "wh-1", "wh-2", "no-such-place"];
pub const CHANNELS: [&str; 4] = ["", "app", "web", "no-such-channel"];
/// A name of an item and of a location that never has stock.
pub const SPARE: &str = "spare";
/// The locations of which groups are made.
pub const GROUPED: [&str; 4] = ["wh-1", "wh-2", SPARE, "no-such-place"];
pub const SOURCES: [&str; 2] = ["erp", "wms"];
pub const RULES: [&str; 3] = ["rule-1", "rule-2", "rule-3"];
const TRANSFERS: [&str; 2] = ["tr-1", "tr-2"];
const ORDERS: [&str; 4] = ["", "order-1", "order-2", "no-such-order"];
const HOLDERS: [&str; 3] = ["", "ann", "bob"];
const OPENING: [&str; 6] = ["open-1", "open-2", "open-3", "open-4", "open-5", "open-6"];
const POOL: [&str; 4] = ["key-a", "key-b", "key-c", "key-d"];
static FRESH: LazyLock<Vec<String>> = LazyLock::new(|| (0..1_000).map(|number| format!("fresh-{number}")).collect());

/// The name of an entity that is put or deleted.
fn entity_name(kind: EntityKind, name: usize) -> &'static str {
    let [first, second] = match kind {
        EntityKind::Items => [SKUS[1], SKUS[2]],
        EntityKind::Locations => [LOCATIONS[1], LOCATIONS[2]],
        EntityKind::Channels => [CHANNELS[1], CHANNELS[2]],
        EntityKind::LocationGroups | EntityKind::Consumers => ["east", "west"],
        EntityKind::StockTransfers => TRANSFERS,
        EntityKind::SourceProfiles => SOURCES,
        EntityKind::AuthorityRules => return RULES[name],
    };
    [first, second, if matches!(kind, EntityKind::Channels | EntityKind::StockTransfers) { first } else { SPARE }][name]
}

/// A resolved step.
#[derive(Clone, Debug)]
pub enum Turn {
    Command(Box<Command<'static>>),
    Wait(i64),
    Sweep,
    Forget,
    Restart,
    Cut,
}

/// One hold as the player remembers it: its id, key and channel, and its lines and version as far as known.
#[derive(Clone, Debug)]
struct MadeHold {
    id: ReservationId,
    key: &'static str,
    channel: &'static str,
    version: u32,
    places: Vec<(&'static str, &'static str)>,
}

/// Turns steps into commands.
#[derive(Default)]
pub struct Player {
    asked: Vec<Command<'static>>,
    made: Vec<MadeHold>,
    fresh: usize,
}

impl Player {
    /// The commands that every history begins with: names, sources, and a little stock everywhere except on one level.
    pub fn opening() -> Vec<Command<'static>> {
        use invengine_ledger::EntityKind::{Channels, Items, Locations};
        let upsert = |catalogue, names: &[&'static str]| {
            let entries = names.iter().map(|name| Upsert::labels(name, "", "")).collect();
            Body::Upsert { kind: catalogue, entries }
        };
        let places = (0..3).flat_map(|sku| (0..3).map(move |location| ((sku, location, 7), StockState::OnHand, None)));
        let bodies = [
            upsert(Items, &SKUS[..3]),
            upsert(Locations, &LOCATIONS[..3]),
            upsert(Channels, &CHANNELS[1..3]),
            Body::RegisterSource { source: SOURCES[0] },
            Body::RegisterSource { source: SOURCES[1] },
            stock(StockKind::Received, &places.skip(1).collect::<Vec<_>>()),
        ];
        let command = |(key, body)| Command { context: Context { key, ..Context::default() }, body };
        OPENING.into_iter().zip(bodies).map(command).collect()
    }

    /// Resolves a step. `sources` returns (epoch, last number) of a source, `now_ms` is the time.
    pub fn turn(&mut self, step: &Step, now_ms: i64, sources: &dyn Fn(&str) -> (u64, u64)) -> Turn {
        let command = match step {
            Step::Wait(ms) => return Turn::Wait(*ms),
            Step::Sweep => return Turn::Sweep,
            Step::Forget => return Turn::Forget,
            Step::Restart => return Turn::Restart,
            Step::Cut => return Turn::Cut,
            Step::Ask(ask) => self.command(ask, now_ms, sources),
            Step::Again { back, variation } => match self.again(*back, *variation, sources) {
                Some(command) => command,
                None => return Turn::Cut,
            },
        };
        self.asked.push(command.clone());
        Turn::Command(Box::new(command))
    }

    /// Every key that was used so far, and those of the pool.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        POOL.into_iter().chain(FRESH[..=self.fresh].iter().map(String::as_str))
    }

    /// Remembers a hold that was made or changed.
    pub fn note(&mut self, hold: &HoldOutcome) {
        let places =
            hold.lines.iter().map(|line| (known(&SKUS, &line.sku), known(&LOCATIONS, &line.location))).collect();
        if let Some(made) = self.made.iter_mut().find(|made| made.id == hold.id) {
            (made.version, made.places) = (hold.version, places);
        } else if let Some(Context { key, channel, .. }) = self.asked.last().map(|command| command.context) {
            self.made.push(MadeHold { id: hold.id, key, channel, version: hold.version, places });
        }
    }

    fn again(
        &self,
        back: usize,
        variation: Variation,
        sources: &dyn Fn(&str) -> (u64, u64),
    ) -> Option<Command<'static>> {
        let mut command = self.asked.iter().rev().nth(back % self.asked.len().max(1))?.clone();
        match variation {
            Variation::Same => {}
            Variation::OtherBody
                if matches!(command.body, Body::Stock { .. } | Body::MoveQuantity { .. } | Body::StockTransfer(_)) =>
            {
                command.context.reference = "another";
            }
            Variation::OtherBody => command.context.holder = "another",
            Variation::OtherSender => {
                let context = &mut command.context;
                (context.actor, context.causation, context.event_time_ms) = ("another", "another", Some(1));
            }
            Variation::NextNumber if matches!(command.body, Body::RegisterSource { .. }) => {}
            Variation::NextNumber => command.context.source = Some(position(SourceNumber::Next(back % 2), sources)),
            // Without a number a command needs a key.
            Variation::NoSource if command.context.key.is_empty() => {}
            Variation::NoSource => command.context.source = None,
            Variation::Remember => command.context.remember_refusal = true,
        }
        Some(command)
    }

    fn command(&mut self, ask: &Ask, now_ms: i64, sources: &dyn Fn(&str) -> (u64, u64)) -> Command<'static> {
        let SharedFields { key, channel, source, order, holder, age_ms, remember, origin, event_age_ms } =
            &ask.shared_fields;
        let registers = matches!(ask.operation, Operation::Register(_));
        let source = source.filter(|_| !registers).map(|number| position(number, sources));
        let key = match key {
            Key::Pool(number) => POOL[*number],
            Key::None if source.is_some() => "",
            Key::None | Key::Fresh => {
                self.fresh += 1;
                FRESH[self.fresh].as_str()
            }
        };
        let mut context = Context {
            key,
            issue_time_ms: age_ms.map(|age| now_ms - age),
            channel: CHANNELS[*channel],
            source,
            origin: origin.map(|number| position(number, sources)),
            event_time_ms: event_age_ms.map(|age| now_ms - age),
            order_ref: ORDERS[*order],
            holder: HOLDERS[*holder],
            remember_refusal: *remember,
            ..Context::default()
        };
        if let Some(channel) = self.channel_of_key(&ask.operation) {
            // A hold is named by its key in the scope of its own writer.
            context.channel = channel;
        }
        Command { context, body: self.body(&ask.operation) }
    }

    fn body(&self, operation: &Operation) -> Body<'static> {
        match operation {
            Operation::Reserve { lines, ttl, allow_partial, replace_own } => Body::Reserve {
                lines: merged(lines.iter().map(|line| ((SKUS[line.0], LOCATIONS[line.1]), line.2))),
                ttl_ms: TTLS[*ttl],
                allow_partial: *allow_partial,
                replace_own: *replace_own,
            },
            Operation::Extend { target, ttl } => Body::Extend { target: self.target(*target, &[]), ttl_ms: TTLS[*ttl] },
            Operation::Amend { target, lines } => {
                Body::Amend { target: self.target(one(*target), &[]), lines: self.lines(one(*target), lines) }
            }
            Operation::Allocate(target, lines) => Body::Allocate(self.target(*target, lines)),
            Operation::Release(target, lines) => Body::Release(self.target(*target, lines)),
            Operation::Fulfill(target, lines) => Body::Fulfill(self.target(*target, lines)),
            Operation::Transfer { target, lines, to } => {
                Body::Transfer { target: self.target(one(*target), lines), to_location: LOCATIONS[*to] }
            }
            Operation::Stock { kind, lines } => stock(*kind, lines),
            Operation::MoveQuantity(lines) => {
                let line = |((sku, location, quantity), [from, to]): &(LineChoice, [StockState; 2])| {
                    let (sku, location) = (SKUS[*sku], LOCATIONS[*location]);
                    MoveLine { sku, location, quantity: *quantity, from: *from, to: *to }
                };
                Body::MoveQuantity { lines: lines.iter().map(line).collect() }
            }
            Operation::Ship { name, from, to, lines } => {
                let mut lines: Vec<_> =
                    lines.iter().map(|(sku, quantity)| ShipmentLine { sku: SKUS[*sku], quantity: *quantity }).collect();
                lines.sort_by_key(|line| line.sku);
                lines.dedup_by_key(|line| line.sku);
                let (transfer, from, to) = (TRANSFERS[*name], LOCATIONS[*from], LOCATIONS[*to]);
                Body::StockTransfer(TransferCommand::Ship { transfer, from, to, lines })
            }
            Operation::Arrive { name, expected, lines } => {
                let line = |(sku, quantity, state): &(usize, i64, StockState)| ArrivalLine {
                    sku: SKUS[*sku],
                    quantity: *quantity,
                    state: *state,
                };
                let mut lines: Vec<_> = lines.iter().map(line).collect();
                lines.sort_by_key(|line| (line.sku, line.state));
                lines.dedup_by_key(|line| (line.sku, line.state));
                let arrival = if lines.is_empty() { Arrival::Whole } else { Arrival::Lines(lines) };
                let (transfer, expected_version) = (TRANSFERS[*name], *expected);
                Body::StockTransfer(TransferCommand::Receive { transfer, expected_version, arrival })
            }
            Operation::Close { name, expected, remainder } => {
                let (transfer, expected_version) = (TRANSFERS[*name], *expected);
                Body::StockTransfer(TransferCommand::Close { transfer, expected_version, remainder: *remainder })
            }
            Operation::Upsert { kind, name, display } => {
                let mut entry = Upsert::labels(entity_name(*kind, *name), ORDERS[*display], "");
                if let EntityDraft::Labels(labels) = &mut entry.value {
                    labels.attributes = attributes(*kind, *display);
                }
                Body::Upsert { kind: *kind, entries: vec![entry] }
            }
            Operation::Group { name, locations, expected } => {
                let mut locations: Vec<_> = locations.iter().map(|number| GROUPED[*number]).collect();
                locations.dedup();
                let value = EntityDraft::LocationGroup(LocationGroupDraft { locations });
                let kind = EntityKind::LocationGroups;
                let entry = Upsert { name: entity_name(kind, *name), expected_version: *expected, value };
                Body::Upsert { kind, entries: vec![entry] }
            }
            Operation::Rule(rule) => rule.body(),
            Operation::Profile(profile) => profile.body(),
            Operation::Delete { kind, name, expected } => {
                let entry = EntityRef { name: entity_name(*kind, *name), expected_version: *expected };
                Body::Delete { kind: *kind, entries: vec![entry] }
            }
            Operation::Register(number) => Body::RegisterSource { source: SOURCES[*number] },
        }
    }

    fn channel_of_key(&self, operation: &Operation) -> Option<&'static str> {
        let (Operation::Extend { target, .. }
        | Operation::Amend { target, .. }
        | Operation::Transfer { target, .. }
        | Operation::Allocate(target, _)
        | Operation::Release(target, _)
        | Operation::Fulfill(target, _)) = operation
        else {
            return None;
        };
        let HoldChoice::KeyOf(back) = target else { return None };
        self.made(*back).map(|made| made.channel)
    }

    fn made(&self, back: usize) -> Option<&MadeHold> {
        self.made.iter().rev().nth(back % self.made.len().max(1))
    }

    fn target(&self, hold_choice: HoldChoice, lines: &[LineChoice]) -> Target<'static> {
        let nobody = TargetBy::UnknownToken("nobody");
        let (by, expected_version) = match hold_choice {
            HoldChoice::Nobody => (nobody, 0),
            HoldChoice::Order(number) => (TargetBy::Order(ORDERS[number]), 0),
            HoldChoice::Pool(number) => (TargetBy::Key(POOL[number]), 0),
            HoldChoice::KeyOf(back) => (self.made(back).map_or(nobody, |made| TargetBy::Key(made.key)), 0),
            HoldChoice::Id { back, version } => match self.made(back) {
                Some(made) => (TargetBy::Id(made.id), [0, made.version, made.version + 1][usize::from(version)].into()),
                None => (nobody, 0),
            },
        };
        let lines = if matches!(by, TargetBy::Order(_)) { Vec::new() } else { self.lines(hold_choice, lines) };
        Target { by, lines, expected_version }
    }

    /// Lines that are mostly those of the hold.
    fn lines(&self, hold_choice: HoldChoice, lines: &[LineChoice]) -> Vec<Line<'static>> {
        let places = match hold_choice {
            HoldChoice::Id { back, .. } | HoldChoice::KeyOf(back) => {
                self.made(back).map_or(&[][..], |made| &made.places)
            }
            _ => &[],
        };
        merged(lines.iter().map(|(sku, location, quantity)| match places.get(*location % places.len().max(1)) {
            Some(place) if *sku < 2 => (*place, *quantity),
            _ => ((SKUS[*sku], LOCATIONS[*location]), *quantity),
        }))
    }
}

fn known(names: &[&'static str], name: &str) -> &'static str {
    names.iter().find(|known| **known == name).expect("a name of this file")
}

/// Attributes of an entry, or none.
fn attributes(kind: EntityKind, number: usize) -> Attributes {
    let value = Money { currency: *b"EUR", units: number as i64, nanos: 990_000_000 };
    match (kind, number) {
        (EntityKind::Items, 1) => Attributes::Item { class: "A".into(), unit_value: None },
        (EntityKind::Items, 2) => Attributes::Item { class: "".into(), unit_value: Some(value) },
        (EntityKind::Locations, 1..3) => Attributes::Location(LocationType::ALL[number]),
        _ => Attributes::None,
    }
}

/// Amend and TransferReservation name one hold.
fn one(hold_choice: HoldChoice) -> HoldChoice {
    if let HoldChoice::Order(number) = hold_choice { HoldChoice::Id { back: number, version: 0 } } else { hold_choice }
}

fn position(number: SourceNumber, sources: &dyn Fn(&str) -> (u64, u64)) -> SourcePosition<'static> {
    let (source, epochs_back, ahead) = match number {
        SourceNumber::Next(source) => (source, 0i64, 1),
        SourceNumber::Old(source, back) => (source, 0, 1 - back as i64),
        SourceNumber::Gap(source) => (source, 0, 2),
        SourceNumber::OldEpoch(source) => (source, 1, 1),
        SourceNumber::NewEpoch(source) => (source, -1, 1),
        SourceNumber::OfNobody => return SourcePosition { id: "nobody", epoch: 1, sequence: 1 },
    };
    let (epoch, last) = sources(SOURCES[source]);
    let sequence = (last as i64 + ahead).max(1) as u64;
    SourcePosition { id: SOURCES[source], epoch: epoch.saturating_add_signed(-epochs_back), sequence }
}

/// One line per level, sorted: as the server canonicalises the caller's lines.
fn merged(lines: impl Iterator<Item = ((&'static str, &'static str), i64)>) -> Vec<Line<'static>> {
    let mut sums = BTreeMap::new();
    for (place, quantity) in lines {
        *sums.entry(place).or_insert(0) += quantity;
    }
    sums.into_iter().map(|((sku, location), quantity)| Line { sku, location, quantity }).collect()
}

/// Lines in the caller's order, in the form that the server accepts for this kind.
fn stock(kind: StockKind, lines: &[(LineChoice, StockState, Option<i64>)]) -> Body<'static> {
    let absolute = matches!(kind, StockKind::Set | StockKind::Counted);
    let mut made: Vec<StockLine<'static>> = Vec::new();
    for ((sku, location, quantity), state, expected) in lines {
        let (sku, location, state) = (SKUS[*sku], LOCATIONS[*location], *state);
        let twice = |line: &StockLine<'_>| (line.sku, line.location, line.state) == (sku, location, state);
        if absolute && made.iter().any(twice) {
            continue;
        }
        let quantity = match kind {
            StockKind::Received if *quantity == 8 => QUANTITY_MAX - 20,
            StockKind::Received | StockKind::Returned => quantity.abs().max(1),
            StockKind::Adjusted if *quantity == 0 => 1,
            StockKind::Adjusted => *quantity,
            StockKind::Set | StockKind::Counted => quantity.abs(),
        };
        let expected = expected.filter(|_| absolute);
        made.push(StockLine { sku, location, quantity, state, expected });
    }
    Body::Stock { kind, lines: made }
}
