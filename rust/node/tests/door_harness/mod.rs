//! The harness of the door tests: a fake port that does what the message says, and callers that speak raw HTTP/2.
#![allow(dead_code, reason = "every test file uses a part of it")]

pub mod caller;
pub mod raw;

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use invengine_node::door::{Door, DoorSettings, Port};
use invengine_node::engine::{Call, Decision, Durable, EventPage, EventQuery};
use invengine_node::refusal::Refusal;
use invengine_wire::v1;
use prost::Message;

pub const RESERVE: &str = "/invengine.v1.ReservationService/Reserve";
pub const SUBMIT_STREAM: &str = "/invengine.v1.ReservationService/SubmitStream";
pub const READ_EVENTS: &str = "/invengine.v1.JournalService/ReadEvents";
/// The timeout of everything in these tests: what takes longer never ends.
pub const TIMEOUT: Duration = Duration::from_secs(20);

type Hook = Arc<dyn Fn() + Send + Sync>;

/// Answers a message `text@5` with `text` once 5 is durable, `no` and `no@5` with a refusal, `bytes 9` with nine bytes,
/// `slow 9` after nine milliseconds, and panics at `panic`.
#[derive(Default)]
pub struct FakePort {
    durable: Mutex<(u64, bool)>,
    hooks: Mutex<Vec<Hook>>,
    seen: Mutex<Vec<String>>,
    pub decided: AtomicUsize,
}

impl FakePort {
    /// Everything up to `sequence` becomes durable.
    pub fn commit(&self, sequence: u64) {
        self.durable.lock().unwrap().0 = sequence;
        self.run_hooks();
    }

    /// Nothing becomes durable any more.
    pub fn poison(&self) {
        self.durable.lock().unwrap().1 = true;
        self.run_hooks();
    }

    /// The calls that were received, each as `path key ledger payload`.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Returns once `count` calls were decided.
    pub async fn until_decided(&self, count: usize) {
        let decided = async {
            while self.decided.load(SeqCst) < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(TIMEOUT, decided).await.expect("the calls were not decided");
    }

    fn run_hooks(&self) {
        let hooks = self.hooks.lock().unwrap().clone();
        hooks.iter().for_each(|hook| hook());
    }
}

impl Port for FakePort {
    fn call(&self, call: &Call<'_>) -> Decision {
        let payload = String::from_utf8_lossy(call.payload).into_owned();
        self.seen.lock().unwrap().push(format!("{} {} {} {payload}", call.path, call.key, call.ledger));
        self.decided.fetch_add(1, SeqCst);
        assert!(payload != "panic", "a secret of the code at src/secret.rs");
        let (text, depends_on) = match payload.split_once('@') {
            Some((text, sequence)) => (text, sequence.parse().unwrap()),
            None => (payload.as_str(), 0),
        };
        if let Some(ms) = text.strip_prefix("slow ") {
            std::thread::sleep(Duration::from_millis(ms.parse().unwrap()));
        }
        let reply = match text.strip_prefix("bytes ") {
            Some(bytes) => Ok(vec![b'x'; bytes.parse().unwrap()]),
            None if text == "no" => Err(Refusal::not_owner("other")),
            None => Ok(text.as_bytes().to_vec()),
        };
        Decision { reply, depends_on }
    }

    fn call_waiting(&self, call: &Call<'_>) -> Result<Vec<u8>, Refusal> {
        let decision = self.call(call);
        let Durable { sequence, poisoned } = self.durable();
        // A call that itself waits for what it depends on.
        if poisoned && decision.depends_on > sequence {
            return Err(Refusal::journal_failed(call.path));
        }
        decision.reply
    }

    fn durable(&self) -> Durable {
        let (sequence, poisoned) = *self.durable.lock().unwrap();
        Durable { sequence, poisoned }
    }

    fn on_commit(&self, hook: Hook) {
        self.hooks.lock().unwrap().push(hook);
    }

    fn begin_events(&self, call: &Call<'_>) -> Result<EventQuery, Refusal> {
        let request = v1::ReadEventsRequest::decode(call.payload).map_err(|_| Refusal::malformed())?;
        self.seen.lock().unwrap().push(format!("{} {} {}", call.path, call.key, call.ledger));
        for (field, number) in [("from_sequence", request.from_sequence), ("limit", request.limit)] {
            if number < 0 {
                return Err(Refusal::invalid(vec![(field.into(), "0 or more".into())]));
            }
        }
        let limit = if request.limit == 0 { u64::MAX } else { request.limit as u64 };
        let last = if request.follow { u64::MAX } else { self.durable().sequence };
        Ok(EventQuery { last, ..EventQuery::every((request.from_sequence as u64).max(1), limit) })
    }

    fn read_events(&self, wanted: &EventQuery) -> Result<EventPage, Refusal> {
        let durable = self.durable().sequence;
        let event = |sequence: u64| v1::Event { sequence: sequence as i64, ..Default::default() };
        // A journal may give fewer than asked for.
        let end = durable.min(wanted.next + wanted.limit.min(7) - 1);
        let events: Vec<_> = (wanted.next..=end).map(event).collect();
        let (number, ledger) = (events.len() as u64, "main".into());
        let answer = v1::ReadEventsResponse { events, durable_sequence: durable as i64, ledger, ..Default::default() };
        Ok(EventPage { message: answer.encode_to_vec(), events: number, next: wanted.next + number })
    }
}

/// A door on a free TCP port, with a fake port behind it.
pub fn open(settings: DoorSettings) -> (Arc<FakePort>, Door) {
    let port = Arc::new(FakePort::default());
    let door = Door::serve(Arc::clone(&port), "127.0.0.1:0", settings).expect("a free port");
    (port, door)
}
