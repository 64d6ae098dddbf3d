//! Snapshots as they lie in Redis: each a hash with `header`, `before` (bytes of the frames before it), the pieces under their
//! numbers, `extent` (how many there are) and, once it counts, `manifest`. Header, pieces and manifest are the bytes of
//! `snapshot.rs`, a piece with its own header before it; what is there is not trusted.

use super::connection::Link;
use super::keys::{Keys, PLACES};
use super::state::hash_fields;
use super::trouble::Fault;
use crate::journal::snapshot::{
    HEADER_BYTES, MANIFEST_BYTES, PIECE_HEADER_BYTES, crc_of, header, parse_manifest, piece_header, read_header,
};
use crate::journal::{JournalError, Manifest, PIECE_BYTES_MAX};

/// A snapshot and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Index of its place.
    pub place: usize,
    /// What it says.
    pub manifest: Manifest,
    /// Bytes of the frames before it.
    pub bytes_before: u64,
}

/// What one place holds.
#[derive(Debug)]
pub enum Held {
    /// Nothing.
    Nothing,
    /// What was begun and does not count.
    Unfinished,
    /// A snapshot, as far as header and manifest tell.
    Snapshot(Placed),
    /// What cannot be used, and why.
    Bad(JournalError),
}

/// One place with the number of pieces that lie there, whatever they are.
#[derive(Debug)]
pub struct Place {
    /// What it holds.
    pub held: Held,
    /// Pieces that take memory.
    pub extent: u64,
}

/// Looks into all places.
///
/// # Errors
/// One holds a snapshot of a newer build: what else that wrote, nobody can know who reads only the older parts.
pub fn look(link: &mut Link, keys: &Keys, ledger: &str) -> Result<Vec<Place>, Fault> {
    (0..PLACES).map(|place| look_into(link, keys, place, ledger)).collect()
}

/// The snapshots among these places, newest first.
pub fn snapshots(places: &[Place]) -> Vec<Placed> {
    let snapshot = |place: &Place| match &place.held {
        Held::Snapshot(placed) => Some(placed.clone()),
        _ => None,
    };
    let mut found: Vec<Placed> = places.iter().filter_map(snapshot).collect();
    found.sort_by_key(|placed| std::cmp::Reverse(placed.manifest.mark.frames));
    found
}

fn look_into(link: &mut Link, keys: &Keys, place: usize, ledger: &str) -> Result<Place, Fault> {
    let key = &keys.places[place];
    let names = ["header", "manifest", "extent", "before"];
    let mut fields = hash_fields(link, key, &names)?.into_iter().map(Option::unwrap_or_default);
    let mut next = || fields.next().unwrap_or_default();
    let (head, end, extent, before) = (next(), next(), number(&next()), number(&next()));
    let name = format!("{key} of Redis at {}", link.server());
    let held = match (head.is_empty(), end.is_empty()) {
        (true, true) => Held::Nothing,
        (_, true) => Held::Unfinished,
        _ => match judge(&head, &end, extent.unwrap_or(0), &name, ledger) {
            Ok(manifest) => Held::Snapshot(Placed { place, manifest, bytes_before: before.unwrap_or(0) }),
            Err(newer @ JournalError::NewerFormat { .. }) => return Err(Fault::Lasting(newer)),
            Err(error) => Held::Bad(error),
        },
    };
    Ok(Place { held, extent: extent.unwrap_or(0) })
}

fn judge(head: &[u8], end: &[u8], extent: u64, name: &str, ledger: &str) -> Result<Manifest, JournalError> {
    let bad = |why: &str| JournalError::BadSnapshot { file: name.into(), why: why.into() };
    let head: &[u8; HEADER_BYTES] = head.try_into().map_err(|_| bad("its header has a wrong length"))?;
    let end: &[u8; MANIFEST_BYTES] = end.try_into().map_err(|_| bad("its manifest has a wrong length"))?;
    let mark = read_header(head, name, Some(ledger))?;
    let (pieces, bytes, digest) = parse_manifest(end, crc_of(head)).ok_or_else(|| bad("its manifest is damaged"))?;
    if pieces != extent {
        return Err(bad("its pieces are not all there"));
    }
    Ok(Manifest { mark, digest, pieces, bytes })
}

/// Hands out the pieces of one snapshot.
pub struct Pieces<'p> {
    placed: &'p Placed,
    header_crc: u32,
    next: u64,
    bytes_left: u64,
}

impl<'p> Pieces<'p> {
    /// Begins with the first one.
    pub fn of(placed: &'p Placed, ledger: &str) -> Self {
        let header_crc = crc_of(&header(ledger, &placed.manifest.mark));
        Self { placed, header_crc, next: 0, bytes_left: placed.manifest.bytes }
    }

    /// The next piece; nothing behind the last one. After a passing fault it may be asked for again.
    pub fn next(&mut self, link: &mut Link, keys: &Keys) -> Result<Option<Vec<u8>>, Fault> {
        let key = &keys.places[self.placed.place];
        let file = format!("{key} of Redis at {}", link.server());
        let bad = |why: String| Err(Fault::Lasting(JournalError::BadSnapshot { file: file.clone(), why }));
        if self.next == self.placed.manifest.pieces {
            let is_whole = self.bytes_left == 0;
            return if is_whole { Ok(None) } else { bad("its pieces are shorter than its manifest says".into()) };
        }
        let mut stored = hash_fields(link, key, &[&self.next.to_string()])?.pop().flatten().unwrap_or_default();
        if stored.len() < PIECE_HEADER_BYTES {
            return bad(format!("piece {} is missing", self.next));
        }
        let piece = stored.split_off(PIECE_HEADER_BYTES);
        let expected = u32::try_from(self.next).map(|number| piece_header(self.header_crc, number, &piece));
        let fits = piece.len() as u64 <= self.bytes_left && piece.len() <= PIECE_BYTES_MAX;
        if !fits || expected.map_or(true, |expected| expected[..] != stored) {
            return bad(format!("piece {} is damaged", self.next));
        }
        self.next += 1;
        self.bytes_left -= piece.len() as u64;
        Ok(Some(piece))
    }
}

fn number(text: &[u8]) -> Option<u64> {
    str::from_utf8(text).ok()?.parse().ok()
}
