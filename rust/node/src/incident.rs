//! Incidents: a bug or an unreadable journal gives the caller an incident number, and the log has the cause under that
//! number.

use std::any::Any;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use crate::refusal::Refusal;

/// Writes the cause to standard error and returns the refusal for the caller, which has the number and nothing else.
pub(crate) fn report(method: &str, cause: &str) -> Refusal {
    // The standard library seeds every RandomState differently: enough to tell incidents apart.
    let incident = format!("{:016x}", RandomState::new().build_hasher().finish());
    eprintln!("invengine: incident {incident} in {method}: {cause}");
    Refusal::internal(&incident)
}

/// The message of a panic.
pub(crate) fn cause(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a text")
}
