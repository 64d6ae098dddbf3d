//! Which frames arrive over a connection, and how many control frames it may send.
//!
//! HTTP/2 lets a peer send control frames without limit: each costs work and none is bounded by a window. A call needs
//! a few of them (a reset, window updates, the pings with which clients measure the round-trip time), an idle
//! connection hardly any. So each connection has an allowance, which grows with time, with calls and with bytes sent.

use std::time::{Duration, Instant};

const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;

const END_HEADERS: u8 = 4;

/// Control frames that a connection may send at once.
pub(super) const BURST: u32 = 4_000;
/// Additional control frames each second.
pub(super) const PER_SECOND: u32 = 1_000;
/// Additional control frames for each call.
pub(super) const PER_CALL: u32 = 4;
/// One additional control frame for this many bytes sent: clients answer data with window updates and pings.
pub(super) const BYTES_SENT: usize = 64;

/// What the head of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) kind: u8,
    flags: u8,
    /// Bytes that follow the head.
    pub(super) bytes: usize,
}

impl FrameHead {
    /// For a frame of the metadata of a call: whether more of it follows. `None` for any other frame.
    pub(super) fn continues_metadata(self) -> Option<bool> {
        matches!(self.kind, HEADERS | CONTINUATION).then_some(self.flags & END_HEADERS == 0)
    }
}

/// Finds the frames in the bytes of a connection, however these are split.
pub(super) struct Frames {
    /// Bytes until the next frame head begins: of the preface, or of a frame.
    skip: usize,
    head: [u8; HEAD_BYTES],
    held: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Frames { skip: PREFACE_BYTES, head: [0; HEAD_BYTES], held: 0 }
    }
}

impl Frames {
    /// Calls `see` with every frame whose head is complete now.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut see: impl FnMut(FrameHead)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            bytes = &bytes[skipped..];
            self.skip -= skipped;
            if bytes.is_empty() {
                return;
            }
            let taken = (HEAD_BYTES - self.held).min(bytes.len());
            self.head[self.held..self.held + taken].copy_from_slice(&bytes[..taken]);
            self.held += taken;
            bytes = &bytes[taken..];
            if self.held == HEAD_BYTES {
                let [high, middle, low, kind, flags, ..] = self.head;
                let bytes = u32::from_be_bytes([0, high, middle, low]) as usize;
                (self.skip, self.held) = (bytes, 0);
                see(FrameHead { kind, flags, bytes });
            }
        }
    }
}

/// Control frames that a connection may still send.
pub(super) struct Allowance {
    left: u32,
    /// Calls that were not cancelled yet: each may be reset once without being counted.
    calls: u64,
    counted: Instant,
    /// Bytes sent that are not counted yet.
    sent: usize,
}

impl Allowance {
    pub(super) fn new(now: Instant) -> Self {
        Allowance { left: BURST, calls: 0, counted: now, sent: 0 }
    }

    /// Adds what has been earned until now, up to `BURST`.
    pub(super) fn earn(&mut self, sent: usize, now: Instant) {
        let elapsed = now.saturating_duration_since(self.counted);
        // A fraction of a frame is kept for the next time.
        let timely = (elapsed.as_millis() as u64 * u64::from(PER_SECOND) / 1_000).min(u64::from(BURST)) as u32;
        self.counted = match timely {
            BURST => now,
            _ => self.counted + Duration::from_secs(1) * timely / PER_SECOND,
        };
        self.sent += sent;
        let paid = (self.sent / BYTES_SENT).min(BURST as usize) as u32;
        self.sent %= BYTES_SENT;
        self.left = self.left.saturating_add(timely).saturating_add(paid).min(BURST);
    }

    /// Counts a received frame; false once there are more than allowed.
    pub(super) fn takes(&mut self, kind: u8) -> bool {
        match kind {
            // Bounded by windows, and by the limits of h2.
            DATA | CONTINUATION => true,
            HEADERS => {
                self.calls += 1;
                self.left = self.left.saturating_add(PER_CALL).min(BURST);
                true
            }
            RST_STREAM if self.calls > 0 => {
                self.calls -= 1;
                true
            }
            _ => {
                let allowed = self.left > 0;
                self.left = self.left.saturating_sub(1);
                allowed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let payloads = [frame(4, b""), frame(HEADERS, &[7; 300]), frame(DATA, &[6; 9]), frame(PING, &[8; 8])];
        let bytes = [&[b'P'; PREFACE_BYTES][..], &payloads.concat()].concat();
        for size in 1..=bytes.len() {
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            bytes.chunks(size).for_each(|piece| frames.read(piece, |frame| found.push(frame.kind)));
            assert_eq!(found, [4, HEADERS, DATA, PING], "pieces of {size}");
        }
    }

    #[test]
    fn metadata_continues_until_a_frame_ends_it() {
        let frame = |kind, flags| FrameHead { kind, flags, bytes: 9 }.continues_metadata();
        let rows = [(HEADERS, 0, Some(true)), (HEADERS, 1, Some(true)), (HEADERS, 5, Some(false))];
        let more = [(CONTINUATION, 0, Some(true)), (CONTINUATION, 4, Some(false)), (DATA, 0, None), (PING, 4, None)];
        for (kind, flags, continues) in rows.into_iter().chain(more) {
            assert_eq!(frame(kind, flags), continues, "{kind} {flags}");
        }
    }

    fn flood(allowance: &mut Allowance, kind: u8) -> u32 {
        (0..1_000_000).find(|_| !allowance.takes(kind)).unwrap_or(u32::MAX)
    }

    #[test]
    fn a_flood_ends_and_time_pays_for_more() {
        let now = Instant::now();
        let mut allowance = Allowance::new(now);
        assert_eq!(flood(&mut allowance, PING), BURST);
        allowance.earn(0, now + Duration::from_millis(500));
        assert_eq!(flood(&mut allowance, PING), PER_SECOND / 2);
        allowance.earn(0, now + Duration::from_secs(3_600));
        assert_eq!(flood(&mut allowance, PING), BURST);
    }

    #[test]
    fn time_in_small_steps_is_not_lost() {
        let now = Instant::now();
        let mut allowance = Allowance::new(now);
        flood(&mut allowance, PING);
        for step in 1..=2_857 {
            allowance.earn(0, now + Duration::from_micros(700 * step));
        }
        assert_eq!(flood(&mut allowance, PING), 2 * PER_SECOND - 1);
    }

    #[test]
    fn calls_that_are_given_up_and_answers_that_are_taken_pay_for_their_frames() {
        let now = Instant::now();
        let mut allowance = Allowance::new(now);
        assert!((0..10 * BURST).all(|_| allowance.takes(HEADERS)));
        assert!((0..10 * BURST).all(|_| allowance.takes(RST_STREAM)));
        assert_eq!(flood(&mut allowance, RST_STREAM), BURST, "resets of nothing");
        let mut reader = Allowance::new(now);
        for _ in 0..10 * BURST {
            reader.earn(16 << 10, now);
            assert!(reader.takes(8) && reader.takes(8) && reader.takes(PING));
        }
    }
}
