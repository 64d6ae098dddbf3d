//! Batches: a command that the door reads where it lies is decided and answered like one that prost decodes.

use std::time::{Duration, Instant};

use invengine_node::engine::{Call, Decision, Engine};
use invengine_wire::v1;
use prost::Message;

use crate::Signature;
use crate::byte_source::ByteSource;
use crate::script;

const BATCHES_MAX: usize = 4;
/// Most calls of the day before the batches: after these there are holds in every state.
const CALLS_MAX: usize = 16;
/// A field that no message has. Every decoder skips it, but a batch with it is left to prost.
const UNKNOWN_FIELD: [u8; 2] = [15 << 3, 0];

/// Plays part of a day on two engines, then submits the batches that the bytes describe (length, message): to one of them as
/// they are, to the other so that prost reads them.
pub fn run(bytes: &[u8]) -> Signature {
    let mut feed = ByteSource::new(bytes);
    let start = Instant::now();
    let engines = [(); 2].map(|()| script::engine(start, true).0);
    let calls = usize::from(feed.byte()) % (CALLS_MAX + 1);
    for (method, key, payload) in script::day().into_iter().take(calls) {
        for engine in &engines {
            call(engine, script::path(method), key, &payload, start);
        }
    }
    let mut answers = Vec::new();
    let mut now = start;
    step(&engines, now);
    while !feed.is_empty() && answers.len() < BATCHES_MAX {
        let length = usize::from(feed.short());
        answers.push(judge(&engines, feed.take(length), now));
        step(&engines, now);
        now += Duration::from_millis(300);
    }
    Signature::of(answers)
}

/// The reasons of the refusals in the answer to a batch, on which both engines agree.
fn judge(engines: &[Engine; 2], batch: &[u8], now: Instant) -> Vec<String> {
    let [direct, decoded] = engines;
    let found = submit(direct, batch, now);
    let expected = submit(decoded, &[&UNKNOWN_FIELD[..], batch].concat(), now);
    assert_eq!(found.reply, expected.reply, "prost reads this batch in another way");
    assert_eq!((found.depends_on, digest(direct, now)), (expected.depends_on, digest(decoded, now)));
    let answer = match found.reply {
        Ok(answer) => answer,
        Err(refusal) => return vec![refusal.reason.into()],
    };
    let message = v1::SubmitResponse::decode(&*answer).expect("the answer is a message");
    assert_eq!(message.encode_to_vec(), answer, "prost writes this answer in another way");
    let reason = |outcome: v1::Outcome| outcome.rejection.map_or_else(String::new, |rejection| rejection.reason);
    message.outcomes.into_iter().map(reason).collect()
}

fn call(engine: &Engine, path: &str, key: &str, payload: &[u8], now: Instant) -> Decision {
    engine.call_at(&Call { path, payload, key, ledger: "", deadline: None }, now)
}

fn step(engines: &[Engine; 2], now: Instant) {
    for engine in engines {
        engine.step(now);
    }
}

fn submit(engine: &Engine, payload: &[u8], now: Instant) -> Decision {
    call(engine, script::path("Submit"), "", payload, now)
}

fn digest(engine: &Engine, now: Instant) -> Option<Vec<u8>> {
    call(engine, script::path("GetDigest"), "", &[], now).reply.ok()
}

/// The commands of the day: each as a batch on an engine that has played the day, and all of them as one batch.
pub fn seeds() -> Vec<Vec<u8>> {
    let commands: Vec<Vec<u8>> = script::day().iter().filter_map(command).collect();
    let input = |batch: &[u8]| [&[CALLS_MAX as u8][..], &(batch.len() as u16).to_le_bytes()[..], batch].concat();
    let mut seeds: Vec<Vec<u8>> = commands.iter().map(|command| input(command)).collect();
    seeds.push(input(&commands.concat()));
    seeds
}

/// A call as a batch of one command, if batches have such commands.
fn command((method, key, payload): &script::CallInput) -> Option<Vec<u8>> {
    let methods = ["", "Reserve", "Extend", "Amend", "Allocate", "Release", "Fulfill", "TransferReservation"];
    let number = methods.iter().position(|name| name == method)?;
    // The key of the call moves into the shared fields, which come first in every message of the day.
    let (prefix, rest) = payload.split_at_checked(2)?;
    let (shared, rest) = rest.split_at_checked(usize::from(prefix[1]))?;
    let key = field(1, format!("{key}-batch").as_bytes());
    let request = [&*field(1, &[shared, &key].concat()), rest].concat();
    Some(field(1, &field(number, &request)))
}

/// A length-delimited field.
fn field(number: usize, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![(number << 3 | 2) as u8];
    prost::encode_length_delimiter(bytes.len(), &mut field).expect("a Vec has room");
    field.extend(bytes);
    field
}
