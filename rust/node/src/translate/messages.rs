//! Messages of sources: from their bytes to commands that keep these bytes, and from outcomes to what became of each.

use invengine_ledger::command::Body;
use invengine_ledger::inbox::HeldMessage;
use invengine_ledger::{Answer, Command, Context, Deferral, Effect, Executed, Ledger, OriginSource, Reason, Rejection};
use invengine_wire::v1;
use invengine_wire::v1::source_message::Body as Reported;
use prost::Message;

use super::batch::CommandOrRefusal;
use super::check::Violations;
use super::command::CommandRequest;
use super::context::{check_key, context, source};
use super::fields::{Fields, Value};
use super::shape::{claimed_lines, receipt, source_position, timestamp};
use crate::refusal::Refusal;
use crate::sizes::SUBMIT_COMMANDS_MAX;

/// A message of a request, and its bytes.
type Given<'a> = (&'a [u8], v1::SourceMessage);

/// Calls `f` with the commands of the messages of a request, in order; a message whose position cannot be read is passed as its
/// refusal.
///
/// # Errors
/// The bytes are no such request, or it has no messages or too many; `f` is not called then.
pub fn with_messages(payload: &[u8], tag: u64, f: &mut dyn FnMut(CommandOrRefusal<'_>)) -> Result<(), Refusal> {
    let messages = messages_of(payload)?;
    if !(1..=SUBMIT_COMMANDS_MAX).contains(&messages.len()) {
        return Err(Refusal::invalid(vec![("messages".into(), "1 to 1,000 of them".into())]));
    }
    messages.iter().for_each(|(bytes, message)| f(command_of(message, bytes, tag)));
    Ok(())
}

fn messages_of(payload: &[u8]) -> Result<Vec<Given<'_>>, Refusal> {
    let mut messages = Vec::new();
    let mut fields = Fields::of(payload);
    while let Some(field) = fields.next_field().ok_or_else(Refusal::malformed)? {
        if let (1, Value::Bytes(bytes)) = field
            && messages.len() <= SUBMIT_COMMANDS_MAX
        {
            messages.push((bytes, decode(bytes)?));
        }
    }
    Ok(messages)
}

/// The message that these bytes are.
///
/// # Errors
/// They are none.
pub fn decode(bytes: &[u8]) -> Result<v1::SourceMessage, Refusal> {
    v1::SourceMessage::decode(bytes).map_err(|_| Refusal::malformed())
}

/// The command that a message reports; one that keeps the message as a dead letter if it has a position and is invalid otherwise.
///
/// # Errors
/// Its id or position cannot be read.
pub fn command_of<'a>(message: &'a v1::SourceMessage, bytes: &'a [u8], tag: u64) -> CommandOrRefusal<'a> {
    use Reported::{
        CycleCountAdjusted, GoodsReceived, ReservationCreated, ReturnReceived, StockAdjusted, StockLevelReported,
        StockMoved, TransferClosed, TransferReceived, TransferShipped,
    };
    match message.body.as_ref() {
        Some(GoodsReceived(asked)) => reported(asked, bytes, tag),
        Some(ReturnReceived(asked)) => reported(asked, bytes, tag),
        Some(StockLevelReported(asked)) => reported(asked, bytes, tag),
        Some(CycleCountAdjusted(asked)) => reported(asked, bytes, tag),
        Some(StockAdjusted(asked)) => reported(asked, bytes, tag),
        Some(StockMoved(asked)) => reported(asked, bytes, tag),
        Some(TransferShipped(asked)) => reported(asked, bytes, tag),
        Some(TransferReceived(asked)) => reported(asked, bytes, tag),
        Some(TransferClosed(asked)) => reported(asked, bytes, tag),
        Some(ReservationCreated(asked)) => reported(asked, bytes, tag),
        None => Err(Refusal::invalid(vec![("body".into(), "one of the bodies of SourceMessage".into())])),
    }
}

fn reported<'a, M: CommandRequest>(asked: &'a M, bytes: &'a [u8], tag: u64) -> CommandOrRefusal<'a> {
    let mut found = Violations::default();
    let given = asked.context();
    let position = positioned(given)?;
    let context = Context { message: Some(bytes), ..context(given, "", &mut found) };
    let body = asked.body(&context, tag, &mut found);
    match found.finish() {
        Ok(()) => Ok(Command { context, body }),
        Err(refusal) if refusal.violations.is_empty() => Err(refusal),
        Err(refusal) => {
            let invalid = Rejection::new(Reason::InvalidField);
            let invalid = refusal
                .violations
                .iter()
                .fold(invalid, |rejection, (field, rule)| rejection.text("field", field).text("description", rule));
            let context = Context { message: Some(bytes), ..position };
            Ok(Command { context, body: Body::Invalid(invalid) })
        }
    }
}

/// Id and position of a message, which it cannot be kept without.
fn positioned(given: Option<&v1::CommandContext>) -> Result<Context<'_>, Refusal> {
    let mut found = Violations::default();
    let place = given.and_then(|given| given.source.as_ref());
    found.require(place.is_some(), format_args!("context.source"), "the position of the message in its source");
    let key = given.map_or("", |given| &given.idempotency_key);
    let position = place.map(|place| source((&place.source_id, place.epoch, place.sequence), "source", &mut found));
    let context = Context { key, source: position, ..Context::default() };
    check_key(&context, false, &mut found);
    found.finish()?;
    Ok(context)
}

/// What became of a message. Must be called before the ledger changes again.
pub fn outcome(ledger: &Ledger, executed: &Executed) -> v1::MessageOutcome {
    use v1::MessageDisposition as Disposition;
    let kept = |disposition, sequence, replayed| v1::MessageOutcome {
        disposition: disposition as i32,
        receipt: Some(receipt(sequence, replayed, &Effect::Done)),
        ..v1::MessageOutcome::default()
    };
    match &executed.answer {
        Answer::Accepted { sequence, replayed, effect } => {
            let effect = ledger.effect(*effect);
            v1::MessageOutcome {
                disposition: Disposition::Applied as i32,
                receipt: Some(receipt(*sequence, *replayed, effect)),
                claimed_lines: claimed_lines(effect),
                rejection: None,
            }
        }
        Answer::Deferred { sequence, replayed, deferral: Deferral::Parked } => {
            kept(Disposition::Parked, *sequence, *replayed)
        }
        Answer::Deferred { sequence, replayed, deferral: Deferral::Waiting } => {
            kept(Disposition::Waiting, *sequence, *replayed)
        }
        Answer::Buried { sequence, replayed, rejection } => v1::MessageOutcome {
            rejection: Some(Refusal::from(rejection).to_rejection()),
            ..kept(Disposition::DeadLetter, *sequence, *replayed)
        },
        Answer::Rejected(rejection) => refused_outcome(&rejection.into()),
    }
}

/// The outcome of a message that was refused and is not kept.
pub fn refused_outcome(refusal: &Refusal) -> v1::MessageOutcome {
    v1::MessageOutcome {
        disposition: v1::MessageDisposition::Refused as i32,
        rejection: Some(refusal.to_rejection()),
        ..v1::MessageOutcome::default()
    }
}

/// A message that is kept.
pub(super) fn kept(ledger: &Ledger, held: &HeldMessage) -> v1::KeptMessage {
    let place = OriginSource { source: held.source, epoch: held.epoch, number: held.number };
    v1::KeptMessage {
        sequence: held.sequence as i64,
        position: Some(source_position(ledger, place)),
        message_id: held.key.to_string(),
        time: Some(timestamp(held.time_ms)),
        event_time: held.event_time_ms.map(timestamp),
        message: v1::SourceMessage::decode(&*held.message).ok(),
        ..v1::KeptMessage::default()
    }
}
