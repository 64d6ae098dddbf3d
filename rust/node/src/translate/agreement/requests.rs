//! Requests as callers may write them, most of them valid.

use invengine_ledger::ReservationId;
use invengine_wire::v1;
use invengine_wire::v1::command::Command as Asked;
use invengine_wire::v1::hold_target::By;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::tests::Harness;

const NAMES: [&str; 12] =
    ["tea", "tea", "tea", "here", "here", "there", "cup", "caf\u{e9}", "", " ", "a\u{85}", "\u{1f9e1}\u{1f9e1}"];
const KEYS: [&str; 7] = ["k1", "k2", "k3", "k4", "k5", "", "\u{f6}"];
const TEXTS: [&str; 8] = ["", "", "", "", "", "order 1", "\u{e9}", "bad\n"];
const QUANTITIES: [i64; 8] = [1, 1, 2, 3, 300, 0, -1, (1 << 53) - 1];
const SECONDS: [i64; 8] = [0, 1, 60, 900, 1_700_000_000, -1, i64::MIN, i64::MAX];
const NANOS: [i32; 6] = [0, 0, 1, 999_999_999, -1, 1_000_000_000];

/// A batch that has a plain command of each kind, and one that is not plain.
pub(super) fn example() -> v1::SubmitRequest {
    let context = |key: &str| Some(v1::CommandContext { idempotency_key: key.into(), ..Default::default() });
    let time = Some(prost_types::Timestamp { seconds: 1, nanos: 2 });
    let line = |sku: &str, location: &str, quantity| v1::LineRequest {
        sku: sku.into(),
        location: location.into(),
        location_group: String::new(),
        quantity,
    };
    let reserve = v1::ReserveRequest {
        context: Some(v1::CommandContext { issue_time: time, holder: "h".into(), ..context("k").unwrap_or_default() }),
        lines: vec![line("tea", "there", 2), line("tea", "here", 200)],
        ttl: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        allow_partial: true,
        replace_own: false,
    };
    let target = || {
        let by = Some(By::ReservationKey("k".into()));
        Some(v1::HoldTarget { by, expected_version: 0, ..Default::default() })
    };
    let allocate = v1::AllocateRequest { context: context("a"), target: target() };
    let extend = v1::ExtendRequest { context: context("e"), target: target(), ttl: None };
    let release = v1::ReleaseRequest { context: context("r"), target: target() };
    let commands = [Asked::Reserve(reserve), Asked::Extend(extend), Asked::Allocate(allocate), Asked::Release(release)];
    v1::SubmitRequest { commands: commands.map(|asked| v1::Command { command: Some(asked) }).into() }
}

/// Any batch.
pub(super) fn batch() -> impl Strategy<Value = v1::SubmitRequest> {
    let command = weighted(0.95, asked()).prop_map(|command| v1::Command { command });
    prop::collection::vec(command, 0..6).prop_map(|commands| v1::SubmitRequest { commands })
}

fn asked() -> impl Strategy<Value = Asked> {
    let ttl = || {
        weighted(0.4, span()).prop_map(|given| given.map(|(seconds, nanos)| prost_types::Duration { seconds, nanos }))
    };
    let context = || weighted(0.97, context());
    let target = || weighted(0.97, target());
    let lines = prop::collection::vec(line(), 0..4);
    let reserve = (context(), lines, ttl(), any::<bool>(), prop::bool::weighted(0.2)).prop_map(
        |(context, lines, ttl, allow_partial, replace_own)| {
            Asked::Reserve(v1::ReserveRequest { context, lines, ttl, allow_partial, replace_own })
        },
    );
    let allocate =
        (context(), target()).prop_map(|(context, target)| Asked::Allocate(v1::AllocateRequest { context, target }));
    let release =
        (context(), target()).prop_map(|(context, target)| Asked::Release(v1::ReleaseRequest { context, target }));
    let fulfill =
        (context(), target()).prop_map(|(context, target)| Asked::Fulfill(v1::FulfillRequest { context, target }));
    let extend = (context(), target(), ttl())
        .prop_map(|(context, target, ttl)| Asked::Extend(v1::ExtendRequest { context, target, ttl }));
    let amend = (context(), target(), prop::collection::vec(selection(), 0..3))
        .prop_map(|(context, target, lines)| Asked::Amend(v1::AmendRequest { context, target, lines }));
    let transfer = (context(), target(), one_of(&NAMES)).prop_map(|(context, target, to_location)| {
        Asked::TransferReservation(v1::TransferReservationRequest { context, target, to_location })
    });
    prop_oneof![8 => reserve, 3 => allocate, 3 => release, 1 => fulfill, 1 => extend, 1 => amend, 1 => transfer]
}

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(texts).prop_map(str::to_owned)
}

fn span() -> impl Strategy<Value = (i64, i32)> {
    (select(&SECONDS[..]), select(&NANOS[..]))
}

fn context() -> impl Strategy<Value = v1::CommandContext> {
    let time = || {
        weighted(0.3, span()).prop_map(|given| given.map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos }))
    };
    let source = || {
        (one_of(&NAMES), select(&QUANTITIES[..]), select(&QUANTITIES[..]))
            .prop_map(|(source_id, epoch, sequence)| v1::SourcePosition { source_id, epoch, sequence })
    };
    let positions = (weighted(0.1, source()), weighted(0.05, source()));
    let texts = prop::collection::vec(one_of(&TEXTS), 7);
    let flags = (any::<bool>(), any::<bool>());
    (one_of(&KEYS), time(), positions, time(), texts, flags).prop_map(
        |(idempotency_key, issue_time, (source, origin), event_time, texts, (accept_summary, remember_refusal))| {
            let mut texts = texts.into_iter();
            let mut text = || texts.next().unwrap_or_default();
            v1::CommandContext {
                idempotency_key,
                issue_time,
                channel: text(),
                source,
                origin,
                order_ref: text(),
                holder: text(),
                event_time,
                actor: text(),
                reason_code: text(),
                reference: text(),
                causation: text(),
                accept_summary,
                remember_refusal,
            }
        },
    )
}

fn line() -> impl Strategy<Value = v1::LineRequest> {
    let group = weighted(0.05, one_of(&NAMES)).prop_map(Option::unwrap_or_default);
    (one_of(&NAMES[..7]), one_of(&NAMES[3..]), group, select(&QUANTITIES[..])).prop_map(
        |(sku, location, location_group, quantity)| v1::LineRequest { sku, location, location_group, quantity },
    )
}

fn selection() -> impl Strategy<Value = v1::LineSelection> {
    (one_of(&NAMES[..7]), one_of(&NAMES[3..]), select(&QUANTITIES[..]))
        .prop_map(|(sku, location, quantity)| v1::LineSelection { sku, location, quantity })
}

fn target() -> impl Strategy<Value = v1::HoldTarget> {
    let tokens: Vec<String> = (0..3)
        .map(|slot| Harness::new().ledger.token(ReservationId { slot, generation: 0, epoch: 0 }))
        .chain(["nobody".into(), String::new()])
        .collect();
    let by = prop_oneof![
        2 => select(tokens).prop_map(By::ReservationId),
        3 => one_of(&KEYS).prop_map(By::ReservationKey),
        1 => one_of(&TEXTS).prop_map(By::OrderRef),
    ];
    let lines = prop::collection::vec(selection(), 0..2);
    (weighted(0.97, by), weighted(0.2, lines), prop_oneof![5 => Just(0), 1 => -1..4_i64]).prop_map(
        |(by, lines, expected_version)| v1::HoldTarget { by, lines: lines.unwrap_or_default(), expected_version },
    )
}
