//! Frames: arbitrary bytes, bytes with a valid checksum, and frames that this build writes.

use invengine_node::journal::frame::{
    DecodedFrame, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FRAME_MAGIC, FrameError, FrameHeader, decode, encode,
    frame_bytes, length,
};

use crate::Signature;
use crate::byte_source::ByteSource;

const CRC_AT: usize = 12;

/// The first byte chooses how much of the rest is corrected before it is read.
pub fn run(bytes: &[u8]) -> Signature {
    let mut feed = ByteSource::new(bytes);
    match feed.byte() % 3 {
        0 => judge(feed.rest()),
        1 => judge(&sealed(feed.rest())),
        _ => comes_back(&mut feed),
    }
}

fn judge(bytes: &[u8]) -> Signature {
    if let Some(header) = bytes.first_chunk::<FRAME_HEADER_BYTES>()
        && let Ok(bytes) = length(header)
    {
        assert!((FRAME_HEADER_BYTES..=FRAME_BYTES_MAX).contains(&bytes), "a length out of bounds: {bytes}");
    }
    match decode(bytes) {
        Ok(decoded) => {
            is_what_it_says(&decoded, bytes);
            Signature::of(("frame", decoded.header.claim, decoded.payload.is_empty()))
        }
        Err(FrameError::Newer(_)) => Signature::of("newer"),
        Err(flaw) => Signature::of(format!("{flaw:?}")),
    }
}

/// Encoded again, a frame differs from what was read at most in its padding and checksum.
fn is_what_it_says(decoded: &DecodedFrame<'_>, bytes: &[u8]) {
    let mut again = Vec::new();
    encode(&mut again, &decoded.header, decoded.payload);
    let end = FRAME_HEADER_BYTES + decoded.payload.len();
    assert_eq!(again.len(), bytes.len());
    assert_eq!(again[..CRC_AT], bytes[..CRC_AT]);
    assert_eq!(again[CRC_AT + 4..end], bytes[CRC_AT + 4..end]);
}

/// The same bytes with valid magic, length and checksum, as someone who knows the format could write them.
pub fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut frame = bytes.to_vec();
    frame.resize(frame.len().max(FRAME_HEADER_BYTES), 0);
    let payload_bytes = (frame.len() - FRAME_HEADER_BYTES) as u32;
    frame.resize(frame_bytes(payload_bytes as usize), 0);
    frame[..4].copy_from_slice(&FRAME_MAGIC);
    frame[8..12].copy_from_slice(&payload_bytes.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..CRC_AT]), &frame[CRC_AT + 4..]);
    frame[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    frame
}

fn comes_back(feed: &mut ByteSource<'_>) -> Signature {
    let header = FrameHeader {
        claim: feed.byte() & 1 == 1,
        first_sequence: feed.long(),
        last_sequence: feed.long(),
        writer_epoch: feed.long(),
        time_ms: feed.long() as i64,
        ledger_id: feed.long(),
        chain: feed.long(),
    };
    let flipped = usize::from(feed.short());
    let payload = feed.rest();
    let mut frame = Vec::new();
    encode(&mut frame, &header, payload);
    let decoded = decode(&frame).expect("what was written is read");
    assert_eq!((decoded.header, decoded.payload), (header, payload));
    let bit = flipped % (frame.len() * 8);
    frame[bit / 8] ^= 1 << (bit % 8);
    let flaw = decode(&frame).expect_err("a flipped bit is detected");
    Signature::of(("flipped", format!("{flaw:?}")))
}

/// A frame of each kind, raw, sealed and written.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut frame = Vec::new();
    let header = FrameHeader {
        claim: false,
        first_sequence: 1,
        last_sequence: 2,
        writer_epoch: 1,
        time_ms: 1_000,
        ledger_id: 7,
        chain: 7,
    };
    encode(&mut frame, &header, b"payload");
    let mut seeds: Vec<Vec<u8>> = (0..2).map(|kind| [&[kind], &frame[..]].concat()).collect();
    seeds.push([&[2, 0][..], &[1; 50], b"payload"].concat());
    seeds
}
