//! What is sent back: the answer's message with its trailers, or a refusal as trailers only.

use std::fmt::Write;
use std::future::poll_fn;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio::time::sleep_until;

use super::bounds::Bound;
use super::limits::{ActiveCall, Limits};
use crate::refusal::{Code, Refusal};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The caller is gone: nobody reads the rest of the answer.
pub(super) struct CallerGone;

impl From<h2::Error> for CallerGone {
    fn from(_: h2::Error) -> Self {
        CallerGone
    }
}

/// How long an answer may wait for its caller to read it.
pub(super) struct SendDeadline {
    /// Longest time without progress.
    pub(super) stall: Duration,
    /// The end of the whole answer.
    pub(super) until: Option<Instant>,
    pub(super) limits: Arc<Limits>,
}

impl SendDeadline {
    /// Completes when the caller has read nothing for too long from now on, or at the end.
    async fn end(&self) {
        let stalled = Instant::now() + self.stall;
        let until = self.until.map_or(stalled, |until| until.min(stalled));
        sleep_until(until.into()).await;
    }

    /// Drops the rest of the answer, and its memory.
    fn give_up(&self, stream: &mut SendStream<Bytes>) {
        self.limits.bounds.acted(Bound::AnswerStalled);
        stream.send_reset(Reason::CANCEL);
    }
}

/// Answers a unary call, whether or not the caller is still there. What exceeds the caller's window waits in a task,
/// which holds `active_call`.
pub(super) fn reply(
    mut respond: SendResponse<Bytes>,
    reply: Result<Bytes, Refusal>,
    active_call: ActiveCall,
    send_deadline: impl FnOnce() -> SendDeadline,
) {
    let message = match reply {
        Ok(message) => message,
        Err(refusal) => return refuse(&mut respond, &refusal),
    };
    let Ok(mut stream) = respond.send_response(head(), false) else { return };
    stream.reserve_capacity(message.len());
    if stream.capacity() >= message.len() {
        // Fails if the caller is gone by now.
        let _ = stream.send_data(message, false).and_then(|()| stream.send_trailers(ok_trailers()));
        return;
    }
    let send_deadline = send_deadline();
    tokio::spawn(async move {
        let _under_way = active_call;
        if send_all(&mut stream, message, &send_deadline).await.is_ok() {
            let _ = stream.send_trailers(ok_trailers());
        }
    });
}

/// Refuses a call that has no answer yet.
pub(super) fn refuse(respond: &mut SendResponse<Bytes>, refusal: &Refusal) {
    let mut response = head();
    put_refusal(response.headers_mut(), refusal);
    let _ = respond.send_response(response, true);
}

/// Answers a request that is not gRPC with an HTTP status.
pub(super) fn refuse_http(respond: &mut SendResponse<Bytes>, status: StatusCode) {
    let mut response = Response::new(());
    *response.status_mut() = status;
    let _ = respond.send_response(response, true);
}

fn head() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

fn ok_trailers() -> HeaderMap {
    static TRAILERS: LazyLock<HeaderMap> =
        LazyLock::new(|| HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]));
    TRAILERS.clone()
}

/// The trailers of a refusal.
fn refusal_trailers(refusal: &Refusal) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(3);
    put_refusal(&mut trailers, refusal);
    trailers
}

fn put_refusal(headers: &mut HeaderMap, refusal: &Refusal) {
    headers.insert(STATUS, HeaderValue::from(refusal.code as i32));
    if refusal.code == Code::Unimplemented {
        // The reason may be that the message is compressed.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    let texts = [(MESSAGE, percent_encoded(&refusal.message)), (DETAILS, STANDARD_NO_PAD.encode(refusal.status()))];
    for (name, text) in texts {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => write!(encoded, "%{byte:02X}").unwrap_or_default(),
        }
    }
    encoded
}

/// A stream of messages to one caller, no faster than the caller reads them.
pub(super) struct AnswerStream {
    respond: SendResponse<Bytes>,
    begun: Option<SendStream<Bytes>>,
    send_deadline: SendDeadline,
}

impl AnswerStream {
    pub(super) fn new(respond: SendResponse<Bytes>, send_deadline: SendDeadline) -> Self {
        AnswerStream { respond, begun: None, send_deadline }
    }

    /// Sends one framed message as the caller's window allows.
    pub(super) async fn message(&mut self, message: Bytes) -> Result<(), CallerGone> {
        if self.begun.is_none() {
            self.begin(head(), false)?;
        }
        self.data(message).await
    }

    /// Sends the head of an answer that comes from the service.
    pub(super) fn begin(&mut self, head: Response<()>, ends: bool) -> Result<(), CallerGone> {
        self.begun = Some(self.respond.send_response(head, ends)?);
        Ok(())
    }

    /// Sends data of an answer that has begun, as the caller's window allows.
    pub(super) async fn data(&mut self, data: Bytes) -> Result<(), CallerGone> {
        send_all(self.begun.as_mut().ok_or(CallerGone)?, data, &self.send_deadline).await
    }

    /// Ends an answer that has begun, with the trailers of the service.
    pub(super) fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), CallerGone> {
        let stream = self.begun.as_mut().ok_or(CallerGone)?;
        match trailers {
            Some(trailers) => stream.send_trailers(trailers)?,
            None => stream.send_data(Bytes::new(), true)?,
        }
        Ok(())
    }

    /// Ends the stream.
    pub(super) fn end(mut self, outcome: Result<(), Refusal>) {
        match (self.begun.take(), outcome) {
            (Some(mut stream), Ok(())) => {
                let _ = stream.send_trailers(ok_trailers());
            }
            (Some(mut stream), Err(refusal)) => {
                let _ = stream.send_trailers(refusal_trailers(&refusal));
            }
            (None, Ok(())) => {
                let ended = self.respond.send_response(head(), false);
                let _ = ended.and_then(|mut stream| stream.send_trailers(ok_trailers()));
            }
            (None, Err(refusal)) => refuse(&mut self.respond, &refusal),
        }
    }

    /// Completes when the caller is gone.
    pub(super) async fn gone(&mut self) {
        poll_fn(|cx| self.poll_gone(cx)).await;
    }

    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.begun {
            Some(stream) => stream.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        reset.map(|_| ())
    }
}

/// Sends data as the other side's window allows, until the deadline.
async fn send_all(stream: &mut SendStream<Bytes>, data: Bytes, send_deadline: &SendDeadline) -> Result<(), CallerGone> {
    let mut data = data;
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        tokio::select! {
            biased;
            room = poll_fn(|cx| poll_room(stream, cx)) => {
                let room = room?.min(data.len());
                stream.send_data(data.split_to(room), false)?;
            }
            () = send_deadline.end() => {
                send_deadline.give_up(stream);
                return Err(CallerGone);
            }
        }
    }
    Ok(())
}

/// Sends data to a peer that is trusted to read it.
pub(super) async fn send_on(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), CallerGone> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = poll_fn(|cx| poll_room(stream, cx)).await?;
        stream.send_data(data.split_to(room.min(data.len())), false)?;
    }
    Ok(())
}

fn poll_room(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Result<usize, CallerGone>> {
    loop {
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(0)) => {}
            Some(Ok(room)) => return Poll::Ready(Ok(room)),
            Some(Err(_)) | None => return Poll::Ready(Err(CallerGone)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::percent_encoded;

    #[test]
    fn what_a_header_cannot_carry_is_encoded() {
        assert_eq!(percent_encoded("a b~%\nü"), "a b~%25%0A%C3%BC");
    }
}
