//! Calls that were started without waiting: one thread runs their callbacks once what they depend on is durable.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use invengine_node::engine::Opening;
use invengine_node::refusal::Refusal;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Most callbacks run per acquisition of the interpreter's lock.
const BATCH_MAX: usize = 256;

/// A decided call and its callback.
pub struct PendingCall {
    pub path: &'static str,
    pub reply: Result<Vec<u8>, Refusal>,
    pub depends_on: u64,
    pub on_done: Py<PyAny>,
}

/// The thread and its queue. The queue is bounded by the number of commands that may wait in the engine.
pub struct CallbackQueue {
    queue: Mutex<Option<Sender<PendingCall>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl CallbackQueue {
    /// Starts the thread.
    pub fn start(engine: Arc<Opening>) -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        let thread = std::thread::Builder::new()
            .name("invengine-answers".into())
            .spawn(move || answer_all(&engine, &receiver))?;
        Ok(CallbackQueue { queue: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    /// Runs `on_done` once the call is durable.
    pub fn push(&self, done: PendingCall) {
        if let Some(queue) = &*self.queue.lock().unwrap_or_else(PoisonError::into_inner) {
            // The thread ends only after the queue was closed.
            let _ = queue.send(done);
        }
    }

    /// Runs the remaining callbacks and ends the thread. To be called without the interpreter's lock.
    pub fn finish(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

fn answer_all(engine: &Opening, queue: &Receiver<PendingCall>) {
    while let Ok(first) = queue.recv() {
        let mut batch = vec![first];
        batch.extend(queue.try_iter().take(BATCH_MAX - 1));
        let depends_on = batch.iter().map(|done| done.depends_on).max().unwrap_or(0);
        let durable = loop {
            let durable = engine.wait(depends_on, Instant::now() + Duration::from_secs(1));
            if durable.sequence >= depends_on || durable.poisoned {
                break durable.sequence;
            }
        };
        Python::attach(|py| {
            for done in batch {
                call_back(py, done, durable);
            }
        });
    }
}

fn call_back(py: Python<'_>, done: PendingCall, durable: u64) {
    let reply = if done.depends_on <= durable { done.reply } else { Err(Refusal::journal_failed(done.path)) };
    let (code, bytes) = match reply {
        Ok(answer) => (0, answer),
        Err(refusal) => (refusal.code as i32, refusal.status()),
    };
    if let Err(error) = done.on_done.call1(py, (code, PyBytes::new(py, &bytes))) {
        error.write_unraisable(py, Some(done.on_done.bind(py)));
    }
}
