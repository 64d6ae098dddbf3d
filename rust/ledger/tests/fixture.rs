//! The first payload format: what was once written folds to the same state for ever, on every machine and build.
//!
//! The fixture holds every kind of event and every field of a record. It is never made again: a change of the format is a new
//! version with a fixture of its own. `cargo test -p invengine-ledger --test fixture -- --ignored` shows how it was made.

mod desk;

use std::collections::BTreeSet;
use std::path::Path;

use invengine_ledger::command::{Body, SourcePosition};
use invengine_ledger::event::StockKind::{Adjusted, Counted, Received, Returned, Set};
use invengine_ledger::event::StockState::{Damaged, OnHand, QualityControl};
use invengine_ledger::{Audit, Command, Ledger, LedgerOptions, RecordReader};

use desk::asks::{
    allocate, amend, by_key, by_order, extend, fulfill, part, register, release, reserve, stock, stock_lines, transfer,
    whole,
};
use desk::{Desk, START_MS};

const PAYLOAD: &[u8] = include_bytes!("fixtures/payload-v1.bin");
const DIGEST: &str = "c792809c4a9ca49d826298680af17d1f";
const WINDOW_MS: i64 = 200_000;

/// Kinds of events that have a byte of their own.
const KINDS: usize = 16;

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

/// The history of the fixture, in one frame.
fn history() -> Desk {
    let mut desk = Desk::with_window(WINDOW_MS).opened();
    let ask = |desk: &mut Desk, command: &Command<'_>| drop(desk.ask(command));
    let lines = [("mug", "wh-1", 20, OnHand), ("mug", "wh-1", 2, Damaged), ("cup", "wh-1", 9, OnHand)];
    ask(&mut desk, &stock_lines("stock", Received, &lines));
    ask(&mut desk, &stock_lines("return", Returned, &[("mug", "wh-2", 5, QualityControl), ("mug", "wh-2", 7, OnHand)]));
    ask(&mut desk, &stock("adjust", Adjusted, "mug", "wh-1", -3));
    ask(&mut desk, &stock("set", Set, "cup", "wh-1", 8));
    ask(&mut desk, &stock("count", Counted, "mug", "wh-2", 11));
    ask(&mut desk, &register("register", "erp"));
    ask(&mut desk, &with_all_fields());
    let id = desk.ask(&reserve("hold", &[("mug", "wh-1", 5)])).hold().id;
    desk.wait(250);
    ask(&mut desk, &extend("extend", whole(id)));
    ask(&mut desk, &amend("amend", whole(id), &[("cup", "wh-1", 2), ("mug", "wh-1", 4)]));
    let mut bind = allocate("allocate", part(id, &[("mug", "wh-1", 2)]));
    bind.context.order_ref = "order-2";
    ask(&mut desk, &bind);
    ask(&mut desk, &transfer("transfer", part(id, &[("mug", "wh-1", 1)]), "wh-2"));
    ask(&mut desk, &fulfill("fulfill", part(id, &[("mug", "wh-1", 1)])));
    ask(&mut desk, &release("release", part(id, &[("cup", "wh-1", 1)])));
    ask(&mut desk, &release("cancel", by_key("never-seen")));
    ask(&mut desk, &numbered(stock("", Received, "pot", "wh-1", 1), 1));
    ask(&mut desk, &numbered(stock("", Received, "mug", "wh-3", 1), 2));
    ask(&mut desk, &numbered(stock("keyed", Received, "mug", "wh-3", 2), 3));
    ask(&mut desk, &numbered(stock("keyed", Received, "mug", "wh-3", 2), 4));
    let mut nowhere = numbered(stock("", Received, "mug", "wh-3", 1), 5);
    nowhere.context.channel = "nowhere";
    ask(&mut desk, &nowhere);
    desk.wait(61_000);
    assert_eq!(desk.sweep(), 2);
    ask(&mut desk, &allocate("late", by_order("order-1")));
    desk.wait(WINDOW_MS);
    assert!(desk.forget());
    ask(&mut desk, &fulfill("gone", by_order("order-1")));
    desk.wait(WINDOW_MS);
    assert!(desk.forget());
    ask(&mut desk, &stock("after", Received, "cup", "wh-2", 1));
    desk.cut();
    assert_eq!(desk.frames.len(), 1);
    desk
}

fn folded() -> Ledger {
    let mut ledger = Ledger::new(LedgerOptions::new("main"));
    ledger.fold(PAYLOAD, START_MS, 1).expect("the first format is read for ever");
    ledger
}

// case: E16
#[test]
fn the_first_format_folds_to_the_same_state_for_ever() {
    let mut ledger = folded();
    assert_eq!(ledger.digest().to_string(), DIGEST);
    assert_eq!(Audit::check(&ledger), Vec::new());
    assert_eq!((ledger.sequence(), ledger.level_count()), (37, 5));
}

#[test]
fn the_fixture_has_every_kind_of_event() {
    let mut reader = RecordReader::new(PAYLOAD, START_MS).expect("the first version");
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
    assert_eq!(kinds.len(), KINDS, "{kinds:?}");
}

#[test]
fn this_build_still_writes_it_so() {
    // A difference is no fault while old payloads still fold; it must be meant, and is then a new version with a fixture of
    // its own.
    let mut desk = history();
    if desk.frames[0].payload != PAYLOAD {
        let found = Path::new(env!("CARGO_TARGET_TMPDIR")).join("payload.bin");
        std::fs::write(&found, &desk.frames[0].payload).expect("a writable target directory");
        panic!("the payload format changed (now {}, in {}): raise the version", desk.digest(), found.display());
    }
}
