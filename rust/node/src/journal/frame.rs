//! One frame as bytes: how it is written, and how untrusted bytes are validated.
//!
//! Pure: no files, no earlier frames. Whether a valid frame continues the journal is decided in `chain_tip.rs`.

use invengine_ledger::planted;

/// The format version this build writes, and the newest it reads.
pub const FORMAT_VERSION: u16 = 1;
/// Bytes before the payload.
pub const FRAME_HEADER_BYTES: usize = 64;
/// Length of the longest frame, header and padding included.
pub const FRAME_BYTES_MAX: usize = 64 << 20;
/// Length of the longest name of a ledger.
pub const LEDGER_NAME_BYTES_MAX: usize = 128;
/// Frames start at multiples of this.
pub const FRAME_ALIGN: usize = 8;
/// First bytes of every frame; FE occurs in no UTF-8 text.
pub const FRAME_MAGIC: [u8; 4] = [0xFE, b'I', b'V', b'F'];

const FLAG_CLAIM: u16 = 1;
const CRC_AT: usize = 12;

/// One frame as read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Sequence of its first event; in a claim, of the event that comes next.
    pub first_sequence: u64,
    /// Sequence of its last event; `first_sequence - 1` in a claim.
    pub last_sequence: u64,
    /// Engine time of all its events. A claim carries the time of the frame before it.
    pub time_ms: i64,
    /// Epoch of the writer.
    pub writer_epoch: u64,
    /// The events, as the writer encoded them; empty in a claim.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Whether this frame only claims a writer epoch.
    pub fn is_claim(&self) -> bool {
        self.last_sequence < self.first_sequence
    }
}

/// The fields of a frame besides its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whether it claims a writer epoch instead of carrying events.
    pub claim: bool,
    /// As in [`Frame`].
    pub first_sequence: u64,
    /// As in [`Frame`].
    pub last_sequence: u64,
    /// As in [`Frame`].
    pub writer_epoch: u64,
    /// As in [`Frame`].
    pub time_ms: i64,
    /// FNV-1a of the ledger name.
    pub ledger_id: u64,
    /// Chain value of all frames before this one.
    pub chain: u64,
}

/// A frame whose checksum matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodedFrame<'a> {
    /// Its fields.
    pub header: FrameHeader,
    /// Its checksum, from which the next chain value is derived.
    pub crc: u32,
    /// Its payload.
    pub payload: &'a [u8],
    /// All its bytes, with padding.
    pub bytes: &'a [u8],
}

impl<'a> DecodedFrame<'a> {
    /// The frame as callers see it.
    pub fn frame(&self) -> Frame<'a> {
        Frame {
            first_sequence: self.header.first_sequence,
            last_sequence: self.header.last_sequence,
            time_ms: self.header.time_ms,
            writer_epoch: self.header.writer_epoch,
            payload: self.payload,
        }
    }
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// The header is all zeros: nothing was written here.
    Blank,
    /// A valid frame of a newer format.
    Newer(u16),
    /// Anything else, with the rule that is broken.
    Broken(&'static str),
}

/// Length of a frame with a payload of this many bytes, padding included.
pub fn frame_bytes(payload_bytes: usize) -> usize {
    (FRAME_HEADER_BYTES + payload_bytes).next_multiple_of(FRAME_ALIGN)
}

/// Writes one frame to the end of `out` and returns its checksum.
pub fn encode(out: &mut Vec<u8>, header: &FrameHeader, payload: &[u8]) -> u32 {
    let start = out.len();
    let payload_bytes = u32::try_from(payload.len()).expect("Invariant: a payload is shorter than 64 MiB");
    let flags = if header.claim { FLAG_CLAIM } else { 0 };
    out.extend_from_slice(&FRAME_MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&payload_bytes.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&header.first_sequence.to_le_bytes());
    out.extend_from_slice(&header.last_sequence.to_le_bytes());
    out.extend_from_slice(&header.writer_epoch.to_le_bytes());
    out.extend_from_slice(&header.time_ms.to_le_bytes());
    out.extend_from_slice(&header.ledger_id.to_le_bytes());
    out.extend_from_slice(&header.chain.to_le_bytes());
    out.extend_from_slice(payload);
    out.resize(start + frame_bytes(payload.len()), 0);
    let crc = checksum(&out[start..]);
    out[start + CRC_AT..start + CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// Length of the whole frame that starts with these header bytes, so that a caller can read it
/// before `decode`.
///
/// The length is bounded before anything is allocated for it.
pub fn length(header: &[u8; FRAME_HEADER_BYTES]) -> Result<usize, FrameError> {
    if header[..4] != FRAME_MAGIC {
        let blank = header == &[0; FRAME_HEADER_BYTES];
        return Err(if blank { FrameError::Blank } else { FrameError::Broken("not the start of a frame") });
    }
    let payload_bytes = u32::from_le_bytes(at(header, 8)) as usize;
    if payload_bytes > FRAME_BYTES_MAX - FRAME_HEADER_BYTES {
        return Err(FrameError::Broken("the frame's length is over the limit"));
    }
    Ok(frame_bytes(payload_bytes))
}

/// Decodes one whole frame, which must have the length that `length` returned.
pub fn decode(bytes: &[u8]) -> Result<DecodedFrame<'_>, FrameError> {
    let header = bytes.first_chunk::<FRAME_HEADER_BYTES>().ok_or(FrameError::Broken("the frame is cut short"))?;
    if bytes.len() != length(header)? {
        return Err(FrameError::Broken("the frame is cut short"));
    }
    let crc = u32::from_le_bytes(at(header, CRC_AT));
    if checksum(bytes) != crc && !planted::is("no_crc") {
        return Err(FrameError::Broken("the frame's checksum does not match"));
    }
    let version = u16::from_le_bytes(at(header, 4));
    if version != FORMAT_VERSION {
        return Err(if version > FORMAT_VERSION {
            FrameError::Newer(version)
        } else {
            FrameError::Broken("the frame has version 0")
        });
    }
    let flags = u16::from_le_bytes(at(header, 6));
    if flags & !FLAG_CLAIM != 0 {
        return Err(FrameError::Broken("the frame has unknown flags"));
    }
    let payload_bytes = u32::from_le_bytes(at(header, 8)) as usize;
    let header = FrameHeader {
        claim: flags & FLAG_CLAIM != 0,
        first_sequence: u64::from_le_bytes(at(header, 16)),
        last_sequence: u64::from_le_bytes(at(header, 24)),
        writer_epoch: u64::from_le_bytes(at(header, 32)),
        time_ms: i64::from_le_bytes(at(header, 40)),
        ledger_id: u64::from_le_bytes(at(header, 48)),
        chain: u64::from_le_bytes(at(header, 56)),
    };
    let payload = &bytes[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + payload_bytes];
    Ok(DecodedFrame { header, crc, payload, bytes })
}

/// The chain value after a frame: what the next frame must carry.
///
/// Mixes the whole value (the finalizer of splitmix64), so it represents all earlier frames and not only
/// the last one.
pub fn next_chain(chain: u64, crc: u32) -> u64 {
    let mut z = chain.rotate_left(32).wrapping_add(u64::from(crc)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The 64-bit id of a ledger: FNV-1a of its name, the same on every machine.
pub fn ledger_id(ledger: &str) -> u64 {
    ledger.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// The `N` bytes at an offset of a header.
pub(super) fn at<const N: usize>(header: &[u8], offset: usize) -> [u8; N] {
    header[offset..offset + N].try_into().expect("Invariant: the range is N bytes long")
}

fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..CRC_AT]), &frame[CRC_AT + 4..])
}
