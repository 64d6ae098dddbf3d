//! What reasons say to callers: their code and their sentence, which names what it is about (item, location, quantity requested,
//! quantity available) where that is known. Invisible characters of a name are made visible.

use std::collections::BTreeMap;

use invengine_ledger::{Fact, Reason, Rejection, name_fault, shown};

use crate::refusal::Code;

/// The code of a reason, and its message without facts.
pub(crate) fn of_reason(reason: Reason) -> (Code, &'static str) {
    use Code::{
        Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, ResourceExhausted,
    };
    match reason {
        Reason::InvalidField => (InvalidArgument, "a field is out of its limits; fix the command"),
        Reason::IdempotencyKeyReused => {
            (FailedPrecondition, "the key already names a command with another body; never repeat this one")
        }
        Reason::DedupeWindowExpired => {
            (FailedPrecondition, "the command is older than keys are remembered; look at the hold, then use a new key")
        }
        Reason::KeyCancelled => {
            (FailedPrecondition, "the key was released before its Reserve arrived, so it was cancelled")
        }
        Reason::InsufficientStock => (
            FailedPrecondition,
            "fewer units are available than requested; offer what is available, ask again with a new key",
        ),
        Reason::UnknownSku => (NotFound, "no such item; create it first"),
        Reason::UnknownLocation => (NotFound, "no such location; create it first"),
        Reason::UnknownChannel => (NotFound, "no such channel; create it first"),
        Reason::UnknownGroup => (NotFound, "no such location group; create it first"),
        Reason::EntityInUse => (FailedPrecondition, "something refers to the entity; remove it from there first"),
        Reason::EntityNotFound => (NotFound, "there is nothing of this kind and name; check the name"),
        Reason::TransferState => {
            (FailedPrecondition, "not possible in the state of the stock transfer; look at it, and decide again")
        }
        Reason::UnknownSource => (NotFound, "no such source; register it first"),
        Reason::ReservationNotFound => {
            (NotFound, "no such reservation, or it ended before what is remembered; the journal still has it")
        }
        Reason::ReservationExpired => {
            (FailedPrecondition, "the hold has expired; allocate takes the units again if they are available")
        }
        Reason::AlreadyReleased => (FailedPrecondition, "nothing is left, the last of it was released"),
        Reason::AlreadyAllocated => (FailedPrecondition, "the units are bound to an order already; look at the hold"),
        Reason::AlreadyFulfilled => (FailedPrecondition, "nothing is left, the last of it was fulfilled"),
        Reason::ExceedsOutstanding => (FailedPrecondition, "more than the line still holds; ask for what is left"),
        Reason::QuantityStale => (Aborted, "the quantity is not the expected one; read again and decide again"),
        Reason::StaleVersion => (Aborted, "it has another version; read again and decide again"),
        Reason::SequenceGap => (Aborted, "a message before this one is missing; send again from the expected one"),
        Reason::SequenceConflict => {
            (FailedPrecondition, "the number was used for another body; two writers share the source, raise an alarm")
        }
        Reason::SequenceConsumed => {
            (AlreadyExists, "the number was used and its outcome is no longer kept; look at the hold or level")
        }
        Reason::StaleEpoch => (FailedPrecondition, "the source was registered again; stop, or register again"),
        Reason::NotAuthoritative => (
            PermissionDenied,
            "the rules of authority or the profile of the source do not let it do this there; ask whoever owns the state",
        ),
        Reason::RuleConflict => (
            FailedPrecondition,
            "two rules would decide the same with equal rank; change or delete the other one in the same request",
        ),
        Reason::Overloaded => (
            ResourceExhausted,
            "a bound of this writer is reached; wait until there is room, then repeat with the same key",
        ),
        Reason::TooLarge => {
            (ResourceExhausted, "the events of the command do not fit into one frame; act on fewer holds at once")
        }
        Reason::AnswerTooLarge => (
            ResourceExhausted,
            "naming every hold that this would change takes more than an answer may have; nothing was done, send it again with accept_summary",
        ),
    }
}

/// The message of a reason with its facts filled in; `None` if there is no such message or a fact is missing.
pub(crate) fn named(reason: Reason, facts: &BTreeMap<&'static str, String>) -> Option<String> {
    with_facts(reason).iter().find_map(|text| filled(text, facts))
}

/// The message about an unknown name that cannot be created either: the advice to create it would be wrong.
pub(crate) fn of_bad_name(rejection: &Rejection, message: &str) -> Option<String> {
    use Reason::{UnknownChannel, UnknownGroup, UnknownLocation, UnknownSku, UnknownSource};
    let is_unknown =
        matches!(rejection.reason, UnknownChannel | UnknownGroup | UnknownLocation | UnknownSku | UnknownSource);
    if !is_unknown {
        return None;
    }
    let fault = rejection.facts.iter().find_map(|fact| match fact {
        Fact::Text(_, text) => name_fault(text),
        Fact::Number(..) => None,
    })?;
    Some(format!("{}: {fault}", message.split_once(';')?.0))
}

/// Templates of messages, with the names of facts in braces; the first one whose facts are all present is used.
fn with_facts(reason: Reason) -> &'static [&'static str] {
    match reason {
        Reason::InsufficientStock => &[
            "{sku} at {location}: requested {requested}, available {available}; offer what is available, or ask again later with a new key",
        ],
        Reason::UnknownSku => &["no such item: {sku}; create it first"],
        Reason::UnknownLocation => &["no such location: {location}; create it first"],
        Reason::UnknownChannel => &["no such channel: {channel}; create it first"],
        Reason::UnknownGroup => &["no such location group: {group}; create it first"],
        Reason::EntityInUse => &["{kind} {name} is in use by {used_by}; remove it from there first"],
        Reason::EntityNotFound => &["no such {kind}: {name}; check the name"],
        Reason::TransferState => {
            &["stock transfer {transfer} is {state}: this is not possible; look at it, and decide again"]
        }
        Reason::NotAuthoritative => &[
            "{source} may not {right} {state} at {location}, which {owner} owns; ask there, or change the rules of authority",
            "{source} may not {right} {state} at {location}; change the rules of authority or the profile of the source",
            "{source} may not {right} at {location}, but {owner} may; ask there, or change the rules of authority",
            "{source} may not {right} at {location}; change the rules of authority or the profile of the source",
            "{source} may not name the channel {channel}; change the profile of the source",
        ],
        Reason::RuleConflict => &[
            "{kind} {name} and {conflicts_with} would both own {state} there; change or delete the other one in the same request",
        ],
        Reason::Overloaded => {
            &["{source} has as many {limit} as one writer may have; settle some, then repeat with the same key"]
        }
        Reason::UnknownSource => &["no such source: {source}; register it first"],
        Reason::ReservationNotFound => &[
            "no reservation {reservation}, or it ended before what is remembered; the journal still has it",
            "no reservation by key {key} in this scope, or it ended before what is remembered; the journal still has it",
            "no reservation of order {order}, or all ended before what is remembered; the journal still has them",
        ],
        Reason::ReservationExpired => {
            &["reservation {reservation}: the hold has expired; allocate takes the units again if they are available"]
        }
        Reason::AlreadyReleased => &["reservation {reservation}: nothing is left, the last of it was released"],
        Reason::AlreadyAllocated => {
            &["reservation {reservation}: the units are bound to an order already; look at the hold"]
        }
        Reason::AlreadyFulfilled => &["reservation {reservation}: nothing is left, the last of it was fulfilled"],
        Reason::ExceedsOutstanding => {
            &["{sku} at {location}: the hold has {outstanding} outstanding, fewer than requested; ask for what is left"]
        }
        Reason::QuantityStale => {
            &["{sku} at {location}: expected {expected}, found {actual}; read again and decide again"]
        }
        Reason::StaleVersion => &[
            "{kind} {name} has version {actual}, not the expected {expected}; read again and decide again",
            "the reservation has version {actual}, not the expected {expected}; read again and decide again",
        ],
        Reason::SequenceGap => {
            &["source {source}: message {expected} is missing before message {got}; send again from {expected}"]
        }
        Reason::SequenceConflict => &[
            "source {source}: number {sequence} was used for another body, which differs in {field} of {sku} at {location}; two writers share the source, raise an alarm",
            "source {source}: number {sequence} was used for another body, which differs in {field}; two writers share the source, raise an alarm",
            "source {source}: number {sequence} was used for another body; two writers share the source, raise an alarm",
        ],
        Reason::SequenceConsumed => &[
            "source {source}: the number was used (the last one is {last}), its outcome is no longer kept; look at the hold or level",
        ],
        Reason::StaleEpoch => {
            &["source {source} was registered again, its epoch is {current}; stop, or register again"]
        }
        _ => &[],
    }
}

/// The template with its facts filled in; `None` if one of them is missing.
pub(crate) fn filled(sentence: &str, facts: &BTreeMap<&'static str, String>) -> Option<String> {
    let mut out = String::with_capacity(sentence.len() + 32);
    let mut rest = sentence;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}')?;
        out.push_str(before);
        out.push_str(&shown(facts.get(name)?));
        rest = behind;
    }
    out.push_str(rest);
    Some(out)
}
