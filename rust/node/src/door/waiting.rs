//! Unary calls that read the journal: they wait for a disk on a blocking thread, and for nothing else.

use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;

use super::answer;
use super::body::{CallFailure, RequestBody};
use super::call_metadata::CallMetadata;
use super::connections::ConnectionState;
use super::limits::ActiveCall;
use super::worker::Worker;
use crate::engine::Call;
use crate::refusal::Refusal;

/// Answers the call in a task of its own.
pub(super) fn spawn(
    worker: Arc<Worker>,
    metadata: CallMetadata,
    request_body: RequestBody,
    respond: SendResponse<Bytes>,
    active_call: ActiveCall,
) {
    tokio::spawn(async move {
        let reply = match request_body.whole(&worker, &metadata).await {
            Ok(payload) => run(&worker, &metadata, payload, &active_call.state).await,
            Err(CallFailure::Refused(refusal)) => Err(refusal),
            Err(CallFailure::CallerGone) => return,
        };
        answer::reply(respond, reply, active_call, || worker.send_deadline(&metadata));
    });
}

async fn run(
    worker: &Worker,
    metadata: &CallMetadata,
    payload: Bytes,
    state: &Arc<ConnectionState>,
) -> Result<Bytes, Refusal> {
    let Call { path, key, ledger, deadline, .. } = metadata.call(metadata.path(), &payload)?;
    let (path, key, ledger) = (path.to_owned(), key.to_owned(), ledger.to_owned());
    let answer = worker.blocking(metadata.path(), move |port| {
        port.call_waiting(&Call { path: &path, payload: &payload, key: &key, ledger: &ledger, deadline })
    });
    worker.framed(metadata.path(), &answer.await?, state)
}
