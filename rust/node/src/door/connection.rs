//! One connection. A unary call whose message has come whole, as nearly all do, is decided right here, in the order of
//! arrival, and its answer waits in a list for the next commit: no task, no lock and no wake of its own. All the rest
//! gets a task.

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

use super::answer::Patience;
use super::bell::Seat;
use super::bounds::Bound;
use super::census::UnderWay;
use super::gather::{Gathering, Trouble};
use super::metered::{Meter, Metered};
use super::places::{Place, Present};
use super::route::{To, route};
use super::settings::DoorSettings;
use super::station::{Decision, Station, outcome};
use super::terms::{Terms, foreign, metadata_bytes};
use super::{answer, events, forward, submit};
use crate::engine::Durable;
use crate::refusal::Refusal;

/// A connection that does not begin to speak HTTP/2 is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A connection beyond the limit is told so for this long.
const CROWDED: Duration = Duration::from_secs(10);
/// A connection that is to end has this long to hear it.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long a connection has its calls decided before others have their turn.
const TURN: Duration = Duration::from_millis(2);
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// h2 answers what is beyond its limit with an HTTP status, so the door's own limit lies far below.
const HEADERS_READ: u32 = 4;
/// Calls given up before they were looked at. No turn brings as many, so giving up never ends a connection.
const GIVEN_UP_MAX: usize = 8_192;

/// Why a connection is ended.
enum End {
    /// By itself.
    Ended,
    /// The door drains.
    Drains,
    /// It made room for another.
    Evicted,
    /// It took nothing, or did not say goodbye.
    Dropped,
}

/// Serves a connection until it ends.
pub(super) async fn serve(io: impl AsyncRead + AsyncWrite + Unpin, station: Arc<Station>, present: Present) {
    let (meter, place) = (Arc::new(Meter::default()), &present.place);
    let idle = Duration::from_millis(station.settings.connection_idle_ms);
    let silence = if idle.is_zero() { HANDSHAKE } else { HANDSHAKE.min(idle) };
    let handshake = builder(&station.settings).handshake(Metered::new(io, Arc::clone(&meter)));
    let h2 = tokio::select! {
        biased;
        () = place.must_leave() => return,
        made = timeout(silence, handshake) => match made {
            Ok(Ok(h2)) => h2,
            Ok(Err(_)) => return,
            Err(_) => return station.census.bounds.acted(Bound::ConnectionSilent),
        },
    };
    let mut connection = Connection {
        h2,
        meter,
        station,
        place: Arc::clone(place),
        crowded: present.crowded,
        began: false,
        came: VecDeque::new(),
        decided: Vec::new(),
        seat: Seat::default(),
    };
    if present.crowded {
        let _ = timeout(CROWDED, poll_fn(|cx| connection.poll(cx))).await;
        return;
    }
    match connection.run(&present).await {
        End::Ended if connection.meter.is_flooded() => {
            connection.station.census.bounds.acted(Bound::ControlFrames);
            connection.end_now(Reason::ENHANCE_YOUR_CALM).await;
        }
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
        .max_pending_accept_reset_streams(GIVEN_UP_MAX)
        // What still comes for a call that was refused must not end the others.
        .max_concurrent_reset_streams(settings.streams_max as usize);
    builder
}

struct Connection<T> {
    h2: server::Connection<Metered<T>, Bytes>,
    meter: Arc<Meter>,
    station: Arc<Station>,
    place: Arc<Place>,
    crowded: bool,
    /// A call has come in this turn.
    began: bool,
    /// Calls that have come and are not begun: no more than a connection may have under way.
    came: VecDeque<(Request<RecvStream>, SendResponse<Bytes>)>,
    decided: Vec<Decided>,
    seat: Seat,
}

/// A call whose answer waits until what it rests on is durable.
struct Decided {
    decision: Decision,
    respond: SendResponse<Bytes>,
    under_way: UnderWay,
    patience: Patience,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Serves until there is a reason to end.
    async fn run(&mut self, present: &Present) -> End {
        let (station, place) = (Arc::clone(&self.station), Arc::clone(&self.place));
        let idle = Duration::from_millis(station.settings.connection_idle_ms);
        let stall = Duration::from_millis(station.settings.stall_ms_max);
        let mut looks = interval(looks_every(idle, stall));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked_to_leave: Option<Instant> = None;
        loop {
            tokio::select! {
                biased;
                () = poll_fn(|cx| self.poll(cx)) => return End::Ended,
                () = station.draining() => return End::Drains,
                () = place.must_leave() => {
                    // A call may have come since it was chosen.
                    if !self.h2.has_streams() {
                        return End::Evicted;
                    }
                    present.stays();
                }
                _ = looks.tick() => {
                    if self.meter.is_blocked_for(stall) {
                        station.census.bounds.acted(Bound::ConnectionStalled);
                        return End::Dropped;
                    }
                    if idle.is_zero() || place.rested().is_none_or(|rested| rested < idle) {
                        continue;
                    }
                    match asked_to_leave {
                        Some(asked) if asked.elapsed() >= GOODBYE => return End::Dropped,
                        Some(_) => {}
                        None => {
                            asked_to_leave = Some(Instant::now());
                            station.census.bounds.acted(Bound::ConnectionIdle);
                            self.h2.graceful_shutdown();
                        }
                    }
                }
            }
        }
    }

    /// Ends with what the caller must know. No call is under way, or none that counts.
    async fn end_now(&mut self, reason: Reason) {
        self.h2.abrupt_shutdown(reason);
        let _ = timeout(GOODBYE, poll_fn(|cx| self.h2.poll_closed(cx))).await;
    }

    /// Ends after what is under way.
    async fn drain(&mut self) {
        self.h2.graceful_shutdown();
        poll_fn(|cx| self.poll_idle(cx)).await;
        let _ = timeout(GOODBYE, poll_fn(|cx| self.poll(cx))).await;
    }

    /// Ready when the connection has ended, or must.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.meter.begin_turn();
        let polled = self.poll_turn(cx);
        if !self.crowded {
            self.place.note(self.h2.has_streams(), std::mem::take(&mut self.began));
        }
        if self.meter.is_flooded() { Poll::Ready(()) } else { polled }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let began = Instant::now();
        loop {
            self.answer_durable(cx);
            if ready!(self.poll_come(cx)) {
                return Poll::Ready(());
            }
            while let Some((request, respond)) = self.came.pop_front() {
                self.begin(request, respond, cx);
                if began.elapsed() >= TURN && !self.came.is_empty() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Ready when the connection has ended or no call is under way on it.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll(cx).is_ready() || !self.h2.has_streams() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Writes what is to be written, then collects every call that has come, so that the writes of a round go out
    /// together. Ready with true when the connection has ended.
    fn poll_come(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            match self.h2.poll_accept(cx) {
                Poll::Ready(Some(Ok(call))) => self.came.push_back(call),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(true),
                Poll::Pending if self.came.is_empty() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(false),
            }
        }
    }

    fn answer_durable(&mut self, cx: &mut Context<'_>) {
        if self.decided.is_empty() {
            return;
        }
        self.answer_up_to(self.station.desk.durable());
        if !self.decided.is_empty() {
            self.station.bell.sit(&mut self.seat, cx.waker());
            // A commit may have come between the look and the seat.
            self.answer_up_to(self.station.desk.durable());
        }
    }

    fn answer_up_to(&mut self, durable: Durable) {
        let is_known = |decided: &mut Decided| durable.poisoned || decided.decision.rests_on <= durable.sequence;
        for decided in self.decided.extract_if(.., is_known) {
            let Decided { decision, respond, under_way, patience } = decided;
            let reply = match outcome(durable, decision.rests_on) {
                Some(Err(unknown)) => Err(unknown),
                _ => decision.reply,
            };
            answer::reply(respond, reply, under_way, || patience);
        }
    }

    fn begin(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>, cx: &mut Context<'_>) {
        self.began = true;
        let (parts, body) = request.into_parts();
        if let Some(status) = foreign(&parts) {
            return answer::refuse_http(&mut respond, status);
        }
        let station = Arc::clone(&self.station);
        let allowed = self.allow(metadata_bytes(&parts)).and_then(|under_way| {
            let path = parts.uri.path();
            let route = route(path).ok_or_else(|| Refusal::unknown_method(path))?;
            Ok((under_way, route, Terms::new(parts, route.path)?))
        });
        let (under_way, route, terms) = match allowed {
            Ok(allowed) => allowed,
            Err(refusal) => return answer::refuse(&mut respond, &refusal),
        };
        match route.to {
            To::Engine => self.unary(terms, Gathering::new(body, route.bytes_max), respond, under_way, cx),
            To::ReadEvents => {
                events::spawn(station, terms.lean(), Gathering::new(body, route.bytes_max), respond, under_way);
            }
            To::SubmitStream => submit::spawn(station, terms.lean(), body, route.bytes_max, respond, under_way),
            To::Service(shape) => {
                forward::spawn(station, terms.lean(), (body, route.bytes_max, shape), respond, under_way);
            }
        }
    }

    /// Whether a call may begin.
    fn allow(&self, metadata_bytes: usize) -> Result<UnderWay, Refusal> {
        let limit = self.station.settings.headers_bytes_max as usize;
        if self.station.is_draining() {
            return Err(Refusal::draining());
        }
        if self.crowded {
            return Err(Refusal::overloaded());
        }
        if metadata_bytes > limit {
            self.station.census.bounds.acted(Bound::MetadataRefused);
            return Err(Refusal::metadata_too_large(limit));
        }
        self.station.census.call(&self.place)
    }

    fn unary(
        &mut self,
        terms: Terms,
        mut gathering: Gathering,
        mut respond: SendResponse<Bytes>,
        under_way: UnderWay,
        cx: &mut Context<'_>,
    ) {
        match gathering.poll(&self.station.census, cx) {
            Poll::Ready(Ok(payload)) => {
                let decision = self.station.decide(&terms, terms.path(), &payload, &self.place);
                if decision.rests_on == 0 {
                    answer::reply(respond, decision.reply, under_way, || self.station.patience(&terms));
                } else {
                    let patience = self.station.patience(&terms);
                    self.decided.push(Decided { decision, respond, under_way, patience });
                }
            }
            Poll::Ready(Err(Trouble::Refused(refusal))) => answer::refuse(&mut respond, &refusal),
            Poll::Ready(Err(Trouble::Gone)) => {}
            Poll::Pending => {
                tokio::spawn(slow_unary(Arc::clone(&self.station), terms.lean(), gathering, respond, under_way));
            }
        }
    }
}

/// How often a connection is looked at.
fn looks_every(idle: Duration, stall: Duration) -> Duration {
    let shortest = if idle.is_zero() { stall } else { stall.min(idle) };
    (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(15))
}

/// A unary call whose message comes in parts.
async fn slow_unary(
    station: Arc<Station>,
    terms: Terms,
    gathering: Gathering,
    mut respond: SendResponse<Bytes>,
    under_way: UnderWay,
) {
    let payload = match gathering.whole(&station, &terms).await {
        Ok(payload) => payload,
        Err(Trouble::Refused(refusal)) => return answer::refuse(&mut respond, &refusal),
        Err(Trouble::Gone) => return,
    };
    let decision = station.decide(&terms, terms.path(), &payload, &under_way.place);
    let reply = station.durable(decision.rests_on).await.and(decision.reply);
    answer::reply(respond, reply, under_way, || station.patience(&terms));
}
