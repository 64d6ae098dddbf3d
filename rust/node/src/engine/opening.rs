//! An engine from the moment it begins to open: until it has recovered, every call is answered RECOVERING with the
//! progress so far, so that a door can listen from the first moment on.

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use super::{
    Call, Decision, Durable, Engine, EngineSettings, EventPage, EventQuery, Hook, OpenError, RecoveryProgress, lock,
};
use crate::refusal::Refusal;

/// An engine that is recovering, has recovered, or failed to.
pub struct Opening {
    engine: OnceLock<Engine>,
    progress: Arc<RecoveryProgress>,
    /// Hooks that were added before the engine was open, and why it could not be opened.
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    hooks: Vec<Hook>,
    failed: Option<String>,
}

impl Opening {
    fn new() -> Self {
        Opening { engine: OnceLock::new(), progress: Arc::default(), state: Mutex::default(), changed: Condvar::new() }
    }

    /// Opens the engine on this thread.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open(settings: &EngineSettings) -> Result<Arc<Self>, OpenError> {
        let opening = Self::new();
        let engine = Engine::open_with_progress(settings, Arc::clone(&opening.progress))?;
        opening.set_engine(engine);
        Ok(Arc::new(opening))
    }

    /// Begins to open the engine on a thread of its own; [`Opening::wait_open`] reports the result.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn begin(settings: EngineSettings) -> std::io::Result<Arc<Self>> {
        let opening = Arc::new(Self::new());
        let recovering = Arc::clone(&opening);
        std::thread::Builder::new().name("invengine-recovery".into()).spawn(move || {
            let progress = Arc::clone(&recovering.progress);
            let opened = std::panic::catch_unwind(move || Engine::open_with_progress(&settings, progress));
            match opened {
                Ok(Ok(engine)) => recovering.set_engine(engine),
                Ok(Err(error)) => recovering.fail(error.to_string()),
                Err(_) => recovering.fail("the recovery failed in a way that is a bug; the log says more".into()),
            }
        })?;
        Ok(opening)
    }

    fn set_engine(&self, engine: Engine) {
        let hooks = {
            // Under the lock, so that whoever adds a hook or waits sees either no engine or one with all its hooks.
            let mut state = lock(&self.state);
            let hooks = std::mem::take(&mut state.hooks);
            hooks.iter().for_each(|hook| engine.on_commit(Arc::clone(hook)));
            // Set only once: there is never a second engine.
            let _ = self.engine.set(engine);
            hooks
        };
        hooks.iter().for_each(|hook| hook());
        self.changed.notify_all();
    }

    fn fail(&self, why: String) {
        lock(&self.state).failed = Some(why);
        self.changed.notify_all();
    }

    /// The engine, once it has recovered.
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.get()
    }

    /// The progress of the recovery.
    pub fn progress(&self) -> &RecoveryProgress {
        &self.progress
    }

    /// Waits for the engine: true once it is open, false if `until` passes first.
    ///
    /// # Errors
    /// Why it could not be opened, in one line.
    pub fn wait_open(&self, until: Instant) -> Result<bool, String> {
        let mut state = lock(&self.state);
        loop {
            if self.engine.get().is_some() {
                return Ok(true);
            }
            if let Some(why) = &state.failed {
                return Err(why.clone());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Decides a call, or answers RECOVERING.
    pub fn call(&self, call: &Call<'_>) -> Decision {
        match self.engine.get() {
            Some(engine) => engine.call(call),
            None => self.recovering().into(),
        }
    }

    /// As [`Engine::durable`]; before the engine is open, nothing is durable.
    #[inline]
    pub fn durable(&self) -> Durable {
        self.engine.get().map_or(Durable { sequence: 0, poisoned: false }, Engine::durable)
    }

    /// As [`Engine::wait`]; for an engine that cannot be opened, the durable sequence stays 0.
    pub fn wait(&self, sequence: u64, until: Instant) -> Durable {
        match self.engine.get() {
            Some(engine) => engine.wait(sequence, until),
            None if self.wait_open(until) == Ok(true) => self.wait(sequence, until),
            None => self.durable(),
        }
    }

    /// As [`Engine::on_commit`]; the hook is also called once the engine is open.
    pub fn on_commit(&self, hook: Hook) {
        let mut state = lock(&self.state);
        match self.engine.get() {
            Some(engine) => engine.on_commit(hook),
            None => state.hooks.push(hook),
        }
    }

    /// As [`Engine::begin_events`].
    ///
    /// # Errors
    /// As there, or RECOVERING.
    pub fn begin_events(&self, call: &Call<'_>) -> Result<EventQuery, Refusal> {
        self.engine.get().ok_or_else(|| self.recovering())?.begin_events(call)
    }

    /// As [`Engine::read_events`].
    ///
    /// # Errors
    /// As there, or RECOVERING.
    pub fn read_events(&self, wanted: &EventQuery) -> Result<EventPage, Refusal> {
        self.engine.get().ok_or_else(|| self.recovering())?.read_events(wanted)
    }

    /// As [`Engine::call_waiting`].
    ///
    /// # Errors
    /// As there, or RECOVERING.
    pub fn call_waiting(&self, call: &Call<'_>) -> Result<Vec<u8>, Refusal> {
        self.engine.get().ok_or_else(|| self.recovering())?.call_waiting(call)
    }

    /// As [`Engine::stats`]; while recovering, only the progress.
    pub fn stats(&self) -> String {
        self.engine.get().map_or_else(
            || {
                let (done_bytes, of_bytes) = self.progress.bytes();
                format!(
                    "{{\"recovering\": true, \"recovery_done_bytes\": {done_bytes}, \"recovery_of_bytes\": {of_bytes}}}"
                )
            },
            Engine::stats,
        )
    }

    /// As [`Engine::drain`]; a recovery is cancelled.
    pub fn drain(&self) {
        self.progress.cancel();
        if let Some(engine) = self.engine.get() {
            engine.drain();
        }
    }

    /// As [`Engine::close`]; a recovery is cancelled.
    pub fn close(&self) {
        self.progress.cancel();
        if let Some(engine) = self.engine.get() {
            engine.close();
        }
    }

    fn recovering(&self) -> Refusal {
        let (done_bytes, of_bytes) = self.progress.bytes();
        Refusal::recovering(done_bytes, of_bytes)
    }
}
