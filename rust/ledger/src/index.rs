//! A look-up table from a hash to a number that costs one cache line per look-up. It stores part of each hash, so that it grows
//! without reading what its numbers stand for; the caller's closure decides whether a number is the wanted one. Only the entry
//! that was added last can be removed.

use std::hint::black_box;

/// A number with part of its hash. A tag of 0 marks an empty bucket.
#[derive(Clone, Copy, Default)]
struct Bucket {
    tag: u32,
    value: u32,
}

/// The part of a hash that a table stores.
#[derive(Clone, Copy)]
pub(crate) struct Tag(u32);

impl Tag {
    /// The tag of a hash, taken from its upper half.
    #[inline]
    pub fn of(hash: u64) -> Self {
        Tag((hash >> 32) as u32 | 1)
    }
}

/// Numbers by hash.
#[derive(Default)]
pub(crate) struct Index {
    /// A power of two; at most five in eight are in use.
    buckets: Vec<Bucket>,
    len: usize,
}

impl Index {
    const BUCKETS_MIN: usize = 8;

    /// The number with this tag that `is_it` accepts.
    #[inline]
    pub fn find(&self, tag: Tag, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.buckets.is_empty() {
            return None;
        }
        let mut at = self.home(tag);
        loop {
            let bucket = self.buckets[at];
            if bucket.tag == 0 {
                return None;
            }
            if bucket.tag == tag.0 && is_it(bucket.value) {
                return Some(bucket.value);
            }
            at = (at + 1) & (self.buckets.len() - 1);
        }
    }

    /// The first number with this tag, whether or not it is the wanted one.
    #[inline]
    pub fn first(&self, tag: Tag) -> Option<u32> {
        self.find(tag, |_| true)
    }

    /// A table of the numbers from 0 to `len` with these tags, or `None` if `same` says that two numbers with one tag are the
    /// same.
    ///
    /// Inserting in random order costs a cache miss per number; those of some numbers are waited for together.
    pub fn of(len: usize, tags: impl Iterator<Item = Tag>, same: impl Fn(u32, u32) -> bool) -> Option<Self> {
        const AHEAD: usize = 64;
        let buckets = (len * 8).div_ceil(5).next_power_of_two().max(Self::BUCKETS_MIN);
        let mut index = Index { buckets: vec![Bucket::default(); buckets], len };
        let mut numbered = (0..).zip(tags);
        let mut ahead = Vec::with_capacity(AHEAD);
        loop {
            ahead.extend(numbered.by_ref().take(AHEAD).map(|(value, tag)| Bucket { tag: tag.0, value }));
            if ahead.is_empty() {
                return Some(index);
            }
            black_box(ahead.iter().fold(0, |read, bucket| read ^ index.buckets[index.home(Tag(bucket.tag))].tag));
            for bucket in ahead.drain(..) {
                if index.find(Tag(bucket.tag), |value| same(value, bucket.value)).is_some() {
                    return None;
                }
                index.put(bucket);
            }
        }
    }

    /// Reserves room for `count` more.
    #[inline]
    pub fn make_room(&mut self, count: usize) {
        while (self.len + count) * 8 > self.buckets.len() * 5 {
            self.grow();
        }
    }

    /// Adds a number.
    #[inline]
    pub fn insert(&mut self, tag: Tag, value: u32) {
        self.make_room(1);
        self.len += 1;
        self.put(Bucket { tag: tag.0, value });
    }

    /// Removes the number that was added last, provided that the table has not grown since: no later entry was displaced by it.
    pub fn remove_last(&mut self, tag: Tag, value: u32) {
        let mut at = self.home(tag);
        while self.buckets[at].tag != 0 {
            if self.buckets[at].value == value {
                self.buckets[at] = Bucket::default();
                self.len -= 1;
                return;
            }
            at = (at + 1) & (self.buckets.len() - 1);
        }
    }

    #[inline]
    fn put(&mut self, bucket: Bucket) {
        let mut at = self.home(Tag(bucket.tag));
        while self.buckets[at].tag != 0 {
            at = (at + 1) & (self.buckets.len() - 1);
        }
        self.buckets[at] = bucket;
    }

    #[cold]
    fn grow(&mut self) {
        let count = (self.buckets.len() * 2).max(Self::BUCKETS_MIN);
        for bucket in std::mem::replace(&mut self.buckets, vec![Bucket::default(); count]) {
            if bucket.tag != 0 {
                self.put(bucket);
            }
        }
    }

    /// The first bucket to probe for a tag: its highest bits, so that growing keeps neighbours together.
    #[inline]
    fn home(&self, tag: Tag) -> usize {
        let bits = self.buckets.len().trailing_zeros();
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
            assert!(index.len * 8 <= index.buckets.len() * 5);
        }
        for number in 0..20_000 {
            let found = index.find(Tag::of(hash(number)), |value| value == number);
            assert_eq!(found, (number < 10_000).then_some(number));
        }
    }

    #[test]
    fn a_table_built_in_one_go_finds_the_same() {
        let hash = |number: u32| u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for len in [0, 1, 5, 6, 1_000, 10_000] {
            let mut index = Index::of(len as usize, (0..len).map(|number| Tag::of(hash(number))), |_, _| true)
                .expect("no tag twice");
            index.insert(Tag::of(hash(len)), len);
            for number in 0..2 * len + 2 {
                let found = index.find(Tag::of(hash(number)), |value| value == number);
                assert_eq!(found, (number <= len).then_some(number), "{number} of {len}");
            }
        }
        let tags = || [1, 2, 1, 3].map(|number| Tag::of(hash(number))).into_iter();
        assert!(Index::of(4, tags(), |one, other| (one, other) == (0, 2)).is_none());
        assert!(Index::of(4, tags(), |_, _| false).is_some());
    }

    #[test]
    fn the_caller_distinguishes_equal_tags() {
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
