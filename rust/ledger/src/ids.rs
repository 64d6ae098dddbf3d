//! The ids of what a ledger knows. They are dense numbers, so that finding a thing needs no hash look-up; names are looked up
//! once, where a command comes in.

use crate::stable_hash::StableHash;

/// A name's handle: its position in the order of creation.
pub type Handle = u32;
/// Index of an inventory level, in the order of first mention.
pub type LevelIndex = u32;
/// Index of a reservation in the slab.
pub type Slot = u32;

/// Identifies one reservation for ever: no other reservation of this ledger gets the same id, not even after a restore, because
/// a restored journal is continued under a higher writer epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReservationId {
    /// Slot in the slab.
    pub slot: Slot,
    /// Number of reservations that used this slot before.
    pub generation: u32,
    /// Writer epoch in which it was made.
    pub epoch: u32,
}

/// Bytes of a token: epoch, generation, slot and a check value, in hexadecimal digits.
pub const TOKEN_BYTES: usize = 32;

impl ReservationId {
    /// The opaque token that callers see. `tag` is the ledger's tag, which makes another ledger's token invalid.
    pub fn token(self, tag: u64) -> String {
        self.token_digits(tag).map(char::from).iter().collect()
    }

    /// The token as ASCII characters.
    #[inline]
    pub fn token_digits(self, tag: u64) -> [u8; TOKEN_BYTES] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; TOKEN_BYTES];
        let parts = [self.check(tag), self.epoch, self.generation, self.slot];
        let bytes = parts.map(u32::to_be_bytes);
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes.as_flattened()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        digits
    }

    /// Parses a token; `None` if the ledger with this tag cannot have issued it.
    pub fn parse(token: &str, tag: u64) -> Option<Self> {
        let spelled = token.len() == TOKEN_BYTES && token.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let whole = u128::from_str_radix(spelled.then_some(token)?, 16).ok()?;
        let id = ReservationId { slot: whole as u32, generation: (whole >> 32) as u32, epoch: (whole >> 64) as u32 };
        (id.check(tag) == (whole >> 96) as u32).then_some(id)
    }

    fn check(self, tag: u64) -> u32 {
        let hash = StableHash::new(tag)
            .word(u64::from(self.epoch))
            .word((u64::from(self.generation) << 32) | u64::from(self.slot))
            .short();
        (hash >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ledgers_own_tokens_are_parsed() {
        let id = ReservationId { slot: 7, generation: 3, epoch: 12 };
        let token = id.token(99);
        assert_eq!(ReservationId::parse(&token, 99), Some(id));
        assert_eq!(ReservationId::parse(&token, 98), None, "another ledger");
        assert_eq!(ReservationId::parse(&token.to_uppercase(), 99), None);
        for entry in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[entry] = if bytes[entry] == b'0' { b'1' } else { b'0' };
            let other = String::from_utf8(bytes).unwrap();
            assert_ne!(ReservationId::parse(&other, 99), Some(id), "{other}");
        }
        for bad in ["", "nobody", "+0000000000000000000000000000000", "é"] {
            assert_eq!(ReservationId::parse(bad, 99), None);
        }
    }
}
