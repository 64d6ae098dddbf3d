//! From the bytes of a unary request to a canonical command.

use invengine_ledger::command::Body;
use invengine_ledger::{Command, Context};
use invengine_wire::v1;
use prost::Message;

use super::check::Violations;
use super::context::context;
use crate::methods::CommandKind;
use crate::refusal::Refusal;

/// A message with the shared fields of a command.
pub(super) trait Shared {
    /// The shared fields.
    fn context(&self) -> Option<&v1::CommandContext>;
}

/// A message that asks for a command.
pub(super) trait Request: Shared + Message + Default {
    /// What is asked, canonical if nothing bad is found. `tag` is that of the ledger.
    fn body<'a>(&'a self, context: &Context<'a>, tag: u64, found: &mut Violations) -> Body<'a>;
}

macro_rules! shared {
    ($($message:ident)*) => {
        $(impl Shared for v1::$message {
            fn context(&self) -> Option<&v1::CommandContext> {
                self.context.as_ref()
            }
        })*
    };
}

shared! {
    ReserveRequest ExtendRequest AmendRequest AllocateRequest ReleaseRequest FulfillRequest TransferReservationRequest
    ReceiveRequest ReturnRequest AdjustRequest SetQuantityRequest CountRequest
    UpsertItemsRequest UpsertLocationsRequest UpsertChannelsRequest RegisterSourceRequest
}

/// Calls `f` with the command that a request asks for.
///
/// `key` is that of the metadata and counts only where the message has none; `tag` is that of the ledger
/// ([`invengine_ledger::Ledger::tag`]).
///
/// # Errors
/// The bytes are no message of this type, a field is bad (each is named), or it asks for what a later version does.
pub fn with_command<R>(
    kind: CommandKind,
    payload: &[u8],
    key: &str,
    tag: u64,
    f: impl FnOnce(&Command<'_>) -> R,
) -> Result<R, Refusal> {
    match kind {
        CommandKind::Reserve => run::<v1::ReserveRequest, R>(payload, key, tag, f),
        CommandKind::Extend => run::<v1::ExtendRequest, R>(payload, key, tag, f),
        CommandKind::Amend => run::<v1::AmendRequest, R>(payload, key, tag, f),
        CommandKind::Allocate => run::<v1::AllocateRequest, R>(payload, key, tag, f),
        CommandKind::Release => run::<v1::ReleaseRequest, R>(payload, key, tag, f),
        CommandKind::Fulfill => run::<v1::FulfillRequest, R>(payload, key, tag, f),
        CommandKind::Transfer => run::<v1::TransferReservationRequest, R>(payload, key, tag, f),
        CommandKind::Receive => run::<v1::ReceiveRequest, R>(payload, key, tag, f),
        CommandKind::Return => run::<v1::ReturnRequest, R>(payload, key, tag, f),
        CommandKind::Adjust => run::<v1::AdjustRequest, R>(payload, key, tag, f),
        CommandKind::SetQuantity => run::<v1::SetQuantityRequest, R>(payload, key, tag, f),
        CommandKind::Count => run::<v1::CountRequest, R>(payload, key, tag, f),
        CommandKind::UpsertItems => run::<v1::UpsertItemsRequest, R>(payload, key, tag, f),
        CommandKind::UpsertLocations => run::<v1::UpsertLocationsRequest, R>(payload, key, tag, f),
        CommandKind::UpsertChannels => run::<v1::UpsertChannelsRequest, R>(payload, key, tag, f),
        CommandKind::RegisterSource => run::<v1::RegisterSourceRequest, R>(payload, key, tag, f),
    }
}

fn run<M: Request, R>(payload: &[u8], key: &str, tag: u64, f: impl FnOnce(&Command<'_>) -> R) -> Result<R, Refusal> {
    let message = M::decode(payload).map_err(|_| Refusal::malformed())?;
    command(&message, key, tag).map(|command| f(&command))
}

/// The command that a message asks for.
pub(super) fn command<'a, M: Request>(message: &'a M, key: &'a str, tag: u64) -> Result<Command<'a>, Refusal> {
    let mut found = Violations::default();
    let context = context(message.context(), key, &mut found);
    let body = message.body(&context, tag, &mut found);
    found.finish()?;
    Ok(Command { context, body })
}
