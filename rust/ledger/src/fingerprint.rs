//! Two commands are the same if their canonical forms are, whatever their bytes. The source, `issue_time` and `causation` say
//! when and by whom it was sent, not what is meant, and are left out.

use crate::command::{Body, Command, Line, Target, TargetBy};
use crate::mix::Mix;
use crate::planted;

/// The hash of what a command means.
pub(crate) fn fingerprint(command: &Command<'_>) -> u64 {
    let context = &command.context;
    let texts =
        [context.channel, context.order_ref, context.holder, context.actor, context.reason_code, context.reference];
    let given = texts.iter().rev().fold(0, |bits, text| (bits << 1) | u64::from(!text.is_empty()));
    let mut mix = Mix::new(8).word(given).signed(event_time(context.event_time_ms));
    if given != 0 {
        mix = texts.iter().filter(|text| !text.is_empty()).fold(mix, |mix, text| mix.bytes(text.as_bytes()));
    }
    body(mix, &command.body).short()
}

/// As a number that is 0 only if there is none; journals of old know no time at 0 ms, but one at 1 ms in its place.
fn event_time(event_time_ms: Option<i64>) -> i64 {
    event_time_ms.map_or(0, |ms| if ms == 0 { 1 } else { ms })
}

fn body(mix: Mix, body: &Body<'_>) -> Mix {
    match body {
        Body::Reserve { lines, ttl_ms, allow_partial, replace_own } => {
            let flags = u64::from(*allow_partial) | (u64::from(*replace_own) << 1);
            all_lines(mix.word(1).signed(*ttl_ms).word(flags), lines)
        }
        Body::Extend { target, ttl_ms } => on_target(mix.word(2).signed(*ttl_ms), target),
        Body::Amend { target, lines } => all_lines(on_target(mix.word(3), target), lines),
        Body::Allocate(target) => on_target(mix.word(4), target),
        Body::Release(target) => on_target(mix.word(5), target),
        Body::Fulfill(target) => on_target(mix.word(6), target),
        Body::Transfer { target, to_location } => on_target(mix.word(7), target).bytes(to_location.as_bytes()),
        Body::Stock { kind, lines } => lines.iter().fold(mix.word(8 + ((*kind as u64) << 8)), |mix, line| {
            mix.bytes(line.sku.as_bytes())
                .bytes(line.location.as_bytes())
                .signed(line.quantity)
                .word(line.state as u64)
                .signed(line.expected.unwrap_or(-1))
        }),
        Body::Upsert { catalogue, entries } => {
            entries.iter().fold(mix.word(9 + ((*catalogue as u64) << 8)), |mix, entry| {
                mix.bytes(entry.name.as_bytes()).bytes(entry.display_name.as_bytes()).bytes(entry.gs1.as_bytes())
            })
        }
        Body::RegisterSource { source } => mix.word(10).bytes(source.as_bytes()),
    }
}

fn all_lines(mix: Mix, lines: &[Line<'_>]) -> Mix {
    lines.iter().fold(mix.word(lines.len() as u64), |mix, line| {
        let quantity = if planted::is("fingerprint_ignores_quantity") { 0 } else { line.quantity };
        mix.bytes(line.sku.as_bytes()).bytes(line.location.as_bytes()).signed(quantity)
    })
}

fn on_target(mix: Mix, target: &Target<'_>) -> Mix {
    let mix = match target.by {
        TargetBy::Id(id) => {
            mix.word(1).word((u64::from(id.slot) << 32) | u64::from(id.generation)).word(u64::from(id.epoch))
        }
        TargetBy::UnknownToken(token) => mix.word(2).bytes(token.as_bytes()),
        TargetBy::Key(key) => mix.word(3).bytes(key.as_bytes()),
        TargetBy::Order(order) => mix.word(4).bytes(order.as_bytes()),
    };
    all_lines(mix.word(target.expected_version), &target.lines)
}
