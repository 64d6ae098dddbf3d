//! What goes back: the answer's message with its trailers, or a refusal as trailers alone.

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
use super::census::{Census, UnderWay};
use crate::refusal::{Code, Refusal};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The caller has left: nobody takes the rest of the answer.
pub(super) struct Gone;

impl From<h2::Error> for Gone {
    fn from(_: h2::Error) -> Self {
        Gone
    }
}

/// How long an answer may wait until its caller takes it.
pub(super) struct Patience {
    /// While nothing of it is taken.
    pub(super) stall: Duration,
    /// In all.
    pub(super) until: Option<Instant>,
    pub(super) census: Arc<Census>,
}

impl Patience {
    /// Done when the caller has taken nothing for too long, beginning now.
    async fn end(&self) {
        let stalled = Instant::now() + self.stall;
        let until = self.until.map_or(stalled, |until| until.min(stalled));
        sleep_until(until.into()).await;
    }

    /// Gives up what the caller does not take, and the memory that it has.
    fn give_up(&self, stream: &mut SendStream<Bytes>) {
        self.census.bounds.acted(Bound::AnswerStalled);
        stream.send_reset(Reason::CANCEL);
    }
}

/// Answers a unary call. Whether the caller is still there does not matter. What the caller has no room for waits in a
/// task, which keeps the call `under_way`.
pub(super) fn reply(
    mut respond: SendResponse<Bytes>,
    reply: Result<Bytes, Refusal>,
    under_way: UnderWay,
    patience: impl FnOnce() -> Patience,
) {
    let message = match reply {
        Ok(message) => message,
        Err(refusal) => return refuse(&mut respond, &refusal),
    };
    let Ok(mut stream) = respond.send_response(head(), false) else { return };
    stream.reserve_capacity(message.len());
    if stream.capacity() >= message.len() {
        // Whoever has left by now does not hear it.
        let _ = stream.send_data(message, false).and_then(|()| stream.send_trailers(ok_trailers()));
        return;
    }
    let patience = patience();
    tokio::spawn(async move {
        let _under_way = under_way;
        if send_all(&mut stream, message, &patience).await.is_ok() {
            let _ = stream.send_trailers(ok_trailers());
        }
    });
}

/// Refuses a call that got no answer yet.
pub(super) fn refuse(respond: &mut SendResponse<Bytes>, refusal: &Refusal) {
    let mut response = head();
    put_refusal(response.headers_mut(), refusal);
    let _ = respond.send_response(response, true);
}

/// Tells somebody who does not speak gRPC so.
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
        // It may have been the compression of the message that is not there.
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

/// Several messages to one caller, no faster than they are taken.
pub(super) struct Answers {
    respond: SendResponse<Bytes>,
    begun: Option<SendStream<Bytes>>,
    patience: Patience,
}

impl Answers {
    pub(super) fn new(respond: SendResponse<Bytes>, patience: Patience) -> Self {
        Answers { respond, begun: None, patience }
    }

    /// Sends one message, framed, once the caller has room for it.
    pub(super) async fn message(&mut self, message: Bytes) -> Result<(), Gone> {
        if self.begun.is_none() {
            self.begin(head(), false)?;
        }
        self.data(message).await
    }

    /// Sends the head of an answer that somebody else gives.
    pub(super) fn begin(&mut self, head: Response<()>, ends: bool) -> Result<(), Gone> {
        self.begun = Some(self.respond.send_response(head, ends)?);
        Ok(())
    }

    /// Sends what belongs to an answer that has begun, once the caller has room for it.
    pub(super) async fn data(&mut self, data: Bytes) -> Result<(), Gone> {
        send_all(self.begun.as_mut().ok_or(Gone)?, data, &self.patience).await
    }

    /// Ends an answer that has begun as somebody else ends it.
    pub(super) fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), Gone> {
        let stream = self.begun.as_mut().ok_or(Gone)?;
        match trailers {
            Some(trailers) => stream.send_trailers(trailers)?,
            None => stream.send_data(Bytes::new(), true)?,
        }
        Ok(())
    }

    /// Ends the answers.
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

    /// Done when the caller has left.
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

/// Sends data as the other side makes room for it, as long as it does.
async fn send_all(stream: &mut SendStream<Bytes>, data: Bytes, patience: &Patience) -> Result<(), Gone> {
    let mut data = data;
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        tokio::select! {
            biased;
            room = poll_fn(|cx| poll_room(stream, cx)) => {
                let room = room?.min(data.len());
                stream.send_data(data.split_to(room), false)?;
            }
            () = patience.end() => {
                patience.give_up(stream);
                return Err(Gone);
            }
        }
    }
    Ok(())
}

/// Sends data to somebody who is trusted to take it.
pub(super) async fn send_on(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), Gone> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = poll_fn(|cx| poll_room(stream, cx)).await?;
        stream.send_data(data.split_to(room.min(data.len())), false)?;
    }
    Ok(())
}

fn poll_room(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Result<usize, Gone>> {
    loop {
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(0)) => {}
            Some(Ok(room)) => return Poll::Ready(Ok(room)),
            Some(Err(_)) | None => return Poll::Ready(Err(Gone)),
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
