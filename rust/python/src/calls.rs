//! Calls that were started and not waited for: one thread tells their callbacks, once what they rest on is durable.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use invengine_node::engine::Opening;
use invengine_node::refusal::Refusal;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Callbacks told under one hold of the interpreter's lock.
const TOGETHER_MAX: usize = 256;

/// A decided call and whom to tell.
pub struct Done {
    pub reply: Result<Vec<u8>, Refusal>,
    pub rests_on: u64,
    pub on_done: Py<PyAny>,
}

/// The thread and its queue. The queue is bounded by the commands that the engine lets wait.
pub struct Calls {
    queue: Mutex<Option<Sender<Done>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Calls {
    /// Starts the thread.
    pub fn start(engine: Arc<Opening>) -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        let thread = std::thread::Builder::new()
            .name("invengine-answers".into())
            .spawn(move || answer_all(&engine, &receiver))?;
        Ok(Calls { queue: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    /// Tells `on_done` when the call is durable.
    pub fn push(&self, done: Done) {
        if let Some(queue) = &*self.queue.lock().unwrap_or_else(PoisonError::into_inner) {
            // The thread ends only after the queue was closed.
            let _ = queue.send(done);
        }
    }

    /// Tells what is left and ends the thread. Without the interpreter's lock.
    pub fn finish(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

fn answer_all(engine: &Opening, queue: &Receiver<Done>) {
    while let Ok(first) = queue.recv() {
        let mut together = vec![first];
        together.extend(queue.try_iter().take(TOGETHER_MAX - 1));
        let rests_on = together.iter().map(|done| done.rests_on).max().unwrap_or(0);
        let durable = loop {
            let durable = engine.wait(rests_on, Instant::now() + Duration::from_secs(1));
            if durable.sequence >= rests_on || durable.poisoned {
                break durable.sequence;
            }
        };
        Python::attach(|py| {
            for done in together {
                tell(py, done, durable);
            }
        });
    }
}

fn tell(py: Python<'_>, done: Done, durable: u64) {
    let reply = if done.rests_on <= durable { done.reply } else { Err(Refusal::outcome_unknown()) };
    let (code, bytes) = match reply {
        Ok(answer) => (0, answer),
        Err(refusal) => (refusal.code as i32, refusal.status()),
    };
    if let Err(error) = done.on_done.call1(py, (code, PyBytes::new(py, &bytes))) {
        error.write_unraisable(py, Some(done.on_done.bind(py)));
    }
}
