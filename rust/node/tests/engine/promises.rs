//! What an engine guarantees whatever its journal does: no answer before the sync, none without ownership, bounded
//! waiting, and no snapshot that differs from its manifest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use invengine_ledger::{Ledger, LedgerOptions};
use invengine_node::engine::{Call, Decision, Engine, EngineSettings, JournalKind, OpenError, Step};
use invengine_node::journal::{Journal, JournalError, JournalPosition, JournalReader, Manifest, MemoryJournal};
use invengine_wire::v1;
use prost::Message;

const RECEIVE: &str = "/invengine.v1.InventoryService/Receive";
const LEVELS: &str = "/invengine.v1.InventoryService/ListInventoryLevels";

/// A journal in memory that another process could claim, and that fails on demand.
struct LeasedJournal {
    inner: MemoryJournal,
    fails: Arc<AtomicBool>,
}

impl LeasedJournal {
    fn check(&self) -> Result<(), JournalError> {
        if self.fails.load(Relaxed) { Err(JournalError::Poisoned) } else { Ok(()) }
    }
}

impl Journal for LeasedJournal {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn loss_window(&self) -> String {
        self.inner.loss_window()
    }

    fn writer_epoch(&self) -> u64 {
        self.inner.writer_epoch()
    }

    fn durable_sequence(&self) -> u64 {
        self.inner.durable_sequence()
    }

    fn payload_bytes_max(&self) -> u64 {
        self.inner.payload_bytes_max()
    }

    fn append(&mut self, first: u64, last: u64, time_ms: i64, payload: &[u8]) -> Result<(), JournalError> {
        self.check()?;
        self.inner.append(first, last, time_ms, payload)
    }

    fn ensure_room(&mut self, bytes: u64) -> Result<(), JournalError> {
        self.inner.ensure_room(bytes)
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        self.inner.reader()
    }

    fn is_leased(&self) -> bool {
        true
    }

    fn verify_ownership(&mut self) -> Result<bool, JournalError> {
        self.check().map(|()| true)
    }

    fn close(&mut self) -> Result<(), JournalError> {
        self.inner.close()
    }
}

fn open(start: Instant, in_flight_max: u32) -> (Engine, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let mut journal = Some(LeasedJournal { inner: MemoryJournal::new("main"), fails: Arc::clone(&fails) });
    let engine = Engine::open_driven(&settings(in_flight_max), start, &mut |_| Ok(Box::new(journal.take().unwrap())));
    (engine.unwrap(), fails)
}

fn settings(in_flight_max: u32) -> EngineSettings {
    let (journal, wall_time_ms) = (JournalKind::Memory, Some(1_000_000));
    EngineSettings { journal, auto_create: true, wall_time_ms, in_flight_max, ..EngineSettings::default() }
}

fn call(engine: &Engine, path: &str, payload: &[u8], key: &str, now: Instant) -> Decision {
    engine.call_at(&Call { path, payload, key, ledger: "", deadline: None }, now)
}

fn receive(engine: &Engine, key: &str, now: Instant) -> Decision {
    let line = v1::StockLine { sku: "A".into(), location: "L".into(), quantity: 5, ..Default::default() };
    let message = v1::ReceiveRequest { lines: vec![line], ..Default::default() };
    call(engine, RECEIVE, &message.encode_to_vec(), key, now)
}

#[test]
fn what_the_journal_did_not_accept_is_never_acknowledged_as_durable() {
    let start = Instant::now();
    let (engine, fails) = open(start, 0);
    let first = receive(&engine, "k1", start);
    assert_eq!(engine.step(start), Step::Committed);
    fails.store(true, Relaxed);
    let second = receive(&engine, "k2", start);
    assert!(second.depends_on > first.depends_on);
    assert_eq!(engine.step(start), Step::Ended);
    let durable = engine.durable();
    assert_eq!((durable.sequence, durable.poisoned), (first.depends_on, true));
}

// case: G03
#[test]
fn no_call_is_answered_while_ownership_is_uncertain() {
    let start = Instant::now();
    let (engine, _) = open(start, 0);
    receive(&engine, "k1", start).reply.unwrap();
    engine.step(start);
    let asleep = start + Duration::from_secs(60);
    for refused in [call(&engine, LEVELS, &[], "", asleep), receive(&engine, "k2", asleep)] {
        assert_eq!(refused.reply.unwrap_err().reason, "FENCED");
    }
    assert!(matches!(engine.step(asleep), Step::Idle(_)));
    call(&engine, LEVELS, &[], "", asleep).reply.unwrap();
    receive(&engine, "k2", asleep).reply.unwrap();
}

#[test]
fn commands_that_wait_for_the_disk_are_bounded_and_a_commit_makes_room() {
    let start = Instant::now();
    let (engine, _) = open(start, 2);
    receive(&engine, "k1", start).reply.unwrap();
    receive(&engine, "k2", start).reply.unwrap();
    let digest = |now| call(&engine, "/invengine.v1.JournalService/GetDigest", &[], "", now).reply.unwrap();
    let before = digest(start);
    assert_eq!(receive(&engine, "k3", start).reply.unwrap_err().reason, "OVERLOADED");
    assert_eq!(digest(start), before);
    assert_eq!(engine.step(start), Step::Committed);
    receive(&engine, "k3", start).reply.unwrap();
}

// case: E11
#[test]
fn a_snapshot_that_differs_from_its_manifest_is_refused() {
    let (pieces, digest) = empty_ledger();
    let try_with = |digest: &str| {
        let manifest =
            Manifest { position: JournalPosition::start("main"), digest: digest.into(), pieces: 1, bytes: 1 };
        let opened = Engine::open_driven(&settings(0), Instant::now(), &mut |replay| {
            assert!(replay.begin(&manifest));
            pieces.iter().try_for_each(|piece| replay.piece(piece)).map_err(bad)?;
            replay.end(&manifest).map_err(bad)?;
            Ok(Box::new(MemoryJournal::new("main")))
        });
        opened.map(drop)
    };
    try_with(&digest).unwrap();
    let Err(OpenError::Journal(JournalError::Replay { why, .. })) = try_with("another") else { panic!("decision") };
    assert!(why.contains("manifest"), "{why}");
}

/// The image of an empty ledger, and its digest.
fn empty_ledger() -> (Vec<Vec<u8>>, String) {
    let mut ledger = Ledger::new(LedgerOptions::new("main"));
    let digest = ledger.digest().to_string();
    let mut image = ledger.image();
    let (mut pieces, mut piece) = (Vec::new(), Vec::new());
    while image.next(&mut piece) {
        pieces.push(std::mem::take(&mut piece));
    }
    (pieces, digest)
}

fn bad(why: String) -> JournalError {
    JournalError::Replay { file: String::new(), offset: 0, why }
}
