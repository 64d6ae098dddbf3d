//! Methods that the door does not answer itself go to the service behind it, over one connection on a unix socket.
//!
//! Messages, answers and trailers pass unchanged in both directions, no faster than the slower side reads them. Only
//! the metadata that the service reads is passed on; anything else ends here, because the service would refuse some of
//! it without an ErrorInfo.

use std::future::{Future, pending, poll_fn};
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Response;
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::{sleep, sleep_until, timeout};

use super::answer::{AnswerStream, send_on};
use super::body::{CallFailure, RequestBody};
use super::bounds::Bound;
use super::call_metadata::CallMetadata;
use super::limits::ActiveCall;
use super::message::framed;
use super::route::CallShape;
use super::submit::MessageStream;
use super::worker::Worker;
use crate::methods;
use crate::refusal::Refusal;

/// How long the service may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// When the door drains, an answer that has begun has this long to end: it may be a stream that never does.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// What the service may send before the caller has read it. The connection as a whole has no window: a caller who reads
/// nothing must not hold up the answers of others.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// The connection to the service, made again when it breaks.
pub(super) struct Forwarder {
    socket: PathBuf,
    connection: Mutex<Option<SendRequest<Bytes>>>,
}

impl Forwarder {
    pub(super) fn new(socket: PathBuf) -> Self {
        Forwarder { socket, connection: Mutex::new(None) }
    }

    /// A connection that accepts a request now; `None` if the service cannot be reached.
    async fn ready(&self) -> Option<SendRequest<Bytes>> {
        let known = self.connection.lock().await.clone();
        if let Some(ready) = still_ready(known).await {
            return Some(ready);
        }
        let mut connection = self.connection.lock().await;
        // Another call may have made it again meanwhile.
        if let Some(ready) = still_ready(connection.clone()).await {
            return Some(ready);
        }
        let made = timeout(CONNECT, self.connect()).await.ok().flatten()?;
        *connection = Some(made.clone());
        drop(connection);
        made.ready().await.ok()
    }

    async fn connect(&self) -> Option<SendRequest<Bytes>> {
        let stream = UnixStream::connect(&self.socket).await.ok()?;
        let mut builder = client::Builder::new();
        builder.enable_push(false).initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        let (sender, connection) = builder.handshake(stream).await.ok()?;
        tokio::spawn(async move {
            // Calls in progress notice its end themselves.
            let _ = connection.await;
        });
        Some(sender)
    }
}

/// The connection, unless it is closed.
async fn still_ready(connection: Option<SendRequest<Bytes>>) -> Option<SendRequest<Bytes>> {
    timeout(CONNECT, connection?.ready()).await.ok()?.ok()
}

/// The request body that goes to the service.
enum ForwardedBody {
    /// One message.
    Message(Bytes),
    /// Short messages as they arrive.
    Stream(MessageStream),
}

/// Forwards the call to the service, in a task of its own. Every message is checked by the door first, because the
/// service would answer a malformed one without an ErrorInfo, or not at all.
pub(super) fn spawn(
    worker: Arc<Worker>,
    metadata: CallMetadata,
    (body, bytes_max, shape): (RecvStream, usize, CallShape),
    respond: SendResponse<Bytes>,
    active_call: ActiveCall,
) {
    tokio::spawn(async move {
        let _under_way = active_call;
        let mut answers = AnswerStream::new(respond, worker.send_deadline(&metadata));
        let question = match shape {
            CallShape::Reflection => Ok(ForwardedBody::Stream(MessageStream::new(&worker, body, bytes_max))),
            _ => one_message(&worker, &metadata, body, bytes_max).await,
        };
        let answered = match question {
            Ok(question) => run(&worker, &metadata, question, shape, &mut answers).await,
            Err(failure) => Err(failure),
        };
        if let Err(CallFailure::Refused(refusal)) = answered {
            answers.end(Err(refusal));
        }
    });
}

async fn one_message(
    worker: &Worker,
    metadata: &CallMetadata,
    body: RecvStream,
    bytes_max: usize,
) -> Result<ForwardedBody, CallFailure> {
    let message = RequestBody::new(body, bytes_max).whole(worker, metadata).await?;
    Ok(ForwardedBody::Message(framed(&message)))
}

async fn run(
    worker: &Worker,
    metadata: &CallMetadata,
    question: ForwardedBody,
    shape: CallShape,
    answers: &mut AnswerStream,
) -> Result<(), CallFailure> {
    metadata.call(metadata.path(), &[])?;
    let forward = worker.forward.as_ref().ok_or_else(|| Refusal::unimplemented("the method"))?;
    let _active_forward = worker.limits.forward(shape != CallShape::Unary)?;
    // A call that was cancelled meanwhile is not forwarded.
    if poll_fn(|cx| Poll::Ready(answers.poll_gone(cx).is_ready())).await {
        return Err(CallFailure::CallerGone);
    }
    let asked = match forward.ready().await {
        Some(mut service) => metadata.forwarded().and_then(|request| service.send_request(request, false).ok()),
        None => None,
    };
    let (response, to) = asked.ok_or_else(Refusal::draining)?;
    tokio::select! {
        biased;
        answered = answering(response, answers, metadata.path()) => answered,
        failure = failed(ask(question, to)) => Err(failure),
        refusal = end_of_stream(worker, metadata, shape) => Err(refusal.into()),
    }
}

async fn ask(question: ForwardedBody, mut to: SendStream<Bytes>) -> Result<(), CallFailure> {
    match question {
        ForwardedBody::Message(message) => send_on(&mut to, message).await?,
        ForwardedBody::Stream(mut messages) => {
            while let Some(message) = messages.next().await? {
                send_on(&mut to, framed(&message)).await?;
            }
        }
    }
    Ok(to.send_data(Bytes::new(), true)?)
}

/// Completes only if the request is refused. However else it ends, the answer is waited for.
async fn failed(asking: impl Future<Output = Result<(), CallFailure>>) -> CallFailure {
    match asking.await {
        Err(CallFailure::Refused(refusal)) => CallFailure::Refused(refusal),
        Err(CallFailure::CallerGone) | Ok(()) => pending().await,
    }
}

/// Completes when a stream must end, since it may never end by itself. A single answer is always waited for, because
/// the command may happen.
async fn end_of_stream(worker: &Worker, metadata: &CallMetadata, shape: CallShape) -> Refusal {
    let lasts = match shape {
        CallShape::Unary => return pending().await,
        CallShape::Watch => metadata.deadline(),
        CallShape::Reflection => {
            let most = Instant::now() + Duration::from_millis(worker.settings.reflection_ms_max);
            Some(metadata.deadline().map_or(most, |deadline| deadline.min(most)))
        }
    };
    tokio::select! {
        () = drain_grace(worker) => Refusal::draining(),
        () = until(lasts) => {
            worker.limits.bounds.acted(Bound::ReflectionEnded);
            Refusal::stream_over()
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment.into()).await,
        None => pending().await,
    }
}

async fn drain_grace(worker: &Worker) {
    worker.draining().await;
    sleep(DRAIN_GRACE).await;
}

async fn answering(response: ResponseFuture, answers: &mut AnswerStream, path: &str) -> Result<(), CallFailure> {
    let response = tokio::select! {
        biased;
        response = response => response,
        () = answers.gone() => return Err(CallFailure::CallerGone),
    };
    let (parts, mut from) = response.map_err(|error| broken(&error, path))?.into_parts();
    let ends = from.is_end_stream();
    answers.begin(Response::from_parts(parts, ()), ends)?;
    if ends {
        return Ok(());
    }
    while let Some(data) = poll_fn(|cx| poll_data(&mut from, answers, path, cx)).await? {
        let bytes = data.len();
        answers.data(data).await?;
        from.flow_control().release_capacity(bytes).map_err(|_| ended(path))?;
    }
    let trailers = poll_fn(|cx| from.poll_trailers(cx)).await.map_err(|_| ended(path))?;
    Ok(answers.finish(trailers)?)
}

/// The next data from the service, unless the caller is gone.
fn poll_data(
    from: &mut RecvStream,
    answers: &mut AnswerStream,
    path: &str,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Bytes>, CallFailure>> {
    if answers.poll_gone(cx).is_ready() {
        return Poll::Ready(Err(CallFailure::CallerGone));
    }
    from.poll_data(cx).map(|data| data.transpose().map_err(|_| ended(path).into()))
}

/// The refusal of a call whose answer did not arrive.
fn broken(error: &h2::Error, path: &str) -> Refusal {
    // The service answers this for a call that it did not look at.
    if error.reason() == Some(Reason::REFUSED_STREAM) { Refusal::draining() } else { ended(path) }
}

/// The service ended during the call.
fn ended(path: &str) -> Refusal {
    let cause = "the service behind the door ended while the call was in progress";
    let (mut refusal, advice) = if methods::is_read(path) {
        (Refusal::draining(), "ask again")
    } else {
        (Refusal::outcome_unknown(), "it may have had its effect; repeat it with the same key")
    };
    refusal.message = format!("{cause}; {advice}");
    refusal
}
