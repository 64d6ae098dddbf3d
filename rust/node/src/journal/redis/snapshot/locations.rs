//! Snapshots as they are stored in Redis: each is a hash with `header`, `before` (bytes of the frames before it), the pieces
//! under their numbers, `extent` (the number of pieces) and, once it is valid, `manifest`. Header, pieces and manifest are the
//! bytes of `snapshot.rs`, a piece with its own header before it; what is stored is not trusted.

use crate::journal::recovery::StoredSnapshots;
use crate::journal::redis::connection::errors::Failure;
use crate::journal::redis::connection::keys::LOCATIONS;
use crate::journal::redis::connection::session::RedisSource;
use crate::journal::redis::connection::state::hash_fields;
use crate::journal::snapshot::{
    HEADER_BYTES, MANIFEST_BYTES, PIECE_HEADER_BYTES, crc_of, header, parse_manifest, piece_header, read_header,
};
use crate::journal::{JournalError, Manifest, PIECE_BYTES_MAX};

/// A snapshot and its location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocatedSnapshot {
    /// Index of its location.
    pub location: usize,
    /// Its manifest.
    pub manifest: Manifest,
    /// Bytes of the frames before it.
    pub bytes_before: u64,
}

impl AsRef<Manifest> for LocatedSnapshot {
    fn as_ref(&self) -> &Manifest {
        &self.manifest
    }
}

/// What a location holds.
#[derive(Debug)]
pub enum LocationContent {
    /// Nothing.
    Nothing,
    /// A snapshot that was begun and is not valid yet.
    Unfinished,
    /// A snapshot, as far as header and manifest show.
    Snapshot(LocatedSnapshot),
    /// A snapshot that cannot be used, and why.
    Bad(JournalError),
}

/// One location with the number of pieces that are stored there, valid or not.
#[derive(Debug)]
pub struct SnapshotLocation {
    /// What it holds.
    pub content: LocationContent,
    /// Number of pieces that take memory.
    pub extent: u64,
}

/// Reads all locations.
///
/// # Errors
/// One holds a snapshot of a newer build: what else that wrote is unknown to a build that reads only the older parts.
pub fn read_locations(source: &mut RedisSource) -> Result<Vec<SnapshotLocation>, Failure> {
    (0..LOCATIONS).map(|location| read_location(source, location)).collect()
}

/// The snapshots in these locations, newest first, and why others cannot be used.
pub fn stored_snapshots(source: &mut RedisSource) -> Result<StoredSnapshots<LocatedSnapshot>, Failure> {
    let locations = read_locations(source)?;
    let good = snapshots(&locations);
    let bad = locations.into_iter().filter_map(|location| match location.content {
        LocationContent::Bad(error) => Some(error),
        _ => None,
    });
    Ok((good, bad.collect()))
}

/// The snapshots among these locations, newest first.
pub fn snapshots(locations: &[SnapshotLocation]) -> Vec<LocatedSnapshot> {
    let snapshot = |location: &SnapshotLocation| match &location.content {
        LocationContent::Snapshot(located) => Some(located.clone()),
        _ => None,
    };
    let mut found: Vec<LocatedSnapshot> = locations.iter().filter_map(snapshot).collect();
    found.sort_by_key(|located| std::cmp::Reverse(located.manifest.position.frames));
    found
}

fn read_location(source: &mut RedisSource, location: usize) -> Result<SnapshotLocation, Failure> {
    let RedisSource { session, connection } = source;
    let key = &session.keys.locations[location];
    let names = ["header", "manifest", "extent", "before"];
    let mut fields = hash_fields(connection, key, &names)?.into_iter().map(Option::unwrap_or_default);
    let mut next = || fields.next().unwrap_or_default();
    let (head, end, extent, before) = (next(), next(), number(&next()), number(&next()));
    let name = format!("{key} of Redis at {}", connection.server());
    let content = match (head.is_empty(), end.is_empty()) {
        (true, true) => LocationContent::Nothing,
        (_, true) => LocationContent::Unfinished,
        _ => match parse(&head, &end, extent.unwrap_or(0), &name, &session.ledger) {
            Ok(manifest) => {
                LocationContent::Snapshot(LocatedSnapshot { location, manifest, bytes_before: before.unwrap_or(0) })
            }
            Err(newer @ JournalError::NewerFormat { .. }) => return Err(newer.into()),
            Err(error) => LocationContent::Bad(error),
        },
    };
    Ok(SnapshotLocation { content, extent: extent.unwrap_or(0) })
}

fn parse(head: &[u8], end: &[u8], extent: u64, name: &str, ledger: &str) -> Result<Manifest, JournalError> {
    let bad = |why: &str| JournalError::BadSnapshot { file: name.into(), why: why.into() };
    let head: &[u8; HEADER_BYTES] = head.try_into().map_err(|_| bad("its header has a wrong length"))?;
    let end: &[u8; MANIFEST_BYTES] = end.try_into().map_err(|_| bad("its manifest has a wrong length"))?;
    let position = read_header(head, name, Some(ledger))?;
    let (pieces, bytes, digest) = parse_manifest(end, crc_of(head)).ok_or_else(|| bad("its manifest is damaged"))?;
    if pieces != extent {
        return Err(bad("some of its pieces are missing"));
    }
    Ok(Manifest { position, digest, pieces, bytes })
}

/// Reads the pieces of one snapshot.
pub struct PieceReader<'p> {
    located: &'p LocatedSnapshot,
    header_crc: u32,
    next: u64,
    bytes_left: u64,
}

impl<'p> PieceReader<'p> {
    /// Begins with the first one.
    pub fn of(located: &'p LocatedSnapshot, ledger: &str) -> Self {
        let header_crc = crc_of(&header(ledger, &located.manifest.position));
        Self { located, header_crc, next: 0, bytes_left: located.manifest.bytes }
    }

    /// The next piece; `None` after the last one. May be called again after a transient failure.
    pub fn next(&mut self, source: &mut RedisSource) -> Result<Option<Vec<u8>>, Failure> {
        let RedisSource { session, connection } = source;
        let key = &session.keys.locations[self.located.location];
        let file = format!("{key} of Redis at {}", connection.server());
        let bad = |why: String| Err(JournalError::BadSnapshot { file: file.clone(), why }.into());
        if self.next == self.located.manifest.pieces {
            let is_whole = self.bytes_left == 0;
            return if is_whole { Ok(None) } else { bad("its pieces are shorter than its manifest says".into()) };
        }
        let mut stored = hash_fields(connection, key, &[&self.next.to_string()])?.pop().flatten().unwrap_or_default();
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
