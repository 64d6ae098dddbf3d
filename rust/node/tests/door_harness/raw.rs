//! A peer that writes HTTP/2 frame by frame, as no client library would.

use std::collections::VecDeque;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::TIMEOUT;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const INITIAL_WINDOW: u16 = 4;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A received frame.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of a RST_STREAM or GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// One connection.
pub struct RawPeer {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    next_stream: u32,
    seen: VecDeque<Frame>,
}

impl RawPeer {
    /// Connects and sends the preface with these settings.
    pub async fn new(address: &str, settings: &[(u16, u32)]) -> Self {
        let mut peer = Self::silent(address).await;
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        peer.write(&[PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat()).await;
        peer
    }

    /// Connects and sends nothing.
    pub async fn silent(address: &str) -> Self {
        let (from, to) = TcpStream::connect(address).await.expect("a listener").into_split();
        RawPeer { from, to, next_stream: 1, seen: VecDeque::new() }
    }

    /// Writes bytes as they are; false if the connection is closed.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(TIMEOUT, self.to.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Begins a call and returns its stream id.
    pub async fn call(&mut self, path: &str, extra: &[(&str, &str)]) -> u32 {
        let (stream, frames) = self.head(path, extra);
        self.write(&frames).await;
        stream
    }

    /// The frame that begins a call, not yet written.
    pub fn head(&mut self, path: &str, extra: &[(&str, &str)]) -> (u32, Vec<u8>) {
        let stream = self.next_stream;
        self.next_stream += 2;
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "shop"),
            (":path", path),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        let mut block = Vec::new();
        for (name, value) in fields.iter().chain(extra) {
            block.push(0);
            put_text(&mut block, name);
            put_text(&mut block, value);
        }
        (stream, frame(HEADERS, END_HEADERS, stream, &block))
    }

    /// Writes data in frames of 16 KiB at most.
    pub async fn data(&mut self, stream: u32, data: &[u8], ends: bool) {
        let pieces = data.chunks(16 << 10).count().max(1);
        for (at, piece) in data.chunks(16 << 10).enumerate() {
            let flags = if ends && at + 1 == pieces { END_STREAM } else { 0 };
            if !self.write(&frame(DATA, flags, stream, piece)).await {
                return;
            }
        }
    }

    /// The next frame; `None` once the connection is closed.
    pub async fn next(&mut self) -> Option<Frame> {
        let read = async {
            let mut head = [0; 9];
            self.from.read_exact(&mut head).await.ok()?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.from.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            Some(Frame { kind: head[3], flags: head[4], stream, payload })
        };
        let frame = timeout(TIMEOUT, read).await.expect("a frame, or an end, in time");
        if let Some(frame) = &frame {
            self.seen.push_back(frame.clone());
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => {
                    self.write(&self::frame(SETTINGS, ACK, 0, &[])).await;
                }
                PING if frame.flags & ACK == 0 => {
                    let payload = frame.payload.clone();
                    self.write(&self::frame(PING, ACK, 0, &payload)).await;
                }
                _ => {}
            }
        }
        frame
    }

    /// Reads until `count` wanted frames have arrived, and returns the last of them.
    pub async fn until(&mut self, wanted: impl Fn(&Frame) -> bool, count: usize) -> Frame {
        let mut left = count;
        loop {
            let Some(frame) = self.next().await else {
                panic!("the connection ended; it said {:?}", self.seen.back());
            };
            if wanted(&frame) {
                left -= 1;
                if left == 0 {
                    return frame;
                }
            }
        }
    }

    /// Reads until the connection is closed and returns the last GOAWAY.
    pub async fn until_closed(&mut self) -> Option<Frame> {
        let mut last = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                last = Some(frame);
            }
        }
        last
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A frame that cancels a call.
pub fn cancel(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// The frame with all the data of a call.
pub fn only_data(stream: u32, data: &[u8]) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, data)
}

fn put_text(block: &mut Vec<u8>, text: &str) {
    let mut rest = text.len();
    if rest < 127 {
        block.push(rest as u8);
    } else {
        block.push(127);
        rest -= 127;
        while rest >= 128 {
            block.push((rest % 128 + 128) as u8);
            rest /= 128;
        }
        block.push(rest as u8);
    }
    block.extend_from_slice(text.as_bytes());
}
