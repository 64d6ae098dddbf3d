//! Images with a valid check value and digest but invalid contents, as a forger could make them.

use super::load::ImageLoader;
use super::{BLOCK_HEADER_BYTES, BlockKind, IMAGE_VERSION, check};
use crate::authority::{AuthorityRuleDraft, Holder, PlaceDraft, Right, SourceKind};
use crate::codec::Malformed;
use crate::command::{Body, Line, SourcePosition, StockLine, Target, TargetBy, Upsert};
use crate::entity::{EntityDraft, EntityKind, SourceProfileDraft};
use crate::event::StockKind;
use crate::inbox::Settling;
use crate::states::StockState;
use crate::{Audit, Command, Context, Ledger, LedgerOptions, Payload};

const START_MS: i64 = 1_700_000_000_000;
const ROOMY: usize = 1 << 20;

fn options() -> LedgerOptions {
    LedgerOptions { dedupe_window_ms: 1_000, ..LedgerOptions::new("main") }
}

/// A ledger with some of everything.
fn ledger() -> Ledger {
    let mut ledger = Ledger::new(options());
    ledger.set_epoch(1);
    let upsert = |name| vec![Upsert::labels(name, "", "")];
    let line = StockLine { sku: "mug", location: "wh", quantity: 9, state: StockState::OnHand, expected: None };
    let lines = || vec![Line { sku: "mug", location: "wh", quantity: 1 }];
    let hold = || Body::Reserve { lines: lines(), ttl_ms: 1_000, allow_partial: false, replace_own: false };
    let by_key = |key| Target { by: TargetBy::Key(key), lines: Vec::new(), expected_version: 0 };
    let bodies = [
        ("items", Body::Upsert { kind: EntityKind::Items, entries: upsert("mug") }),
        ("locations", Body::Upsert { kind: EntityKind::Locations, entries: upsert("wh") }),
        ("stock", Body::Stock { kind: StockKind::Received, lines: vec![line] }),
        ("source", Body::RegisterSource { source: "erp" }),
        ("a", hold()),
        ("b", hold()),
        ("bind", Body::Allocate(by_key("a"))),
        ("end", Body::Release(by_key("b"))),
        ("never", Body::Release(by_key("c"))),
        ("d", hold()),
    ];
    let mut payload = Payload::default();
    for (number, (key, body)) in (0..).zip(bodies) {
        let issue_time_ms = Some(START_MS + 5_000);
        let context = Context { key, issue_time_ms, order_ref: "order", holder: "ann", ..Context::default() };
        ledger.execute(&Command { context, body }, START_MS + number, &mut payload, ROOMY);
    }
    for sequence in 1..=2 {
        let source = Some(SourcePosition { id: "erp", epoch: 1, sequence });
        let context = Context { source, ..Context::default() };
        ledger.execute(&Command { context, body: hold() }, START_MS + 20, &mut payload, ROOMY);
    }
    govern(&mut ledger, &mut payload);
    for turn in 1..=2 {
        assert!(ledger.forget_keys(START_MS + 1_100 * turn, &mut payload, ROOMY));
        let context = Context { key: "later", ..Context::default() };
        ledger.execute(&Command { context, body: hold() }, START_MS + 1_100 * turn, &mut payload, ROOMY);
    }
    ledger
}

/// The warehouse owns what is there: the ERP's numbers are claims, and so is a late count. A message comes twice.
fn govern(ledger: &mut Ledger, payload: &mut Payload) {
    let rights = vec![Right::Set, Right::Report, Right::Promise];
    let rule =
        |holder, rights| AuthorityRuleDraft { holder, rights, states: Vec::new(), place: PlaceDraft::Location("wh") };
    let entry = |name, value| vec![Upsert { name, expected_version: None, value }];
    let profile = EntityDraft::SourceProfile(SourceProfileDraft {
        kind: SourceKind::Erp,
        channels: Vec::new(),
        locations: vec!["wh"],
    });
    let owner = EntityDraft::AuthorityRule(rule(Holder::Operator, rights));
    let other = EntityDraft::AuthorityRule(rule(Holder::Source("erp".into()), vec![Right::Promise]));
    let line = |state, quantity| StockLine { sku: "mug", location: "wh", quantity, state, expected: None };
    let lines = |quantity| vec![line(StockState::OnHand, quantity), line(StockState::Damaged, 1)];
    let stock = |kind, quantity| Body::Stock { kind, lines: lines(quantity) };
    let position = |sequence| Some(SourcePosition { id: "erp", epoch: 1, sequence });
    let bodies = [
        ("owner", Body::Upsert { kind: EntityKind::AuthorityRules, entries: entry("owner", owner) }),
        ("other", Body::Upsert { kind: EntityKind::AuthorityRules, entries: entry("other", other) }),
        ("profile", Body::Upsert { kind: EntityKind::SourceProfiles, entries: entry("erp", profile) }),
        ("more", stock(StockKind::Received, 3)),
        ("late", stock(StockKind::Counted, 2)),
    ];
    for (key, body) in bodies {
        let event_time_ms = (key == "late").then_some(START_MS + 1);
        let context = Context { key, event_time_ms, ..Context::default() };
        ledger.execute(&Command { context, body }, START_MS + 30, payload, ROOMY);
    }
    let books = Context { source: position(3), ..Context::default() };
    ledger.execute(&Command { context: books, body: stock(StockKind::Set, 8) }, START_MS + 40, payload, ROOMY);
    let echo = Context { key: "echo", origin: position(3), ..Context::default() };
    ledger.execute(&Command { context: echo, body: stock(StockKind::Set, 8) }, START_MS + 41, payload, ROOMY);
    assert_eq!((ledger.claim_count(None), ledger.claim_count(Some(0))), (2, 2));
    keep_messages(ledger, payload);
}

/// One message is parked, one waits, one is a dead letter.
fn keep_messages(ledger: &mut Ledger, payload: &mut Payload) {
    use crate::stock_transfer::{Arrival, TransferCommand};
    let line = StockLine { sku: "mug", location: "wh", quantity: 1, state: StockState::OnHand, expected: None };
    let stock = |sku| Body::Stock { kind: StockKind::Received, lines: vec![StockLine { sku, ..line }] };
    let arrival = TransferCommand::Receive { transfer: "T1", expected_version: None, arrival: Arrival::Whole };
    let bodies = [("dead", 4, stock("jug")), ("waits", 5, Body::StockTransfer(arrival)), ("parked", 8, stock("mug"))];
    for (key, sequence, body) in bodies {
        let source = Some(SourcePosition { id: "erp", epoch: 1, sequence });
        let context = Context { key, source, message: Some(key.as_bytes()), ..Context::default() };
        ledger.execute(&Command { context, body }, START_MS + 50, payload, ROOMY);
    }
    let kept = ledger.inbox(0).map(|inbox| (inbox.parked_count(), inbox.waiting_count(), inbox.letter_count()));
    assert_eq!(kept, Some((1, 1, 1)));
}

fn blocks(mut ledger: Ledger) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    assert!(ledger.image().next(&mut bytes));
    let mut rest = &bytes[..];
    let mut blocks = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_le_bytes([rest[5], rest[6], rest[7], rest[8]]) as usize;
        let (block, after) = rest.split_at(BLOCK_HEADER_BYTES + length);
        blocks.push(block.to_vec());
        rest = after;
    }
    blocks
}

/// Loads blocks after correcting their lengths, check value and digest.
fn load(mut blocks: Vec<Vec<u8>>) -> Result<Ledger, Malformed> {
    blocks.pop();
    let mut loader = ImageLoader::new(options());
    let mut checked = 0;
    for mut block in blocks {
        let length = (block.len() - BLOCK_HEADER_BYTES) as u32;
        block[5..9].copy_from_slice(&length.to_le_bytes());
        checked = check(checked, &block);
        loader.piece(&block)?;
    }
    let digest = loader.digest_so_far().value();
    let mut end = vec![BlockKind::End as u8, 1, 0, 0, 0, 24, 0, 0, 0];
    end.extend_from_slice(&digest.to_le_bytes());
    end.extend_from_slice(&checked.to_le_bytes());
    loader.piece(&end)?;
    loader.finish()
}

/// Reads all of a ledger, and executes more commands.
fn live(mut ledger: Ledger) {
    let mut payload = Payload::default();
    let _ = Audit::check(&ledger);
    for level in 0..ledger.level_count() as u32 {
        let _ = (ledger.level_names(level), ledger.figures(level, i64::MAX));
    }
    let lines = vec![Line { sku: "mug", location: "wh", quantity: 1 }];
    let hold = Body::Reserve { lines, ttl_ms: 1_000, allow_partial: false, replace_own: false };
    let source = |sequence| Some(SourcePosition { id: "erp", epoch: 1, sequence });
    let line = StockLine { sku: "mug", location: "wh", quantity: 5, state: StockState::OnHand, expected: None };
    let count = Body::Stock { kind: StockKind::Counted, lines: vec![line] };
    for turn in 1..=3 {
        let now_ms = ledger.time_ms().max(START_MS).saturating_add(2_000 * turn);
        for context in [
            Context { key: "a", ..Context::default() },
            Context { key: "new", issue_time_ms: Some(now_ms), ..Context::default() },
            Context { source: source(4), ..Context::default() },
            Context { source: source(2), ..Context::default() },
        ] {
            ledger.execute(&Command { context, body: hold.clone() }, now_ms, &mut payload, ROOMY);
        }
        let count = || count.clone();
        for (context, body) in [
            (Context { key: "count", event_time_ms: Some(now_ms - 1), ..Context::default() }, count()),
            (Context { source: source(4), ..Context::default() }, count()),
            (Context { key: "echo", origin: source(3), ..Context::default() }, count()),
        ] {
            ledger.execute(&Command { context, body }, now_ms, &mut payload, ROOMY);
        }
        live_messages(&mut ledger, now_ms, &mut payload);
        ledger.sweep(now_ms, &mut payload, ROOMY);
        ledger.forget_keys(now_ms, &mut payload, ROOMY);
        ledger.digest();
    }
    let mut bytes = Vec::new();
    assert!(ledger.image().next(&mut bytes));
}

/// Sends messages, and executes what is kept.
fn live_messages(ledger: &mut Ledger, now_ms: i64, payload: &mut Payload) {
    let line = StockLine { sku: "mug", location: "wh", quantity: 1, state: StockState::OnHand, expected: None };
    let body = || Body::Stock { kind: StockKind::Received, lines: vec![line] };
    let source = |sequence| Some(SourcePosition { id: "erp", epoch: 1, sequence });
    let message = |key, sequence| {
        let context = Context { key, source: source(sequence), message: Some(b"it"), ..Context::default() };
        Command { context, body: body() }
    };
    for (key, sequence) in [("waits", 5), ("parked", 8), ("m9", 9), ("m6", 6), ("dead", 7)] {
        ledger.execute(&message(key, sequence), now_ms, payload, ROOMY);
        while let Some(ready) = ledger.next_ready() {
            match ready.waiting() {
                Some(place) => {
                    ledger.execute_waiting(&message("waits", 5), place, true, (now_ms, payload, ROOMY));
                }
                None => drop(ledger.execute(&message("parked", 8), now_ms, payload, ROOMY)),
            }
        }
    }
    for letter in 0..60 {
        ledger.redrive(&message("dead", 4), (0, letter), Settling::default(), (now_ms, payload, ROOMY));
    }
    let context = |key| Context { key, ..Context::default() };
    let skip = Body::SkipGap { source: "erp", epoch: 1, through: 8 };
    ledger.execute(&Command { context: context("skip"), body: skip }, now_ms, payload, ROOMY);
    let again = Body::RegisterSource { source: "erp" };
    ledger.execute(&Command { context: context("again"), body: again }, now_ms, payload, ROOMY);
}

const BYTES: [u8; 8] = [0, 1, 2, 7, 0x7f, 0x80, 0xfe, 0xff];
const HUGE: [&[u8]; 3] =
    [&[0xff, 0xff, 0xff, 0xff, 0x0f], &[0xff; 9], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]];

// case: E11, H17
#[test]
fn a_forged_image_is_refused_or_can_be_used_without_a_panic() {
    let whole = blocks(ledger());
    let (mut tried, mut loaded) = (0, 0);
    let mut look = |blocks: Vec<Vec<u8>>| {
        tried += 1;
        if let Ok(ledger) = load(blocks) {
            loaded += 1;
            live(ledger);
        }
    };
    look(whole.clone());
    for (number, block) in whole.iter().enumerate() {
        for at in (1..5).chain(BLOCK_HEADER_BYTES..block.len()) {
            for byte in BYTES {
                let mut forged = whole.clone();
                forged[number][at] = byte;
                look(forged);
            }
            for number_bytes in HUGE.iter().filter(|_| at >= BLOCK_HEADER_BYTES) {
                let mut forged = whole.clone();
                forged[number].splice(at..=at, number_bytes.iter().copied());
                look(forged);
            }
        }
        let mut without = whole.clone();
        without.remove(number);
        look(without);
        let mut twice = whole.clone();
        twice.insert(number, block.clone());
        look(twice);
    }
    assert!(loaded > 500 && loaded < tried, "{loaded} of {tried}");
}

// case: E11
#[test]
fn a_name_a_level_a_claim_or_a_message_that_comes_twice_is_refused() {
    let whole = blocks(ledger());
    for (kind, why) in [
        (BlockKind::Items, "a name comes twice"),
        (BlockKind::Locations, "a name comes twice"),
        (BlockKind::Levels, "a level comes twice"),
        (BlockKind::Claims, "a claim comes twice, or is about, from or at what does not exist"),
        (BlockKind::Changes, "the last change of a level comes twice"),
        (BlockKind::Kept, "a kept message comes twice, or where there can be none"),
    ] {
        let mut twice = whole.clone();
        let at = whole.iter().position(|block| block[0] == kind as u8).expect("a block of each kind");
        twice.insert(at, whole[at].clone());
        assert_eq!(load(twice).map(|_| ()), Err(Malformed(why)));
    }
}

// case: E11
#[test]
fn a_claim_a_change_or_a_message_where_there_can_be_none_is_refused() {
    let whole = blocks(ledger());
    let at = |kind: BlockKind| whole.iter().position(|block| block[0] == kind as u8).expect("a block of each kind");
    // (block, byte of its first entry, value, whether it is refused). A claim: writer, level, state, units, reason, position …
    let rows = [
        (BlockKind::Claims, 0, 3, true),
        (BlockKind::Claims, 1, 9, true),
        (BlockKind::Claims, 2, 9, true),
        (BlockKind::Claims, 3, 9, false),
        (BlockKind::Claims, 4, 3, true),
        (BlockKind::Claims, 5, 0x7f, true),
        (BlockKind::Changes, 0, 9, true),
        // A parked message: what it is, source, epoch, number …
        (BlockKind::Kept, 0, 9, true),
        (BlockKind::Kept, 1, 9, true),
        (BlockKind::Kept, 2, 2, true),
        (BlockKind::Kept, 3, 5, true),
        (BlockKind::Kept, 3, 6, false),
        (BlockKind::Kept, 3, 9, false),
    ];
    for (kind, byte, value, is_refused) in rows {
        let mut forged = whole.clone();
        let (block, place) = (at(kind), BLOCK_HEADER_BYTES + byte);
        assert!(forged[block][place] < 0x80, "numbers of single bytes");
        forged[block][place] = value;
        assert_eq!(load(forged).is_err(), is_refused, "{kind:?} {byte}");
    }
    for kind in [BlockKind::Claims, BlockKind::Changes, BlockKind::Kept] {
        let mut without = whole.clone();
        without.remove(at(kind));
        let digests = [&without, &whole].map(|blocks| load(blocks.clone()).map(|mut ledger| ledger.digest()).ok());
        assert_ne!(digests[0], digests[1], "the digest contains {kind:?}");
    }
}

// case: E11
#[test]
fn a_newer_version_is_refused_by_its_name() {
    let mut newer = blocks(ledger());
    newer[0][BLOCK_HEADER_BYTES] = IMAGE_VERSION as u8 + 1;
    let refused = ImageLoader::new(options()).piece(&newer[0]).map_err(|refused| refused.0);
    assert_eq!(refused, Err("the image is of a version that this build does not know"));
}
