//! What a misbehaving peer may do to a door: it costs a bounded amount of memory, others are answered meanwhile, and
//! the door counts which bound acted.

mod door_harness;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use door_harness::caller::{Caller, framed, request, request_with};
use door_harness::raw::{
    CONTINUATION, GOAWAY, HEADERS, INITIAL_WINDOW, PING, RST_STREAM, RawPeer, SETTINGS, WINDOW_UPDATE, cancel, frame,
    only_data,
};
use door_harness::{FakePort, READ_EVENTS, RESERVE, SUBMIT_STREAM, TIMEOUT, open};
use invengine_node::door::{Door, DoorSettings};
use invengine_wire::v1;
use prost::Message;
use tokio::task::JoinHandle;

const NO_ERROR: u32 = 0;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;
/// The longest wait of another caller during an attack, on a busy machine.
const OTHERS_WAIT_MAX: Duration = Duration::from_secs(2);
/// Memory that an attack may cost besides what the door's own settings allow.
const SLACK_BYTES: usize = 48 << 20;

/// Tests that need much memory, or measure that of the process, take turns.
static MEMORY: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Another caller, who calls continuously and never loses its connection.
struct Bystander {
    ended: Arc<AtomicBool>,
    task: JoinHandle<Duration>,
}

impl Bystander {
    async fn new(door: &Door) -> Self {
        let mut caller = Caller::new(door.address()).await;
        // The door knows it as one who calls before the attack begins.
        assert_eq!(caller.call(RESERVE, b"mine").await.answer(), b"mine");
        let ended = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&ended);
        let task = tokio::spawn(async move {
            let mut worst = Duration::ZERO;
            while !done.load(Relaxed) {
                let asked = Instant::now();
                assert_eq!(caller.call(RESERVE, b"mine").await.answer(), b"mine");
                worst = worst.max(asked.elapsed());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            worst
        });
        Bystander { ended, task }
    }

    /// Whether every call was answered, and in time.
    async fn was_served(self) {
        self.ended.store(true, Relaxed);
        let worst = self.task.await.expect("every call was to be answered");
        assert!(worst < OTHERS_WAIT_MAX, "another caller waited for {worst:?}");
    }
}

fn count(door: &Door, name: &str) -> u64 {
    let stats: serde_json::Value = serde_json::from_str(&door.stats()).unwrap();
    let found = stats.get(name).or_else(|| stats["bounds"].get(name));
    found.and_then(serde_json::Value::as_u64).unwrap_or_else(|| panic!("no count {name}"))
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let asked = Instant::now();
    while !holds() {
        assert!(asked.elapsed() < TIMEOUT, "{what} in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn memory_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

#[tokio::test]
async fn unread_answers_cost_a_bounded_amount_and_end_at_their_deadline() {
    let _alone = MEMORY.lock().await;
    let (_port, door) = open(DoorSettings { connection_answer_bytes_max: 8 << 20, ..Default::default() });
    let bystander = Bystander::new(&door).await;
    let before = memory_bytes();
    let mut peer = RawPeer::new(door.address(), &[(INITIAL_WINDOW, 0)]).await;
    // In one write: the last must come before the first has waited for too long.
    let mut calls = Vec::new();
    for _ in 0..200 {
        let (stream, head) = peer.head(RESERVE, &[("grpc-timeout", "3S")]);
        calls.extend(head);
        calls.extend(only_data(stream, &framed(b"bytes 4000000")));
    }
    peer.write(&calls).await;
    // Three exceed what the connection may leave unread; the others were refused before they were decided.
    peer.until(|frame| frame.kind == HEADERS, 200).await;
    assert_eq!(count(&door, "answers_refused"), 197);
    assert!(memory_bytes() < before + (12 << 20) + SLACK_BYTES);
    // Nobody waits for them any more.
    assert_eq!(peer.until(|frame| frame.kind == RST_STREAM, 3).await.code(), CANCEL);
    until("the memory was to be free", || count(&door, "answer_bytes") == 0).await;
    assert_eq!(count(&door, "answer_stalled"), 3);
    bystander.was_served().await;
}

#[tokio::test]
async fn an_answer_without_a_deadline_is_dropped_when_nothing_of_it_is_read() {
    let (_port, door) = open(DoorSettings { stall_ms_max: 1_500, ..Default::default() });
    let mut peer = RawPeer::new(door.address(), &[(INITIAL_WINDOW, 0)]).await;
    let stream = peer.call(RESERVE, &[]).await;
    peer.data(stream, &framed(b"bytes 100000"), true).await;
    let until = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < until {
        // A little is read, again and again.
        peer.write(&frame(WINDOW_UPDATE, 0, stream, &100_u32.to_be_bytes())).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(count(&door, "answer_stalled"), 0);
    assert_eq!(peer.until(|frame| frame.kind == RST_STREAM, 1).await.code(), CANCEL);
    assert_eq!(count(&door, "answer_stalled"), 1);
}

#[tokio::test]
async fn all_answers_together_are_bounded_and_small_ones_of_others_continue() {
    let _alone = MEMORY.lock().await;
    let (_port, door) = open(DoorSettings { answer_bytes_max: 8 << 20, ..Default::default() });
    let before = memory_bytes();
    let mut peers = Vec::new();
    for _ in 0..20 {
        let mut peer = RawPeer::new(door.address(), &[(INITIAL_WINDOW, 0)]).await;
        let stream = peer.call(RESERVE, &[]).await;
        peer.data(stream, &framed(b"bytes 3000000"), true).await;
        peer.until(|frame| frame.kind == HEADERS, 1).await;
        peers.push(peer);
    }
    assert_eq!((count(&door, "answer_dropped"), count(&door, "answer_bytes")), (18, 6_000_000));
    assert!(memory_bytes() < before + (8 << 20) + SLACK_BYTES);
    let mut caller = Caller::new(door.address()).await;
    // The command was executed; whoever asks for more than there is room for does not learn its outcome.
    let refusal = caller.call(RESERVE, b"bytes 3000000").await.refusal();
    assert_eq!((refusal.code, refusal.reason.as_str()), (14, "OUTCOME_UNKNOWN"));
    let read = "/invengine.v1.ReservationService/ListReservations";
    assert_eq!(caller.call(read, b"bytes 3000000").await.refusal().reason, "OVERLOADED");
    assert_eq!(caller.call(RESERVE, b"bytes 60000").await.answer().len(), 60_000);
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_disconnected() {
    let _alone = MEMORY.lock().await;
    let (_port, door) =
        open(DoorSettings { stall_ms_max: 400, connection_answer_bytes_max: 64 << 20, ..Default::default() });
    let mut peer = RawPeer::new(door.address(), &[(INITIAL_WINDOW, 1 << 30)]).await;
    peer.write(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes())).await;
    for _ in 0..100 {
        let stream = peer.call(RESERVE, &[]).await;
        peer.data(stream, &framed(b"bytes 1000000"), true).await;
    }
    // Not how many are inside: nobody is before the door has let the peer in, however much it has written by then.
    until("the connection was to be dropped", || count(&door, "connection_stalled") == 1).await;
    until("it was to have left", || count(&door, "connections") == 0).await;
    until("the memory was to be free", || count(&door, "answer_bytes") == 0).await;
}

#[tokio::test]
async fn journal_readers_that_read_nothing_make_room_for_others() {
    let (port, door) = open(DoorSettings { readers_max: 4, stall_ms_max: 300, ..Default::default() });
    port.commit(20);
    let mut peer = RawPeer::new(door.address(), &[(INITIAL_WINDOW, 0)]).await;
    let wanted = v1::ReadEventsRequest { from_sequence: 1, follow: true, ..Default::default() }.encode_to_vec();
    for _ in 0..4 {
        let stream = peer.call(READ_EVENTS, &[]).await;
        peer.data(stream, &framed(&wanted), true).await;
    }
    peer.until(|frame| frame.kind == RST_STREAM, 4).await;
    let wanted = v1::ReadEventsRequest { from_sequence: 1, follow: false, ..Default::default() }.encode_to_vec();
    let ended = Caller::new(door.address()).await.call(READ_EVENTS, &wanted).await;
    assert!(!ended.messages.is_empty());
}

#[tokio::test]
async fn a_full_door_admits_newcomers_in_place_of_the_longest_idle() {
    let (port, door) = open(DoorSettings { connections_max: 8, ..Default::default() });
    let mut busy = Caller::new(door.address()).await.start(request(RESERVE));
    busy.send(framed(b"busy@1"), true);
    port.until_decided(1).await;
    let mut idle_peer = RawPeer::new(door.address(), &[]).await;
    idle_peer.until(|frame| frame.kind == SETTINGS, 2).await;
    // One sends half of its preface, the others nothing.
    let mut silent = Vec::new();
    for _ in 0..6 {
        silent.push(RawPeer::silent(door.address()).await);
    }
    silent[0].write(b"PRI * HTTP/2.0\r\n").await;
    until("all were to be inside", || count(&door, "connections") == 8).await;
    let mut newcomers = Vec::new();
    for _ in 0..40 {
        let mut caller = Caller::new(door.address()).await;
        assert_eq!(caller.call(RESERVE, b"new").await.answer(), b"new");
        newcomers.push(caller);
    }
    let goodbye = idle_peer.until_closed().await.expect("a goodbye");
    assert_eq!(goodbye.code(), NO_ERROR);
    assert!(count(&door, "connection_evicted") > 6 && count(&door, "connection_refused") == 0);
    port.commit(1);
    assert_eq!(busy.end().await.answer(), b"busy");
}

#[tokio::test]
async fn more_idle_connections_than_fit_lock_nobody_out() {
    let (_port, door) = open(DoorSettings { connections_max: 100, ..Default::default() });
    let bystander = Bystander::new(&door).await;
    let mut idle = Vec::new();
    for at in 0..200 {
        idle.push(RawPeer::new(door.address(), &[]).await);
        if at % 50 == 49 {
            let mut caller = Caller::new(door.address()).await;
            assert_eq!(caller.call(RESERVE, b"new").await.answer(), b"new");
        }
    }
    bystander.was_served().await;
    assert!(count(&door, "connections") <= 100);
}

#[tokio::test]
async fn a_connection_that_is_idle_too_long_is_closed_and_one_with_a_call_is_not() {
    let (port, door) = open(DoorSettings { connection_idle_ms: 1_000, ..Default::default() });
    let mut busy = Caller::new(door.address()).await;
    let mut waits = busy.start(request(RESERVE));
    waits.send(framed(b"busy@1"), true);
    let mut half = RawPeer::new(door.address(), &[]).await;
    // The first part of a header block that never ends.
    half.write(&frame(HEADERS, 0, 1, b"\x82")).await;
    let mut idle_peer = RawPeer::new(door.address(), &[]).await;
    let mut silent = RawPeer::silent(door.address()).await;
    assert_eq!(idle_peer.until_closed().await.expect("a goodbye").code(), NO_ERROR);
    half.until_closed().await;
    silent.until_closed().await;
    assert_eq!((count(&door, "connection_idle"), count(&door, "connection_silent")), (2, 1));
    port.until_decided(1).await;
    port.commit(1);
    assert_eq!(waits.end().await.answer(), b"busy");
    busy.until_refused().await;
}

#[tokio::test]
async fn a_connection_whose_calls_are_answered_at_once_is_not_idle() {
    let (_port, door) = open(DoorSettings { connection_idle_ms: 1_500, ..Default::default() });
    let mut caller = Caller::new(door.address()).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(3_500) {
        assert_eq!(caller.call(RESERVE, b"a").await.answer(), b"a");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(count(&door, "connection_idle"), 0);
}

#[tokio::test]
async fn a_call_that_arrives_while_a_connection_is_asked_to_close_is_answered() {
    let (_port, door) = open(DoorSettings { connection_idle_ms: 1_000, ..Default::default() });
    let mut peer = RawPeer::new(door.address(), &[]).await;
    let goodbye = peer.until(|frame| frame.kind == GOAWAY, 1).await;
    assert_eq!(goodbye.code(), NO_ERROR);
    let stream = peer.call(RESERVE, &[]).await;
    peer.data(stream, &framed(b"late"), true).await;
    assert_eq!(peer.until(|frame| frame.kind == HEADERS, 2).await.stream, stream);
}

/// Calls that are cancelled as soon as they have begun, in one write.
fn storm(peer: &mut RawPeer, path: &str, calls: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..calls {
        let (stream, head) = peer.head(path, &[]);
        bytes.extend(head);
        bytes.extend(only_data(stream, &framed(b"given up")));
        bytes.extend(cancel(stream));
    }
    bytes
}

#[tokio::test]
async fn calls_that_are_cancelled_together_end_no_connection() {
    let (_port, door) = open(DoorSettings::default());
    let bystander = Bystander::new(&door).await;
    let mut peer = RawPeer::new(door.address(), &[]).await;
    for calls in [50, 1_000, 20_000] {
        let storm = storm(&mut peer, RESERVE, calls);
        assert!(peer.write(&storm).await);
        let stream = peer.call(RESERVE, &[]).await;
        peer.data(stream, &framed(b"kept"), true).await;
        // Some of the cancelled calls are answered before the cancellation is seen.
        peer.until(|frame| frame.stream == stream, 3).await;
    }
    assert_eq!(count(&door, "control_frames"), 0);
    bystander.was_served().await;
}

#[tokio::test]
async fn a_flood_of_control_frames_ends_its_connection_and_delays_nobody() {
    let (_port, door) = open(DoorSettings::default());
    let bystander = Bystander::new(&door).await;
    let floods = [
        frame(PING, 0, 0, b"12345678"),
        frame(SETTINGS, 0, 0, &[]),
        frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
        frame(2, 0, 1, &[0, 0, 0, 0, 1]),
        frame(0xbe, 0, 0, b"of no kind"),
    ];
    for (at, flood) in floods.iter().enumerate() {
        let mut peer = RawPeer::new(door.address(), &[]).await;
        for _ in 0..100 {
            if !peer.write(&flood.repeat(1_000)).await {
                break;
            }
        }
        until("the flood was to end", || count(&door, "control_frames") == at as u64 + 1).await;
    }
    bystander.was_served().await;
}

/// The frames of a call with this much metadata, without the last one.
fn unfinished_metadata(peer: &mut RawPeer, bytes: usize) -> Vec<u8> {
    let (stream, whole) = peer.head(RESERVE, &[("x", &"a".repeat(bytes))]);
    let pieces: Vec<&[u8]> = whole[9..].chunks(16 << 10).collect();
    let kinds = std::iter::once(HEADERS).chain(std::iter::repeat(CONTINUATION));
    let unfinished = pieces.iter().zip(kinds).take(pieces.len() - 1);
    unfinished.flat_map(|(piece, kind)| frame(kind, 0, stream, piece)).collect()
}

#[tokio::test]
async fn unfinished_metadata_of_many_connections_is_bounded() {
    let (_port, door) = open(DoorSettings { partial_bytes_max: 1 << 20, ..Default::default() });
    let bystander = Bystander::new(&door).await;
    let mut peers = Vec::new();
    for _ in 0..40 {
        let mut peer = RawPeer::new(door.address(), &[]).await;
        let frames = unfinished_metadata(&mut peer, 100_000);
        peer.write(&frames).await;
        peers.push(peer);
    }
    until("the bound acts", || count(&door, "partial_refused") >= 20).await;
    assert!(count(&door, "partial_bytes") <= 1 << 20);
    // Six frames of 16 KiB each: the first ten connections fit.
    let mut told = 0;
    for peer in peers.iter_mut().skip(12) {
        told += u32::from(peer.until_closed().await.is_some_and(|last| last.code() == ENHANCE_YOUR_CALM));
    }
    assert!(told >= 20, "{told} were told why");
    bystander.was_served().await;
    drop(peers);
    until("nothing is left", || count(&door, "partial_bytes") == 0).await;
}

#[tokio::test]
async fn a_flood_ends_with_a_reason() {
    let (_port, door) = open(DoorSettings::default());
    let mut peer = RawPeer::new(door.address(), &[]).await;
    // As many as fit in one turn: a connection may send the more of them, the later the door comes to read them.
    peer.write(&frame(0xbe, 0, 0, &[]).repeat(7_000)).await;
    assert_eq!(peer.until_closed().await.expect("a goodbye").code(), ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn the_frames_that_calls_need_are_not_a_flood() {
    let (_port, door) = open(DoorSettings::default());
    let mut peer = RawPeer::new(door.address(), &[]).await;
    for _ in 0..20 {
        let mut bytes = Vec::new();
        for _ in 0..500 {
            let (stream, head) = peer.head(RESERVE, &[]);
            bytes.extend(head);
            bytes.extend(only_data(stream, &framed(b"a")));
            // Like clients that measure the round-trip time: a ping and two window updates for each answer.
            bytes.extend(frame(PING, 0, 0, b"12345678"));
            bytes.extend(frame(WINDOW_UPDATE, 0, 0, &6_u32.to_be_bytes()).repeat(2));
        }
        peer.write(&bytes).await;
        peer.until(|frame| frame.kind == HEADERS && frame.flags & 1 == 1, 500).await;
    }
    assert_eq!(count(&door, "control_frames"), 0);
}

#[tokio::test]
async fn too_much_metadata_is_refused_with_its_limit_on_every_method() {
    let (port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    for bytes in [66_000, 100_000, 250_000] {
        for path in [RESERVE, SUBMIT_STREAM, READ_EVENTS, "/invengine.v1.CatalogService/UpsertItems", "/x.Y/Z"] {
            let refusal = caller.send(request_with(path, "x-own", &"x".repeat(bytes)), framed(b"a")).await.refusal();
            assert_eq!((refusal.code, refusal.reason.as_str()), (3, "INVALID_FIELD"), "{path}");
            assert_eq!(refusal.fields, ["metadata"]);
            assert!(refusal.message.contains("65536"), "{}", refusal.message);
        }
    }
    assert_eq!(count(&door, "metadata_refused"), 15);
    // The same in frames of 16 KiB, as some clients send it whatever the limit.
    let mut peer = RawPeer::new(door.address(), &[]).await;
    let (stream, head) = peer.head(RESERVE, &[("x-own", &"x".repeat(200_000))]);
    let pieces: Vec<&[u8]> = head[9..].chunks(16 << 10).collect();
    for (at, piece) in pieces.iter().enumerate() {
        let (kind, last) = (if at == 0 { HEADERS } else { 9 }, at + 1 == pieces.len());
        peer.write(&frame(kind, if last { 4 } else { 0 }, stream, piece)).await;
    }
    peer.until(|frame| frame.kind == HEADERS && frame.stream == stream, 1).await;
    assert_eq!(count(&door, "metadata_refused"), 16);
    // A little less is accepted, and headers that nobody reads may hold anything.
    assert_eq!(caller.send(request_with(RESERVE, "x-own", &"x".repeat(64_000)), framed(b"a")).await.answer(), b"a");
    assert_eq!(caller.send(request_with(RESERVE, "x-own-bin", "no base64 !"), framed(b"b")).await.answer(), b"b");
    assert_eq!(port.seen().len(), 2);
}

#[tokio::test]
async fn the_refusal_of_a_compressed_message_says_what_is_accepted() {
    let (_port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    for path in [RESERVE, SUBMIT_STREAM, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"] {
        let mut call = caller.start(request_with(path, "grpc-encoding", "gzip"));
        call.send(vec![1, 0, 0, 0, 1, b'z'], true);
        let ended = call.end().await;
        assert_eq!(ended.refusal().reason, "UNIMPLEMENTED");
        assert_eq!(ended.headers["grpc-accept-encoding"], "identity", "{path}");
    }
}

#[tokio::test]
async fn a_text_of_the_caller_is_repeated_only_in_part() {
    let port = Arc::new(FakePort::default());
    let door = Door::serve(Arc::clone(&port), "127.0.0.1:0", DoorSettings::default()).unwrap();
    let path = format!("/{}", "x".repeat(30_000));
    let refusal = Caller::new(door.address()).await.call(&path, b"a").await.refusal();
    assert_eq!((refusal.reason.as_str(), refusal.metadata["method"].len()), ("UNIMPLEMENTED", 128));
}

#[tokio::test]
async fn calls_that_take_long_to_decide_let_others_in_between() {
    const CALLS: usize = 150;
    let (port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    let mut greedy = Vec::new();
    for _ in 0..3 {
        let mut peer = RawPeer::new(door.address(), &[]).await;
        let mut calls = Vec::new();
        for _ in 0..CALLS {
            let (stream, head) = peer.head(RESERVE, &[]);
            calls.extend(head);
            calls.extend(only_data(stream, &framed(b"slow 10")));
        }
        peer.write(&calls).await;
        greedy.push(peer);
    }
    port.until_decided(1).await;
    assert_eq!(caller.call(RESERVE, b"mine").await.answer(), b"mine");
    assert!(port.decided.load(std::sync::atomic::Ordering::SeqCst) < CALLS, "one of them was answered whole before");
    for mut peer in greedy {
        peer.until(|frame| frame.kind == HEADERS && frame.flags & 1 == 1, CALLS).await;
    }
}

#[tokio::test]
async fn a_connection_with_few_calls_may_begin_them_however_many_others_have() {
    let (port, door) = open(DoorSettings { calls_max: 20, ..Default::default() });
    let mut greedy = Caller::new(door.address()).await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut call = greedy.start(request(RESERVE));
        call.send(framed(b"a@1"), true);
        waiting.push(call);
    }
    port.until_decided(20).await;
    assert_eq!(greedy.call(RESERVE, b"b").await.refusal().reason, "OVERLOADED");
    assert_eq!(Caller::new(door.address()).await.call(RESERVE, b"mine").await.answer(), b"mine");
    assert_eq!(count(&door, "call_refused"), 1);
}
