//! A caller that speaks HTTP/2 frame by frame, so that a test can send what no client library would.

use std::collections::BTreeMap;
use std::future::poll_fn;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode};
use invengine_wire::rpc;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::TIMEOUT;

/// One connection.
#[derive(Clone)]
pub struct Caller(SendRequest<Bytes>);

/// How a call ended.
#[derive(Debug)]
pub struct Ended {
    pub http: StatusCode,
    pub headers: HeaderMap,
    pub messages: Vec<Vec<u8>>,
    pub trailers: Option<HeaderMap>,
}

/// A refusal as a caller sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: i32,
    pub reason: String,
    pub message: String,
    pub metadata: BTreeMap<String, String>,
    pub retries: bool,
    pub fields: Vec<String>,
}

/// A call in progress.
pub struct ActiveCall {
    pub sending: SendStream<Bytes>,
    response: ResponseFuture,
}

/// The answers of a stream as they arrive.
pub struct Incoming {
    body: RecvStream,
    held: Vec<u8>,
}

impl Caller {
    pub async fn new(address: &str) -> Self {
        match address.strip_prefix("unix:") {
            Some(path) => Self::handshake(UnixStream::connect(path).await.expect("a listener")).await,
            None => Self::handshake(TcpStream::connect(address).await.expect("a listener")).await,
        }
    }

    async fn handshake(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = client::handshake(io).await.expect("a handshake");
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Caller(sender.ready().await.expect("a connection"))
    }

    /// A call with one message.
    pub async fn call(&mut self, path: &str, message: &[u8]) -> Ended {
        self.send(request(path), framed(message)).await
    }

    /// A call with these headers and this body.
    pub async fn send(&mut self, request: Request<()>, body: Vec<u8>) -> Ended {
        let mut call = self.start(request);
        call.send(body, true);
        call.end().await
    }

    /// A call whose body is still open.
    pub fn start(&mut self, request: Request<()>) -> ActiveCall {
        let (response, sending) = self.0.send_request(request, false).expect("an open connection");
        ActiveCall { sending, response }
    }

    /// Returns once the connection takes no further call.
    pub async fn until_refused(&mut self) {
        let closed = poll_fn(|cx| match self.0.poll_ready(cx) {
            std::task::Poll::Ready(Err(_)) => std::task::Poll::Ready(()),
            _ => {
                cx.waker().wake_by_ref();
                std::task::Poll::Pending
            }
        });
        timeout(TIMEOUT, closed).await.expect("the connection should have ended");
    }
}

impl ActiveCall {
    pub fn send(&mut self, data: Vec<u8>, end: bool) {
        self.sending.send_data(data.into(), end).expect("an open stream");
    }

    /// Waits for the end of the call.
    pub async fn end(self) -> Ended {
        let (http, headers, mut incoming) = self.begin().await;
        let mut messages = Vec::new();
        while let Some(message) = incoming.next().await {
            messages.push(message);
        }
        let trailers = incoming.trailers().await;
        Ended { http, headers, messages, trailers }
    }

    /// Waits for the head of the answer. Drops the sending half.
    pub async fn begin(self) -> (StatusCode, HeaderMap, Incoming) {
        let response = timeout(TIMEOUT, self.response).await.expect("an answer in time").expect("an answer");
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, Incoming { body, held: Vec::new() })
    }

    /// Like `begin`, but returns the sending half.
    pub async fn begin_stream(self) -> (SendStream<Bytes>, Incoming) {
        let ActiveCall { sending, response } = self;
        let response = timeout(TIMEOUT, response).await.expect("an answer in time").expect("an answer");
        (sending, Incoming { body: response.into_body(), held: Vec::new() })
    }

    /// True if no answer has begun to arrive.
    pub async fn is_waiting(&mut self) -> bool {
        let asked = poll_fn(|cx| {
            use std::future::Future;
            std::task::Poll::Ready(std::pin::Pin::new(&mut self.response).poll(cx).is_pending())
        });
        asked.await
    }

    /// Waits for the connection or the stream to fail.
    pub async fn broken(self) -> h2::Error {
        timeout(TIMEOUT, self.response).await.expect("an end in time").expect_err("a broken call")
    }
}

impl Incoming {
    /// The next message; `None` at the end.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some((prefix, rest)) = self.held.split_first_chunk::<5>() {
                let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
                if rest.len() >= length {
                    let message = rest[..length].to_vec();
                    self.held.drain(..5 + length);
                    return Some(message);
                }
            }
            let Some(data) = timeout(TIMEOUT, self.body.data()).await.expect("data in time") else {
                assert!(self.held.is_empty(), "the stream ended within a message");
                return None;
            };
            let data = data.expect("data");
            self.body.flow_control().release_capacity(data.len()).expect("an open stream");
            self.held.extend_from_slice(&data);
        }
    }

    pub async fn trailers(&mut self) -> Option<HeaderMap> {
        timeout(TIMEOUT, self.body.trailers()).await.expect("an end in time").expect("trailers")
    }

    /// The refusal at the end of a stream that had answers.
    pub async fn refusal(&mut self) -> Refused {
        refused_of(&self.trailers().await.expect("trailers"))
    }
}

impl Ended {
    /// The one message of a call that was answered.
    pub fn answer(&self) -> &[u8] {
        assert_eq!(self.http, StatusCode::OK);
        assert_eq!(self.headers["content-type"], "application/grpc");
        let trailers = self.trailers.as_ref().expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(self.messages.len(), 1);
        &self.messages[0]
    }

    /// The refusal of a call that got nothing else: trailers only, with one ErrorInfo.
    pub fn refusal(&self) -> Refused {
        assert_eq!(self.http, StatusCode::OK);
        assert_eq!(self.headers["content-type"], "application/grpc");
        assert!(self.messages.is_empty() && self.trailers.is_none(), "a refusal is trailers only: {self:?}");
        refused_of(&self.headers)
    }
}

fn refused_of(headers: &HeaderMap) -> Refused {
    let details = STANDARD_NO_PAD.decode(&headers["grpc-status-details-bin"]).expect("base64 without padding");
    let status = rpc::Status::decode(&details[..]).expect("a status");
    assert_eq!(headers["grpc-status"], status.code.to_string().as_str());
    assert_eq!(headers["grpc-message"], status.message.as_str(), "no test message needs to be encoded");
    let of = |name: &str| {
        let url = format!("type.googleapis.com/google.rpc.{name}");
        status.details.iter().filter(|any| any.type_url == url).map(|any| any.value.clone()).collect::<Vec<_>>()
    };
    let infos = of("ErrorInfo");
    assert_eq!(infos.len(), 1, "exactly one ErrorInfo");
    let info = rpc::ErrorInfo::decode(&infos[0][..]).expect("an ErrorInfo");
    assert_eq!(info.domain, "invengine");
    let bad = of("BadRequest").first().map(|bad| rpc::BadRequest::decode(&bad[..]).expect("a BadRequest"));
    let fields = bad.into_iter().flat_map(|bad| bad.field_violations).map(|violation| violation.field).collect();
    let retries = !of("RetryInfo").is_empty();
    Refused {
        code: status.code,
        reason: info.reason,
        message: status.message,
        metadata: info.metadata,
        retries,
        fields,
    }
}

/// The head of a gRPC call.
pub fn request(path: &str) -> Request<()> {
    let request = Request::post(format!("http://shop{path}"));
    request.header("content-type", "application/grpc").header("te", "trailers").body(()).expect("a request")
}

/// The same with an additional header.
pub fn request_with(path: &str, name: &'static str, value: &str) -> Request<()> {
    let mut request = request(path);
    request.headers_mut().insert(name, value.parse().expect("a header"));
    request
}

/// A message after its prefix.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    [&[0][..], &length, message].concat()
}
