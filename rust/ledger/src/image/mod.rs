//! Encodes the whole state of a ledger as bytes and decodes it: the content of a snapshot.
//!
//! The same state always gives the same bytes. They do not contain what can be computed from the rest: tables, the due units of
//! levels, the schedule of expiries, sums. Rejections that are only cached in memory are not part of the state.
//!
//! # Format, version 3
//!
//! Blocks one after another: a kind (1 byte), the number of entries (4), the number of bytes (4), then the entries. These
//! integers are little endian; everything in an entry is encoded as in the records of a journal. There may be several blocks of
//! one kind. Kinds come in this order:
//!
//! | kind | entries |
//! |---|---|
//! | 1 | one: version, ledger, sequence, time, first time, epoch, expired reservations; from version 2 on the issue times that each writer has used, as spans; 1 if the clock was corrected, else 0, and after 1 the correction: wall clock, engine time, the spans before it |
//! | 2, 3, 4 | items, locations, channels: name, display name, GS1 key, from version 3 on attributes (all empty if it was removed) |
//! | 18 | entities of the other kinds, by kind: kind, name, 1 and the value, or 0 if it was removed; absent without any |
//! | 19 | versions: kind, handle, version, 1 if it was removed, else 0; only where it is not 1 and there |
//! | 5 | levels: item, location, sellable units, a bit for each other state that has units, those units; up to version 2 instead of the bits always damaged, returned, quality control |
//! | 6 | slots of reservations: generation, window in which it ended, and the reservation if there is one |
//! | 7 | free slots, in the order in which they were freed |
//! | 8, 9 | orders, holders with more than one reservation, by name: their slots in order |
//! | 10 | sources: name, epoch, last number, kept outcomes; from version 3 on with whether their fingerprints have parts |
//! | 20 | claims, by writer, level and state: 0 or source + 1, level, state, units, reason, position, time, 1 and the event time or 0; absent without any |
//! | 21 | levels that changed while rules of authority were in force: level, time; absent without any |
//! | 22 | kept messages, by source: 1 for one that is parked, 2 for one that waits with what it waits for, 3 for a dead letter with its refusal; absent without any |
//! | 11 | key windows, the older first: number, start, carried bytes, slots that ended in it, writers ahead of time; then writers ahead of time of forgotten keys |
//! | 12, 13 | keys of the older, of the younger window, in order of insertion |
//! | 15 | windows of remembered refusals, as 11; these and the next two are absent where they add nothing to 11 |
//! | 16, 17 | remembered refusals of the older, of the younger window, as keys |
//! | 14 | one, the last: the digest of the state (16 bytes), a check value of all preceding bytes (8) |
//!
//! Bytes are not trusted: every length is checked against the remaining bytes before anything is allocated for it.

mod effects;
mod entries;
mod load;
#[cfg(test)]
mod tests;

pub(crate) use effects::{put_effect, refusal};
pub(crate) use entries::HIGHEST;
pub use load::ImageLoader;

use crate::authority::{Claim, ClaimKey};
use crate::codec::{Field, put};
use crate::entity::EntityKind;
use crate::ids::{Handle, LevelIndex};
use crate::inbox::Kept;
use crate::ledger::Ledger;
use crate::planted;
use crate::stable_hash::StableHash;

/// Length of the longest piece.
pub const IMAGE_PIECE_BYTES: usize = 1 << 20;
/// First entry of every image.
pub const IMAGE_VERSION: u64 = 3;

/// A block is closed when it reaches this length; one entry may be longer.
const BLOCK_BYTES: usize = 256 << 10;
const BLOCK_HEADER_BYTES: usize = 9;
/// Windows of keys.
const WINDOWS: usize = 2;

/// Kinds of blocks, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum BlockKind {
    Head = 1,
    Items,
    Locations,
    Channels,
    Levels,
    Slots,
    Free,
    Orders,
    Holders,
    Sources,
    Windows,
    OlderKeys,
    YoungerKeys,
    End,
    RefusalWindows,
    OlderRefusals,
    YoungerRefusals,
    Entities,
    Versions,
    Claims,
    Changes,
    Kept,
}

impl BlockKind {
    /// All kinds, in the order of an image.
    const ALL: [BlockKind; 22] = [
        BlockKind::Head,
        BlockKind::Items,
        BlockKind::Locations,
        BlockKind::Channels,
        BlockKind::Entities,
        BlockKind::Versions,
        BlockKind::Levels,
        BlockKind::Slots,
        BlockKind::Free,
        BlockKind::Orders,
        BlockKind::Holders,
        BlockKind::Sources,
        BlockKind::Claims,
        BlockKind::Changes,
        BlockKind::Kept,
        BlockKind::Windows,
        BlockKind::OlderKeys,
        BlockKind::YoungerKeys,
        BlockKind::RefusalWindows,
        BlockKind::OlderRefusals,
        BlockKind::YoungerRefusals,
        BlockKind::End,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Its position in the order.
    fn position(self) -> usize {
        Self::ALL.iter().position(|kind| *kind == self).unwrap_or(Self::ALL.len())
    }

    /// The next kind.
    fn next(self) -> Option<Self> {
        Self::ALL.get(self.position() + 1).copied()
    }
}

/// The check value of all blocks so far.
fn check(before: u64, block: &[u8]) -> u64 {
    StableHash::new(11).word(before).bytes(block).short()
}

/// An image of a ledger that is being written.
pub struct Image<'l> {
    ledger: &'l Ledger,
    digest: u128,
    /// Names with more than one reservation, sorted.
    orders: Vec<&'l str>,
    holders: Vec<&'l str>,
    /// Entities of the kinds that have no block of their own, and versions that are not those of most.
    entities: Vec<(EntityKind, Handle)>,
    versions: Vec<(EntityKind, (Handle, u64, bool))>,
    claims: Vec<(ClaimKey, Claim)>,
    changes: Vec<(LevelIndex, i64)>,
    kept: Vec<Kept>,
    kind: Option<BlockKind>,
    /// Index of the next entry of that kind.
    at: usize,
    /// Encoded bytes; those from `handed` on have not been handed out.
    bytes: Vec<u8>,
    handed: usize,
    check: u64,
}

impl Ledger {
    /// Starts an image of the whole state.
    pub fn image(&mut self) -> Image<'_> {
        let digest = self.digest().value();
        let ledger = &*self;
        let (orders, holders) = (entries::shared_names(&ledger.orders), entries::shared_names(&ledger.holders));
        Image {
            ledger,
            digest,
            orders,
            holders,
            entities: entries::entities(ledger),
            versions: entries::versions(ledger),
            claims: ledger
                .claims_after(None)
                .skip(usize::from(planted::is("claim_lost_in_image")))
                .map(|(key, claim)| (*key, *claim))
                .collect(),
            changes: ledger.authority.changes.iter().collect(),
            kept: ledger.kept_messages(),
            kind: Some(BlockKind::Head),
            at: 0,
            bytes: Vec::new(),
            handed: 0,
            check: 0,
        }
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
            self.kind = kind.next();
            self.at = 0;
        }
    }

    /// Number of entries of a kind.
    fn count(&self, kind: BlockKind) -> usize {
        let ledger = self.ledger;
        match kind {
            BlockKind::Head | BlockKind::End => 1,
            BlockKind::Items | BlockKind::Locations | BlockKind::Channels => {
                ledger.entities(catalogue(kind)).names().len()
            }
            BlockKind::Entities => self.entities.len(),
            BlockKind::Versions => self.versions.len(),
            BlockKind::Levels => ledger.levels.len(),
            BlockKind::Slots => ledger.slab.slot_count(),
            BlockKind::Free => ledger.slab.free().len(),
            BlockKind::Orders => self.orders.len(),
            BlockKind::Holders => self.holders.len(),
            BlockKind::Sources => ledger.sources.all().len(),
            BlockKind::Claims => self.claims.len(),
            BlockKind::Changes => self.changes.len(),
            BlockKind::Kept => self.kept.len(),
            BlockKind::Windows => WINDOWS + 1,
            BlockKind::OlderKeys => ledger.keys.windows()[0].len(),
            BlockKind::YoungerKeys => ledger.keys.windows()[1].len(),
            BlockKind::RefusalWindows if ledger.refusals.add_nothing_to(&ledger.keys) => 0,
            BlockKind::RefusalWindows => WINDOWS + 1,
            BlockKind::OlderRefusals => ledger.refusals.windows()[0].len(),
            BlockKind::YoungerRefusals => ledger.refusals.windows()[1].len(),
        }
    }

    /// Writes the next entry.
    fn entry(&mut self, kind: BlockKind) {
        let (ledger, at, out) = (self.ledger, self.at, &mut self.bytes);
        match kind {
            BlockKind::Head => entries::put_head(out, ledger),
            BlockKind::Items | BlockKind::Locations | BlockKind::Channels => {
                entries::put_labels(out, ledger.entities(catalogue(kind)), at as u32);
            }
            BlockKind::Entities => entries::put_entity(out, ledger, self.entities[at]),
            BlockKind::Versions => entries::put_version(out, self.versions[at]),
            BlockKind::Levels => entries::put_level(out, ledger, at as u32),
            BlockKind::Slots => entries::put_slot(out, &ledger.slab, at as u32),
            BlockKind::Free => put(out, u64::from(ledger.slab.free()[at])),
            BlockKind::Orders => entries::put_shared(out, self.orders[at], &ledger.orders),
            BlockKind::Holders => entries::put_shared(out, self.holders[at], &ledger.holders),
            BlockKind::Sources => entries::put_source(out, &ledger.sources.all()[at]),
            BlockKind::Claims => {
                let (key, claim) = &self.claims[at];
                key.put(out);
                claim.put(out);
            }
            BlockKind::Changes => {
                let (level, time_ms) = self.changes[at];
                level.put(out);
                time_ms.put(out);
            }
            BlockKind::Kept => self.kept[at].put(out),
            BlockKind::Windows if at == WINDOWS => ledger.keys.put_forgotten(out),
            BlockKind::Windows => ledger.keys.windows()[at].put_head(out),
            BlockKind::OlderKeys => ledger.keys.windows()[0].put_key(out, at),
            BlockKind::YoungerKeys => ledger.keys.windows()[1].put_key(out, at),
            BlockKind::RefusalWindows if at == WINDOWS => ledger.refusals.put_forgotten(out),
            BlockKind::RefusalWindows => ledger.refusals.windows()[at].put_head(out),
            BlockKind::OlderRefusals => ledger.refusals.windows()[0].put_key(out, at),
            BlockKind::YoungerRefusals => ledger.refusals.windows()[1].put_key(out, at),
            BlockKind::End => {
                out.extend_from_slice(&self.digest.to_le_bytes());
                out.extend_from_slice(&self.check.to_le_bytes());
            }
        }
    }
}

/// The entities that have a block of their own.
fn catalogue(kind: BlockKind) -> EntityKind {
    EntityKind::ALL[kind as usize - BlockKind::Items as usize]
}
