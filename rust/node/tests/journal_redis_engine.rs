//! The engine on a Redis journal, opened by its JSON settings like any other.

mod journal_redis;

use invengine_node::engine::{Engine, EngineSettings, OpenError};
use journal_redis::{Kind, Redis};

both!(an_engine_recovers_from_redis);

fn settings(server: &Redis, more: &str) -> EngineSettings {
    let text = format!("{{\"journal\": \"redis\", \"redis_url\": \"{}\", \"auto_create\": true{more}}}", server.url());
    EngineSettings::from_json(&text).unwrap()
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
