//! Methods that the door does not answer itself go to the service behind it, over one connection on a unix socket.
//!
//! Messages, answers and trailers pass unchanged, both ways, no faster than the slower side takes them. Of the metadata
//! goes on what the service reads; whatever else a caller may send ends here, since the service would refuse some of it
//! in words of its own.

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

use super::answer::{Answers, send_on};
use super::bounds::Bound;
use super::census::UnderWay;
use super::gather::{Gathering, Trouble};
use super::message::framed;
use super::route::Shape;
use super::station::Station;
use super::submit::Batches;
use super::terms::Terms;
use crate::refusal::Refusal;

/// How long the service may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// When draining, an answer that has begun has this long to end: it may be a stream that never does.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// What the service may send before its caller has taken it. The connection as a whole has no window: one who takes
/// nothing must not keep the answers of the others.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// The way to the service: one connection, made anew when it breaks.
pub(super) struct Forward {
    socket: PathBuf,
    connection: Mutex<Option<SendRequest<Bytes>>>,
}

impl Forward {
    pub(super) fn new(socket: PathBuf) -> Self {
        Forward { socket, connection: Mutex::new(None) }
    }

    /// A connection that takes a request now; nothing if the service is away.
    async fn ready(&self) -> Option<SendRequest<Bytes>> {
        let known = self.connection.lock().await.clone();
        if let Some(ready) = still_ready(known).await {
            return Some(ready);
        }
        let mut connection = self.connection.lock().await;
        // Somebody else may have made it anew meanwhile.
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
            // Calls under way learn of its end themselves.
            let _ = connection.await;
        });
        Some(sender)
    }
}

/// The connection, unless it is closed.
async fn still_ready(connection: Option<SendRequest<Bytes>>) -> Option<SendRequest<Bytes>> {
    timeout(CONNECT, connection?.ready()).await.ok()?.ok()
}

/// What a caller asks.
enum Question {
    /// One message.
    Message(Bytes),
    /// Short messages as they come.
    Stream(Batches),
}

/// Has the service answer the call, in a task of its own. Every message gets the checks of the door, since the service
/// would answer what is no message without an ErrorInfo, or not at all.
pub(super) fn spawn(
    station: Arc<Station>,
    terms: Terms,
    (body, bytes_max, shape): (RecvStream, usize, Shape),
    respond: SendResponse<Bytes>,
    under_way: UnderWay,
) {
    tokio::spawn(async move {
        let _under_way = under_way;
        let mut answers = Answers::new(respond, station.patience(&terms));
        let question = match shape {
            Shape::Reflection => Ok(Question::Stream(Batches::new(&station, body, bytes_max))),
            _ => one_message(&station, &terms, body, bytes_max).await,
        };
        let answered = match question {
            Ok(question) => run(&station, &terms, question, shape, &mut answers).await,
            Err(trouble) => Err(trouble),
        };
        if let Err(Trouble::Refused(refusal)) = answered {
            answers.end(Err(refusal));
        }
    });
}

async fn one_message(
    station: &Station,
    terms: &Terms,
    body: RecvStream,
    bytes_max: usize,
) -> Result<Question, Trouble> {
    let message = Gathering::new(body, bytes_max).whole(station, terms).await?;
    Ok(Question::Message(framed(&message)))
}

async fn run(
    station: &Station,
    terms: &Terms,
    question: Question,
    shape: Shape,
    answers: &mut Answers,
) -> Result<(), Trouble> {
    terms.call(terms.path(), &[])?;
    let forward = station.forward.as_ref().ok_or_else(|| Refusal::unimplemented("the method"))?;
    let _forwarded = station.census.forward(shape != Shape::Unary)?;
    // A call that was given up meanwhile is not worth the way.
    if poll_fn(|cx| Poll::Ready(answers.poll_gone(cx).is_ready())).await {
        return Err(Trouble::Gone);
    }
    let asked = match forward.ready().await {
        Some(mut service) => terms.forwarded().and_then(|request| service.send_request(request, false).ok()),
        None => None,
    };
    let (response, to) = asked.ok_or_else(Refusal::draining)?;
    tokio::select! {
        biased;
        answered = answering(response, answers) => answered,
        trouble = failed(ask(question, to)) => Err(trouble),
        refusal = end_of_stream(station, terms, shape) => Err(refusal.into()),
    }
}

async fn ask(question: Question, mut to: SendStream<Bytes>) -> Result<(), Trouble> {
    match question {
        Question::Message(message) => send_on(&mut to, message).await?,
        Question::Stream(mut messages) => {
            while let Some(message) = messages.next().await? {
                send_on(&mut to, framed(&message)).await?;
            }
        }
    }
    Ok(to.send_data(Bytes::new(), true)?)
}

/// Done if a question cannot be asked because of its caller. However else it ends, the answer is waited for.
async fn failed(asking: impl Future<Output = Result<(), Trouble>>) -> Trouble {
    match asking.await {
        Err(Trouble::Refused(refusal)) => Trouble::Refused(refusal),
        Err(Trouble::Gone) | Ok(()) => pending().await,
    }
}

/// Done when a stream must end whatever it does: it may never by itself. A single answer is waited for, since the
/// command may happen.
async fn end_of_stream(station: &Station, terms: &Terms, shape: Shape) -> Refusal {
    let lasts = match shape {
        Shape::Unary => return pending().await,
        Shape::Watch => terms.deadline(),
        Shape::Reflection => {
            let most = Instant::now() + Duration::from_millis(station.settings.reflection_ms_max);
            Some(terms.deadline().map_or(most, |deadline| deadline.min(most)))
        }
    };
    tokio::select! {
        () = last_words(station) => Refusal::draining(),
        () = until(lasts) => {
            station.census.bounds.acted(Bound::ReflectionEnded);
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

async fn last_words(station: &Station) {
    station.draining().await;
    sleep(LAST_WORDS).await;
}

async fn answering(response: ResponseFuture, answers: &mut Answers) -> Result<(), Trouble> {
    let response = tokio::select! {
        biased;
        response = response => response,
        () = answers.gone() => return Err(Trouble::Gone),
    };
    let (parts, mut from) = response.map_err(|error| broken(&error))?.into_parts();
    let ends = from.is_end_stream();
    answers.begin(Response::from_parts(parts, ()), ends)?;
    if ends {
        return Ok(());
    }
    while let Some(data) = poll_fn(|cx| poll_data(&mut from, answers, cx)).await? {
        let bytes = data.len();
        answers.data(data).await?;
        from.flow_control().release_capacity(bytes).map_err(|_| unknown())?;
    }
    let trailers = poll_fn(|cx| from.poll_trailers(cx)).await.map_err(|_| unknown())?;
    Ok(answers.finish(trailers)?)
}

/// The next data of the service, unless the caller has left.
fn poll_data(
    from: &mut RecvStream,
    answers: &mut Answers,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Bytes>, Trouble>> {
    if answers.poll_gone(cx).is_ready() {
        return Poll::Ready(Err(Trouble::Gone));
    }
    from.poll_data(cx).map(|data| data.transpose().map_err(|_| unknown().into()))
}

/// What a call becomes whose answer did not come.
fn broken(error: &h2::Error) -> Refusal {
    // The service says so of a call that it did not look at.
    if error.reason() == Some(Reason::REFUSED_STREAM) { Refusal::draining() } else { unknown() }
}

fn unknown() -> Refusal {
    let mut refusal = Refusal::outcome_unknown();
    refusal.message = "the service behind the door ended while the call was under way, which may have had its effect; \
                       repeat it with the same key"
        .into();
    refusal
}
