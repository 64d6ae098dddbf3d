//! Reads the single message of a unary call from its request body.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use tokio::time::sleep_until;

use super::answer::CallerGone;
use super::bounds::Bound;
use super::call_metadata::CallMetadata;
use super::limits::{Limits, PartialBytes};
use super::message::MessageDecoder;
use super::worker::Worker;
use crate::refusal::Refusal;

/// Why a call ends without an answer of its own.
pub(super) enum CallFailure {
    /// The caller is gone.
    CallerGone,
    /// The call is refused.
    Refused(Refusal),
}

impl From<Refusal> for CallFailure {
    fn from(refusal: Refusal) -> Self {
        CallFailure::Refused(refusal)
    }
}

impl From<CallerGone> for CallFailure {
    fn from(_: CallerGone) -> Self {
        CallFailure::CallerGone
    }
}

impl From<h2::Error> for CallFailure {
    fn from(_: h2::Error) -> Self {
        CallFailure::CallerGone
    }
}

/// The body of a unary request while it arrives.
pub(super) struct RequestBody {
    body: RecvStream,
    messages: MessageDecoder,
    partial: Option<PartialBytes>,
}

impl RequestBody {
    pub(super) fn new(body: RecvStream, bytes_max: usize) -> Self {
        RequestBody { body, messages: MessageDecoder::new(bytes_max), partial: None }
    }

    /// The message, once all of it has arrived. Counts its bytes while it is incomplete.
    pub(super) fn poll(&mut self, limits: &Arc<Limits>, cx: &mut Context<'_>) -> Poll<Result<Bytes, CallFailure>> {
        while let Some(data) = std::task::ready!(self.body.poll_data(cx)) {
            let data = data?;
            let bytes = data.len();
            self.messages.push(data);
            if self.body.is_end_stream() {
                break;
            }
            self.messages.check_only()?;
            self.partial.get_or_insert_with(|| limits.partial()).grow(bytes)?;
            self.body.flow_control().release_capacity(bytes)?;
        }
        Poll::Ready(self.messages.only().map_err(CallFailure::Refused))
    }

    /// Waits for the message. Refuses it if it takes longer than its deadline or the door's limit, or if the door
    /// drains.
    pub(super) async fn whole(mut self, worker: &Worker, metadata: &CallMetadata) -> Result<Bytes, CallFailure> {
        let limit = Instant::now() + Duration::from_millis(worker.settings.message_ms_max);
        let until = metadata.deadline().map_or(limit, |deadline| deadline.min(limit));
        tokio::select! {
            biased;
            () = worker.draining() => Err(Refusal::draining().into()),
            message = poll_fn(|cx| self.poll(&worker.limits, cx)) => message,
            () = sleep_until(until.into()) => {
                worker.limits.bounds.acted(Bound::MessageLate);
                Err(Refusal::deadline().into())
            }
        }
    }
}
