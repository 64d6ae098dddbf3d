//! Calls that the door does not answer go to the service behind it, and the answers come back unchanged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::door_harness::caller::{Caller, framed, request, request_with};
use crate::door_harness::raw::{HEADERS, INITIAL_WINDOW, RST_STREAM, RawPeer, SETTINGS};
use crate::door_harness::{FakePort, RESERVE, TIMEOUT};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, server};
use http::{HeaderMap, Request, Response, StatusCode};
use invengine_node::door::{Door, DoorSettings};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

const INFO: &str = "/invengine.v1.AdminService/GetServerInfo";

const UPSERT: &str = "/invengine.v1.CatalogService/UpsertItems";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// A service on a unix socket that does what the key of the call says and reports what it sees.
struct Service {
    task: JoinHandle<()>,
    seen: mpsc::UnboundedReceiver<String>,
}

impl Service {
    fn start(socket: &Path) -> Self {
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        let (report, seen) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            // Connections end with the service, because they are part of its task.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let report = report.clone();
                connections.spawn(async move {
                    report.send("connected".into()).unwrap();
                    let mut connection = server::handshake(stream).await.unwrap();
                    let mut calls = tokio::task::JoinSet::new();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        calls.spawn(answer(request, respond, report.clone()));
                    }
                });
            }
        });
        Service { task, seen }
    }

    async fn next(&mut self) -> String {
        timeout(TIMEOUT, self.seen.recv()).await.expect("the service should have seen something").unwrap()
    }

    async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, report: mpsc::UnboundedSender<String>) {
    let (parts, mut body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let report = |text: &str| report.send(text.to_owned()).unwrap();
    let key = header("idempotency-key");
    report(&format!("{} {} {} {key}{}", parts.uri.path(), header("content-type"), header("te"), header("x-own")));
    if parts.headers.contains_key("grpc-timeout") {
        report(&format!("timeout {}", header("grpc-timeout")));
    }
    let head = Response::builder().header("content-type", "application/grpc").header("x-head", "h").body(()).unwrap();
    match key.as_str() {
        "Refuse" => {
            let mut response = head;
            response.headers_mut().insert("grpc-status", "5".parse().unwrap());
            respond.send_response(response, true).unwrap();
        }
        "Break" => respond.send_reset(Reason::INTERNAL_ERROR),
        "Never" => {
            let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            report(&format!("left {}", reset.is_ok()));
        }
        _ => {
            let mut stream = respond.send_response(head, false).unwrap();
            while let Some(data) = body.data().await {
                let echoed = data.and_then(|data| {
                    body.flow_control().release_capacity(data.len())?;
                    stream.reserve_capacity(data.len());
                    stream.send_data(data, false)
                });
                if echoed.is_err() {
                    report("left");
                    return;
                }
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            trailers.insert("x-tail", "t".parse().unwrap());
            // A caller whose request the door refused is gone.
            let _ = stream.send_trailers(trailers);
        }
    }
}

struct Fixture {
    socket: PathBuf,
    door: Arc<Door>,
    port: Arc<FakePort>,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self::with(DoorSettings::default())
    }

    fn with(settings: DoorSettings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("service.sock");
        let settings = DoorSettings { forward_socket: Some(socket.clone()), ..settings };
        let port = Arc::new(FakePort::default());
        let door = Door::serve(Arc::clone(&port), "127.0.0.1:0", settings).unwrap();
        Fixture { socket, door: Arc::new(door), port, _directory: directory }
    }

    async fn caller(&self) -> Caller {
        Caller::new(self.door.address()).await
    }
}

#[tokio::test]
async fn a_call_and_its_answer_pass_unchanged() {
    let fixture = Fixture::new();
    let mut service = Service::start(&fixture.socket);
    let mut caller = fixture.caller().await;
    let mut question = request_with(INFO, "x-own", "is read by nobody");
    question.headers_mut().insert("idempotency-key", "k-1".parse().unwrap());
    let ended = caller.send(question, framed(b"hello")).await;
    assert_eq!(ended.answer(), b"hello");
    assert_eq!(
        (&ended.headers["x-head"], &ended.trailers.unwrap()["x-tail"]),
        (&"h".parse().unwrap(), &"t".parse().unwrap())
    );
    assert_eq!(service.next().await, "connected");
    assert_eq!(service.next().await, format!("{INFO} application/grpc trailers k-1"));
    let refused = caller.send(request_with(CHECK, "idempotency-key", "Refuse"), framed(b"")).await;
    assert_eq!((refused.http, &refused.headers["grpc-status"]), (StatusCode::OK, &"5".parse().unwrap()));
    assert!(refused.trailers.is_none() && refused.messages.is_empty());
    // The second call used the same connection, and the port saw neither of them.
    assert_eq!(service.next().await, format!("{CHECK} application/grpc trailers Refuse"));
    assert!(fixture.port.seen().is_empty());
    assert_eq!(caller.call(RESERVE, b"own").await.answer(), b"own");
}

#[tokio::test]
async fn streams_pass_in_both_directions_as_they_arrive() {
    let fixture = Fixture::new();
    let _service = Service::start(&fixture.socket);
    let mut call = fixture.caller().await.start(request(REFLECTION));
    call.send(framed(b"0"), false);
    let (mut sending, mut answers) = call.begin_stream().await;
    assert_eq!(answers.next().await.unwrap(), b"0");
    for turn in 1..50_u8 {
        sending.send_data(framed(&[turn]).into(), false).unwrap();
        assert_eq!(answers.next().await.unwrap(), [turn]);
    }
    sending.send_data(Bytes::new(), true).unwrap();
    assert_eq!(answers.next().await, None);
    assert_eq!(answers.trailers().await.unwrap()["x-tail"], "t");
}

#[tokio::test]
async fn long_messages_pass() {
    let fixture = Fixture::new();
    let _service = Service::start(&fixture.socket);
    let mut caller = fixture.caller().await;
    for (path, bytes) in [(UPSERT, 4_u32 << 20), (INFO, 1 << 20)] {
        let message: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
        let ended = caller.call(path, &message).await;
        assert!(ended.answer() == message, "{path}");
    }
}

#[tokio::test]
async fn a_request_of_one_message_is_checked_by_the_door() {
    let fixture = Fixture::new();
    let mut service = Service::start(&fixture.socket);
    let mut caller = fixture.caller().await;
    let too_long = [&[0][..], &((4 << 20) + 1_u32).to_be_bytes()].concat();
    let bodies = [
        (Vec::new(), "INVALID_FIELD"),
        (vec![0, 0], "INVALID_FIELD"),
        (vec![0, 0, 0, 0, 3, b'a'], "INVALID_FIELD"),
        ([framed(b"a"), framed(b"b")].concat(), "INVALID_FIELD"),
        (vec![1, 0, 0, 0, 1, b'a'], "UNIMPLEMENTED"),
        (too_long, "MESSAGE_TOO_LARGE"),
    ];
    for (body, reason) in bodies {
        for path in [UPSERT, CHECK] {
            assert_eq!(caller.send(request(path), body.clone()).await.refusal().reason, reason, "{path} {body:?}");
        }
    }
    let late = caller.send(request_with(UPSERT, "grpc-timeout", "1n"), framed(b"a")).await.refusal();
    assert_eq!(late.reason, "DEADLINE");
    // The service saw none of them.
    assert_eq!(caller.call(UPSERT, b"a").await.answer(), b"a");
    assert_eq!(service.next().await, "connected");
    assert!(service.next().await.starts_with(UPSERT));
    assert!(service.seen.try_recv().is_err());
}

#[tokio::test]
async fn an_unreachable_service_is_like_one_that_drains() {
    let fixture = Fixture::new();
    let mut caller = fixture.caller().await;
    let refusal = caller.call(INFO, b"").await.refusal();
    assert_eq!((refusal.code, refusal.reason.as_str(), refusal.retries), (14, "DRAINING", true));
    let service = Service::start(&fixture.socket);
    assert_eq!(caller.call(INFO, b"a").await.answer(), b"a");
    service.stop().await;
    std::fs::remove_file(&fixture.socket).unwrap();
    for _ in 0..3 {
        assert_eq!(caller.call(INFO, b"b").await.refusal().reason, "DRAINING");
    }
    let _service = Service::start(&fixture.socket);
    assert_eq!(caller.call(INFO, b"c").await.answer(), b"c");
}

#[tokio::test]
async fn a_call_that_the_service_broke_off_may_have_happened() {
    let fixture = Fixture::new();
    let mut service = Service::start(&fixture.socket);
    let mut caller = fixture.caller().await;
    // A read has lost nothing.
    for (path, reason) in [(UPSERT, "OUTCOME_UNKNOWN"), (INFO, "DRAINING")] {
        let refusal = caller.send(request_with(path, "idempotency-key", "Break"), framed(b"x")).await.refusal();
        assert_eq!((refusal.code, refusal.reason.as_str()), (14, reason));
    }
    // The same after a part of the answer.
    let mut call = caller.start(request(REFLECTION));
    call.send(framed(b"a"), false);
    let (_sending, mut answers) = call.begin_stream().await;
    assert_eq!(answers.next().await.unwrap(), b"a");
    while !service.next().await.starts_with(REFLECTION) {}
    service.stop().await;
    assert_eq!(answers.next().await, None);
    assert_eq!(answers.refusal().await.reason, "DRAINING");
}

#[tokio::test]
async fn the_service_sees_that_a_caller_is_gone() {
    let fixture = Fixture::new();
    let mut service = Service::start(&fixture.socket);
    let mut caller = fixture.caller().await;
    for (path, key, ends, left) in [(INFO, "Never", true, "left true"), (REFLECTION, "", false, "left")] {
        let mut call = caller.start(request_with(path, "idempotency-key", key));
        call.send(framed(b"a"), ends);
        while !service.next().await.starts_with(path) {}
        call.sending.send_reset(Reason::CANCEL);
        assert_eq!(service.next().await, left);
    }
}

#[tokio::test]
async fn metadata_that_the_service_would_refuse_is_not_forwarded() {
    let fixture = Fixture::new();
    let mut service = Service::start(&fixture.socket);
    let mut caller = fixture.caller().await;
    let long = "x".repeat(17_000);
    for (name, value) in [("x-own", long.as_str()), ("x-own-bin", "no base64 !"), ("grpc-encoding", "gzip")] {
        assert_eq!(caller.send(request_with(INFO, name, value), framed(b"a")).await.answer(), b"a", "{name}");
    }
    // A key that is too long is refused by the service, which does not need all of it to see that.
    assert_eq!(caller.send(request_with(INFO, "idempotency-key", &long), framed(b"a")).await.answer(), b"a");
    assert_eq!(service.next().await, "connected");
    for key in ["", "", "", &"x".repeat(129)] {
        assert_eq!(service.next().await, format!("{INFO} application/grpc trailers {key}"));
    }
}

#[tokio::test]
async fn the_remaining_time_of_a_call_is_forwarded() {
    let fixture = Fixture::new();
    let mut service = Service::start(&fixture.socket);
    let ended = fixture.caller().await.send(request_with(INFO, "grpc-timeout", "1H"), framed(b"a")).await;
    assert_eq!(ended.answer(), b"a");
    assert_eq!(service.next().await, "connected");
    service.next().await;
    let stated = service.next().await;
    let left: u64 = stated.strip_prefix("timeout ").unwrap().strip_suffix('m').unwrap().parse().unwrap();
    assert!((3_590_000..=3_600_000).contains(&left), "{stated}");
}

#[tokio::test]
async fn an_unknown_method_is_not_forwarded() {
    let fixture = Fixture::new();
    let mut service = Service::start(&fixture.socket);
    let mut caller = fixture.caller().await;
    let long = format!("/grpc.health.v1.Health/{}", "x".repeat(30_000));
    for path in ["/x.Y/Echo", "/", "/grpc.health.v1.Health/Sell", "/grpc.reflection.v1.ServerReflection/x", &long] {
        let refusal = caller.call(path, b"a").await.refusal();
        assert_eq!((refusal.code, refusal.reason.as_str()), (12, "UNIMPLEMENTED"));
        assert_eq!(refusal.metadata["method"], path[..path.len().min(128)]);
    }
    assert!(service.seen.try_recv().is_err());
}

#[tokio::test]
async fn reflection_messages_are_short_and_the_stream_has_an_end() {
    let fixture = Fixture::with(DoorSettings { reflection_ms_max: 1_000, ..Default::default() });
    let _service = Service::start(&fixture.socket);
    let mut call = fixture.caller().await.start(request(REFLECTION));
    call.send(framed(b"a"), false);
    let (mut sending, mut answers) = call.begin_stream().await;
    assert_eq!(answers.next().await.unwrap(), b"a");
    // Refused by the prefix of the message, before the rest has arrived.
    sending.send_data(Bytes::from_static(&[0, 3, 0x93, 0x87, 0]), false).unwrap();
    assert_eq!(answers.next().await, None);
    let refusal = answers.refusal().await;
    assert_eq!((refusal.reason.as_str(), refusal.metadata["limit"].as_str()), ("MESSAGE_TOO_LARGE", "4096"));
    let mut caller = fixture.caller().await;
    for (body, reason) in [(vec![1, 0, 0, 0, 1, b'z'], "UNIMPLEMENTED"), (vec![0, 0, 0, 0, 3, b'a'], "INVALID_FIELD")] {
        let mut call = caller.start(request(REFLECTION));
        call.send(framed(b"a"), false);
        let (mut sending, mut answers) = call.begin_stream().await;
        assert_eq!(answers.next().await.unwrap(), b"a");
        sending.send_data(body.into(), true).unwrap();
        assert_eq!(answers.next().await, None);
        assert_eq!(answers.refusal().await.reason, reason);
    }
    let (_sending, mut silent) = caller.start(request(REFLECTION)).begin_stream().await;
    assert_eq!(silent.next().await, None);
    assert_eq!(silent.refusal().await.reason, "DEADLINE");
    assert!(fixture.door.stats().contains(r#""reflection_ended":1"#), "{}", fixture.door.stats());
}

#[tokio::test]
async fn streams_of_the_service_are_limited_and_unary_calls_continue_beside_them() {
    let fixture = Fixture::with(DoorSettings { service_streams_max: 2, ..Default::default() });
    let _service = Service::start(&fixture.socket);
    let mut caller = fixture.caller().await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut call = caller.start(request(REFLECTION));
        call.send(framed(b"a"), false);
        open.push(call.begin_stream().await);
    }
    for path in [WATCH, REFLECTION] {
        assert_eq!(caller.call(path, b"a").await.refusal().reason, "OVERLOADED");
    }
    assert_eq!(caller.call(CHECK, b"a").await.answer(), b"a");
    assert!(fixture.door.stats().contains(r#""forward_refused":2"#));
}

#[tokio::test]
async fn unread_answers_of_the_service_do_not_hold_up_those_of_others() {
    let fixture = Fixture::with(DoorSettings { stall_ms_max: 4_000, ..Default::default() });
    let _service = Service::start(&fixture.socket);
    let mut raw = RawPeer::new(fixture.door.address(), &[(INITIAL_WINDOW, 0)]).await;
    // The door's windows apply once its settings are acknowledged.
    raw.until(|frame| frame.kind == SETTINGS, 2).await;
    for _ in 0..20 {
        let stream = raw.call(UPSERT, &[]).await;
        raw.data(stream, &framed(&vec![b'x'; 900_000]), true).await;
        raw.until(|frame| frame.kind == HEADERS, 1).await;
    }
    let mut caller = fixture.caller().await;
    for _ in 0..20 {
        assert_eq!(caller.call(UPSERT, &[b'y'; 900_000]).await.answer().len(), 900_000);
    }
    // They are dropped, and their memory is freed.
    raw.until(|frame| frame.kind == RST_STREAM, 20).await;
    assert!(fixture.door.stats().contains(r#""answer_stalled":20"#), "{}", fixture.door.stats());
}

#[tokio::test]
async fn a_drained_door_ends_streams_of_the_service() {
    let fixture = Fixture::new();
    let _service = Service::start(&fixture.socket);
    let mut caller = fixture.caller().await;
    let (_silence, mut silent) = caller.start(request(REFLECTION)).begin_stream().await;
    let mut call = caller.start(request(REFLECTION));
    call.send(framed(b"a"), false);
    let (_sending, mut answers) = call.begin_stream().await;
    assert_eq!(answers.next().await.unwrap(), b"a");
    let door = Arc::clone(&fixture.door);
    let drained = spawn_blocking(move || door.drain(Duration::from_secs(15)));
    assert_eq!(answers.next().await, None);
    assert_eq!(answers.refusal().await.reason, "DRAINING");
    assert_eq!(silent.next().await, None);
    assert_eq!(silent.refusal().await.reason, "DRAINING");
    assert!(drained.await.unwrap());
}
