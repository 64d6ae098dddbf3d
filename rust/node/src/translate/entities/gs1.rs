//! GS1 keys: numbers whose last digit checks the others.

use std::borrow::Cow;

pub(super) const GTIN_RULE: &str = "8, 12, 13 or 14 digits, of which the last is the check digit";
pub(super) const GLN_RULE: &str = "13 digits, of which the last is the check digit";

const GTIN_LENGTHS: [usize; 4] = [8, 12, 13, 14];
const LONGEST: usize = 14;

/// A GTIN with 14 digits; an absent one stays absent. `None` if it is none.
pub(super) fn gtin_14(gtin: &str) -> Option<Cow<'_, str>> {
    match gtin.len() {
        0 | LONGEST => (gtin.is_empty() || is_checked(gtin)).then_some(gtin.into()),
        length => (GTIN_LENGTHS.contains(&length) && is_checked(gtin)).then(|| format!("{gtin:0>LONGEST$}").into()),
    }
}

/// True for a GLN, and if there is none.
pub(super) fn is_gln(gln: &str) -> bool {
    gln.is_empty() || (gln.len() == 13 && is_checked(gln))
}

/// Digits from the right weigh 1 and 3 in turn; their sum is a multiple of 10.
fn is_checked(digits: &str) -> bool {
    let weighed = |(place, byte): (usize, u8)| {
        byte.is_ascii_digit().then(|| u32::from(byte - b'0') * if place % 2 == 0 { 1 } else { 3 })
    };
    let sum: Option<u32> = digits.bytes().rev().enumerate().map(weighed).sum();
    sum.is_some_and(|sum| sum % 10 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_every_length_are_kept_with_fourteen_digits() {
        for (gtin, kept) in [
            ("", ""),
            ("96385074", "00000096385074"),
            ("036000291452", "00036000291452"),
            ("4006381333931", "04006381333931"),
            ("10012345678902", "10012345678902"),
        ] {
            assert_eq!(gtin_14(gtin).as_deref(), Some(kept));
        }
        assert!(is_gln("4012345678901") && is_gln(""));
    }

    #[test]
    fn one_wrong_or_swapped_digit_is_found() {
        let good = "4006381333931";
        for place in 0..good.len() {
            for digit in b'0'..=b'9' {
                let mut bytes = good.as_bytes().to_vec();
                let same = bytes[place] == digit;
                bytes[place] = digit;
                let text = String::from_utf8(bytes).expect("digits");
                assert_eq!((gtin_14(&text).is_some(), is_gln(&text)), (same, same), "{text}");
            }
        }
        for bad in ["1", "12345678901", "400638133393", "40063813339312345", "40063813339 1", "\u{0664}006381333931"] {
            assert!(gtin_14(bad).is_none() && !is_gln(bad), "{bad}");
        }
    }
}
