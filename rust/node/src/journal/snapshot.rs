//! One snapshot as a file: its header, its pieces, its manifest. The bytes are not trusted.
//!
//! All integers are little endian. The name is `snapshot-<sequence>-<frames>` (16 hex digits each): its position, which the
//! sequence alone does not determine, since several claims may share one. The header has 4,096 bytes:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `FE "IVSNAP" 0A` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | header length, 4096 |
//! | 16 | 8 | sequence of the event that comes next |
//! | 24 | 8 | chain value |
//! | 32 | 8 | writer epoch |
//! | 40 | 8 | time of the last frame, ms |
//! | 48 | 8 | frames before it |
//! | 56 | 8 | ledger id |
//! | 64 | 2 + n | length of the ledger name, the name |
//! | 4092 | 4 | CRC32C of bytes 0 to 4091 |
//!
//! Pieces follow: length (4), number from 0 (4), CRC32C (4) of the header's CRC, length, number and bytes, then the bytes. So
//! a piece of another snapshot, or one out of order, is never taken for a piece of this one. The manifest ends the file, 64
//! bytes: magic `FE "IVMANI" 0A`, pieces (8), their bytes (8), the digest in 32 hex digits, the header's CRC (4), CRC32C of
//! all that (4).

use std::io;

use super::JournalError;
use super::chain_tip::ChainTip;
use super::file::files::SNAPSHOT_PREFIX;
use super::file::storage::{StoredFile, read_full_at};
use super::frame::{LEDGER_NAME_BYTES_MAX, at, ledger_id};
use super::snapshot_store::{JournalPosition, Manifest, PIECE_BYTES_MAX};

/// The newest version of the format that this build writes and reads.
const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 4096;
pub(super) const PIECE_HEADER_BYTES: usize = 12;
pub(super) const MANIFEST_BYTES: usize = 64;
const DIGEST_BYTES: usize = 32;

const MAGIC: [u8; 8] = [0xFE, b'I', b'V', b'S', b'N', b'A', b'P', b'\n'];
const MANIFEST_MAGIC: [u8; 8] = [0xFE, b'I', b'V', b'M', b'A', b'N', b'I', b'\n'];
const NAME_AT: usize = 64;
const CRC_AT: usize = HEADER_BYTES - 4;

/// The name of a snapshot's file.
pub(super) fn file_name(position: &JournalPosition) -> String {
    format!("{SNAPSHOT_PREFIX}{:016x}-{:016x}", position.sequence(), position.frames)
}

/// The position of the snapshot of this name: sequence and frames; only the exact spelling is accepted.
pub(super) fn parse_name(text: &str) -> Option<(u64, u64)> {
    let (sequence, frames) = text.strip_prefix(SNAPSHOT_PREFIX)?.split_once('-')?;
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
    let position = (number(sequence)?, number(frames)?);
    (text == format!("{SNAPSHOT_PREFIX}{:016x}-{:016x}", position.0, position.1)).then_some(position)
}

/// The header of a snapshot.
pub(super) fn header(ledger: &str, position: &JournalPosition) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(HEADER_BYTES as u32).to_le_bytes());
    let tip = &position.tip;
    for number in [tip.next_sequence, tip.chain, tip.writer_epoch, tip.time_ms as u64, position.frames] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&ledger_id(ledger).to_le_bytes());
    out.extend_from_slice(&(ledger.len() as u16).to_le_bytes());
    out.extend_from_slice(ledger.as_bytes());
    out.resize(CRC_AT, 0);
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// The CRC that binds pieces and manifest to a header.
pub(super) fn crc_of(header: &[u8]) -> u32 {
    u32::from_le_bytes(at(header, CRC_AT))
}

/// The header that precedes the bytes of a piece.
pub(super) fn piece_header(header_crc: u32, number: u32, bytes: &[u8]) -> [u8; PIECE_HEADER_BYTES] {
    let length = bytes.len() as u32;
    let crc = piece_crc(header_crc, number, bytes);
    let mut out = [0; PIECE_HEADER_BYTES];
    out[..4].copy_from_slice(&length.to_le_bytes());
    out[4..8].copy_from_slice(&number.to_le_bytes());
    out[8..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The checksum of a piece, bound to its snapshot and its number.
pub(super) fn piece_crc(header_crc: u32, number: u32, bytes: &[u8]) -> u32 {
    let mut crc = crc32c::crc32c(&header_crc.to_le_bytes());
    crc = crc32c::crc32c_append(crc, &(bytes.len() as u32).to_le_bytes());
    crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
    crc32c::crc32c_append(crc, bytes)
}

/// The manifest as bytes.
pub(super) fn manifest(header_crc: u32, pieces: u64, bytes: u64, digest: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(MANIFEST_BYTES);
    out.extend_from_slice(&MANIFEST_MAGIC);
    out.extend_from_slice(&pieces.to_le_bytes());
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(digest.as_bytes());
    out.resize(MANIFEST_BYTES - 8, 0);
    out.extend_from_slice(&header_crc.to_le_bytes());
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Whether a digest fits into a manifest.
pub(super) fn is_digest(digest: &str) -> bool {
    digest.len() == DIGEST_BYTES && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The manifest of a stored snapshot, checked against its header; an error says why it cannot be used.
pub(super) fn read_manifest(
    file: &dyn StoredFile,
    name: &str,
    full_name: &str,
    ledger: Option<&str>,
) -> Result<Manifest, JournalError> {
    let bad = |why: &str| JournalError::BadSnapshot { file: full_name.into(), why: why.into() };
    let broken = |error: io::Error| JournalError::BadSnapshot { file: full_name.into(), why: error.to_string() };
    let mut head = [0; HEADER_BYTES];
    if read_full_at(file, &mut head, 0).map_err(broken)? < HEADER_BYTES {
        return Err(bad("it is shorter than its header"));
    }
    let position = read_header(&head, full_name, ledger)?;
    if file_name(&position) != name {
        return Err(bad("its name does not match its header"));
    }
    let length = file.length().map_err(broken)?;
    let start = length.checked_sub(MANIFEST_BYTES as u64).filter(|start| *start >= HEADER_BYTES as u64);
    let start = start.ok_or_else(|| bad("it is cut short"))?;
    let mut tail = [0; MANIFEST_BYTES];
    read_full_at(file, &mut tail, start).map_err(broken)?;
    let (pieces, bytes, digest) = parse_manifest(&tail, crc_of(&head)).ok_or_else(|| bad("it has no manifest"))?;
    let body = pieces.checked_mul(PIECE_HEADER_BYTES as u64).and_then(|headers| headers.checked_add(bytes));
    if body.and_then(|body| body.checked_add(HEADER_BYTES as u64)) != Some(start) {
        return Err(bad("its length does not match its pieces"));
    }
    Ok(Manifest { position, digest, pieces, bytes })
}

/// Pieces, bytes and digest of a manifest that belongs to this header.
pub(super) fn parse_manifest(tail: &[u8; MANIFEST_BYTES], header_crc: u32) -> Option<(u64, u64, String)> {
    let crc_at = MANIFEST_BYTES - 4;
    let whole = tail[..8] == MANIFEST_MAGIC
        && u32::from_le_bytes(at(tail, crc_at)) == crc32c::crc32c(&tail[..crc_at])
        && u32::from_le_bytes(at(tail, crc_at - 4)) == header_crc;
    let digest = str::from_utf8(&tail[24..24 + DIGEST_BYTES]).ok().filter(|digest| is_digest(digest))?;
    whole.then(|| (u64::from_le_bytes(at(tail, 8)), u64::from_le_bytes(at(tail, 16)), digest.to_owned()))
}

/// The position of a snapshot with this header.
pub(super) fn read_header(
    head: &[u8; HEADER_BYTES],
    full_name: &str,
    ledger: Option<&str>,
) -> Result<JournalPosition, JournalError> {
    let bad = |why: &str| JournalError::BadSnapshot { file: full_name.into(), why: why.into() };
    if head[..8] != MAGIC || crc32c::crc32c(&head[..CRC_AT]) != crc_of(head) {
        return Err(bad("its header is damaged"));
    }
    let found = u32::from_le_bytes(at(head, 8));
    if found > VERSION {
        return Err(JournalError::NewerFormat { file: full_name.into(), found, known: VERSION });
    }
    let name_bytes = usize::from(u16::from_le_bytes(at(head, NAME_AT)));
    let name = head.get(NAME_AT + 2..NAME_AT + 2 + name_bytes).and_then(|name| str::from_utf8(name).ok());
    let name = name.filter(|name| (1..=LEDGER_NAME_BYTES_MAX).contains(&name.len()));
    let name = name.ok_or_else(|| bad("the name of its ledger is not UTF-8"))?;
    if let Some(wanted) = ledger.filter(|wanted| *wanted != name) {
        let (file, found) = (full_name.to_owned(), name.to_owned());
        return Err(JournalError::OtherLedger { file, found, wanted: wanted.into() });
    }
    let number = |offset: usize| u64::from_le_bytes(at(head, offset));
    if number(16) == 0 || number(56) != ledger_id(name) {
        return Err(bad("its header holds values that no version writes"));
    }
    let tip = ChainTip {
        ledger_id: number(56),
        next_sequence: number(16),
        chain: number(24),
        writer_epoch: number(32),
        time_ms: number(40) as i64,
    };
    let position = JournalPosition { tip, frames: number(48) };
    if header(name, &position) != head {
        return Err(bad("its header holds values that no version writes"));
    }
    Ok(position)
}

/// Calls `f` with every piece of a stored snapshot.
pub(super) fn read_pieces(
    file: &dyn StoredFile,
    full_name: &str,
    manifest: &Manifest,
    ledger: &str,
    f: &mut dyn FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), JournalError> {
    let bad = |why: String| JournalError::BadSnapshot { file: full_name.into(), why };
    let header_crc = crc_of(&header(ledger, &manifest.position));
    let mut offset = HEADER_BYTES as u64;
    let mut bytes_left = manifest.bytes;
    let mut piece = Vec::new();
    for number in 0..manifest.pieces {
        let mut head = [0; PIECE_HEADER_BYTES];
        read_full_at(file, &mut head, offset).map_err(|error| bad(error.to_string()))?;
        let length = u64::from(u32::from_le_bytes(at(&head, 0)));
        if length > bytes_left.min(PIECE_BYTES_MAX as u64) {
            return Err(bad(format!("piece {number} has an impossible length")));
        }
        piece.resize(length as usize, 0);
        offset += PIECE_HEADER_BYTES as u64;
        let got = read_full_at(file, &mut piece, offset).map_err(|error| bad(error.to_string()))?;
        if got < piece.len() || piece_header(header_crc, number as u32, &piece) != head {
            return Err(bad(format!("piece {number} is damaged")));
        }
        offset += length;
        bytes_left -= length;
        f(&piece).map_err(bad)?;
    }
    if bytes_left == 0 { Ok(()) } else { Err(bad("its pieces are shorter than its manifest says".into())) }
}
