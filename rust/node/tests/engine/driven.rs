//! A driven engine: no thread and no clock of its own, the same commits.

use std::time::{Duration, Instant};

use invengine_node::engine::{Call, Engine, EngineSettings, JournalKind, Step};
use invengine_node::journal::MemoryJournal;
use invengine_wire::v1;
use prost::Message;

const RESERVE: &str = "/invengine.v1.ReservationService/Reserve";
const RECEIVE: &str = "/invengine.v1.InventoryService/Receive";

fn settings() -> EngineSettings {
    let journal = JournalKind::Memory;
    EngineSettings { journal, auto_create: true, wall_time_ms: Some(1_000_000), ..EngineSettings::default() }
}

fn call<'a>(path: &'a str, payload: &'a [u8], key: &'a str) -> Call<'a> {
    Call { path, payload, key, ledger: "", deadline: None }
}

fn receive() -> Vec<u8> {
    let line = v1::StockLine { sku: "A".into(), location: "L".into(), quantity: 5, ..Default::default() };
    v1::ReceiveRequest { lines: vec![line], ..Default::default() }.encode_to_vec()
}

fn reserve(ttl_ms: u64) -> Vec<u8> {
    let line = v1::LineRequest { sku: "A".into(), location: "L".into(), quantity: 5, ..Default::default() };
    let ttl = prost_types::Duration { seconds: ttl_ms as i64 / 1_000, nanos: 0 };
    v1::ReserveRequest { lines: vec![line], ttl: Some(ttl), ..Default::default() }.encode_to_vec()
}

#[test]
fn nothing_is_durable_before_a_step_and_the_caller_provides_the_time() {
    let start = Instant::now();
    let open: &mut dyn FnMut(&mut dyn invengine_node::journal::Replay) -> _ =
        &mut |_| Ok(Box::new(MemoryJournal::new("main")) as Box<_>);
    let engine = Engine::open_driven(&settings(), start, open).unwrap();
    let decision = engine.call_at(&call(RECEIVE, &receive(), "k1"), start);
    decision.reply.unwrap();
    assert!(decision.depends_on > 0);
    assert_eq!(engine.durable().sequence, 0);
    assert_eq!(engine.step(start), Step::Committed);
    assert_eq!(engine.durable().sequence, decision.depends_on);
    engine.call_at(&call(RESERVE, &reserve(60_000), "k2"), start).reply.unwrap();
    assert_eq!(engine.step(start), Step::Committed);
    assert!(matches!(engine.step(start), Step::Idle(_)));
    let refused = engine.call_at(&call(RESERVE, &reserve(60_000), "k3"), start).reply.unwrap_err();
    assert_eq!(refused.reason, "INSUFFICIENT_STOCK");
    let later = start + Duration::from_secs(61);
    engine.call_at(&call(RESERVE, &reserve(60_000), "k4"), later).reply.unwrap();
    assert_eq!(engine.step(later), Step::Committed, "the expired hold and the new one");
}
