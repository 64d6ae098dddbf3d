//! SubmitStream: batch after batch over one call. Several are under way at once, answers come in the order of the
//! requests, and the first refusal ends the stream after the answers before it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use tokio::time::timeout_at;

use super::answer::Answers;
use super::census::{Partial, UnderWay};
use super::gather::Trouble;
use super::message::Messages;
use super::places::Place;
use super::route::SUBMIT;
use super::station::{Decision, Station};
use super::terms::Terms;
use crate::methods::ANSWER_BYTES_MAX;
use crate::refusal::Refusal;

/// Batches of one stream under way at once. Further ones stay in the transport.
const UNDER_WAY_MAX: usize = 16;
/// Bytes of answers that wait for their commit or their reader beyond which no further batch is taken.
const WAITING_BYTES_MAX: usize = ANSWER_BYTES_MAX;

/// Answers the stream in a task of its own.
pub(super) fn spawn(
    station: Arc<Station>,
    terms: Terms,
    body: RecvStream,
    bytes_max: usize,
    respond: SendResponse<Bytes>,
    under_way: UnderWay,
) {
    let batches = Batches::new(&station, body, bytes_max);
    tokio::spawn(async move {
        let mut answers = Answers::new(respond, station.patience(&terms));
        match run(&station, &terms, batches, &under_way.place, &mut answers).await {
            Ok(()) => answers.end(Ok(())),
            Err(Trouble::Refused(refusal)) => answers.end(Err(refusal)),
            Err(Trouble::Gone) => {}
        }
    });
}

async fn run(
    station: &Station,
    terms: &Terms,
    mut batches: Batches,
    place: &Arc<Place>,
    answers: &mut Answers,
) -> Result<(), Trouble> {
    let mut under_way: VecDeque<Decision> = VecDeque::with_capacity(UNDER_WAY_MAX);
    let mut waiting_bytes = 0;
    let mut takes = true;
    while takes || !under_way.is_empty() {
        let first = under_way.front().map(|decision| decision.rests_on);
        // While earlier answers are not taken, further batches stay in the transport.
        let has_room = under_way.is_empty()
            || under_way.len() < UNDER_WAY_MAX && waiting_bytes < WAITING_BYTES_MAX && station.census.has_room(place);
        tokio::select! {
            biased;
            known = station.durable(first.unwrap_or(0)), if first.is_some() => {
                known?;
                if let Some(decision) = under_way.pop_front() {
                    waiting_bytes -= decision.bytes();
                    answers.message(decision.reply?).await?;
                }
            }
            batch = batches.next(), if takes && has_room => {
                let decision = match batch {
                    Ok(Some(payload)) => station.decide(terms, SUBMIT, &payload, place),
                    Ok(None) => {
                        takes = false;
                        continue;
                    }
                    Err(Trouble::Refused(refusal)) => Decision { reply: Err(refusal), rests_on: 0 },
                    Err(Trouble::Gone) => return Err(Trouble::Gone),
                };
                takes = decision.reply.is_ok();
                waiting_bytes += decision.bytes();
                under_way.push_back(decision);
            }
            () = station.draining(), if takes => {
                takes = false;
                under_way.push_back(Decision { reply: Err(Refusal::draining()), rests_on: 0 });
            }
        }
    }
    Ok(())
}

/// The messages of a stream as they come.
pub(super) struct Batches {
    body: RecvStream,
    messages: Messages,
    partial: Partial,
    patience: Duration,
    /// When the message that has come in part is given up.
    until: Option<Instant>,
}

impl Batches {
    pub(super) fn new(station: &Station, body: RecvStream, bytes_max: usize) -> Self {
        Batches {
            body,
            messages: Messages::new(bytes_max),
            partial: station.census.partial(),
            patience: Duration::from_millis(station.settings.message_ms_max),
            until: None,
        }
    }

    /// The next message; nothing at the end. May be given up while it waits and asked again.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        loop {
            if let Some(message) = self.messages.next()? {
                self.partial.clear();
                self.until = None;
                return Ok(Some(message));
            }
            let coming = poll_fn(|cx| self.body.poll_data(cx));
            let data = if self.messages.is_empty() {
                // Between messages a stream may rest for as long as it likes.
                coming.await
            } else {
                let until = *self.until.get_or_insert_with(|| Instant::now() + self.patience);
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
