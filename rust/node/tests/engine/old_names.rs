//! A journal of version 0.1.0 with names that can no longer be created: it folds as before, every command on them
//! works, and verify lists them. It was written by that version and is never regenerated.

use std::path::Path;

use crate::engine_harness::{ask, digest, open, settings};
use invengine_node::backup::restore;
use invengine_node::engine::{Call, Engine, EngineSettings};
use invengine_node::verify::verify;
use invengine_wire::v1;
use prost::Message;

const DIGEST: &str = "e9aa8040b4a97e9b218f362e80f91553";
/// Kind, name, and a part of the finding.
const FOUND: [(&str, &str, &str); 13] = [
    ("item", "mug ", "\"mug \" has U+0020 at character 4, a space at its end"),
    ("item", "mug ", "\"mug \" looks like the older \"mug\""),
    ("item", " cup", "U+0020 at character 1, a space at its beginning"),
    ("item", "jug\u{200b}", "\"jug<U+200B>\" has U+200B at character 4, which cannot be seen"),
    ("item", "\u{feff}jar", "\"<U+FEFF>jar\" has U+FEFF at character 1, which cannot be seen"),
    ("item", "pot\u{202e}", "\"pot<U+202E>\" has U+202E at character 4, which cannot be seen"),
    ("item", "tea\u{a0}pot", "\"tea<U+00A0>pot\" has U+00A0 at character 4, white space other than U+0020"),
    ("item", "cafe\u{301}", "has U+0065 at character 4, where its composed form (NFC) has U+00E9"),
    ("item", "Mug", "\"Mug\" looks like the older \"mug\""),
    ("location", "wh ", "\"wh \" has U+0020 at character 3, a space at its end"),
    ("location", "wh ", "\"wh \" looks like the older \"wh\""),
    ("channel", "app\u{2028}", "\"app<U+2028>\" has U+2028 at character 4, a line break"),
    ("source", "erp ", "\"erp \" has U+0020 at character 4, a space at its end"),
];

fn fixture() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/backup-old-names")
}

fn upsert(engine: &Engine, key: &str, sku: &str, display_name: &str) -> v1::UpsertItemsResponse {
    let item = v1::Item { sku: sku.into(), display_name: display_name.into(), ..Default::default() };
    let request = v1::UpsertItemsRequest { items: vec![item], ..Default::default() };
    let answer = ask(engine, "/invengine.v1.CatalogService/UpsertItems", key, &request.encode_to_vec());
    v1::UpsertItemsResponse::decode(&*answer).unwrap()
}

#[test]
fn verify_lists_names_that_can_no_longer_be_created_and_finds_nothing_wrong() {
    let report = verify(&fixture(), None).unwrap();
    assert_eq!((report.digest.as_str(), report.sequence), (DIGEST, 18));
    assert!(
        report.damage.is_none() && report.broken.is_empty() && report.invariants.values().all(|holds| *holds),
        "{report:?}"
    );
    assert_eq!(report.names.len(), FOUND.len(), "{:#?}", report.names);
    for (found, (kind, name, words)) in report.names.iter().zip(&FOUND) {
        assert_eq!((found.kind, &*found.name), (*kind, *name));
        assert!(found.finding.contains(words), "{found:?}");
    }
    assert_eq!((report.counts["names_against_the_rule"], report.counts["look_alikes"]), (10, 3));
    let early = verify(&fixture(), Some(1)).unwrap();
    assert_eq!(early.counts["names_against_the_rule"], 7, "as they were at that position");
}

#[test]
fn names_of_an_older_version_work_as_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("restored");
    restore(&fixture(), &path, 0).unwrap();
    let wall_time_ms = Some(1_767_225_700_000);
    let engine = Engine::open(&EngineSettings { auto_create: false, wall_time_ms, ..settings(&path) }).unwrap();
    assert_eq!(digest(&engine), (DIGEST.to_owned(), 18));

    let line = |sku: &str| v1::StockLine { sku: sku.into(), location: "wh ".into(), quantity: 1, state: 0 };
    let received =
        v1::ReceiveRequest { lines: ["mug ", "jug\u{200b}", "cafe\u{301}", "Mug"].map(line).into(), context: None };
    ask(&engine, "/invengine.v1.InventoryService/Receive", "again", &received.encode_to_vec());
    let context = v1::CommandContext { channel: "app\u{2028}".into(), ..Default::default() };
    let lines = vec![v1::LineRequest { sku: "mug ".into(), location: "wh ".into(), quantity: 4, ..Default::default() }];
    let reserve = v1::ReserveRequest { context: Some(context), lines, ..Default::default() };
    ask(&engine, "/invengine.v1.ReservationService/Reserve", "hold", &reserve.encode_to_vec());

    let stored = upsert(&engine, "label", "mug ", "A mug of the old house");
    assert_eq!(stored.look_alikes, [v1::LookAlike { name: "mug ".into(), older_name: "mug".into() }]);
    let register = v1::RegisterSourceRequest { source_id: "erp ".into(), context: None };
    ask(&engine, "/invengine.v1.SourceService/RegisterSource", "source", &register.encode_to_vec());
    assert!(
        upsert(&engine, "new", "cup", "").look_alikes
            == [v1::LookAlike { name: "cup".into(), older_name: " cup".into() }]
    );
}

#[test]
fn a_mention_creates_no_name_that_breaks_the_rules() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let line = v1::StockLine { sku: "mug ".into(), location: "wh".into(), quantity: 1, state: 0 };
    let payload = v1::ReceiveRequest { lines: vec![line], context: None }.encode_to_vec();
    for key in ["one", "two"] {
        let path = "/invengine.v1.InventoryService/Receive";
        let refusal =
            engine.call(&Call { path, payload: &payload, key, ledger: "", deadline: None }).reply.unwrap_err();
        assert_eq!((refusal.reason, &*refusal.metadata["sku"]), ("UNKNOWN_SKU", "mug "));
        assert!(
            refusal.message.contains("\"mug \" has U+0020 at character 4, a space at its end"),
            "{}",
            refusal.message
        );
    }
}
