//! The bare listener: plain tonic without an engine. It gives every Reserve the same answer, and so shows how much of the
//! machine gRPC itself needs. It is the baseline of the unary figures.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use invengine_wire::v1;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService};
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

use crate::{LoadError, machine};

/// The answer to every Reserve, shaped and sized like the engine's.
fn constant_answer() -> v1::ReserveResponse {
    let line = v1::LineChange {
        sku: "sku-0000000".to_owned(),
        location: "dc-1".to_owned(),
        quantity: 1,
        state: v1::LineState::Reserved.into(),
        outstanding: 1,
    };
    v1::ReserveResponse {
        receipt: Some(v1::Receipt { sequence: 1 << 30, durable_sequence: 1 << 30, replayed: false, echo: false }),
        hold: Some(v1::HoldChange {
            reservation_id: "AAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
            version: 1,
            expire_time: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 100_000_000 }),
            reacquired: false,
            lines: vec![line],
        }),
    }
}

#[derive(Clone)]
struct Bare {
    answer: Arc<v1::ReserveResponse>,
}

impl NamedService for Bare {
    const NAME: &'static str = "invengine.v1.ReservationService";
}

impl Service<Request<v1::ReserveRequest>> for Bare {
    type Response = Response<v1::ReserveResponse>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<v1::ReserveRequest>) -> Self::Future {
        ready(Ok(Response::new(v1::ReserveResponse::clone(&self.answer))))
    }
}

impl Service<http::Request<Body>> for Bare {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<v1::ReserveResponse, v1::ReserveRequest>::default();
            Ok(Grpc::new(codec).unary(service, request).await)
        })
    }
}

/// Serves the bare listener on one thread until `stop` completes. Calls `ready` with the address once it listens.
pub fn serve_bare(
    address: SocketAddr,
    core: Option<usize>,
    ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), LoadError> {
    if let Some(core) = core {
        machine::pin(core)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let incoming = TcpIncoming::bind(address)?.with_nodelay(Some(true));
        ready(incoming.local_addr()?);
        let service = Bare { answer: Arc::new(constant_answer()) };
        Server::builder()
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, stop)
            .await
            .map_err(|error| LoadError::Connection(std::io::Error::other(error)))
    })
}

/// Completes when the other end of standard input is closed, so that this process does not outlive its parent.
pub fn until_input_ends() -> impl Future<Output = ()> {
    let (done, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Neither the content nor the reason of the end matters.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = done.send(());
    });
    async move {
        let _ = ended.await;
    }
}
