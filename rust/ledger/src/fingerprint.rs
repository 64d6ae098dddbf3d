//! Two commands are the same if their canonical forms are equal, whatever their bytes. Fields that say when and by whom a
//! command was sent, and not what it means, are left out: the source, `issue_time`, `event_time`, `actor`, `causation`, and
//! whether a refusal is to be remembered. `reason_code` and `reference` count for commands on stock, where they are part of the
//! fact.

mod legacy;

pub(crate) use legacy::legacy_fingerprint;

use crate::command::{Body, Command, Line, SourcePosition, Target, TargetBy};
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
pub(crate) const PARTS_MAX: usize = 7;

/// The fields of a kind of command, and how many bits of the hash of each a fingerprint keeps: 30 together.
pub(crate) type Fields = [(&'static str, u32)];

/// What is made of the parts of a command. It is a trait and not a closure so that it is compiled into each kind of command,
/// where the fields are known: every command passes here.
trait WithParts {
    type Result;

    fn take(self, fields: &'static Fields, parts: [u64; PARTS_MAX]) -> Self::Result;
}

/// Combines the parts into a fingerprint, for a kind of command and the hash of what comes before its parts.
struct Combine(u64, StableHash);

impl WithParts for Combine {
    type Result = u64;

    #[inline(always)]
    fn take(self, fields: &'static Fields, parts: [u64; PARTS_MAX]) -> u64 {
        let whole = parts.iter().fold(self.1, |hash, part| hash.word(*part)).short() >> (64 - WHOLE_BITS);
        let few_bits =
            fields.iter().zip(&parts).fold(self.0, |few, ((_, bits), part)| (few << bits) | (part & mask(*bits)));
        (few_bits << WHOLE_BITS) | whole
    }
}

/// Returns the fields.
struct Names;

impl WithParts for Names {
    type Result = &'static Fields;

    fn take(self, fields: &'static Fields, _: [u64; PARTS_MAX]) -> &'static Fields {
        fields
    }
}

/// The fingerprint of a command.
pub(crate) fn fingerprint(command: &Command<'_>) -> Fingerprint {
    let kind = kind(&command.body);
    let start = StableHash::new(12).word(kind).word(text(command.context.channel));
    let start = match &command.context.origin {
        None => start,
        Some(origin) => with_origin(start, origin),
    };
    Fingerprint { hash: with_parts(command, Combine(kind, start)), has_parts: true }
}

/// What a command passes on decides whether it has an effect.
#[cold]
fn with_origin(start: StableHash, origin: &SourcePosition<'_>) -> StableHash {
    start.bytes(origin.id.as_bytes()).word(origin.epoch).word(origin.sequence)
}

/// The field in which a command differs from the one with this fingerprint, which has parts. `body` if the few bits that are
/// kept of each field agree.
#[cold]
pub(crate) fn differing_field(command: &Command<'_>, other: u64) -> &'static str {
    let differs = fingerprint(command).hash ^ other;
    if differs >> (64 - KIND_BITS) != 0 {
        return "command";
    }
    let mut shift = 64 - KIND_BITS;
    for (field, bits) in with_parts(command, Names) {
        shift -= bits;
        if (differs >> shift) & mask(*bits) != 0 {
            return field;
        }
    }
    "body"
}

fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
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
        Body::Upsert { kind, .. } if kind.is_catalogue() => 13 + *kind as u64,
        Body::SkipGap { .. } => 23,
        Body::DiscardLetters { .. } => 24,
        Body::Invalid(_) => 25,
        Body::RegisterSource { .. } => 16,
        Body::Upsert { .. } => 17,
        Body::Delete { .. } => 18,
        Body::MoveQuantity { .. } => 19,
        Body::StockTransfer(command) => command.fingerprint_kind(),
    }
}

/// Hashes each part of a command and passes the hashes on.
#[inline(always)]
fn with_parts<W: WithParts>(command: &Command<'_>, with: W) -> W::Result {
    let context = &command.context;
    let (order, holder) = (text(context.order_ref), text(context.holder));
    match &command.body {
        Body::Reserve { lines, ttl_ms, allow_partial, replace_own } => with.take(
            &[
                ("lines", 6),
                ("lines.quantity", 6),
                ("ttl", 6),
                ("allow_partial", 1),
                ("replace_own", 1),
                (ORDER, 5),
                (HOLDER, 5),
            ],
            [
                names(lines),
                quantities(lines),
                ttl(*ttl_ms),
                u64::from(*allow_partial),
                u64::from(*replace_own),
                order,
                holder,
            ],
        ),
        Body::Extend { target, ttl_ms } => with.take(
            &[("target", 6), (VERSION, 6), ("ttl", 6), (ORDER, 6), (HOLDER, 6)],
            [by(target), version(target), ttl(*ttl_ms), order, holder, 0, 0],
        ),
        Body::Amend { target, lines } => with.take(
            &[("target", 5), (VERSION, 5), ("lines", 5), ("lines.quantity", 5), (ORDER, 5), (HOLDER, 5)],
            [by(target), version(target), names(lines), quantities(lines), order, holder, 0],
        ),
        Body::Allocate(target) | Body::Release(target) | Body::Fulfill(target) => with.take(
            &[("target", 6), ("target.lines", 6), (VERSION, 6), (ORDER, 6), (HOLDER, 6)],
            [by(target), some_lines(target), version(target), order, holder, 0, 0],
        ),
        Body::Transfer { target, to_location } => with.take(
            &[("target", 5), ("target.lines", 5), (VERSION, 5), ("to_location", 5), (ORDER, 5), (HOLDER, 5)],
            [by(target), some_lines(target), version(target), text(to_location), order, holder, 0],
        ),
        Body::Stock { kind, lines } => {
            let hash = StableHash::new(12).word(lines.len() as u64);
            let names_and_states = lines.iter().fold(hash, |hash, line| {
                hash.bytes(line.sku.as_bytes()).bytes(line.location.as_bytes()).word(line.state as u64)
            });
            let quantities = lines.iter().fold(hash, |hash, line| hash.signed(line.quantity));
            let expected = lines.iter().fold(hash, |hash, line| hash.signed(line.expected.unwrap_or(-1)));
            let (reason_code, reference) = (text(context.reason_code), text(context.reference));
            let fields = if *kind == StockKind::Adjusted { &STOCK_BY_DELTA } else { &STOCK_BY_QUANTITY };
            with.take(
                fields,
                [names_and_states.short(), quantities.short(), expected.short(), reason_code, reference, order, holder],
            )
        }
        Body::MoveQuantity { lines } => {
            let hash = StableHash::new(12).word(lines.len() as u64);
            let names_and_states = lines.iter().fold(hash, |hash, line| {
                let hash = hash.bytes(line.sku.as_bytes()).bytes(line.location.as_bytes());
                hash.word(line.from as u64).word(line.to as u64)
            });
            let quantities = lines.iter().fold(hash, |hash, line| hash.signed(line.quantity));
            let (reason_code, reference) = (text(context.reason_code), text(context.reference));
            with.take(
                &MOVED_STOCK,
                [names_and_states.short(), quantities.short(), reason_code, reference, order, holder, 0],
            )
        }
        Body::StockTransfer(command) => {
            let (fields, parts) = command.fingerprint_parts(context);
            with.take(fields, parts)
        }
        Body::Upsert { kind, entries } if kind.is_catalogue() => {
            let hash = entries
                .iter()
                .fold(StableHash::new(12), |hash, entry| entry.value.add_to(hash.bytes(entry.name.as_bytes())));
            with.take(kind.fingerprint_fields(), [hash.short(), order, holder, 0, 0, 0, 0])
        }
        Body::Upsert { kind, entries } => {
            let hash = entries.iter().fold(StableHash::new(12), |hash, entry| {
                let hash = entry.value.add_to(hash.bytes(entry.name.as_bytes()));
                hash.word(expected(entry.expected_version))
            });
            let parts = [*kind as u64, hash.short(), order, holder, 0, 0, 0];
            with.take(kind.fingerprint_fields_with_kind(), parts)
        }
        Body::Delete { kind, entries } => {
            let hash = entries.iter().fold(StableHash::new(12), |hash, entry| {
                hash.bytes(entry.name.as_bytes()).word(expected(entry.expected_version))
            });
            let parts = [*kind as u64, hash.short(), order, holder, 0, 0, 0];
            with.take(kind.fingerprint_fields_with_kind(), parts)
        }
        Body::SkipGap { source, epoch, through } => with.take(
            &[("source_id", 7), ("epoch", 7), ("through", 7), (ORDER, 5), (HOLDER, 4)],
            [text(source), number(*epoch), number(*through), order, holder, 0, 0],
        ),
        Body::DiscardLetters { source, letters } => {
            let hash = letters.iter().fold(StableHash::new(12), |hash, letter| hash.word(*letter));
            with.take(
                &[("source_id", 8), ("dead_letters", 8), (ORDER, 7), (HOLDER, 7)],
                [text(source), hash.short(), order, holder, 0, 0, 0],
            )
        }
        Body::Invalid(_) => {
            let hash = StableHash::new(12).bytes(context.message.unwrap_or_default());
            with.take(&[("message", 30)], [hash.short(), 0, 0, 0, 0, 0, 0])
        }
        Body::RegisterSource { source } => {
            with.take(&[("source_id", 10), (ORDER, 10), (HOLDER, 10)], [text(source), order, holder, 0, 0, 0, 0])
        }
    }
}

/// As a number that is 0 only if absent.
pub(crate) fn expected(version: Option<u64>) -> u64 {
    version.map_or(0, |version| version.saturating_add(1))
}

/// Two or more fields of the context together.
pub(crate) const CONTEXT: &str = "context";
const ORDER: &str = "context.order_ref";
const HOLDER: &str = "context.holder";
const VERSION: &str = "target.expected_version";
const STOCK_BY_QUANTITY: [(&str, u32); PARTS_MAX] = stock("lines.quantity");
const STOCK_BY_DELTA: [(&str, u32); PARTS_MAX] = stock("lines.delta");

const MOVED_STOCK: [(&str, u32); 6] = [
    ("lines", 6),
    ("lines.quantity", 6),
    ("context.reason_code", 5),
    ("context.reference", 5),
    (ORDER, 4),
    (HOLDER, 4),
];

const fn stock(quantity: &'static str) -> [(&'static str, u32); PARTS_MAX] {
    [
        ("lines", 5),
        (quantity, 5),
        ("lines.expected_quantity", 4),
        ("context.reason_code", 4),
        ("context.reference", 4),
        (ORDER, 4),
        (HOLDER, 4),
    ]
}

fn number(number: u64) -> u64 {
    StableHash::new(12).word(number).short()
}

fn ttl(ttl_ms: i64) -> u64 {
    StableHash::new(12).signed(ttl_ms).short()
}

/// 0 for an absent text, because most commands have few of them.
pub(crate) fn text(text: &str) -> u64 {
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
