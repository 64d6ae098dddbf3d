//! A server that listens while its engine recovers: calls are refused with the progress so far; then it serves, or
//! reports why not.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::engine_harness::{digest, fill, in_time, redis_settings, settings};
use invengine_node::engine::{Call, Engine, EventQuery, Opening};

const RESERVE: &str = "/invengine.v1.ReservationService/Reserve";

#[test]
fn calls_are_refused_recovering_until_the_result_is_known() {
    // A Redis that accepts the connection and never answers: the recovery lasts as long as the test wants.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let opening = Opening::begin(redis_settings(url, directory.path(), 0)).unwrap();
    let asking = silent.accept().unwrap();
    let call = Call { path: RESERVE, payload: &[], key: "k", ledger: "", deadline: None };
    for refused in [
        opening.call(&call).reply.unwrap_err(),
        opening.read_events(&EventQuery::every(1, 1)).unwrap_err(),
        opening.call_waiting(&call).unwrap_err(),
    ] {
        assert_eq!(refused.reason, "RECOVERING");
        assert_eq!((&*refused.metadata["done_bytes"], &*refused.metadata["of_bytes"]), ("0", "0"));
    }
    assert!(opening.stats().contains("\"recovering\": true"), "{}", opening.stats());
    assert_eq!(opening.wait_open(Instant::now() + Duration::from_millis(10)), Ok(false));
    drop((asking, silent));
    let why = opening.wait_open(Instant::now() + Duration::from_secs(60)).unwrap_err();
    assert!(why.contains("cannot reach Redis"), "{why}");
    assert_eq!(opening.call(&call).reply.unwrap_err().reason, "RECOVERING");
}

#[test]
fn the_state_is_recovered_and_progress_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(&settings(directory.path())).unwrap();
    fill(&engine, 0);
    let before = digest(&engine);
    drop(engine);
    let opening = Opening::begin(settings(directory.path())).unwrap();
    assert_eq!(opening.wait_open(in_time()), Ok(true));
    let (done_bytes, of_bytes) = opening.progress().bytes();
    assert!(done_bytes > 0 && done_bytes <= of_bytes, "{done_bytes} of {of_bytes}");
    assert_eq!(digest(opening.engine().unwrap()), before);
}
