//! The one message of a unary call, gathered from its body as it comes.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use tokio::time::sleep_until;

use super::answer::Gone;
use super::bounds::Bound;
use super::census::{Census, Partial};
use super::message::Messages;
use super::station::Station;
use super::terms::Terms;
use crate::refusal::Refusal;

/// Why a message did not come.
pub(super) enum Trouble {
    /// The caller has left.
    Gone,
    /// What came is refused.
    Refused(Refusal),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Trouble::Refused(refusal)
    }
}

impl From<Gone> for Trouble {
    fn from(_: Gone) -> Self {
        Trouble::Gone
    }
}

impl From<h2::Error> for Trouble {
    fn from(_: h2::Error) -> Self {
        Trouble::Gone
    }
}

/// A message on its way in.
pub(super) struct Gathering {
    body: RecvStream,
    messages: Messages,
    partial: Option<Partial>,
}

impl Gathering {
    pub(super) fn new(body: RecvStream, bytes_max: usize) -> Self {
        Gathering { body, messages: Messages::new(bytes_max), partial: None }
    }

    /// The message, if all of it has come. Counts what has come while it comes.
    pub(super) fn poll(&mut self, census: &Arc<Census>, cx: &mut Context<'_>) -> Poll<Result<Bytes, Trouble>> {
        while let Some(data) = std::task::ready!(self.body.poll_data(cx)) {
            let data = data?;
            let bytes = data.len();
            self.messages.push(data);
            if self.body.is_end_stream() {
                break;
            }
            self.messages.check_only()?;
            self.partial.get_or_insert_with(|| census.partial()).grow(bytes)?;
            self.body.flow_control().release_capacity(bytes)?;
        }
        Poll::Ready(self.messages.only().map_err(Trouble::Refused))
    }

    /// The message once it has come. Refuses one that takes longer than its deadline or the door's limit, or than the
    /// door stays open.
    pub(super) async fn whole(mut self, station: &Station, terms: &Terms) -> Result<Bytes, Trouble> {
        let limit = Instant::now() + Duration::from_millis(station.settings.message_ms_max);
        let until = terms.deadline().map_or(limit, |deadline| deadline.min(limit));
        tokio::select! {
            biased;
            () = station.draining() => Err(Refusal::draining().into()),
            message = poll_fn(|cx| self.poll(&station.census, cx)) => message,
            () = sleep_until(until.into()) => {
                station.census.bounds.acted(Bound::MessageLate);
                Err(Refusal::deadline().into())
            }
        }
    }
}
