//! How a new name is written, and which names people take for one another.
//!
//! The rule is asked where a name is created, and nowhere else: commands match names byte by byte, so a name that is there
//! already goes on working however it is written, and a journal folds whatever its names look like.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::sync::LazyLock;

use hashbrown::DefaultHashBuilder;
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_security::skeleton;

use crate::index::{Index, Tag};
use crate::names::Handle;

/// Most characters of a name.
pub const NAME_CHARS_MAX: usize = 128;
/// Bytes of a name that a sentence shows: an answer may have to name many.
const SHOWN_BYTES_MAX: usize = 64;
/// Seen as nothing, though Unicode counts it as a symbol.
const BRAILLE_BLANK: char = '\u{2800}';

/// What keeps a text from being a new name, in words that name the character and its place; none if nothing does.
///
/// A new name has 1 to 128 characters in the composed form (NFC) of Unicode. It has no white space but U+0020, and that
/// neither first nor last; no control characters, nothing that cannot be seen or that turns the direction of text, nothing
/// for private use and nothing unassigned.
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

/// What keeps a character out of new names; none if nothing does.
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

/// A text in quotation marks, so that a space at its end is seen, and with `<U+200B>` for what could not be seen or would
/// change how the rest looks. A long one is cut, which `...` behind the quotation mark says.
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

/// A text as it is where all of it is seen, else as [`visible`] shows it.
pub fn shown(text: &str) -> Cow<'_, str> {
    let is_seen = !text.starts_with(' ') && !text.ends_with(' ') && text.chars().all(|each| unfit(each).is_none());
    if is_seen { Cow::Borrowed(text) } else { Cow::Owned(visible(text)) }
}

/// The same for all names that people may take for one another: upper or lower case, with accents or without, spaces or none,
/// letters of other scripts that look alike (the skeleton of UTS 39), O and 0, l and 1 and I.
fn look(name: &str) -> String {
    static OF_ASCII: LazyLock<Vec<String>> =
        LazyLock::new(|| (0..128).map(|byte: u8| look_of(&char::from(byte).to_string())).collect());
    if name.is_ascii() { name.bytes().map(|byte| &*OF_ASCII[usize::from(byte)]).collect() } else { look_of(name) }
}

fn look_of(name: &str) -> String {
    let plain: String = name.nfkd().filter(|character| is_seen(*character)).collect();
    // Before and after: some letters look alike as capitals only, and some only as small ones.
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

/// Finds the oldest name of each look.
#[derive(Default)]
pub(crate) struct Looks {
    hasher: DefaultHashBuilder,
    /// Only the oldest: however many names look the same, one is looked at.
    oldest: Index,
}

impl Looks {
    /// The oldest name that looks like this one, itself included.
    pub fn oldest<'n>(&self, name: &str, name_of: impl Fn(Handle) -> &'n str) -> Option<Handle> {
        let wanted = look(name);
        self.find(&wanted, name_of)
    }

    /// Adds the next name.
    pub fn add<'n>(&mut self, name: &str, handle: Handle, name_of: impl Fn(Handle) -> &'n str) {
        let own = look(name);
        if !own.is_empty() && self.find(&own, name_of).is_none() {
            self.oldest.insert(self.tag(&own), handle);
        }
    }

    fn find<'n>(&self, wanted: &str, name_of: impl Fn(Handle) -> &'n str) -> Option<Handle> {
        self.oldest.find(self.tag(wanted), |handle| look(name_of(handle)) == wanted)
    }

    fn tag(&self, look: &str) -> Tag {
        Tag::of(self.hasher.hash_one(look))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_is_written_so_that_it_is_seen_whole() {
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
    fn what_cannot_be_seen_is_shown() {
        assert_eq!(visible("mug "), "\"mug \"");
        assert_eq!(["mug", "a b", "mug ", "mug\u{200b}"].map(shown), ["mug", "a b", "\"mug \"", "\"mug<U+200B>\""]);
        assert_eq!(visible("m\u{200b}u\u{202e}g\n"), "\"m<U+200B>u<U+202E>g<U+000A>\"");
        let longest = visible(&"\u{10ffff}".repeat(NAME_CHARS_MAX));
        assert!(longest.ends_with("<U+10FFFF>\"...") && longest.len() < 80, "{longest}");
    }

    #[test]
    fn names_that_people_mix_up_look_the_same() {
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
            assert_eq!(look(one), look(other), "{one} {other}");
        }
        for [one, other] in [["mug", "cup"], ["A10", "A11"], ["a-b", "ab"], ["wh-1", "wh-2"], ["漢", "字"]] {
            assert_ne!(look(one), look(other), "{one} {other}");
        }
    }

    #[test]
    fn plain_texts_look_the_same_however_it_is_found_out() {
        let all: String = (0..128).map(|byte: u8| char::from(byte)).collect();
        assert_eq!(look(&all), look_of(&all));
    }

    #[test]
    fn of_each_look_the_oldest_name_is_found() {
        let names = ["mug", "cup", "Mug", "MÜG", "\u{301}", " "];
        let mut looks = Looks::default();
        for (handle, name) in (0..).zip(names) {
            looks.add(name, handle, |handle| names[handle as usize]);
        }
        let found = |name| looks.oldest(name, |handle| names[handle as usize]);
        assert_eq!(["mug", "MUG", "cup", "pot", "", " "].map(found), [Some(0), Some(0), Some(1), None, None, None]);
    }
}
