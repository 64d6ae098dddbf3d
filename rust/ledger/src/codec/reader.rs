//! Decodes numbers, texts and lists. Bytes from a journal are not trusted.

use super::{Decoded, Malformed};
use crate::command::QUANTITY_MAX;
use crate::one_or_many::OneOrMany;

/// Bytes that are being decoded.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts with the first of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// Number of bytes that have not been read.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// True if everything has been read.
    #[inline]
    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn flag(&mut self) -> Decoded<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag is neither set nor clear")),
        }
    }

    /// A list of elements of at least `bytes_min` bytes each.
    #[inline]
    pub(crate) fn one_or_many<T>(
        &mut self,
        bytes_min: usize,
        one: impl Fn(&mut Self) -> Decoded<T>,
    ) -> Decoded<OneOrMany<T>> {
        match self.count(bytes_min)? {
            1 => Ok(OneOrMany::One(one(self)?)),
            count => Ok(OneOrMany::Many((0..count).map(|_| one(self)).collect::<Decoded<_>>()?)),
        }
    }

    #[inline]
    pub(crate) fn quantity(&mut self) -> Decoded<i64> {
        let value = self.number()?;
        if value > QUANTITY_MAX as u64 {
            return Err(Malformed("a quantity is out of range"));
        }
        Ok(value as i64)
    }

    pub(crate) fn delta(&mut self) -> Decoded<i64> {
        let value = self.signed()?;
        if value.unsigned_abs() > QUANTITY_MAX as u64 {
            return Err(Malformed("a difference is out of range"));
        }
        Ok(value)
    }

    #[inline]
    pub(crate) fn handle(&mut self) -> Decoded<u32> {
        u32::try_from(self.number()?).map_err(|_| Malformed("a handle is out of range"))
    }

    /// A count of elements of at least `bytes_min` bytes each.
    #[inline]
    pub(crate) fn count(&mut self, bytes_min: usize) -> Decoded<usize> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count > self.rest.len() / bytes_min {
            return Err(Malformed("a count is larger than what is left"));
        }
        Ok(count)
    }

    #[inline]
    pub(crate) fn bytes(&mut self) -> Decoded<&'a [u8]> {
        let count = self.count(1)?;
        let (bytes, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    pub(crate) fn text(&mut self) -> Decoded<&'a str> {
        str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Decoded<u8> {
        let (byte, rest) = self.rest.split_first().ok_or(Malformed("a record is cut short"))?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed("a record is cut short"))?;
        self.rest = rest;
        Ok(*array)
    }

    #[inline]
    pub(crate) fn number(&mut self) -> Decoded<u64> {
        match self.rest {
            [byte @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_number(),
        }
    }

    /// A number of several bytes: up to eight are read at once, because a branch on their count cannot be predicted.
    #[inline(never)]
    fn long_number(&mut self) -> Decoded<u64> {
        if let Some(bytes) = self.rest.first_chunk::<8>() {
            let word = u64::from_le_bytes(*bytes);
            let ends = !word & 0x8080_8080_8080_8080;
            if ends != 0 {
                self.rest = &self.rest[ends.trailing_zeros() as usize / 8 + 1..];
                return Ok(sevens(word & (ends ^ (ends - 1))));
            }
        }
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("a number is too long"))
    }

    #[inline]
    pub(crate) fn signed(&mut self) -> Decoded<i64> {
        let value = self.number()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

/// The lower seven bits of each byte, side by side.
#[inline]
fn sevens(bytes: u64) -> u64 {
    let pairs = (bytes & 0x007f_007f_007f_007f) | ((bytes & 0x7f00_7f00_7f00_7f00) >> 1);
    let fours = (pairs & 0x0000_3fff_0000_3fff) | ((pairs & 0x3fff_0000_3fff_0000) >> 2);
    (fours & 0x0fff_ffff) | ((fours & 0x0fff_ffff_0000_0000) >> 4)
}
