//! What a door needs of an engine.

use std::sync::Arc;

use crate::engine::{Call, Durable, Engine, Opening, Taken, Wanted};
use crate::refusal::Refusal;

/// Decides calls and says how far the journal is. Every method may be called from any thread.
pub trait Desk: Send + Sync + 'static {
    /// Decides a call now. Never waits for a disk.
    fn call(&self, call: &Call<'_>) -> Taken;

    /// How far the journal is.
    fn durable(&self) -> Durable;

    /// Calls `hook` after every commit and when nothing more will become durable. The hook is quick.
    fn on_commit(&self, hook: Arc<dyn Fn() + Send + Sync>);

    /// What a `ReadEvents` asks for, and where it begins. May read a disk.
    ///
    /// # Errors
    /// It cannot begin there, or the call is refused for another reason.
    fn begin_events(&self, call: &Call<'_>) -> Result<Wanted, Refusal>;

    /// Durable events from a sequence on as bytes of a `ReadEventsResponse`. May read a disk.
    ///
    /// # Errors
    /// Nothing more will become durable, or the journal cannot be read.
    fn read_events(&self, from_sequence: u64, limit: usize) -> Result<Vec<u8>, Refusal>;
}

impl Desk for Engine {
    fn call(&self, call: &Call<'_>) -> Taken {
        Engine::call(self, call)
    }

    fn durable(&self) -> Durable {
        Engine::durable(self)
    }

    fn on_commit(&self, hook: Arc<dyn Fn() + Send + Sync>) {
        Engine::on_commit(self, hook);
    }

    fn begin_events(&self, call: &Call<'_>) -> Result<Wanted, Refusal> {
        Engine::begin_events(self, call)
    }

    fn read_events(&self, from_sequence: u64, limit: usize) -> Result<Vec<u8>, Refusal> {
        Engine::read_events(self, from_sequence, limit)
    }
}

impl Desk for Opening {
    fn call(&self, call: &Call<'_>) -> Taken {
        Opening::call(self, call)
    }

    fn durable(&self) -> Durable {
        Opening::durable(self)
    }

    fn on_commit(&self, hook: Arc<dyn Fn() + Send + Sync>) {
        Opening::on_commit(self, hook);
    }

    fn begin_events(&self, call: &Call<'_>) -> Result<Wanted, Refusal> {
        Opening::begin_events(self, call)
    }

    fn read_events(&self, from_sequence: u64, limit: usize) -> Result<Vec<u8>, Refusal> {
        Opening::read_events(self, from_sequence, limit)
    }
}
