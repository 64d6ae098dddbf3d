//! SubmitStream and ReadEvents: order, how much is in progress, how they end.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::door_harness::caller::{Caller, Incoming, framed, request, request_with};
use crate::door_harness::{READ_EVENTS, RESERVE, SUBMIT_STREAM, open};
use h2::Reason;
use invengine_node::door::DoorSettings;
use invengine_node::methods::ANSWER_BYTES_MAX;
use invengine_wire::v1;
use prost::Message;

const UNDER_WAY_MAX: usize = 16;

#[tokio::test]
async fn batches_are_answered_in_their_order() {
    let (port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    let mut call = caller.start(request_with(SUBMIT_STREAM, "invengine-ledger", "main"));
    for message in ["first@2", "second", "third@1"] {
        call.send(framed(message.as_bytes()), false);
    }
    port.until_decided(3).await;
    port.commit(1);
    assert!(call.is_waiting().await, "the first one is not durable");
    port.commit(2);
    let (mut sending, mut answers) = call.begin_stream().await;
    for expected in ["first", "second", "third"] {
        assert_eq!(answers.next().await.unwrap(), expected.as_bytes());
    }
    sending.send_data(framed(b"fourth").into(), true).unwrap();
    assert_eq!(answers.next().await.unwrap(), b"fourth");
    assert_eq!(answers.next().await, None);
    assert_eq!(answers.trailers().await.unwrap()["grpc-status"], "0");
    let path = "/invengine.v1.ReservationService/Submit";
    assert_eq!(port.seen()[0], format!("{path}  main first@2"));
}

#[tokio::test]
async fn a_stream_without_a_batch_ends_with_ok() {
    let (_port, door) = open(DoorSettings::default());
    let ended = Caller::new(door.address()).await.send(request(SUBMIT_STREAM), Vec::new()).await;
    assert!(ended.messages.is_empty());
    assert_eq!(ended.trailers.unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn a_stream_has_few_batches_in_progress() {
    let (port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    let mut call = caller.start(request(SUBMIT_STREAM));
    for _ in 0..3 * UNDER_WAY_MAX {
        call.send(framed(b"a@1"), false);
    }
    call.send(Vec::new(), true);
    port.until_decided(UNDER_WAY_MAX).await;
    // If the door read more of the stream, it would do so before it answers this.
    for _ in 0..3 {
        assert_eq!(caller.call(RESERVE, b"now").await.answer(), b"now");
    }
    assert_eq!(port.decided.load(SeqCst), UNDER_WAY_MAX + 3);
    port.commit(1);
    let ended = call.end().await;
    assert_eq!(ended.messages.len(), 3 * UNDER_WAY_MAX);
    assert_eq!(ended.trailers.unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn a_stream_has_few_bytes_of_answers_waiting() {
    let (port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    let mut call = caller.start(request(SUBMIT_STREAM));
    let batch = format!("{}@1", "a".repeat(1 << 20));
    let fit = ANSWER_BYTES_MAX >> 20;
    for _ in 0..2 * fit {
        call.send(framed(batch.as_bytes()), false);
    }
    call.send(Vec::new(), true);
    port.until_decided(fit).await;
    for _ in 0..3 {
        assert_eq!(caller.call(RESERVE, b"now").await.answer(), b"now");
    }
    assert_eq!(port.decided.load(SeqCst), fit + 3);
    port.commit(1);
    assert_eq!(call.end().await.messages.len(), 2 * fit);
}

#[tokio::test]
async fn the_first_refusal_ends_a_stream_after_the_answers_before_it() {
    let (port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    let mut call = caller.start(request(SUBMIT_STREAM));
    for message in ["first@1", "no", "never"] {
        call.send(framed(message.as_bytes()), false);
    }
    port.until_decided(2).await;
    port.commit(1);
    let (_sending, mut answers) = call.begin_stream().await;
    assert_eq!(answers.next().await.unwrap(), b"first");
    assert_eq!(answers.next().await, None);
    assert_eq!(answers.refusal().await.reason, "NOT_OWNER");
    assert_eq!(port.decided.load(SeqCst), 2);
}

#[tokio::test]
async fn a_stream_that_is_refused_at_once_gets_trailers_only() {
    let (_port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    for (body, reason) in [
        (framed(b"no"), "NOT_OWNER"),
        (vec![0, 0], "INVALID_FIELD"),
        (vec![0, 0, 0x40, 0, 1], "MESSAGE_TOO_LARGE"),
        (framed(b"panic"), "INTERNAL"),
    ] {
        assert_eq!(caller.send(request(SUBMIT_STREAM), body).await.refusal().reason, reason);
    }
}

#[tokio::test]
async fn a_failed_journal_ends_a_stream() {
    let (port, door) = open(DoorSettings::default());
    let mut call = Caller::new(door.address()).await.start(request(SUBMIT_STREAM));
    call.send(framed(b"first@1"), false);
    call.send(framed(b"second@2"), false);
    port.until_decided(2).await;
    port.commit(1);
    port.poison();
    let (_sending, mut answers) = call.begin_stream().await;
    assert_eq!(answers.next().await.unwrap(), b"first");
    assert_eq!(answers.next().await, None);
    assert_eq!(answers.refusal().await.reason, "OUTCOME_UNKNOWN");
}

#[tokio::test]
async fn a_batch_that_never_ends_is_refused_but_a_stream_may_be_idle() {
    let (_port, door) = open(DoorSettings { message_ms_max: 30, ..Default::default() });
    let mut caller = Caller::new(door.address()).await;
    let mut idle = caller.start(request(SUBMIT_STREAM));
    idle.send(framed(b"a"), false);
    let (mut sending, mut answers) = idle.begin_stream().await;
    assert_eq!(answers.next().await.unwrap(), b"a");
    let mut slow = caller.start(request(SUBMIT_STREAM));
    slow.send(framed(b"abc")[..7].to_vec(), false);
    assert_eq!(slow.end().await.refusal().reason, "DEADLINE");
    sending.send_data(framed(b"b").into(), true).unwrap();
    assert_eq!(answers.next().await.unwrap(), b"b");
}

#[tokio::test]
async fn a_drained_door_ends_streams_after_what_was_accepted() {
    let (port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    let mut busy = caller.start(request(SUBMIT_STREAM));
    busy.send(framed(b"a@1"), false);
    let idle = caller.start(request(SUBMIT_STREAM));
    port.until_decided(1).await;
    let drained = tokio::task::spawn_blocking(move || door.drain(Duration::from_secs(10)));
    assert_eq!(idle.end().await.refusal().reason, "DRAINING");
    assert!(busy.is_waiting().await);
    port.commit(1);
    let (_sending, mut answers) = busy.begin_stream().await;
    assert_eq!(answers.next().await.unwrap(), b"a");
    assert_eq!(answers.next().await, None);
    assert_eq!(answers.refusal().await.reason, "DRAINING");
    assert!(drained.await.unwrap());
}

fn wanted(from_sequence: i64, follow: bool, limit: i64) -> Vec<u8> {
    v1::ReadEventsRequest { from_sequence, follow, limit, ..Default::default() }.encode_to_vec()
}

fn sequences(messages: &[Vec<u8>]) -> Vec<i64> {
    let events = messages.iter().flat_map(|message| v1::ReadEventsResponse::decode(&message[..]).unwrap().events);
    events.map(|event| event.sequence).collect()
}

async fn collect(answers: &mut Incoming, count: usize) -> Vec<i64> {
    let mut found = Vec::new();
    while found.len() < count {
        found.extend(sequences(&[answers.next().await.expect("more events")]));
    }
    found
}

#[tokio::test]
async fn events_are_read_up_to_what_is_durable() {
    let (port, door) = open(DoorSettings::default());
    port.commit(20);
    let mut caller = Caller::new(door.address()).await;
    for (from, limit, expected) in [(0, 0, 1..=20), (1, 0, 1..=20), (5, 0, 5..=20), (5, 9, 5..=13), (20, 9, 20..=20)] {
        let ended = caller.call(READ_EVENTS, &wanted(from, false, limit)).await;
        assert_eq!(sequences(&ended.messages), expected.collect::<Vec<i64>>(), "{from} {limit}");
        assert_eq!(ended.trailers.unwrap()["grpc-status"], "0");
    }
    let ended = caller.call(READ_EVENTS, &wanted(21, false, 0)).await;
    assert!(ended.messages.is_empty());
    assert_eq!(ended.trailers.unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn a_follower_gets_events_as_they_become_durable() {
    let (port, door) = open(DoorSettings::default());
    port.commit(2);
    let mut caller = Caller::new(door.address()).await;
    let mut call = caller.start(request(READ_EVENTS));
    call.send(framed(&wanted(1, true, 0)), true);
    let (_, _, mut answers) = call.begin().await;
    assert_eq!(collect(&mut answers, 2).await, [1, 2]);
    for sequence in 3..50 {
        port.commit(sequence);
        assert_eq!(collect(&mut answers, 1).await, [sequence as i64]);
    }
    let mut limited = caller.start(request(READ_EVENTS));
    limited.send(framed(&wanted(48, true, 3)), true);
    port.commit(60);
    assert_eq!(sequences(&limited.end().await.messages), [48, 49, 50]);
    assert_eq!(collect(&mut answers, 11).await, (50..=60).collect::<Vec<_>>());
    port.poison();
    assert_eq!(answers.next().await, None);
    assert_eq!(answers.refusal().await.reason, "JOURNAL_FAILED");
}

#[tokio::test]
async fn the_refusal_of_a_bad_request_names_its_field() {
    let (_port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    for (message, field) in
        [(wanted(-1, false, 0), "from_sequence"), (wanted(0, true, -1), "limit"), (vec![0xff], "message")]
    {
        let refusal = caller.call(READ_EVENTS, &message).await.refusal();
        assert_eq!((refusal.code, refusal.reason.as_str()), (3, "INVALID_FIELD"));
        assert_eq!(refusal.fields, [field]);
    }
}

#[tokio::test]
async fn readers_beyond_the_limit_are_refused_and_cancelled_ones_make_room() {
    let (port, door) = open(DoorSettings { readers_max: 1, ..Default::default() });
    port.commit(1);
    let mut caller = Caller::new(door.address()).await;
    let mut follower = caller.start(request(READ_EVENTS));
    follower.send(framed(&wanted(1, true, 0)), true);
    let (mut sending, mut answers) = follower.begin_stream().await;
    assert_eq!(collect(&mut answers, 1).await, [1]);
    assert_eq!(caller.call(READ_EVENTS, &wanted(1, false, 0)).await.refusal().reason, "OVERLOADED");
    sending.send_reset(Reason::CANCEL);
    for _ in 0..10_000 {
        let ended = caller.call(READ_EVENTS, &wanted(1, false, 0)).await;
        if !ended.messages.is_empty() {
            return;
        }
    }
    panic!("the door never saw that the follower was cancelled");
}

#[tokio::test]
async fn a_drained_door_ends_followers() {
    let (port, door) = open(DoorSettings::default());
    port.commit(1);
    let mut call = Caller::new(door.address()).await.start(request(READ_EVENTS));
    call.send(framed(&wanted(1, true, 0)), true);
    let (_, _, mut answers) = call.begin().await;
    assert_eq!(collect(&mut answers, 1).await, [1]);
    let drained = tokio::task::spawn_blocking(move || door.drain(Duration::from_secs(10)));
    assert_eq!(answers.next().await, None);
    assert_eq!(answers.refusal().await.reason, "DRAINING");
    assert!(drained.await.unwrap());
}
