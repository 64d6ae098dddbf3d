//! One connection. A unary call whose message has come whole, as nearly all do, is decided right here, in the order of
//! arrival, and its answer waits in a list for the next commit: no task, no lock and no wake of its own. All the rest
//! gets a task.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{self, SendResponse};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::bell::Seat;
use super::census::UnderWay;
use super::gather::{Gathering, Trouble};
use super::route::{Route, route};
use super::settings::DoorSettings;
use super::station::{Station, outcome};
use super::terms::{Terms, foreign};
use super::{answer, events, forward, submit};
use crate::engine::{Durable, Taken};
use crate::refusal::Refusal;

/// A connection that does not begin to speak HTTP/2 is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A connection beyond the limit is told so for this long.
const CROWDED: Duration = Duration::from_secs(10);
/// When draining, a connection without calls has this long to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
const FRAME_BYTES_MAX: u32 = 64 << 10;

/// Serves a connection until it ends.
pub(super) async fn serve(io: impl AsyncRead + AsyncWrite + Unpin, station: Arc<Station>, crowded: bool) {
    let handshake = builder(&station.settings).handshake(io);
    let Ok(Ok(h2)) = timeout(HANDSHAKE, handshake).await else { return };
    let mut connection =
        Connection { h2, station, crowded, came: Vec::new(), decided: Vec::new(), seat: Seat::default() };
    if crowded {
        let _ = timeout(CROWDED, poll_fn(|cx| connection.poll(cx))).await;
        return;
    }
    let station = Arc::clone(&connection.station);
    tokio::select! {
        biased;
        () = poll_fn(|cx| connection.poll(cx)) => return,
        () = station.draining() => {}
    }
    connection.h2.graceful_shutdown();
    poll_fn(|cx| connection.poll_idle(cx)).await;
    let _ = timeout(GOODBYE, poll_fn(|cx| connection.poll(cx))).await;
}

fn builder(settings: &DoorSettings) -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(settings.streams_max)
        .max_header_list_size(settings.headers_bytes_max);
    builder
}

struct Connection<T> {
    h2: server::Connection<T, Bytes>,
    station: Arc<Station>,
    crowded: bool,
    came: Vec<(Request<RecvStream>, SendResponse<Bytes>)>,
    decided: Vec<Decided>,
    seat: Seat,
}

/// A call whose answer waits until what it rests on is durable.
struct Decided {
    taken: Taken,
    respond: SendResponse<Bytes>,
    _under_way: UnderWay,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.answer_durable(cx);
            if ready!(self.poll_come(cx)) {
                return Poll::Ready(());
            }
            let mut came = std::mem::take(&mut self.came);
            for (request, respond) in came.drain(..) {
                self.begin(request, respond, cx);
            }
            self.came = came;
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
                Poll::Ready(Some(Ok(call))) => self.came.push(call),
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
        let is_known = |decided: &mut Decided| durable.poisoned || decided.taken.rests_on <= durable.sequence;
        for mut decided in self.decided.extract_if(.., is_known) {
            match outcome(durable, decided.taken.rests_on) {
                Some(Err(unknown)) => answer::refuse(&mut decided.respond, &unknown),
                _ => answer::reply(&mut decided.respond, &decided.taken.reply),
            }
        }
    }

    fn begin(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>, cx: &mut Context<'_>) {
        let (parts, body) = request.into_parts();
        if let Some(status) = foreign(&parts) {
            return answer::refuse_http(&mut respond, status);
        }
        if self.station.is_draining() {
            return answer::refuse(&mut respond, &Refusal::draining());
        }
        let Some(under_way) = self.station.census.call().filter(|_| !self.crowded) else {
            return answer::refuse(&mut respond, &Refusal::overloaded());
        };
        let station = Arc::clone(&self.station);
        let (bytes_max, is_unary) = match route(parts.uri.path()) {
            Route::Unary { bytes_max } => (bytes_max, true),
            Route::ReadEvents { bytes_max } => (bytes_max, false),
            Route::SubmitStream { bytes_max } => {
                return submit::spawn(station, parts, body, bytes_max, respond, under_way);
            }
            Route::Forward { bytes_max } => {
                return forward::spawn(station, parts, body, bytes_max, respond, under_way);
            }
        };
        let terms = match Terms::new(parts) {
            Ok(terms) => terms,
            Err(refusal) => return answer::refuse(&mut respond, &refusal),
        };
        let gathering = Gathering::new(body, bytes_max);
        if is_unary {
            self.unary(terms, gathering, respond, under_way, cx);
        } else {
            events::spawn(station, terms, gathering, respond, under_way);
        }
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
                let taken = self.station.decide(&terms, terms.path(), &payload);
                if taken.rests_on == 0 {
                    answer::reply(&mut respond, &taken.reply);
                } else {
                    self.decided.push(Decided { taken, respond, _under_way: under_way });
                }
            }
            Poll::Ready(Err(Trouble::Refused(refusal))) => answer::refuse(&mut respond, &refusal),
            Poll::Ready(Err(Trouble::Gone)) => {}
            Poll::Pending => {
                tokio::spawn(slow_unary(Arc::clone(&self.station), terms, gathering, respond, under_way));
            }
        }
    }
}

/// A unary call whose message comes in parts.
async fn slow_unary(
    station: Arc<Station>,
    terms: Terms,
    gathering: Gathering,
    mut respond: SendResponse<Bytes>,
    _under_way: UnderWay,
) {
    let payload = match gathering.whole(&station, &terms).await {
        Ok(payload) => payload,
        Err(Trouble::Refused(refusal)) => return answer::refuse(&mut respond, &refusal),
        Err(Trouble::Gone) => return,
    };
    let taken = station.decide(&terms, terms.path(), &payload);
    match station.durable(taken.rests_on).await {
        Ok(()) => answer::reply(&mut respond, &taken.reply),
        Err(unknown) => answer::refuse(&mut respond, &unknown),
    }
}
