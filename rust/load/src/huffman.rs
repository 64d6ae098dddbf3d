//! The fixed Huffman code of HTTP/2 header strings (RFC 7541, appendix B).
//!
//! The code is canonical, so it is defined by the length of each symbol's code: codes of one length are consecutive, in the
//! order of their symbols.

use std::sync::LazyLock;

/// Length in bits of the code of each byte. The end-of-string symbol, 30 bits of ones, never appears in a string.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28,
    28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13,
    6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6,
    6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23,
    23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23,
    22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21,
    22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

const SHORTEST: u32 = 5;
const LONGEST: u32 = 30;

/// Codes of one length: where they start, where they end, and the symbols in order.
struct Length {
    bits: u32,
    first: u32,
    /// The first left-aligned 32-bit window that is greater than every code of this length.
    end: u64,
    symbols: Vec<u8>,
}

static CODE: LazyLock<Vec<Length>> = LazyLock::new(|| {
    let mut code = 0_u32;
    let mut found = Vec::new();
    for bits in SHORTEST..=LONGEST {
        let symbols: Vec<u8> = (0..=u8::MAX).filter(|&byte| u32::from(LENGTHS[usize::from(byte)]) == bits).collect();
        let first = code;
        code += u32::try_from(symbols.len()).unwrap_or(0);
        if !symbols.is_empty() {
            found.push(Length { bits, first, end: u64::from(code) << (32 - bits), symbols });
        }
        code <<= 1;
    }
    found
});

/// Appends the decoded string to `text`. `None` if `coded` is not a valid string.
pub fn decode(coded: &[u8], text: &mut Vec<u8>) -> Option<()> {
    let mut window = 0_u64;
    let mut held = 0_u32;
    let mut rest = coded.iter();
    loop {
        while held <= 32 {
            let Some(byte) = rest.next() else { break };
            window = (window << 8) | u64::from(*byte);
            held += 8;
        }
        // Bits after the end read as ones, the padding of the format.
        let aligned =
            if held >= 32 { window >> (held - 32) } else { (window << (32 - held)) | ((1 << (32 - held)) - 1) };
        let aligned = aligned & 0xffff_ffff;
        let length = CODE.iter().find(|length| aligned < length.end);
        match length {
            Some(length) if length.bits <= held => {
                let code = u32::try_from(aligned >> (32 - length.bits)).ok()?;
                text.push(*length.symbols.get(usize::try_from(code - length.first).ok()?)?);
                held -= length.bits;
                window &= (1 << held) - 1;
            }
            _ => return (held < 8 && window == (1 << held) - 1).then_some(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::decode;

    /// The examples of RFC 7541, appendix C.
    #[test]
    fn decodes_the_examples_of_the_standard() {
        let cases: [(&[u8], &str); 4] = [
            (&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff], "www.example.com"),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf], "custom-value"),
            (&[], ""),
        ];
        for (coded, expected) in cases {
            let mut text = Vec::new();
            assert_eq!(decode(coded, &mut text), Some(()), "{expected}");
            assert_eq!(text, expected.as_bytes());
        }
    }

    #[test]
    fn refuses_padding_that_is_not_ones() {
        assert_eq!(decode(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbe], &mut Vec::new()), None);
    }
}
