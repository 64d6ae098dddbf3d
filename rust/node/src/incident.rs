//! What a bug or a journal that cannot be read becomes: an incident number for the caller, the cause under the same number in
//! the log.

use std::any::Any;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use crate::refusal::Refusal;

/// Writes the cause to standard error and gives the caller's part: the number and nothing else.
pub(crate) fn report(method: &str, cause: &str) -> Refusal {
    // The standard library seeds every RandomState differently: enough to tell incidents apart.
    let incident = format!("{:016x}", RandomState::new().build_hasher().finish());
    eprintln!("invengine: incident {incident} in {method}: {cause}");
    Refusal::internal(&incident)
}

/// What a panic said.
pub(crate) fn cause(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a text")
}
