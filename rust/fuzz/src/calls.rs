//! Calls: whatever a message holds, the engine answers or refuses, and a message that is not valid changes nothing.

use std::time::{Duration, Instant};

use invengine_node::engine::{Call, Engine, Taken};
use invengine_node::methods::METHODS;
use invengine_node::refusal::Code;

use crate::Seen;
use crate::feed::Feed;
use crate::script;

const CALLS_MAX: usize = 8;
const KEYS: [&str; 6] =
    ["", "h1", "h2", "k1", "new", "a key that is far too long to be taken: \u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"];

/// One engine with a day behind it, then the calls that the bytes describe: method, key, length, message.
pub fn run(bytes: &[u8]) -> Seen {
    let mut feed = Feed::new(bytes);
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
    // More than the last answer would make every input a new way.
    Seen::of(answers.last())
}

fn call(engine: &Engine, path: &str, key: &str, payload: &[u8], now: Instant) -> Taken {
    engine.call_at(&Call { path, payload, key, ledger: "", deadline: None }, now)
}

fn digest(engine: &Engine, now: Instant) -> Vec<u8> {
    call(engine, "/invengine.v1.JournalService/GetDigest", "", &[], now).reply.expect("the digest is always told")
}

/// Calls once. The answer in short: the method, and the reason of a no.
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

/// The whole day, a call an input, and some calls together.
pub fn seeds() -> Vec<Vec<u8>> {
    let day = script::day();
    let input = |asked: &[script::Asked], before: usize| {
        let mut input = vec![1, before as u8];
        for (method, _, payload) in asked {
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
