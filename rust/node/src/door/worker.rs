//! What all connections of one worker thread share, and the two things that they do with it: decide calls, and wait
//! until the decisions are durable.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::answer::SendDeadline;
use super::bell::{Bell, Registration};
use super::call_metadata::CallMetadata;
use super::connections::ConnectionState;
use super::forward::Forwarder;
use super::limits::Limits;
use super::message::counted;
use super::port::Port;
use super::settings::DoorSettings;
use crate::engine::{Decision, Durable};
use crate::incident;
use crate::refusal::Refusal;

/// The phase of a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DoorPhase {
    /// It accepts calls.
    Serving,
    /// It answers what was accepted and refuses the rest.
    Draining,
    /// It ends.
    Closed,
}

/// The decision on a call, with the answer framed.
pub(super) struct FramedDecision {
    /// The framed message, or the refusal.
    pub(super) reply: Result<Bytes, Refusal>,
    pub(super) depends_on: u64,
}

impl FramedDecision {
    /// Bytes of the answer.
    pub(super) fn bytes(&self) -> usize {
        self.reply.as_ref().map_or(0, Bytes::len)
    }
}

/// One worker thread of a door.
pub(super) struct Worker {
    pub(super) port: Arc<dyn Port>,
    pub(super) bell: Arc<Bell>,
    pub(super) limits: Arc<Limits>,
    pub(super) forward: Option<Forwarder>,
    pub(super) phase: watch::Receiver<DoorPhase>,
    pub(super) settings: DoorSettings,
}

impl Worker {
    pub(super) fn is_draining(&self) -> bool {
        *self.phase.borrow() != DoorPhase::Serving
    }

    /// Completes once the door drains.
    pub(super) async fn draining(&self) {
        let mut phase = self.phase.clone();
        // A door that was dropped drains as well.
        let _ = phase.wait_for(|phase| *phase != DoorPhase::Serving).await;
    }

    /// Decides a call now. Even if the decision panics, the caller gets an answer. The bytes of the answer are counted
    /// until the caller has read them.
    pub(super) fn decide(
        &self,
        metadata: &CallMetadata,
        path: &str,
        payload: &[u8],
        state: &Arc<ConnectionState>,
    ) -> FramedDecision {
        let refused = |refusal| Decision { reply: Err(refusal), depends_on: 0 };
        let decision = match metadata.call(path, payload) {
            Ok(call) => catch_unwind(AssertUnwindSafe(|| self.port.call(&call)))
                .unwrap_or_else(|panic| refused(incident::report(path, incident::cause(&*panic)))),
            Err(refusal) => refused(refusal),
        };
        let reply = decision.reply.and_then(|message| self.framed(path, &message, state));
        FramedDecision { reply, depends_on: decision.depends_on }
    }

    /// An answer as it is sent; its bytes are counted until the caller has read them.
    pub(super) fn framed(&self, path: &str, message: &[u8], state: &Arc<ConnectionState>) -> Result<Bytes, Refusal> {
        let unsent = self.limits.unsent(state, message.len()).ok_or_else(|| Refusal::answer_dropped(path))?;
        Ok(counted(message, unsent))
    }

    /// Runs work that may wait for a disk on a blocking thread.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        path: &str,
        work: impl FnOnce(&dyn Port) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let port = Arc::clone(&self.port);
        match spawn_blocking(move || work(&*port)).await {
            Ok(done) => done,
            Err(ended) => {
                let panic = ended.try_into_panic();
                let cause = panic.as_ref().map_or("the work was ended", |panic| incident::cause(&**panic));
                Err(incident::report(path, cause))
            }
        }
    }

    /// How long the answer to a call may wait for its caller.
    pub(super) fn send_deadline(&self, metadata: &CallMetadata) -> SendDeadline {
        let stall = Duration::from_millis(self.settings.stall_ms_max);
        SendDeadline { stall, until: metadata.deadline(), limits: Arc::clone(&self.limits) }
    }

    /// Completes once everything up to `sequence`, on which the answer to a call of this method depends, is durable.
    ///
    /// # Errors
    /// It may never become durable: the outcome of a command is unknown.
    pub(super) async fn durable(&self, sequence: u64, path: &str) -> Result<(), Refusal> {
        let mut registration = Registration::default();
        poll_fn(|cx| self.poll_durable(sequence, &mut registration, cx))
            .await
            .map_err(|_| Refusal::journal_failed(path))
    }

    fn poll_durable(
        &self,
        sequence: u64,
        registration: &mut Registration,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), JournalFailed>> {
        if let Some(outcome) = outcome(self.port.durable(), sequence) {
            return Poll::Ready(outcome);
        }
        self.bell.register(registration, cx.waker());
        outcome(self.port.durable(), sequence).map_or(Poll::Pending, Poll::Ready)
    }
}

/// The journal failed: what is not durable may never be.
pub(super) struct JournalFailed;

/// Whether an answer that depends on `sequence` may be sent; `None` while that is not known yet.
pub(super) fn outcome(durable: Durable, sequence: u64) -> Option<Result<(), JournalFailed>> {
    if durable.sequence >= sequence {
        Some(Ok(()))
    } else if durable.poisoned {
        Some(Err(JournalFailed))
    } else {
        None
    }
}
