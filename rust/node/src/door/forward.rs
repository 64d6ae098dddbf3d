//! Every method that the door does not answer goes to the service behind it, over one connection on a unix socket,
//! unchanged: metadata, messages and trailers, both ways, no faster than the slower side takes them.

use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::answer::{self, Gone, send_all};
use super::census::UnderWay;
use super::gather::{Gathering, Trouble};
use super::message::framed;
use super::station::Station;
use super::terms::Terms;
use crate::refusal::Refusal;

/// How long the service may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// When draining, an answer that has begun has this long to end: it may be a stream that never does.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// What the service accepts.
const HEADERS_BYTES_MAX: usize = 16 << 10;
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

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
    /// Whatever comes.
    Stream(RecvStream),
}

/// Has the service answer the call, in a task of its own. A method that asks with one message of up to `bytes_max`
/// bytes gets the checks of the door, since the service would answer what is no message without an ErrorInfo, or not at
/// all.
pub(super) fn spawn(
    station: Arc<Station>,
    parts: Parts,
    body: RecvStream,
    bytes_max: Option<usize>,
    mut respond: SendResponse<Bytes>,
    under_way: UnderWay,
) {
    tokio::spawn(async move {
        let _under_way = under_way;
        let asked = match bytes_max {
            Some(bytes_max) => one_message(&station, parts, body, bytes_max).await,
            None => Ok((parts, Question::Stream(body))),
        };
        match asked {
            Ok((parts, question)) => run(&station, parts, question, respond).await,
            Err(Trouble::Refused(refusal)) => answer::refuse(&mut respond, &refusal),
            Err(Trouble::Gone) => {}
        }
    });
}

async fn one_message(
    station: &Station,
    parts: Parts,
    body: RecvStream,
    bytes_max: usize,
) -> Result<(Parts, Question), Trouble> {
    let terms = Terms::new(parts)?;
    let message = Gathering::new(body, bytes_max).whole(station, &terms).await?;
    terms.call(terms.path(), &message)?;
    Ok((terms.into_parts(), Question::Message(framed(&message))))
}

async fn run(station: &Station, parts: Parts, question: Question, mut respond: SendResponse<Bytes>) {
    let Some(forward) = &station.forward else {
        return answer::refuse(&mut respond, &Refusal::unimplemented("the method"));
    };
    if headers_bytes(&parts) > HEADERS_BYTES_MAX {
        return answer::refuse(&mut respond, &Refusal::too_large(HEADERS_BYTES_MAX));
    }
    let asked = match forward.ready().await {
        Some(mut service) => outgoing(parts).and_then(|request| service.send_request(request, false).ok()),
        None => None,
    };
    let Some((response, to)) = asked else { return answer::refuse(&mut respond, &Refusal::draining()) };
    let answering = answering(station, response, respond);
    tokio::select! {
        biased;
        () = answering => {}
        // Without its sender the call is over: leaving both ends tells the service. However else the question ends, the
        // answer is waited for.
        Err(Broken::From) = ask(question, to) => {}
    }
}

async fn ask(question: Question, mut to: SendStream<Bytes>) -> Result<(), Broken> {
    match question {
        Question::Message(message) => {
            send_all(&mut to, message).await?;
            to.send_data(Bytes::new(), true).map_err(|_| Broken::To)
        }
        Question::Stream(mut body) => carry(&mut body, &mut to).await,
    }
}

fn headers_bytes(parts: &Parts) -> usize {
    // Counted as HTTP/2 does.
    parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

fn outgoing(parts: Parts) -> Option<Request<()>> {
    let mut uri = parts.uri.into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority.get_or_insert(Authority::from_static("localhost"));
    let mut request = Request::new(());
    *request.method_mut() = parts.method;
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    *request.headers_mut() = parts.headers;
    Some(request)
}

async fn answering(station: &Station, response: ResponseFuture, mut respond: SendResponse<Bytes>) {
    let response = tokio::select! {
        biased;
        response = response => response,
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
    };
    let (parts, mut from) = match response {
        Ok(response) => response.into_parts(),
        Err(error) => return answer::refuse(&mut respond, &broken(&error)),
    };
    let ends = from.is_end_stream();
    let Ok(mut to) = respond.send_response(Response::from_parts(parts, ()), ends) else { return };
    if ends {
        return;
    }
    let refusal = tokio::select! {
        biased;
        carried = carry(&mut from, &mut to) => match carried {
            Err(Broken::From) => unknown(),
            Ok(()) | Err(Broken::To) => return,
        },
        () = last_words(station) => Refusal::draining(),
    };
    let _ = to.send_trailers(answer::refusal_trailers(&refusal));
}

async fn last_words(station: &Station) {
    station.draining().await;
    sleep(LAST_WORDS).await;
}

/// Which side ended a call too early.
enum Broken {
    From,
    To,
}

impl From<Gone> for Broken {
    fn from(_: Gone) -> Self {
        Broken::To
    }
}

/// Carries data and trailers until the sender has ended.
async fn carry(from: &mut RecvStream, to: &mut SendStream<Bytes>) -> Result<(), Broken> {
    while let Some(data) = poll_fn(|cx| poll_data(from, to, cx)).await? {
        let bytes = data.len();
        send_all(to, data).await?;
        from.flow_control().release_capacity(bytes).map_err(|_| Broken::From)?;
    }
    let trailers = poll_fn(|cx| from.poll_trailers(cx)).await.map_err(|_| Broken::From)?;
    let ended = match trailers {
        Some(trailers) => to.send_trailers(trailers),
        None => to.send_data(Bytes::new(), true),
    };
    ended.map_err(|_| Broken::To)
}

fn poll_data(
    from: &mut RecvStream,
    to: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Bytes>, Broken>> {
    if to.poll_reset(cx).is_ready() {
        return Poll::Ready(Err(Broken::To));
    }
    from.poll_data(cx).map(|data| data.transpose().map_err(|_| Broken::From))
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
