//! The shared fields of a command.

use std::fmt::Arguments;

use invengine_ledger::Context;
use invengine_ledger::command::{QUANTITY_MAX, SourcePosition, TTL_MS_DEFAULT, TTL_MS_MAX, TTL_MS_MIN};
use invengine_wire::v1;
use prost_types::{Duration, Timestamp};

use super::check::Violations;

/// First and last second of a valid timestamp: the years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const NANOS_PER_MS: i64 = 1_000_000;

/// Reads the shared fields. `key` comes from the metadata and is used only if the message has none.
pub(super) fn context<'a>(given: Option<&'a v1::CommandContext>, key: &'a str, found: &mut Violations) -> Context<'a> {
    let Some(given) = given else {
        let context = Context { key, ..Context::default() };
        check_key(&context, false, found);
        return context;
    };
    let texts = Context {
        key: if given.idempotency_key.is_empty() { key } else { &given.idempotency_key },
        channel: &given.channel,
        order_ref: &given.order_ref,
        holder: &given.holder,
        actor: &given.actor,
        reason_code: &given.reason_code,
        reference: &given.reference,
        causation: &given.causation,
        accept_summary: given.accept_summary,
        remember_refusal: given.remember_refusal,
        ..Context::default()
    };
    check_key(&texts, given.source.is_some(), found);
    check_texts(&texts, found);
    let position = |place: &'a v1::SourcePosition| (&*place.source_id, place.epoch, place.sequence);
    let [source, origin] = [(&given.source, "source"), (&given.origin, "origin")]
        .map(|(place, field)| place.as_ref().map(|place| source(position(place), field, found)));
    if let (Some(source), Some(origin)) = (source, origin) {
        let rule = "another source than context.source: what a source passes on is not its own";
        found.require(source.id != origin.id, format_args!("context.origin.source_id"), rule);
    }
    Context {
        issue_time_ms: moment(given.issue_time, "issue_time", found),
        source,
        origin,
        event_time_ms: moment(given.event_time, "event_time", found),
        ..texts
    }
}

/// Checks the key, which only a command with a source may leave out.
#[inline]
pub(super) fn check_key(context: &Context<'_>, has_source: bool, found: &mut Violations) {
    if !context.key.is_empty() || !has_source {
        found.key(context.key, format_args!("context.idempotency_key"));
    }
}

/// Checks the texts that may be left out.
#[inline]
pub(super) fn check_texts(context: &Context<'_>, found: &mut Violations) {
    let texts = [
        (context.channel, "channel"),
        (context.order_ref, "order_ref"),
        (context.holder, "holder"),
        (context.actor, "actor"),
        (context.reason_code, "reason_code"),
        (context.reference, "reference"),
        (context.causation, "causation"),
    ];
    for (value, field) in texts {
        found.text(value, format_args!("context.{field}"));
    }
}

/// The position of a message in the sequence of a source: name, epoch and number, in a field of the context.
pub(super) fn source<'a>(
    (id, epoch, sequence): (&'a str, i64, i64),
    field: &str,
    found: &mut Violations,
) -> SourcePosition<'a> {
    found.name(id, format_args!("context.{field}.source_id"));
    found.require(epoch >= 1, format_args!("context.{field}.epoch"), "at least 1; RegisterSource issues it");
    let counted = (1..=QUANTITY_MAX).contains(&sequence);
    found.require(counted, format_args!("context.{field}.sequence"), "from 1 to 2^53 - 1");
    SourcePosition { id, epoch: epoch as u64, sequence: sequence as u64 }
}

/// A moment in whole ms, rounded down.
#[inline]
pub(super) fn moment(time: Option<Timestamp>, field: &str, found: &mut Violations) -> Option<i64> {
    time_ms(time?, format_args!("context.{field}"), found)
}

/// The same for a field of another name.
#[inline]
pub(super) fn time_ms(time: Timestamp, field: Arguments<'_>, found: &mut Violations) -> Option<i64> {
    let good = SECONDS.contains(&time.seconds) && (0..1_000_000_000).contains(&time.nanos);
    let good = found.require(good, field, "a time in the years 1 to 9999");
    good.then(|| time.seconds * 1_000 + i64::from(time.nanos) / NANOS_PER_MS)
}

/// A time to live in ms, rounded up: a hold never expires before the requested time.
#[inline]
pub(super) fn ttl(given: Option<Duration>, found: &mut Violations) -> i64 {
    let Some(given) = given else { return TTL_MS_DEFAULT };
    let whole = (0..1_000_000_000).contains(&given.nanos) && (0..=TTL_MS_MAX / 1_000).contains(&given.seconds);
    let nanos = if whole { given.seconds * 1_000 * NANOS_PER_MS + i64::from(given.nanos) } else { 0 };
    let allowed = TTL_MS_MIN * NANOS_PER_MS..=TTL_MS_MAX * NANOS_PER_MS;
    found.require(allowed.contains(&nanos), format_args!("ttl"), "1 second to 30 days");
    nanos.div_euclid(NANOS_PER_MS) + i64::from(nanos % NANOS_PER_MS > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_rounded_up_within_its_limits() {
        let rows: [(i64, i32, Option<i64>); 9] = [
            (1, 0, Some(1_000)),
            (1, 1, Some(1_001)),
            (30 * 86_400, 0, Some(TTL_MS_MAX)),
            (30 * 86_400, 1, None),
            (0, 999_999_999, None),
            (60, -1, None),
            (60, 1_000_000_000, None),
            (-1, 0, None),
            (i64::MAX, i32::MAX, None),
        ];
        for (seconds, nanos, expected) in rows {
            let mut found = Violations::default();
            let ms = ttl(Some(Duration { seconds, nanos }), &mut found);
            assert_eq!(found.finish().is_ok().then_some(ms), expected, "{seconds} s {nanos} ns");
        }
        assert_eq!(ttl(None, &mut Violations::default()), TTL_MS_DEFAULT);
    }

    #[test]
    fn a_time_within_the_years_is_read_as_it_is() {
        let rows: [(i64, i32, Option<i64>); 6] = [
            (0, 0, Some(0)),
            (-1, 999_000_000, Some(-1)),
            (1_700_000_000, 1_999_999, Some(1_700_000_000_001)),
            (0, -1, None),
            (*SECONDS.end() + 1, 0, None),
            (i64::MIN, 0, None),
        ];
        for (seconds, nanos, expected) in rows {
            let mut found = Violations::default();
            let ms = moment(Some(Timestamp { seconds, nanos }), "issue_time", &mut found);
            assert_eq!(found.finish().is_ok().then_some(ms), expected.map(Some), "{seconds} s {nanos} ns");
        }
    }
}
