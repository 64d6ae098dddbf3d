//! Unary calls through the door: what is answered, when, and what a refusal looks like.

use crate::door_harness::caller::{Caller, framed, request, request_with};
use crate::door_harness::{RESERVE, open};
use http::{Method, StatusCode};
use invengine_node::door::DoorSettings;
use invengine_node::methods::{METHODS, READ_EVENTS, is_read};

#[tokio::test]
async fn a_call_is_answered_with_its_trailers() {
    let (port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    let mut request = request_with(RESERVE, "idempotency-key", "k-1");
    request.headers_mut().insert("invengine-ledger", "main".parse().unwrap());
    let ended = caller.send(request, framed(b"hello")).await;
    assert_eq!(ended.answer(), b"hello");
    assert_eq!(port.seen(), [format!("{RESERVE} k-1 main hello")]);
}

#[tokio::test]
async fn an_empty_message_is_a_message() {
    let (port, door) = open(DoorSettings::default());
    let ended = Caller::new(door.address()).await.call(RESERVE, b"").await;
    assert_eq!(ended.answer(), b"");
    assert_eq!(port.seen(), [format!("{RESERVE}   ")]);
}

#[tokio::test]
async fn an_answer_waits_until_what_it_depends_on_is_durable() {
    let (port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    let mut calls = Vec::new();
    for message in ["first@1", "third@3", "second@2", "no@2"] {
        let mut call = caller.start(request(RESERVE));
        call.send(framed(message.as_bytes()), true);
        calls.push(call);
    }
    port.until_decided(4).await;
    // A call that depends on nothing overtakes them: whatever could be answered has been by then.
    assert_eq!(caller.call(RESERVE, b"now").await.answer(), b"now");
    for call in &mut calls {
        assert!(call.is_waiting().await);
    }
    port.commit(2);
    let mut calls = calls.into_iter();
    let (first, mut third) = (calls.next().unwrap(), calls.next().unwrap());
    assert_eq!(first.end().await.answer(), b"first");
    assert_eq!(calls.next().unwrap().end().await.answer(), b"second");
    assert_eq!(calls.next().unwrap().end().await.refusal().reason, "NOT_OWNER");
    assert_eq!(caller.call(RESERVE, b"now").await.answer(), b"now");
    assert!(third.is_waiting().await);
    port.commit(3);
    assert_eq!(third.end().await.answer(), b"third");
}

#[tokio::test]
async fn many_commits_answer_many_callers() {
    let (port, door) = open(DoorSettings { threads: 2, ..Default::default() });
    let mut callers = [Caller::new(door.address()).await, Caller::new(door.address()).await];
    for round in 0..200_u64 {
        let mut calls = Vec::new();
        for (at, caller) in callers.iter_mut().enumerate() {
            let mut call = caller.start(request(RESERVE));
            call.send(framed(format!("a@{}", round * 2 + at as u64 + 1).as_bytes()), true);
            calls.push(call);
        }
        let committer = std::thread::spawn({
            let port = std::sync::Arc::clone(&port);
            move || (1..=2).for_each(|step| port.commit(round * 2 + step))
        });
        for call in calls {
            assert_eq!(call.end().await.answer(), b"a");
        }
        committer.join().unwrap();
    }
}

#[tokio::test]
async fn a_failed_journal_leaves_the_outcome_unknown() {
    let (port, door) = open(DoorSettings::default());
    port.commit(1);
    let mut caller = Caller::new(door.address()).await;
    let mut lost = caller.start(request(RESERVE));
    lost.send(framed(b"lost@2"), true);
    port.until_decided(1).await;
    port.poison();
    let refusal = lost.end().await.refusal();
    assert_eq!((refusal.code, refusal.reason.as_str()), (14, "OUTCOME_UNKNOWN"));
    assert_eq!(caller.call(RESERVE, b"late@2").await.refusal().reason, "OUTCOME_UNKNOWN");
    // A read that waits for what is not durable has lost nothing, whichever it is.
    for method in METHODS.iter().filter(|method| method.native() && is_read(method.path) && method.path != READ_EVENTS)
    {
        let refusal = caller.call(method.path, b"late@2").await.refusal();
        assert_eq!((refusal.code, refusal.reason.as_str()), (14, "JOURNAL_FAILED"), "{}", method.path);
    }
    assert_eq!(caller.call(RESERVE, b"kept@1").await.answer(), b"kept");
}

#[tokio::test]
async fn a_refusal_has_its_code_reason_and_facts() {
    let (_port, door) = open(DoorSettings::default());
    let refusal = Caller::new(door.address()).await.call(RESERVE, b"no").await.refusal();
    assert_eq!((refusal.code, refusal.reason.as_str(), refusal.retries), (14, "NOT_OWNER", true));
    assert_eq!(refusal.metadata["ledger"], "other");
}

#[tokio::test]
async fn a_panic_becomes_an_incident_and_nothing_else() {
    let (_port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    let refusal = caller.call(RESERVE, b"panic").await.refusal();
    assert_eq!((refusal.code, refusal.reason.as_str()), (13, "INTERNAL"));
    let (name, incident) = refusal.metadata.first_key_value().unwrap();
    assert_eq!((name.as_str(), incident.len(), refusal.metadata.len()), ("incident", 16, 1));
    assert!(!refusal.message.contains("secret"));
    assert_eq!(caller.call(RESERVE, b"on").await.answer(), b"on");
}

#[tokio::test]
async fn a_call_past_its_deadline_is_refused_and_not_decided() {
    let (port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    let refusal = caller.send(request_with(RESERVE, "grpc-timeout", "1n"), framed(b"late")).await.refusal();
    assert_eq!((refusal.code, refusal.reason.as_str()), (4, "DEADLINE"));
    assert!(port.seen().is_empty());
    assert_eq!(caller.send(request_with(RESERVE, "grpc-timeout", "1M"), framed(b"ok")).await.answer(), b"ok");
}

#[tokio::test]
async fn metadata_that_cannot_be_read_is_refused() {
    let (port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    for (name, value) in [("grpc-timeout", "soon"), ("idempotency-key", "\u{e9}"), ("invengine-ledger", "\u{e9}")] {
        let refusal = caller.send(request_with(RESERVE, name, value), framed(b"x")).await.refusal();
        assert_eq!((refusal.code, refusal.reason.as_str()), (3, "INVALID_FIELD"));
        assert_eq!(refusal.fields, [name]);
    }
    assert!(port.seen().is_empty());
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let (port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    for path in ["/invengine.v1.ReservationService/Sell", "/grpc.health.v1.Health/Check", "/", "//"] {
        let refusal = caller.call(path, b"").await.refusal();
        assert_eq!((refusal.code, refusal.reason.as_str()), (12, "UNIMPLEMENTED"), "{path}");
    }
    assert!(port.seen().is_empty());
}

#[tokio::test]
async fn what_is_not_grpc_gets_an_http_status() {
    let (port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    let mut get = request(RESERVE);
    *get.method_mut() = Method::GET;
    assert_eq!(caller.send(get, Vec::new()).await.http, StatusCode::METHOD_NOT_ALLOWED);
    for kind in ["application/json", "application/grpcx", "text/plain"] {
        let ended = caller.send(request_with(RESERVE, "content-type", kind), framed(b"x")).await;
        assert_eq!(ended.http, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
    }
    let mut bare = request(RESERVE);
    bare.headers_mut().remove("content-type");
    assert_eq!(caller.send(bare, framed(b"x")).await.http, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(port.seen().is_empty());
    for kind in ["application/grpc+proto", "application/grpc;x=y"] {
        assert_eq!(caller.send(request_with(RESERVE, "content-type", kind), framed(b"x")).await.answer(), b"x");
    }
}

#[tokio::test]
async fn calls_beyond_the_limit_are_refused_at_once() {
    // Fewer than any connection may always have.
    let (port, door) = open(DoorSettings { calls_max: 2, ..Default::default() });
    let mut caller = Caller::new(door.address()).await;
    let mut calls: Vec<_> = (0..16).map(|_| caller.start(request(RESERVE))).collect();
    calls.iter_mut().for_each(|call| call.send(framed(b"a@1"), true));
    port.until_decided(16).await;
    let refusal = caller.call(RESERVE, b"b").await.refusal();
    assert_eq!((refusal.code, refusal.reason.as_str(), refusal.retries), (8, "OVERLOADED", true));
    port.commit(1);
    for call in calls {
        assert_eq!(call.end().await.answer(), b"a");
    }
    assert_eq!(caller.call(RESERVE, b"b").await.answer(), b"b");
}

#[tokio::test]
async fn calls_of_a_connection_beyond_the_limit_are_refused() {
    let (port, door) = open(DoorSettings { connections_max: 1, ..Default::default() });
    let mut first = Caller::new(door.address()).await;
    let mut busy = first.start(request(RESERVE));
    busy.send(framed(b"a@1"), true);
    port.until_decided(1).await;
    let refusal = Caller::new(door.address()).await.call(RESERVE, b"b").await.refusal();
    assert_eq!((refusal.code, refusal.reason.as_str(), refusal.retries), (8, "OVERLOADED", true));
    assert_eq!(first.call(RESERVE, b"c").await.answer(), b"c");
    assert_eq!(port.seen().len(), 2);
    port.commit(1);
    assert_eq!(busy.end().await.answer(), b"a");
}
