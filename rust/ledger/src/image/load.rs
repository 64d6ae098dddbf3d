//! Decodes an image, block by block as its pieces arrive.

use super::effects;
use super::entries::{self, ImageContext, ImageHead, LevelParts, SlotParts};
use super::{BLOCK_HEADER_BYTES, BlockKind, WINDOWS, catalogue, check};
use crate::authority::{Claim, ClaimKey};
use crate::codec::{Decoded, Field, Malformed, Reader};
use crate::entity::{Entities, EntityKind, EntityValue};
use crate::ids::{Handle, Slot};
use crate::inbox::Kept;
use crate::ledger::{Ledger, LedgerOptions, SlotsByName};
use crate::level::in_range;
use crate::stable_hash::Digest;

/// Number of the last entry of the key windows.
const LAST_OF_WINDOWS: usize = WINDOWS + 1;

/// A ledger that is being read from an image.
pub struct ImageLoader {
    ledger: Ledger,
    /// Version of the image, once its head was read.
    version: u64,
    /// Received bytes that do not form a whole block yet.
    bytes: Vec<u8>,
    last: Option<BlockKind>,
    /// Number of entries so far of the key windows, and of the refusal windows.
    windows: usize,
    refusal_windows: usize,
    check: u64,
    digest: Option<u128>,
}

impl ImageLoader {
    /// Starts without any bytes. The options are those of the ledger to load.
    pub fn new(options: LedgerOptions) -> Self {
        let ledger = Ledger::new(options);
        ImageLoader {
            ledger,
            version: 0,
            bytes: Vec::new(),
            last: None,
            windows: 0,
            refusal_windows: 0,
            check: 0,
            digest: None,
        }
    }

    /// Reads the next piece; the image may be cut anywhere.
    ///
    /// # Errors
    /// The bytes are not an image of this ledger in a version that this build knows. Nothing more can be read after that.
    pub fn piece(&mut self, piece: &[u8]) -> Result<(), Malformed> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.extend_from_slice(piece);
        let mut read = 0;
        while let Some(block) = whole_block(&bytes[read..]) {
            self.block(block)?;
            read += block.len();
        }
        bytes.drain(..read);
        self.bytes = bytes;
        Ok(())
    }

    /// Returns the ledger, if the image is complete and its state is the one that was written.
    ///
    /// # Errors
    /// The image is cut short or inconsistent.
    pub fn finish(mut self) -> Result<Ledger, Malformed> {
        let digest = self.digest.filter(|_| self.bytes.is_empty()).ok_or(Malformed("the image is cut short"))?;
        if self.windows != LAST_OF_WINDOWS {
            return Err(Malformed("windows of keys are missing"));
        }
        match self.refusal_windows {
            0 if self.ledger.refusals.len() == 0 => self.ledger.refusals.align(&self.ledger.keys),
            LAST_OF_WINDOWS => {}
            _ => return Err(Malformed("windows of refusals are missing")),
        }
        finish_entities(&mut self.ledger)?;
        add_entities(&self.ledger.entities, &mut self.ledger.digest);
        let [items, locations, ..] = &self.ledger.entities;
        self.ledger.levels.index_all(items.names(), locations.names()).ok_or(Malformed("a level comes twice"))?;
        if !self.ledger.slab.is_whole() {
            return Err(Malformed("free slots are missing or listed twice"));
        }
        if self.ledger.inapplicable_events > 0 || self.ledger.digest().value() != digest {
            return Err(Malformed("the state of the image is not the one that was written"));
        }
        self.ledger.find_ready();
        Ok(self.ledger)
    }

    /// The digest of what has been read so far.
    #[cfg(test)]
    pub(super) fn digest_so_far(&mut self) -> crate::Digest {
        let mut digest = self.ledger.digest();
        add_entities(&self.ledger.entities, &mut digest);
        digest
    }

    fn block(&mut self, block: &[u8]) -> Decoded<()> {
        let kind =
            BlockKind::from_byte(block[0]).ok_or(Malformed("a block of a kind that this build does not know"))?;
        let in_order = match self.last {
            None => kind == BlockKind::Head,
            Some(last) => kind != BlockKind::Head && kind.position() >= last.position() && last != BlockKind::End,
        };
        if !in_order {
            return Err(Malformed("the blocks of the image are not in order"));
        }
        self.last = Some(kind);
        let entries = u32::from_le_bytes([block[1], block[2], block[3], block[4]]);
        let mut from = Reader::new(&block[BLOCK_HEADER_BYTES..]);
        for _ in 0..entries {
            self.entry(kind, &mut from)?;
        }
        if !from.is_at_end() {
            return Err(Malformed("a block of the image is longer than its entries"));
        }
        self.check = check(self.check, block);
        Ok(())
    }

    fn entry(&mut self, kind: BlockKind, from: &mut Reader<'_>) -> Decoded<()> {
        let ledger = &mut self.ledger;
        // Only outcomes name entities; there are many more levels.
        let has_outcomes = matches!(kind, BlockKind::Sources | BlockKind::OlderKeys | BlockKind::YoungerKeys);
        let count = |kind| if has_outcomes { ledger.entities(kind).names().len() } else { 0 };
        let names = EntityKind::ALL.map(count);
        let image = ImageContext { version: self.version, levels: ledger.levels.len(), names };
        match kind {
            BlockKind::Head => {
                let head = entries::head(from)?;
                self.version = head.version;
                begin(ledger, head)
            }
            BlockKind::Items | BlockKind::Locations | BlockKind::Channels => {
                let (name, labels) = (from.text()?, entries::labels(from, image)?);
                ledger.entities[catalogue(kind) as usize].append(name, Some(EntityValue::Labels(labels)));
                Ok(())
            }
            BlockKind::Entities => {
                let (kind, name, value) = entries::entity(from)?;
                ledger.entities[kind as usize].append(name, value);
                Ok(())
            }
            BlockKind::Versions => {
                let (kind, handle, version, is_removed) = entries::version(from)?;
                let restored = ledger.entities[kind as usize].restore_version(handle, version, is_removed);
                restored.then_some(()).ok_or(Malformed("a version of an entity that does not exist"))
            }
            BlockKind::Levels => add_level(ledger, entries::level(from, image)?),
            BlockKind::Slots => {
                let slot = Slot::try_from(ledger.slab.slot_count()).map_err(|_| Malformed("too many reservations"))?;
                add_slot(ledger, slot, entries::slot_parts(from, slot)?)
            }
            BlockKind::Free => {
                let slot = from.handle()?;
                ledger.slab.add_free(slot).then_some(()).ok_or(Malformed("a free slot is in use"))
            }
            BlockKind::Orders | BlockKind::Holders => {
                let (name, slots) = entries::shared(from)?;
                let index = if kind == BlockKind::Orders { &mut ledger.orders } else { &mut ledger.holders };
                let there = index.get_mut(&*name).ok_or(Malformed("an order or holder without reservations"))?;
                let mut sorted = [slots.clone(), there.to_vec()];
                sorted.iter_mut().for_each(|slots| slots.sort_unstable());
                if sorted[0] != sorted[1] {
                    return Err(Malformed("the reservations of an order or holder are not those that name it"));
                }
                *there = slots.into_iter().collect();
                Ok(())
            }
            BlockKind::Sources => {
                let parts = entries::source(from, image)?;
                let added = ledger.sources.restore(&parts.name, parts.epoch, parts.last, parts.recent);
                added.then_some(()).ok_or(Malformed("a source comes twice"))
            }
            BlockKind::Claims => {
                let (key, claim) = (ClaimKey::read(from)?, Claim::read(from)?);
                let known = key.source.is_none_or(|source| ledger.sources.get(source).is_some())
                    && ledger.levels.get(key.level).is_some()
                    && claim.sequence <= ledger.sequence;
                let is_new = ledger.claim(&key).is_none();
                ledger.authority.claims.put(key, claim);
                (known && is_new)
                    .then_some(())
                    .ok_or(Malformed("a claim comes twice, or is about, from or at what does not exist"))
            }
            BlockKind::Changes => {
                let (level, time_ms) = (entries::level_of(from, image)?, from.signed()?);
                let is_new = ledger.authority.changes.of(level).is_none();
                ledger.authority.changes.note(level, time_ms);
                is_new.then_some(()).ok_or(Malformed("the last change of a level comes twice"))
            }
            BlockKind::Kept => {
                let restored = ledger.restore_kept(Kept::read(from)?);
                restored.then_some(()).ok_or(Malformed("a kept message comes twice, or where there can be none"))
            }
            BlockKind::Windows => {
                self.windows += 1;
                match self.windows {
                    ..=WINDOWS => ledger.keys.restore_window(from),
                    LAST_OF_WINDOWS => ledger.keys.restore_forgotten(from),
                    _ => Err(Malformed("there are too many windows of keys")),
                }
            }
            BlockKind::OlderKeys | BlockKind::YoungerKeys => {
                ledger.keys.restore_key(kind == BlockKind::OlderKeys, from, |from| effects::effect(from, image))
            }
            BlockKind::RefusalWindows => {
                self.refusal_windows += 1;
                match self.refusal_windows {
                    ..=WINDOWS => ledger.refusals.restore_window(from),
                    LAST_OF_WINDOWS => ledger.refusals.restore_forgotten(from),
                    _ => Err(Malformed("there are too many windows of refusals")),
                }
            }
            BlockKind::OlderRefusals | BlockKind::YoungerRefusals => {
                ledger.refusals.restore(kind == BlockKind::OlderRefusals, from)
            }
            BlockKind::End => {
                let (digest, check) = (u128::from_le_bytes(from.array()?), u64::from_le_bytes(from.array()?));
                if check != self.check {
                    return Err(Malformed("the image is damaged"));
                }
                self.digest = Some(digest);
                Ok(())
            }
        }
    }
}

/// The first block, if it is complete.
fn whole_block(bytes: &[u8]) -> Option<&[u8]> {
    let header = bytes.get(..BLOCK_HEADER_BYTES)?;
    let length = u32::from_le_bytes([header[5], header[6], header[7], header[8]]) as usize;
    bytes.get(..BLOCK_HEADER_BYTES + length)
}

fn begin(ledger: &mut Ledger, head: ImageHead) -> Decoded<()> {
    if *head.name != *ledger.options.name {
        return Err(Malformed("the image is of another ledger"));
    }
    ledger.sequence = head.sequence;
    ledger.time_ms = head.time_ms;
    ledger.first_time_ms = head.first_time_ms;
    ledger.epoch = head.epoch;
    ledger.expired_reservations = head.expired_reservations;
    match head.issued {
        Some(issued) => ledger.issue_times = issued,
        None => ledger.issue_times.note_unknown(head.time_ms),
    }
    Ok(())
}

/// Indexes the entities, and checks their values.
fn finish_entities(ledger: &mut Ledger) -> Decoded<()> {
    ledger.entities.iter_mut().try_for_each(Entities::index_all).ok_or(Malformed("a name comes twice"))?;
    let whole = ledger.entities.iter().all(Entities::is_whole);
    whole.then_some(()).ok_or(Malformed("an entity has no value"))?;
    let fits = ledger.entities.iter().all(|kind| kind.from(0).all(|(_, value)| value.fits(ledger)));
    fits.then_some(()).ok_or(Malformed("an entity refers to one that does not exist"))?;
    Ok(())
}

/// Adds the terms of all entities.
fn add_entities(entities: &[Entities], digest: &mut Digest) {
    for (kind, entities) in EntityKind::ALL.into_iter().zip(entities) {
        (0..entities.names().len() as Handle).for_each(|handle| digest.add(entities.hash(kind, handle)));
    }
}

fn add_level(ledger: &mut Ledger, level: LevelParts) -> Decoded<()> {
    if level.item as usize >= ledger.items().len() || level.location as usize >= ledger.locations().len() {
        return Err(Malformed("a level of an unknown item or location"));
    }
    if !in_range(level.quantities.on_hand()) {
        return Err(Malformed("a level has impossible quantities"));
    }
    let hash = ledger.levels.restore(level.item, level.location, level.quantities);
    ledger.digest.add(hash);
    Ok(())
}

fn add_slot(ledger: &mut Ledger, slot: Slot, parts: SlotParts) -> Decoded<()> {
    const BAD: Malformed = Malformed("a reservation does not fit the levels and channels of the image");
    if let Some(reservation) = &parts.reservation {
        if reservation.channel.is_some_and(|channel| channel as usize >= ledger.channels().len()) {
            return Err(BAD);
        }
        for line in reservation.lines.iter() {
            let level = ledger.levels.get_mut(line.level).ok_or(BAD)?;
            if !level.hold(line.reserved, line.allocated, reservation.expire_ms) {
                return Err(BAD);
            }
        }
        ledger.open_reservations += u64::from(reservation.outstanding());
        if reservation.lines.iter().any(|line| line.reserved > 0) {
            ledger.schedule.add(reservation.expire_ms, slot);
        }
        add_to_index(&mut ledger.orders, &reservation.order_ref, slot);
        add_to_index(&mut ledger.holders, &reservation.holder, slot);
    }
    ledger.slab.restore(parts.generation, parts.ended_in, parts.reservation);
    Ok(())
}

fn add_to_index(index: &mut SlotsByName, name: &str, slot: Slot) {
    if !name.is_empty() {
        index.entry(name.into()).or_default().push(slot);
    }
}
