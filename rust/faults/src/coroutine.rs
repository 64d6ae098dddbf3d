//! A coroutine for work that takes virtual time: it runs on a thread of its own, but only while it is resumed, so that one
//! seed is still one run.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::redis::environment::SimulatedEnvironment;

/// The coroutine's side: lets it yield.
pub struct Yielder {
    yields_us: Sender<u64>,
    back: Receiver<()>,
}

impl Yielder {
    /// Yields for this many microseconds; false if it will never be resumed.
    pub fn yield_for(&self, time_us: u64) -> bool {
        self.yields_us.send(time_us).is_ok() && self.back.recv().is_ok()
    }
}

/// Why a coroutine stopped.
pub enum CoroutineState<T> {
    /// It yielded for this many microseconds.
    Yielded(u64),
    /// It is complete.
    Complete(T),
}

/// The caller's side: lets it resume the work.
pub struct Coroutine<T> {
    yields_us: Receiver<u64>,
    go: Option<Sender<()>>,
    thread: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Coroutine<T> {
    /// Work on this environment. It begins with the first `resume`.
    pub fn new(environment: &SimulatedEnvironment, work: impl FnOnce() -> T + Send + 'static) -> Self {
        let (to_world, yields_us) = channel();
        let (go, back) = channel();
        let environment = environment.clone();
        let thread = std::thread::spawn(move || {
            let yielder = Yielder { yields_us: to_world, back };
            if yielder.back.recv().is_err() {
                environment.end();
            }
            environment.set_yielder(Some(yielder));
            let done = work();
            environment.set_yielder(None);
            done
        });
        Coroutine { yields_us, go: Some(go), thread: Some(thread) }
    }

    /// Runs it until it yields or completes. `None` if it had completed before.
    pub fn resume(&mut self) -> Option<CoroutineState<T>> {
        // If the coroutine is gone already, receiving fails below.
        let _ = self.go.as_ref()?.send(());
        match self.yields_us.recv() {
            Ok(time_us) => Some(CoroutineState::Yielded(time_us)),
            Err(_) => match self.thread.take()?.join() {
                Ok(done) => Some(CoroutineState::Complete(done)),
                Err(panic) => std::panic::resume_unwind(panic),
            },
        }
    }
}

impl<T> Drop for Coroutine<T> {
    fn drop(&mut self) {
        self.go = None;
        if let Some(thread) = self.thread.take() {
            // Nobody needs its result any more.
            let _ = thread.join();
        }
    }
}
