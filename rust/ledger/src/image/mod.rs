//! The whole state of a ledger as bytes, and back: what a snapshot is made of.
//!
//! The same state always gives the same bytes. What can be computed from the rest is not in them: tables, the due units of
//! levels, the schedule of expiries, sums. Refusals that are remembered in memory only are no part of the state.
//!
//! # Format, version 2
//!
//! Blocks one after the other: a kind (1 byte), how many entries (4), how many bytes (4), then the entries; integers are
//! little endian, everything in an entry is written as in the records of a journal. Blocks of one kind may be several. Kinds
//! come in this order:
//!
//! | kind | entries |
//! |---|---|
//! | 1 | one: version, ledger, sequence, time, first time, epoch, expired reservations; from version 2 on the issue times that each writer has named, as spans; 1 if the clock was corrected else 0, and then the correction: wall clock, engine time, the spans before it |
//! | 2, 3, 4 | items, locations, channels: name, display name, GS1 key |
//! | 5 | levels: item, location, on hand less its parts, damaged, returned, quality control |
//! | 6 | places of reservations: generation, window in which it ended, and the reservation if there is one |
//! | 7 | free places, in the order in which they were freed |
//! | 8, 9 | orders, holders with more than one reservation, by name: their places in order |
//! | 10 | sources: name, epoch, last number, kept outcomes |
//! | 11 | key windows, the older first: number, start, carried bytes, places that ended in it, writers ahead of time; then writers ahead of time of forgotten keys |
//! | 12, 13 | keys of the older, of the younger window in the order they came |
//! | 14 | one, the last: the digest of the state (16 bytes), a check value of all bytes before (8) |
//!
//! Bytes are not trusted: every length is checked against what is there before anything is allocated for it.

mod entries;
mod load;
#[cfg(test)]
mod tests;

pub(crate) use entries::{HIGHEST, effect, put_effect};
pub use load::ImageLoader;

use crate::codec::put;
use crate::ledger::Ledger;
use crate::mix::Mix;

/// Length of the longest piece.
pub const IMAGE_PIECE_BYTES: usize = 1 << 20;
/// First entry of every image.
pub const IMAGE_VERSION: u64 = 2;

/// A block is closed when it has so many bytes; one entry may be longer.
const BLOCK_BYTES: usize = 256 << 10;
const BLOCK_HEADER_BYTES: usize = 9;
/// Windows of keys.
const WINDOWS: usize = 2;

/// Kinds of blocks, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Kind {
    Head = 1,
    Items,
    Locations,
    Channels,
    Levels,
    Places,
    Free,
    Orders,
    Holders,
    Sources,
    Windows,
    OlderKeys,
    YoungerKeys,
    End,
}

impl Kind {
    const ALL: [Kind; 14] = [
        Kind::Head,
        Kind::Items,
        Kind::Locations,
        Kind::Channels,
        Kind::Levels,
        Kind::Places,
        Kind::Free,
        Kind::Orders,
        Kind::Holders,
        Kind::Sources,
        Kind::Windows,
        Kind::OlderKeys,
        Kind::YoungerKeys,
        Kind::End,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte).checked_sub(1)?).copied()
    }
}

/// The check value of all blocks so far.
fn check(before: u64, block: &[u8]) -> u64 {
    Mix::new(11).word(before).bytes(block).short()
}

/// A ledger that is being written down.
pub struct Image<'l> {
    ledger: &'l Ledger,
    digest: u128,
    /// Names with more than one reservation, sorted.
    orders: Vec<&'l str>,
    holders: Vec<&'l str>,
    kind: Option<Kind>,
    /// Entry of that kind that comes next.
    at: usize,
    /// Written and not yet handed out, from `handed` on.
    bytes: Vec<u8>,
    handed: usize,
    check: u64,
}

impl Ledger {
    /// Begins to write the whole state down.
    pub fn image(&mut self) -> Image<'_> {
        let digest = self.digest().value();
        let ledger = &*self;
        let (orders, holders) = (entries::shared_names(&ledger.orders), entries::shared_names(&ledger.holders));
        Image { ledger, digest, orders, holders, kind: Some(Kind::Head), at: 0, bytes: Vec::new(), handed: 0, check: 0 }
    }
}

impl Image<'_> {
    /// Fills `piece` with the next bytes, at most [`IMAGE_PIECE_BYTES`]; false if there are no more.
    pub fn next(&mut self, piece: &mut Vec<u8>) -> bool {
        self.bytes.drain(..self.handed);
        while self.bytes.len() < IMAGE_PIECE_BYTES && self.kind.is_some() {
            self.block();
        }
        self.handed = self.bytes.len().min(IMAGE_PIECE_BYTES);
        piece.clear();
        piece.extend_from_slice(&self.bytes[..self.handed]);
        !piece.is_empty()
    }

    /// Writes the next block; a kind without entries has none.
    fn block(&mut self) {
        let Some(kind) = self.kind else { return };
        let (start, count) = (self.bytes.len(), self.count(kind));
        let mut entries = 0u32;
        self.bytes.extend_from_slice(&[0; BLOCK_HEADER_BYTES]);
        while self.at < count && self.bytes.len() - start < BLOCK_BYTES {
            self.entry(kind);
            self.at += 1;
            entries += 1;
        }
        if entries == 0 {
            self.bytes.truncate(start);
        } else {
            let length = (self.bytes.len() - start - BLOCK_HEADER_BYTES) as u32;
            let header = &mut self.bytes[start..start + BLOCK_HEADER_BYTES];
            header[0] = kind as u8;
            header[1..5].copy_from_slice(&entries.to_le_bytes());
            header[5..9].copy_from_slice(&length.to_le_bytes());
            self.check = check(self.check, &self.bytes[start..]);
        }
        if self.at >= count {
            self.kind = Kind::from_byte(kind as u8 + 1);
            self.at = 0;
        }
    }

    /// How many entries a kind has.
    fn count(&self, kind: Kind) -> usize {
        let ledger = self.ledger;
        match kind {
            Kind::Head | Kind::End => 1,
            Kind::Items | Kind::Locations | Kind::Channels => ledger.catalogues[catalogue(kind)].len(),
            Kind::Levels => ledger.levels.len(),
            Kind::Places => ledger.slab.places(),
            Kind::Free => ledger.slab.free().len(),
            Kind::Orders => self.orders.len(),
            Kind::Holders => self.holders.len(),
            Kind::Sources => ledger.sources.all().len(),
            Kind::Windows => WINDOWS + 1,
            Kind::OlderKeys => ledger.keys.windows()[0].len(),
            Kind::YoungerKeys => ledger.keys.windows()[1].len(),
        }
    }

    /// Writes the entry that comes next.
    fn entry(&mut self, kind: Kind) {
        let (ledger, at, out) = (self.ledger, self.at, &mut self.bytes);
        match kind {
            Kind::Head => entries::put_head(out, ledger),
            Kind::Items | Kind::Locations | Kind::Channels => {
                entries::put_name(out, ledger.catalogues[catalogue(kind)].entry(at as u32));
            }
            Kind::Levels => entries::put_level(out, ledger, at as u32),
            Kind::Places => entries::put_place(out, &ledger.slab, at as u32),
            Kind::Free => put(out, u64::from(ledger.slab.free()[at])),
            Kind::Orders => entries::put_shared(out, self.orders[at], &ledger.orders),
            Kind::Holders => entries::put_shared(out, self.holders[at], &ledger.holders),
            Kind::Sources => entries::put_source(out, &ledger.sources.all()[at]),
            Kind::Windows if at == WINDOWS => ledger.keys.put_forgotten(out),
            Kind::Windows => ledger.keys.windows()[at].put_head(out),
            Kind::OlderKeys => ledger.keys.windows()[0].put_key(out, at),
            Kind::YoungerKeys => ledger.keys.windows()[1].put_key(out, at),
            Kind::End => {
                out.extend_from_slice(&self.digest.to_le_bytes());
                out.extend_from_slice(&self.check.to_le_bytes());
            }
        }
    }
}

/// Which catalogue a kind is.
fn catalogue(kind: Kind) -> usize {
    kind as usize - Kind::Items as usize
}
