//! A panic in the middle of a decision: the state that it leaves behind is never seen and never written, and a restart
//! has the state before it.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use invengine_wire::v1;
use prost::Message;

use super::{Call, Decision, Engine, EngineSettings, EventQuery};
use crate::methods;

/// The key of a command that panics once the ledger has changed, in tests only.
pub(super) const KEY: &str = "panics-after-the-change";

const RECEIVE: &str = "/invengine.v1.InventoryService/Receive";
const LEVELS: &str = "/invengine.v1.InventoryService/ListInventoryLevels";
const DIGEST: &str = "/invengine.v1.JournalService/GetDigest";

fn call(engine: &Engine, path: &str, payload: &[u8], key: &str) -> Decision {
    engine.call(&Call { path, payload, key, ledger: "", deadline: None })
}

fn receive(engine: &Engine, key: &str) -> Decision {
    let line = v1::StockLine { sku: "A".into(), location: "L".into(), quantity: 5, ..Default::default() };
    let message = v1::ReceiveRequest { lines: vec![line], ..Default::default() };
    call(engine, RECEIVE, &message.encode_to_vec(), key)
}

fn settled(engine: &Engine, key: &str) {
    let decision = receive(engine, key);
    decision.reply.unwrap();
    let durable = engine.wait(decision.depends_on, Instant::now() + Duration::from_secs(10));
    assert!(durable.sequence >= decision.depends_on && !durable.poisoned);
}

fn digest(engine: &Engine) -> Vec<u8> {
    call(engine, DIGEST, &[], "").reply.unwrap()
}

fn reason(decision: Decision) -> &'static str {
    decision.reply.unwrap_err().reason
}

// case: G08
#[test]
fn a_panic_in_a_decision_ends_the_engine_and_a_restart_has_the_state_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().to_path_buf();
    let settings = EngineSettings { directory, auto_create: true, ..EngineSettings::default() };
    let engine = Engine::open(&settings).unwrap();
    settled(&engine, "k1");
    let before = digest(&engine);
    assert_eq!(reason(receive(&engine, KEY)), "INTERNAL");
    assert!(engine.durable().poisoned);
    for method in methods::METHODS.iter() {
        let expected = if methods::is_read(method.path) { "JOURNAL_FAILED" } else { "OUTCOME_UNKNOWN" };
        assert_eq!(reason(call(&engine, method.path, &[], "k2")), expected, "{}", method.path);
    }
    assert_eq!(engine.read_events(&EventQuery::every(1, 10)).unwrap_err().reason, "JOURNAL_FAILED");
    engine.close();
    drop(engine);
    let again = Engine::open(&settings).unwrap();
    assert_eq!(digest(&again), before, "nothing of the decision that failed was written");
    settled(&again, "k2");
}

// case: G08
#[test]
fn the_next_call_after_a_panic_is_refused_before_the_panic_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().to_path_buf();
    let engine = Engine::open(&EngineSettings { directory, auto_create: true, ..EngineSettings::default() }).unwrap();
    settled(&engine, "k1");
    let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _core = engine.shared.core();
        panic!("while the ledger is held");
    }));
    assert!(held.is_err());
    assert_eq!(reason(call(&engine, LEVELS, &[], "")), "JOURNAL_FAILED");
    assert_eq!(reason(receive(&engine, "k2")), "OUTCOME_UNKNOWN");
}

// case: G08
#[test]
fn callers_at_the_same_time_see_nothing_of_what_a_panic_left() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_path_buf();
        let settings = EngineSettings { directory: path, auto_create: true, ..EngineSettings::default() };
        let engine = Engine::open(&settings).unwrap();
        settled(&engine, "k1");
        let (barrier, engine_ref) = (Barrier::new(5), &engine);
        let acknowledged: u64 = std::thread::scope(|scope| {
            let others: Vec<_> = (0..4)
                .map(|caller| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        (0..200).map(|n| accepted(engine_ref, &format!("c{caller}-{n}"))).sum::<u64>()
                    })
                })
                .collect();
            barrier.wait();
            assert_eq!(reason(receive(engine_ref, KEY)), "INTERNAL");
            others.into_iter().map(|other| other.join().unwrap()).sum()
        });
        drop(engine);
        let again = Engine::open(&settings).unwrap();
        let on_hand = on_hand(&again);
        assert!(
            on_hand >= 5 * (1 + acknowledged) && on_hand <= 5 * 801,
            "{acknowledged} receipts were acknowledged, {on_hand} units are on hand"
        );
        assert!(!is_known(&again), "the decision that failed was written");
    }
}

/// 1 if the receipt was acknowledged as durable.
fn accepted(engine: &Engine, key: &str) -> u64 {
    let decision = receive(engine, key);
    let acknowledged = decision.reply.is_ok()
        && engine.wait(decision.depends_on, Instant::now() + Duration::from_secs(10)).sequence >= decision.depends_on;
    u64::from(acknowledged)
}

fn on_hand(engine: &Engine) -> u64 {
    let reply = call(engine, LEVELS, &[], "").reply.unwrap();
    let levels = v1::ListInventoryLevelsResponse::decode(reply.as_slice()).unwrap().levels;
    levels.iter().map(|level| level.on_hand as u64).sum()
}

/// Whether the journal has an outcome of the command that failed.
fn is_known(engine: &Engine) -> bool {
    let message = v1::GetOutcomeRequest { idempotency_key: KEY.into(), ..Default::default() };
    let path = "/invengine.v1.ReservationService/GetOutcome";
    let reply = call(engine, path, &message.encode_to_vec(), "").reply.unwrap();
    v1::GetOutcomeResponse::decode(reply.as_slice()).unwrap().known
}
