//! How a door opens, drains and closes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::door_harness::caller::{Caller, framed, request};
use crate::door_harness::{FakePort, RESERVE, TIMEOUT, open};
use invengine_node::door::{Door, DoorSettings};
use tokio::task::spawn_blocking;

#[test]
fn settings_have_defaults_and_no_unknown_names() {
    let read = serde_json::from_str::<DoorSettings>;
    let settings = read(r#"{"threads": 2, "forward_socket": "/run/x"}"#).unwrap();
    assert_eq!((settings.threads, settings.forward_socket.unwrap().to_str()), (2, Some("/run/x")));
    assert_eq!(read("{}").unwrap().threads, 1);
    assert!(read(r#"{"thread": 2}"#).is_err());
}

#[test]
fn an_address_or_setting_that_cannot_be_served_says_why() {
    let error_of = |address: &str, settings| {
        Door::serve(Arc::new(FakePort::default()), address, settings).err().expect("an error").to_string()
    };
    let (_port, door) = open(DoorSettings::default());
    let taken = error_of(door.address(), DoorSettings::default());
    assert!(taken.contains(door.address()) && taken.contains("choose another address"), "{taken}");
    for address in ["nonsense", "127.0.0.1", "127.0.0.1:x", "192.0.2.1:1", "unix:/nowhere/at/all.sock"] {
        let text = error_of(address, DoorSettings::default());
        assert!(text.contains(address) && text.contains("unix:PATH"), "{text}");
    }
    let threads = error_of("127.0.0.1:0", DoorSettings { threads: 0, ..Default::default() });
    assert_eq!(threads, "threads is 0; it must be 1 to 64");
}

#[tokio::test]
async fn a_unix_socket_is_an_address() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("door.sock");
    let address = format!("unix:{}", path.display());
    let serve = || Door::serve(Arc::new(FakePort::default()), &address, DoorSettings::default());
    // A process that was killed leaves its file behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let door = serve().unwrap();
    assert_eq!(door.address(), address);
    assert_eq!(Caller::new(&address).await.call(RESERVE, b"a").await.answer(), b"a");
    assert!(serve().is_err(), "it is in use");
    door.close();
    assert!(!path.exists());
}

#[tokio::test]
async fn connections_are_shared_among_threads() {
    let (_port, door) = open(DoorSettings { threads: 3, ..Default::default() });
    for _ in 0..7 {
        assert_eq!(Caller::new(door.address()).await.call(RESERVE, b"a").await.answer(), b"a");
    }
}

#[tokio::test]
async fn draining_answers_accepted_calls_and_refuses_the_rest() {
    let (port, door) = open(DoorSettings::default());
    let door = Arc::new(door);
    let mut caller = Caller::new(door.address()).await;
    let mut taken = caller.start(request(RESERVE));
    taken.send(framed(b"a@1"), true);
    // Its message is incomplete, so the call was not accepted.
    let mut late = caller.start(request(RESERVE));
    late.send(framed(b"b")[..3].to_vec(), false);
    port.until_decided(1).await;
    let drained = spawn_blocking({
        let door = Arc::clone(&door);
        move || door.drain(TIMEOUT)
    });
    assert!(taken.is_waiting().await);
    assert_eq!(late.end().await.refusal().reason, "DRAINING");
    port.commit(1);
    assert_eq!(taken.end().await.answer(), b"a");
    assert!(drained.await.unwrap());
    caller.until_refused().await;
    until_nobody_listens(door.address()).await;
    assert_eq!(port.seen().len(), 1);
}

#[tokio::test]
async fn draining_does_not_wait_for_ever() {
    let (port, door) = open(DoorSettings::default());
    let mut call = Caller::new(door.address()).await.start(request(RESERVE));
    call.send(framed(b"a@1"), true);
    port.until_decided(1).await;
    let started = Instant::now();
    let (drained, door) = spawn_blocking(move || (door.drain(Duration::from_millis(50)), door)).await.unwrap();
    assert!(!drained && started.elapsed() < Duration::from_secs(10));
    spawn_blocking(move || door.close()).await.unwrap();
    call.broken().await;
}

#[tokio::test]
async fn a_caller_who_does_not_close_does_not_hold_up_the_door() {
    let (_port, door) = open(DoorSettings::default());
    // It sends the preface and then nothing, not even an acknowledgement.
    let mut silent = tokio::net::TcpStream::connect(door.address()).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    tokio::io::AsyncWriteExt::write_all(&mut silent, preface).await.unwrap();
    let mut answer = [0; 9];
    tokio::io::AsyncReadExt::read_exact(&mut silent, &mut answer).await.unwrap();
    assert!(spawn_blocking(move || door.drain(TIMEOUT)).await.unwrap());
}

#[tokio::test]
async fn what_is_not_http_2_is_closed() {
    let (_port, door) = open(DoorSettings::default());
    let mut stranger = tokio::net::TcpStream::connect(door.address()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stranger, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::io::AsyncReadExt::read_to_end(&mut stranger, &mut answer);
    let _ = tokio::time::timeout(TIMEOUT, ended).await.expect("it should have been closed");
    assert_eq!(Caller::new(door.address()).await.call(RESERVE, b"a").await.answer(), b"a");
}

#[tokio::test]
async fn closing_twice_is_harmless() {
    let (_port, door) = open(DoorSettings::default());
    let mut caller = Caller::new(door.address()).await;
    assert_eq!(caller.call(RESERVE, b"a").await.answer(), b"a");
    let door = spawn_blocking(move || {
        door.close();
        door.close();
        door
    });
    let door = door.await.unwrap();
    caller.until_refused().await;
    until_nobody_listens(door.address()).await;
}

async fn until_nobody_listens(address: &str) {
    let refused = async { while tokio::net::TcpStream::connect(address).await.is_ok() {} };
    tokio::time::timeout(TIMEOUT, refused).await.expect("the listener should have closed");
}
