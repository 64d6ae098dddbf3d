//! A refusal as a caller sees it: one gRPC code, one stable reason, facts, and one sentence that says what to do.
//!
//! Here and in `sentences` (for the ledger's own) reasons get their code and their sentence. `docs/errors.md` lists them; a test
//! compares both.

use std::collections::BTreeMap;

use invengine_ledger::{Fact, Reason, Rejection};
use invengine_wire::{rpc, v1};
use prost::Message;

use crate::methods;
use crate::positions::EventPosition;
use crate::sentences::{self, of_reason};
use crate::sizes::{ANSWER_BYTES_MAX, COMMAND_ANSWER_BYTES_MAX};

/// Canonical gRPC status codes that invengine answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[allow(missing_docs, reason = "the names are gRPC's own")]
pub enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

/// How long a caller should wait before it repeats a call that was refused only for now.
const RETRY_MS: u64 = 100;
/// Most violations that an answer lists: clients accept at most 8 KiB of metadata, and the details are sent in base64.
const VIOLATIONS_MAX: usize = 10;
/// Most characters of a caller's text that a refusal repeats. No name and no key is longer.
pub(crate) const ECHO_CHARS_MAX: usize = 128;
const DOMAIN: &str = "invengine";

/// A refusal of any origin. The call changed nothing, unless the reason is `OUTCOME_UNKNOWN` or `INTERNAL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its gRPC code.
    pub code: Code,
    /// Its stable reason.
    pub reason: &'static str,
    /// One sentence for people.
    pub message: String,
    /// Facts by name.
    pub metadata: BTreeMap<&'static str, String>,
    /// Invalid fields, each with the rule it breaks.
    pub violations: Vec<(String, String)>,
    /// How long to wait before a retry, ms.
    pub retry_ms: Option<u64>,
}

impl Refusal {
    fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        let (metadata, violations) = (BTreeMap::new(), Vec::new());
        Refusal { code, reason, message: message.into(), metadata, violations, retry_ms: None }
    }

    fn fact(mut self, name: &'static str, value: impl ToString) -> Self {
        self.metadata.insert(name, echo(value.to_string()));
        self
    }

    fn retry(mut self) -> Self {
        self.retry_ms = Some(RETRY_MS);
        self
    }

    /// Invalid fields, each with the rule it breaks.
    pub fn invalid(violations: Vec<(String, String)>) -> Self {
        let first = violations.first().map_or_else(String::new, |(field, rule)| format!("{field}: {rule}"));
        let more = match violations.len() {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let mut refusal = Refusal::new(Code::InvalidArgument, "INVALID_FIELD", format!("{first}{more}"));
        refusal.violations = violations;
        refusal
    }

    /// A message that is not one of its type.
    pub fn malformed() -> Self {
        Self::invalid(vec![("message".into(), "the bytes are not a message of this type".into())])
    }

    /// A feature that this version does not have.
    pub fn unimplemented(what: &str) -> Self {
        Refusal::new(Code::Unimplemented, "UNIMPLEMENTED", format!("{what} is not available in this version"))
    }

    /// An unknown method.
    pub fn unknown_method(path: &str) -> Self {
        let message = "this server does not implement the method; server reflection lists the services that it knows";
        Refusal::new(Code::Unimplemented, "UNIMPLEMENTED", message).fact("method", path)
    }

    /// More metadata than a call may have; the limit is in bytes as HTTP/2 counts them.
    pub fn metadata_too_large(limit: usize) -> Self {
        Self::invalid(vec![("metadata".into(), format!("at most {limit} bytes for all of it; send less"))])
    }

    /// Earlier answers that the caller has not read leave no room for this one. A refused read has lost nothing; a
    /// command may have happened.
    pub fn answer_dropped(path: &str) -> Self {
        let cause = "earlier answers were not read and leave no room for this one";
        if methods::is_read(path) {
            let mut refusal = Self::overloaded();
            refusal.message = format!("{cause}; read them, then ask again");
            return refusal;
        }
        Self::may_have_happened(format!("{cause}, but the command may have happened; repeat it with the same key"))
    }

    /// A message that is longer than its limit, in bytes.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("the message is over the limit of {limit} bytes; send fewer lines or commands at once");
        Refusal::new(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", message).fact("limit", limit)
    }

    /// The deadline passed before the command was accepted.
    pub fn deadline() -> Self {
        let message = "the deadline passed before the command was accepted; repeat it with the same key and more time";
        Refusal::new(Code::DeadlineExceeded, "DEADLINE", message)
    }

    /// A stream that has reached its longest duration or its deadline.
    pub fn stream_over() -> Self {
        let message = "the stream lasted as long as one may, or until its deadline; open another one";
        Refusal::new(Code::DeadlineExceeded, "DEADLINE", message)
    }

    /// Too many commands are waiting.
    pub fn overloaded() -> Self {
        let message = "too many commands are waiting; wait, then repeat with the same key";
        Refusal::new(Code::ResourceExhausted, "OVERLOADED", message).retry()
    }

    /// The answer to a batch has no room for the outcome of one more command.
    pub fn answer_full() -> Self {
        let message = "the answer to this batch is full and this was not executed; send it again in a batch of its own";
        let refusal = Refusal::new(Code::ResourceExhausted, "OVERLOADED", message).retry();
        refusal.fact("answer_bytes_max", ANSWER_BYTES_MAX)
    }

    /// The server is stopping.
    pub fn draining() -> Self {
        let message = "the server is stopping and did not accept this; repeat with the same key after its restart";
        Refusal::new(Code::Unavailable, "DRAINING", message).retry()
    }

    /// The journal is still being recovered; the facts are the progress so far.
    pub fn recovering(done_bytes: u64, of_bytes: u64) -> Self {
        let message = "the server is reading its journal; repeat with the same key in a moment";
        let refusal = Refusal::new(Code::Unavailable, "RECOVERING", message);
        refusal.fact("done_bytes", done_bytes.to_string()).fact("of_bytes", of_bytes.to_string()).retry()
    }

    /// A ledger other than the one served here.
    pub fn not_owner(ledger: &str) -> Self {
        let message = "this server has another ledger; ask the server of that ledger";
        Refusal::new(Code::Unavailable, "NOT_OWNER", message).fact("ledger", ledger).retry()
    }

    /// Another server has claimed the journal.
    pub fn fenced() -> Self {
        let message = "another server has taken the journal over; repeat with the same key there";
        Refusal::new(Code::Unavailable, "FENCED", message).retry()
    }

    /// That part of the history is no longer kept.
    pub fn history_trimmed(first_sequence: u64) -> Self {
        let message = "that part of the history is no longer kept; start at the sequence in `limit`, or later";
        Refusal::new(Code::OutOfRange, "HISTORY_TRIMMED", message).fact("limit", first_sequence.to_string())
    }

    /// A position of another ledger.
    pub fn position_of_another_ledger(ledger: &str, head: EventPosition) -> Self {
        let message =
            format!("the position belongs to another ledger; this is {ledger}: ask the server of that ledger");
        Self::not_in_history(message, ledger, head)
    }

    /// A state that cannot be folded any more; `first_sequence` is the first one that can be.
    pub fn state_trimmed(first_sequence: u64) -> Self {
        let message = "what that state is made of is no longer kept; ask for the sequence in `limit`, or a later one";
        Refusal::new(Code::OutOfRange, "HISTORY_TRIMMED", message).fact("limit", first_sequence.to_string())
    }

    /// A sequence beyond the next event.
    pub fn sequence_ahead(sequence: u64, ledger: &str, head: EventPosition) -> Self {
        let message = format!(
            "sequence {sequence} is beyond ledger {ledger}, whose next event is {}: a backup was restored or events were lost; \
             read again from an earlier sequence, or after a position, which tells where both histories agree",
            head.sequence + 1
        );
        Self::not_in_history(message, ledger, head)
    }

    /// A position of another history of this ledger, and the last event that is certainly in both.
    pub fn position_not_in_history(ledger: &str, head: EventPosition, common: EventPosition) -> Self {
        let go_on = match common.sequence {
            0 => "read again from the first event".into(),
            sequence => {
                format!("continue after sequence {sequence} of writer epoch {}, which both have", common.writer_epoch)
            }
        };
        let message = format!(
            "the position is not in the history of ledger {ledger}, which ends at sequence {}: a backup was restored or events \
             were lost since; {go_on}",
            head.sequence
        );
        Self::not_in_history(message, ledger, head)
            .fact("last_common_sequence", common.sequence)
            .fact("last_common_epoch", common.writer_epoch)
    }

    fn not_in_history(message: String, ledger: &str, head: EventPosition) -> Self {
        Refusal::new(Code::OutOfRange, "POSITION_NOT_IN_HISTORY", message)
            .fact("ledger", ledger)
            .fact("head_sequence", head.sequence)
            .fact("head_epoch", head.writer_epoch)
    }

    /// It has not been confirmed recently that the journal still belongs to this server.
    pub fn ownership_uncertain() -> Self {
        let message = "this server may have lost its journal to another one and answers no calls until it knows; repeat with the same key";
        Refusal::new(Code::Unavailable, "FENCED", message).retry()
    }

    /// There is no space for the journal.
    pub fn journal_full() -> Self {
        let message =
            "the journal has no space; nothing was done, reads continue, make room and repeat with the same key";
        Refusal::new(Code::ResourceExhausted, "JOURNAL_FULL", message).retry()
    }

    /// There is no space for a snapshot.
    pub fn snapshot_full() -> Self {
        let message =
            "no snapshot was written, there is no space for it; commands continue, free some space and ask again";
        Refusal::new(Code::ResourceExhausted, "JOURNAL_FULL", message)
    }

    /// The deadline passed while the snapshot is still being written.
    pub fn snapshot_takes_longer() -> Self {
        let message = "the snapshot is still being written; it goes on by itself, ask again later";
        Refusal::new(Code::DeadlineExceeded, "DEADLINE", message)
    }

    /// Too many reads of the past are waiting.
    pub fn history_overloaded() -> Self {
        let message = "too many reads of the past are waiting for their turn; wait, then ask again";
        Refusal::new(Code::ResourceExhausted, "OVERLOADED", message).retry()
    }

    /// The time ended before the past was read.
    pub fn history_takes_longer() -> Self {
        let message = "the time ended before the journal was read as far as this needs; ask again, with more time if you can: a \
                       state goes on where it stopped";
        Refusal::new(Code::DeadlineExceeded, "DEADLINE", message)
    }

    /// The journal failed while the command was in progress, or before.
    pub fn outcome_unknown() -> Self {
        Self::may_have_happened(
            "the journal failed and the command may have happened; repeat it with the same key after a restart",
        )
    }

    fn may_have_happened(message: impl Into<String>) -> Self {
        Refusal::new(Code::Unavailable, "OUTCOME_UNKNOWN", message)
    }

    /// The journal failed before a call was answered. A command may have happened; a read has lost nothing.
    pub fn journal_failed(path: &str) -> Self {
        if !methods::is_read(path) {
            return Self::outcome_unknown();
        }
        let message = "the journal failed and nothing is answered until a restart; ask again then";
        Refusal::new(Code::Unavailable, "JOURNAL_FAILED", message)
    }

    /// The caller of an embedded engine waited until its deadline for the journal. A command may have happened; a read
    /// has lost nothing. At a server, the caller's own library says this.
    pub fn late(path: &str) -> Self {
        if methods::is_read(path) {
            return Self::deadline();
        }
        Self::may_have_happened(
            "the deadline passed before the journal had the command, which may have happened; repeat it with the same key",
        )
    }

    /// A bug; the log has the cause under the incident number.
    pub fn internal(incident: &str) -> Self {
        let message = "an internal error; give the incident to whoever runs the server";
        Refusal::new(Code::Internal, "INTERNAL", message).fact("incident", incident)
    }

    /// An unknown name in a read.
    pub fn unknown(reason: Reason, name: &'static str, value: &str) -> Self {
        Self::from(&Rejection::new(reason).text(name, value))
    }

    /// The refusal as a serialized `google.rpc.Status`.
    pub fn status(&self) -> Vec<u8> {
        let metadata = self.metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let info = rpc::ErrorInfo { reason: self.reason.into(), domain: DOMAIN.into(), metadata };
        let mut details = vec![any("google.rpc.ErrorInfo", &info)];
        if !self.violations.is_empty() {
            let violation = |(field, rule): &(String, String)| rpc::FieldViolation {
                field: field.clone(),
                description: rule.clone(),
            };
            let field_violations = self.violations.iter().take(VIOLATIONS_MAX).map(violation).collect();
            details.push(any("google.rpc.BadRequest", &rpc::BadRequest { field_violations }));
        }
        if let Some(ms) = self.retry_ms {
            let delay = prost_types::Duration { seconds: (ms / 1000) as i64, nanos: (ms % 1000 * 1_000_000) as i32 };
            details.push(any("google.rpc.RetryInfo", &rpc::RetryInfo { retry_delay: Some(delay) }));
        }
        rpc::Status { code: self.code as i32, message: self.message.clone(), details }.encode_to_vec()
    }

    /// The refusal of one command of a batch.
    pub fn to_rejection(&self) -> v1::Rejection {
        v1::Rejection {
            code: self.code as i32,
            reason: self.reason.into(),
            message: self.message.clone(),
            metadata: self.metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            field_violations: self
                .violations
                .iter()
                .take(VIOLATIONS_MAX)
                .map(|(field, description)| v1::FieldViolation {
                    field: field.clone(),
                    description: description.clone(),
                })
                .collect(),
        }
    }
}

/// A caller's text, cut to the length that a refusal repeats.
fn echo(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(ECHO_CHARS_MAX) {
        text.truncate(end);
    }
    text
}

fn any(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

impl From<&Rejection> for Refusal {
    fn from(rejection: &Rejection) -> Self {
        if rejection.reason == Reason::InvalidField {
            let texts = |wanted: &'static str| {
                rejection.facts.iter().filter_map(move |fact| match fact {
                    Fact::Text(name, text) if *name == wanted => Some(text.to_string()),
                    _ => None,
                })
            };
            return Self::invalid(texts("field").zip(texts("description")).collect());
        }
        let (code, message) = of_reason(rejection.reason);
        let mut refusal = Refusal::new(code, rejection.reason.name(), message);
        for fact in &rejection.facts {
            match fact {
                Fact::Number(name, value) => refusal.metadata.insert(name, value.to_string()),
                Fact::Text(name, text) => refusal.metadata.insert(name, echo(text.to_string())),
            };
        }
        if rejection.reason == Reason::Overloaded {
            refusal = refusal.retry();
        }
        if rejection.reason == Reason::AnswerTooLarge {
            refusal = refusal.fact("limit", COMMAND_ANSWER_BYTES_MAX);
        }
        if let Some(field) = refusal.metadata.get("field") {
            let place = sentences::filled(" of {sku} at {location}", &refusal.metadata).unwrap_or_default();
            refusal.message = format!("{message} ({field}{place} differs)");
        }
        let named = sentences::of_bad_name(rejection, message);
        if let Some(named) = named.or_else(|| sentences::named(rejection.reason, &refusal.metadata)) {
            refusal.message = named;
        }
        refusal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(rejection: &Rejection) -> String {
        Refusal::from(rejection).message
    }

    #[test]
    fn a_refusal_names_item_location_requested_and_available() {
        let short = Rejection::new(Reason::InsufficientStock).text("sku", "MUG").text("location", "{sku}");
        let short = short.number("requested", 5).number("available", 3);
        let text = "MUG at {sku}: requested 5, available 3; offer what is available, or ask again later with a new key";
        assert_eq!(message(&short), text);
    }

    #[test]
    fn a_message_without_its_facts_is_the_plain_one() {
        for reason in Reason::ALL.into_iter().filter(|reason| *reason != Reason::InvalidField) {
            assert_eq!(message(&Rejection::new(reason)), of_reason(reason).1, "{reason:?}");
        }
    }

    #[test]
    fn a_callers_text_is_repeated_up_to_the_longest_name() {
        let longest = "\u{fc}".repeat(ECHO_CHARS_MAX);
        let given = |text: &str| {
            [
                Refusal::not_owner(text).metadata["ledger"].clone(),
                Refusal::unknown_method(text).metadata["method"].clone(),
                Refusal::unknown(Reason::UnknownSku, "sku", text).metadata["sku"].clone(),
            ]
        };
        assert!(given(&longest).iter().all(|text| *text == longest));
        assert!(given(&format!("{longest}xx")).iter().all(|text| *text == longest));
    }
}
