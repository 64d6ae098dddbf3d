//! One HTTP/2 connection for gRPC calls, driven by its owner: no threads, no timers, no blocking.
//!
//! Written by hand because the caller must need only a fraction of the CPU of the server that it measures: requests are
//! templates, header blocks have a few bytes, and each wake-up costs one read and one write however many calls it handles.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::hpack::{Decoder, Encoder, Headers};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_BYTES: usize = 9;
const INPUT_BYTES: usize = 256 * 1024;
const WINDOW_MAX: u32 = 0x7fff_ffff;
const WINDOW_DEFAULT: u32 = 65_535;
/// Received bytes after which the server is allowed to send as many more.
const WINDOW_STEP: u32 = 1 << 29;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

const SETTING_INITIAL_WINDOW: u16 = 4;

/// Receives the results of calls. `C` is the owner's data about a call.
pub trait Caller<C> {
    /// One message of the answer, without its prefix.
    fn message(&mut self, call: &mut C, message: &[u8]);
    /// The call has ended with this gRPC status; `details` is `grpc-status-details-bin` in base64.
    fn ended(&mut self, call: C, status: u8, details: &[u8]);
}

struct Stream<C> {
    call: Option<C>,
    window: i64,
    unsent: Vec<u8>,
    unsent_at: usize,
    ends: bool,
    received_bytes: u32,
    partial: Vec<u8>,
    headers: Headers,
}

/// A connection and the calls on it.
pub struct Connection<C> {
    socket: TcpStream,
    encoder: Encoder,
    input: Vec<u8>,
    filled: usize,
    output: Vec<u8>,
    output_at: usize,
    streams: VecDeque<Stream<C>>,
    first_id: u32,
    waiting: VecDeque<u32>,
    receiver: Receiver,
    send: SendLimits,
}

struct SendLimits {
    window: i64,
    stream_window: i64,
    frame_bytes_max: usize,
    streams_max: u32,
}

struct Receiver {
    decoder: Decoder,
    received_bytes: u32,
    block: Vec<u8>,
    block_stream: u32,
    block_ends: bool,
    settings_seen: bool,
}

fn broken(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |value, byte| (value << 8) | u32::from(*byte))
}

impl<C> Connection<C> {
    /// Connects and waits for the server's settings. `methods` are the paths to which calls refer by index.
    pub fn open(address: SocketAddr, methods: &[&str], deadline_ms: u64) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(CONNECT_TIMEOUT))?;
        let mut connection = Self {
            socket,
            encoder: Encoder::new(&address.to_string(), methods, deadline_ms),
            input: vec![0; INPUT_BYTES],
            filled: 0,
            output: PREFACE.to_vec(),
            output_at: 0,
            streams: VecDeque::new(),
            first_id: 1,
            waiting: VecDeque::new(),
            receiver: Receiver {
                decoder: Decoder::default(),
                received_bytes: 0,
                block: Vec::new(),
                block_stream: 0,
                block_ends: false,
                settings_seen: false,
            },
            send: SendLimits {
                window: i64::from(WINDOW_DEFAULT),
                stream_window: i64::from(WINDOW_DEFAULT),
                frame_bytes_max: 16_384,
                streams_max: u32::MAX,
            },
        };
        connection.greet()?;
        Ok(connection)
    }

    fn greet(&mut self) -> io::Result<()> {
        let mut settings = vec![0, 2, 0, 0, 0, 0]; // no pushes
        settings.extend_from_slice(&SETTING_INITIAL_WINDOW.to_be_bytes());
        settings.extend_from_slice(&WINDOW_MAX.to_be_bytes());
        frame(&mut self.output, SETTINGS, 0, 0, &settings);
        frame(&mut self.output, WINDOW_UPDATE, 0, 0, &(WINDOW_MAX - WINDOW_DEFAULT).to_be_bytes());
        self.flush()?;
        while !self.receiver.settings_seen {
            self.receive(&mut Nobody)?;
        }
        self.flush()?;
        self.socket.set_read_timeout(None)?;
        self.socket.set_nonblocking(true)
    }

    /// The socket, for polling.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Number of concurrent calls that the server allows on this connection.
    pub fn streams_max(&self) -> u32 {
        self.send.streams_max
    }

    /// True if there is output that the socket has not accepted.
    pub fn has_output(&self) -> bool {
        self.output_at < self.output.len()
    }

    /// Starts a call; `body` is its messages, each with its prefix. Returns the id of the stream.
    pub fn start(&mut self, call: C, method: usize, body: &[u8], ends: bool) -> u32 {
        let id = self.first_id + 2 * u32::try_from(self.streams.len()).unwrap_or(u32::MAX / 4);
        let at = self.output.len();
        frame(&mut self.output, HEADERS, END_HEADERS, id, &[]);
        self.encoder.encode(method, &mut self.output);
        let block_bytes = self.output.len() - at - HEADER_BYTES;
        self.output[at..at + 3].copy_from_slice(&length_of(block_bytes));
        self.streams.push_back(Stream {
            call: Some(call),
            window: self.send.stream_window,
            unsent: Vec::new(),
            unsent_at: 0,
            ends: false,
            received_bytes: 0,
            partial: Vec::new(),
            headers: Headers::default(),
        });
        self.send(id, body, ends);
        id
    }

    /// Sends more messages on a stream that `start` left open.
    pub fn send(&mut self, id: u32, body: &[u8], ends: bool) {
        let at = self.place(id);
        let Some(stream) = at.and_then(|at| self.streams.get_mut(at)) else { return };
        let bytes = i64::try_from(body.len()).unwrap_or(i64::MAX);
        let fits = bytes <= stream.window && bytes <= self.send.window && body.len() <= self.send.frame_bytes_max;
        if fits && stream.unsent.is_empty() {
            stream.window -= bytes;
            self.send.window -= bytes;
            frame(&mut self.output, DATA, if ends { END_STREAM } else { 0 }, id, body);
            return;
        }
        if stream.unsent.is_empty() {
            self.waiting.push_back(id);
        }
        stream.unsent.extend_from_slice(body);
        stream.ends = ends;
        self.send_waiting();
    }

    /// Writes as much as the socket accepts; the rest remains for the next call.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.has_output() {
            match self.socket.write(&self.output[self.output_at..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.output_at += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.output_at = 0;
        Ok(())
    }

    /// Reads once and passes what arrived to `caller`. Returns true if there may be more to read immediately.
    pub fn receive(&mut self, caller: &mut impl Caller<C>) -> io::Result<bool> {
        let read = match self.socket.read(&mut self.input[self.filled..]) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(error),
        };
        self.filled += read;
        let more = self.filled == self.input.len();
        let input = std::mem::take(&mut self.input);
        let outcome = self.frames(&input[..self.filled], caller);
        self.input = input;
        let used = outcome?;
        self.input.copy_within(used..self.filled, 0);
        self.filled -= used;
        Ok(more)
    }

    fn frames(&mut self, input: &[u8], caller: &mut impl Caller<C>) -> io::Result<usize> {
        let mut at = 0;
        while let Some(header) = input.get(at..at + HEADER_BYTES) {
            let length = number(&header[..3]) as usize;
            let Some(payload) = input.get(at + HEADER_BYTES..at + HEADER_BYTES + length) else {
                if length > INPUT_BYTES - HEADER_BYTES {
                    return Err(broken("the server sent a frame above the size limit"));
                }
                break;
            };
            self.take(header[3], header[4], number(&header[5..]) & WINDOW_MAX, payload, caller)?;
            at += HEADER_BYTES + length;
        }
        Ok(at)
    }

    fn take(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8], caller: &mut impl Caller<C>) -> io::Result<()> {
        match kind {
            DATA => self.take_data(flags, id, payload, caller),
            HEADERS => {
                let mut block = unpadded(flags, payload)?;
                if flags & PRIORITY != 0 {
                    block = block.get(5..).ok_or_else(|| broken("HEADERS too short"))?;
                }
                self.receiver.block_stream = id;
                self.receiver.block_ends = flags & END_STREAM != 0;
                self.take_block(flags, block, caller)
            }
            CONTINUATION => self.take_block(flags, payload, caller),
            RST_STREAM => {
                self.finish(id, Some(UNAVAILABLE), caller);
                Ok(())
            }
            SETTINGS if flags & ACK == 0 => self.take_settings(payload),
            PING if flags & ACK == 0 => {
                frame(&mut self.output, PING, ACK, 0, payload);
                Ok(())
            }
            GOAWAY => {
                let code = number(payload.get(4..8).unwrap_or_default());
                Err(broken(format!("the server ended the connection with GOAWAY, error code {code}")))
            }
            WINDOW_UPDATE => {
                self.take_window(id, number(payload) & WINDOW_MAX);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take_data(&mut self, flags: u8, id: u32, payload: &[u8], caller: &mut impl Caller<C>) -> io::Result<()> {
        let bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        grant(&mut self.receiver.received_bytes, bytes, 0, &mut self.output);
        let data = unpadded(flags, payload)?;
        let at = self.place(id);
        if let Some(stream) = at.and_then(|at| self.streams.get_mut(at)) {
            grant(&mut stream.received_bytes, bytes, id, &mut self.output);
            if let Some(call) = &mut stream.call {
                messages(&mut stream.partial, data, |message| caller.message(call, message));
            }
        }
        if flags & END_STREAM != 0 {
            self.finish(id, None, caller);
        }
        Ok(())
    }

    fn take_block(&mut self, flags: u8, fragment: &[u8], caller: &mut impl Caller<C>) -> io::Result<()> {
        let receiver = &mut self.receiver;
        let id = receiver.block_stream;
        if flags & END_HEADERS == 0 {
            receiver.block.extend_from_slice(fragment);
            return Ok(());
        }
        let mut unwanted = Headers::default();
        let at = (id.wrapping_sub(self.first_id) / 2) as usize;
        let headers = self.streams.get_mut(at).map_or(&mut unwanted, |stream| &mut stream.headers);
        let decoded = if receiver.block.is_empty() {
            receiver.decoder.decode(fragment, headers)
        } else {
            receiver.block.extend_from_slice(fragment);
            let decoded = receiver.decoder.decode(&receiver.block, headers);
            receiver.block.clear();
            decoded
        };
        decoded.map_err(|_| broken("the server sent headers that cannot be decoded"))?;
        if self.receiver.block_ends {
            self.finish(id, None, caller);
        }
        Ok(())
    }

    fn take_settings(&mut self, payload: &[u8]) -> io::Result<()> {
        for setting in payload.chunks_exact(6) {
            let value = number(&setting[2..]);
            match number(&setting[..2]) {
                1 if value < 4096 => return Err(broken("the server allows no header table")),
                3 => self.send.streams_max = value,
                4 => {
                    let change = i64::from(value) - self.send.stream_window;
                    self.send.stream_window += change;
                    self.streams.iter_mut().for_each(|stream| stream.window += change);
                }
                5 => self.send.frame_bytes_max = value as usize,
                _ => {}
            }
        }
        frame(&mut self.output, SETTINGS, ACK, 0, &[]);
        self.receiver.settings_seen = true;
        self.send_waiting();
        Ok(())
    }

    fn take_window(&mut self, id: u32, bytes: u32) {
        if id == 0 {
            self.send.window += i64::from(bytes);
        } else if let Some(stream) = self.place(id).and_then(|at| self.streams.get_mut(at)) {
            stream.window += i64::from(bytes);
        }
        self.send_waiting();
    }

    fn send_waiting(&mut self) {
        for _ in 0..self.waiting.len() {
            let Some(id) = self.waiting.pop_front() else { return };
            let Some(stream) = self.place(id).and_then(|at| self.streams.get_mut(at)) else { continue };
            while stream.unsent_at < stream.unsent.len() {
                let room = stream.window.min(self.send.window).max(0);
                let left = stream.unsent.len() - stream.unsent_at;
                let bytes = left.min(self.send.frame_bytes_max).min(usize::try_from(room).unwrap_or(0));
                if bytes == 0 {
                    break;
                }
                stream.window -= bytes as i64;
                self.send.window -= bytes as i64;
                let flags = if stream.ends && bytes == left { END_STREAM } else { 0 };
                let part = &stream.unsent[stream.unsent_at..stream.unsent_at + bytes];
                frame(&mut self.output, DATA, flags, id, part);
                stream.unsent_at += bytes;
            }
            if stream.unsent_at < stream.unsent.len() {
                self.waiting.push_back(id);
            } else {
                stream.unsent.clear();
                stream.unsent_at = 0;
            }
        }
    }

    fn finish(&mut self, id: u32, status: Option<u8>, caller: &mut impl Caller<C>) {
        let Some(stream) = self.place(id).and_then(|at| self.streams.get_mut(at)) else { return };
        let Some(call) = stream.call.take() else { return };
        let headers = std::mem::take(&mut stream.headers);
        let status = status.or(headers.grpc_status).unwrap_or(UNKNOWN);
        caller.ended(call, status, &headers.details);
        while self.streams.front().is_some_and(|stream| stream.call.is_none()) {
            self.streams.pop_front();
            self.first_id += 2;
        }
    }

    fn place(&self, id: u32) -> Option<usize> {
        let at = (id.checked_sub(self.first_id)? / 2) as usize;
        (at < self.streams.len()).then_some(at)
    }
}

const UNKNOWN: u8 = 2;
const UNAVAILABLE: u8 = 14;

struct Nobody;

impl<C> Caller<C> for Nobody {
    fn message(&mut self, _: &mut C, _: &[u8]) {}
    fn ended(&mut self, _: C, _: u8, _: &[u8]) {}
}

fn length_of(bytes: usize) -> [u8; 3] {
    let [_, .., high, middle, low] = bytes.to_be_bytes();
    [high, middle, low]
}

fn frame(output: &mut Vec<u8>, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    output.extend_from_slice(&length_of(payload.len()));
    output.extend_from_slice(&[kind, flags]);
    output.extend_from_slice(&id.to_be_bytes());
    output.extend_from_slice(payload);
}

fn unpadded(flags: u8, payload: &[u8]) -> io::Result<&[u8]> {
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let padding = usize::from(*payload.first().unwrap_or(&0));
    let end = payload.len().checked_sub(padding).filter(|end| *end >= 1);
    end.map(|end| &payload[1..end]).ok_or_else(|| broken("the server sent a frame with more padding than bytes"))
}

/// Extends the server's flow-control window before it is exhausted.
fn grant(received_bytes: &mut u32, bytes: u32, id: u32, output: &mut Vec<u8>) {
    *received_bytes += bytes;
    if *received_bytes >= WINDOW_STEP {
        frame(output, WINDOW_UPDATE, 0, id, &received_bytes.to_be_bytes());
        *received_bytes = 0;
    }
}

/// Splits the data of a stream into messages. An incomplete message remains in `partial`.
fn messages(partial: &mut Vec<u8>, data: &[u8], mut found: impl FnMut(&[u8])) {
    const PREFIX: usize = 5;
    let mut cut = |mut rest: &[u8]| {
        while let Some(message) =
            rest.get(1..PREFIX).and_then(|length| rest.get(PREFIX..PREFIX + number(length) as usize))
        {
            found(message);
            rest = &rest[PREFIX + message.len()..];
        }
        rest.len()
    };
    if partial.is_empty() {
        let left = cut(data);
        partial.extend_from_slice(&data[data.len() - left..]);
    } else {
        partial.extend_from_slice(data);
        let left = cut(partial);
        partial.drain(..partial.len() - left);
    }
}

#[cfg(test)]
mod tests {
    use super::messages;

    #[test]
    fn messages_are_found_however_the_data_is_cut() {
        let data = [0, 0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9];
        for size in 1..=data.len() {
            let mut partial = Vec::new();
            let mut seen = Vec::new();
            data.chunks(size).for_each(|part| messages(&mut partial, part, |message| seen.push(message.to_vec())));
            assert_eq!(seen, [vec![7, 8], vec![], vec![9]]);
            assert!(partial.is_empty());
        }
    }
}
