//! From the bytes of a request to a canonical command, and what a command of the contract is.

use invengine_ledger::command::Body;
use invengine_ledger::{Command, Context};
use invengine_wire::v1;
use invengine_wire::v1::command::Command as Asked;
use prost::Message;

use super::answer::Accepted;
use super::batch::CommandOrRefusal;
use super::check::Violations;
use super::context::context;
use crate::refusal::Refusal;

/// One command of the contract, by its request: what it asks for, and how it is answered.
pub(crate) trait CommandRequest: Message + Default {
    /// The answer to the command when it is called alone.
    type Answer: Message;

    /// The shared fields.
    fn context(&self) -> Option<&v1::CommandContext>;

    /// The body of the command, canonical if there are no violations. `tag` is the tag of the ledger.
    fn body<'a>(&'a self, context: &Context<'a>, tag: u64, found: &mut Violations) -> Body<'a>;

    /// The answer to the accepted command.
    fn answer(accepted: &Accepted<'_>) -> Self::Answer;
}

/// The shared fields of a request, which every command has under one name.
macro_rules! shared_fields {
    () => {
        fn context(&self) -> Option<&v1::CommandContext> {
            self.context.as_ref()
        }
    };
}

pub(super) use shared_fields;

pub(crate) type InBatch = for<'a> fn(&'a Asked, u64) -> Option<CommandOrRefusal<'a>>;
type Decode = fn(&[u8], &str, u64, &mut dyn FnMut(&Command<'_>)) -> Result<(), Refusal>;

/// A command of the contract as the table of methods knows it.
#[derive(Clone, Copy)]
pub struct CommandMethod {
    decode: Decode,
    answer: fn(&Accepted<'_>) -> Vec<u8>,
    in_batch: InBatch,
}

impl CommandMethod {
    pub(crate) const fn of<M: CommandRequest>() -> Self {
        let answer = |accepted: &Accepted<'_>| M::answer(accepted).encode_to_vec();
        CommandMethod { decode: decode::<M>, answer, in_batch: |_, _| None }
    }

    /// The same for a command that batches may have too: `in_batch` finds it among what a batch asks for.
    pub(crate) const fn in_batch(self, in_batch: InBatch) -> Self {
        CommandMethod { in_batch, ..self }
    }

    /// The command that a batch asks for, if it is this one. `tag` is the tag of the ledger.
    pub(super) fn command_of_batch<'a>(&self, asked: &'a Asked, tag: u64) -> Option<CommandOrRefusal<'a>> {
        (self.in_batch)(asked, tag)
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
        &self,
        payload: &[u8],
        key: &str,
        tag: u64,
        f: impl FnOnce(&Command<'_>) -> R,
    ) -> Result<R, Refusal> {
        let (mut f, mut result) = (Some(f), None);
        (self.decode)(payload, key, tag, &mut |command| result = f.take().map(|f| f(command)))?;
        Ok(result.expect("Invariant: a decoded request is a command"))
    }

    pub(super) fn answer(&self, accepted: &Accepted<'_>) -> Vec<u8> {
        (self.answer)(accepted)
    }
}

fn decode<M: CommandRequest>(
    payload: &[u8],
    key: &str,
    tag: u64,
    f: &mut dyn FnMut(&Command<'_>),
) -> Result<(), Refusal> {
    let message = M::decode(payload).map_err(|_| Refusal::malformed())?;
    command(&message, key, tag).map(|command| f(&command))
}

/// Only what changes stock or promises can be passed on.
pub(super) fn check_origin(context: &Context<'_>, body: &Body<'_>, found: &mut Violations) {
    use Body::{Delete, DiscardLetters, RegisterSource, SkipGap, Upsert};
    let is_of_people =
        matches!(body, Upsert { .. } | Delete { .. } | RegisterSource { .. } | SkipGap { .. } | DiscardLetters { .. });
    let rule = "absent: sources pass on what happened to stock and promises, nothing else";
    found.require(context.origin.is_none() || !is_of_people, format_args!("context.origin"), rule);
}

/// The command that a message asks for.
pub(crate) fn command<'a, M: CommandRequest>(message: &'a M, key: &'a str, tag: u64) -> Result<Command<'a>, Refusal> {
    let mut found = Violations::default();
    let context = context(message.context(), key, &mut found);
    let body = message.body(&context, tag, &mut found);
    check_origin(&context, &body, &mut found);
    found.finish()?;
    Ok(Command { context, body })
}
