//! ReadEvents: durable events from a position on, and with `follow` the events to come.

use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use invengine_wire::v1;
use prost::Message;
use tokio::task::spawn_blocking;

use super::answer::AnswerStream;
use super::body::{CallFailure, RequestBody};
use super::call_metadata::CallMetadata;
use super::limits::ActiveCall;
use super::message::framed;
use super::port::Port;
use super::worker::Worker;
use crate::engine::{Call, EventQuery};
use crate::incident;
use crate::refusal::Refusal;

const EVENTS_A_MESSAGE: u64 = 500;

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
    // Without `follow` the stream ends at the sequence that was durable when it began, however fast the journal grows.
    let end = if wanted.follow { u64::MAX } else { worker.port.durable().sequence };
    while wanted.limit > 0 && wanted.next <= end {
        tokio::select! {
            biased;
            () = worker.draining() => return Err(Refusal::draining().into()),
            known = worker.durable(wanted.next, metadata.path()) => known?,
            () = answers.gone() => return Err(CallFailure::CallerGone),
        }
        let most = wanted.limit.min(EVENTS_A_MESSAGE).min(end - wanted.next + 1);
        let (message, count) = read(worker, wanted.next, most, metadata.path()).await?;
        if count == 0 {
            // Cannot happen with an intact journal; a loop without progress would be worse than an end.
            return Err(incident::report(metadata.path(), "the journal has no event that is durable").into());
        }
        answers.message(framed(&message)).await?;
        (wanted.next, wanted.limit) = (wanted.next + count, wanted.limit - count);
    }
    Ok(())
}

/// What the call asks for and where it begins; may wait for a disk.
async fn begin(worker: &Worker, metadata: &CallMetadata, payload: Bytes) -> Result<EventQuery, Refusal> {
    let Call { key, ledger, deadline, .. } = metadata.call(metadata.path(), &payload)?;
    let (path, key, ledger) = (metadata.path().to_owned(), key.to_owned(), ledger.to_owned());
    run_blocking(worker, metadata.path(), move |port| {
        port.begin_events(&Call { path: &path, payload: &payload, key: &key, ledger: &ledger, deadline })
    })
    .await
}

/// Runs work that may wait for a disk on a blocking thread.
async fn run_blocking<T: Send + 'static>(
    worker: &Worker,
    path: &str,
    work: impl FnOnce(&dyn Port) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let port = Arc::clone(&worker.port);
    match spawn_blocking(move || work(&*port)).await {
        Ok(done) => done,
        Err(ended) => {
            let panic = ended.try_into_panic();
            let cause = panic.as_ref().map_or("the reader was ended", |panic| incident::cause(&**panic));
            Err(incident::report(path, cause))
        }
    }
}

/// A message of up to `most` events, and their number.
async fn read(worker: &Worker, from: u64, most: u64, path: &str) -> Result<(Vec<u8>, u64), Refusal> {
    let answer = run_blocking(worker, path, move |port| port.read_events(from, most as usize)).await?;
    let read =
        v1::ReadEventsResponse::decode(&answer[..]).map_err(|error| incident::report(path, &error.to_string()))?;
    Ok((answer, read.events.len() as u64))
}
