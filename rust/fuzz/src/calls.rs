//! Calls: whatever a message contains, the engine answers or refuses it, and an invalid message changes nothing.

use std::time::{Duration, Instant};

use invengine_node::engine::{Call, Decision, Engine};
use invengine_node::methods::METHODS;
use invengine_node::refusal::Code;

use crate::Signature;
use crate::byte_source::ByteSource;
use crate::script;

const CALLS_MAX: usize = 8;
const KEYS: [&str; 6] =
    ["", "h1", "h2", "k1", "new", "a key that is far too long to be taken: \u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"];

/// Plays part of a day on an engine, then makes the calls that the bytes describe: method, key, length, message.
pub fn run(bytes: &[u8]) -> Signature {
    let mut feed = ByteSource::new(bytes);
    let start = Instant::now();
    let (engine, _) = script::engine(start, feed.byte() & 1 == 1);
    for (method, key, payload) in script::day().into_iter().take(usize::from(feed.byte() % 16)) {
        call(&engine, script::path(method), key, &payload, start).reply.ok();
    }
    engine.step(start);
    let mut answers = Vec::new();
    let mut now = start;
    while !feed.is_empty() && answers.len() < CALLS_MAX {
        let method = &METHODS[usize::from(feed.byte()) % METHODS.len()];
        let key = KEYS[usize::from(feed.byte()) % KEYS.len()];
        let bytes = usize::from(feed.short());
        answers.push(judge(&engine, method.path, key, feed.take(bytes), now));
        engine.step(now);
        now += Duration::from_millis(300);
    }
    engine.step(now + Duration::from_secs(3_600));
    assert!(!engine.durable().poisoned, "the engine is poisoned");
    // Including more than the last answer would give every input a new signature.
    Signature::of(answers.last())
}

fn call(engine: &Engine, path: &str, key: &str, payload: &[u8], now: Instant) -> Decision {
    engine.call_at(&Call { path, payload, key, ledger: "", deadline: None }, now)
}

fn digest(engine: &Engine, now: Instant) -> Vec<u8> {
    call(engine, "/invengine.v1.JournalService/GetDigest", "", &[], now).reply.expect("the digest can always be read")
}

/// Makes one call. Summarises the answer: the method, and the reason of a rejection.
fn judge(engine: &Engine, path: &'static str, key: &str, payload: &[u8], now: Instant) -> (&'static str, &'static str) {
    let before = digest(engine, now);
    match call(engine, path, key, payload, now).reply {
        Ok(_) => (path, ""),
        Err(refusal) => {
            assert_ne!(refusal.code, Code::Internal, "{path}: {refusal:?}");
            assert!(!refusal.message.contains('\n'), "{path}: more than one line: {refusal:?}");
            if refusal.code == Code::InvalidArgument {
                assert_eq!(digest(engine, now), before, "{path} changed something: {refusal:?}");
            }
            (path, refusal.reason)
        }
    }
}

/// The whole day with one call per input, and an input with several calls.
pub fn seeds() -> Vec<Vec<u8>> {
    let day = script::day();
    let input = |calls: &[script::CallInput], before: usize| {
        let mut input = vec![1, before as u8];
        for (method, _, payload) in calls {
            let place = METHODS.iter().position(|found| found.path == script::path(method)).expect("a method");
            input.extend([place as u8, 4]);
            input.extend((payload.len() as u16).to_le_bytes());
            input.extend(payload);
        }
        input
    };
    let mut seeds: Vec<Vec<u8>> = (0..day.len()).map(|number| input(&day[number..=number], 15)).collect();
    seeds.push(input(&day[..CALLS_MAX], 0));
    seeds
}
