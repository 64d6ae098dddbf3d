//! The native door, called over sockets.

#[path = "../door_harness/mod.rs"]
mod door_harness;

mod calls;
mod forward;
mod life;
mod messages;
mod streams;
