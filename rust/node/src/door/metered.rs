//! The socket of a connection as h2 sees it: it limits how much a connection reads per turn, and detects a flood of
//! control frames and a peer that reads nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{Allowance, Frames};
use super::limits::PartialBytes;

/// Bytes that are read from one connection before others have their turn.
pub(super) const TURN_BYTES: usize = 64 << 10;

/// What a socket and its connection share.
#[derive(Default)]
pub(super) struct SocketMeter {
    turn_left: AtomicUsize,
    flooded: AtomicBool,
    crowded: AtomicBool,
    /// Since when the peer has read nothing.
    blocked: Mutex<Option<Instant>>,
}

impl SocketMeter {
    /// Lets the connection read again.
    pub(super) fn begin_turn(&self) {
        self.turn_left.store(TURN_BYTES, Relaxed);
    }

    /// True once more control frames have arrived than a connection may send. Nothing more is read then.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.load(Relaxed)
    }

    /// True once unfinished metadata of the door's connections holds too many bytes, and this one sent more of it. Nothing more
    /// is read then.
    pub(super) fn is_crowded(&self) -> bool {
        self.crowded.load(Relaxed)
    }

    /// True if nothing more may be read.
    pub(super) fn is_over(&self) -> bool {
        self.is_flooded() || self.is_crowded()
    }

    /// True if bytes have waited for `stall` and the peer read none.
    pub(super) fn is_blocked_for(&self, stall: Duration) -> bool {
        self.blocked().is_some_and(|since| since.elapsed() >= stall)
    }

    fn blocked(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket with a meter.
pub(super) struct MeteredSocket<T> {
    io: T,
    meter: Arc<SocketMeter>,
    frames: Frames,
    allowance: Allowance,
    /// Bytes of metadata of which more must follow: h2 keeps them until it is whole.
    metadata: PartialBytes,
    is_blocked: bool,
}

impl<T> MeteredSocket<T> {
    pub(super) fn new(io: T, meter: Arc<SocketMeter>, metadata: PartialBytes) -> Self {
        meter.begin_turn();
        MeteredSocket {
            io,
            meter,
            frames: Frames::default(),
            allowance: Allowance::new(Instant::now()),
            metadata,
            is_blocked: false,
        }
    }

    fn received(&mut self, bytes: &[u8]) {
        let left = self.meter.turn_left.load(Relaxed);
        self.meter.turn_left.store(left.saturating_sub(bytes.len()), Relaxed);
        self.allowance.earn(0, Instant::now());
        let (mut allowed, mut has_room) = (true, true);
        let (allowance, metadata) = (&mut self.allowance, &mut self.metadata);
        self.frames.read(bytes, |frame| {
            allowed &= allowance.takes(frame.kind);
            match frame.continues_metadata() {
                Some(true) => has_room &= metadata.grow(frame.bytes).is_ok(),
                Some(false) => metadata.clear(),
                None => {}
            }
        });
        if !allowed {
            self.meter.flooded.store(true, Relaxed);
        }
        if !has_room {
            self.meter.crowded.store(true, Relaxed);
        }
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let is_blocked = written.is_pending();
        // Any progress counts.
        if is_blocked != self.is_blocked {
            self.is_blocked = is_blocked;
            *self.meter.blocked() = is_blocked.then(Instant::now);
        }
        if let Poll::Ready(Ok(bytes)) = &written {
            self.allowance.earn(*bytes, Instant::now());
        }
        written
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for MeteredSocket<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.meter.is_over() || this.meter.turn_left.load(Relaxed) == 0 {
            // The connection checks the reason at once, or in its next turn.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.received(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for MeteredSocket<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.wrote(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
