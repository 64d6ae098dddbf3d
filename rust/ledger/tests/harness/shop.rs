//! A shop that sends messages, and the commands that stand for their bytes.

use invengine_ledger::command::SourcePosition;
use invengine_ledger::event::StockKind::Received;
use invengine_ledger::inbox::{InboxLimits, Settling};
use invengine_ledger::{Command, Context, Deferral, LedgerOptions, Reason};

use super::Harness;
use super::answers::{Outcome, Reply};
use super::commands::{register, stock};

pub const PARKED: Outcome = Outcome::Kept(Deferral::Parked);
pub const WAITING: Outcome = Outcome::Kept(Deferral::Waiting);

/// A ledger with mugs in wh-1, the sources wms and erp, and the commands that stand for the bytes of messages.
pub struct Shop {
    pub harness: Harness,
    commands: Vec<Command<'static>>,
}

pub fn leaked(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

pub fn received(mugs: i64) -> Command<'static> {
    stock("", Received, "mug", "wh-1", mugs)
}

impl Shop {
    pub fn new() -> Self {
        Self::of(Harness::with_mugs(10))
    }

    pub fn with_limits(inbox: InboxLimits) -> Self {
        let mut harness = Harness::new(LedgerOptions { inbox, ..LedgerOptions::new("main") }).opened();
        harness.ask(&stock("s", Received, "mug", "wh-1", 10)).accepted();
        Self::of(harness)
    }

    pub fn of(mut harness: Harness) -> Self {
        harness.ask(&register("wms", "wms")).accepted();
        harness.ask(&register("erp", "erp")).accepted();
        Shop { harness, commands: Vec::new() }
    }

    /// Sends a message under an id, and what it sets free.
    pub fn send_as(&mut self, id: &'static str, source: &'static str, number: u64, command: Command<'static>) -> Reply {
        let bytes = leaked(self.commands.len().to_string()).as_bytes();
        let position = SourcePosition { id: source, epoch: 1, sequence: number };
        let context = Context { key: id, source: Some(position), message: Some(bytes), ..command.context };
        let command = Command { context, body: command.body };
        self.commands.push(command.clone());
        let reply = self.harness.ask(&command);
        self.drain();
        self.check();
        reply
    }

    pub fn send(&mut self, source: &'static str, number: u64, command: Command<'static>) -> Reply {
        self.send_as(leaked(format!("{source}-{number}")), source, number, command)
    }

    pub fn command_of(&self, bytes: &[u8]) -> Command<'static> {
        self.commands[std::str::from_utf8(bytes).unwrap().parse::<usize>().unwrap()].clone()
    }

    pub fn drain(&mut self) {
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
    }

    pub fn redrive(&mut self, letter: u64, command: Option<Command<'static>>, dry_run: bool) -> Reply {
        let kept = self.harness.ledger.inbox(0).unwrap().letter(letter).map(|letter| letter.held.clone());
        let kept = kept.map(|held| self.command_of(&held.message)).or(command.clone());
        let kept = kept.unwrap_or_else(|| received(1));
        let command = command.map_or(kept.clone(), |command| Command { context: kept.context, ..command });
        let settling = Settling { actor: "mara", reason_code: "FIXED", dry_run };
        let executed = self.harness.own(|ledger, now_ms, payload, bytes_max| {
            ledger.redrive(&command, (0, letter), settling, (now_ms, payload, bytes_max))
        });
        let reply = Reply::new(&self.harness.ledger, &executed);
        self.drain();
        self.check();
        reply
    }

    pub fn mugs(&self) -> i64 {
        self.harness.level("mug", "wh-1").0
    }

    /// Numbers of parked messages, of those that wait, and of dead letters, of both sources.
    pub fn kept(&self) -> [Vec<u64>; 3] {
        let inboxes = || (0..2).filter_map(|source| self.harness.ledger.inbox(source));
        [
            inboxes().flat_map(|inbox| inbox.parked().map(|held| held.number)).collect(),
            inboxes().flat_map(|inbox| inbox.waiting_after(0).map(|waiting| waiting.held.number)).collect(),
            inboxes().flat_map(|inbox| inbox.letters_after(0).map(|letter| letter.held.number)).collect(),
        ]
    }

    pub fn letters(&self) -> Vec<(u64, Reason)> {
        let letters = self.harness.ledger.inbox(0).unwrap().letters_after(0);
        letters.map(|letter| (letter.held.sequence, letter.rejection.reason)).collect()
    }

    /// The journal and an image give the same state, with the same messages in it.
    pub fn check(&mut self) {
        self.harness.check();
        let digest = self.harness.digest();
        assert_eq!(self.harness.refold().digest(), digest);
        let mut image = self.harness.ledger.image();
        let mut loader = invengine_ledger::ImageLoader::new(LedgerOptions::new("main"));
        let mut piece = Vec::new();
        while image.next(&mut piece) {
            loader.piece(&piece).unwrap();
        }
        assert_eq!(loader.finish().unwrap().digest(), digest);
    }
}
