//! Translates between a caller's messages and the ledger: requests are checked field by field and made canonical,
//! answers get their names back. Nothing here decides anything or keeps state.

#[cfg(test)]
mod agreement;
pub mod answer;
mod batch;
pub(crate) mod check;
pub mod command;
mod context;
pub(crate) mod entities;
pub mod event_filter;
pub mod events;
pub mod fields;
pub(crate) mod history;
mod hold;
mod lines;
pub mod messages;
pub mod outcomes;
mod page;
mod plain;
pub(crate) mod position;
pub mod read;
mod read_hold;
mod read_sources;
mod read_stock;
pub mod shape;
pub mod source;
pub mod states;
mod stock;
mod target;
#[cfg(test)]
mod tests;

pub use batch::with_submit;
