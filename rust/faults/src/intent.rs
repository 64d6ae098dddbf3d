//! What a client wants: one intent, with one key or number, however often it is sent.

use std::rc::Rc;

/// The operation that an intent asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// One command.
    Command,
    /// A reserve of this many units.
    Reserve(i64),
    /// A batch of reserves with these keys.
    Batch(Vec<String>),
    /// A new epoch of the client's source.
    Register,
    /// A reserve with the key of another intent and a different body: must be refused if the first was accepted.
    Reuse(usize),
    /// The outcome of another intent's key.
    Outcome(usize),
    /// The availability of an item at a location.
    Availability(String, String),
}

/// One intent.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Index of its client.
    pub client: usize,
    pub operation: Operation,
    pub path: &'static str,
    pub payload: Rc<[u8]>,
    pub channel: String,
    /// Empty if its number identifies it.
    pub key: String,
    /// Epoch and number of a source's message.
    pub number: Option<(u64, u64)>,
    /// Its refusal is to be remembered.
    pub remembers: bool,
    /// When its client created it, as its message states.
    pub issued_ms: i64,
    /// How often it was sent.
    pub attempts: u64,
    /// It has a final answer.
    pub settled: bool,
    /// Positions of its accepted answers, one for each command of a batch.
    pub accepted: Vec<Option<u64>>,
    /// Which of them reported the execution itself and not a repeat.
    pub executed: Vec<bool>,
    /// The highest position that was acknowledged to anybody when it was first sent.
    pub after_sequence: u64,
    /// It was sent before Redis lost something that its mode may lose: its effect may be repeated, or differ.
    pub excused: bool,
}

impl Intent {
    /// Drops everything that was acknowledged from this sequence on, which is lost.
    pub fn forget_from(&mut self, sequence: u64) {
        self.excused = true;
        self.after_sequence = self.after_sequence.min(sequence - 1);
        for (accepted, executed) in self.accepted.iter_mut().zip(&mut self.executed) {
            if accepted.is_some_and(|at| at >= sequence) {
                (*accepted, *executed) = (None, false);
            }
        }
    }

    /// Whether it is a read.
    pub fn is_read(&self) -> bool {
        matches!(self.operation, Operation::Outcome(_) | Operation::Availability(..))
    }
}

/// Whether the reason is a rejection by the ledger's state, which a key remembers if its command asks for it.
pub fn is_ledger_rejection(reason: &str) -> bool {
    matches!(
        reason,
        "UNKNOWN_SKU"
            | "UNKNOWN_LOCATION"
            | "UNKNOWN_GROUP"
            | "ENTITY_IN_USE"
            | "RESERVATION_NOT_FOUND"
            | "INSUFFICIENT_STOCK"
            | "RESERVATION_EXPIRED"
            | "ALREADY_ALLOCATED"
            | "ALREADY_RELEASED"
            | "ALREADY_FULFILLED"
            | "EXCEEDS_OUTSTANDING"
            | "QUANTITY_STALE"
            | "STALE_VERSION"
            | "NOT_AUTHORITATIVE"
            | "RULE_CONFLICT"
    )
}

/// Whether the same message is sent again after this reason.
pub fn is_transient(reason: &str) -> bool {
    matches!(
        reason,
        "OUTCOME_UNKNOWN"
            | "JOURNAL_FAILED"
            | "OVERLOADED"
            | "DRAINING"
            | "FENCED"
            | "NOT_OWNER"
            | "JOURNAL_FULL"
            | "SEQUENCE_GAP"
    )
}
