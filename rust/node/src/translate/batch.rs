//! Batches of commands.

use invengine_ledger::Command;
use invengine_wire::v1;
use invengine_wire::v1::command::Command as Asked;
use prost::Message;

use super::command::command;
use crate::refusal::Refusal;
use crate::sizes::SUBMIT_COMMANDS_MAX;

/// Calls `f` once for each command of a batch, in order; an invalid command is passed as its refusal and the batch
/// continues.
///
/// Serves `SubmitRequest` and `SubmitStreamRequest`, which are the same on the wire. The commands of a batch never take
/// their key from the metadata.
///
/// # Errors
/// The bytes are not a batch, or it has no commands or too many; `f` is not called then.
pub fn with_submit(payload: &[u8], tag: u64, f: &mut dyn FnMut(Result<&Command<'_>, Refusal>)) -> Result<(), Refusal> {
    let batch = v1::SubmitRequest::decode(payload).map_err(|_| Refusal::malformed())?;
    if !(1..=SUBMIT_COMMANDS_MAX).contains(&batch.commands.len()) {
        return Err(Refusal::invalid(vec![("commands".into(), "1 to 1,000 of them".into())]));
    }
    for asked in &batch.commands {
        match command_of_batch(asked, tag) {
            Ok(command) => f(Ok(&command)),
            Err(refusal) => f(Err(refusal)),
        }
    }
    Ok(())
}

fn command_of_batch(asked: &v1::Command, tag: u64) -> Result<Command<'_>, Refusal> {
    match &asked.command {
        Some(Asked::Reserve(asked)) => command(asked, "", tag),
        Some(Asked::Extend(asked)) => command(asked, "", tag),
        Some(Asked::Amend(asked)) => command(asked, "", tag),
        Some(Asked::Allocate(asked)) => command(asked, "", tag),
        Some(Asked::Release(asked)) => command(asked, "", tag),
        Some(Asked::Fulfill(asked)) => command(asked, "", tag),
        Some(Asked::TransferReservation(asked)) => command(asked, "", tag),
        None => Err(Refusal::invalid(vec![("command".into(), "one of the commands".into())])),
    }
}
