//! One connection. A unary call whose message has arrived as a whole, as nearly all do, is decided right here, in the
//! order of arrival, and its answer waits in a list for the next commit: it needs no task, no lock and no wake-up of
//! its own. Every other call gets a task.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::bell::Registration;
use super::body::{CallFailure, RequestBody};
use super::bounds::Bound;
use super::call_metadata::{CallMetadata, metadata_bytes, non_grpc_status};
use super::connections::{ConnectionGuard, ConnectionState};
use super::limits::ActiveCall;
use super::metered::{MeteredSocket, SocketMeter};
use super::route::{Handler, route};
use super::settings::DoorSettings;
use super::worker::{FramedDecision, Worker, outcome};
use super::{answer, events, forward, submit, waiting};
use crate::engine::Durable;
use crate::refusal::Refusal;

/// A connection that has not completed its HTTP/2 handshake by then is closed.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A connection beyond the limit has its calls refused for this long.
const OVER_LIMIT_TIME: Duration = Duration::from_secs(10);
/// A connection that is to end has this long to read the GOAWAY frame.
const GOAWAY_TIME: Duration = Duration::from_secs(1);
/// How long a connection has its calls decided before other connections are served.
const TURN: Duration = Duration::from_millis(2);
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// h2 answers headers beyond its limit with an HTTP status, so the door's own limit is this many times lower.
const HEADERS_READ: u32 = 4;
/// Calls cancelled before they were looked at. No turn has this many, so cancelling never ends a connection.
const CANCELLED_MAX: usize = 8_192;

/// Why a connection ends.
enum End {
    /// The peer ended it, or it failed.
    Ended,
    /// The door drains.
    Drains,
    /// It makes room for another connection.
    Evicted,
    /// It read nothing, or did not close in time.
    Dropped,
}

/// Serves a connection until it ends.
pub(super) async fn serve(io: impl AsyncRead + AsyncWrite + Unpin, worker: Arc<Worker>, guard: ConnectionGuard) {
    let (meter, state) = (Arc::new(SocketMeter::default()), &guard.state);
    let idle = Duration::from_millis(worker.settings.connection_idle_ms);
    let silence = if idle.is_zero() { HANDSHAKE } else { HANDSHAKE.min(idle) };
    let handshake =
        builder(&worker.settings).handshake(MeteredSocket::new(io, Arc::clone(&meter), worker.limits.partial()));
    let h2 = tokio::select! {
        biased;
        () = state.evicted() => return,
        done = timeout(silence, handshake) => match done {
            Ok(Ok(h2)) => h2,
            Ok(Err(_)) => return,
            Err(_) => return worker.limits.bounds.acted(Bound::ConnectionSilent),
        },
    };
    let mut connection = Connection {
        h2,
        meter,
        worker,
        state: Arc::clone(state),
        over_limit: guard.over_limit,
        began: false,
        arrived: VecDeque::new(),
        waiting: Vec::new(),
        registration: Registration::default(),
    };
    if guard.over_limit {
        let _ = timeout(OVER_LIMIT_TIME, poll_fn(|cx| connection.poll(cx))).await;
        return;
    }
    match connection.run(&guard).await {
        End::Ended if connection.meter.is_flooded() => {
            connection.worker.limits.bounds.acted(Bound::ControlFrames);
            connection.end_now(Reason::ENHANCE_YOUR_CALM).await;
        }
        End::Ended if connection.meter.is_crowded() => connection.end_now(Reason::ENHANCE_YOUR_CALM).await,
        End::Evicted => connection.end_now(Reason::NO_ERROR).await,
        End::Drains => connection.drain().await,
        End::Ended | End::Dropped => {}
    }
}

fn builder(settings: &DoorSettings) -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(settings.streams_max)
        .max_header_list_size(settings.headers_bytes_max.saturating_mul(HEADERS_READ))
        .max_pending_accept_reset_streams(CANCELLED_MAX)
        // Frames that still arrive for a refused call must not end the others.
        .max_concurrent_reset_streams(settings.streams_max as usize);
    builder
}

struct Connection<T> {
    h2: server::Connection<MeteredSocket<T>, Bytes>,
    meter: Arc<SocketMeter>,
    worker: Arc<Worker>,
    state: Arc<ConnectionState>,
    over_limit: bool,
    /// A call has begun in this turn.
    began: bool,
    /// Calls that have arrived and have not begun: no more than a connection may have in progress.
    arrived: VecDeque<(Request<RecvStream>, SendResponse<Bytes>)>,
    waiting: Vec<WaitingReply>,
    registration: Registration,
}

/// A decided call whose answer waits until what it depends on is durable.
struct WaitingReply {
    decision: FramedDecision,
    respond: SendResponse<Bytes>,
    active_call: ActiveCall,
    metadata: CallMetadata,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Serves until there is a reason to end.
    async fn run(&mut self, guard: &ConnectionGuard) -> End {
        let (worker, state) = (Arc::clone(&self.worker), Arc::clone(&self.state));
        let idle = Duration::from_millis(worker.settings.connection_idle_ms);
        let stall = Duration::from_millis(worker.settings.stall_ms_max);
        let mut checks = interval(check_interval(idle, stall));
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked_to_close: Option<Instant> = None;
        loop {
            tokio::select! {
                biased;
                () = poll_fn(|cx| self.poll(cx)) => return End::Ended,
                () = worker.draining() => return End::Drains,
                () = state.evicted() => {
                    // A call may have begun since this connection was chosen.
                    if !self.h2.has_streams() {
                        return End::Evicted;
                    }
                    guard.stay_open();
                }
                _ = checks.tick() => {
                    if self.meter.is_blocked_for(stall) {
                        worker.limits.bounds.acted(Bound::ConnectionStalled);
                        return End::Dropped;
                    }
                    if idle.is_zero() || state.idle_time().is_none_or(|idle_time| idle_time < idle) {
                        continue;
                    }
                    match asked_to_close {
                        Some(asked) if asked.elapsed() >= GOAWAY_TIME => return End::Dropped,
                        Some(_) => {}
                        None => {
                            asked_to_close = Some(Instant::now());
                            worker.limits.bounds.acted(Bound::ConnectionIdle);
                            self.h2.graceful_shutdown();
                        }
                    }
                }
            }
        }
    }

    /// Ends with a GOAWAY frame that has this reason. No call is in progress, or none that matters.
    async fn end_now(&mut self, reason: Reason) {
        self.h2.abrupt_shutdown(reason);
        let _ = timeout(GOAWAY_TIME, poll_fn(|cx| self.h2.poll_closed(cx))).await;
    }

    /// Ends once the calls in progress are answered.
    async fn drain(&mut self) {
        self.h2.graceful_shutdown();
        poll_fn(|cx| self.poll_idle(cx)).await;
        let _ = timeout(GOAWAY_TIME, poll_fn(|cx| self.poll(cx))).await;
    }

    /// Ready when the connection has ended, or must.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.meter.begin_turn();
        let polled = self.poll_turn(cx);
        if !self.over_limit {
            self.state.note(self.h2.has_streams(), std::mem::take(&mut self.began));
        }
        if self.meter.is_over() { Poll::Ready(()) } else { polled }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let began = Instant::now();
        loop {
            self.answer_durable(cx);
            if ready!(self.poll_arrivals(cx)) {
                return Poll::Ready(());
            }
            while let Some((request, respond)) = self.arrived.pop_front() {
                self.begin(request, respond, cx);
                if began.elapsed() >= TURN && !self.arrived.is_empty() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Ready when the connection has ended or has no calls in progress.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll(cx).is_ready() || !self.h2.has_streams() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Writes pending data, then collects every call that has arrived, so that the writes of a round are sent together.
    /// Ready with true when the connection has ended.
    fn poll_arrivals(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            match self.h2.poll_accept(cx) {
                Poll::Ready(Some(Ok(call))) => self.arrived.push_back(call),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(true),
                Poll::Pending if self.arrived.is_empty() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(false),
            }
        }
    }

    fn answer_durable(&mut self, cx: &mut Context<'_>) {
        if self.waiting.is_empty() {
            return;
        }
        self.answer_up_to(self.worker.port.durable());
        if !self.waiting.is_empty() {
            self.worker.bell.register(&mut self.registration, cx.waker());
            // There may have been a commit between the check and the registration.
            self.answer_up_to(self.worker.port.durable());
        }
    }

    fn answer_up_to(&mut self, durable: Durable) {
        let is_known = |waiting: &mut WaitingReply| durable.poisoned || waiting.decision.depends_on <= durable.sequence;
        let worker = &self.worker;
        for waiting in self.waiting.extract_if(.., is_known) {
            let WaitingReply { decision, respond, active_call, metadata } = waiting;
            let reply = match outcome(durable, decision.depends_on) {
                Some(Err(_)) => Err(Refusal::journal_failed(metadata.path())),
                _ => decision.reply,
            };
            answer::reply(respond, reply, active_call, || worker.send_deadline(&metadata));
        }
    }

    fn begin(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>, cx: &mut Context<'_>) {
        self.began = true;
        let (parts, body) = request.into_parts();
        if let Some(status) = non_grpc_status(&parts) {
            return answer::refuse_http(&mut respond, status);
        }
        let worker = Arc::clone(&self.worker);
        let allowed = self.allow(metadata_bytes(&parts)).and_then(|active_call| {
            let path = parts.uri.path();
            let route = route(path).ok_or_else(|| Refusal::unknown_method(path))?;
            Ok((active_call, route, CallMetadata::new(parts, route.path)?))
        });
        let (active_call, route, metadata) = match allowed {
            Ok(allowed) => allowed,
            Err(refusal) => return answer::refuse(&mut respond, &refusal),
        };
        match route.handler {
            Handler::Engine => self.unary(metadata, RequestBody::new(body, route.bytes_max), respond, active_call, cx),
            Handler::Waiting => {
                waiting::spawn(
                    worker,
                    metadata.compact(),
                    RequestBody::new(body, route.bytes_max),
                    respond,
                    active_call,
                );
            }
            Handler::ReadEvents => {
                events::spawn(
                    worker,
                    metadata.compact(),
                    RequestBody::new(body, route.bytes_max),
                    respond,
                    active_call,
                );
            }
            Handler::BatchStream(path) => {
                submit::spawn(worker, metadata.compact(), (body, route.bytes_max, path), respond, active_call)
            }
            Handler::Service(shape) => {
                forward::spawn(worker, metadata.compact(), (body, route.bytes_max, shape), respond, active_call);
            }
        }
    }

    /// Whether a call may begin.
    fn allow(&self, metadata_bytes: usize) -> Result<ActiveCall, Refusal> {
        let limit = self.worker.settings.headers_bytes_max as usize;
        if self.worker.is_draining() {
            return Err(Refusal::draining());
        }
        if self.over_limit {
            return Err(Refusal::overloaded());
        }
        if metadata_bytes > limit {
            self.worker.limits.bounds.acted(Bound::MetadataRefused);
            return Err(Refusal::metadata_too_large(limit));
        }
        self.worker.limits.call(&self.state)
    }

    fn unary(
        &mut self,
        metadata: CallMetadata,
        mut request_body: RequestBody,
        mut respond: SendResponse<Bytes>,
        active_call: ActiveCall,
        cx: &mut Context<'_>,
    ) {
        match request_body.poll(&self.worker.limits, cx) {
            Poll::Ready(Ok(payload)) => {
                let decision = self.worker.decide(&metadata, metadata.path(), &payload, &self.state);
                if decision.depends_on == 0 {
                    answer::reply(respond, decision.reply, active_call, || self.worker.send_deadline(&metadata));
                } else {
                    self.waiting.push(WaitingReply { decision, respond, active_call, metadata });
                }
            }
            Poll::Ready(Err(CallFailure::Refused(refusal))) => answer::refuse(&mut respond, &refusal),
            Poll::Ready(Err(CallFailure::CallerGone)) => {}
            Poll::Pending => {
                tokio::spawn(slow_unary(
                    Arc::clone(&self.worker),
                    metadata.compact(),
                    request_body,
                    respond,
                    active_call,
                ));
            }
        }
    }
}

/// How often a connection is checked.
fn check_interval(idle: Duration, stall: Duration) -> Duration {
    let shortest = if idle.is_zero() { stall } else { stall.min(idle) };
    (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(15))
}

/// A unary call whose message arrives in parts.
async fn slow_unary(
    worker: Arc<Worker>,
    metadata: CallMetadata,
    request_body: RequestBody,
    mut respond: SendResponse<Bytes>,
    active_call: ActiveCall,
) {
    let payload = match request_body.whole(&worker, &metadata).await {
        Ok(payload) => payload,
        Err(CallFailure::Refused(refusal)) => return answer::refuse(&mut respond, &refusal),
        Err(CallFailure::CallerGone) => return,
    };
    let decision = worker.decide(&metadata, metadata.path(), &payload, &active_call.state);
    let reply = worker.durable(decision.depends_on, metadata.path()).await.and(decision.reply);
    answer::reply(respond, reply, active_call, || worker.send_deadline(&metadata));
}
