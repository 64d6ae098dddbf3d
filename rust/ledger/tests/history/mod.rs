//! Random histories. A step consists of small numbers; which hold, key or number it refers to is resolved when it is played, so
//! that a history shrinks to a short one that is still meaningful.
#![allow(dead_code, unused_imports, reason = "each test binary uses its own part")]

mod authority;
mod played;
mod player;

use authority::{ProfileChoice, RuleChoice};
pub use played::{Look, Played, play};
use player::GROUPED;
pub use player::{Player, Turn};

use invengine_ledger::EntityKind;
use invengine_ledger::StockState;
use invengine_ledger::event::StockKind;
use invengine_ledger::stock_transfer::Remainder;
use proptest::collection::vec;
use proptest::prelude::*;

/// One step of a history.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "histories are short, and nearly all of their steps are of this kind")]
pub enum Step {
    /// A new command.
    Ask(Box<Ask>),
    /// An earlier command again, this many back.
    Again { back: usize, variation: Variation },
    /// Time passes.
    Wait(i64),
    /// The engine writes expired holds.
    Sweep,
    /// The engine forgets what is old.
    Forget,
    /// The engine restarts from its journal.
    Restart,
    /// The frame ends.
    Cut,
}

/// How a repeated command differs from the first.
#[derive(Clone, Copy, Debug)]
pub enum Variation {
    Same,
    OtherBody,
    NextNumber,
    NoSource,
    Remember,
    OtherSender,
}

/// A new command.
#[derive(Clone, Debug)]
pub struct Ask {
    pub shared_fields: SharedFields,
    pub operation: Operation,
}

/// The shared fields.
#[derive(Clone, Debug, Default)]
pub struct SharedFields {
    /// A key of the pool, which other commands use too; or a fresh one; or none, where that is allowed.
    pub key: Key,
    pub channel: usize,
    pub source: Option<SourceNumber>,
    pub order: usize,
    pub holder: usize,
    /// How long ago the command was issued; `None` for no issue time.
    pub age_ms: Option<i64>,
    /// Whether a refusal is to be remembered.
    pub remember: bool,
    /// The message of another source that the command passes on.
    pub origin: Option<SourceNumber>,
    /// How long ago happened what it reports.
    pub event_age_ms: Option<i64>,
}

/// Which key.
#[derive(Clone, Copy, Debug, Default)]
pub enum Key {
    #[default]
    Fresh,
    Pool(usize),
    None,
}

/// Which position in the sequence of a source.
#[derive(Clone, Copy, Debug)]
pub enum SourceNumber {
    Next(usize),
    /// This many before the next.
    Old(usize, u64),
    Gap(usize),
    OldEpoch(usize),
    /// In an epoch that was not issued.
    NewEpoch(usize),
    OfNobody,
}

/// The operation of a command.
#[derive(Clone, Debug)]
pub enum Operation {
    Reserve { lines: Vec<LineChoice>, ttl: usize, allow_partial: bool, replace_own: bool },
    Extend { target: HoldChoice, ttl: usize },
    Amend { target: HoldChoice, lines: Vec<LineChoice> },
    Allocate(HoldChoice, Vec<LineChoice>),
    Release(HoldChoice, Vec<LineChoice>),
    Fulfill(HoldChoice, Vec<LineChoice>),
    Transfer { target: HoldChoice, lines: Vec<LineChoice>, to: usize },
    Stock { kind: StockKind, lines: Vec<(LineChoice, StockState, Option<i64>)> },
    MoveQuantity(Vec<(LineChoice, [StockState; 2])>),
    Ship { name: usize, from: usize, to: usize, lines: Vec<(usize, i64)> },
    Arrive { name: usize, expected: Option<u64>, lines: Vec<(usize, i64, StockState)> },
    Close { name: usize, expected: Option<u64>, remainder: Remainder },
    Upsert { kind: EntityKind, name: usize, display: usize },
    Group { name: usize, locations: Vec<usize>, expected: Option<u64> },
    Rule(RuleChoice),
    Profile(ProfileChoice),
    Delete { kind: EntityKind, name: usize, expected: Option<u64> },
    Register(usize),
}

/// Some units of an item at a location.
pub type LineChoice = (usize, usize, i64);

/// Which holds.
#[derive(Clone, Copy, Debug)]
pub enum HoldChoice {
    /// This many holds back; `version`: 0 any, 1 the correct one, 2 a wrong one.
    Id {
        back: usize,
        version: u8,
    },
    /// By the key of the hold this many back.
    KeyOf(usize),
    Pool(usize),
    Order(usize),
    Nobody,
}

/// Times to live, ms.
pub const TTLS: [i64; 4] = [1_000, 1_050, 2_000, 60_000];

fn line(quantity: impl Strategy<Value = i64>) -> impl Strategy<Value = LineChoice> {
    // The fourth name of each does not exist.
    let name = || prop_oneof![60 => 0..3usize, 1 => Just(3usize)];
    (name(), name(), quantity)
}

fn hold_choice() -> impl Strategy<Value = HoldChoice> {
    prop_oneof![
        20 => (0..5usize, prop_oneof![12 => Just(0u8), 3 => Just(1), 1 => Just(2)])
            .prop_map(|(back, version)| HoldChoice::Id { back, version }),
        8 => (0..5usize).prop_map(HoldChoice::KeyOf),
        2 => (0..4usize).prop_map(HoldChoice::Pool),
        6 => prop_oneof![12 => 1..3usize, 1 => Just(3usize)].prop_map(HoldChoice::Order),
        1 => Just(HoldChoice::Nobody),
    ]
}

fn some_lines() -> impl Strategy<Value = Vec<LineChoice>> {
    prop_oneof![3 => Just(Vec::new()), 2 => vec(line(0..4i64), 1..3)]
}

fn stock() -> impl Strategy<Value = Operation> {
    let kind = prop_oneof![
        3 => Just(StockKind::Received),
        1 => Just(StockKind::Returned),
        1 => Just(StockKind::Adjusted),
        1 => Just(StockKind::Set),
        1 => Just(StockKind::Counted),
    ];
    let state = prop_oneof![
        6 => Just(StockState::OnHand),
        1 => Just(StockState::Damaged),
        1 => Just(StockState::Returned),
        1 => Just(StockState::QualityControl),
    ];
    let expected = prop_oneof![4 => Just(None), 1 => (0..6i64).prop_map(Some)];
    let lines = vec((line(-4..9i64), state, expected), 1..4);
    (kind, lines).prop_map(|(kind, lines)| Operation::Stock { kind, lines })
}

fn move_quantity() -> impl Strategy<Value = Operation> {
    let states = (0..4usize, 1..4usize)
        .prop_map(|(from, others)| [from, (from + others) % 4].map(|row| StockState::TABLE[row].0));
    vec((line(1..6i64), states), 1..4).prop_map(Operation::MoveQuantity)
}

/// On a few names, so that most find a transfer in some state.
fn stock_transfer() -> impl Strategy<Value = Operation> {
    let (name, sku) = (0..2usize, prop_oneof![30 => 0..3usize, 1 => Just(3)]);
    let location = prop_oneof![30 => 0..3usize, 1 => Just(3)];
    let state = prop_oneof![3 => Just(StockState::OnHand), 1 => Just(StockState::Damaged)];
    let expected = || prop_oneof![6 => Just(None), 1 => (0..6u64).prop_map(Some)];
    let remainder = prop_oneof![Just(Remainder::Lost), Just(Remainder::SentBack)];
    prop_oneof![
        4 => (name.clone(), location, 1..3usize, vec((sku.clone(), 1..6i64), 1..3))
            .prop_map(|(name, from, away, lines)| Operation::Ship { name, from, to: (from + away) % 3, lines }),
        5 => (name.clone(), expected(), vec((sku, 1..7i64, state), 0..3))
            .prop_map(|(name, expected, lines)| Operation::Arrive { name, expected, lines }),
        3 => (name, expected(), remainder)
            .prop_map(|(name, expected, remainder)| Operation::Close { name, expected, remainder }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let ttl = || 0..TTLS.len();
    prop_oneof![
        8 => (vec(line(1..6i64), 1..4), ttl(), any::<bool>(), any::<bool>()).prop_map(
            |(lines, ttl, allow_partial, replace_own)| Operation::Reserve { lines, ttl, allow_partial, replace_own }
        ),
        2 => (hold_choice(), ttl()).prop_map(|(target, ttl)| Operation::Extend { target, ttl }),
        3 => (hold_choice(), vec(line(0..6i64), 1..3)).prop_map(|(target, lines)| Operation::Amend { target, lines }),
        5 => (hold_choice(), some_lines()).prop_map(|(target, lines)| Operation::Allocate(target, lines)),
        4 => (hold_choice(), some_lines()).prop_map(|(target, lines)| Operation::Release(target, lines)),
        4 => (hold_choice(), some_lines()).prop_map(|(target, lines)| Operation::Fulfill(target, lines)),
        3 => (hold_choice(), some_lines(), prop_oneof![20 => 0..3usize, 1 => Just(3)]).prop_map(|(target, lines, to)| Operation::Transfer { target, lines, to }),
        5 => stock(),
        1 => move_quantity(),
        4 => stock_transfer(),
        2 => (0..3usize, 0..3usize, 0..4usize)
            .prop_map(|(kind, name, display)| Operation::Upsert { kind: EntityKind::ALL[kind], name, display }),
        2 => (0..2usize, vec(0..GROUPED.len(), 1..3), expected_version())
            .prop_map(|(name, locations, expected)| Operation::Group { name, locations, expected }),
        7 => (prop::sample::select(vec![0usize, 0, 1, 1, 2, 3, 4, 4, 4]), 0..3usize, expected_version())
            .prop_map(|(kind, name, expected)| Operation::Delete { kind: EntityKind::ALL[kind], name, expected }),
        1 => prop_oneof![1 => Just(1usize), 1 => Just(0)].prop_map(Operation::Register),
    ]
}

fn expected_version() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![3 => Just(None), 2 => (0..4u64).prop_map(Some)]
}

/// With authority, more commands come from sources, and some pass on messages of others.
fn shared_fields(authority: bool) -> impl Strategy<Value = SharedFields> {
    let key = prop_oneof![20 => Just(Key::Fresh), 2 => (0..4usize).prop_map(Key::Pool), 2 => Just(Key::None)];
    let source = 0..2usize;
    let number = prop_oneof![
        30 => source.clone().prop_map(SourceNumber::Next),
        3 => (source.clone(), 1..4u64).prop_map(|(source, back)| SourceNumber::Old(source, back)),
        2 => source.clone().prop_map(SourceNumber::Gap),
        2 => source.prop_map(SourceNumber::OldEpoch),
        1 => Just(SourceNumber::OfNobody),
    ];
    let number = prop_oneof![3 => Just(None), if authority { 3 } else { 1 } => number.prop_map(Some)];
    let origin = if authority { authority::origin().boxed() } else { Just(None).boxed() };
    let event_age = if authority { authority::event_age().boxed() } else { Just(None).boxed() };
    let channel = prop_oneof![40 => Just(0usize), 12 => Just(1), 12 => Just(2), 1 => Just(3)];
    let age = prop_oneof![8 => Just(None), 1 => prop::sample::select(vec![0i64, 900, 4_000, 6_000]).prop_map(Some)];
    let remember = prop_oneof![2 => Just(false), 1 => Just(true)];
    (key, channel, number, 0..3usize, 0..3usize, age, remember, origin, event_age).prop_map(
        |(key, channel, source, order, holder, age_ms, remember, origin, event_age_ms)| SharedFields {
            key,
            channel,
            source,
            order,
            holder,
            age_ms,
            remember,
            origin,
            event_age_ms,
        },
    )
}

/// Rules come and go, numbers are stated often, and locations change their type.
fn operation_under_rules() -> impl Strategy<Value = Operation> {
    let state = prop_oneof![4 => Just(StockState::OnHand), 1 => Just(StockState::Damaged)];
    // On few levels, so that many numbers are about the same.
    let place = prop_oneof![8 => (0..2usize, 0..2usize, 0..9i64), 1 => line(0..9i64)];
    let lines = vec((place, state, Just(None)), 1..3);
    let kind = prop_oneof![1 => Just(StockKind::Set), 3 => Just(StockKind::Counted)];
    prop_oneof![
        22 => operation(),
        8 => authority::operation(),
        8 => (kind, lines).prop_map(|(kind, lines)| Operation::Stock { kind, lines }),
        4 => stock_transfer(),
        1 => (0..3usize, 1..3usize)
            .prop_map(|(name, display)| Operation::Upsert { kind: EntityKind::Locations, name, display }),
    ]
}

fn step(authority: bool) -> impl Strategy<Value = Step> {
    let variation = prop_oneof![
        3 => Just(Variation::Same),
        1 => Just(Variation::OtherBody),
        1 => Just(Variation::NextNumber),
        1 => Just(Variation::NoSource),
        1 => Just(Variation::Remember),
        1 => Just(Variation::OtherSender),
    ];
    let wait = prop::sample::select(vec![1i64, 50, 97, 100, 500, 900, 999, 1_000, 1_001, 2_500, 5_000]);
    let operation = if authority { operation_under_rules().boxed() } else { operation().boxed() };
    prop_oneof![
        30 => (shared_fields(authority), operation)
            .prop_map(|(shared_fields, operation)| Step::Ask(Box::new(Ask { shared_fields, operation }))),
        7 => (0..6usize, variation).prop_map(|(back, variation)| Step::Again { back, variation }),
        8 => wait.prop_map(Step::Wait),
        2 => Just(Step::Sweep),
        2 => Just(Step::Forget),
        1 => Just(Step::Restart),
        3 => Just(Step::Cut),
    ]
}

/// Histories of fewer than `steps_max` steps. In a third of them there are rules of authority, mostly from the start.
pub fn history(steps_max: usize) -> impl Strategy<Value = Vec<Step>> {
    let first = authority::owner().prop_map(|rule| {
        let shared_fields = SharedFields::default();
        Step::Ask(Box::new(Ask { shared_fields, operation: rule }))
    });
    let under_rules = (vec(first, 0..3), vec(step(true), 1..steps_max - 2))
        .prop_map(|(first, rest)| first.into_iter().chain(rest).collect());
    prop_oneof![2 => vec(step(false), 1..steps_max), 1 => under_rules]
}
