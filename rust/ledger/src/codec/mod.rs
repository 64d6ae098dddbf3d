//! Numbers, texts and lists as bytes: the encoding of journals and images.
//!
//! Numbers are variable-length (LEB128, signed ones zigzag), texts are preceded by their length, lists by their count. Bytes
//! from a journal are not trusted: every length is checked against the remaining bytes before anything is allocated for it.

mod put;
mod reader;

pub(crate) use put::{put, put_bytes, put_signed, put_text};
pub(crate) use reader::Reader;

use crate::ids::ReservationId;
use crate::one_or_many::OneOrMany;

/// Why bytes cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

pub(crate) type Decoded<T> = Result<T, Malformed>;

/// A value that has one encoding wherever it occurs.
pub(crate) trait Field: Sized {
    /// The fewest bytes of an encoded value, by which the count of a list is checked.
    const BYTES_MIN: usize = 1;

    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);

    /// Decodes a value.
    fn read(from: &mut Reader<'_>) -> Decoded<Self>;
}

/// Values that [`Reader`] reads by a method of its own.
macro_rules! fields {
    ($($type:ty: |$value:ident, $out:ident| $put:expr, $read:ident;)*) => {
        $(impl Field for $type {
            #[inline]
            fn put(&self, $out: &mut Vec<u8>) {
                let $value = self;
                $put;
            }

            #[inline]
            fn read(from: &mut Reader<'_>) -> Decoded<Self> {
                from.$read().map(Into::into)
            }
        })*
    };
}

fields! {
    u8: |value, out| out.push(*value), byte;
    bool: |value, out| out.push(u8::from(*value)), flag;
    u32: |value, out| put(out, u64::from(*value)), handle;
    u64: |value, out| put(out, *value), number;
    i64: |value, out| put_signed(out, *value), signed;
    Box<str>: |value, out| put_text(out, value), text;
    Box<[u8]>: |value, out| put_bytes(out, value), bytes;
}

/// Declares an enumeration without fields that is stored as one byte: number in the journal, variant, name for people.
macro_rules! numbered {
    ($(#[$enum_doc:meta])* $enum:ident $unknown:literal { $($(#[$doc:meta])* $number:literal $variant:ident $name:literal,)* }) => {
        $(#[$enum_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $enum {
            $($(#[$doc])* $variant = $number,)*
        }

        impl $enum {
            /// All of them, by number, which is the contract's too.
            pub const ALL: [$enum; [$($number),*].len()] = [$($enum::$variant),*];

            /// Its name in messages to people.
            pub fn name(self) -> &'static str {
                match self {
                    $($enum::$variant => $name,)*
                }
            }
        }

        impl $crate::codec::Field for $enum {
            fn put(&self, out: &mut Vec<u8>) {
                out.push(*self as u8);
            }

            fn read(from: &mut $crate::codec::Reader<'_>) -> $crate::codec::Decoded<Self> {
                let byte = from.byte()?;
                Self::ALL.into_iter().find(|known| *known as u8 == byte).ok_or($crate::codec::Malformed($unknown))
            }
        }
    };
}

pub(crate) use numbered;

impl Field for ReservationId {
    const BYTES_MIN: usize = 3;

    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        put(out, u64::from(self.slot));
        put(out, u64::from(self.generation));
        put(out, u64::from(self.epoch));
    }

    #[inline]
    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(ReservationId { slot: from.handle()?, generation: from.handle()?, epoch: from.handle()? })
    }
}

impl<T: Field> Field for OneOrMany<T> {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        put(out, self.len() as u64);
        self.iter().for_each(|element| element.put(out));
    }

    #[inline]
    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.one_or_many(T::BYTES_MIN, T::read)
    }
}
