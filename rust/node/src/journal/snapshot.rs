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

use super::JournalError;
use super::chain_tip::ChainTip;
use super::frame::{LEDGER_NAME_BYTES_MAX, at, ledger_id};
use super::snapshot_store::{JournalPosition, Manifest, PIECE_BYTES_MAX};

/// How names of snapshots start.
pub(super) const SNAPSHOT_PREFIX: &str = "snapshot-";
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
fn piece_crc(header_crc: u32, number: u32, bytes: &[u8]) -> u32 {
    let mut crc = crc32c::crc32c(&header_crc.to_le_bytes());
    crc = crc32c::crc32c_append(crc, &(bytes.len() as u32).to_le_bytes());
    crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
    crc32c::crc32c_append(crc, bytes)
}

/// A snapshot that is being written.
#[derive(Debug, Clone, Copy)]
pub(super) struct SnapshotDraft {
    pub position: JournalPosition,
    header_crc: u32,
    /// Its pieces so far.
    pub pieces: u32,
    bytes: u64,
}

impl SnapshotDraft {
    /// Begins a snapshot of the state at a position; also returns its header.
    pub fn begin(ledger: &str, position: &JournalPosition) -> (Self, Vec<u8>) {
        let header = header(ledger, position);
        (Self { position: *position, header_crc: crc_of(&header), pieces: 0, bytes: 0 }, header)
    }

    /// Adds a piece; returns the header that precedes its bytes.
    pub fn piece(&mut self, bytes: &[u8]) -> Result<[u8; PIECE_HEADER_BYTES], JournalError> {
        if bytes.len() > PIECE_BYTES_MAX || self.pieces == u32::MAX {
            return Err(JournalError::NoSnapshot { why: "a piece is too long, or there are too many pieces".into() });
        }
        let head = piece_header(self.header_crc, self.pieces, bytes);
        self.pieces += 1;
        self.bytes += bytes.len() as u64;
        Ok(head)
    }

    /// The manifest of a snapshot of these pieces and a state with this digest; also as bytes.
    pub fn end(&self, digest: &str) -> Result<(Manifest, Vec<u8>), JournalError> {
        if !is_digest(digest) {
            return Err(JournalError::NoSnapshot { why: "its digest is malformed".into() });
        }
        let (pieces, bytes) = (u64::from(self.pieces), self.bytes);
        let end = manifest(self.header_crc, pieces, bytes, digest);
        Ok((Manifest { position: self.position, digest: digest.to_owned(), pieces, bytes }, end))
    }
}

/// The error for a piece or an end without a beginning.
pub(super) fn no_draft() -> JournalError {
    JournalError::NoSnapshot { why: "none was begun".into() }
}

/// The manifest as bytes.
fn manifest(header_crc: u32, pieces: u64, bytes: u64, digest: &str) -> Vec<u8> {
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
fn is_digest(digest: &str) -> bool {
    digest.len() == DIGEST_BYTES && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
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
