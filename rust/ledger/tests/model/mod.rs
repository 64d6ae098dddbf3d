//! A slow and obvious model of the ledger. Names are strings; sums are recomputed instead of counted, and there are no indexes;
//! a command is executed on a copy, which is discarded if it is rejected. The model shares the types of commands and answers
//! with the ledger, and none of its code.

mod authority;
pub mod entities;
mod holds;
mod moves;
mod stock;
mod time;
pub mod transfers;

use std::collections::{BTreeMap, BTreeSet};

use invengine_ledger::command::Body;
use invengine_ledger::reservation::LineState;
use invengine_ledger::{Command, Context, EntityKind, Reason, ReservationId, StockState};

use crate::harness::answers::{Outcome, Refusal, Reply};
use authority::{Claim, Profile, Rule};
use entities::Entities;
use transfers::Transfer;

/// Outcomes kept for each epoch of a source.
const OUTCOMES_KEPT: usize = 1_024;

/// A level: an item at a location.
pub type LevelKey = (String, String);

/// The writer that a key belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writer {
    Operator,
    Channel(String),
    Source(String),
}

/// The physical stock of a level: units by state, and under `OnHand` the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stock(pub BTreeMap<StockState, i64>);

/// One line of a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub reserved: i64,
    pub allocated: i64,
    pub released: i64,
    pub expired: i64,
    pub fulfilled: i64,
    pub last: LineState,
}

/// One reservation. Expired units are in `reserved` until their event is written.
#[derive(Clone, Debug)]
pub struct Hold {
    pub id: ReservationId,
    pub version: u32,
    pub channel: String,
    pub expire_ms: i64,
    pub create_ms: i64,
    pub sequence: u64,
    pub key: String,
    pub order_ref: String,
    pub holder: String,
    pub lines: BTreeMap<LevelKey, Line>,
    /// The window in which it last ended.
    ended_in: u32,
}

/// What a key did.
#[derive(Clone, Debug)]
pub struct KnownKey {
    meaning: String,
    pub sequence: u64,
    /// `None`: the key was cancelled before it was used.
    pub outcome: Option<Outcome>,
    window: u32,
}

/// A refusal whose caller wants it remembered.
#[derive(Clone, Debug)]
pub struct RememberedRefusal {
    meaning: String,
    pub refusal: Refusal,
    pub sequence: u64,
    window: u32,
}

/// An external system.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub epoch: u64,
    pub last: u64,
    /// Number, meaning, position, answer.
    kept: Vec<(u64, String, u64, Result<Outcome, Refusal>)>,
}

impl Source {
    /// Position of the command that consumed a number, if its outcome is kept.
    pub fn sequence_of(&self, number: u64) -> Option<u64> {
        self.kept.iter().find(|kept| kept.0 == number).map(|kept| kept.2)
    }
}

/// The state.
#[derive(Clone, Debug)]
pub struct Model {
    pub sequence: u64,
    pub time_ms: i64,
    first_time_ms: i64,
    window_ms: i64,
    pub entities: Entities,
    /// What stands behind the names of stock transfers, those that were deleted included.
    pub transfers: BTreeMap<String, Transfer>,
    /// In the order of first mention.
    pub stock: Vec<(LevelKey, Stock)>,
    /// In the order they were made.
    pub holds: Vec<Hold>,
    ids: BTreeSet<ReservationId>,
    pub keys: BTreeMap<(Writer, String), KnownKey>,
    refused: BTreeMap<(Writer, String), (String, Refusal)>,
    pub remembered: BTreeMap<(Writer, String), RememberedRefusal>,
    pub sources: BTreeMap<String, Source>,
    /// What stands behind the names of rules and profiles.
    rules: BTreeMap<String, Rule>,
    profiles: BTreeMap<String, Profile>,
    claims: Vec<Claim>,
    /// Most claims of one writer.
    claims_max: usize,
    /// When goods last moved, as far as that was noted.
    changed: BTreeMap<LevelKey, i64>,
    /// Number of the younger window of keys, when it began, and when the one before began.
    window: u32,
    younger_ms: i64,
    older_ms: i64,
    pub expiries: u64,
    /// The number of starts, which is the writer epoch.
    starts: u64,
}

impl Model {
    /// An empty ledger that remembers keys for this long, and allows each writer this many claims.
    pub fn new(window_ms: i64, claims_max: usize) -> Self {
        Model {
            sequence: 0,
            time_ms: i64::MIN,
            first_time_ms: i64::MIN,
            window_ms,
            entities: Entities::default(),
            transfers: BTreeMap::new(),
            stock: Vec::new(),
            holds: Vec::new(),
            ids: BTreeSet::new(),
            keys: BTreeMap::new(),
            refused: BTreeMap::new(),
            remembered: BTreeMap::new(),
            sources: BTreeMap::new(),
            rules: BTreeMap::new(),
            profiles: BTreeMap::new(),
            claims: Vec::new(),
            claims_max,
            changed: BTreeMap::new(),
            window: 1,
            younger_ms: i64::MIN,
            older_ms: i64::MIN,
            expiries: 0,
            starts: 1,
        }
    }

    /// Executes a command. `new_id` is the id that the ledger chose, if it made a hold.
    pub fn execute(&mut self, command: &Command<'_>, now_ms: i64, new_id: Option<ReservationId>) -> Reply {
        let now_ms = now_ms.max(self.time_ms);
        let context = &command.context;
        if let Some(position) = context.source.filter(|position| !self.sources.contains_key(position.id)) {
            return Reply::Rejected(Refusal::new(Reason::UnknownSource).fact("source", position.id));
        }
        self.check_key(command, now_ms)
            .or_else(|| self.check_number(command))
            .unwrap_or_else(|| self.execute_on_copy(command, now_ms, new_id))
    }

    /// The earlier answer of the key, or why it may not be used.
    fn check_key(&mut self, command: &Command<'_>, now_ms: i64) -> Option<Reply> {
        let context = &command.context;
        let meaning = meaning(command);
        if let Some(name) = self.key_name(context) {
            let known = self.keys.get(&name).cloned();
            if let Some((known, outcome)) = known.as_ref().and_then(|known| Some((known, known.outcome.clone()?))) {
                if known.meaning != meaning {
                    return Some(Reply::Rejected(
                        Refusal::new(Reason::IdempotencyKeyReused).fact("sequence", known.sequence),
                    ));
                }
                if self.is_next(context) {
                    self.event(now_ms);
                    // The number remembers its own position, the key the first one.
                    self.consume(context, meaning, self.sequence, Ok(outcome.clone()));
                }
                return Some(Reply::Accepted { sequence: known.sequence, replayed: true, outcome });
            }
            // A remembered refusal remains valid even if the key was cancelled since.
            if let Some(remembered) = self.remembered.get(&name).cloned() {
                if remembered.meaning != meaning {
                    let reused = Refusal::new(Reason::IdempotencyKeyReused);
                    return Some(Reply::Rejected(reused.fact("sequence", remembered.sequence)));
                }
                return Some(self.refuse_again(command, &meaning, remembered.refusal, now_ms));
            }
            if known.is_some() {
                return Some(self.refuse_again(command, &meaning, Refusal::new(Reason::KeyCancelled), now_ms));
            }
            // A numbered message is decided afresh: its rejection consumes its number.
            let refused = self.refused.get(&name).filter(|_| context.source.is_none()).cloned();
            if let Some((before, refusal)) = refused {
                if before != meaning {
                    return Some(Reply::Rejected(Refusal::new(Reason::IdempotencyKeyReused)));
                }
                if context.remember_refusal {
                    self.remember(name, &meaning, &refusal, now_ms);
                }
                return Some(Reply::Rejected(refusal));
            }
        }
        let start_ms = self.older_ms.max(now_ms - self.window_ms);
        let too_old = |issued: i64| issued < start_ms || issued <= self.older_ms;
        let forgotten = context.issue_time_ms.is_some_and(too_old) && context.source.is_none();
        forgotten.then(|| Reply::Rejected(Refusal::new(Reason::DedupeWindowExpired).fact("window", now_ms - start_ms)))
    }

    /// The same rejection as before; it consumes the number of a message that is the next one.
    fn refuse_again(&mut self, command: &Command<'_>, meaning: &str, refusal: Refusal, now_ms: i64) -> Reply {
        if self.is_next(&command.context) {
            self.event(now_ms);
            self.consume(&command.context, meaning.to_owned(), self.sequence, Err(refusal.clone()));
        }
        Reply::Rejected(refusal)
    }

    /// One more event: a refusal that its key remembers.
    fn remember(&mut self, name: (Writer, String), meaning: &str, refusal: &Refusal, now_ms: i64) {
        self.event(now_ms);
        let (meaning, sequence, window) = (meaning.to_owned(), self.sequence, self.window);
        self.remembered.insert(name, RememberedRefusal { meaning, refusal: refusal.clone(), sequence, window });
    }

    /// The earlier answer of the number, or why it is not the next one.
    fn check_number(&self, command: &Command<'_>) -> Option<Reply> {
        let position = command.context.source?;
        let source = &self.sources[position.id];
        let refusal = |reason| Refusal::new(reason).fact("source", position.id);
        if position.epoch != source.epoch {
            return Some(Reply::Rejected(refusal(Reason::StaleEpoch).fact("current", source.epoch)));
        }
        if position.sequence > source.last + 1 {
            let expected = source.last + 1;
            return Some(Reply::Rejected(
                refusal(Reason::SequenceGap).fact("expected", expected).fact("got", position.sequence),
            ));
        }
        if position.sequence == source.last + 1 {
            return None;
        }
        let kept = source.kept.iter().find(|kept| kept.0 == position.sequence);
        Some(match kept {
            None => Reply::Rejected(refusal(Reason::SequenceConsumed).fact("last", source.last)),
            Some(kept) if kept.1 != meaning(command) => {
                Reply::Rejected(refusal(Reason::SequenceConflict).fact("sequence", position.sequence))
            }
            Some((_, _, _, Err(refusal))) => Reply::Rejected(refusal.clone()),
            Some((_, _, sequence, Ok(outcome))) => {
                Reply::Accepted { sequence: *sequence, replayed: true, outcome: outcome.clone() }
            }
        })
    }

    /// Executes the command on a copy, and keeps the copy if it is accepted.
    fn execute_on_copy(&mut self, command: &Command<'_>, now_ms: i64, new_id: Option<ReservationId>) -> Reply {
        let context = &command.context;
        let mut copy = self.clone();
        let done = copy.perform(command, now_ms, new_id);
        let meaning = meaning(command);
        match done {
            Ok(outcome) => {
                *self = copy;
                if let Some(name) = self.key_name(context) {
                    let (sequence, window) = (self.sequence, self.window);
                    let outcome = Some(outcome.clone());
                    self.keys.insert(name, KnownKey { meaning: meaning.clone(), sequence, outcome, window });
                }
                if context.source.is_some() {
                    self.consume(context, meaning, self.sequence, Ok(outcome.clone()));
                }
                let known = self.key_name(context).is_some() || context.source.is_some();
                let outcome = if known { outcome } else { Outcome::Done };
                Reply::Accepted { sequence: self.sequence, replayed: false, outcome }
            }
            Err(refusal) if [Reason::InvalidField, Reason::Overloaded].contains(&refusal.reason) => {
                Reply::Rejected(refusal)
            }
            Err(refusal) if context.remember_refusal && self.key_name(context).is_some() => {
                let name = self.key_name(context).expect("it has one");
                self.remember(name, &meaning, &refusal, now_ms);
                if context.source.is_some() {
                    self.consume(context, meaning, self.sequence, Err(refusal.clone()));
                }
                Reply::Rejected(refusal)
            }
            Err(refusal) if context.source.is_some() => {
                self.event(now_ms);
                self.consume(context, meaning, self.sequence, Err(refusal.clone()));
                Reply::Rejected(refusal)
            }
            Err(refusal) => {
                if let Some(name) = self.key_name(context) {
                    self.refused.insert(name, (meaning, refusal.clone()));
                }
                Reply::Rejected(refusal)
            }
        }
    }

    fn perform(
        &mut self,
        command: &Command<'_>,
        now_ms: i64,
        new_id: Option<ReservationId>,
    ) -> Result<Outcome, Refusal> {
        let context = &command.context;
        if !context.channel.is_empty() && !self.knows(EntityKind::Channels, context.channel) {
            return Err(Refusal::new(Reason::UnknownChannel).fact("channel", context.channel));
        }
        if let Some(passed_on) = context.origin
            && self.is_echo(&passed_on)?
        {
            self.event(now_ms);
            return Ok(Outcome::Echo);
        }
        let reasons = self.check_authority(command)?;
        self.begin(now_ms);
        let before = self.transfers.clone();
        let outcome = self.act(command, &reasons, now_ms, new_id)?;
        self.note_changes(&before, command, &reasons, &outcome);
        Ok(outcome)
    }

    fn act(
        &mut self,
        command: &Command<'_>,
        reasons: &authority::Reasons,
        now_ms: i64,
        new_id: Option<ReservationId>,
    ) -> Result<Outcome, Refusal> {
        let context = &command.context;
        match &command.body {
            Body::Reserve { .. } => self.reserve(command, now_ms, new_id),
            Body::Extend { target, ttl_ms } => self.extend(context, target, *ttl_ms, now_ms),
            Body::Amend { target, lines } => self.amend(context, target, lines, now_ms),
            Body::Allocate(target) => self.allocate(context, target, now_ms),
            Body::Release(target) => self.release(context, target, now_ms),
            Body::Fulfill(target) => self.fulfill(context, target, now_ms),
            Body::Transfer { target, to_location } => self.transfer(context, target, to_location, now_ms),
            Body::Stock { kind, lines } => self.change_stock(context, *kind, lines, reasons, now_ms),
            Body::MoveQuantity { lines } => self.move_quantity(lines, now_ms),
            Body::StockTransfer(command) => self.stock_transfer(command),
            Body::Upsert { kind, entries } => self.upsert(*kind, entries),
            Body::Delete { kind, entries } => self.delete(*kind, entries),
            Body::RegisterSource { source } => Ok(self.register(source)),
            Body::SkipGap { .. } | Body::DiscardLetters { .. } | Body::Invalid(_) => {
                panic!("these histories have no messages; messages_equal_model.rs has")
            }
        }
    }

    fn knows(&self, kind: EntityKind, name: &str) -> bool {
        self.entities.get(kind, name).is_some()
    }

    /// Time advances with the first event of a command, and with nothing else.
    fn begin(&mut self, now_ms: i64) {
        if self.sequence == 0 {
            self.first_time_ms = now_ms;
        }
        self.time_ms = now_ms;
    }

    fn event(&mut self, now_ms: i64) {
        self.begin(now_ms);
        self.sequence += 1;
    }

    fn writer(&self, context: &Context<'_>) -> Writer {
        match context.source {
            _ if !context.channel.is_empty() => Writer::Channel(context.channel.to_owned()),
            Some(position) => Writer::Source(position.id.to_owned()),
            None => Writer::Operator,
        }
    }

    /// The name under which the command's key is remembered, if it has a key and its writer exists.
    fn key_name(&self, context: &Context<'_>) -> Option<(Writer, String)> {
        let exists = context.channel.is_empty() || self.knows(EntityKind::Channels, context.channel);
        (exists && !context.key.is_empty()).then(|| (self.writer(context), context.key.to_owned()))
    }

    fn is_next(&self, context: &Context<'_>) -> bool {
        context.source.is_some_and(|position| {
            let source = &self.sources[position.id];
            position.epoch == source.epoch && position.sequence == source.last + 1
        })
    }

    fn consume(&mut self, context: &Context<'_>, meaning: String, sequence: u64, answer: Result<Outcome, Refusal>) {
        let position = context.source.expect("a numbered message");
        let source = self.sources.get_mut(position.id).expect("a known source");
        source.last = position.sequence;
        source.kept.push((position.sequence, meaning, sequence, answer));
        if source.kept.len() > OUTCOMES_KEPT {
            drop(source.kept.remove(0));
        }
    }
}

/// The meaning of a command: everything except the sender, the times, the key, and whether a refusal is to be remembered. The
/// reason code and the reference count only for commands on stock.
fn meaning(command: &Command<'_>) -> String {
    let is_stock = matches!(command.body, Body::Stock { .. } | Body::MoveQuantity { .. } | Body::StockTransfer(_));
    let of_stock = |text| if is_stock { text } else { "" };
    let context = Context {
        key: "",
        issue_time_ms: None,
        source: None,
        event_time_ms: None,
        actor: "",
        reason_code: of_stock(command.context.reason_code),
        reference: of_stock(command.context.reference),
        causation: "",
        remember_refusal: false,
        accept_summary: false,
        ..command.context
    };
    format!("{context:?} {:?}", command.body)
}
