//! The engine on a Redis journal, opened by its JSON settings like any other: recovered from snapshots, which are written on
//! request and automatically.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::engine_harness::{ask, digest, in_time};
use crate::journal_redis::{Kind, Redis, free_port};
use invengine_node::engine::{Call, Engine, EngineSettings, EventQuery, OpenError};
use invengine_node::refusal::Refusal;
use invengine_wire::v1;
use prost::Message;

both!(
    an_engine_recovers_from_redis,
    a_start_reports_acknowledged_events_that_a_failover_lost,
    an_epoch_that_a_failover_forgot_is_not_claimed_again,
    a_follower_of_events_that_a_failover_lost_learns_where_to_continue,
    a_restart_begins_at_a_snapshot_and_older_history_is_trimmed,
    snapshots_are_written_automatically_by_size_and_by_time,
);

const RECEIVE: &str = "/invengine.v1.InventoryService/Receive";
const SUBMIT: &str = "/invengine.v1.ReservationService/Submit";

fn settings(server: &Redis, more: &str) -> EngineSettings {
    let text = format!("{{\"journal\": \"redis\", \"redis_url\": \"{}\", \"auto_create\": true{more}}}", server.url());
    let directory = server.directory().join("engine");
    EngineSettings { directory, ..EngineSettings::from_json(&text).unwrap() }
}

/// Writes `frames` frames, each of a few commands.
fn work(engine: &Engine, round: usize, frames: usize) {
    let line = v1::StockLine { sku: "A".into(), location: "L".into(), quantity: 1_000, ..Default::default() };
    let receive = v1::ReceiveRequest { lines: vec![line], ..Default::default() }.encode_to_vec();
    ask(engine, RECEIVE, &format!("receive {round}"), &receive);
    for frame in 0..frames {
        let command = |number: usize| v1::Command {
            command: Some(v1::command::Command::Reserve(v1::ReserveRequest {
                context: Some(v1::CommandContext {
                    idempotency_key: format!("{round}-{frame}-{number}"),
                    ..Default::default()
                }),
                lines: vec![v1::LineRequest {
                    sku: "A".into(),
                    location: "L".into(),
                    quantity: 1,
                    ..Default::default()
                }],
                ..Default::default()
            })),
        };
        ask(engine, SUBMIT, "", &v1::SubmitRequest { commands: (0..5).map(command).collect() }.encode_to_vec());
    }
}

fn stat(engine: &Engine, name: &str) -> u64 {
    let stats: serde_json::Value = serde_json::from_str(&engine.stats()).unwrap();
    stats["snapshots"][name].as_u64().unwrap_or_else(|| panic!("{name} in {stats}"))
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
fn a_start_reports_acknowledged_events_that_a_failover_lost(kind: Kind) {
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

// case: F02
fn an_epoch_that_a_failover_forgot_is_not_claimed_again(kind: Kind) {
    let port = free_port();
    let mut master = Redis::start_on_port(&kind, port, &[]);
    let replica = Redis::start(&kind);
    let directory = tempfile::tempdir().unwrap();
    let on = |server: &Redis| EngineSettings { directory: directory.path().into(), ..settings(server, "") };
    let known = receive(&Engine::open(&on(&master)).unwrap(), "k1");
    replica.run(&format!("REPLICAOF 127.0.0.1 {port}"));
    replica.wait_for("HGET invengine:{main}:state last", &known.to_string());
    assert_eq!(replica.run("REPLICAOF NO ONE"), "OK");
    for epoch in 2..=3 {
        let engine = Engine::open(&on(&master)).unwrap();
        assert!(engine.stats().contains(&format!("\"writer_epoch\":{epoch},")));
        receive(&engine, &format!("k{epoch}"));
    }
    master.end();
    let engine = Engine::open(&on(&replica)).unwrap();
    assert!(engine.stats().contains("\"writer_epoch\":4,"), "{}", engine.stats());
}

fn a_follower_of_events_that_a_failover_lost_learns_where_to_continue(kind: Kind) {
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
    let followed = (2..9).map(|number| receive(&engine, &format!("k{number}"))).last().unwrap();
    assert_eq!(after(&engine, 1, followed), Ok(followed + 1));
    drop(engine);
    master.end();

    let engine = Engine::open(&on(&replica)).unwrap();
    // Before and after the new history has grown past what was lost.
    for sequence in [known, followed + 5] {
        while engine.durable().sequence < sequence {
            receive(&engine, &format!("n{}", engine.durable().sequence));
        }
        let refused = after(&engine, 1, followed).unwrap_err();
        assert_eq!(refused.reason, "POSITION_NOT_IN_HISTORY");
        assert_eq!(refused.metadata["last_common_sequence"], known.to_string());
        assert_eq!(refused.metadata["last_common_epoch"], "1");
        assert_eq!(after(&engine, 1, known), Ok(known + 1));
    }
}

/// Where a reader that has handled this event begins.
fn after(engine: &Engine, writer_epoch: i64, sequence: u64) -> Result<u64, Refusal> {
    let position = v1::JournalPosition { ledger: "main".into(), writer_epoch, sequence: sequence as i64 };
    let payload = v1::ReadEventsRequest { after: Some(position), ..Default::default() }.encode_to_vec();
    let path = "/invengine.v1.JournalService/ReadEvents";
    let call = Call { path, payload: &payload, key: "", ledger: "", deadline: None };
    engine.begin_events(&call).map(|wanted| wanted.next)
}

fn another_ledger_is_not_compared(directory: &Path, server: &Redis) -> bool {
    let other = EngineSettings { directory: directory.into(), ledger: "other".into(), ..settings(server, "") };
    lost_events(&Engine::open(&other).unwrap()) == 0
}

/// Receives stock, waits until it is durable and returns its sequence.
fn receive(engine: &Engine, key: &str) -> u64 {
    let line = v1::StockLine { sku: "A".into(), location: "L".into(), quantity: 5, ..Default::default() };
    let payload = v1::ReceiveRequest { lines: vec![line], ..Default::default() }.encode_to_vec();
    let path = "/invengine.v1.InventoryService/Receive";
    let taken = engine.call(&Call { path, payload: &payload, key, ledger: "", deadline: None });
    taken.reply.unwrap();
    let durable = engine.wait(taken.depends_on, Instant::now() + Duration::from_secs(10));
    assert!(durable.sequence >= taken.depends_on && !durable.poisoned);
    taken.depends_on
}

fn lost_events(engine: &Engine) -> u64 {
    let call =
        Call { path: "/invengine.v1.AdminService/GetServerInfo", payload: &[], key: "", ledger: "", deadline: None };
    v1::GetServerInfoResponse::decode(engine.call(&call).reply.unwrap().as_slice()).unwrap().lost_events as u64
}

// case: B13, E11
fn a_restart_begins_at_a_snapshot_and_older_history_is_trimmed(kind: Kind) {
    let server = Redis::start(&kind);
    let settings = settings(&server, ", \"archive_bytes_max\": 1");
    let mut before = None;
    for round in 0..4 {
        let engine = Engine::open(&settings).unwrap();
        if let Some(before) = &before {
            assert_eq!(digest(&engine), *before, "round {round}");
        }
        work(&engine, round, 60);
        let written = engine.create_snapshot(in_time()).unwrap();
        assert_eq!(written as i64, digest(&engine).1, "everything was durable");
        work(&engine, 100 + round, 20);
        before = Some(digest(&engine));
    }
    // The snapshots give the same state as a fold of every frame did; the frames themselves are gone.
    let engine = Engine::open(&settings).unwrap();
    assert_eq!(Some(digest(&engine)), before);
    let refused = engine.read_events(&EventQuery::every(1, 10)).unwrap_err();
    assert_eq!(refused.reason, "HISTORY_TRIMMED");
    let first: u64 = refused.metadata["limit"].parse().unwrap();
    assert!(first > 1 && engine.read_events(&EventQuery::every(first, 10)).is_ok());
    assert_eq!(stat(&engine, "first_sequence"), first, "a start reports where the history begins");
    let left: u64 = server.run("XLEN invengine:{main}:frames").parse().unwrap();
    let written: u64 = server.run("HGET invengine:{main}:state entries").parse().unwrap();
    assert!(left < written - 80, "{left} of {written} frames are stored");
    drop(engine);
    // The newest is damaged: the older one and a longer tail.
    let begun: u64 = server.run("HGET invengine:{main}:state begun").parse().unwrap();
    server.run(&format!("HSET invengine:{{main}}:snapshot:{} 0 damaged", (begun - 1) % 3));
    let engine = Engine::open(&settings).unwrap();
    assert_eq!(Some(digest(&engine)), before);
    // The next snapshot does not rely on it.
    work(&engine, 200, 1);
    engine.create_snapshot(in_time()).unwrap();
    let before = digest(&engine);
    drop(engine);
    server.run(&format!("HSET invengine:{{main}}:snapshot:{} 0 damaged", begun % 3));
    assert_eq!(digest(&Engine::open(&settings).unwrap()), before);
}

fn snapshots_are_written_automatically_by_size_and_by_time(kind: Kind) {
    for (more, frames) in [
        (", \"snapshot_journal_bytes\": 20000, \"snapshot_interval_ms\": 0", 200),
        (", \"snapshot_journal_bytes\": 0, \"snapshot_interval_ms\": 50", 1),
    ] {
        let server = Redis::start(&kind);
        let engine = Engine::open(&settings(&server, more)).unwrap();
        work(&engine, 0, frames);
        let until = in_time();
        while stat(&engine, "written") == 0 {
            assert!(Instant::now() < until, "no snapshot was written: {more}");
            std::thread::yield_now();
        }
        assert!(stat(&engine, "sequence") > 0 && stat(&engine, "failed") == 0);
    }
}
