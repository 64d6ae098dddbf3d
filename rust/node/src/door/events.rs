//! ReadEvents: durable events from a position on, and with `follow` the events to come.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use tokio::time::{Instant, sleep, sleep_until};

use super::answer::{AnswerStream, CallerGone};
use super::body::{CallFailure, RequestBody};
use super::call_metadata::CallMetadata;
use super::limits::ActiveCall;
use super::message::framed;
use super::worker::Worker;
use crate::engine::{Call, EventPage, EventQuery};
use crate::incident;
use crate::refusal::Refusal;

const EVENTS_A_MESSAGE: u64 = 500;
/// How long a reader whose filter matches nothing is not told how far it was read to.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How long a reader that is up to date, and got nothing from the last events, lets new ones come: a filter that rarely
/// matches is not checked after each of thousands of commits a second.
const IDLE_PAUSE: Duration = Duration::from_millis(25);

/// Answers the call in a task of its own.
pub(super) fn spawn(
    worker: Arc<Worker>,
    metadata: CallMetadata,
    request_body: RequestBody,
    respond: SendResponse<Bytes>,
    active_call: ActiveCall,
) {
    tokio::spawn(async move {
        let _under_way = active_call;
        let mut answers = AnswerStream::new(respond, worker.send_deadline(&metadata));
        match run(&worker, &metadata, request_body, &mut answers).await {
            Ok(()) => answers.end(Ok(())),
            Err(CallFailure::Refused(refusal)) => answers.end(Err(refusal)),
            Err(CallFailure::CallerGone) => {}
        }
    });
}

async fn run(
    worker: &Worker,
    metadata: &CallMetadata,
    request_body: RequestBody,
    answers: &mut AnswerStream,
) -> Result<(), CallFailure> {
    let payload = request_body.whole(worker, metadata).await?;
    let _active_reader = worker.limits.reader()?;
    let mut wanted = begin(worker, metadata, payload).await?;
    let mut progress = Progress { message: None, sent: Instant::now() };
    while wanted.limit > 0 && wanted.next <= wanted.last {
        tokio::select! {
            biased;
            () = worker.draining() => return Err(Refusal::draining().into()),
            known = worker.durable(wanted.next, metadata.path()) => known?,
            () = answers.gone() => return Err(CallFailure::CallerGone),
            () = progress.due() => {
                progress.send(answers).await?;
                continue;
            }
        }
        let page;
        (wanted, page) = read(worker, wanted, metadata.path()).await?;
        if page.next == wanted.next {
            // Cannot happen with an intact journal; a loop without progress would be worse than an end.
            return Err(incident::report(metadata.path(), "the journal has no event that is durable").into());
        }
        (wanted.next, wanted.limit) = (page.next, wanted.limit - page.events);
        progress.message = Some(page.message);
        if page.events > 0 || progress.sent.elapsed() >= PROGRESS_INTERVAL {
            progress.send(answers).await?;
        } else if wanted.follows() && worker.port.durable().sequence < wanted.next {
            sleep(IDLE_PAUSE).await;
        }
    }
    Ok(progress.send(answers).await?)
}

/// How far the reader was read to without being told.
struct Progress {
    message: Option<Vec<u8>>,
    sent: Instant,
}

impl Progress {
    /// Completes when the reader is to be told; never if there is nothing to tell.
    async fn due(&self) {
        match self.message {
            Some(_) => sleep_until(self.sent + PROGRESS_INTERVAL).await,
            None => pending().await,
        }
    }

    async fn send(&mut self, answers: &mut AnswerStream) -> Result<(), CallerGone> {
        if let Some(message) = self.message.take() {
            answers.message(framed(&message)).await?;
            self.sent = Instant::now();
        }
        Ok(())
    }
}

/// What the call asks for and where it begins; may wait for a disk.
async fn begin(worker: &Worker, metadata: &CallMetadata, payload: Bytes) -> Result<EventQuery, Refusal> {
    let Call { key, ledger, deadline, .. } = metadata.call(metadata.path(), &payload)?;
    let (path, key, ledger) = (metadata.path().to_owned(), key.to_owned(), ledger.to_owned());
    worker
        .blocking(metadata.path(), move |port| {
            port.begin_events(&Call { path: &path, payload: &payload, key: &key, ledger: &ledger, deadline })
        })
        .await
}

/// The next events; returns the query too, because the thread that reads needs it meanwhile.
async fn read(worker: &Worker, wanted: EventQuery, path: &str) -> Result<(EventQuery, EventPage), Refusal> {
    worker
        .blocking(path, move |port| {
            let limit = wanted.limit.min(EVENTS_A_MESSAGE);
            let page = port.read_events(&EventQuery { limit, ..wanted.clone() })?;
            Ok((wanted, page))
        })
        .await
}
