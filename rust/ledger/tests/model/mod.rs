//! The ledger once more, slow and obvious. Names are strings, nothing is counted that can be summed, nothing is prepared that
//! can be looked for; a command is tried on a copy, which is thrown away if the answer is no. It shares the types of commands
//! and answers with the ledger and no line of its code.

mod holds;
mod moves;
mod stock;
mod time;

use std::collections::{BTreeMap, BTreeSet};

use invengine_ledger::command::Body;
use invengine_ledger::reservation::LineState;
use invengine_ledger::{Command, Context, Reason, ReservationId};

use crate::desk::told::{Did, No, Told};

/// Outcomes kept of each epoch of a source.
const OUTCOMES_KEPT: usize = 1_024;

/// An item at a location.
pub type Place = (String, String);

/// Whose keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writer {
    Operator,
    Channel(String),
    Source(String),
}

/// What is physically at a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    pub on_hand: i64,
    pub damaged: i64,
    pub returned: i64,
    pub quality_control: i64,
}

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

/// One reservation. What is over is in `reserved` until its event is written.
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
    pub lines: BTreeMap<Place, Line>,
    /// The window in which nothing was left of it, most lately.
    ended_in: u32,
}

/// What a key did.
#[derive(Clone, Debug)]
pub struct Known {
    meaning: String,
    pub sequence: u64,
    /// Nothing: the key was cancelled before it was used.
    pub did: Option<Did>,
    window: u32,
}

/// An outside system.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub epoch: u64,
    pub last: u64,
    /// Number, meaning, position, answer.
    kept: Vec<(u64, String, u64, Result<Did, No>)>,
}

/// The state.
#[derive(Clone, Debug)]
pub struct Model {
    pub sequence: u64,
    pub time_ms: i64,
    first_time_ms: i64,
    window_ms: i64,
    pub catalogues: [BTreeMap<String, (String, String)>; 3],
    /// In the order of first mention.
    pub stock: Vec<(Place, Stock)>,
    /// In the order they were made.
    pub holds: Vec<Hold>,
    ids: BTreeSet<ReservationId>,
    pub keys: BTreeMap<(Writer, String), Known>,
    refused: BTreeMap<(Writer, String), (String, No)>,
    pub sources: BTreeMap<String, Source>,
    /// Number of the younger window of keys, when it began, and when the one before began.
    window: u32,
    younger_ms: i64,
    older_ms: i64,
    pub expiries: u64,
    /// How often it was started: the writer epoch.
    starts: u64,
}

impl Model {
    /// An empty ledger that remembers keys for so long.
    pub fn new(window_ms: i64) -> Self {
        Model {
            sequence: 0,
            time_ms: i64::MIN,
            first_time_ms: i64::MIN,
            window_ms,
            catalogues: Default::default(),
            stock: Vec::new(),
            holds: Vec::new(),
            ids: BTreeSet::new(),
            keys: BTreeMap::new(),
            refused: BTreeMap::new(),
            sources: BTreeMap::new(),
            window: 1,
            younger_ms: i64::MIN,
            older_ms: i64::MIN,
            expiries: 0,
            starts: 1,
        }
    }

    /// Executes a command. `new_id` is the id that the ledger chose, if it made a hold.
    pub fn execute(&mut self, command: &Command<'_>, now_ms: i64, new_id: Option<ReservationId>) -> Told {
        let now_ms = now_ms.max(self.time_ms);
        let context = &command.context;
        if let Some(position) = context.source.filter(|position| !self.sources.contains_key(position.id)) {
            return Told::No(No::new(Reason::UnknownSource).fact("source", position.id));
        }
        self.look_up_key(command, now_ms)
            .or_else(|| self.look_up_number(command))
            .unwrap_or_else(|| self.try_out(command, now_ms, new_id))
    }

    /// What the key did before, or why it may not be used.
    fn look_up_key(&mut self, command: &Command<'_>, now_ms: i64) -> Option<Told> {
        let context = &command.context;
        let meaning = meaning(command);
        if let Some(name) = self.key_name(context) {
            if let Some(known) = self.keys.get(&name).cloned() {
                let Some(did) = known.did else {
                    return Some(self.refuse_again(command, &meaning, No::new(Reason::KeyCancelled), now_ms));
                };
                if known.meaning != meaning {
                    return Some(Told::No(No::new(Reason::IdempotencyKeyReused).fact("sequence", known.sequence)));
                }
                if self.is_next(context) {
                    self.event(now_ms);
                    // The number remembers its own position, the key the first one.
                    self.consume(context, meaning, self.sequence, Ok(did.clone()));
                }
                return Some(Told::Yes { sequence: known.sequence, replayed: true, did });
            }
            // A numbered message is decided afresh: its no uses up its number.
            let refused = self.refused.get(&name).filter(|_| context.source.is_none());
            if let Some((before, no)) = refused {
                let other = No::new(Reason::IdempotencyKeyReused);
                return Some(Told::No(if *before == meaning { no.clone() } else { other }));
            }
        }
        let start_ms = self.older_ms.max(now_ms - self.window_ms);
        let too_old = |issued: i64| issued < start_ms || issued <= self.older_ms;
        let forgotten = context.issue_time_ms.is_some_and(too_old) && context.source.is_none();
        forgotten.then(|| Told::No(No::new(Reason::DedupeWindowExpired).fact("window", now_ms - start_ms)))
    }

    /// The same no as before; it uses up the number of a message whose turn it is.
    fn refuse_again(&mut self, command: &Command<'_>, meaning: &str, no: No, now_ms: i64) -> Told {
        if self.is_next(&command.context) {
            self.event(now_ms);
            self.consume(&command.context, meaning.to_owned(), self.sequence, Err(no.clone()));
        }
        Told::No(no)
    }

    /// What the number did before, or why it is not its turn.
    fn look_up_number(&self, command: &Command<'_>) -> Option<Told> {
        let position = command.context.source?;
        let source = &self.sources[position.id];
        let no = |reason| No::new(reason).fact("source", position.id);
        if position.epoch != source.epoch {
            return Some(Told::No(no(Reason::StaleEpoch).fact("current", source.epoch)));
        }
        if position.sequence > source.last + 1 {
            let expected = source.last + 1;
            return Some(Told::No(no(Reason::SequenceGap).fact("expected", expected).fact("got", position.sequence)));
        }
        if position.sequence == source.last + 1 {
            return None;
        }
        let kept = source.kept.iter().find(|kept| kept.0 == position.sequence);
        Some(match kept {
            None => Told::No(no(Reason::SequenceConsumed).fact("last", source.last)),
            Some(kept) if kept.1 != meaning(command) => {
                Told::No(no(Reason::SequenceConflict).fact("sequence", position.sequence))
            }
            Some((_, _, _, Err(no))) => Told::No(no.clone()),
            Some((_, _, sequence, Ok(did))) => Told::Yes { sequence: *sequence, replayed: true, did: did.clone() },
        })
    }

    /// Does the command on a copy, and keeps the copy if nothing speaks against it.
    fn try_out(&mut self, command: &Command<'_>, now_ms: i64, new_id: Option<ReservationId>) -> Told {
        let context = &command.context;
        let mut copy = self.clone();
        let done = copy.perform(command, now_ms, new_id);
        let meaning = meaning(command);
        match done {
            Ok(did) => {
                *self = copy;
                if let Some(name) = self.key_name(context) {
                    let (sequence, window) = (self.sequence, self.window);
                    let did = Some(did.clone());
                    self.keys.insert(name, Known { meaning: meaning.clone(), sequence, did, window });
                }
                if context.source.is_some() {
                    self.consume(context, meaning, self.sequence, Ok(did.clone()));
                }
                let known = self.key_name(context).is_some() || context.source.is_some();
                let did = if known { did } else { Did::Done };
                Told::Yes { sequence: self.sequence, replayed: false, did }
            }
            Err(no) if no.reason == Reason::InvalidField => Told::No(no),
            Err(no) if context.source.is_some() => {
                self.event(now_ms);
                self.consume(context, meaning, self.sequence, Err(no.clone()));
                Told::No(no)
            }
            Err(no) => {
                if let Some(name) = self.key_name(context) {
                    self.refused.insert(name, (meaning, no.clone()));
                }
                Told::No(no)
            }
        }
    }

    fn perform(&mut self, command: &Command<'_>, now_ms: i64, new_id: Option<ReservationId>) -> Result<Did, No> {
        let context = &command.context;
        if !context.channel.is_empty() && !self.catalogues[2].contains_key(context.channel) {
            return Err(No::new(Reason::UnknownChannel).fact("channel", context.channel));
        }
        self.begin(now_ms);
        match &command.body {
            Body::Reserve { .. } => self.reserve(command, now_ms, new_id),
            Body::Extend { target, ttl_ms } => self.extend(context, target, *ttl_ms, now_ms),
            Body::Amend { target, lines } => self.amend(context, target, lines, now_ms),
            Body::Allocate(target) => self.allocate(context, target, now_ms),
            Body::Release(target) => self.release(context, target, now_ms),
            Body::Fulfill(target) => self.fulfill(context, target, now_ms),
            Body::Transfer { target, to_location } => self.transfer(context, target, to_location, now_ms),
            Body::Stock { kind, lines } => self.change_stock(*kind, lines, now_ms),
            Body::Upsert { catalogue, entries } => Ok(self.upsert(*catalogue, entries)),
            Body::RegisterSource { source } => Ok(self.register(source)),
        }
    }

    /// Time goes on with the first event of a command, and with nothing else.
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

    /// Under what the command's key is remembered, if it has one and its writer exists.
    fn key_name(&self, context: &Context<'_>) -> Option<(Writer, String)> {
        let exists = context.channel.is_empty() || self.catalogues[2].contains_key(context.channel);
        (exists && !context.key.is_empty()).then(|| (self.writer(context), context.key.to_owned()))
    }

    fn is_next(&self, context: &Context<'_>) -> bool {
        context.source.is_some_and(|position| {
            let source = &self.sources[position.id];
            position.epoch == source.epoch && position.sequence == source.last + 1
        })
    }

    fn consume(&mut self, context: &Context<'_>, meaning: String, sequence: u64, answer: Result<Did, No>) {
        let position = context.source.expect("a numbered message");
        let source = self.sources.get_mut(position.id).expect("a known source");
        source.last = position.sequence;
        source.kept.push((position.sequence, meaning, sequence, answer));
        if source.kept.len() > OUTCOMES_KEPT {
            drop(source.kept.remove(0));
        }
    }
}

/// What a command means: all of it but who sent it when, and under which key.
fn meaning(command: &Command<'_>) -> String {
    let context = Context { key: "", issue_time_ms: None, source: None, causation: "", ..command.context };
    format!("{context:?} {:?}", command.body)
}
