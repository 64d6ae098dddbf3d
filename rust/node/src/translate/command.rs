//! From the bytes of a unary request to a canonical command.

use invengine_ledger::command::Body;
use invengine_ledger::{Command, Context};
use invengine_wire::v1;
use prost::Message;

use super::check::Violations;
use super::context::context;
use crate::methods::CommandKind;
use crate::refusal::Refusal;

/// A message that has the shared fields of a command.
pub(super) trait HasContext {
    /// The shared fields.
    fn context(&self) -> Option<&v1::CommandContext>;
}

/// A request for a command.
pub(super) trait CommandRequest: HasContext + Message + Default {
    /// The body of the command, canonical if there are no violations. `tag` is the tag of the ledger.
    fn body<'a>(&'a self, context: &Context<'a>, tag: u64, found: &mut Violations) -> Body<'a>;
}

macro_rules! shared {
    ($($message:ident)*) => {
        $(impl HasContext for v1::$message {
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

/// Decodes a request and calls `f` with its command.
///
/// `key` comes from the metadata and is used only if the message has none; `tag` is the tag of the ledger
/// ([`invengine_ledger::Ledger::tag`]).
///
/// # Errors
/// The bytes are not a message of this type, fields are invalid (each is named), or the request needs a feature that
/// this version does not have.
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

fn run<M: CommandRequest, R>(
    payload: &[u8],
    key: &str,
    tag: u64,
    f: impl FnOnce(&Command<'_>) -> R,
) -> Result<R, Refusal> {
    let message = M::decode(payload).map_err(|_| Refusal::malformed())?;
    command(&message, key, tag).map(|command| f(&command))
}

/// The command that a message asks for.
pub(super) fn command<'a, M: CommandRequest>(message: &'a M, key: &'a str, tag: u64) -> Result<Command<'a>, Refusal> {
    let mut found = Violations::default();
    let context = context(message.context(), key, &mut found);
    let body = message.body(&context, tag, &mut found);
    found.finish()?;
    Ok(Command { context, body })
}
