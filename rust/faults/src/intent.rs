//! What a client wants: one intention, with one key or number, however often it is sent.

use std::rc::Rc;

/// What kind of answer it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asks {
    /// One command.
    Command,
    /// A reserve of so many units.
    Reserve(i64),
    /// A batch of reserves with these keys.
    Batch(Vec<String>),
    /// A new epoch of the client's source.
    Register,
    /// The same key for another body: must be refused if the first was accepted.
    Reuse(usize),
    /// What another intention's key did.
    Outcome(usize),
    /// What is available of an item at a location.
    Availability(String, String),
}

/// One intention.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Whose.
    pub client: usize,
    pub asks: Asks,
    pub path: &'static str,
    pub payload: Rc<[u8]>,
    pub channel: String,
    /// Empty if its number is its identity.
    pub key: String,
    /// Epoch and number of a source's message.
    pub number: Option<(u64, u64)>,
    /// A refusal of it is to be remembered.
    pub remembers: bool,
    /// When its client made it, as its message says.
    pub issued_ms: i64,
    /// Sent so often.
    pub attempts: u64,
    /// It has a final answer.
    pub settled: bool,
    /// Positions of its accepted answers; of a batch one for each command.
    pub accepted: Vec<Option<u64>>,
    /// Which of them said that it was executed then, and not repeated.
    pub executed: Vec<bool>,
    /// What was acknowledged to anybody when it was sent first.
    pub after_sequence: u64,
    /// It was sent before Redis lost something that its mode may lose: what it did may be done again, or differently.
    pub excused: bool,
}

impl Intent {
    /// What was acknowledged from this sequence on is not there any more.
    pub fn forget_from(&mut self, sequence: u64) {
        self.excused = true;
        self.after_sequence = self.after_sequence.min(sequence - 1);
        for (accepted, executed) in self.accepted.iter_mut().zip(&mut self.executed) {
            if accepted.is_some_and(|at| at >= sequence) {
                (*accepted, *executed) = (None, false);
            }
        }
    }

    /// Whether it changes nothing.
    pub fn is_read(&self) -> bool {
        matches!(self.asks, Asks::Outcome(_) | Asks::Availability(..))
    }
}

/// Refusals by the ledger's state, which a key remembers if its command asks for it.
pub fn is_of_the_ledger(reason: &str) -> bool {
    matches!(
        reason,
        "UNKNOWN_SKU"
            | "UNKNOWN_LOCATION"
            | "RESERVATION_NOT_FOUND"
            | "INSUFFICIENT_STOCK"
            | "RESERVATION_EXPIRED"
            | "ALREADY_ALLOCATED"
            | "ALREADY_RELEASED"
            | "ALREADY_FULFILLED"
            | "EXCEEDS_OUTSTANDING"
            | "QUANTITY_STALE"
            | "STALE_VERSION"
    )
}

/// Refusals after which the same message is sent again.
pub fn is_passing(reason: &str) -> bool {
    matches!(
        reason,
        "OUTCOME_UNKNOWN" | "OVERLOADED" | "DRAINING" | "FENCED" | "NOT_OWNER" | "JOURNAL_FULL" | "SEQUENCE_GAP"
    )
}
