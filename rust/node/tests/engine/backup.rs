//! Backups alongside a real engine that writes snapshots and trims as fast as it can; they are restored and continued.

use std::path::Path;

use crate::engine_harness::{
    ask, assert_whole, backups_beside, digest, fill, in_time, names, open, receive, reserve, settings,
};
use invengine_node::backup::{RestoreReport, create, restore};
use invengine_node::engine::{Call, Engine, EngineSettings, EventQuery};
use invengine_node::verify::verify;
use invengine_wire::v1;
use prost::Message;

const REGISTER: &str = "/invengine.v1.SourceService/RegisterSource";
const RESERVE: &str = "/invengine.v1.ReservationService/Reserve";

fn register(engine: &Engine, key: &str) -> i64 {
    let request = v1::RegisterSourceRequest { source_id: "erp".into(), ..Default::default() };
    v1::RegisterSourceResponse::decode(&ask(engine, REGISTER, key, &request.encode_to_vec())[..]).unwrap().epoch
}

fn by_source(epoch: i64, sequence: i64) -> Vec<u8> {
    let source = Some(v1::SourcePosition { source_id: "erp".into(), epoch, sequence });
    let context = Some(v1::CommandContext { source, ..Default::default() });
    let lines = vec![v1::LineRequest { sku: "A".into(), location: "L".into(), quantity: 1, ..Default::default() }];
    v1::ReserveRequest { context, lines, ..Default::default() }.encode_to_vec()
}

fn receipt_of(engine: &Engine, key: &str) -> (String, bool) {
    let lines = vec![v1::LineRequest { sku: "A".into(), location: "L".into(), quantity: 1, ..Default::default() }];
    let request = v1::ReserveRequest { lines, ..Default::default() }.encode_to_vec();
    let answer = v1::ReserveResponse::decode(&ask(engine, RESERVE, key, &request)[..]).unwrap();
    (answer.hold.unwrap().reservation_id, answer.receipt.unwrap().replayed)
}

fn restored(backup: &Path, at: &Path, epoch: u64) -> (Engine, RestoreReport) {
    let report = restore(backup, at, epoch).unwrap();
    (open(at), report)
}

// case: I03
#[test]
fn backups_alongside_an_engine_that_trims_are_all_complete() {
    let directory = tempfile::tempdir().unwrap();
    let backups = tempfile::tempdir().unwrap();
    let path = directory.path();
    // Nothing is kept that no recovery needs: files may vanish while a backup reads them.
    let engine = Engine::open(&EngineSettings { archive_ms: 1, ..settings(path) }).unwrap();
    let create = |_: usize, to: &Path| create(path, to, false).unwrap();
    let made = backups_beside(&engine, backups.path(), create, || verify(path, None).unwrap());
    drop(engine);
    assert_whole(made, 8);
}

// case: I03
#[test]
fn a_restored_engine_repeats_no_id_and_no_command_that_it_knows() {
    let directory = tempfile::tempdir().unwrap();
    let path_of = |name: &str| directory.path().join(name);
    let engine = open(&path_of("old"));
    receive(&engine, "r", 100);
    let epoch = register(&engine, "e1");
    ask(&engine, RESERVE, "", &by_source(epoch, 1));
    let known = receipt_of(&engine, "known");
    engine.create_snapshot(in_time()).unwrap();
    let behind = receipt_of(&engine, "behind the snapshot");
    let report = create(&path_of("old"), &path_of("backup"), false).unwrap();
    assert_eq!((report.manifest.digest.clone(), report.manifest.sequence as i64), digest(&engine));
    let lost: Vec<String> = (0..5).map(|number| receipt_of(&engine, &format!("lost {number}")).0).collect();
    let lost_epoch = register(&engine, "e2");
    drop(engine);

    let mut issued: Vec<String> = lost;
    let mut last_epoch = report.manifest.writer_epoch;
    // With the default epoch, and with a given minimum.
    for (name, epoch_min) in [("once", 0), ("twice", u64::from(u32::MAX) - (1 << 20))] {
        let (engine, report) = restored(&path_of("backup"), &path_of(name), epoch_min);
        let source = &report.sources[0];
        assert_eq!((source.source.as_str(), source.epoch as i64, source.expected_sequence), ("erp", epoch, 2));
        assert!(report.restored_epoch > last_epoch, "{} after {last_epoch}", report.restored_epoch);
        last_epoch = report.restored_epoch + 1;
        assert_eq!(receipt_of(&engine, "known"), (known.0.clone(), true));
        assert_eq!(receipt_of(&engine, "behind the snapshot"), (behind.0.clone(), true));
        for number in 0..5 {
            let (id, replayed) = receipt_of(&engine, &format!("lost {number}"));
            assert!(!replayed && !issued.contains(&id), "{id} was issued before");
            issued.push(id);
        }
        let gap =
            engine.call(&Call { path: RESERVE, payload: &by_source(epoch, 3), key: "", ledger: "", deadline: None });
        let gap = gap.reply.unwrap_err();
        assert_eq!((gap.reason, gap.metadata["expected"].as_str()), ("SEQUENCE_GAP", "2"));
        ask(&engine, RESERVE, "", &by_source(epoch, 2));
        assert!(register(&engine, "e3") > lost_epoch);
    }
}

#[test]
fn older_journal_is_included_on_request() {
    let directory = tempfile::tempdir().unwrap();
    let path_of = |name: &str| directory.path().join(name);
    let engine = open(&path_of("old"));
    for round in 0..3 {
        fill(&engine, round);
        engine.create_snapshot(in_time()).unwrap();
    }
    reserve(&engine, "tail");
    assert!(!names(&path_of("old").join("archive"), "journal-").is_empty());
    create(&path_of("old"), &path_of("short"), false).unwrap();
    create(&path_of("old"), &path_of("long"), true).unwrap();
    let (short, _) = restored(&path_of("short"), &path_of("from short"), 0);
    let (long, _) = restored(&path_of("long"), &path_of("from long"), 0);
    assert_eq!(short.read_events(&EventQuery::every(1, 1)).unwrap_err().reason, "HISTORY_TRIMMED");
    assert!(long.read_events(&EventQuery::every(1, 1)).is_ok());
    assert_eq!(digest(&short), digest(&long));
    // It is archived at the next snapshot, like any other.
    long.create_snapshot(in_time()).unwrap();
    fill(&long, 9);
    long.create_snapshot(in_time()).unwrap();
    assert!(!names(&path_of("from long").join("archive"), "journal-").is_empty());
}
