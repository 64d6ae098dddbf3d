//! What all connections of one door thread share, and the two things that they do with it: decide, and wait until what
//! was decided is durable.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::watch;

use super::bell::{Bell, Seat};
use super::census::Census;
use super::desk::Desk;
use super::forward::Forward;
use super::settings::DoorSettings;
use super::terms::Terms;
use crate::engine::{Durable, Taken};
use crate::incident;
use crate::refusal::Refusal;

/// What a door is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Take calls.
    Serving,
    /// Answer what was taken, refuse the rest.
    Draining,
    /// End.
    Closed,
}

/// One thread of a door.
pub(super) struct Station {
    pub(super) desk: Arc<dyn Desk>,
    pub(super) bell: Arc<Bell>,
    pub(super) census: Arc<Census>,
    pub(super) forward: Option<Forward>,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) settings: DoorSettings,
}

impl Station {
    pub(super) fn is_draining(&self) -> bool {
        *self.phase.borrow() != Phase::Serving
    }

    /// Done once the door drains.
    pub(super) async fn draining(&self) {
        let mut phase = self.phase.clone();
        // A door that is gone drains as well.
        let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
    }

    /// Decides a call now. Whatever happens in there, the caller gets an answer of its own.
    pub(super) fn decide(&self, terms: &Terms, path: &str, payload: &[u8]) -> Taken {
        let refused = |refusal| Taken { reply: Err(refusal), rests_on: 0 };
        match terms.call(path, payload) {
            Ok(call) => catch_unwind(AssertUnwindSafe(|| self.desk.call(&call)))
                .unwrap_or_else(|panic| refused(incident::report(path, incident::cause(&*panic)))),
            Err(refusal) => refused(refusal),
        }
    }

    /// Done once everything up to `sequence` is durable.
    ///
    /// # Errors
    /// It never will be, as far as anybody knows.
    pub(super) async fn durable(&self, sequence: u64) -> Result<(), Refusal> {
        let mut seat = Seat::default();
        poll_fn(|cx| self.poll_durable(sequence, &mut seat, cx)).await
    }

    fn poll_durable(&self, sequence: u64, seat: &mut Seat, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        if let Some(outcome) = outcome(self.desk.durable(), sequence) {
            return Poll::Ready(outcome);
        }
        self.bell.sit(seat, cx.waker());
        outcome(self.desk.durable(), sequence).map_or(Poll::Pending, Poll::Ready)
    }
}

/// Whether what rests on `sequence` may be told, or never will be; nothing while it is not known yet.
pub(super) fn outcome(durable: Durable, sequence: u64) -> Option<Result<(), Refusal>> {
    if durable.sequence >= sequence {
        Some(Ok(()))
    } else if durable.poisoned {
        Some(Err(Refusal::outcome_unknown()))
    } else {
        None
    }
}
