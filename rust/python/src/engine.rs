//! The Engine class: calls wait for durability without the interpreter's lock, and can be interrupted with Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::time::{Duration, Instant};

use invengine_node::engine::{Call, Decision, EngineSettings, EventQuery, Opening};
use invengine_node::methods::{self, READ_EVENTS};
use invengine_node::refusal::Refusal;
use invengine_node::translate::event_filter::EventFilter;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::callbacks::{CallbackQueue, PendingCall};
use crate::timeout::{TIMEOUT_MAX, TimeoutMs};
use crate::{CallError, EngineClosed, EngineFault};

/// How often a waiting call checks for Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);

/// A ledger with its journal.
#[pyclass(frozen, module = "invengine._core")]
pub struct Engine {
    inner: Arc<Opening>,
    callbacks: Arc<CallbackQueue>,
    process: u32,
    closed: AtomicBool,
}

impl Engine {
    /// The engine, if it may be used here and now.
    pub fn open_inner(&self) -> PyResult<&Arc<Opening>> {
        if self.process != std::process::id() {
            return Err(EngineClosed::new_err(
                "this process is a fork of the one that opened the engine; open one of its own, or use a server",
            ));
        }
        if self.closed.load(Acquire) {
            return Err(EngineClosed::new_err("the engine was closed; open it again"));
        }
        Ok(&self.inner)
    }
}

#[pymethods]
impl Engine {
    #[staticmethod]
    fn open(py: Python<'_>, settings: &str) -> PyResult<Self> {
        let inner = py.detach(|| {
            let settings = EngineSettings::from_json(settings)?;
            Opening::open(&settings).map_err(|error| error.to_string())
        });
        Self::of(inner)
    }

    #[staticmethod]
    fn begin(settings: &str) -> PyResult<Self> {
        let settings = EngineSettings::from_json(settings).map_err(EngineFault::new_err)?;
        Self::of(Opening::begin(settings).map_err(|error| error.to_string()))
    }

    fn wait_open(&self, py: Python<'_>, timeout_ms: TimeoutMs) -> PyResult<bool> {
        let inner = self.open_inner()?;
        let until = timeout_ms.end();
        loop {
            let slice = until.min(Instant::now() + SIGNAL_INTERVAL);
            if py.detach(|| inner.wait_open(slice)).map_err(EngineFault::new_err)? {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            py.check_signals()?;
        }
    }

    #[pyo3(
        signature = (method, payload, *, idempotency_key = "", ledger = "", timeout_ms = TimeoutMs::NONE),
        text_signature = "($self, method, payload, *, idempotency_key='', ledger='', timeout_ms=0)"
    )]
    fn call<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        payload: &[u8],
        idempotency_key: &str,
        ledger: &str,
        timeout_ms: TimeoutMs,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let inner = self.open_inner()?;
        let deadline = deadline(timeout_ms);
        let call = Call { path: method, payload, key: idempotency_key, ledger, deadline };
        if methods::find(method).is_some_and(|found| found.waits()) {
            let reply = py.detach(|| inner.call_waiting(&call));
            return reply.map(|answer| PyBytes::new(py, &answer)).map_err(|refusal| refusal_error(py, &refusal));
        }
        let decision = py.detach(|| inner.call(&call));
        let until = deadline.unwrap_or_else(|| Instant::now() + TIMEOUT_MAX);
        loop {
            let durable = py.detach(|| inner.wait(decision.depends_on, until.min(Instant::now() + SIGNAL_INTERVAL)));
            if durable.sequence >= decision.depends_on {
                break;
            }
            if durable.poisoned {
                return Err(refusal_error(py, &Refusal::journal_failed(method)));
            }
            if Instant::now() >= until {
                return Err(refusal_error(py, &Refusal::late(method)));
            }
            py.check_signals()?;
        }
        match decision.reply {
            Ok(answer) => Ok(PyBytes::new(py, &answer)),
            Err(refusal) => Err(refusal_error(py, &refusal)),
        }
    }

    #[pyo3(
        signature = (method, payload, on_done, *, idempotency_key = "", ledger = "", timeout_ms = TimeoutMs::NONE),
        text_signature = "($self, method, payload, on_done, *, idempotency_key='', ledger='', timeout_ms=0)"
    )]
    #[expect(clippy::too_many_arguments, reason = "the arguments of a call")]
    fn start_call(
        &self,
        py: Python<'_>,
        method: &str,
        payload: &[u8],
        on_done: Py<PyAny>,
        idempotency_key: &str,
        ledger: &str,
        timeout_ms: TimeoutMs,
    ) -> PyResult<()> {
        let inner = self.open_inner()?;
        if let Some(waiting) = methods::find(method).filter(methods::Method::waits) {
            let request = (waiting.path, payload.to_vec(), ledger.to_owned(), deadline(timeout_ms));
            return call_later(Arc::clone(inner), Arc::clone(&self.callbacks), request, on_done);
        }
        let call = Call { path: method, payload, key: idempotency_key, ledger, deadline: deadline(timeout_ms) };
        let Decision { reply, depends_on } = py.detach(|| inner.call(&call));
        let path = methods::find(method).map_or("", |known| known.path);
        self.callbacks.push(PendingCall { path, reply, depends_on, on_done });
        Ok(())
    }

    #[pyo3(signature = (payload, ledger = ""))]
    fn begin_events(&self, py: Python<'_>, payload: &[u8], ledger: &str) -> PyResult<(u64, Option<u64>, bool)> {
        let inner = self.open_inner()?;
        let call = Call { path: READ_EVENTS, payload, key: "", ledger, deadline: None };
        match py.detach(|| inner.begin_events(&call)) {
            Ok(wanted) => Ok((wanted.next, (wanted.limit < u64::MAX).then_some(wanted.limit), wanted.follows())),
            Err(refusal) => Err(refusal_error(py, &refusal)),
        }
    }

    #[pyo3(
        signature = (from_sequence, limit, wait_ms, only = b"".as_slice()),
        text_signature = "($self, from_sequence, limit, wait_ms, only=b'')"
    )]
    fn read_events<'py>(
        &self,
        py: Python<'py>,
        from_sequence: u64,
        limit: u64,
        wait_ms: TimeoutMs,
        only: &[u8],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let inner = self.open_inner()?;
        let filter = EventFilter::decode(only).map_err(|refusal| refusal_error(py, &refusal))?;
        let query = EventQuery { filter: Arc::new(filter), ..EventQuery::every(from_sequence, limit) };
        let until = wait_ms.end();
        let wanted = from_sequence.max(1);
        // A sequence further ahead is refused: there is nothing to wait for.
        let is_next = |durable: u64| durable < wanted && wanted - durable == 1;
        while !wait_ms.is_none() && is_next(inner.durable().sequence) && Instant::now() < until {
            let durable = py.detach(|| inner.wait(wanted, until.min(Instant::now() + SIGNAL_INTERVAL)));
            py.check_signals()?;
            if durable.poisoned || self.closed.load(Acquire) {
                break;
            }
        }
        let inner = self.open_inner()?;
        match py.detach(|| inner.read_events(&query)) {
            Ok(page) => Ok(PyBytes::new(py, &page.message)),
            Err(refusal) => Err(refusal_error(py, &refusal)),
        }
    }

    fn stats(&self, py: Python<'_>) -> PyResult<String> {
        let inner = self.open_inner()?;
        Ok(py.detach(|| inner.stats()))
    }

    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        let inner = self.open_inner()?;
        py.detach(|| inner.drain());
        Ok(())
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.process != std::process::id() || self.closed.swap(true, AcqRel) {
            return Ok(());
        }
        py.detach(|| {
            self.inner.close();
            self.callbacks.finish();
        });
        if self.inner.durable().poisoned {
            return Err(EngineFault::new_err(
                "the journal failed before the engine was closed; open it again to recover what is durable",
            ));
        }
        Ok(())
    }
}

impl Engine {
    fn of(inner: Result<Arc<Opening>, String>) -> PyResult<Self> {
        let inner = inner.map_err(EngineFault::new_err)?;
        let callbacks =
            CallbackQueue::start(Arc::clone(&inner)).map_err(|error| EngineFault::new_err(error.to_string()))?;
        let process = std::process::id();
        let closed = AtomicBool::new(false);
        Ok(Engine { inner, callbacks: Arc::new(callbacks), process, closed })
    }
}

/// Answers a call that waits for a disk on a thread of its own: they are rare and take long, and the engine bounds their number.
fn call_later(
    engine: Arc<Opening>,
    callbacks: Arc<CallbackQueue>,
    (path, payload, ledger, deadline): (&'static str, Vec<u8>, String, Option<Instant>),
    on_done: Py<PyAny>,
) -> PyResult<()> {
    let work = move || {
        let reply = engine.call_waiting(&Call { path, payload: &payload, key: "", ledger: &ledger, deadline });
        callbacks.push(PendingCall { path, reply, depends_on: 0, on_done });
    };
    std::thread::Builder::new().name("invengine-waits".into()).spawn(work)?;
    Ok(())
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // In a fork the threads that closing would wait for do not exist: the memory is left to the kernel.
            std::mem::forget((Arc::clone(&self.inner), Arc::clone(&self.callbacks)));
            return;
        }
        // Callbacks need the interpreter's lock for their last answers.
        Python::attach(|py| {
            py.detach(|| {
                self.inner.close();
                self.callbacks.finish();
            });
        });
    }
}

fn deadline(timeout_ms: TimeoutMs) -> Option<Instant> {
    (!timeout_ms.is_none()).then(|| timeout_ms.end())
}

/// The exception of a refusal.
fn refusal_error(py: Python<'_>, refusal: &Refusal) -> PyErr {
    CallError::new_err((refusal.code as i32, PyBytes::new(py, &refusal.status()).unbind()))
}
