//! What all connections of one door thread share, and the two things that they do with it: decide, and wait until what
//! was decided is durable.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::answer::Patience;
use super::bell::{Bell, Seat};
use super::census::Census;
use super::desk::Desk;
use super::forward::Forward;
use super::message::counted;
use super::places::Place;
use super::settings::DoorSettings;
use super::terms::Terms;
use crate::engine::{Durable, Taken};
use crate::incident;
use crate::methods::{self, Kind};
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

/// What a call gets, and what that rests on.
pub(super) struct Decision {
    /// The message as it goes out.
    pub(super) reply: Result<Bytes, Refusal>,
    pub(super) rests_on: u64,
}

impl Decision {
    /// Bytes of the answer.
    pub(super) fn bytes(&self) -> usize {
        self.reply.as_ref().map_or(0, Bytes::len)
    }
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

    /// Decides a call now. Whatever happens in there, the caller gets an answer of its own. Its bytes are counted from
    /// now on until the caller has taken them.
    pub(super) fn decide(&self, terms: &Terms, path: &str, payload: &[u8], place: &Arc<Place>) -> Decision {
        let refused = |refusal| Taken { reply: Err(refusal), rests_on: 0 };
        let taken = match terms.call(path, payload) {
            Ok(call) => catch_unwind(AssertUnwindSafe(|| self.desk.call(&call)))
                .unwrap_or_else(|panic| refused(incident::report(path, incident::cause(&*panic)))),
            Err(refusal) => refused(refusal),
        };
        let reply = taken.reply.and_then(|message| {
            let untaken = self.census.untaken(place, message.len()).ok_or_else(|| {
                Refusal::answer_dropped(methods::find(path).is_some_and(|method| matches!(method.kind, Kind::Read(_))))
            })?;
            Ok(counted(&message, untaken))
        });
        Decision { reply, rests_on: taken.rests_on }
    }

    /// How long an answer to a call may wait for its caller.
    pub(super) fn patience(&self, terms: &Terms) -> Patience {
        let stall = Duration::from_millis(self.settings.stall_ms_max);
        Patience { stall, until: terms.deadline(), census: Arc::clone(&self.census) }
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
