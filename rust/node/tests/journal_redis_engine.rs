//! The engine on a Redis journal, opened by its JSON settings like any other.

mod journal_redis;

use std::path::Path;
use std::time::{Duration, Instant};

use invengine_node::engine::{Call, Engine, EngineSettings, OpenError};
use invengine_wire::v1;
use journal_redis::{Kind, Redis, free_port};
use prost::Message;

both!(an_engine_recovers_from_redis, a_start_tells_what_a_failover_lost_of_the_acknowledged);

fn settings(server: &Redis, more: &str) -> EngineSettings {
    let text = format!("{{\"journal\": \"redis\", \"redis_url\": \"{}\", \"auto_create\": true{more}}}", server.url());
    let directory = server.directory().join("engine");
    EngineSettings { directory, ..EngineSettings::from_json(&text).unwrap() }
}

fn an_engine_recovers_from_redis(kind: Kind) {
    let server = Redis::start(&kind);
    for epoch in 1..=3 {
        let engine = Engine::open(&settings(&server, "")).unwrap();
        assert!(engine.stats().contains(&format!("\"writer_epoch\":{epoch},")), "{}", engine.stats());
        engine.close();
    }
    assert_eq!(server.run("XLEN invengine:{main}:frames"), "3");
    server.run("CONFIG SET appendfsync everysec");
    let refused = Engine::open(&settings(&server, "")).map(drop).unwrap_err();
    assert!(
        matches!(&refused, OpenError::Journal(_)) && refused.to_string().starts_with("redis_ack fsync"),
        "{refused}"
    );
    Engine::open(&settings(&server, ", \"redis_ack\": \"everysec\"")).unwrap();
}

// case: F02
fn a_start_tells_what_a_failover_lost_of_the_acknowledged(kind: Kind) {
    let port = free_port();
    let mut master = Redis::start_on_port(&kind, port, &[]);
    let replica = Redis::start(&kind);
    replica.run(&format!("REPLICAOF 127.0.0.1 {port}"));
    replica.wait_for("INFO replication", "master_link_status:up");
    let directory = tempfile::tempdir().unwrap();
    let on = |server: &Redis| EngineSettings { directory: directory.path().into(), ..settings(server, "") };

    let engine = Engine::open(&on(&master)).unwrap();
    let known = receive(&engine, "k1");
    replica.wait_for("HGET invengine:{main}:state last", &known.to_string());
    assert_eq!(replica.run("REPLICAOF NO ONE"), "OK");
    let acknowledged = receive(&engine, "k2");
    drop(engine);
    master.end();

    let engine = Engine::open(&on(&replica)).unwrap();
    assert_eq!(lost_events(&engine), acknowledged - known);
    drop(engine);
    let engine = Engine::open(&on(&replica)).unwrap();
    assert_eq!(lost_events(&engine), acknowledged - known, "until something new is acknowledged");
    while receive(&engine, &format!("k{}", engine.durable().sequence)) < acknowledged {}
    drop(engine);
    assert_eq!(lost_events(&Engine::open(&on(&replica)).unwrap()), 0);
    assert!(another_ledger_is_not_compared(directory.path(), &replica));
}

fn another_ledger_is_not_compared(directory: &Path, server: &Redis) -> bool {
    let other = EngineSettings { directory: directory.into(), ledger: "other".into(), ..settings(server, "") };
    lost_events(&Engine::open(&other).unwrap()) == 0
}

/// Receives something, waits until it is durable and answers its position.
fn receive(engine: &Engine, key: &str) -> u64 {
    let line = v1::StockLine { sku: "A".into(), location: "L".into(), quantity: 5, ..Default::default() };
    let payload = v1::ReceiveRequest { lines: vec![line], ..Default::default() }.encode_to_vec();
    let path = "/invengine.v1.InventoryService/Receive";
    let taken = engine.call(&Call { path, payload: &payload, key, ledger: "", deadline: None });
    taken.reply.unwrap();
    let durable = engine.wait(taken.rests_on, Instant::now() + Duration::from_secs(10));
    assert!(durable.sequence >= taken.rests_on && !durable.poisoned);
    taken.rests_on
}

fn lost_events(engine: &Engine) -> u64 {
    let call =
        Call { path: "/invengine.v1.AdminService/GetServerInfo", payload: &[], key: "", ledger: "", deadline: None };
    v1::GetServerInfoResponse::decode(engine.call(&call).reply.unwrap().as_slice()).unwrap().lost_events as u64
}
