//! The fingerprint of older journals, from before fingerprints had parts: one hash of everything, including actor, event time,
//! reason and reference. Keys in such a journal still find their answer by it.

use crate::command::{Body, Command, Line, Target, TargetBy};
use crate::stable_hash::StableHash;

/// The hash of a command's meaning by the older formula.
pub(crate) fn legacy_fingerprint(command: &Command<'_>) -> u64 {
    let context = &command.context;
    let texts =
        [context.channel, context.order_ref, context.holder, context.actor, context.reason_code, context.reference];
    let given = texts.iter().rev().fold(0, |bits, text| (bits << 1) | u64::from(!text.is_empty()));
    let mut hash = StableHash::new(8).word(given).signed(event_time(context.event_time_ms));
    if given != 0 {
        hash = texts.iter().filter(|text| !text.is_empty()).fold(hash, |hash, text| hash.bytes(text.as_bytes()));
    }
    body(hash, &command.body).short()
}

/// As a number that is 0 only if absent: older journals have 1 ms in place of a time at 0 ms.
fn event_time(event_time_ms: Option<i64>) -> i64 {
    event_time_ms.map_or(0, |ms| if ms == 0 { 1 } else { ms })
}

fn body(hash: StableHash, body: &Body<'_>) -> StableHash {
    match body {
        Body::Reserve { lines, ttl_ms, allow_partial, replace_own } => {
            let flags = u64::from(*allow_partial) | (u64::from(*replace_own) << 1);
            all_lines(hash.word(1).signed(*ttl_ms).word(flags), lines)
        }
        Body::Extend { target, ttl_ms } => on_target(hash.word(2).signed(*ttl_ms), target),
        Body::Amend { target, lines } => all_lines(on_target(hash.word(3), target), lines),
        Body::Allocate(target) => on_target(hash.word(4), target),
        Body::Release(target) => on_target(hash.word(5), target),
        Body::Fulfill(target) => on_target(hash.word(6), target),
        Body::Transfer { target, to_location } => on_target(hash.word(7), target).bytes(to_location.as_bytes()),
        Body::Stock { kind, lines } => lines.iter().fold(hash.word(8 + ((*kind as u64) << 8)), |hash, line| {
            hash.bytes(line.sku.as_bytes())
                .bytes(line.location.as_bytes())
                .signed(line.quantity)
                .word(line.state as u64)
                .signed(line.expected.unwrap_or(-1))
        }),
        Body::Upsert { kind, entries } => entries.iter().fold(hash.word(9 + ((*kind as u64) << 8)), |hash, entry| {
            entry.value.add_to(hash.bytes(entry.name.as_bytes()))
        }),
        // No older journal has them.
        Body::Delete { kind, .. } => hash.word(11 + ((*kind as u64) << 8)),
        Body::MoveQuantity { .. } => hash.word(12),
        Body::StockTransfer(_) => hash.word(13),
        Body::SkipGap { .. } => hash.word(14),
        Body::DiscardLetters { .. } => hash.word(15),
        Body::Invalid(_) => hash.word(16),
        Body::RegisterSource { source } => hash.word(10).bytes(source.as_bytes()),
    }
}

fn all_lines(hash: StableHash, lines: &[Line<'_>]) -> StableHash {
    lines.iter().fold(hash.word(lines.len() as u64), |hash, line| {
        hash.bytes(line.sku.as_bytes()).bytes(line.location.as_bytes()).signed(line.quantity)
    })
}

fn on_target(hash: StableHash, target: &Target<'_>) -> StableHash {
    let hash = match target.by {
        TargetBy::Id(id) => {
            hash.word(1).word((u64::from(id.slot) << 32) | u64::from(id.generation)).word(u64::from(id.epoch))
        }
        TargetBy::UnknownToken(token) => hash.word(2).bytes(token.as_bytes()),
        TargetBy::Key(key) => hash.word(3).bytes(key.as_bytes()),
        TargetBy::Order(order) => hash.word(4).bytes(order.as_bytes()),
    };
    all_lines(hash.word(target.expected_version), &target.lines)
}
