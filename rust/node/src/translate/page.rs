//! Pages of lists. A token names the last entry of its page, so that going on neither repeats nor leaves out what stayed,
//! whatever happened in between.

use prost::Message;

use super::check::Violations;
use crate::methods::PAGE_BYTES_MAX;

const SIZE_DEFAULT: usize = 100;
const SIZE_MAX: usize = 1_000;
/// More than an entry takes beside its own bytes.
const ENTRY_PREFIX_BYTES: usize = 8;

/// The page of a list that a caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Which list; its tokens are of no use for another one.
    list: char,
    /// Most entries.
    pub size: usize,
    /// The place of the first entry that it may have.
    pub start: u64,
}

impl Page {
    /// Reads `page_size` and `page_token`.
    pub fn new(list: char, size: i32, token: &str, found: &mut Violations) -> Self {
        let wanted = usize::try_from(size).ok().filter(|size| *size <= SIZE_MAX);
        found.require(wanted.is_some(), format_args!("page_size"), "from 0 (which means 100) to 1,000");
        let start = if token.is_empty() { Some(0) } else { place_after(list, token) };
        found.require(start.is_some(), format_args!("page_token"), "the next_page_token of the page before, or empty");
        let size = wanted.filter(|size| *size > 0).unwrap_or(SIZE_DEFAULT);
        Page { list, size, start: start.unwrap_or(0) }
    }

    /// The entries of the page and the token of the next one, empty if this is the last.
    ///
    /// `entries` come in the order of their places, from `start` on; one more than the page has tells that there is a next
    /// one. A page is never longer than [`PAGE_BYTES_MAX`], unless its only entry is.
    pub fn fill<T: Message>(&self, entries: impl Iterator<Item = (u64, T)>) -> (Vec<T>, String) {
        let (mut taken, mut bytes, mut last) = (Vec::new(), 0, 0);
        for (place, entry) in entries {
            let length = entry.encoded_len() + ENTRY_PREFIX_BYTES;
            if taken.len() == self.size || (bytes + length > PAGE_BYTES_MAX && !taken.is_empty()) {
                return (taken, token(self.list, last));
            }
            bytes += length;
            taken.push(entry);
            last = place;
        }
        (taken, String::new())
    }
}

fn token(list: char, last: u64) -> String {
    format!("{list}{last:x}")
}

fn place_after(list: char, given: &str) -> Option<u64> {
    let last = u64::from_str_radix(given.strip_prefix(list)?, 16).ok()?;
    // Every token has one spelling.
    if token(list, last) == given { last.checked_add(1) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(size: i32, token: &str) -> Result<Page, Vec<String>> {
        let mut found = Violations::default();
        let page = Page::new('r', size, token, &mut found);
        let fields = |bad: Vec<(String, String)>| bad.into_iter().map(|(field, _)| field).collect();
        found.finish().map(|()| page).map_err(|refusal| fields(refusal.violations))
    }

    #[test]
    fn sizes_and_tokens_have_their_limits() {
        assert_eq!(page(0, "").map(|page| (page.size, page.start)), Ok((100, 0)));
        assert_eq!(page(1_000, "r1f").map(|page| (page.size, page.start)), Ok((1_000, 32)));
        for (size, token, field) in [
            (1_001, "", "page_size"),
            (-1, "", "page_size"),
            (1, "?", "page_token"),
            (1, "l1f", "page_token"),
            (1, "r", "page_token"),
            (1, "r+1", "page_token"),
            (1, "r01", "page_token"),
            (1, "rffffffffffffffff", "page_token"),
        ] {
            assert_eq!(page(size, token), Err(vec![field.to_owned()]), "{size} {token}");
        }
    }

    #[test]
    fn pages_join_without_a_gap() {
        let all: Vec<(u64, String)> = (0..7).map(|place| (place * 3, place.to_string())).collect();
        let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = page(3, &token).unwrap();
            let (found, next) = page.fill(all.iter().filter(|(place, _)| *place >= page.start).cloned());
            seen.extend(found);
            pages += 1;
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!((seen.concat(), pages), ("0123456".to_owned(), 3));
    }

    #[test]
    fn a_page_of_long_entries_ends_early() {
        for (length, fit) in [(PAGE_BYTES_MAX / 2 - 100, 2), (PAGE_BYTES_MAX / 2, 1), (2 * PAGE_BYTES_MAX, 1)] {
            let long = "x".repeat(length);
            let (found, next) = page(1_000, "").unwrap().fill((0..9).map(|place| (place, long.clone())));
            assert_eq!((found.len(), next), (fit, token('r', fit as u64 - 1)), "{length}");
        }
    }
}
