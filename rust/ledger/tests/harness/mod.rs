//! The test harness: a ledger with the frames that it has filled. Commands go in, answers come out with names.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod answers;
pub mod authority;
pub mod commands;
pub mod shop;

use invengine_ledger::{Audit, Command, Digest, Executed, Ledger, LedgerOptions, Malformed, Payload};

use answers::Reply;

/// A frame size that no test reaches.
pub const ROOMY: usize = 8 << 20;
/// Engine time at which every test begins: an uneven one, so that rounding is visible.
pub const START_MS: i64 = 1_700_000_000_003;

/// One frame, as a journal would store it.
#[derive(Clone, Debug)]
pub struct Frame {
    pub time_ms: i64,
    pub writer_epoch: u64,
    pub payload: Vec<u8>,
    /// Position of its last event.
    pub sequence: u64,
}

/// A ledger, its engine time and its journal.
pub struct Harness {
    pub ledger: Ledger,
    pub now_ms: i64,
    pub frames: Vec<Frame>,
    /// Longest payload of a frame.
    pub bytes_max: usize,
    payload: Payload,
    options: LedgerOptions,
    writer_epoch: u64,
}

impl Default for Harness {
    fn default() -> Self {
        Harness::new(LedgerOptions::new("main"))
    }
}

impl Harness {
    /// An empty ledger.
    pub fn new(options: LedgerOptions) -> Self {
        let mut ledger = Ledger::new(options.clone());
        ledger.set_epoch(1);
        let payload = Payload::default();
        Harness { ledger, now_ms: START_MS, frames: Vec::new(), bytes_max: ROOMY, payload, options, writer_epoch: 1 }
    }

    /// An empty ledger that remembers keys for this long.
    pub fn with_window(dedupe_window_ms: i64) -> Self {
        Harness::new(LedgerOptions { dedupe_window_ms, ..LedgerOptions::new("main") })
    }

    /// Executes a command; returns the ledger's own answer.
    pub fn execute(&mut self, command: &Command<'_>) -> Executed {
        self.ledger.execute(command, self.now_ms, &mut self.payload, self.bytes_max)
    }

    /// Executes a command; returns the answer with names.
    pub fn ask(&mut self, command: &Command<'_>) -> Reply {
        let executed = self.execute(command);
        Reply::new(&self.ledger, &executed)
    }

    /// Writes the Expired events of expired holds; returns their number.
    pub fn sweep(&mut self) -> usize {
        self.ledger.sweep(self.now_ms, &mut self.payload, self.bytes_max)
    }

    /// Forgets old keys if that is due; returns whether it was.
    pub fn forget(&mut self) -> bool {
        self.ledger.forget_keys(self.now_ms, &mut self.payload, self.bytes_max)
    }

    /// Runs an operation of the ledger with the current time and the open frame.
    pub fn own<T>(&mut self, act: impl FnOnce(&mut Ledger, i64, &mut Payload, usize) -> T) -> T {
        act(&mut self.ledger, self.now_ms, &mut self.payload, self.bytes_max)
    }

    /// Lets time pass.
    pub fn wait(&mut self, ms: i64) {
        self.now_ms += ms;
    }

    /// Ends the open frame, unless it is empty.
    pub fn cut(&mut self) {
        if self.payload.is_empty() {
            return;
        }
        self.frames.push(Frame {
            time_ms: self.payload.frame_time_ms(),
            writer_epoch: self.writer_epoch,
            payload: self.payload.bytes().to_vec(),
            sequence: self.ledger.sequence(),
        });
        self.payload.clear(0);
    }

    /// Bytes in the open frame.
    pub fn open_bytes(&self) -> usize {
        self.payload.bytes().len()
    }

    /// The fold of all frames.
    pub fn refold(&mut self) -> Ledger {
        self.cut();
        fold(&self.options, &self.frames).expect("a ledger's own journal folds")
    }

    /// Restarts from the journal: the same state under the next writer epoch, without what was in memory only.
    pub fn restart(&mut self) {
        let digest = self.ledger.digest();
        let mut ledger = self.refold();
        assert_eq!(ledger.digest(), digest, "the fold of the journal equals the live ledger");
        self.writer_epoch += 1;
        ledger.set_epoch(self.writer_epoch);
        self.ledger = ledger;
    }

    /// The current digest.
    pub fn digest(&mut self) -> Digest {
        self.ledger.digest()
    }

    /// Fails the test if a counter does not equal its parts.
    pub fn check(&self) {
        let broken = Audit::check(&self.ledger);
        assert!(broken.is_empty(), "{broken:?}");
    }
}

/// Folds frames into a new ledger, and verifies that no hold took more than the stock.
pub fn fold(options: &LedgerOptions, frames: &[Frame]) -> Result<Ledger, Malformed> {
    let mut ledger = Ledger::new(options.clone());
    let audit = std::cell::RefCell::new(Audit::default());
    for frame in frames {
        ledger.fold_with(
            &frame.payload,
            frame.time_ms,
            frame.writer_epoch,
            &mut |ledger, record| {
                audit.borrow_mut().before(ledger, record);
                true
            },
            &mut |ledger, record| {
                audit.borrow_mut().after(ledger, record);
                true
            },
        )?;
    }
    assert_eq!(audit.borrow().oversold_by_holds(), 0, "no hold took more than the stock");
    assert_eq!(audit.borrow().check_units(&ledger), Vec::new(), "units neither appear nor vanish");
    Ok(ledger)
}
