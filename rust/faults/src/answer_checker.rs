//! Checks every answer that leaves a server, and the engine's own view, against the journal.

use invengine_ledger::{CountsAs, StockState};
use invengine_node::refusal::Refusal;
use invengine_node::translate::states::units_in;
use invengine_wire::v1;
use prost::Message;

use crate::intent::{Intent, Operation, is_ledger_rejection, is_transient};
use crate::journal_checker::JournalChecker;
use crate::messages::{self, ReceiptOnly};
use crate::model::{CommandEffect, Violation};
use crate::server::Server;

/// An answer as it leaves a server.
pub type Reply = Result<Vec<u8>, Refusal>;

const ONCE: &str = "a repeat gets the same answer";
const EARLY: &str = "nothing is acknowledged before it is durable";
const KNOWN: &str = "acknowledged commands are in the journal";

fn decoded<M: Message + Default>(bytes: &[u8]) -> Result<M, Violation> {
    M::decode(bytes).map_err(|error| Violation::new("answers can be read", error.to_string()))
}

/// The effect of a command according to the journal; `None` if the journal does not have it.
fn effect(intent: &Intent, key: &str, source: &str, checker: &JournalChecker) -> Option<CommandEffect> {
    match intent.number {
        Some((epoch, number)) => checker.model.number(source, epoch, number),
        None => checker.model.key(&intent.channel, "", key),
    }
}

/// Checks an answer and returns the highest journal position that it acknowledges. An owner that another one has `overtaken`
/// rejects commands by its own knowledge only.
///
/// # Errors
/// The answer breaks a rule.
pub fn answered(
    intent: &mut Intent,
    others: &[Vec<Option<u64>>],
    source: &str,
    reply: &Reply,
    checker: &mut JournalChecker,
    overtaken: bool,
) -> Result<u64, Violation> {
    match reply {
        Err(refusal) => {
            refused(intent, refusal, overtaken)?;
            if overtaken { Ok(0) } else { remembered(intent, source, refusal.reason, checker).map(|()| 0) }
        }
        Ok(bytes) => match intent.operation.clone() {
            Operation::Availability(..) => availability(intent, bytes).map(|()| 0),
            Operation::Outcome(of) => outcome(others.first().map_or(&[][..], |found| found), of, bytes).map(|()| 0),
            Operation::Batch(keys) => batch(intent, &keys, bytes, checker, overtaken),
            Operation::Reserve(units) => {
                let answer: v1::ReserveResponse = decoded(bytes)?;
                let held: i64 = answer.hold.iter().flat_map(|hold| &hold.lines).map(|line| line.quantity).sum();
                if held != units {
                    return Violation::err("a hold has what was asked for", format!("{held} instead of {units}"));
                }
                accepted(intent, 0, &intent.key.clone(), source, answer.receipt, checker)
            }
            Operation::Command | Operation::Register | Operation::Reuse(_) => {
                let answer: ReceiptOnly = decoded(bytes)?;
                accepted(intent, 0, &intent.key.clone(), source, answer.receipt, checker)
            }
        },
    }
}

fn accepted(
    intent: &mut Intent,
    index: usize,
    key: &str,
    source: &str,
    receipt: Option<v1::Receipt>,
    checker: &JournalChecker,
) -> Result<u64, Violation> {
    let Some(receipt) = receipt else { return Violation::err("answers can be read", "no receipt") };
    if intent.excused {
        return Ok(0);
    }
    let sequence = receipt.sequence as u64;
    if receipt.durable_sequence < receipt.sequence || sequence > checker.model.sequence {
        let found = format!("{receipt:?} while the journal has {}", checker.model.sequence);
        return Violation::err(EARLY, found);
    }
    match effect(intent, key, source, checker) {
        Some(effect) if effect.sequence == sequence && !effect.refused && effect.echo == receipt.echo => {}
        other => return Violation::err(KNOWN, format!("{key:?} {:?}: {receipt:?}, but {other:?}", intent.number)),
    }
    if intent.accepted.len() <= index {
        intent.accepted.resize(index + 1, None);
        intent.executed.resize(index + 1, false);
    }
    // A repeat may overtake the first answer, but only one of them was the execution.
    let again = intent.executed[index] && !receipt.replayed;
    if again || intent.accepted[index].is_some_and(|before| before != sequence) {
        return Violation::err(ONCE, format!("{key}: {:?}, then {receipt:?}", intent.accepted[index]));
    }
    intent.executed[index] |= !receipt.replayed;
    intent.accepted[index] = Some(sequence);
    Ok(sequence)
}

fn refused(intent: &Intent, refusal: &Refusal, overtaken: bool) -> Result<(), Violation> {
    let reason = refusal.reason;
    if reason == "INTERNAL" || reason == "INVALID_FIELD" || reason == "UNIMPLEMENTED" {
        return Violation::err(
            "no command of the simulator meets an internal error",
            format!("{} {}", intent.path, refusal.message),
        );
    }
    let forgets = matches!(reason, "DEDUPE_WINDOW_EXPIRED" | "SEQUENCE_CONSUMED" | "STALE_EPOCH");
    if !intent.is_read()
        && !intent.excused
        && !overtaken
        && intent.accepted.iter().any(Option::is_some)
        && !forgets
        && !is_transient(reason)
    {
        return Violation::err(ONCE, format!("{}: accepted at {:?}, then {reason}", intent.key, intent.accepted));
    }
    Ok(())
}

/// A refusal that is to be remembered leaves only once its event is durable.
fn remembered(intent: &Intent, source: &str, reason: &str, checker: &JournalChecker) -> Result<(), Violation> {
    let promised = intent.remembers && !intent.excused && !intent.key.is_empty() && is_ledger_rejection(reason);
    if promised && checker.model.refusal(&intent.channel, source, &intent.key).is_none() {
        return Violation::err(EARLY, format!("{}: {reason}, but the journal has no refusal of it", intent.key));
    }
    Ok(())
}

fn batch(
    intent: &mut Intent,
    keys: &[String],
    bytes: &[u8],
    checker: &JournalChecker,
    overtaken: bool,
) -> Result<u64, Violation> {
    let answer: v1::SubmitResponse = decoded(bytes)?;
    let mut highest = 0;
    for (index, (key, outcome)) in keys.iter().zip(&answer.outcomes).enumerate() {
        if let Some(rejection) = &outcome.rejection {
            let before = intent.accepted.get(index).copied().flatten();
            if before.is_some()
                && !overtaken
                && !is_transient(&rejection.reason)
                && rejection.reason != "DEDUPE_WINDOW_EXPIRED"
            {
                return Violation::err(ONCE, format!("{key}: accepted at {before:?}, then {}", rejection.reason));
            }
            continue;
        }
        highest = highest.max(accepted(intent, index, key, "", outcome.receipt, checker)?);
    }
    Ok(highest)
}

/// Whether every command of a batch has a final answer.
pub fn is_final(bytes: &[u8]) -> bool {
    let answer = v1::SubmitResponse::decode(bytes).unwrap_or_default();
    answer
        .outcomes
        .iter()
        .all(|outcome| outcome.rejection.as_ref().is_none_or(|rejection| !is_transient(&rejection.reason)))
}

fn availability(intent: &Intent, bytes: &[u8]) -> Result<(), Violation> {
    let answer: v1::GetAvailabilityResponse = decoded(bytes)?;
    if (answer.sequence as u64) < intent.after_sequence {
        let found = format!("{} although {} was acknowledged", answer.sequence, intent.after_sequence);
        return Violation::err("reads see every acknowledged write", found);
    }
    Ok(())
}

fn outcome(accepted: &[Option<u64>], of: usize, bytes: &[u8]) -> Result<(), Violation> {
    let answer: v1::GetOutcomeResponse = decoded(bytes)?;
    let answer = answer.outcome.and_then(|outcome| outcome.receipt).map(|receipt| receipt.sequence as u64);
    match accepted.first().copied().flatten() {
        Some(sequence) if answer.is_some_and(|answer| answer != sequence) => {
            Violation::err(KNOWN, format!("intent {of}: {sequence} was acknowledged, the outcome says {answer:?}"))
        }
        _ => Ok(()),
    }
}

/// Compares the engine's own view with that of the journal. Call it only while nothing is in flight.
///
/// # Errors
/// The two differ.
pub fn compare(server: &Server, checker: &mut JournalChecker, now_us: u64) -> Result<(), Violation> {
    let (path, payload) = messages::levels();
    let Some(taken) = server.call(path, &payload, now_us) else { return Ok(()) };
    let Ok(bytes) = taken.reply else { return Ok(()) };
    let listed: v1::ListInventoryLevelsResponse = decoded(&bytes)?;
    if listed.sequence as u64 != checker.model.sequence {
        let found = format!("engine {}, journal {}", listed.sequence, checker.model.sequence);
        return Violation::err("the engine is at the end of its journal", found);
    }
    let now_ms = server.engine_ms(now_us).max(checker.model.time_ms);
    if listed.levels.len() != checker.model.levels.len() {
        return Violation::err("the engine has the levels of its journal", listed.levels.len().to_string());
    }
    for level in &listed.levels {
        let Some(known) = checker.model.level(&level.sku, &level.location) else {
            return Violation::err("the engine has the levels of its journal", level.sku.clone());
        };
        let free = known.free(now_ms);
        let expected = [known.on_hand, known.reserved_at(now_ms), known.allocated, free.max(0), (-free).max(0)];
        let found = [level.on_hand, level.reserved, level.allocated, level.available, level.oversold];
        let is_as_known = |state: StockState| {
            state.counts_as() == CountsAs::Sellable
                || units_in(level, state) == known.other_states.get(&state).copied().unwrap_or_default()
        };
        if expected != found || !StockState::all().all(is_as_known) {
            let found = format!("{}@{}: {found:?}, the journal says {expected:?}", level.sku, level.location);
            return Violation::err("counters equal the journal", found);
        }
    }
    digests(server, checker, now_us)
}

fn digests(server: &Server, checker: &mut JournalChecker, now_us: u64) -> Result<(), Violation> {
    let (path, payload) = messages::digest();
    let Some(Ok(bytes)) = server.call(path, &payload, now_us).map(|taken| taken.reply) else { return Ok(()) };
    let answer: v1::GetDigestResponse = decoded(&bytes)?;
    let expected = checker.state_digest();
    if answer.digest != expected {
        return Violation::err("the digest is that of the journal", format!("{}, not {expected}", answer.digest));
    }
    checker.recompute()
}

/// Checks that every acknowledged command is in the journal, exactly once.
///
/// # Errors
/// A command is missing or at another position.
pub fn all_acknowledged<'i>(
    intents: impl Iterator<Item = (&'i Intent, &'i str)>,
    checker: &JournalChecker,
) -> Result<(), Violation> {
    for (intent, source) in intents.filter(|(intent, _)| !intent.is_read()) {
        let own = std::slice::from_ref(&intent.key);
        let keys = if let Operation::Batch(keys) = &intent.operation { &keys[..] } else { own };
        for (key, accepted) in keys.iter().zip(&intent.accepted) {
            // Only what was acknowledged is looked up, because this runs for all intents at each recovery.
            let Some(sequence) = accepted else { continue };
            let found = effect(intent, key, source, checker);
            if found.is_none_or(|effect| effect.sequence != *sequence) {
                return Violation::err(KNOWN, format!("{key:?}: acknowledged at {accepted:?}, found {found:?}"));
            }
        }
    }
    Ok(())
}
