//! A harness with an engine on a real directory or in Redis, with small files and snapshots only on request; and its
//! commands.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use invengine_node::backup::{BackupFacts, BackupReport, restore};
use invengine_node::engine::{Call, Engine, EngineSettings, JournalKind};
use invengine_node::verify::{VerifyReport, verify};
use invengine_wire::v1;
use prost::Message;

const RESERVE: &str = "/invengine.v1.ReservationService/Reserve";
const RECEIVE: &str = "/invengine.v1.InventoryService/Receive";
const DIGEST: &str = "/invengine.v1.JournalService/GetDigest";

pub fn settings(directory: &Path) -> EngineSettings {
    EngineSettings {
        directory: directory.into(),
        auto_create: true,
        journal_file_bytes: 1 << 20,
        snapshot_journal_bytes: 0,
        snapshot_interval_ms: 0,
        ..EngineSettings::default()
    }
}

/// The same with a journal in Redis, which keeps up to `archive_bytes_max` bytes of frames that no recovery needs.
pub fn redis_settings(url: String, directory: &Path, archive_bytes_max: u64) -> EngineSettings {
    let redis_url = url.into();
    EngineSettings { journal: JournalKind::Redis, redis_url, archive_bytes_max, ..settings(directory) }
}

pub fn ask(engine: &Engine, path: &str, key: &str, payload: &[u8]) -> Vec<u8> {
    let decision = engine.call(&Call { path, payload, key, ledger: "", deadline: None });
    let answer = decision.reply.unwrap_or_else(|refusal| panic!("{path} {key}: {refusal:?}"));
    assert!(engine.wait(decision.depends_on, in_time()).sequence >= decision.depends_on);
    answer
}

pub fn in_time() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub fn receive(engine: &Engine, key: &str, quantity: i64) {
    let line = v1::StockLine { sku: "A".into(), location: "L".into(), quantity, ..Default::default() };
    ask(engine, RECEIVE, key, &v1::ReceiveRequest { lines: vec![line], ..Default::default() }.encode_to_vec());
}

pub fn reserve(engine: &Engine, key: &str) {
    let line = v1::LineRequest { sku: "A".into(), location: "L".into(), quantity: 1, ..Default::default() };
    ask(engine, RESERVE, key, &v1::ReserveRequest { lines: vec![line], ..Default::default() }.encode_to_vec());
}

pub fn digest(engine: &Engine) -> (String, i64) {
    let answer = v1::GetDigestResponse::decode(&ask(engine, DIGEST, "", &[])[..]).unwrap();
    (answer.digest, answer.sequence)
}

pub fn names(directory: &Path, start: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    names.retain(|name| name.starts_with(start));
    names.sort();
    names
}

/// Fills more than one journal file.
pub fn fill(engine: &Engine, round: usize) {
    receive(engine, &format!("r{round}"), 100_000);
    let line = |n: usize| v1::LineRequest {
        sku: "A".into(),
        location: "L".into(),
        quantity: 1 + n as i64 % 2,
        ..Default::default()
    };
    for batch in 0..12 {
        let command = |n: usize| v1::Command {
            command: Some(v1::command::Command::Reserve(v1::ReserveRequest {
                context: Some(v1::CommandContext {
                    idempotency_key: format!("{round}-{batch}-{n}-{}", "x".repeat(60)),
                    ..Default::default()
                }),
                lines: vec![line(n)],
                ..Default::default()
            })),
        };
        let commands = (0..1_000).map(command).collect();
        let submit = v1::SubmitRequest { commands }.encode_to_vec();
        ask(engine, "/invengine.v1.ReservationService/Submit", "", &submit);
    }
}

/// Opens the engine of a directory.
pub fn open(directory: &Path) -> Engine {
    Engine::open(&settings(directory)).unwrap()
}

/// Backs up and verifies alongside an engine that writes snapshots as fast as it can, until its journal was trimmed a
/// few times meanwhile.
pub fn backups_beside(
    engine: &Engine,
    backups: &Path,
    mut create: impl FnMut(usize, &Path) -> BackupReport,
    mut verify: impl FnMut() -> VerifyReport,
) -> Vec<(PathBuf, BackupFacts)> {
    let done = AtomicBool::new(false);
    let (mut made, mut begun_with) = (Vec::new(), BTreeSet::new());
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                fill(engine, round);
                engine.create_snapshot(in_time()).unwrap();
                round += 1;
            }
            round
        });
        while begun_with.len() < 4 && made.len() < 500 {
            let acknowledged = engine.durable().sequence;
            let to = backups.join(made.len().to_string());
            let report = create(made.len(), &to);
            assert!(report.manifest.sequence >= acknowledged, "it has everything that was acknowledged before");
            assert_eq!(report.notes, Vec::<String>::new());
            let verified = verify();
            assert!(verified.damage.is_none() && verified.sequence >= report.manifest.sequence, "{verified:?}");
            begun_with.insert(report.manifest.snapshot_sequence);
            made.push((to, report.manifest));
        }
        done.store(true, Ordering::Relaxed);
        assert!(busy.join().unwrap() > 2);
    });
    assert_eq!(begun_with.len(), 4, "snapshots were written and trimmed meanwhile");
    made
}

/// Restores the last of these backups, each next to itself, and requires that they are complete.
pub fn assert_whole(made: Vec<(PathBuf, BackupFacts)>, last: usize) {
    for (backup, facts) in made.into_iter().rev().take(last) {
        let at = backup.with_extension("restored");
        restore(&backup, &at, 0).unwrap();
        let report = verify(&at, None).unwrap();
        assert_eq!((&report.digest, report.sequence), (&facts.digest, facts.sequence));
        assert!(report.damage.is_none() && report.snapshots.iter().all(|each| each.bad.is_none()), "{report:?}");
    }
}
