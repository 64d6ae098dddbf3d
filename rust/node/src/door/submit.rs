//! SubmitStream and RecordMessageStream: batch after batch over one call. Several are in progress at once, answers are sent in the order of the
//! requests, and the first refusal ends the stream after the answers before it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use tokio::time::timeout_at;

use super::answer::AnswerStream;
use super::body::CallFailure;
use super::call_metadata::CallMetadata;
use super::connections::ConnectionState;
use super::limits::{ActiveCall, PartialBytes};
use super::message::MessageDecoder;
use super::worker::{FramedDecision, Worker};
use crate::refusal::Refusal;
use crate::sizes::ANSWER_BYTES_MAX;

/// Most batches of one stream in progress at once. Further ones stay in the transport.
const PENDING_MAX: usize = 16;
/// When the answers that wait for their commit or their reader have this many bytes, no further batch is read.
const WAITING_BYTES_MAX: usize = ANSWER_BYTES_MAX;

/// Answers the stream in a task of its own; each batch as a call of the method with this path.
pub(super) fn spawn(
    worker: Arc<Worker>,
    metadata: CallMetadata,
    (body, bytes_max, path): (RecvStream, usize, &'static str),
    respond: SendResponse<Bytes>,
    active_call: ActiveCall,
) {
    let messages = MessageStream::new(&worker, body, bytes_max);
    tokio::spawn(async move {
        let mut answers = AnswerStream::new(respond, worker.send_deadline(&metadata));
        match run(&worker, &metadata, (messages, path), &active_call.state, &mut answers).await {
            Ok(()) => answers.end(Ok(())),
            Err(CallFailure::Refused(refusal)) => answers.end(Err(refusal)),
            Err(CallFailure::CallerGone) => {}
        }
    });
}

async fn run(
    worker: &Worker,
    metadata: &CallMetadata,
    (mut messages, path): (MessageStream, &'static str),
    state: &Arc<ConnectionState>,
    answers: &mut AnswerStream,
) -> Result<(), CallFailure> {
    let mut pending: VecDeque<FramedDecision> = VecDeque::with_capacity(PENDING_MAX);
    let mut waiting_bytes = 0;
    let mut takes = true;
    while takes || !pending.is_empty() {
        let first = pending.front().map(|decision| decision.depends_on);
        // While earlier answers are unread, further batches stay in the transport.
        let has_room = pending.is_empty()
            || pending.len() < PENDING_MAX && waiting_bytes < WAITING_BYTES_MAX && worker.limits.has_room(state);
        tokio::select! {
            biased;
            known = worker.durable(first.unwrap_or(0), path), if first.is_some() => {
                known?;
                if let Some(decision) = pending.pop_front() {
                    waiting_bytes -= decision.bytes();
                    answers.message(decision.reply?).await?;
                }
            }
            batch = messages.next(), if takes && has_room => {
                let decision = match batch {
                    Ok(Some(payload)) => worker.decide(metadata, path, &payload, state),
                    Ok(None) => {
                        takes = false;
                        continue;
                    }
                    Err(CallFailure::Refused(refusal)) => FramedDecision { reply: Err(refusal), depends_on: 0 },
                    Err(CallFailure::CallerGone) => return Err(CallFailure::CallerGone),
                };
                takes = decision.reply.is_ok();
                waiting_bytes += decision.bytes();
                pending.push_back(decision);
            }
            () = worker.draining(), if takes => {
                takes = false;
                pending.push_back(FramedDecision { reply: Err(Refusal::draining()), depends_on: 0 });
            }
        }
    }
    Ok(())
}

/// The messages of a request stream as they arrive.
pub(super) struct MessageStream {
    body: RecvStream,
    messages: MessageDecoder,
    partial: PartialBytes,
    message_timeout: Duration,
    /// When an incomplete message is refused.
    until: Option<Instant>,
}

impl MessageStream {
    pub(super) fn new(worker: &Worker, body: RecvStream, bytes_max: usize) -> Self {
        MessageStream {
            body,
            messages: MessageDecoder::new(bytes_max),
            partial: worker.limits.partial(),
            message_timeout: Duration::from_millis(worker.settings.message_ms_max),
            until: None,
        }
    }

    /// The next message; `None` at the end. Cancel safe: may be dropped while it waits and called again.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, CallFailure> {
        loop {
            if let Some(message) = self.messages.next()? {
                self.partial.clear();
                self.until = None;
                return Ok(Some(message));
            }
            let coming = poll_fn(|cx| self.body.poll_data(cx));
            let data = if self.messages.is_empty() {
                // Between messages a stream may be idle for as long as it likes.
                coming.await
            } else {
                let until = *self.until.get_or_insert_with(|| Instant::now() + self.message_timeout);
                timeout_at(until.into(), coming).await.map_err(|_| Refusal::deadline())?
            };
            let Some(data) = data.transpose()? else {
                return if self.messages.is_empty() { Ok(None) } else { Err(Refusal::malformed().into()) };
            };
            self.body.flow_control().release_capacity(data.len())?;
            self.partial.grow(data.len())?;
            self.messages.push(data);
        }
    }
}
