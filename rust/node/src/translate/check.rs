//! The violations of a message, field by field. Nothing is allocated as long as there are none.

use std::collections::HashSet;
use std::fmt::Arguments;
use std::hash::Hash;

use invengine_ledger::command::LINES_MAX;
use invengine_ledger::{NAME_CHARS_MAX, name_fault};

use crate::refusal::Refusal;

/// Most characters of a name, a key or any other text.
const TEXT_MAX: usize = NAME_CHARS_MAX;
/// Most violations that are collected: a message can have more of them than anybody wants to read.
const VIOLATIONS_MAX: usize = 100;

/// The invalid fields of one message, in the order in which they were found.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    bad: Vec<(String, String)>,
    /// A requested feature that this version does not have.
    later: Option<&'static str>,
}

impl Violations {
    /// The number of violations so far.
    pub fn len(&self) -> usize {
        self.bad.len()
    }

    /// Reports the field unless `good`; returns `good`.
    #[inline]
    pub fn require(&mut self, good: bool, field: Arguments<'_>, rule: &str) -> bool {
        if !good {
            self.add(field, rule);
        }
        good
    }

    #[cold]
    fn add(&mut self, field: Arguments<'_>, rule: &str) {
        if self.bad.len() < VIOLATIONS_MAX {
            self.bad.push((field.to_string(), rule.to_owned()));
        }
    }

    /// A required name. Existing names are accepted however they are written; the rules for new ones are the ledger's
    /// ([`invengine_ledger::name_fault`]).
    #[inline]
    pub fn name(&mut self, value: &str, field: Arguments<'_>) {
        let good = !value.is_empty() && printable(value).is_some_and(|characters| characters <= TEXT_MAX);
        if !good {
            self.add(field, &name_fault(value).unwrap_or_default());
        }
    }

    /// An optional text.
    #[inline]
    pub fn text(&mut self, value: &str, field: Arguments<'_>) {
        let good = value.is_empty() || printable(value).is_some_and(|characters| characters <= TEXT_MAX);
        self.require(good, field, "at most 128 printable characters");
    }

    /// A required idempotency key.
    #[inline]
    pub fn key(&mut self, value: &str, field: Arguments<'_>) {
        let good = (1..=TEXT_MAX).contains(&value.len()) && printable_ascii(value);
        self.require(good, field, "1 to 128 printable ASCII characters");
    }

    /// A list of lines, entries or queries: 1 to 1,000.
    pub fn count(&mut self, count: usize, field: &str) -> bool {
        self.require((1..=LINES_MAX).contains(&count), format_args!("{field}"), "1 to 1,000 of them")
    }

    /// Reports every repetition in a list whose keys must be distinct.
    pub fn distinct<K: Hash + Eq>(&mut self, keys: impl ExactSizeIterator<Item = K>, list: &str, field: &str) {
        if keys.len() < 2 {
            return;
        }
        let mut seen = HashSet::with_capacity(keys.len());
        for (number, key) in keys.enumerate() {
            self.require(
                seen.insert(key),
                format_args!("{list}[{number}]{field}"),
                "repeats an earlier one; allowed at most once",
            );
        }
    }

    /// Notes that the message asks for a feature that this version does not have. It is refused for that if nothing
    /// else is wrong.
    pub fn later(&mut self, what: &'static str) {
        self.later = Some(what);
    }

    /// Returns the refusal if there were violations.
    pub fn finish(self) -> Result<(), Refusal> {
        if !self.bad.is_empty() {
            return Err(Refusal::invalid(self.bad));
        }
        self.later.map_or(Ok(()), |what| Err(Refusal::unimplemented(what)))
    }
}

#[inline]
fn printable_ascii(text: &str) -> bool {
    // No early exit: texts are short, and this way many bytes are checked at once.
    text.bytes().fold(true, |good, byte| good & (0x20..0x7f).contains(&byte))
}

/// The number of characters of a text, if all of them are printable.
#[inline]
fn printable(text: &str) -> Option<usize> {
    if printable_ascii(text) { Some(text.len()) } else { printable_unicode(text) }
}

#[cold]
fn printable_unicode(text: &str) -> Option<usize> {
    (!text.chars().any(char::is_control)).then(|| text.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(found: Violations) -> Vec<String> {
        found
            .finish()
            .map_or_else(|refusal| refusal.violations.into_iter().map(|(field, _)| field).collect(), |()| vec![])
    }

    #[test]
    fn texts_have_their_limits() {
        let long = "ö".repeat(128);
        let rows: [(&str, bool, bool, bool); 9] = [
            ("", false, true, false),
            ("a", true, true, true),
            ("~ ", true, true, true),
            (&long, true, true, false),
            (&"a".repeat(128), true, true, true),
            (&"a".repeat(129), false, false, false),
            (&format!("{long}x"), false, false, false),
            ("a\u{85}", false, false, false),
            ("a\x7f", false, false, false),
        ];
        for (value, name, text, key) in rows {
            let mut found = Violations::default();
            found.name(value, format_args!("name"));
            found.text(value, format_args!("text"));
            found.key(value, format_args!("key"));
            let bad = fields(found);
            let good = ["name", "text", "key"].map(|field| !bad.iter().any(|other| other == field));
            assert_eq!(good, [name, text, key], "{value:?}");
        }
    }

    #[test]
    fn violations_take_precedence_over_unimplemented_features() {
        let mut found = Violations::default();
        found.later("it");
        assert_eq!(found.finish().unwrap_err().reason, "UNIMPLEMENTED");
        let mut found = Violations::default();
        found.later("it");
        found.name("", format_args!("sku"));
        assert_eq!(found.finish().unwrap_err().reason, "INVALID_FIELD");
    }

    #[test]
    fn every_repetition_is_named_and_the_list_is_bounded() {
        let mut found = Violations::default();
        found.distinct(["a", "b", "a", "a"].into_iter(), "items", ".sku");
        assert_eq!(fields(found), ["items[2].sku", "items[3].sku"]);
        let mut found = Violations::default();
        (0..1_000).for_each(|number| found.name("", format_args!("lines[{number}].sku")));
        assert_eq!(fields(found).len(), VIOLATIONS_MAX);
    }
}
