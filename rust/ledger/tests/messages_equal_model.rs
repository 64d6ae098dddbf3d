//! Messages of two sources, shuffled, repeated, with gaps and refusals: the ledger and a slow model of what is kept give the same
//! answers, keep the same messages and have the same stock after every step of any history.

mod harness;
mod kept_model;

use std::collections::BTreeMap;

use invengine_ledger::command::{Body, SourcePosition};
use invengine_ledger::event::StockKind::Received;
use invengine_ledger::inbox::{InboxLimits, Settling, WAIT_MS_MAX};
use invengine_ledger::{Command, Context, EntityKind, LedgerOptions, StockState};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use harness::Harness;
use harness::answers::{Outcome, Reply};
use harness::commands::{arrive, register, ship, stock, upsert};
use harness::shop::leaked;
use kept_model::{Fate, Kept, Limits, Sent, Told};

const SOURCES: [&str; 2] = ["wms", "erp"];
const TRANSFERS: [&str; 3] = ["T1", "T2", "T3"];
const IDS: [&str; 2] = ["id-a", "id-b"];
const MUGS: i64 = 10;

#[derive(Clone, Debug)]
enum Step {
    /// A message, this far from the next number; under an id of its own, or one that others use too.
    Send {
        source: usize,
        ahead: i64,
        epochs_back: u64,
        id: Option<usize>,
        told: Told,
    },
    /// A message that was sent before, perhaps under the next number.
    Again {
        back: usize,
        next: bool,
    },
    /// A command of nobody's, without a number.
    Plain(Told),
    /// Jugs become known.
    Know,
    Redrive {
        source: usize,
        at: usize,
        corrected: Option<Told>,
        dry_run: bool,
    },
    Discard {
        source: usize,
        at: usize,
    },
    Skip {
        source: usize,
        beyond: u64,
    },
    Register(usize),
    WaitLong,
    Restart,
}

fn told() -> impl Strategy<Value = Told> {
    let transfer = 0..TRANSFERS.len();
    prop_oneof![
        5 => (1..4i64).prop_map(|units| Told::Came { jugs: false, units }),
        3 => (1..4i64).prop_map(|units| Told::Came { jugs: true, units }),
        2 => (transfer.clone(), 1..6i64).prop_map(|(transfer, units)| Told::Left { transfer, units }),
        4 => (transfer, 1..4i64).prop_map(|(transfer, units)| Told::Arrived { transfer, units }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let source = || 0..2usize;
    let ahead = prop_oneof![6 => Just(0i64), 6 => 1..4i64, 1 => -3..0i64];
    let epochs_back = prop_oneof![20 => Just(0u64), 1 => Just(1)];
    let id = prop_oneof![6 => Just(None), 1 => (0..IDS.len()).prop_map(Some)];
    let corrected = prop_oneof![2 => Just(None), 1 => told().prop_map(Some)];
    prop_oneof![
        24 => (source(), ahead, epochs_back, id, told()).prop_map(|(source, ahead, epochs_back, id, told)| Step::Send {
            source, ahead, epochs_back, id, told
        }),
        8 => (0..8usize, any::<bool>()).prop_map(|(back, next)| Step::Again { back, next }),
        2 => told().prop_map(Step::Plain),
        1 => Just(Step::Know),
        5 => (source(), 0..3usize, corrected, any::<bool>())
            .prop_map(|(source, at, corrected, dry_run)| Step::Redrive { source, at, corrected, dry_run }),
        1 => (source(), 0..3usize).prop_map(|(source, at)| Step::Discard { source, at }),
        3 => (source(), 0..4u64).prop_map(|(source, beyond)| Step::Skip { source, beyond }),
        1 => source().prop_map(Step::Register),
        1 => Just(Step::WaitLong),
        1 => Just(Step::Restart),
    ]
}

fn command_of(told: Told) -> Command<'static> {
    match told {
        Told::Came { jugs, units } => stock("", Received, if jugs { "pot" } else { "mug" }, "wh-1", units),
        Told::Left { transfer, units } => ship("", TRANSFERS[transfer], ["wh-1", "wh-2"], leaked_lines(units)),
        Told::Arrived { transfer, units } => {
            arrive("", TRANSFERS[transfer], Box::leak(Box::new([("mug", units, StockState::OnHand)])))
        }
    }
}

fn leaked_lines(units: i64) -> &'static [(&'static str, i64)] {
    Box::leak(Box::new([("mug", units)]))
}

/// The ledger and the model side by side.
struct Pair {
    harness: Harness,
    model: Kept,
    sent: Vec<Sent>,
    /// The commands that the bytes of messages stand for.
    commands: Vec<Command<'static>>,
    keys: usize,
    seen: BTreeMap<String, u32>,
}

impl Pair {
    fn new(limits: Limits) -> Self {
        let inbox = InboxLimits { held: limits.held, letters: limits.letters, ..InboxLimits::default() };
        let mut harness = Harness::new(LedgerOptions { inbox, ..LedgerOptions::new("main") }).opened();
        harness.ask(&stock("s", Received, "mug", "wh-1", MUGS)).accepted();
        for source in SOURCES {
            harness.ask(&register(source, source)).accepted();
        }
        let model = Kept::new(limits, MUGS, harness.now_ms);
        Pair { harness, model, sent: Vec::new(), commands: Vec::new(), keys: 0, seen: BTreeMap::new() }
    }

    fn see(&mut self, label: impl Into<String>) {
        *self.seen.entry(label.into()).or_default() += 1;
    }

    fn key(&mut self) -> &'static str {
        self.keys += 1;
        leaked(format!("plain-{}", self.keys))
    }

    fn message(&mut self, sent: &Sent) -> Command<'static> {
        let bytes = leaked(self.commands.len().to_string()).as_bytes();
        let position = SourcePosition { id: SOURCES[sent.source], epoch: sent.epoch, sequence: sent.number };
        let key = leaked(sent.id.clone());
        let Command { context, body } = command_of(sent.told);
        let command =
            Command { context: Context { key, source: Some(position), message: Some(bytes), ..context }, body };
        self.commands.push(command.clone());
        command
    }

    fn command_of(&self, bytes: &[u8]) -> Command<'static> {
        self.commands[std::str::from_utf8(bytes).unwrap().parse::<usize>().unwrap()].clone()
    }

    fn drain(&mut self) {
        let before = (self.model.parked.len(), self.model.waiting.len());
        while let Some(ready) = self.harness.ledger.next_ready() {
            let command = self.command_of(&ready.message);
            match ready.waiting() {
                None => drop(self.harness.execute(&command)),
                Some(place) => {
                    self.harness.own(|ledger, now_ms, payload, bytes_max| {
                        ledger.execute_waiting(&command, place, false, (now_ms, payload, bytes_max))
                    });
                }
            }
        }
        self.model.drain();
        if self.model.parked.len() < before.0 {
            self.see("gap filled");
        }
        if self.model.waiting.len() < before.1 {
            self.see("wait ended");
        }
    }

    fn send(&mut self, sent: Sent) {
        let command = self.message(&sent);
        let reply = self.harness.ask(&command);
        let fate = self.model.send(&sent);
        assert_eq!(fate_of(&reply), fate, "{sent:?} {reply:?}");
        let dead = self.model.letters.iter().any(|letter| letter.0 == sent);
        self.see(match fate {
            Fate::Refused(reason) if dead => format!("dead {}", reason.name()),
            Fate::Refused(reason) => reason.name().to_owned(),
            other => format!("{other:?}"),
        });
        self.sent.push(sent);
    }

    fn plain(&mut self, label: &str, command: Command<'static>, fate: Fate) {
        let command = Command { context: Context { key: self.key(), ..command.context }, ..command };
        let reply = self.harness.ask(&command);
        assert_eq!(fate_of(&reply), fate, "{command:?}");
        self.see(format!("{label} {fate:?}"));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Send { source, ahead, epochs_back, id, told } => {
                let (epoch, last) = self.model.sources[*source];
                let (epoch, number) =
                    (epoch.saturating_sub(*epochs_back), last.saturating_add_signed(1 + ahead).max(1));
                let own = || format!("{source}-{epoch}-{number}");
                let id = id.map_or_else(own, |id| IDS[id].to_owned());
                self.send(Sent { source: *source, epoch, number, id, told: *told });
            }
            Step::Again { back, next } => {
                let Some(sent) = self.sent.iter().rev().nth(*back).cloned() else { return };
                let (epoch, last) = self.model.sources[sent.source];
                self.send(if *next { Sent { epoch, number: last + 1, ..sent } } else { sent });
            }
            Step::Plain(told) => {
                let fate = self.model.plain(*told);
                self.plain("plain", command_of(*told), fate);
            }
            Step::Know => {
                self.model.knows_jugs = true;
                self.plain("know", upsert("", EntityKind::Items, &["pot"]), Fate::Applied { again: false });
            }
            Step::Redrive { source, at, corrected, dry_run } => self.redrive((*source, *at), *corrected, *dry_run),
            Step::Discard { source, at } => {
                let letter = self.letter((*source, *at)).unwrap_or(1);
                let fate = self.model.discard((*source, *at));
                let body = Body::DiscardLetters { source: SOURCES[*source], letters: vec![letter] };
                self.plain("discard", Command { context: Context::default(), body }, fate);
            }
            Step::Skip { source, beyond } => {
                let (epoch, last) = self.model.sources[*source];
                let fate = self.model.skip(*source, last + beyond);
                let body = Body::SkipGap { source: SOURCES[*source], epoch, through: last + beyond };
                self.plain("skip", Command { context: Context::default(), body }, fate);
            }
            Step::Register(source) => {
                let parked = self.model.parked.iter().filter(|parked| parked.source == *source).count();
                let key = self.key();
                let Outcome::Registered { epoch, .. } = self.harness.ask(&register(key, SOURCES[*source])).accepted()
                else {
                    panic!("a registration")
                };
                self.model.register(*source, epoch);
                self.see(if parked > 0 { "dropped by a new epoch" } else { "a new epoch" });
            }
            Step::WaitLong => self.wait_long(),
            Step::Restart => {
                self.harness.restart();
                self.model.restart();
            }
        }
        self.drain();
        self.compare();
    }

    fn letter(&self, (source, at): (usize, usize)) -> Option<u64> {
        let inbox = self.harness.ledger.inbox(source as u32)?;
        inbox.letters_after(0).nth(at).map(|letter| letter.held.sequence)
    }

    fn redrive(&mut self, place: (usize, usize), corrected: Option<Told>, dry_run: bool) {
        let Some(fate) = self.model.redrive(place, corrected, dry_run) else { return };
        let letter = self.letter(place).expect("the model has it");
        let kept = self.harness.ledger.inbox(place.0 as u32).and_then(|inbox| inbox.letter(letter)).expect("a letter");
        let command = self.command_of(&kept.held.message);
        let body = corrected.map_or_else(|| command.body.clone(), |told| command_of(told).body);
        let command = Command { context: command.context, body };
        let settling = Settling { actor: "mara", reason_code: "FIXED", dry_run };
        let before = self.harness.digest();
        let executed = self.harness.own(|ledger, now_ms, payload, bytes_max| {
            ledger.redrive(&command, (place.0 as u32, letter), settling, (now_ms, payload, bytes_max))
        });
        let reply = Reply::new(&self.harness.ledger, &executed);
        assert_eq!(fate_of(&reply), fate, "{command:?}");
        let refused = matches!(fate, Fate::Refused(_));
        assert_eq!(self.harness.digest() == before, dry_run || refused, "{reply:?}");
        self.see(if refused {
            "redrive refused".to_owned()
        } else {
            let how = if corrected.is_some() { "corrected" } else { "as it was" };
            if dry_run { "redrive dry".to_owned() } else { format!("redriven {how}") }
        });
    }

    fn wait_long(&mut self) {
        self.harness.wait(WAIT_MS_MAX);
        self.model.now_ms = self.harness.now_ms;
        let waiting = self.model.waiting.len();
        while let Some(overdue) = self.harness.ledger.overdue_waiting(self.harness.now_ms) {
            let (command, place) = (self.command_of(&overdue.message), overdue.waiting().expect("it waits"));
            self.harness.own(|ledger, now_ms, payload, bytes_max| {
                ledger.execute_waiting(&command, place, true, (now_ms, payload, bytes_max))
            });
        }
        self.model.end_overdue(WAIT_MS_MAX);
        if self.model.waiting.len() < waiting {
            self.see("waited too long");
        }
    }

    fn compare(&self) {
        self.harness.check();
        let (ledger, model) = (&self.harness.ledger, &self.model);
        for source in 0..2 {
            let found = &ledger.sources()[source];
            assert_eq!((found.epoch, found.last), model.sources[source]);
            let inbox = ledger.inbox(source as u32);
            let mut parked: Vec<u64> =
                model.parked.iter().filter(|sent| sent.source == source).map(|sent| sent.number).collect();
            parked.sort_unstable();
            let found: Vec<u64> = inbox.iter().flat_map(|inbox| inbox.parked().map(|held| held.number)).collect();
            assert_eq!(found, parked);
            let waiting: Vec<_> =
                model.waiting.iter().map(|waiting| &waiting.0).filter(|it| it.source == source).collect();
            let waiting: Vec<_> = waiting.iter().map(|sent| (sent.epoch, sent.number, sent.id.clone())).collect();
            let found = inbox.iter().flat_map(|inbox| inbox.waiting_after(0).map(|waiting| &waiting.held));
            let found: Vec<_> = found.map(|held| (held.epoch, held.number, held.key.to_string())).collect();
            assert_eq!(found, waiting);
            let letters = model.letters.iter().filter(|letter| letter.0.source == source);
            let letters: Vec<_> = letters.map(|(sent, reason)| (sent.epoch, sent.number, *reason)).collect();
            let found = inbox.iter().flat_map(|inbox| inbox.letters_after(0));
            let found: Vec<_> =
                found.map(|letter| (letter.held.epoch, letter.held.number, letter.rejection.reason)).collect();
            assert_eq!(found, letters);
        }
        assert_eq!(["wh-1", "wh-2"].map(|location| self.harness.level("mug", location).0), model.mugs);
    }

    /// The journal and an image give the same state.
    fn end(&mut self) {
        let digest = self.harness.digest();
        assert_eq!(self.harness.refold().digest(), digest);
        let mut loader = invengine_ledger::ImageLoader::new(LedgerOptions::new("main"));
        let mut image = self.harness.ledger.image();
        let mut piece = Vec::new();
        while image.next(&mut piece) {
            loader.piece(&piece).expect("a piece");
        }
        assert_eq!(loader.finish().expect("an image").digest(), digest);
    }
}

fn fate_of(reply: &Reply) -> Fate {
    match reply {
        Reply::Accepted { replayed, outcome: Outcome::Kept(deferral), .. } => Fate::Kept(*deferral, *replayed),
        Reply::Accepted { replayed, .. } => Fate::Applied { again: *replayed },
        Reply::Rejected(refusal) => Fate::Refused(refusal.reason),
    }
}

const ROOMY: Limits = Limits { held: 100, letters: 100 };
const NARROW: Limits = Limits { held: 3, letters: 2 };

fn play(limits: Limits, steps: &[Step]) -> BTreeMap<String, u32> {
    let mut pair = Pair::new(limits);
    steps.iter().for_each(|step| pair.step(step));
    pair.end();
    pair.seen
}

#[test]
fn the_same_histories_reach_every_fate() {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut runner = TestRunner::deterministic();
    for number in 0..600 {
        let steps = vec(step(), 1..80).new_tree(&mut runner).expect("a history").current();
        for (label, count) in play(if number % 2 == 0 { ROOMY } else { NARROW }, &steps) {
            *seen.entry(label).or_default() += count;
        }
    }
    let wanted = [
        "Applied { again: false }",
        "Applied { again: true }",
        "Kept(Parked, false)",
        "Kept(Parked, true)",
        "Kept(Waiting, false)",
        "Kept(Waiting, true)",
        "gap filled",
        "wait ended",
        "waited too long",
        "dead UNKNOWN_SKU",
        "dead INSUFFICIENT_STOCK",
        "dead TRANSFER_STATE",
        "dead IDEMPOTENCY_KEY_REUSED",
        "IDEMPOTENCY_KEY_REUSED",
        "SEQUENCE_CONFLICT",
        "SEQUENCE_CONSUMED",
        "STALE_EPOCH",
        "OVERLOADED",
        "redriven as it was",
        "redriven corrected",
        "redrive dry",
        "redrive refused",
        "skip Applied { again: false }",
        "skip Refused(InvalidField)",
        "skip Refused(SequenceConsumed)",
        "discard Applied { again: false }",
        "discard Refused(EntityNotFound)",
        "dropped by a new epoch",
    ];
    let missing: Vec<_> = wanted.into_iter().filter(|label| !seen.contains_key(*label)).collect();
    assert!(missing.is_empty(), "{missing:?} of {seen:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_messages(steps in vec(step(), 1..60)) {
        play(ROOMY, &steps);
    }

    #[test]
    fn any_messages_with_little_room(steps in vec(step(), 1..60)) {
        play(NARROW, &steps);
    }
}
