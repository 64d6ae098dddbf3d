//! The commands that batches consist of, read from the bytes of their message: nothing is copied, and only the lines of a
//! reserve are allocated.
//!
//! A command is plain if every decoder reads it alike and all of its fields are valid. Whatever else there is (other commands,
//! unknown fields, messages that occur twice, violations to be named) is left to prost and to [`CommandRequest`], whose checks
//! are the ones made here.
//!
//! [`CommandRequest`]: super::command::CommandRequest

use invengine_ledger::command::{Body, LINES_MAX, Line, SourcePosition, Target, canonical_lines};
use invengine_ledger::{Command, Context};
use prost_types::{Duration, Timestamp};

use super::check::Violations;
use super::context::{check_key, check_texts, moment, source, ttl};
use super::fields::Value::{Bytes, Number};
use super::fields::{Fields, text};
use super::hold::{ANY, check_holder};
use super::lines::check_requested;
use super::target::{HoldName, expected_version, named_by};

/// The command in a [`invengine_wire::v1::Command`], if it is plain.
#[inline]
pub(super) fn command(message: &[u8], tag: u64) -> Option<Command<'_>> {
    let mut fields = Fields::of(message);
    let (number, Bytes(request)) = fields.next_field()?? else { return None };
    if !fields.rest().is_empty() {
        return None;
    }
    match number {
        1 => reserve(request),
        4 => on_hold(request, tag, Body::Allocate),
        5 => on_hold(request, tag, Body::Release),
        _ => None,
    }
}

fn reserve(message: &[u8]) -> Option<Command<'_>> {
    let mut found = Violations::default();
    let (mut context, mut lasts) = (None, None);
    let (mut lines, mut allow_partial, mut replace_own) = (Vec::new(), false, false);
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next_field()? {
        match field {
            (1, Bytes(message)) => set_once(&mut context, shared(message, &mut found)?)?,
            (2, Bytes(message)) => {
                if lines.is_empty() {
                    // Lines have similar lengths: most often there is room for all of them at once.
                    lines.reserve_exact(LINES_MAX.min(1 + fields.rest().len() / (message.len() + 2)));
                }
                lines.push(line(message, lines.len(), &mut found)?);
            }
            (3, Bytes(message)) => set_once(&mut lasts, span(message)?)?,
            (4, Number(flag)) => allow_partial = flag != 0,
            (5, Number(flag)) => replace_own = flag != 0,
            _ => return None,
        }
    }
    let context = context?;
    check_holder(replace_own, &context, &mut found);
    found.count(lines.len(), "lines");
    let ttl_ms = ttl(lasts.map(|(seconds, nanos)| Duration { seconds, nanos }), &mut found);
    let good = found.len() == 0 && canonical_lines(&mut lines).is_ok();
    good.then_some(Command { context, body: Body::Reserve { lines, ttl_ms, allow_partial, replace_own } })
}

fn line<'a>(message: &'a [u8], number: usize, found: &mut Violations) -> Option<Line<'a>> {
    let mut line = Line { sku: "", location: "", quantity: 0 };
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next_field()? {
        match field {
            (1, Bytes(bytes)) => line.sku = text(bytes)?,
            (2, Bytes(bytes)) => line.location = text(bytes)?,
            (4, Number(units)) => line.quantity = units as i64,
            _ => return None,
        }
    }
    check_requested(&line, "", number, found);
    Some(line)
}

/// A command on all lines of the holds that it names.
fn on_hold<'a>(message: &'a [u8], tag: u64, body: fn(Target<'a>) -> Body<'a>) -> Option<Command<'a>> {
    let mut found = Violations::default();
    let (mut context, mut target) = (None, None);
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next_field()? {
        match field {
            (1, Bytes(message)) => set_once(&mut context, shared(message, &mut found)?)?,
            (2, Bytes(message)) => set_once(&mut target, whole(message, tag, &mut found)?)?,
            _ => return None,
        }
    }
    let command = Command { context: context?, body: body(target?) };
    (found.len() == 0).then_some(command)
}

/// A target without a selection of lines.
fn whole<'a>(message: &'a [u8], tag: u64, found: &mut Violations) -> Option<Target<'a>> {
    let (mut name, mut version) = (None, 0);
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next_field()? {
        match field {
            (1, Bytes(bytes)) => name = Some(HoldName::Token(text(bytes)?)),
            (2, Bytes(bytes)) => name = Some(HoldName::Key(text(bytes)?)),
            (3, Bytes(bytes)) => name = Some(HoldName::Order(text(bytes)?)),
            (5, Number(number)) => version = number as i64,
            _ => return None,
        }
    }
    let by = named_by(name?, ANY, tag, found);
    Some(Target { by, lines: Vec::new(), expected_version: expected_version(version, by, found) })
}

/// The shared fields.
fn shared<'a>(message: &'a [u8], found: &mut Violations) -> Option<Context<'a>> {
    let mut context = Context::default();
    let (mut issue_time, mut event_time, mut position) = (None, None, None);
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next_field()? {
        match field {
            (1, Bytes(bytes)) => context.key = text(bytes)?,
            (2, Bytes(message)) => set_once(&mut issue_time, span(message)?)?,
            (3, Bytes(bytes)) => context.channel = text(bytes)?,
            (4, Bytes(message)) => set_once(&mut position, place(message, found)?)?,
            (5, Bytes(bytes)) => context.order_ref = text(bytes)?,
            (6, Bytes(bytes)) => context.holder = text(bytes)?,
            (7, Bytes(message)) => set_once(&mut event_time, span(message)?)?,
            (8, Bytes(bytes)) => context.actor = text(bytes)?,
            (9, Bytes(bytes)) => context.reason_code = text(bytes)?,
            (10, Bytes(bytes)) => context.reference = text(bytes)?,
            (11, Bytes(bytes)) => context.causation = text(bytes)?,
            (12, Number(flag)) => context.remember_refusal = flag != 0,
            (13, Number(flag)) => context.accept_summary = flag != 0,
            _ => return None,
        }
    }
    context.source = position;
    check_key(&context, position.is_some(), found);
    check_texts(&context, found);
    let time = |(seconds, nanos)| Timestamp { seconds, nanos };
    context.issue_time_ms = moment(issue_time.map(time), "issue_time", found);
    context.event_time_ms = moment(event_time.map(time), "event_time", found);
    Some(context)
}

fn place<'a>(message: &'a [u8], found: &mut Violations) -> Option<SourcePosition<'a>> {
    let (mut id, mut epoch, mut sequence) = ("", 0, 0);
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next_field()? {
        match field {
            (1, Bytes(bytes)) => id = text(bytes)?,
            (2, Number(number)) => epoch = number as i64,
            (3, Number(number)) => sequence = number as i64,
            _ => return None,
        }
    }
    Some(source((id, epoch, sequence), "source", found))
}

/// Seconds and nanoseconds, of a moment or of a duration.
fn span(message: &[u8]) -> Option<(i64, i32)> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next_field()? {
        match field {
            (1, Number(number)) => seconds = number as i64,
            (2, Number(number)) => nanos = number as i32,
            _ => return None,
        }
    }
    Some((seconds, nanos))
}

/// A message that occurs twice is merged, which is left to prost.
fn set_once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}
