//! Header compression of HTTP/2 (RFC 7541), as far as a gRPC caller needs it.
//!
//! Everything a server may send is decoded, because the table is shared state; only what decides a call is kept. After the
//! first use of each header, requests are references into the table: a few bytes per call.

use std::collections::VecDeque;

use crate::huffman;

/// The relevant headers and trailers of one answer.
#[derive(Debug, Default, Clone)]
pub struct Headers {
    /// The HTTP status, 0 if absent.
    pub http_status: u16,
    /// The gRPC status, if the answer has ended.
    pub grpc_status: Option<u8>,
    /// Value of `grpc-status-details-bin`, in base64.
    pub details: Vec<u8>,
}

/// The server sent an invalid header block.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    HttpStatus,
    GrpcStatus,
    Details,
    Other,
}

#[derive(Debug)]
struct Entry {
    name: Name,
    name_bytes: usize,
    value: Vec<u8>,
}

/// Size of an entry in addition to its text.
const ENTRY_BYTES: usize = 32;
const TABLE_BYTES_MAX: usize = 4096;
const STATIC_ENTRIES: usize = 61;
/// Lengths of the names in the static table, which count towards the size of an entry that uses one of them.
#[rustfmt::skip]
const STATIC_NAME_BYTES: [u8; STATIC_ENTRIES] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16, 13, 12,
    6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3, 16,
];
const STATIC_STATUS: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];

/// Decodes the header blocks of one connection, in order.
#[derive(Debug)]
pub struct Decoder {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max: TABLE_BYTES_MAX }
    }
}

impl Decoder {
    /// Decodes a block and adds its fields to `headers`.
    pub fn decode(&mut self, mut block: &[u8], headers: &mut Headers) -> Result<(), Malformed> {
        while let Some(&first) = block.first() {
            match first {
                0x80.. => {
                    let index = integer(&mut block, 7)?;
                    self.indexed(index, headers)?;
                }
                0x40..=0x7f => {
                    let entry = self.literal(&mut block, 6)?;
                    note(entry.name, &entry.value, headers)?;
                    self.insert(entry);
                }
                0x20..=0x3f => {
                    self.bytes_max = integer(&mut block, 5)?;
                    if self.bytes_max > TABLE_BYTES_MAX {
                        return Err(Malformed);
                    }
                    self.evict();
                }
                _ => {
                    let entry = self.literal(&mut block, 4)?;
                    note(entry.name, &entry.value, headers)?;
                }
            }
        }
        Ok(())
    }

    fn indexed(&self, index: usize, headers: &mut Headers) -> Result<(), Malformed> {
        if let Some(entry) = index.checked_sub(STATIC_ENTRIES + 1) {
            let entry = self.entries.get(entry).ok_or(Malformed)?;
            return note(entry.name, &entry.value, headers);
        }
        if let Some(status) = index.checked_sub(8).and_then(|at| STATIC_STATUS.get(at)) {
            headers.http_status = *status;
        }
        if index == 0 { Err(Malformed) } else { Ok(()) }
    }

    fn literal(&self, block: &mut &[u8], prefix_bits: u32) -> Result<Entry, Malformed> {
        let index = integer(block, prefix_bits)?;
        let (name, name_bytes) = match index {
            0 => {
                let text = string(block)?;
                (named(&text), text.len())
            }
            1..=STATIC_ENTRIES => {
                let name = if (8..=14).contains(&index) { Name::HttpStatus } else { Name::Other };
                (name, usize::from(STATIC_NAME_BYTES[index - 1]))
            }
            _ => {
                let entry = self.entries.get(index - STATIC_ENTRIES - 1).ok_or(Malformed)?;
                (entry.name, entry.name_bytes)
            }
        };
        Ok(Entry { name, name_bytes, value: string(block)? })
    }

    fn insert(&mut self, entry: Entry) {
        self.bytes += entry.name_bytes + entry.value.len() + ENTRY_BYTES;
        self.entries.push_front(entry);
        self.evict();
    }

    fn evict(&mut self) {
        while self.bytes > self.bytes_max {
            let Some(entry) = self.entries.pop_back() else { return };
            self.bytes -= entry.name_bytes + entry.value.len() + ENTRY_BYTES;
        }
    }
}

fn named(text: &[u8]) -> Name {
    match text {
        b":status" => Name::HttpStatus,
        b"grpc-status" => Name::GrpcStatus,
        b"grpc-status-details-bin" => Name::Details,
        _ => Name::Other,
    }
}

fn note(name: Name, value: &[u8], headers: &mut Headers) -> Result<(), Malformed> {
    let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse::<u16>().ok()).ok_or(Malformed);
    match name {
        Name::HttpStatus => headers.http_status = number()?,
        Name::GrpcStatus => headers.grpc_status = Some(u8::try_from(number()?).map_err(|_| Malformed)?),
        Name::Details => headers.details = value.to_vec(),
        Name::Other => {}
    }
    Ok(())
}

fn integer(block: &mut &[u8], prefix_bits: u32) -> Result<usize, Malformed> {
    let (&first, rest) = block.split_first().ok_or(Malformed)?;
    *block = rest;
    let mask = (1_usize << prefix_bits) - 1;
    let mut value = usize::from(first) & mask;
    if value < mask {
        return Ok(value);
    }
    for shift in (0..28).step_by(7) {
        let (&byte, rest) = block.split_first().ok_or(Malformed)?;
        *block = rest;
        value += usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn string(block: &mut &[u8]) -> Result<Vec<u8>, Malformed> {
    let coded = *block.first().ok_or(Malformed)? >= 0x80;
    let length = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Malformed)?;
    *block = rest;
    if !coded {
        return Ok(text.to_vec());
    }
    let mut decoded = Vec::with_capacity(length * 2);
    huffman::decode(text, &mut decoded).ok_or(Malformed)?;
    Ok(decoded)
}

/// A request header that is the same in many calls.
#[derive(Debug)]
struct Repeated {
    /// Its name: an index in the static table, or the text itself.
    static_name: u8,
    name: &'static str,
    value: String,
    /// Number of entries inserted before this one; `None` before its first use.
    inserted_as: Option<u8>,
}

/// Encodes the request headers of one connection, in order.
#[derive(Debug)]
pub struct Encoder {
    inserted: u8,
    paths: Vec<Repeated>,
    shared: Vec<Repeated>,
}

impl Encoder {
    /// Creates an encoder for calls of these methods. With `deadline_ms` 0 no deadline is sent.
    pub fn new(authority: &str, methods: &[&str], deadline_ms: u64) -> Self {
        let repeated =
            |static_name, name, value: &str| Repeated { static_name, name, value: value.to_owned(), inserted_as: None };
        let mut shared = vec![
            repeated(1, ":authority", authority),
            repeated(31, "content-type", "application/grpc"),
            repeated(0, "te", "trailers"),
        ];
        if deadline_ms > 0 {
            shared.push(repeated(0, "grpc-timeout", &format!("{deadline_ms}m")));
        }
        let paths = methods.iter().map(|path| repeated(4, ":path", path)).collect();
        Self { inserted: 0, paths, shared }
    }

    /// Appends the header block of one call of the method with this index.
    pub fn encode(&mut self, method: usize, block: &mut Vec<u8>) {
        const METHOD_POST: u8 = 0x83;
        const SCHEME_HTTP: u8 = 0x86;
        block.extend_from_slice(&[METHOD_POST, SCHEME_HTTP]);
        for header in std::iter::once(&mut self.paths[method]).chain(&mut self.shared) {
            if let Some(before) = header.inserted_as {
                // The newest entry has the lowest index.
                block.push(0x80 | (62 + (self.inserted - 1 - before)));
                continue;
            }
            header.inserted_as = Some(self.inserted);
            self.inserted += 1;
            block.push(0x40 | header.static_name);
            if header.static_name == 0 {
                text(header.name, block);
            }
            text(&header.value, block);
        }
    }
}

fn text(value: &str, block: &mut Vec<u8>) {
    const PREFIX_MAX: usize = 127;
    if value.len() < PREFIX_MAX {
        block.extend(u8::try_from(value.len()));
    } else {
        block.push(0x7f);
        let mut rest = value.len() - PREFIX_MAX;
        while rest >= 0x80 {
            block.push(0x80 | (rest & 0x7f) as u8);
            rest >>= 7;
        }
        block.extend(u8::try_from(rest));
    }
    block.extend_from_slice(value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::{Decoder, Encoder, Headers, Malformed};

    fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Headers, Malformed> {
        let mut headers = Headers::default();
        decoder.decode(block, &mut headers)?;
        Ok(headers)
    }

    #[test]
    fn a_status_inserted_once_is_known_by_its_index() {
        let mut decoder = Decoder::default();
        let mut block = vec![0x88, 0x40, 11];
        block.extend_from_slice(b"grpc-status");
        block.extend_from_slice(&[1, b'0']);
        let first = decoded(&mut decoder, &block).unwrap();
        assert_eq!((first.http_status, first.grpc_status), (200, Some(0)));
        assert_eq!(decoded(&mut decoder, &[0xbe]).unwrap().grpc_status, Some(0));
    }

    #[test]
    fn a_table_size_of_zero_forgets_everything() {
        let mut decoder = Decoder::default();
        let mut block = vec![0x48, 3];
        block.extend_from_slice(b"503");
        assert_eq!(decoded(&mut decoder, &block).unwrap().http_status, 503);
        assert_eq!(decoded(&mut decoder, &[0x20, 0xbe]).unwrap_err(), Malformed);
    }

    #[test]
    fn what_the_encoder_writes_can_be_read_again() {
        let mut encoder = Encoder::new("localhost", &["/a/B", "/a/C"], 1000);
        let mut decoder = Decoder::default();
        let mut lengths = Vec::new();
        for method in [0, 0, 1, 1, 0] {
            let mut block = Vec::new();
            encoder.encode(method, &mut block);
            decoded(&mut decoder, &block).unwrap();
            lengths.push(block.len());
        }
        assert_eq!(lengths[1..], [7, 12, 7, 7]);
        assert_eq!(decoder.entries.len(), 6);
    }

    #[test]
    fn a_block_cut_short_is_malformed() {
        for block in [&[0x40_u8][..], &[0x40, 5, b'a'], &[0x80], &[0xff, 0xff]] {
            assert_eq!(decoded(&mut Decoder::default(), block).unwrap_err(), Malformed);
        }
    }
}
