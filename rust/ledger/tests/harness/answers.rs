//! Answers with names instead of handles: what a caller would read, and what the model can produce too.

use std::collections::BTreeMap;

use invengine_ledger::outcome::HoldChange;
use invengine_ledger::reservation::LineState;
use invengine_ledger::stock_transfer::StockTransfer;
use invengine_ledger::{
    Answer, CountsAs, Deferral, Effect, EntityKind, Executed, Fact, Ledger, LevelFigures, LevelIndex, Reason,
    Rejection, ReservationId, StockState,
};

/// The answer to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Accepted { sequence: u64, replayed: bool, outcome: Outcome },
    Rejected(Refusal),
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub facts: Vec<(&'static str, String)>,
}

/// What an accepted command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A message that is applied later.
    Kept(Deferral),
    Reserved(HoldOutcome),
    Holds(Vec<HoldOutcome>),
    KeyCancelled,
    Levels(Vec<LevelQuantities>),
    /// The levels, and the lines that were only claims.
    Claimed(Vec<LevelQuantities>, Vec<u32>),
    Echo,
    Done,
    Put(Vec<u64>),
    /// Name, version and value of a stock transfer.
    Transfer(String, u64, Vec<String>),
    Registered {
        epoch: u64,
        previous_epoch: u64,
        previous_sequence: u64,
    },
}

/// What happened to one reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldOutcome {
    pub id: ReservationId,
    pub version: u32,
    pub reacquired: bool,
    pub expire_ms: i64,
    pub lines: Vec<LineOutcome>,
}

/// What happened to one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineOutcome {
    pub sku: String,
    pub location: String,
    pub state: LineState,
    pub quantity: i64,
    pub outstanding: i64,
}

/// The quantities of one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelQuantities {
    pub sku: String,
    pub location: String,
    /// Units by state, and under `OnHand` the whole.
    pub stock: BTreeMap<StockState, i64>,
    pub reserved: i64,
    pub allocated: i64,
}

impl Refusal {
    /// A refusal without facts.
    pub fn new(reason: Reason) -> Self {
        Refusal { reason, facts: Vec::new() }
    }

    /// Adds a fact.
    pub fn fact(mut self, name: &'static str, value: impl ToString) -> Self {
        self.facts.push((name, value.to_string()));
        self
    }

    /// Replaces tokens with ids.
    fn with_ids(mut self, ledger: &Ledger) -> Self {
        for (name, text) in &mut self.facts {
            if let Some(id) = ledger.parse_token(text).filter(|_| *name == "reservation") {
                *text = format!("{id:?}");
            }
        }
        self
    }
}

impl From<&Rejection> for Refusal {
    fn from(rejection: &Rejection) -> Self {
        let fact = |fact: &Fact| match fact {
            Fact::Number(name, value) => (*name, value.to_string()),
            Fact::Text(name, text) => (*name, text.to_string()),
        };
        Refusal { reason: rejection.reason, facts: rejection.facts.iter().map(fact).collect() }
    }
}

impl Reply {
    /// Converts an answer, and checks the position that it depends on.
    pub fn new(ledger: &Ledger, executed: &Executed) -> Self {
        match &executed.answer {
            Answer::Accepted { sequence, replayed, effect } => {
                assert!(
                    executed.depends_on >= *sequence && *sequence > 0,
                    "an accepted answer depends on its events: {executed:?}"
                );
                assert!(executed.depends_on <= ledger.sequence(), "{executed:?}");
                Reply::Accepted {
                    sequence: *sequence,
                    replayed: *replayed,
                    outcome: Outcome::new(ledger, ledger.effect(*effect)),
                }
            }
            Answer::Deferred { sequence, replayed, deferral } => {
                assert!(executed.depends_on >= *sequence && executed.depends_on <= ledger.sequence(), "{executed:?}");
                Reply::Accepted { sequence: *sequence, replayed: *replayed, outcome: Outcome::Kept(*deferral) }
            }
            // As a refusal: what is kept shows elsewhere.
            Answer::Buried { sequence, rejection, .. } => {
                assert!(executed.depends_on >= *sequence && *sequence > 0, "{executed:?}");
                Reply::Rejected(Refusal::from(rejection).with_ids(ledger))
            }
            Answer::Rejected(rejection) => {
                let at_once = executed.depends_on == 0 && ledger.sequence() > 0;
                assert!(!at_once || may_leave_at_once(rejection.reason), "{executed:?}");
                Reply::Rejected(Refusal::from(rejection).with_ids(ledger))
            }
        }
    }

    /// The reason of a refusal.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Reply::Rejected(refusal) => Some(refusal.reason),
            Reply::Accepted { .. } => None,
        }
    }

    /// The value of a fact of a refusal.
    pub fn fact(&self, name: &str) -> Option<&str> {
        match self {
            Reply::Rejected(refusal) => refusal.facts.iter().find(|fact| fact.0 == name).map(|fact| fact.1.as_str()),
            Reply::Accepted { .. } => None,
        }
    }

    /// The outcome; fails the test if the answer is a refusal.
    pub fn accepted(self) -> Outcome {
        match self {
            Reply::Accepted { outcome, .. } => outcome,
            Reply::Rejected(refusal) => panic!("refused: {refusal:?}"),
        }
    }

    /// The single hold that was made or changed.
    pub fn hold(self) -> HoldOutcome {
        match self.accepted() {
            Outcome::Reserved(hold) => hold,
            Outcome::Holds(holds) if holds.len() == 1 => holds[0].clone(),
            other => panic!("not one hold: {other:?}"),
        }
    }

    /// The single line of the single hold: (state, quantity, outstanding).
    pub fn line(self) -> (LineState, i64, i64) {
        match self.hold().lines.as_slice() {
            [line] => (line.state, line.quantity, line.outstanding),
            lines => panic!("not one line: {lines:?}"),
        }
    }

    /// True if the answer was given before.
    pub fn replayed(&self) -> bool {
        matches!(self, Reply::Accepted { replayed: true, .. })
    }
}

/// Refusals that do not depend on anything that could be lost.
fn may_leave_at_once(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::InvalidField
            | Reason::InsufficientStock
            | Reason::UnknownSku
            | Reason::UnknownLocation
            | Reason::UnknownChannel
            | Reason::UnknownSource
            | Reason::UnknownGroup
            | Reason::EntityNotFound
            | Reason::DedupeWindowExpired
            | Reason::TooLarge
            | Reason::Overloaded
            | Reason::AnswerTooLarge
    )
}

impl Outcome {
    fn new(ledger: &Ledger, effect: &Effect) -> Self {
        match effect {
            Effect::Reserved(hold) => Outcome::Reserved(HoldOutcome::new(ledger, hold)),
            Effect::Holds(holds) => Outcome::Holds(holds.iter().map(|hold| HoldOutcome::new(ledger, hold)).collect()),
            Effect::KeyCancelled => Outcome::KeyCancelled,
            Effect::Levels(levels) => {
                Outcome::Levels(levels.iter().map(|level| LevelQuantities::new(ledger, level)).collect())
            }
            Effect::Claimed { levels, lines } => {
                let levels = levels.iter().map(|level| LevelQuantities::new(ledger, level)).collect();
                Outcome::Claimed(levels, lines.to_vec())
            }
            Effect::Echo => Outcome::Echo,
            Effect::Waits => panic!("a message that waits is deferred"),
            Effect::Done => Outcome::Done,
            Effect::Put(versions) => Outcome::Put(versions.to_vec()),
            Effect::Transfer(change) => {
                let name = ledger.entities(EntityKind::StockTransfers).names().name(change.transfer);
                Outcome::Transfer(name.to_owned(), change.version, described(ledger, &change.value))
            }
            Effect::Registered { epoch, previous_epoch, previous_sequence, .. } => Outcome::Registered {
                epoch: *epoch,
                previous_epoch: *previous_epoch,
                previous_sequence: *previous_sequence,
            },
            Effect::Tombstone => panic!("a tombstone is nobody's outcome"),
            Effect::Refused(_) => panic!("a refusal is nothing that was done"),
        }
    }
}

/// A stock transfer as text: from, to, and each item with its units, by name.
pub fn described(ledger: &Ledger, transfer: &StockTransfer) -> Vec<String> {
    let location = |handle| ledger.locations().name(handle).to_owned();
    let mut lines: Vec<String> = transfer
        .lines
        .iter()
        .map(|line| {
            let sku = ledger.items().name(line.item);
            format!("{sku} {} {} {} {}", line.shipped, line.received, line.lost, line.sent_back)
        })
        .collect();
    lines.sort_unstable();
    [location(transfer.route.origin), location(transfer.route.destination)].into_iter().chain(lines).collect()
}

impl HoldOutcome {
    fn new(ledger: &Ledger, hold: &HoldChange) -> Self {
        let line = |line: &invengine_ledger::outcome::LineChange| {
            let (sku, location) = names(ledger, line.level);
            LineOutcome { sku, location, state: line.state, quantity: line.quantity, outstanding: line.outstanding }
        };
        HoldOutcome {
            id: hold.id,
            version: hold.version,
            reacquired: hold.reacquired,
            expire_ms: hold.expire_ms,
            lines: hold.lines.iter().map(line).collect(),
        }
    }
}

impl LevelQuantities {
    /// Converts the quantities of a level.
    pub fn new(ledger: &Ledger, figures: &LevelFigures) -> Self {
        let (sku, location) = names(ledger, figures.level);
        LevelQuantities {
            sku,
            location,
            stock: StockState::all().map(|state| (state, figures.stock.of(state))).collect(),
            reserved: figures.reserved,
            allocated: figures.allocated,
        }
    }

    /// Units on hand that cannot be sold.
    pub fn unsellable(&self) -> i64 {
        let unsellable = |state: &StockState| state.counts_as() == CountsAs::Unsellable;
        self.stock.iter().filter(|(state, _)| unsellable(state)).map(|(_, units)| units).sum()
    }
}

fn names(ledger: &Ledger, level: LevelIndex) -> (String, String) {
    let (sku, location) = ledger.level_names(level);
    (sku.to_owned(), location.to_owned())
}
