//! The hash behind every stored value: digests and fingerprints. It depends on no seed and no memory layout, so its values are
//! the same on every machine and in every build, for ever. (Look-up tables use a seeded hash instead, because names come from
//! outside.)

/// Folds a 64 x 64 -> 128 bit product, the building block of wyhash and foldhash.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

const A: u64 = 0x9e37_79b9_7f4a_7c15;
const B: u64 = 0xc2b2_ae3d_27d4_eb4f;
const C: u64 = 0xd6e8_feb8_6659_fd93;

/// A running hash of words and strings, 128 bits wide.
#[derive(Clone, Copy)]
pub struct StableHash {
    low: u64,
    high: u64,
}

impl StableHash {
    /// Starts a hash of one kind of value: values of different kinds do not collide because their content is equal.
    #[inline]
    pub fn new(kind: u64) -> Self {
        StableHash { low: fold(kind ^ A, B), high: fold(kind ^ B, C) }
    }

    /// Adds one word.
    #[inline]
    pub fn word(mut self, word: u64) -> Self {
        self.low = fold(self.low ^ word, A).wrapping_add(word);
        self.high = fold(self.high ^ word, C).rotate_left(23);
        self
    }

    /// Adds a signed word.
    #[inline]
    pub fn signed(self, word: i64) -> Self {
        self.word(word as u64)
    }

    /// Adds bytes and their length, so that "ab","c" differs from "a","bc".
    #[inline]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self = self.word(u64::from_le_bytes(*word));
        }
        let tail = match (bytes.last_chunk::<8>(), bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
            // The last eight bytes hold the rest in their upper part.
            (Some(last), ..) => u64::from_le_bytes(*last).checked_shr(8 * (8 - rest.len() as u32)).unwrap_or(0),
            // The first four and the last four overlap where they are the same bytes.
            (None, Some(first), Some(last)) => {
                let last = u64::from(u32::from_le_bytes(*last)) << (8 * (rest.len() - 4));
                u64::from(u32::from_le_bytes(*first)) | last
            }
            _ => rest.iter().rev().fold(0, |tail, byte| (tail << 8) | u64::from(*byte)),
        };
        self.word(tail).word(bytes.len() as u64)
    }

    /// Finishes with 64 bits.
    #[inline]
    pub fn short(self) -> u64 {
        fold(self.low ^ self.high.rotate_left(32), B)
    }

    /// Finishes with 128 bits.
    #[inline]
    pub fn digest(self) -> u128 {
        (u128::from(fold(self.high ^ self.low, A)) << 64) | u128::from(self.short())
    }
}

/// The sum of the hashes of all entities of a ledger. It does not depend on their order, so it can be updated as entities
/// change.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Digest(pub u128);

impl Digest {
    /// Adds an entity with this hash.
    #[inline]
    pub fn add(&mut self, hash: u128) {
        self.0 = self.0.wrapping_add(hash);
    }

    /// As a number.
    pub(crate) fn value(self) -> u128 {
        self.0
    }

    /// Removes an entity with this hash.
    #[inline]
    pub fn remove(&mut self, hash: u128) {
        self.0 = self.0.wrapping_sub(hash);
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_never_change() {
        // Journals and snapshots contain these values: a change here is a change of format.
        let texts: [(&[u8], u64); 6] = [
            (b"", 0xd3e6896d97bee8e5),
            (b"a", 0x38d92b3741fa0e02),
            (b"seven..", 0x86107eeb0a042af6),
            (b"eight...", 0xc190aa6dafe06f15),
            (b"nine.....", 0xbfcac23244df502d),
            (b"sixteen bytes...", 0x78a6137c501e6ad1),
        ];
        for (text, short) in texts {
            assert_eq!(StableHash::new(1).word(2).bytes(text).short(), short, "{text:?}");
        }
        assert_eq!(StableHash::new(1).word(2).bytes(b"three").digest(), 0xbd74f48d5f342924908ccfa823d2009a);
    }

    #[test]
    fn bytes_are_words_from_the_lowest_byte_up() {
        let bytes: Vec<u8> = (0..30).map(|byte| 0xff - 7 * byte).collect();
        for length in 0..bytes.len() {
            let (words, rest) = bytes[..length].as_chunks::<8>();
            let hash = words.iter().fold(StableHash::new(1), |hash, word| hash.word(u64::from_le_bytes(*word)));
            let tail = rest.iter().rev().fold(0, |tail, byte| (tail << 8) | u64::from(*byte));
            let expected = hash.word(tail).word(length as u64).digest();
            assert_eq!(StableHash::new(1).bytes(&bytes[..length]).digest(), expected, "{length} bytes");
        }
    }

    #[test]
    fn different_content_has_a_different_hash() {
        assert_ne!(
            StableHash::new(1).bytes(b"ab").bytes(b"c").digest(),
            StableHash::new(1).bytes(b"a").bytes(b"bc").digest()
        );
        assert_ne!(StableHash::new(1).word(0).digest(), StableHash::new(1).word(0).word(0).digest());
    }
}
