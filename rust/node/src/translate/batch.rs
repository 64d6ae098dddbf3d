//! Batches of commands.

use invengine_ledger::{COMMANDS_AHEAD, Command};
use invengine_wire::v1;
use invengine_wire::v1::command::Command as Asked;
use prost::Message;

use super::command::command;
use crate::refusal::Refusal;
use crate::sizes::SUBMIT_COMMANDS_MAX;

/// A command of a batch, or why it is none.
pub type CommandOrRefusal<'a> = Result<Command<'a>, Refusal>;

/// Calls `f` with the commands of a batch, in order, a few at a time; an invalid command is passed as its refusal and the
/// batch continues.
///
/// Serves `SubmitRequest` and `SubmitStreamRequest`, which are the same on the wire. The commands of a batch never take
/// their key from the metadata.
///
/// # Errors
/// The bytes are not a batch, or it has no commands or too many; `f` is not called then.
pub fn with_submit(payload: &[u8], tag: u64, f: &mut dyn FnMut(&[CommandOrRefusal<'_>])) -> Result<(), Refusal> {
    let batch = v1::SubmitRequest::decode(payload).map_err(|_| Refusal::malformed())?;
    if !(1..=SUBMIT_COMMANDS_MAX).contains(&batch.commands.len()) {
        return Err(Refusal::invalid(vec![("commands".into(), "1 to 1,000 of them".into())]));
    }
    let mut commands = Vec::with_capacity(COMMANDS_AHEAD);
    for asked in batch.commands.chunks(COMMANDS_AHEAD) {
        commands.clear();
        commands.extend(asked.iter().map(|asked| command_of_batch(asked, tag)));
        f(&commands);
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
