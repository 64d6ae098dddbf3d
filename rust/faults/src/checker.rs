//! Looks at every answer that leaves the server, and at the engine itself, from the outside.

use invengine_node::refusal::Refusal;
use invengine_wire::v1;
use prost::Message;

use crate::follower::Follower;
use crate::intent::{Asks, Intent, is_of_the_ledger, is_passing};
use crate::messages::{self, Receipted};
use crate::model::{Breach, Done};
use crate::server::Server;

/// An answer as it leaves.
pub type Reply = Result<Vec<u8>, Refusal>;

const ONCE: &str = "a repeat gets the same answer";
const EARLY: &str = "nobody is told before it is durable";
const KNOWN: &str = "what was acknowledged is there";

fn decoded<M: Message + Default>(bytes: &[u8]) -> Result<M, Breach> {
    M::decode(bytes).map_err(|error| Breach::new("answers can be read", error.to_string()))
}

/// What the journal has of a command; nothing if it has nothing.
fn done(intent: &Intent, key: &str, source: &str, follower: &Follower) -> Option<Done> {
    match intent.number {
        Some((epoch, number)) => follower.model.number(source, epoch, number),
        None => follower.model.key(&intent.channel, "", key),
    }
}

/// Takes an answer; the highest position that it acknowledges. An owner that was `overtaken` by another says no from what it
/// knows itself.
///
/// # Errors
/// It breaks a rule.
pub fn answered(
    intent: &mut Intent,
    others: &[Vec<Option<u64>>],
    source: &str,
    reply: &Reply,
    follower: &mut Follower,
    overtaken: bool,
) -> Result<u64, Breach> {
    match reply {
        Err(refusal) => {
            refused(intent, refusal, overtaken)?;
            if overtaken { Ok(0) } else { remembered(intent, source, refusal.reason, follower).map(|()| 0) }
        }
        Ok(bytes) => match intent.asks.clone() {
            Asks::Availability(..) => availability(intent, bytes).map(|()| 0),
            Asks::Outcome(of) => outcome(others.first().map_or(&[][..], |found| found), of, bytes).map(|()| 0),
            Asks::Batch(keys) => batch(intent, &keys, bytes, follower, overtaken),
            Asks::Reserve(units) => {
                let answer: v1::ReserveResponse = decoded(bytes)?;
                let held: i64 = answer.hold.iter().flat_map(|hold| &hold.lines).map(|line| line.quantity).sum();
                if held != units {
                    return Breach::err("a hold has what was asked for", format!("{held} instead of {units}"));
                }
                accepted(intent, 0, &intent.key.clone(), source, answer.receipt, follower)
            }
            Asks::Command | Asks::Register | Asks::Reuse(_) => {
                let answer: Receipted = decoded(bytes)?;
                accepted(intent, 0, &intent.key.clone(), source, answer.receipt, follower)
            }
        },
    }
}

fn accepted(
    intent: &mut Intent,
    place: usize,
    key: &str,
    source: &str,
    receipt: Option<v1::Receipt>,
    follower: &Follower,
) -> Result<u64, Breach> {
    let Some(receipt) = receipt else { return Breach::err("answers can be read", "no receipt") };
    if intent.excused {
        return Ok(0);
    }
    let sequence = receipt.sequence as u64;
    if receipt.durable_sequence < receipt.sequence || sequence > follower.model.sequence {
        let found = format!("{receipt:?} while the journal has {}", follower.model.sequence);
        return Breach::err(EARLY, found);
    }
    match done(intent, key, source, follower) {
        Some(done) if done.sequence == sequence && !done.refused => {}
        other => return Breach::err(KNOWN, format!("{key:?} {:?}: {receipt:?}, but {other:?}", intent.number)),
    }
    if intent.accepted.len() <= place {
        intent.accepted.resize(place + 1, None);
        intent.executed.resize(place + 1, false);
    }
    // A repeat may overtake the first answer, but only one of them was the execution.
    let again = intent.executed[place] && !receipt.replayed;
    if again || intent.accepted[place].is_some_and(|before| before != sequence) {
        return Breach::err(ONCE, format!("{key}: {:?}, then {receipt:?}", intent.accepted[place]));
    }
    intent.executed[place] |= !receipt.replayed;
    intent.accepted[place] = Some(sequence);
    Ok(sequence)
}

fn refused(intent: &Intent, refusal: &Refusal, overtaken: bool) -> Result<(), Breach> {
    let reason = refusal.reason;
    if reason == "INTERNAL" || reason == "INVALID_FIELD" || reason == "UNIMPLEMENTED" {
        return Breach::err("no command of ours meets a bug", format!("{} {}", intent.path, refusal.message));
    }
    let forgets = matches!(reason, "DEDUPE_WINDOW_EXPIRED" | "SEQUENCE_CONSUMED" | "STALE_EPOCH");
    if !intent.is_read()
        && !intent.excused
        && !overtaken
        && intent.accepted.iter().any(Option::is_some)
        && !forgets
        && !is_passing(reason)
    {
        return Breach::err(ONCE, format!("{}: accepted at {:?}, then {reason}", intent.key, intent.accepted));
    }
    Ok(())
}

/// A refusal that is to be remembered leaves when its event is durable.
fn remembered(intent: &Intent, source: &str, reason: &str, follower: &Follower) -> Result<(), Breach> {
    let promised = intent.remembers && !intent.excused && !intent.key.is_empty() && is_of_the_ledger(reason);
    if promised && follower.model.refusal(&intent.channel, source, &intent.key).is_none() {
        return Breach::err(EARLY, format!("{}: {reason}, but the journal has no refusal of it", intent.key));
    }
    Ok(())
}

fn batch(
    intent: &mut Intent,
    keys: &[String],
    bytes: &[u8],
    follower: &Follower,
    overtaken: bool,
) -> Result<u64, Breach> {
    let answer: v1::SubmitResponse = decoded(bytes)?;
    let mut highest = 0;
    for (place, (key, outcome)) in keys.iter().zip(&answer.outcomes).enumerate() {
        if let Some(rejection) = &outcome.rejection {
            let before = intent.accepted.get(place).copied().flatten();
            if before.is_some()
                && !overtaken
                && !is_passing(&rejection.reason)
                && rejection.reason != "DEDUPE_WINDOW_EXPIRED"
            {
                return Breach::err(ONCE, format!("{key}: accepted at {before:?}, then {}", rejection.reason));
            }
            continue;
        }
        highest = highest.max(accepted(intent, place, key, "", outcome.receipt, follower)?);
    }
    Ok(highest)
}

/// Whether every command of a batch has a final answer.
pub fn is_final(bytes: &[u8]) -> bool {
    let answer = v1::SubmitResponse::decode(bytes).unwrap_or_default();
    answer.outcomes.iter().all(|outcome| outcome.rejection.as_ref().is_none_or(|no| !is_passing(&no.reason)))
}

fn availability(intent: &Intent, bytes: &[u8]) -> Result<(), Breach> {
    let answer: v1::GetAvailabilityResponse = decoded(bytes)?;
    if (answer.sequence as u64) < intent.after_sequence {
        let found = format!("{} although {} was acknowledged", answer.sequence, intent.after_sequence);
        return Breach::err("reads see every acknowledged write", found);
    }
    Ok(())
}

fn outcome(accepted: &[Option<u64>], of: usize, bytes: &[u8]) -> Result<(), Breach> {
    let answer: v1::GetOutcomeResponse = decoded(bytes)?;
    let told = answer.outcome.and_then(|outcome| outcome.receipt).map(|receipt| receipt.sequence as u64);
    match accepted.first().copied().flatten() {
        Some(sequence) if told.is_some_and(|told| told != sequence) => {
            Breach::err(KNOWN, format!("intention {of}: {sequence} was acknowledged, the outcome says {told:?}"))
        }
        _ => Ok(()),
    }
}

/// The engine's own view against that of the journal, at a moment when nothing is on its way.
///
/// # Errors
/// They differ.
pub fn compare(server: &Server, follower: &mut Follower, now_us: u64) -> Result<(), Breach> {
    let (path, payload) = messages::levels();
    let Some(taken) = server.call(path, &payload, now_us) else { return Ok(()) };
    let Ok(bytes) = taken.reply else { return Ok(()) };
    let listed: v1::ListInventoryLevelsResponse = decoded(&bytes)?;
    if listed.sequence as u64 != follower.model.sequence {
        let found = format!("engine {}, journal {}", listed.sequence, follower.model.sequence);
        return Breach::err("the engine is where its journal is", found);
    }
    let now_ms = server.engine_ms(now_us).max(follower.model.time_ms);
    if listed.levels.len() != follower.model.levels.len() {
        return Breach::err("the engine has the levels of its journal", listed.levels.len().to_string());
    }
    for level in &listed.levels {
        let Some(known) = follower.model.level(&level.sku, &level.location) else {
            return Breach::err("the engine has the levels of its journal", level.sku.clone());
        };
        let free = known.free(now_ms);
        let expected = [
            known.on_hand,
            known.reserved_at(now_ms),
            known.allocated,
            known.unsellable[0],
            known.unsellable[1],
            known.unsellable[2],
            free.max(0),
            (-free).max(0),
        ];
        let found = [
            level.on_hand,
            level.reserved,
            level.allocated,
            level.damaged,
            level.returned,
            level.quality_control,
            level.available,
            level.oversold,
        ];
        if expected != found {
            let found = format!("{}@{}: {found:?}, the journal says {expected:?}", level.sku, level.location);
            return Breach::err("counters equal the journal", found);
        }
    }
    digests(server, follower, now_us)
}

fn digests(server: &Server, follower: &mut Follower, now_us: u64) -> Result<(), Breach> {
    let (path, payload) = messages::digest();
    let Some(Ok(bytes)) = server.call(path, &payload, now_us).map(|taken| taken.reply) else { return Ok(()) };
    let told: v1::GetDigestResponse = decoded(&bytes)?;
    let expected = follower.state_digest();
    if told.digest != expected {
        return Breach::err("the digest is that of the journal", format!("{}, not {expected}", told.digest));
    }
    follower.recompute()
}

/// Every acknowledged command is in the journal, once.
///
/// # Errors
/// One is not.
pub fn all_acknowledged<'i>(
    intents: impl Iterator<Item = (&'i Intent, &'i str)>,
    follower: &Follower,
) -> Result<(), Breach> {
    for (intent, source) in intents.filter(|(intent, _)| !intent.is_read()) {
        let keys = if let Asks::Batch(keys) = &intent.asks { &keys[..] } else { std::slice::from_ref(&intent.key) };
        for (key, accepted) in keys.iter().zip(&intent.accepted) {
            // Only what was acknowledged is looked up: this is done for all intentions, at each recovery.
            let Some(sequence) = accepted else { continue };
            let found = done(intent, key, source, follower);
            if found.is_none_or(|done| done.sequence != *sequence) {
                return Breach::err(KNOWN, format!("{key:?}: acknowledged at {accepted:?}, found {found:?}"));
            }
        }
    }
    Ok(())
}
