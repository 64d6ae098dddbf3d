//! A look-up table from a hash to a number, one cache line a look-up. It keeps part of each hash, so that it grows without
//! reading what its numbers stand for; whoever looks decides by a closure whether a number is the wanted one. Nothing is ever
//! taken out but what came last.

/// Where something is, beside part of its hash. A tag of 0 means that nothing is here.
#[derive(Clone, Copy, Default)]
struct Slot {
    tag: u32,
    value: u32,
}

/// The part of a hash that a table keeps.
#[derive(Clone, Copy)]
pub(crate) struct Tag(u32);

impl Tag {
    /// The tag of a hash; its upper half counts.
    #[inline]
    pub fn of(hash: u64) -> Self {
        Tag((hash >> 32) as u32 | 1)
    }
}

/// Numbers by hash.
#[derive(Default)]
pub(crate) struct Index {
    /// A power of two, at most five in eight in use.
    slots: Vec<Slot>,
    len: usize,
}

impl Index {
    const SLOTS_MIN: usize = 8;

    /// A number with this tag that is the wanted one.
    #[inline]
    pub fn find(&self, tag: Tag, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(tag);
        loop {
            let slot = self.slots[at];
            if slot.tag == 0 {
                return None;
            }
            if slot.tag == tag.0 && is_it(slot.value) {
                return Some(slot.value);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// The numbers from 0 on with these tags, or nothing if two that have one tag are the same.
    ///
    /// Each part of the table is filled by itself: numbers one by one, in random order, would each wait for the memory.
    pub fn of(tags: impl Iterator<Item = Tag>, same: impl Fn(u32, u32) -> bool) -> Option<Self> {
        const PART_BITS: u32 = 10;
        let mut parts = vec![Vec::new(); 1 << PART_BITS];
        for (value, tag) in (0..).zip(tags) {
            parts[(tag.0 >> (32 - PART_BITS)) as usize].push(Slot { tag: tag.0, value });
        }
        let len: usize = parts.iter().map(Vec::len).sum();
        let slots = (len * 8).div_ceil(5).next_power_of_two().max(Self::SLOTS_MIN);
        let mut index = Index { slots: vec![Slot::default(); slots], len };
        for slot in parts.into_iter().flatten() {
            if index.find(Tag(slot.tag), |value| same(value, slot.value)).is_some() {
                return None;
            }
            index.place(slot);
        }
        Some(index)
    }

    /// Makes room for so many more.
    #[inline]
    pub fn make_room(&mut self, count: usize) {
        while (self.len + count) * 8 > self.slots.len() * 5 {
            self.grow();
        }
    }

    /// Adds a number.
    #[inline]
    pub fn insert(&mut self, tag: Tag, value: u32) {
        self.make_room(1);
        self.len += 1;
        self.place(Slot { tag: tag.0, value });
    }

    /// Takes out the number that came last, if the table has not grown since: nothing lies behind it because its place was taken.
    pub fn take_back(&mut self, tag: Tag, value: u32) {
        let mut at = self.home(tag);
        while self.slots[at].tag != 0 {
            if self.slots[at].value == value {
                self.slots[at] = Slot::default();
                self.len -= 1;
                return;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    #[inline]
    fn place(&mut self, slot: Slot) {
        let mut at = self.home(Tag(slot.tag));
        while self.slots[at].tag != 0 {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = slot;
    }

    #[cold]
    fn grow(&mut self) {
        let count = (self.slots.len() * 2).max(Self::SLOTS_MIN);
        for slot in std::mem::replace(&mut self.slots, vec![Slot::default(); count]) {
            if slot.tag != 0 {
                self.place(slot);
            }
        }
    }

    /// Where a tag is looked for first: its highest bits, so that growing keeps neighbours together.
    #[inline]
    fn home(&self, tag: Tag) -> usize {
        let bits = self.slots.len().trailing_zeros();
        (u64::from(tag.0) >> (32 - bits)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_found_and_nothing_else() {
        let hash = |number: u32| u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut index = Index::default();
        assert_eq!(index.find(Tag::of(hash(1)), |_| true), None);
        for number in 0..10_000 {
            index.insert(Tag::of(hash(number)), number);
            assert!(index.len * 8 <= index.slots.len() * 5);
        }
        for number in 0..20_000 {
            let found = index.find(Tag::of(hash(number)), |value| value == number);
            assert_eq!(found, (number < 10_000).then_some(number));
        }
    }

    #[test]
    fn a_table_that_is_made_at_once_finds_the_same() {
        let hash = |number: u32| u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for len in [0, 1, 5, 6, 1_000, 10_000] {
            let mut index = Index::of((0..len).map(|number| Tag::of(hash(number))), |_, _| true).expect("no tag twice");
            index.insert(Tag::of(hash(len)), len);
            for number in 0..2 * len + 2 {
                let found = index.find(Tag::of(hash(number)), |value| value == number);
                assert_eq!(found, (number <= len).then_some(number), "{number} of {len}");
            }
        }
        let tags = || [1, 2, 1, 3].map(|number| Tag::of(hash(number))).into_iter();
        assert!(Index::of(tags(), |one, other| (one, other) == (0, 2)).is_none());
        assert!(Index::of(tags(), |_, _| false).is_some());
    }

    #[test]
    fn equal_tags_are_told_apart_by_whoever_looks() {
        let mut index = Index::default();
        for number in 0..100 {
            index.insert(Tag::of(u64::MAX), number);
            index.insert(Tag::of(0), 1_000 + number);
        }
        let mut seen = Vec::new();
        assert_eq!(index.find(Tag::of(0), |value| value == 1_099), Some(1_099));
        assert_eq!(
            index.find(Tag::of(u64::MAX), |value| {
                seen.push(value);
                false
            }),
            None
        );
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }
}
