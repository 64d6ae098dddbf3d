//! The rules for new names, and which names people may confuse with one another.
//!
//! The rules apply where a name is created, and nowhere else: commands match names byte by byte, so an existing name goes on
//! working however it is written, and a journal folds whatever its names look like.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::sync::LazyLock;

use hashbrown::DefaultHashBuilder;
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_security::skeleton;

use crate::ids::Handle;
use crate::index::{Index, Tag};

/// Most characters of a name.
pub const NAME_CHARS_MAX: usize = 128;
/// Bytes of a name that a sentence shows: an answer may have to list many names.
const SHOWN_BYTES_MAX: usize = 64;
/// Invisible, although Unicode counts it as a symbol.
const BRAILLE_BLANK: char = '\u{2800}';

/// Why a text cannot be a new name, with the character and its position; `None` if it can.
///
/// A new name has 1 to 128 characters in the composed form (NFC) of Unicode. Its only white space is U+0020, neither first nor
/// last; it has no control characters, no invisible characters, none that change the direction of text, none for private use
/// and none that are unassigned.
pub fn name_fault(name: &str) -> Option<String> {
    let length = name.chars().count();
    if !(1..=NAME_CHARS_MAX).contains(&length) {
        return Some(format!("{} has {length} characters; from 1 to {NAME_CHARS_MAX} are allowed", visible(name)));
    }
    let at = |number: usize, character: char, what: &str| {
        Some(format!("{} has U+{:04X} at character {number}, {what}", visible(name), u32::from(character)))
    };
    for (number, character) in (1..).zip(name.chars()) {
        if let Some(what) = unfit(character) {
            return at(number, character, &format!("{what}; leave it out"));
        }
    }
    if name.starts_with(' ') {
        return at(1, ' ', "a space at its beginning; leave it out");
    }
    if name.ends_with(' ') {
        return at(length, ' ', "a space at its end; leave it out");
    }
    if name.is_ascii() {
        return None;
    }
    let decomposed = (1..).zip(name.chars().zip(name.nfc())).find(|(_, (given, composed))| given != composed);
    let (number, (given, composed)) = decomposed?;
    let code = u32::from(composed);
    at(number, given, &format!("where its composed form (NFC) has U+{code:04X}; send the composed form"))
}

/// Why a character is not allowed in new names; `None` if it is.
fn unfit(character: char) -> Option<&'static str> {
    use GeneralCategory as Category;
    if matches!(character, ' '..='~') {
        return None;
    }
    match CodePointMapData::<GeneralCategory>::new().get(character) {
        Category::Control => Some("a control character"),
        Category::LineSeparator | Category::ParagraphSeparator => Some("a line break"),
        Category::SpaceSeparator => Some("white space other than U+0020"),
        Category::PrivateUse => Some("a character for private use"),
        Category::Unassigned => Some("which is no character of Unicode"),
        Category::Format => Some("which cannot be seen"),
        _ if character == BRAILLE_BLANK => Some("which cannot be seen"),
        _ => CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character).then_some("which cannot be seen"),
    }
}

/// A text in quotation marks, so that a space at its end is visible, and with `<U+200B>` for a character that is invisible or
/// would change how the rest looks. A long text is cut, which `...` after the quotation mark indicates.
pub fn visible(text: &str) -> String {
    let mut shown = String::from("\"");
    for character in text.chars() {
        if shown.len() > SHOWN_BYTES_MAX {
            return shown + "\"...";
        }
        match unfit(character) {
            Some(_) => shown.push_str(&format!("<U+{:04X}>", u32::from(character))),
            None => shown.push(character),
        }
    }
    shown + "\""
}

/// A text unchanged if all of it is visible, else as [`visible`] shows it.
pub fn shown(text: &str) -> Cow<'_, str> {
    let is_seen = !text.starts_with(' ') && !text.ends_with(' ') && text.chars().all(|each| unfit(each).is_none());
    if is_seen { Cow::Borrowed(text) } else { Cow::Owned(visible(text)) }
}

/// A form that is equal for all names that people may confuse: upper or lower case, with or without accents or spaces, similar
/// letters of other scripts (the skeleton of UTS 39), O and 0, l and 1 and I.
fn folded(name: &str) -> String {
    static OF_ASCII: LazyLock<Vec<String>> =
        LazyLock::new(|| (0..128).map(|byte: u8| fold_text(&char::from(byte).to_string())).collect());
    if name.is_ascii() { name.bytes().map(|byte| &*OF_ASCII[usize::from(byte)]).collect() } else { fold_text(name) }
}

fn fold_text(name: &str) -> String {
    let plain: String = name.nfkd().filter(|character| is_seen(*character)).collect();
    // Before and after lower-casing: some letters look alike as capitals only, and some only in lower case.
    let small: String = skeleton(&plain).flat_map(char::to_lowercase).collect();
    let seen = skeleton(&small).collect::<String>();
    seen.nfkd()
        .filter(|character| is_seen(*character))
        .map(|character| if character == 'i' { 'l' } else { character })
        .collect()
}

fn is_seen(character: char) -> bool {
    !is_combining_mark(character) && !character.is_whitespace() && unfit(character).is_none()
}

/// Finds the oldest of the names that people may confuse with one another.
#[derive(Default)]
pub(crate) struct Confusables {
    hasher: DefaultHashBuilder,
    /// Only the oldest: however many names look the same, one is compared.
    oldest: Index,
}

impl Confusables {
    /// The oldest name that looks like this one, including itself.
    pub fn oldest<'n>(&self, name: &str, name_of: impl Fn(Handle) -> &'n str) -> Option<Handle> {
        let wanted = folded(name);
        self.find(&wanted, name_of)
    }

    /// Adds the next name.
    pub fn add<'n>(&mut self, name: &str, handle: Handle, name_of: impl Fn(Handle) -> &'n str) {
        let own = folded(name);
        if !own.is_empty() && self.find(&own, name_of).is_none() {
            self.oldest.insert(self.tag(&own), handle);
        }
    }

    fn find<'n>(&self, wanted: &str, name_of: impl Fn(Handle) -> &'n str) -> Option<Handle> {
        self.oldest.find(self.tag(wanted), |handle| folded(name_of(handle)) == wanted)
    }

    fn tag(&self, folded: &str) -> Tag {
        Tag::of(self.hasher.hash_one(folded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_has_no_invisible_or_ambiguous_characters() {
        let long = "ö".repeat(NAME_CHARS_MAX);
        for name in ["mug", "a b", "SKU-7/é", "~", "漢字", "😀", "مرحبا", "naïve", &long] {
            assert_eq!(name_fault(name), None, "{name}");
        }
        let rows = [
            ("", "has 0 characters"),
            (&format!("{long}x"), "has 129 characters"),
            ("mug ", "U+0020 at character 4, a space at its end"),
            (" mug", "U+0020 at character 1, a space at its beginning"),
            ("mu\u{a0}g", "U+00A0 at character 3, white space other"),
            ("mug\u{3000}", "U+3000 at character 4, white space other"),
            ("m\tug", "U+0009 at character 2, a control character"),
            ("m\u{2028}ug", "U+2028 at character 2, a line break"),
            ("mug\u{200b}", "U+200B at character 4, which cannot be seen"),
            ("\u{feff}mug", "U+FEFF at character 1, which cannot be seen"),
            ("m\u{202e}ug", "U+202E at character 2, which cannot be seen"),
            ("m\u{ad}ug", "U+00AD at character 2, which cannot be seen"),
            ("m\u{fe0f}ug", "U+FE0F at character 2, which cannot be seen"),
            ("m\u{3164}ug", "U+3164 at character 2, which cannot be seen"),
            ("m\u{e0041}ug", "U+E0041 at character 2, which cannot be seen"),
            ("m\u{2800}ug", "U+2800 at character 2, which cannot be seen"),
            ("m\u{e000}ug", "U+E000 at character 2, a character for private use"),
            ("m\u{378}ug", "U+0378 at character 2, which is no character"),
            ("m\u{ffff}ug", "U+FFFF at character 2, which is no character"),
            ("cafe\u{301}", "U+0065 at character 4, where its composed form (NFC) has U+00E9"),
            ("\u{212b}", "U+212B at character 1, where its composed form (NFC) has U+00C5"),
        ];
        for (name, words) in rows {
            let fault = name_fault(name).unwrap_or_default();
            assert!(fault.contains(words), "{name:?}: {fault}");
        }
    }

    #[test]
    fn invisible_characters_are_shown() {
        assert_eq!(visible("mug "), "\"mug \"");
        assert_eq!(["mug", "a b", "mug ", "mug\u{200b}"].map(shown), ["mug", "a b", "\"mug \"", "\"mug<U+200B>\""]);
        assert_eq!(visible("m\u{200b}u\u{202e}g\n"), "\"m<U+200B>u<U+202E>g<U+000A>\"");
        let longest = visible(&"\u{10ffff}".repeat(NAME_CHARS_MAX));
        assert!(longest.ends_with("<U+10FFFF>\"...") && longest.len() < 80, "{longest}");
    }

    #[test]
    fn names_that_people_confuse_have_the_same_folded_form() {
        let alike = [
            ["mug", "MUG"],
            ["mug", "m u g "],
            ["mug", "müg"],
            ["mug", "mug\u{200b}"],
            ["paypal", "p\u{430}ypal"],
            ["HERO", "\u{41d}ERO"],
            ["A10", "AlO"],
            ["size-I", "size-1"],
            ["size-i", "size-L"],
            ["café", "cafe\u{301}"],
            ["ＭＵＧ", "mug"],
            ["a-b", "a\u{2010}b"],
            ["burn", "bum"],
        ];
        for [one, other] in alike {
            assert_eq!(folded(one), folded(other), "{one} {other}");
        }
        for [one, other] in [["mug", "cup"], ["A10", "A11"], ["a-b", "ab"], ["wh-1", "wh-2"], ["漢", "字"]] {
            assert_ne!(folded(one), folded(other), "{one} {other}");
        }
    }

    #[test]
    fn ascii_texts_fold_as_all_others() {
        let all: String = (0..128).map(|byte: u8| char::from(byte)).collect();
        assert_eq!(folded(&all), fold_text(&all));
    }

    #[test]
    fn the_oldest_of_confusable_names_is_found() {
        let names = ["mug", "cup", "Mug", "MÜG", "\u{301}", " "];
        let mut confusables = Confusables::default();
        for (handle, name) in (0..).zip(names) {
            confusables.add(name, handle, |handle| names[handle as usize]);
        }
        let found = |name| confusables.oldest(name, |handle| names[handle as usize]);
        assert_eq!(["mug", "MUG", "cup", "pot", "", " "].map(found), [Some(0), Some(0), Some(1), None, None, None]);
    }
}
