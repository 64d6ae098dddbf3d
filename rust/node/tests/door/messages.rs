//! Request bodies that are not one message, too long, too slow, or in parts.

use crate::door_harness::caller::{Caller, framed, request, request_with};
use crate::door_harness::{RESERVE, open};
use invengine_node::door::DoorSettings;

const COMMAND_BYTES_MAX: usize = 1 << 20;

#[tokio::test]
async fn a_body_that_is_not_one_message() {
    let (port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    let bodies = [
        Vec::new(),
        vec![0, 0, 0],
        vec![0, 0, 0, 0, 3, b'a'],
        [framed(b"a"), framed(b"b")].concat(),
        [framed(b"a"), vec![0]].concat(),
        vec![7, 0, 0, 0, 0],
    ];
    for body in bodies {
        let refusal = caller.send(request(RESERVE), body.clone()).await.refusal();
        assert_eq!((refusal.code, refusal.reason.as_str()), (3, "INVALID_FIELD"), "{body:?}");
        assert_eq!(refusal.fields, ["message"]);
    }
    assert!(port.seen().is_empty());
}

#[tokio::test]
async fn a_call_without_any_body() {
    let (_port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    let mut call = caller.start(request(RESERVE));
    call.sending.send_trailers(http::HeaderMap::new()).unwrap();
    assert_eq!(call.end().await.refusal().reason, "INVALID_FIELD");
}

#[tokio::test]
async fn a_compressed_message() {
    let (_port, door) = open(DoorSettings::default());
    let body = vec![1, 0, 0, 0, 1, b'a'];
    let refusal = Caller::new(door.address()).await.send(request(RESERVE), body).await.refusal();
    assert_eq!((refusal.code, refusal.reason.as_str()), (12, "UNIMPLEMENTED"));
}

#[tokio::test]
async fn a_message_of_exactly_the_limit_is_accepted() {
    let (port, door) = open(DoorSettings::default());
    let message = vec![b'a'; COMMAND_BYTES_MAX];
    let ended = Caller::new(door.address()).await.call(RESERVE, &message).await;
    assert_eq!(ended.answer(), message);
    assert_eq!(port.seen().len(), 1);
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_before_it_has_arrived() {
    let (port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    let mut call = caller.start(request(RESERVE));
    let length = (COMMAND_BYTES_MAX as u32 + 1).to_be_bytes();
    call.send([&[0][..], &length].concat(), false);
    let refusal = call.end().await.refusal();
    assert_eq!((refusal.code, refusal.reason.as_str()), (8, "MESSAGE_TOO_LARGE"));
    assert_eq!(refusal.metadata["limit"], COMMAND_BYTES_MAX.to_string());
    let whole = caller.call(RESERVE, &vec![b'a'; 3 * COMMAND_BYTES_MAX]).await.refusal();
    assert_eq!(whole.reason, "MESSAGE_TOO_LARGE");
    assert!(port.seen().is_empty());
    assert_eq!(caller.call(RESERVE, b"on").await.answer(), b"on");
}

#[tokio::test]
async fn more_than_one_message_is_refused_before_the_body_ends() {
    let (_port, door) = open(DoorSettings::default());
    let mut call = Caller::new(door.address()).await.start(request(RESERVE));
    call.send([framed(b"a"), framed(b"b")].concat(), false);
    assert_eq!(call.end().await.refusal().reason, "INVALID_FIELD");
}

#[tokio::test]
async fn a_message_may_arrive_in_parts() {
    let (port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    let body = framed(b"hello@1");
    let mut calls = Vec::new();
    for cut in 0..=body.len() {
        let mut call = caller.start(request(RESERVE));
        call.send(body[..cut].to_vec(), false);
        calls.push(call);
    }
    // A complete call on the same connection is not held up by them.
    assert_eq!(caller.call(RESERVE, b"now").await.answer(), b"now");
    for (cut, call) in calls.iter_mut().enumerate() {
        call.send(body[cut..].to_vec(), true);
    }
    port.until_decided(body.len() + 2).await;
    assert!(calls[0].is_waiting().await);
    port.commit(1);
    for call in calls {
        assert_eq!(call.end().await.answer(), b"hello");
    }
}

#[tokio::test]
async fn a_message_that_never_ends_is_refused() {
    let (port, door) = open(DoorSettings { message_ms_max: 30, ..Default::default() });
    let mut caller = Caller::new(door.address()).await;
    let mut call = caller.start(request(RESERVE));
    call.send(framed(b"hello")[..7].to_vec(), false);
    let refusal = call.end().await.refusal();
    assert_eq!((refusal.code, refusal.reason.as_str()), (4, "DEADLINE"));
    assert!(port.seen().is_empty());
}

#[tokio::test]
async fn a_message_that_arrives_after_its_deadline_is_refused() {
    let (port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    let mut call = caller.start(request_with(RESERVE, "grpc-timeout", "20m"));
    call.send(framed(b"hello")[..7].to_vec(), false);
    assert_eq!(call.end().await.refusal().reason, "DEADLINE");
    assert!(port.seen().is_empty());
}

#[tokio::test]
async fn incomplete_messages_have_a_limit_in_total() {
    let (_port, door) = open(DoorSettings { partial_bytes_max: 1_000, ..Default::default() });
    let mut caller = Caller::new(door.address()).await;
    let part = |bytes: usize| framed(&vec![b'a'; 2_000])[..bytes].to_vec();
    let mut held = caller.start(request(RESERVE));
    held.send(part(900), false);
    let mut more = caller.start(request(RESERVE));
    more.send(part(900), false);
    assert_eq!(more.end().await.refusal().reason, "OVERLOADED");
    // A cancelled call makes room again.
    held.sending.send_reset(h2::Reason::CANCEL);
    drop(held);
    let mut answered = 0;
    for _ in 0..10_000 {
        let mut call = caller.start(request(RESERVE));
        call.send(part(900), false);
        // The door may not have seen yet that the other call was cancelled.
        if call.is_waiting().await {
            call.send(framed(&vec![b'a'; 2_000])[900..].to_vec(), true);
        }
        let ended = call.end().await;
        answered += usize::from(!ended.messages.is_empty());
        if answered == 2 {
            return;
        }
    }
    panic!("the room was never released");
}
