//! The payload formats: an old payload folds to the same state for ever, on every machine and in every build.
//!
//! The fixtures contain every kind of event and every field of a record. They are never regenerated: a change of the format
//! is a new version with a fixture of its own. `cargo test -p invengine-ledger --test fixture -- --ignored` shows how it
//! was made.

mod harness;

use std::collections::BTreeSet;
use std::path::Path;

use invengine_ledger::StockState::{Damaged, OnHand, QualityControl};
use invengine_ledger::command::{Body, SourcePosition};
use invengine_ledger::entity::{Attributes, EntityDraft, LocationType, Money};
use invengine_ledger::event::StockKind::{Adjusted, Counted, Received, Returned, Set};
use invengine_ledger::stock_transfer::Remainder;
use invengine_ledger::{Audit, Command, EntityKind, Ledger, LedgerOptions, RecordReader};

use harness::commands::{
    allocate, amend, arrive, by_key, by_order, close, delete, extend, fulfill, move_quantity, part, put_group,
    register, release, reserve, ship, stock, stock_lines, transfer, upsert, whole,
};
use harness::{Harness, START_MS};

/// A payload, the digest of its state, its sequence, and its number of kinds of events.
type Fixture = (&'static [u8], &'static str, u64, usize);

/// Written by the first build.
const FIRST: Fixture = (include_bytes!("fixtures/payload-v1.bin"), "c792809c4a9ca49d826298680af17d1f", 37, 16);
/// Since fingerprints have parts and refusals can be remembered.
const SECOND: Fixture = (include_bytes!("fixtures/payload-v1-parts.bin"), "d43ee84e2e8988ada4152d6a19c4d5be", 39, 17);
/// Since there are entities with versions, units can move from one state to another, and there are stock transfers.
const THIRD: Fixture = (include_bytes!("fixtures/payload-v1-entities.bin"), "262f30914dcc52052566a8097f848294", 57, 24);
const WINDOW_MS: i64 = 200_000;

fn numbered(mut command: Command<'_>, sequence: u64) -> Command<'_> {
    command.context.source = Some(SourcePosition { id: "erp", epoch: 1, sequence });
    command
}

/// A reserve with all shared fields.
fn with_all_fields() -> Command<'static> {
    let mut command = reserve("all-fields", &[("cup", "wh-1", 1), ("mug", "wh-1", 2)]);
    let context = &mut command.context;
    (context.issue_time_ms, context.event_time_ms) = (Some(START_MS - 1_234), Some(START_MS - 86_400_000));
    (context.channel, context.order_ref, context.holder) = ("app", "order-1", "ann");
    (context.actor, context.reason_code) = ("clerk-é", "gift");
    (context.reference, context.causation) = ("note-1", "message-1");
    if let Body::Reserve { allow_partial, replace_own, .. } = &mut command.body {
        (*allow_partial, *replace_own) = (true, true);
    }
    command
}

fn item_attributes(class: &str, units: i64) -> Attributes {
    let unit_value = Some(Money { currency: *b"EUR", units, nanos: 500_000_000 });
    Attributes::Item { class: class.into(), unit_value }
}

/// Replaces an entry by one with attributes.
fn described<'a>(key: &'a str, kind: EntityKind, name: &'a str, attributes: Attributes) -> Command<'a> {
    let mut command = upsert(key, kind, &[name]);
    if let Body::Upsert { entries, .. } = &mut command.body
        && let EntityDraft::Labels(labels) = &mut entries[0].value
    {
        labels.attributes = attributes;
    }
    command
}

/// The history of the fixture, in one frame.
fn history() -> Harness {
    let mut harness = Harness::with_window(WINDOW_MS).opened();
    let ask = |harness: &mut Harness, command: &Command<'_>| drop(harness.ask(command));
    let lines = [("mug", "wh-1", 20, OnHand), ("mug", "wh-1", 2, Damaged), ("cup", "wh-1", 9, OnHand)];
    ask(&mut harness, &stock_lines("stock", Received, &lines));
    ask(
        &mut harness,
        &stock_lines("return", Returned, &[("mug", "wh-2", 5, QualityControl), ("mug", "wh-2", 7, OnHand)]),
    );
    ask(&mut harness, &stock("adjust", Adjusted, "mug", "wh-1", -3));
    ask(&mut harness, &stock("set", Set, "cup", "wh-1", 8));
    ask(&mut harness, &stock("count", Counted, "mug", "wh-2", 11));
    ask(&mut harness, &register("register", "erp"));
    ask(&mut harness, &with_all_fields());
    let id = harness.ask(&reserve("hold", &[("mug", "wh-1", 5)])).hold().id;
    harness.wait(250);
    ask(&mut harness, &extend("extend", whole(id)));
    ask(&mut harness, &amend("amend", whole(id), &[("cup", "wh-1", 2), ("mug", "wh-1", 4)]));
    let mut bind = allocate("allocate", part(id, &[("mug", "wh-1", 2)]));
    bind.context.order_ref = "order-2";
    ask(&mut harness, &bind);
    ask(&mut harness, &transfer("transfer", part(id, &[("mug", "wh-1", 1)]), "wh-2"));
    ask(&mut harness, &fulfill("fulfill", part(id, &[("mug", "wh-1", 1)])));
    ask(&mut harness, &release("release", part(id, &[("cup", "wh-1", 1)])));
    ask(&mut harness, &release("cancel", by_key("never-seen")));
    ask(&mut harness, &numbered(stock("", Received, "pot", "wh-1", 1), 1));
    ask(&mut harness, &numbered(stock("", Received, "mug", "wh-3", 1), 2));
    ask(&mut harness, &numbered(stock("keyed", Received, "mug", "wh-3", 2), 3));
    ask(&mut harness, &numbered(stock("keyed", Received, "mug", "wh-3", 2), 4));
    let mut nowhere = numbered(stock("", Received, "mug", "wh-3", 1), 5);
    nowhere.context.channel = "nowhere";
    ask(&mut harness, &nowhere);
    for key in ["refused", "refused-too"] {
        let mut refused = reserve(key, &[("mug", "wh-1", 999)]);
        refused.context.remember_refusal = true;
        ask(&mut harness, &refused);
    }
    harness.wait(61_000);
    assert_eq!(harness.sweep(), 2);
    ask(&mut harness, &allocate("late", by_order("order-1")));
    harness.wait(WINDOW_MS);
    assert!(harness.forget());
    ask(&mut harness, &fulfill("gone", by_order("order-1")));
    harness.wait(WINDOW_MS);
    assert!(harness.forget());
    ask(&mut harness, &stock("after", Received, "cup", "wh-2", 1));
    ask(&mut harness, &move_quantity("dented", ("cup", "wh-2"), 1, [OnHand, Damaged]));
    ask(&mut harness, &move_quantity("repaired", ("cup", "wh-2"), 1, [Damaged, OnHand]));
    ask(&mut harness, &ship("ship", "tr-1", ["wh-1", "wh-2"], &[("cup", 4), ("mug", 3)]));
    ask(&mut harness, &arrive("arrive", "tr-1", &[("cup", 3, OnHand), ("cup", 2, Damaged)]));
    ask(&mut harness, &close("close", "tr-1", Remainder::Lost));
    ask(&mut harness, &arrive("arrive-late", "tr-1", &[("mug", 1, QualityControl)]));
    ask(&mut harness, &ship("ship-again", "tr-2", ["wh-2", "wh-3"], &[("mug", 2)]));
    ask(&mut harness, &close("cancel-it", "tr-2", Remainder::SentBack));
    ask(&mut harness, &delete("forget-it", EntityKind::StockTransfers, "tr-2"));
    ask(&mut harness, &ship("ship-a-third", "tr-3", ["wh-2", "wh-1"], &[("mug", 1)]));
    ask(&mut harness, &described("described", EntityKind::Items, "cup", item_attributes("B", 12)));
    ask(&mut harness, &described("placed", EntityKind::Locations, "wh-1", Attributes::Location(LocationType::Store)));
    ask(&mut harness, &upsert("spares", EntityKind::Items, &["spare"]));
    for (key, locations) in [("group", vec!["wh-2", "wh-1"]), ("group-again", vec!["wh-3"])] {
        ask(&mut harness, &put_group(key, "north", locations, None));
    }
    ask(&mut harness, &delete("no-spare", EntityKind::Items, "spare"));
    ask(&mut harness, &delete("no-group", EntityKind::LocationGroups, "north"));
    ask(&mut harness, &upsert("spares-again", EntityKind::Items, &["spare"]));
    harness.cut();
    assert_eq!(harness.frames.len(), 1);
    harness
}

// case: E16
#[test]
fn every_format_folds_to_the_same_state_for_ever() {
    for (payload, digest, sequence, _) in [FIRST, SECOND, THIRD] {
        let mut ledger = Ledger::new(LedgerOptions::new("main"));
        ledger.fold(payload, START_MS, 1).expect("every format is read for ever");
        assert_eq!(ledger.digest().to_string(), digest);
        assert_eq!(Audit::check(&ledger), Vec::new());
        assert_eq!((ledger.sequence(), ledger.level_count()), (sequence, 5));
    }
}

#[test]
fn the_fixtures_have_every_kind_of_event() {
    for (payload, _, _, count) in [FIRST, SECOND, THIRD] {
        let mut reader = RecordReader::new(payload, START_MS).expect("the first version");
        let mut kinds = BTreeSet::new();
        while let Some(record) = reader.next().expect("a record") {
            for event in record.events.iter() {
                let described = format!("{event:?}");
                kinds.insert(described.split([' ', '{']).next().expect("a name").to_owned());
                if described.contains("reacquired: true") {
                    kinds.insert("Reacquired".to_owned());
                }
            }
        }
        assert_eq!(kinds.len(), count, "{kinds:?}");
    }
}

#[test]
fn this_build_still_writes_the_same_payload() {
    // A difference is no fault while old payloads still fold; but it must be intended, and is then a new version with a
    // fixture of its own.
    let mut harness = history();
    if harness.frames[0].payload != THIRD.0 {
        let found = Path::new(env!("CARGO_TARGET_TMPDIR")).join("payload.bin");
        std::fs::write(&found, &harness.frames[0].payload).expect("a writable target directory");
        panic!("the payload format changed (now {}, in {}): raise the version", harness.digest(), found.display());
    }
}
