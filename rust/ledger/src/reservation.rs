//! Reservations: their lines, and the slab that stores them. Finding one by its id needs no hash look-up.

use crate::chunks::Chunks;
use crate::ids::{Handle, LevelIndex, ReservationId, Slot};
use crate::one_or_many::OneOrMany;
use crate::planted;
use crate::stable_hash::StableHash;

/// The state of a line's units: where they were moved last, or where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LineState {
    /// Held until the reservation's `expire_ms`.
    Reserved = 1,
    /// Held for an order.
    Allocated = 2,
    /// Given back.
    Released = 3,
    /// Given back at `expire_ms`.
    Expired = 4,
    /// The goods have left.
    Fulfilled = 5,
}

/// One line of a reservation: `quantity = reserved + allocated + released + expired + fulfilled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldLine {
    /// The level.
    pub level: LevelIndex,
    /// The state to which units of the line were moved last.
    pub last: LineState,
    /// Held until the reservation's `expire_ms`; includes expired units whose event is not written yet.
    pub reserved: i64,
    /// Held for an order.
    pub allocated: i64,
    /// Given back.
    pub released: i64,
    /// Given back at `expire_ms`.
    pub expired: i64,
    /// Goods that have left.
    pub fulfilled: i64,
}

impl HeldLine {
    /// A line without units.
    pub(crate) fn empty(level: LevelIndex) -> Self {
        HeldLine { level, last: LineState::Reserved, reserved: 0, allocated: 0, released: 0, expired: 0, fulfilled: 0 }
    }

    /// Units of the line, all states together.
    pub fn quantity(&self) -> i64 {
        self.reserved + self.allocated + self.released + self.expired + self.fulfilled
    }

    /// Units of the line that are still held.
    pub fn outstanding(&self) -> i64 {
        self.reserved + self.allocated
    }
}

/// A reservation, as the journal describes it so far. Expired units are still in `reserved` until their event is written;
/// [`Reservation::is_live`] tells whether `reserved` counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The id.
    pub id: ReservationId,
    /// Increases by one with each change.
    pub version: u32,
    /// Channel it was made for.
    pub channel: Option<Handle>,
    /// When the units that are still reserved expire.
    pub expire_ms: i64,
    /// When it was made.
    pub create_ms: i64,
    /// Position of the event that made it.
    pub sequence: u64,
    /// Key of its Reserve; empty if a numbered message made it.
    pub key: Box<str>,
    /// Order that it belongs to; may be empty.
    pub order_ref: Box<str>,
    /// Whom it is for; may be empty.
    pub holder: Box<str>,
    /// Lines, ordered by (sku, location).
    pub lines: OneOrMany<HeldLine>,
}

impl Reservation {
    /// True if the reserved units are still held at this time.
    #[inline]
    pub fn is_live(&self, now_ms: i64) -> bool {
        self.expire_ms > now_ms || (planted::is("expiry_off_by_one") && self.expire_ms == now_ms)
    }

    /// True if units are reserved or allocated according to the journal, expired or not.
    pub fn outstanding(&self) -> bool {
        self.lines.iter().any(|line| line.reserved + line.allocated > 0)
    }

    pub(crate) fn line(&self, level: LevelIndex) -> Option<&HeldLine> {
        self.lines.iter().find(|line| line.level == level)
    }

    pub(crate) fn line_mut(&mut self, level: LevelIndex) -> Option<&mut HeldLine> {
        self.lines.iter_mut().find(|line| line.level == level)
    }

    pub(crate) fn hash(&self) -> u128 {
        let mut hash = StableHash::new(3)
            .word((u64::from(self.id.slot) << 32) | u64::from(self.id.generation))
            .word((u64::from(self.id.epoch) << 32) | u64::from(self.version))
            .word(self.channel.map_or(0, |handle| u64::from(handle) + 1))
            .signed(self.expire_ms)
            .signed(self.create_ms)
            .word(self.sequence)
            .bytes(self.key.as_bytes())
            .bytes(self.order_ref.as_bytes())
            .bytes(self.holder.as_bytes());
        for line in self.lines.iter() {
            hash = hash
                .word((u64::from(line.level) << 8) | line.last as u64)
                .signed(line.reserved)
                .signed(line.allocated)
                .signed(line.released)
                .signed(line.expired)
                .signed(line.fulfilled);
        }
        hash.digest()
    }
}

struct SlabEntry {
    /// Generation of the reservation in this slot, or of the next one.
    generation: u32,
    reservation: Option<Reservation>,
    /// The hash of this slot that is part of the digest; 0 if none.
    hash: u128,
    /// Whether the slot is listed as changed since the digest was updated.
    changed: bool,
    /// Number of the key window in which the reservation last ended.
    ended_in: u32,
}

/// All reservations that are still known.
#[derive(Default)]
pub(crate) struct Slab {
    entries: Chunks<SlabEntry>,
    free: Vec<Slot>,
    changed: Vec<Slot>,
    len: usize,
}

impl Slab {
    /// Number of reservations.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The slot and generation of the next reservation.
    pub fn next(&self) -> (Slot, u32) {
        match self.free.last() {
            Some(slot) => (*slot, self.entries.get(*slot as usize).map_or(0, |entry| entry.generation)),
            None => (Slot::try_from(self.entries.len()).expect("Invariant: fewer than 2^32 reservations"), 0),
        }
    }

    /// The reservation with this id.
    #[inline]
    pub fn find(&self, id: ReservationId) -> Option<&Reservation> {
        self.at(id.slot).filter(|reservation| reservation.id == id)
    }

    /// The reservation in this slot.
    #[inline]
    pub fn at(&self, slot: Slot) -> Option<&Reservation> {
        self.entries.get(slot as usize)?.reservation.as_ref()
    }

    /// Reads a value from everything that a change of the hold in this slot needs.
    #[inline]
    pub fn touch(&self, slot: Slot) -> i64 {
        self.at(slot).map_or(0, |hold| (hold.sequence as i64) ^ (hold.lines.len() as i64))
    }

    /// The same, mutable; marks the slot as changed.
    #[inline]
    pub fn at_mut(&mut self, slot: Slot) -> Option<&mut Reservation> {
        let entry = self.entries.get_mut(slot as usize)?;
        if !entry.changed {
            entry.changed = true;
            self.changed.push(slot);
        }
        entry.reservation.as_mut()
    }

    /// The reservation with this id, after increasing its version.
    pub fn next_version(&mut self, id: ReservationId) -> Option<&mut Reservation> {
        let reservation = self.at_mut(id.slot).filter(|reservation| reservation.id == id)?;
        reservation.version += 1;
        Some(reservation)
    }

    /// Inserts a new reservation in the slot that `next` returned.
    pub fn insert(&mut self, reservation: Reservation) {
        let slot = reservation.id.slot;
        if self.free.last() == Some(&slot) {
            self.free.pop();
        } else if slot as usize == self.entries.len() {
            self.entries.push(SlabEntry { generation: 0, reservation: None, hash: 0, changed: false, ended_in: 0 });
        }
        let Some(entry) = self.entries.get_mut(slot as usize) else { return };
        entry.generation = reservation.id.generation;
        entry.reservation = Some(reservation);
        if !entry.changed {
            entry.changed = true;
            self.changed.push(slot);
        }
        self.len += 1;
    }

    /// Removes a reservation; its slot may be used again under the next generation.
    pub fn remove(&mut self, slot: Slot) -> Option<Reservation> {
        let entry = self.entries.get_mut(slot as usize)?;
        let reservation = entry.reservation.take()?;
        entry.generation += 1;
        if !entry.changed {
            entry.changed = true;
            self.changed.push(slot);
        }
        self.free.push(slot);
        self.len -= 1;
        Some(reservation)
    }

    /// Number of slots, including free ones.
    pub fn slot_count(&self) -> usize {
        self.entries.len()
    }

    /// Free slots; the last one is used next.
    pub fn free(&self) -> &[Slot] {
        &self.free
    }

    /// Generation of the reservation in this slot, or of the next one.
    pub fn generation(&self, slot: Slot) -> u32 {
        self.entries.get(slot as usize).map_or(0, |entry| entry.generation)
    }

    /// Restores the next slot of an image.
    pub fn restore(&mut self, generation: u32, ended_in: u32, reservation: Option<Reservation>) {
        self.changed.push(self.entries.len() as Slot);
        self.len += usize::from(reservation.is_some());
        self.entries.push(SlabEntry { generation, reservation, hash: 0, changed: true, ended_in });
    }

    /// Restores a free slot of an image; returns false if there is no such slot, or it is not free.
    pub fn add_free(&mut self, slot: Slot) -> bool {
        let is_free = self.entries.get(slot as usize).is_some_and(|entry| entry.reservation.is_none());
        self.free.push(slot);
        is_free
    }

    /// True if every slot is either used or free, and none is listed as free twice.
    pub fn is_whole(&self) -> bool {
        let mut free = self.free.clone();
        free.sort_unstable();
        free.dedup();
        free.len() == self.free.len() && self.len + free.len() == self.entries.len()
    }

    /// Number of the key window in which the reservation in this slot last ended.
    pub fn ended_in(&self, slot: Slot) -> u32 {
        self.entries.get(slot as usize).map_or(0, |entry| entry.ended_in)
    }

    /// Records the window in which it ended.
    pub fn set_ended_in(&mut self, slot: Slot, window: u32) {
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            entry.ended_in = window;
        }
    }

    /// All reservations, by slot.
    pub fn iter(&self) -> impl Iterator<Item = &Reservation> {
        self.entries.iter().filter_map(|entry| entry.reservation.as_ref())
    }

    /// Number of slots that changed since the digest was updated.
    pub fn unhashed(&self) -> usize {
        self.changed.len()
    }

    /// Calls `f(old, new)` with the hashes of each slot that changed since the last call.
    pub fn bring_up_to_date(&mut self, mut f: impl FnMut(u128, u128)) {
        for slot in self.changed.drain(..) {
            let Some(entry) = self.entries.get_mut(slot as usize) else { continue };
            entry.changed = false;
            let new = match &entry.reservation {
                Some(reservation) => reservation.hash(),
                None => StableHash::new(4).word(u64::from(slot)).word(u64::from(entry.generation)).digest(),
            };
            f(entry.hash, new);
            entry.hash = new;
        }
    }
}
