//! The interface of an engine that a door needs.

use std::sync::Arc;

use crate::engine::{Call, Decision, Durable, Engine, EventPage, EventQuery, Opening};
use crate::refusal::Refusal;

/// Decides calls and reports how far the journal is durable. Every method may be called from any thread.
pub trait Port: Send + Sync + 'static {
    /// Decides a call now. Never waits for a disk.
    fn call(&self, call: &Call<'_>) -> Decision;

    /// Answers a call of a method that itself reads a disk.
    ///
    /// # Errors
    /// The call is refused.
    fn call_waiting(&self, call: &Call<'_>) -> Result<Vec<u8>, Refusal>;

    /// How far the journal is durable.
    fn durable(&self) -> Durable;

    /// Calls `hook` after every commit and when nothing more will become durable. The hook must be quick.
    fn on_commit(&self, hook: Arc<dyn Fn() + Send + Sync>);

    /// What a `ReadEvents` asks for, and where it begins. May read a disk.
    ///
    /// # Errors
    /// Reading cannot begin there, or the call is refused for another reason.
    fn begin_events(&self, call: &Call<'_>) -> Result<EventQuery, Refusal>;

    /// The next durable events that a reader asks for. May read a disk.
    ///
    /// # Errors
    /// Nothing more will become durable, or the journal cannot be read.
    fn read_events(&self, wanted: &EventQuery) -> Result<EventPage, Refusal>;
}

impl Port for Engine {
    fn call(&self, call: &Call<'_>) -> Decision {
        Engine::call(self, call)
    }

    fn call_waiting(&self, call: &Call<'_>) -> Result<Vec<u8>, Refusal> {
        Engine::call_waiting(self, call)
    }

    fn durable(&self) -> Durable {
        Engine::durable(self)
    }

    fn on_commit(&self, hook: Arc<dyn Fn() + Send + Sync>) {
        Engine::on_commit(self, hook);
    }

    fn begin_events(&self, call: &Call<'_>) -> Result<EventQuery, Refusal> {
        Engine::begin_events(self, call)
    }

    fn read_events(&self, wanted: &EventQuery) -> Result<EventPage, Refusal> {
        Engine::read_events(self, wanted)
    }
}

impl Port for Opening {
    fn call(&self, call: &Call<'_>) -> Decision {
        Opening::call(self, call)
    }

    fn call_waiting(&self, call: &Call<'_>) -> Result<Vec<u8>, Refusal> {
        Opening::call_waiting(self, call)
    }

    fn durable(&self) -> Durable {
        Opening::durable(self)
    }

    fn on_commit(&self, hook: Arc<dyn Fn() + Send + Sync>) {
        Opening::on_commit(self, hook);
    }

    fn begin_events(&self, call: &Call<'_>) -> Result<EventQuery, Refusal> {
        Opening::begin_events(self, call)
    }

    fn read_events(&self, wanted: &EventQuery) -> Result<EventPage, Refusal> {
        Opening::read_events(self, wanted)
    }
}
