//! A piece of work that takes virtual time: it runs on a thread of its own, but only while it has the turn, so that one seed
//! is still one run.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::redis::shore::Shore;

/// The right to run, as the strand holds it.
pub struct Turn {
    passes_us: Sender<u64>,
    back: Receiver<()>,
}

impl Turn {
    /// Gives the turn back for so long; false if it will never come again.
    pub fn give_back(&self, time_us: u64) -> bool {
        self.passes_us.send(time_us).is_ok() && self.back.recv().is_ok()
    }
}

/// Where a strand stopped.
pub enum Halt<T> {
    /// It goes on after so long.
    Passes(u64),
    /// It is done.
    Ends(T),
}

/// The work, as the world holds it.
pub struct Strand<T> {
    passes_us: Receiver<u64>,
    go: Option<Sender<()>>,
    thread: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Strand<T> {
    /// Work on this shore. It begins with the first `go_on`.
    pub fn new(shore: &Shore, act: impl FnOnce() -> T + Send + 'static) -> Self {
        let (to_world, passes_us) = channel();
        let (go, back) = channel();
        let shore = shore.clone();
        let thread = std::thread::spawn(move || {
            let turn = Turn { passes_us: to_world, back };
            if turn.back.recv().is_err() {
                shore.end();
            }
            shore.take_turns(Some(turn));
            let done = act();
            shore.take_turns(None);
            done
        });
        Strand { passes_us, go: Some(go), thread: Some(thread) }
    }

    /// Gives it the turn until time passes or it is done. Nothing once it was done.
    pub fn go_on(&mut self) -> Option<Halt<T>> {
        // A strand that is gone already says so below.
        let _ = self.go.as_ref()?.send(());
        match self.passes_us.recv() {
            Ok(time_us) => Some(Halt::Passes(time_us)),
            Err(_) => match self.thread.take()?.join() {
                Ok(done) => Some(Halt::Ends(done)),
                Err(panic) => std::panic::resume_unwind(panic),
            },
        }
    }
}

impl<T> Drop for Strand<T> {
    fn drop(&mut self) {
        self.go = None;
        if let Some(thread) = self.thread.take() {
            // What it came to is of no use to anybody any more.
            let _ = thread.join();
        }
    }
}
