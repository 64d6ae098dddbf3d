//! A short day of a shop, always the same: valid messages of every kind, for the targets to damage.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use invengine_node::engine::{Call, Engine, EngineSettings, JournalKind};
use invengine_node::journal::{Journal, MemoryJournal};
use invengine_wire::v1::{self, hold_target::By};
use prost::Message;

/// The wall clock at which every day begins.
pub const START_MS: i64 = 1_700_000_000_000;

/// A method without its service, a key, and a message.
pub type CallInput = (&'static str, &'static str, Vec<u8>);

/// A frame as a journal has it.
#[derive(Clone, Debug)]
pub struct StoredFrame {
    /// Position of its first event.
    pub first_sequence: u64,
    /// Position of its last event.
    pub last_sequence: u64,
    /// Time of the frame.
    pub time_ms: i64,
    /// Payload of the frame.
    pub payload: Vec<u8>,
}

fn context(source: Option<(i64, i64)>) -> Option<v1::CommandContext> {
    let position = |(epoch, sequence)| v1::SourcePosition { source_id: "till".into(), epoch, sequence };
    Some(v1::CommandContext {
        channel: "web".into(),
        order_ref: "order-1".into(),
        holder: "ann".into(),
        source: source.map(position),
        ..Default::default()
    })
}

fn line(sku: &str, quantity: i64) -> v1::LineRequest {
    v1::LineRequest { sku: sku.into(), location: "wh-1".into(), quantity, ..Default::default() }
}

fn part(sku: &str, quantity: i64) -> v1::LineSelection {
    v1::LineSelection { sku: sku.into(), location: "wh-1".into(), quantity }
}

fn target(key: &str, lines: Vec<v1::LineSelection>) -> Option<v1::HoldTarget> {
    Some(v1::HoldTarget { lines, expected_version: 0, by: Some(By::ReservationKey(key.into())) })
}

fn reserve(lines: Vec<v1::LineRequest>, seconds: i64, source: Option<(i64, i64)>) -> v1::ReserveRequest {
    let ttl = Some(prost_types::Duration { seconds, nanos: 0 });
    v1::ReserveRequest { context: context(source), lines, ttl, ..Default::default() }
}

/// The messages of the day, in order.
pub fn day() -> Vec<CallInput> {
    let mut day = stock();
    day.extend(holds());
    day.extend(questions());
    day
}

fn stock() -> Vec<CallInput> {
    let stock = |sku: &str, quantity| v1::StockLine { sku: sku.into(), location: "wh-1".into(), quantity, state: 0 };
    let receive = v1::ReceiveRequest { context: context(None), lines: vec![stock("mug", 9), stock("cup", 5)] };
    let register = v1::RegisterSourceRequest { context: None, source_id: "till".into() };
    let item = v1::Item { sku: "jug".into(), display_name: "A jug".into(), ..Default::default() };
    let upsert = v1::UpsertItemsRequest { context: None, items: vec![item] };
    vec![
        ("Receive", "k1", receive.encode_to_vec()),
        ("RegisterSource", "k2", register.encode_to_vec()),
        ("UpsertItems", "k3", upsert.encode_to_vec()),
    ]
}

fn holds() -> Vec<CallInput> {
    let both = vec![line("mug", 4), line("cup", 2)];
    let allocate = v1::AllocateRequest { context: context(None), target: target("h1", vec![part("mug", 3)]) };
    let release = v1::ReleaseRequest { context: context(None), target: target("h1", vec![part("mug", 1)]) };
    let fulfill = v1::FulfillRequest { context: context(None), target: target("h1", vec![part("mug", 2)]) };
    let ttl = Some(prost_types::Duration { seconds: 90, nanos: 0 });
    let extend = v1::ExtendRequest { context: context(None), target: target("h1", vec![]), ttl };
    let amend = v1::AmendRequest { context: context(None), target: target("h2", vec![]), lines: vec![part("cup", 1)] };
    let moved = v1::TransferReservationRequest {
        context: context(None),
        target: target("h1", vec![]),
        to_location: "wh-2".into(),
    };
    let mut refused = reserve(vec![line("mug", 99)], 60, None);
    refused.context.get_or_insert_default().remember_refusal = true;
    let never = v1::ReleaseRequest { context: context(None), target: target("never", vec![]) };
    vec![
        ("Reserve", "h1", reserve(both, 60, None).encode_to_vec()),
        ("Allocate", "k4", allocate.encode_to_vec()),
        ("Extend", "k5", extend.encode_to_vec()),
        ("Release", "k6", release.encode_to_vec()),
        ("Fulfill", "k7", fulfill.encode_to_vec()),
        ("Reserve", "h2", reserve(vec![line("cup", 2)], 1, None).encode_to_vec()),
        ("Amend", "k8", amend.encode_to_vec()),
        ("Reserve", "", reserve(vec![line("mug", 1)], 60, Some((1, 1))).encode_to_vec()),
        ("Reserve", "", reserve(vec![line("mug", 99)], 60, Some((1, 2))).encode_to_vec()),
        ("TransferReservation", "k9", moved.encode_to_vec()),
        ("Release", "k10", never.encode_to_vec()),
        ("Reserve", "k11", refused.encode_to_vec()),
    ]
}

fn questions() -> Vec<CallInput> {
    let query = v1::AvailabilityQuery { sku: "mug".into(), location: "wh-1".into(), ..Default::default() };
    let availability = v1::GetAvailabilityRequest { queries: vec![query], ..Default::default() };
    let by = Some(v1::get_reservation_request::By::ReservationKey("h1".into()));
    let get = v1::GetReservationRequest { channel: "web".into(), by, ..Default::default() };
    let list = v1::ListReservationsRequest { order_ref: "order-1".into(), ..Default::default() };
    let one = v1::command::Command::Reserve(reserve(vec![line("cup", 1)], 60, None));
    let submit = v1::SubmitRequest { commands: vec![v1::Command { command: Some(one) }] };
    vec![
        ("GetAvailability", "", availability.encode_to_vec()),
        ("GetReservation", "", get.encode_to_vec()),
        ("ListReservations", "", list.encode_to_vec()),
        ("Submit", "", submit.encode_to_vec()),
    ]
}

/// An engine without a thread, and a reader of its journal.
pub fn engine(start: Instant, auto_create: bool) -> (Engine, Box<dyn invengine_node::journal::JournalReader>) {
    let journal = JournalKind::Memory;
    let wall_time_ms = Some(START_MS);
    let settings = EngineSettings { journal, auto_create, wall_time_ms, ..EngineSettings::default() };
    let memory = MemoryJournal::new("main");
    let reader = memory.reader().expect("a journal in memory can be read");
    let mut memory = Some(Box::new(memory) as Box<dyn Journal>);
    let engine = Engine::open_driven(&settings, start, &mut |_| Ok(memory.take().expect("opened once")));
    (engine.expect("a journal in memory opens"), reader)
}

/// The path of a method.
pub fn path(method: &str) -> &'static str {
    let found = invengine_node::methods::METHODS.iter().find(|found| found.path.rsplit('/').next() == Some(method));
    found.expect("a method of the contract").path
}

/// The frames of the day's journal: one a command, then those of the holds that ended by themselves.
pub static FRAMES: LazyLock<Vec<StoredFrame>> = LazyLock::new(|| {
    let start = Instant::now();
    let (engine, mut reader) = engine(start, true);
    let mut now = start;
    for (method, key, payload) in day() {
        let taken =
            engine.call_at(&Call { path: path(method), payload: &payload, key, ledger: "", deadline: None }, now);
        assert!(taken.reply.is_ok() || payload.len() < 80, "{method}: {:?}", taken.reply);
        engine.step(now);
        now += Duration::from_millis(7);
    }
    engine.step(now + Duration::from_secs(5));
    let mut frames = Vec::new();
    let mut keep = |frame: invengine_node::journal::Frame<'_>| {
        if !frame.is_claim() {
            frames.push(StoredFrame {
                first_sequence: frame.first_sequence,
                last_sequence: frame.last_sequence,
                time_ms: frame.time_ms,
                payload: frame.payload.into(),
            });
        }
        true
    };
    reader.read_from(1, &mut keep).expect("a journal in memory can be read");
    frames
});
