//! Random histories. A step is made of small numbers; which hold, key or number it means is found out when its turn comes, so
//! that a history shrinks to a short one that still means something.
#![allow(dead_code, unused_imports, reason = "each test binary uses its own part")]

mod played;
mod player;

pub use played::{Look, Played, play};
pub use player::{Player, Turn};

use invengine_ledger::command::Catalogue;
use invengine_ledger::event::{StockKind, StockState};
use proptest::collection::vec;
use proptest::prelude::*;

/// One step of a history.
#[derive(Clone, Debug)]
pub enum Step {
    /// A new command.
    Ask(Ask),
    /// An earlier command again, this many back.
    Again { back: usize, twist: Twist },
    /// Time passes.
    Wait(i64),
    /// The engine writes what is over.
    Sweep,
    /// The engine forgets what is old.
    Forget,
    /// The engine is started again from its journal.
    Restart,
    /// The frame ends.
    Cut,
}

/// How a repeated command differs from the first.
#[derive(Clone, Copy, Debug)]
pub enum Twist {
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
    pub who: Who,
    pub what: What,
}

/// The shared fields.
#[derive(Clone, Debug)]
pub struct Who {
    /// A key of the pool, that others use too; or one of its own; or none, where that is allowed.
    pub key: Key,
    pub channel: usize,
    pub source: Option<Number>,
    pub order: usize,
    pub holder: usize,
    /// How long ago the command was issued, if it says so.
    pub age_ms: Option<i64>,
    /// A refusal is to be remembered.
    pub remember: bool,
}

/// Which key.
#[derive(Clone, Copy, Debug)]
pub enum Key {
    Fresh,
    Pool(usize),
    None,
}

/// Which place in the line of a source.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    Next(usize),
    /// This many before the next.
    Old(usize, u64),
    Gap(usize),
    OldEpoch(usize),
    OfNobody,
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum What {
    Reserve { lines: Vec<Some3>, ttl: usize, allow_partial: bool, replace_own: bool },
    Extend { target: Whom, ttl: usize },
    Amend { target: Whom, lines: Vec<Some3> },
    Allocate(Whom, Vec<Some3>),
    Release(Whom, Vec<Some3>),
    Fulfill(Whom, Vec<Some3>),
    Transfer { target: Whom, lines: Vec<Some3>, to: usize },
    Stock { kind: StockKind, lines: Vec<(Some3, StockState, Option<i64>)> },
    Upsert { catalogue: Catalogue, name: usize, display: usize },
    Register(usize),
}

/// Some units of an item at a location.
pub type Some3 = (usize, usize, i64);

/// Which holds.
#[derive(Clone, Copy, Debug)]
pub enum Whom {
    /// This many holds back; `version`: 0 any, 1 the right one, 2 a wrong one.
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

fn line(quantity: impl Strategy<Value = i64>) -> impl Strategy<Value = Some3> {
    // The fourth name of each does not exist.
    let name = || prop_oneof![60 => 0..3usize, 1 => Just(3usize)];
    (name(), name(), quantity)
}

fn whom() -> impl Strategy<Value = Whom> {
    prop_oneof![
        20 => (0..5usize, prop_oneof![12 => Just(0u8), 3 => Just(1), 1 => Just(2)])
            .prop_map(|(back, version)| Whom::Id { back, version }),
        8 => (0..5usize).prop_map(Whom::KeyOf),
        2 => (0..4usize).prop_map(Whom::Pool),
        6 => prop_oneof![12 => 1..3usize, 1 => Just(3usize)].prop_map(Whom::Order),
        1 => Just(Whom::Nobody),
    ]
}

fn some_lines() -> impl Strategy<Value = Vec<Some3>> {
    prop_oneof![3 => Just(Vec::new()), 2 => vec(line(0..4i64), 1..3)]
}

fn stock() -> impl Strategy<Value = What> {
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
    (kind, lines).prop_map(|(kind, lines)| What::Stock { kind, lines })
}

fn what() -> impl Strategy<Value = What> {
    let ttl = || 0..TTLS.len();
    prop_oneof![
        8 => (vec(line(1..6i64), 1..4), ttl(), any::<bool>(), any::<bool>()).prop_map(
            |(lines, ttl, allow_partial, replace_own)| What::Reserve { lines, ttl, allow_partial, replace_own }
        ),
        2 => (whom(), ttl()).prop_map(|(target, ttl)| What::Extend { target, ttl }),
        3 => (whom(), vec(line(0..6i64), 1..3)).prop_map(|(target, lines)| What::Amend { target, lines }),
        5 => (whom(), some_lines()).prop_map(|(target, lines)| What::Allocate(target, lines)),
        4 => (whom(), some_lines()).prop_map(|(target, lines)| What::Release(target, lines)),
        4 => (whom(), some_lines()).prop_map(|(target, lines)| What::Fulfill(target, lines)),
        3 => (whom(), some_lines(), prop_oneof![20 => 0..3usize, 1 => Just(3)]).prop_map(|(target, lines, to)| What::Transfer { target, lines, to }),
        4 => stock(),
        1 => (0..3usize, 0..3usize, 0..4usize).prop_map(|(catalogue, name, display)| What::Upsert {
            catalogue: [Catalogue::Items, Catalogue::Locations, Catalogue::Channels][catalogue],
            name,
            display
        }),
        1 => prop_oneof![1 => Just(1usize), 1 => Just(0)].prop_map(What::Register),
    ]
}

fn who() -> impl Strategy<Value = Who> {
    let key = prop_oneof![20 => Just(Key::Fresh), 2 => (0..4usize).prop_map(Key::Pool), 2 => Just(Key::None)];
    let source = 0..2usize;
    let number = prop_oneof![
        30 => source.clone().prop_map(Number::Next),
        3 => (source.clone(), 1..4u64).prop_map(|(source, back)| Number::Old(source, back)),
        2 => source.clone().prop_map(Number::Gap),
        2 => source.prop_map(Number::OldEpoch),
        1 => Just(Number::OfNobody),
    ];
    let number = prop_oneof![3 => Just(None), 1 => number.prop_map(Some)];
    let channel = prop_oneof![40 => Just(0usize), 12 => Just(1), 12 => Just(2), 1 => Just(3)];
    let age = prop_oneof![8 => Just(None), 1 => prop::sample::select(vec![0i64, 900, 4_000, 6_000]).prop_map(Some)];
    let remember = prop_oneof![2 => Just(false), 1 => Just(true)];
    (key, channel, number, 0..3usize, 0..3usize, age, remember).prop_map(
        |(key, channel, source, order, holder, age_ms, remember)| Who {
            key,
            channel,
            source,
            order,
            holder,
            age_ms,
            remember,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let twist = prop_oneof![
        3 => Just(Twist::Same),
        1 => Just(Twist::OtherBody),
        1 => Just(Twist::NextNumber),
        1 => Just(Twist::NoSource),
        1 => Just(Twist::Remember),
        1 => Just(Twist::OtherSender),
    ];
    let wait = prop::sample::select(vec![1i64, 50, 97, 100, 500, 900, 999, 1_000, 1_001, 2_500, 5_000]);
    prop_oneof![
        30 => (who(), what()).prop_map(|(who, what)| Step::Ask(Ask { who, what })),
        5 => (0..6usize, twist).prop_map(|(back, twist)| Step::Again { back, twist }),
        8 => wait.prop_map(Step::Wait),
        2 => Just(Step::Sweep),
        2 => Just(Step::Forget),
        1 => Just(Step::Restart),
        3 => Just(Step::Cut),
    ]
}

/// Histories of up to so many steps.
pub fn history(steps_max: usize) -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..steps_max)
}
