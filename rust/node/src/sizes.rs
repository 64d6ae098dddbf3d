//! How long requests and answers may be, and how many commands one batch may have.

pub use invengine_ledger::ANSWER_BYTES_MAX as COMMAND_ANSWER_BYTES_MAX;

/// Most bytes of one command or read request.
pub const COMMAND_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a message that carries many commands or many names.
pub const SUBMIT_BYTES_MAX: usize = 4 << 20;
/// Most commands of one batch.
pub const SUBMIT_COMMANDS_MAX: usize = 1_000;

/// Most bytes of any answer, and of each message of a stream of answers.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Most bytes of an answer that has only a few names and numbers.
pub(crate) const SMALL_ANSWER_BYTES_MAX: usize = 4 << 10;
/// Most bytes of an answer that has one entity.
pub(crate) const ENTITY_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a page of a list, or of a message of events, that has more than one entry.
pub const PAGE_BYTES_MAX: usize = 1 << 20;
