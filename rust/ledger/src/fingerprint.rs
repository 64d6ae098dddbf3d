//! Two commands are the same if their canonical forms are equal, whatever their bytes. Fields that say when and by whom a
//! command was sent, and not what it means, are left out: the source, `issue_time`, `event_time`, `actor`, `causation`, and
//! whether a refusal is to be remembered. `reason_code` and `reference` count for commands on stock, where they are part of the
//! fact.

mod legacy;

pub(crate) use legacy::legacy_fingerprint;

use crate::command::{Body, Catalogue, Command, Line, Target, TargetBy};
use crate::event::StockKind;
use crate::planted;
use crate::stable_hash::StableHash;

/// The hash of a command's meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// With parts: kind of the command (6 bits), a few bits of each part (30), a hash of everything (28).
    pub hash: u64,
    /// Whether the hash has distinguishable parts. Records of older journals have one hash of everything instead.
    pub has_parts: bool,
}

const KIND_BITS: u32 = 6;
const PARTS_BITS: u32 = 30;
const WHOLE_BITS: u32 = 64 - KIND_BITS - PARTS_BITS;

/// Most parts of a command.
const PARTS_MAX: usize = 7;

/// One part of a command's meaning: its field, its hash, and how many bits of the hash the fingerprint keeps.
#[derive(Clone, Copy, Default)]
struct Part {
    field: &'static str,
    hash: u64,
    bits: u32,
}

/// The fingerprint of a command.
pub(crate) fn fingerprint(command: &Command<'_>) -> Fingerprint {
    let kind = kind(&command.body);
    let parts = parts(command);
    let start = StableHash::new(12).word(kind).word(text(command.context.channel));
    let whole = parts.iter().fold(start, |hash, part| hash.word(part.hash)).short() >> (64 - WHOLE_BITS);
    let mut hash = kind;
    for part in &parts {
        hash = (hash << part.bits) | kept_bits(part);
    }
    Fingerprint { hash: (hash << WHOLE_BITS) | whole, has_parts: true }
}

/// The field in which a command differs from the one with this fingerprint, which has parts. `body` if the few bits that are
/// kept of each field agree.
pub(crate) fn differing_field(command: &Command<'_>, other: u64) -> &'static str {
    let own = fingerprint(command).hash;
    if (own ^ other) >> (64 - KIND_BITS) != 0 {
        return "command";
    }
    let mut shift = 64 - KIND_BITS;
    for part in &parts(command) {
        shift -= part.bits;
        if ((own ^ other) >> shift) & ((1 << part.bits) - 1) != 0 {
            return part.field;
        }
    }
    "body"
}

/// The bits of a part that a fingerprint keeps.
fn kept_bits(part: &Part) -> u64 {
    part.hash & ((1 << part.bits) - 1)
}

/// The number of each kind of command, below 64; it never changes.
fn kind(body: &Body<'_>) -> u64 {
    match body {
        Body::Reserve { .. } => 1,
        Body::Extend { .. } => 2,
        Body::Amend { .. } => 3,
        Body::Allocate(_) => 4,
        Body::Release(_) => 5,
        Body::Fulfill(_) => 6,
        Body::Transfer { .. } => 7,
        Body::Stock { kind, .. } => 7 + *kind as u64,
        Body::Upsert { catalogue, .. } => 13 + *catalogue as u64,
        Body::RegisterSource { .. } => 16,
    }
}

/// The parts of a command. Together they have 30 bits for each kind of command.
fn parts(command: &Command<'_>) -> [Part; PARTS_MAX] {
    let context = &command.context;
    let order = |bits| Part { field: "context.order_ref", hash: text(context.order_ref), bits };
    let holder = |bits| Part { field: "context.holder", hash: text(context.holder), bits };
    let part = |field, hash, bits| Part { field, hash, bits };
    let none = Part::default();
    match &command.body {
        Body::Reserve { lines, ttl_ms, allow_partial, replace_own } => [
            part("lines", names(lines), 6),
            part("lines.quantity", quantities(lines), 6),
            part("ttl", StableHash::new(12).signed(*ttl_ms).short(), 6),
            part("allow_partial", u64::from(*allow_partial), 1),
            part("replace_own", u64::from(*replace_own), 1),
            order(5),
            holder(5),
        ],
        Body::Extend { target, ttl_ms } => [
            part("target", by(target), 6),
            part("target.expected_version", version(target), 6),
            part("ttl", StableHash::new(12).signed(*ttl_ms).short(), 6),
            order(6),
            holder(6),
            none,
            none,
        ],
        Body::Amend { target, lines } => [
            part("target", by(target), 5),
            part("target.expected_version", version(target), 5),
            part("lines", names(lines), 5),
            part("lines.quantity", quantities(lines), 5),
            order(5),
            holder(5),
            none,
        ],
        Body::Allocate(target) | Body::Release(target) | Body::Fulfill(target) => [
            part("target", by(target), 6),
            part("target.lines", some_lines(target), 6),
            part("target.expected_version", version(target), 6),
            order(6),
            holder(6),
            none,
            none,
        ],
        Body::Transfer { target, to_location } => [
            part("target", by(target), 5),
            part("target.lines", some_lines(target), 5),
            part("target.expected_version", version(target), 5),
            part("to_location", text(to_location), 5),
            order(5),
            holder(5),
            none,
        ],
        Body::Stock { kind, lines } => {
            let hash = StableHash::new(12).word(lines.len() as u64);
            let names_and_states = lines.iter().fold(hash, |hash, line| {
                hash.bytes(line.sku.as_bytes()).bytes(line.location.as_bytes()).word(line.state as u64)
            });
            let quantities = lines.iter().fold(hash, |hash, line| hash.signed(line.quantity));
            let expected = lines.iter().fold(hash, |hash, line| hash.signed(line.expected.unwrap_or(-1)));
            let quantity = if *kind == StockKind::Adjusted { "lines.delta" } else { "lines.quantity" };
            [
                part("lines", names_and_states.short(), 5),
                part(quantity, quantities.short(), 5),
                part("lines.expected_quantity", expected.short(), 4),
                part("context.reason_code", text(context.reason_code), 4),
                part("context.reference", text(context.reference), 4),
                order(4),
                holder(4),
            ]
        }
        Body::Upsert { catalogue, entries } => {
            let field = match catalogue {
                Catalogue::Items => "items",
                Catalogue::Locations => "locations",
                Catalogue::Channels => "channels",
            };
            let hash = entries.iter().fold(StableHash::new(12), |hash, entry| {
                hash.bytes(entry.name.as_bytes()).bytes(entry.display_name.as_bytes()).bytes(entry.gs1.as_bytes())
            });
            [part(field, hash.short(), 10), order(10), holder(10), none, none, none, none]
        }
        Body::RegisterSource { source } => {
            [part("source_id", text(source), 10), order(10), holder(10), none, none, none, none]
        }
    }
}

/// 0 for an absent text, because most commands have few of them.
fn text(text: &str) -> u64 {
    if text.is_empty() { 0 } else { StableHash::new(12).bytes(text.as_bytes()).short() }
}

fn names(lines: &[Line<'_>]) -> u64 {
    let hash = StableHash::new(12).word(lines.len() as u64);
    lines.iter().fold(hash, |hash, line| hash.bytes(line.sku.as_bytes()).bytes(line.location.as_bytes())).short()
}

fn quantities(lines: &[Line<'_>]) -> u64 {
    if planted::is("fingerprint_ignores_quantity") {
        return 0;
    }
    lines.iter().fold(StableHash::new(12), |hash, line| hash.signed(line.quantity)).short()
}

/// The lines that a target selects; 0 if none, which is most common.
fn some_lines(target: &Target<'_>) -> u64 {
    if target.lines.is_empty() {
        0
    } else {
        StableHash::new(12).word(names(&target.lines)).word(quantities(&target.lines)).short()
    }
}

fn version(target: &Target<'_>) -> u64 {
    if target.expected_version == 0 { 0 } else { StableHash::new(12).word(target.expected_version).short() }
}

fn by(target: &Target<'_>) -> u64 {
    let hash = StableHash::new(12);
    match target.by {
        TargetBy::Id(id) => {
            hash.word(1).word((u64::from(id.slot) << 32) | u64::from(id.generation)).word(u64::from(id.epoch))
        }
        TargetBy::UnknownToken(token) => hash.word(2).bytes(token.as_bytes()),
        TargetBy::Key(key) => hash.word(3).bytes(key.as_bytes()),
        TargetBy::Order(order) => hash.word(4).bytes(order.as_bytes()),
    }
    .short()
}
