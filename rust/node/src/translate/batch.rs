//! Batches of commands.

use invengine_ledger::{COMMANDS_AHEAD, Command};
use invengine_wire::v1;
use prost::Message;

use super::fields::{Fields, Value};
use super::plain;
use crate::methods::{METHODS, MethodKind};
use crate::refusal::Refusal;
use crate::sizes::SUBMIT_COMMANDS_MAX;

/// A command of a batch, or why it is none.
pub type CommandOrRefusal<'a> = Result<Command<'a>, Refusal>;

/// Bytes of a short command; room for more commands than a batch of short ones has is never needed.
const SHORT_COMMAND_BYTES: usize = 32;

/// Calls `f` with the commands of a batch, in order, a few at a time; an invalid command is passed as its refusal and the
/// batch continues.
///
/// Serves `SubmitRequest` and `SubmitStreamRequest`, which are the same on the wire. The commands of a batch never take
/// their key from the metadata.
///
/// # Errors
/// The bytes are not a batch, or it has no commands or too many; `f` is not called then.
pub fn with_submit(payload: &[u8], tag: u64, f: &mut dyn FnMut(&[CommandOrRefusal<'_>])) -> Result<(), Refusal> {
    let batch = Batch::read(payload, tag)?;
    if !(1..=SUBMIT_COMMANDS_MAX).contains(&batch.commands.len()) {
        return Err(Refusal::invalid(vec![("commands".into(), "1 to 1,000 of them".into())]));
    }
    let mut others = batch.others.iter();
    let mut other = || others.next().expect("Invariant: a command that is not plain is among the others");
    let mut commands = batch.commands.into_iter();
    let mut next = Vec::with_capacity(COMMANDS_AHEAD);
    while !commands.as_slice().is_empty() {
        next.clear();
        let few = commands.by_ref().take(COMMANDS_AHEAD);
        next.extend(few.map(|plain| plain.map_or_else(|| command_of_batch(other(), tag), Ok)));
        f(&next);
    }
    Ok(())
}

/// A batch whose bytes are known to be one.
struct Batch<'a> {
    /// Its commands in order; `None` stands for the next of the others.
    commands: Vec<Option<Command<'a>>>,
    /// The commands that are not plain.
    others: Vec<v1::Command>,
}

impl<'a> Batch<'a> {
    fn read(payload: &'a [u8], tag: u64) -> Result<Self, Refusal> {
        let room = SUBMIT_COMMANDS_MAX.min(payload.len() / SHORT_COMMAND_BYTES + 1);
        let mut batch = Batch { commands: Vec::with_capacity(room), others: Vec::new() };
        let mut fields = Fields::of(payload);
        while !fields.rest().is_empty() {
            let from = fields.rest();
            let Some(Some((1, Value::Bytes(command)))) = fields.next_field() else { return Self::decode(payload) };
            if batch.commands.len() == SUBMIT_COMMANDS_MAX {
                return Self::decode(payload);
            }
            let plain = plain::command(command, tag);
            if plain.is_none() {
                // The field alone is a batch of one command, which is decoded as it would be among others.
                batch.others.extend(decode(&from[..from.len() - fields.rest().len()])?);
            }
            batch.commands.push(plain);
        }
        Ok(batch)
    }

    /// A batch without plain commands.
    fn decode(payload: &[u8]) -> Result<Self, Refusal> {
        let others = decode(payload)?;
        Ok(Batch { commands: others.iter().map(|_| None).collect(), others })
    }
}

fn decode(payload: &[u8]) -> Result<Vec<v1::Command>, Refusal> {
    Ok(v1::SubmitRequest::decode(payload).map_err(|_| Refusal::malformed())?.commands)
}

/// The command that prost has decoded.
pub(super) fn command_of_batch(message: &v1::Command, tag: u64) -> CommandOrRefusal<'_> {
    let asked = message.command.as_ref();
    let mut methods = METHODS.iter().filter_map(|method| match &method.kind {
        MethodKind::Command(method) => Some(method),
        _ => None,
    });
    let found = asked.and_then(|asked| methods.find_map(|method| method.command_of_batch(asked, tag)));
    found.unwrap_or_else(|| Err(Refusal::invalid(vec![("command".into(), "one of the commands".into())])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_a_batch_may_have_has_a_row() {
        let mut seen = 0;
        for number in 1_u8..16 {
            let message = v1::Command::decode(&[number << 3 | 2, 0][..]).expect("an empty request");
            if message.command.is_some() {
                let refusal = command_of_batch(&message, 0).expect_err("a command without a key");
                assert_eq!(refusal.violations[0].0, "context.idempotency_key", "field {number}");
                seen += 1;
            }
        }
        assert!(seen >= 7, "{seen}");
    }
}
