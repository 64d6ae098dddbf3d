//! What goes back: the answer's message with its trailers, or a refusal as trailers alone.

use std::fmt::Write;
use std::future::poll_fn;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::message::framed;
use crate::refusal::Refusal;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The caller has left: nobody takes the rest of the answer.
pub(super) struct Gone;

impl From<h2::Error> for Gone {
    fn from(_: h2::Error) -> Self {
        Gone
    }
}

/// Answers a unary call. Whether the caller is still there does not matter.
pub(super) fn reply(respond: &mut SendResponse<Bytes>, reply: &Result<Vec<u8>, Refusal>) {
    match reply {
        Ok(message) => {
            let _ = answer(respond, message);
        }
        Err(refusal) => refuse(respond, refusal),
    }
}

fn answer(respond: &mut SendResponse<Bytes>, message: &[u8]) -> Result<(), Gone> {
    let mut stream = respond.send_response(head(), false)?;
    stream.send_data(framed(message), false)?;
    stream.send_trailers(ok_trailers())?;
    Ok(())
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
pub(super) fn refusal_trailers(refusal: &Refusal) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(3);
    put_refusal(&mut trailers, refusal);
    trailers
}

fn put_refusal(headers: &mut HeaderMap, refusal: &Refusal) {
    headers.insert(STATUS, HeaderValue::from(refusal.code as i32));
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
}

impl Answers {
    pub(super) fn new(respond: SendResponse<Bytes>) -> Self {
        Answers { respond, begun: None }
    }

    /// Sends one message once the caller has room for it.
    pub(super) async fn message(&mut self, message: &[u8]) -> Result<(), Gone> {
        if self.begun.is_none() {
            self.begun = Some(self.respond.send_response(head(), false)?);
        }
        let Some(stream) = &mut self.begun else { return Err(Gone) };
        send_all(stream, framed(message)).await
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

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.begun {
            Some(stream) => stream.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        reset.map(|_| ())
    }
}

/// Sends data as the other side makes room for it.
pub(super) async fn send_all(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), Gone> {
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
