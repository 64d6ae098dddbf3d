//! From what a command did to the message that its caller gets.

use invengine_ledger::command::Body;
use invengine_ledger::{Answer, Command, Effect, Executed, Ledger};
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
    command: &Command<'_>,
    executed: &Executed,
) -> Result<Vec<u8>, Refusal> {
    match &executed.answer {
        Answer::Rejected(rejection) => Err(rejection.into()),
        Answer::Accepted { sequence, replayed, effect } => {
            let effect = ledger.effect(*effect);
            Ok(accepted(kind, ledger, &command.body, effect, Some(receipt(*sequence, *replayed))))
        }
    }
}

fn accepted(
    kind: CommandKind,
    ledger: &Ledger,
    asked: &Body<'_>,
    effect: &Effect,
    receipt: Option<v1::Receipt>,
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
    macro_rules! with_look_alikes {
        ($answer:ident) => {
            v1::$answer { receipt, look_alikes: look_alikes(ledger, asked) }.encode_to_vec()
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
            let key_cancelled = *effect == Effect::KeyCancelled;
            v1::ReleaseResponse { receipt, holds: holds(ledger, effect), key_cancelled }.encode_to_vec()
        }
        CommandKind::Receive => with_levels!(ReceiveResponse),
        CommandKind::Return => with_levels!(ReturnResponse),
        CommandKind::Adjust => with_levels!(AdjustResponse),
        CommandKind::SetQuantity => with_levels!(SetQuantityResponse),
        CommandKind::Count => with_levels!(CountResponse),
        CommandKind::UpsertItems => with_look_alikes!(UpsertItemsResponse),
        CommandKind::UpsertLocations => with_look_alikes!(UpsertLocationsResponse),
        CommandKind::UpsertChannels => with_look_alikes!(UpsertChannelsResponse),
        CommandKind::RegisterSource => {
            v1::RegisterSourceResponse { look_alikes: look_alikes(ledger, asked), ..registered(effect, receipt) }
                .encode_to_vec()
        }
    }
}

/// The names of a command that people may take for older ones. A repeat is told the same: names never go.
fn look_alikes(ledger: &Ledger, asked: &Body<'_>) -> Vec<v1::LookAlike> {
    let told = |name: &str, older: Option<&str>| {
        older.map(|older| v1::LookAlike { name: name.to_owned(), older_name: older.to_owned() })
    };
    match asked {
        Body::Upsert { catalogue, entries } => {
            let names = ledger.catalogue(*catalogue);
            entries.iter().filter_map(|entry| told(entry.name, names.look_alike(entry.name))).collect()
        }
        Body::RegisterSource { source } => told(source, ledger.source_look_alike(source)).into_iter().collect(),
        _ => Vec::new(),
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
        look_alikes: Vec::new(),
    }
}

/// The answer to one command of a batch. To be asked for before the ledger changes again.
pub fn outcome(ledger: &Ledger, executed: &Executed) -> v1::Outcome {
    match &executed.answer {
        Answer::Rejected(rejection) => refused(&rejection.into()),
        Answer::Accepted { sequence, replayed, effect } => done(ledger, *sequence, *replayed, ledger.effect(*effect)),
    }
}

/// The outcome of a command that did this.
pub(super) fn done(ledger: &Ledger, sequence: u64, replayed: bool, effect: &Effect) -> v1::Outcome {
    v1::Outcome {
        receipt: Some(receipt(sequence, replayed)),
        holds: holds(ledger, effect),
        levels: levels(ledger, effect),
        rejection: None,
        key_cancelled: *effect == Effect::KeyCancelled,
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
