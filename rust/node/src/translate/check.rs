//! What is wrong with a message, field by field. Nothing is allocated as long as nothing is wrong.

use std::collections::HashSet;
use std::fmt::Arguments;
use std::hash::Hash;

use invengine_ledger::command::LINES_MAX;
use invengine_ledger::{NAME_CHARS_MAX, name_fault};

use crate::refusal::Refusal;

/// Most characters of a name, a key or any other text.
const TEXT_MAX: usize = NAME_CHARS_MAX;
/// A message can be wrong in more places than anybody wants to read.
const VIOLATIONS_MAX: usize = 100;

/// The bad fields of one message, in the order they were found.
#[derive(Debug, Default)]
pub(super) struct Violations {
    bad: Vec<(String, String)>,
    /// What it asks for and a later version does.
    later: Option<&'static str>,
}

impl Violations {
    /// How many there are so far.
    pub fn len(&self) -> usize {
        self.bad.len()
    }

    /// Notes the field unless it is good; gives `good` back.
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

    /// A name that must be there. Names that exist may be mentioned however they are written; how a new one is written is the
    /// ledger's to decide ([`invengine_ledger::name_fault`]).
    #[inline]
    pub fn name(&mut self, value: &str, field: Arguments<'_>) {
        let good = !value.is_empty() && printable(value).is_some_and(|characters| characters <= TEXT_MAX);
        if !good {
            self.add(field, &name_fault(value).unwrap_or_default());
        }
    }

    /// A text that may be absent.
    #[inline]
    pub fn text(&mut self, value: &str, field: Arguments<'_>) {
        let good = value.is_empty() || printable(value).is_some_and(|characters| characters <= TEXT_MAX);
        self.require(good, field, "at most 128 printable characters");
    }

    /// An idempotency key that must be there.
    #[inline]
    pub fn key(&mut self, value: &str, field: Arguments<'_>) {
        let good = (1..=TEXT_MAX).contains(&value.len()) && printable_ascii(value);
        self.require(good, field, "1 to 128 printable ASCII characters");
    }

    /// A list of lines, entries or questions: 1 to 1,000.
    pub fn count(&mut self, count: usize, field: &str) -> bool {
        self.require((1..=LINES_MAX).contains(&count), format_args!("{field}"), "1 to 1,000 of them")
    }

    /// Notes what comes again though each may come once only.
    pub fn distinct<K: Hash + Eq>(&mut self, keys: impl ExactSizeIterator<Item = K>, list: &str, field: &str) {
        if keys.len() < 2 {
            return;
        }
        let mut seen = HashSet::with_capacity(keys.len());
        for (number, key) in keys.enumerate() {
            self.require(
                seen.insert(key),
                format_args!("{list}[{number}]{field}"),
                "the same comes before it; at most once",
            );
        }
    }

    /// The message asks for what a later version does. It is refused for that if nothing else is wrong.
    pub fn later(&mut self, what: &'static str) {
        self.later = Some(what);
    }

    /// The refusal, if anything was found.
    pub fn finish(self) -> Result<(), Refusal> {
        if !self.bad.is_empty() {
            return Err(Refusal::invalid(self.bad));
        }
        self.later.map_or(Ok(()), |what| Err(Refusal::unimplemented(what)))
    }
}

#[inline]
fn printable_ascii(text: &str) -> bool {
    // No early exit: texts are short and this way the bytes are looked at many at once.
    text.bytes().fold(true, |good, byte| good & (0x20..0x7f).contains(&byte))
}

/// How many characters a text has, if all of them are printable.
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
    fn what_is_wrong_goes_before_what_comes_later() {
        let mut found = Violations::default();
        found.later("it");
        assert_eq!(found.finish().unwrap_err().reason, "UNIMPLEMENTED");
        let mut found = Violations::default();
        found.later("it");
        found.name("", format_args!("sku"));
        assert_eq!(found.finish().unwrap_err().reason, "INVALID_FIELD");
    }

    #[test]
    fn every_repeat_is_named_and_the_list_is_bounded() {
        let mut found = Violations::default();
        found.distinct(["a", "b", "a", "a"].into_iter(), "items", ".sku");
        assert_eq!(fields(found), ["items[2].sku", "items[3].sku"]);
        let mut found = Violations::default();
        (0..1_000).for_each(|number| found.name("", format_args!("lines[{number}].sku")));
        assert_eq!(fields(found).len(), VIOLATIONS_MAX);
    }
}
