//! From what a command did to the message that its caller gets.

use invengine_ledger::{Answer, Context, Effect, Executed, Ledger};
use invengine_wire::v1;
use prost::Message;

use super::shape::{holds, levels, receipt};
use crate::methods::CommandKind;
use crate::refusal::Refusal;

/// The answer to a unary command. To be asked for before the ledger changes again.
///
/// # Errors
/// The ledger said no.
pub fn reply(
    kind: CommandKind,
    ledger: &Ledger,
    executed: &Executed,
    context: &Context<'_>,
) -> Result<Vec<u8>, Refusal> {
    match &executed.answer {
        Answer::Rejected(rejection) => Err(rejection.into()),
        Answer::Accepted { sequence, replayed, effect } => {
            let effect = ledger.effect(*effect);
            Ok(accepted(kind, ledger, effect, Some(receipt(*sequence, *replayed)), writer(context)))
        }
    }
}

fn accepted(
    kind: CommandKind,
    ledger: &Ledger,
    effect: &Effect,
    receipt: Option<v1::Receipt>,
    writer: Writer<'_>,
) -> Vec<u8> {
    macro_rules! with_holds {
        ($answer:ident) => {
            v1::$answer { receipt, holds: holds(ledger, effect) }.encode_to_vec()
        };
    }
    macro_rules! with_levels {
        ($answer:ident) => {
            v1::$answer { receipt, levels: levels(ledger, effect) }.encode_to_vec()
        };
    }
    match kind {
        CommandKind::Reserve => v1::ReserveResponse { receipt, hold: holds(ledger, effect).pop() }.encode_to_vec(),
        CommandKind::Extend => with_holds!(ExtendResponse),
        CommandKind::Amend => with_holds!(AmendResponse),
        CommandKind::Allocate => with_holds!(AllocateResponse),
        CommandKind::Fulfill => with_holds!(FulfillResponse),
        CommandKind::Transfer => with_holds!(TransferReservationResponse),
        CommandKind::Release => {
            let (key_cancelled, key_scope) = cancelled(effect, writer);
            v1::ReleaseResponse { receipt, holds: holds(ledger, effect), key_cancelled, key_scope }.encode_to_vec()
        }
        CommandKind::Receive => with_levels!(ReceiveResponse),
        CommandKind::Return => with_levels!(ReturnResponse),
        CommandKind::Adjust => with_levels!(AdjustResponse),
        CommandKind::SetQuantity => with_levels!(SetQuantityResponse),
        CommandKind::Count => with_levels!(CountResponse),
        CommandKind::UpsertItems => v1::UpsertItemsResponse { receipt }.encode_to_vec(),
        CommandKind::UpsertLocations => v1::UpsertLocationsResponse { receipt }.encode_to_vec(),
        CommandKind::UpsertChannels => v1::UpsertChannelsResponse { receipt }.encode_to_vec(),
        CommandKind::RegisterSource => registered(effect, receipt).encode_to_vec(),
    }
}

fn registered(effect: &Effect, receipt: Option<v1::Receipt>) -> v1::RegisterSourceResponse {
    let (epoch, previous_epoch, previous_sequence) = match effect {
        Effect::Registered { epoch, previous_epoch, previous_sequence } => {
            (*epoch, *previous_epoch, *previous_sequence)
        }
        _ => Default::default(),
    };
    v1::RegisterSourceResponse {
        receipt,
        epoch: epoch as i64,
        previous_epoch: previous_epoch as i64,
        previous_sequence: previous_sequence as i64,
    }
}

/// Channel and source of a command: whose keys it speaks of.
pub(super) type Writer<'a> = (&'a str, &'a str);

fn writer<'a>(context: &Context<'a>) -> Writer<'a> {
    (context.channel, context.source.map_or("", |place| place.id))
}

/// Whether only a tombstone was left, and where the key was looked for.
fn cancelled(effect: &Effect, (channel, source): Writer<'_>) -> (bool, Option<v1::KeyScope>) {
    let source_id = if channel.is_empty() { source } else { "" };
    let scope = || v1::KeyScope { channel: channel.into(), source_id: source_id.into() };
    let cancelled = *effect == Effect::KeyCancelled;
    (cancelled, cancelled.then(scope))
}

/// The answer to one command of a batch. To be asked for before the ledger changes again.
pub fn outcome(ledger: &Ledger, executed: &Executed, context: &Context<'_>) -> v1::Outcome {
    match &executed.answer {
        Answer::Rejected(rejection) => refused(&rejection.into()),
        Answer::Accepted { sequence, replayed, effect } => {
            done(ledger, receipt(*sequence, *replayed), ledger.effect(*effect), writer(context))
        }
    }
}

/// The outcome of a command that did this.
pub(super) fn done(ledger: &Ledger, receipt: v1::Receipt, effect: &Effect, writer: Writer<'_>) -> v1::Outcome {
    let (key_cancelled, key_scope) = cancelled(effect, writer);
    v1::Outcome {
        receipt: Some(receipt),
        holds: holds(ledger, effect),
        levels: levels(ledger, effect),
        rejection: None,
        key_cancelled,
        key_scope,
    }
}

/// The outcome of a command that was refused.
pub fn refused(refusal: &Refusal) -> v1::Outcome {
    v1::Outcome { rejection: Some(refusal.to_rejection()), ..v1::Outcome::default() }
}

/// The answer to a batch.
pub fn submit_response(outcomes: Vec<v1::Outcome>, durable_sequence: u64) -> Vec<u8> {
    v1::SubmitResponse { outcomes, durable_sequence: durable_sequence as i64 }.encode_to_vec()
}
