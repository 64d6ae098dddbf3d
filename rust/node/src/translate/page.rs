//! Pages of lists. A token names the last entry of its page, so that the next page neither repeats nor omits an entry
//! that still exists, whatever happened in between.
//!
//! The place of an entry is only valid within one history: after a restore the same place may belong to another entry.
//! So a token also carries the position of the newest event when its page was read, and is refused if that event does
//! not belong to this history; its page is sent once that event is durable, so that a crash cannot invalidate it. A
//! check value binds all of it to the ledger and to the query.

use invengine_ledger::{EntityKind, StableHash};
use prost::Message;

use super::check::Violations;
use super::read::View;
use crate::positions::{EventPosition, PositionStatus};
use crate::sizes::PAGE_BYTES_MAX;

const SIZE_DEFAULT: usize = 100;
const SIZE_MAX: usize = 1_000;
/// An upper bound of what an entry takes besides its own bytes.
const ENTRY_PREFIX_BYTES: usize = 8;
const WRONG_TOKEN: &str =
    "the whole next_page_token of the page before, with the same filters, or empty to begin again";
const OTHER_HISTORY: &str =
    "belongs to a page read before a restore, a loss of events or several restarts: begin again without one";

/// Hash of the list that a caller asks for: its method and filters.
pub(super) struct ListQuery(StableHash);

impl ListQuery {
    /// The list of a method. Numbers and filters never change their meaning.
    pub fn new(list: ListKind) -> Self {
        ListQuery(StableHash::new(list as u64))
    }

    /// The list of the entities of a kind.
    pub fn entities(kind: EntityKind) -> Self {
        ListQuery(StableHash::new(FIRST_OF_ENTITIES + kind as u64))
    }

    /// Adds a filter.
    pub fn text(self, filter: &str) -> Self {
        ListQuery(self.0.bytes(filter.as_bytes()))
    }

    /// Adds a number of the query.
    pub fn number(self, number: u64) -> Self {
        ListQuery(self.0.word(number))
    }

    /// Adds a filter.
    pub fn flag(self, filter: bool) -> Self {
        ListQuery(self.0.word(u64::from(filter)))
    }
}

/// A list that has pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
#[allow(missing_docs, reason = "the names are those of what is listed")]
pub(super) enum ListKind {
    Reservations = 1,
    Levels = 2,
    PastLevels = 1 << 32,
    LevelHistory = (1 << 32) + 1,
    Sources = (1 << 32) + 2,
    Claims = (1 << 32) + 3,
    Owners = (1 << 32) + 4,
    Parked = (1 << 32) + 5,
    Waiting = (1 << 32) + 6,
    DeadLetters = (1 << 32) + 7,
}

/// The numbers from here on, up to `PastLevels`, are those of the lists of entities.
const FIRST_OF_ENTITIES: u64 = 3;

/// A request for a page of a list.
#[derive(Clone, Debug)]
pub(super) struct PageRequest {
    /// Hash of ledger and query.
    asked: u64,
    /// The newest event of the state that the page is read from.
    newest: EventPosition,
    /// Most entries.
    pub size: usize,
    /// The place of the last entry of the page before; `None` for the first page.
    pub last: Option<u64>,
    /// What the page before left for this one, if the list needs anything.
    pub carried: Vec<u64>,
}

impl PageRequest {
    /// Reads `page_size` and `page_token`.
    pub fn new(list_query: ListQuery, size: i32, token: &str, view: View<'_>, found: &mut Violations) -> Self {
        let asked = list_query.0.word(view.tag).short();
        let wanted = usize::try_from(size).ok().filter(|size| *size <= SIZE_MAX);
        found.require(wanted.is_some(), format_args!("page_size"), "from 0 (which means 100) to 1,000");
        let (mut last, mut carried) = (None, Vec::new());
        if !token.is_empty() {
            let read = PageToken::read(token, asked);
            found.require(read.is_some(), format_args!("page_token"), WRONG_TOKEN);
            if let Some(token) = read {
                let is_here = view.epochs.classify(token.newest, view.newest) == PositionStatus::InHistory;
                found.require(is_here, format_args!("page_token"), OTHER_HISTORY);
                (last, carried) = (Some(token.last), token.carried);
            }
        }
        let size = wanted.filter(|size| *size > 0).unwrap_or(SIZE_DEFAULT);
        PageRequest { asked, newest: view.newest, size, last, carried }
    }

    /// The first place from which entries may be returned, where places rise.
    pub fn start(&self) -> u64 {
        self.last.map_or(0, |last| last.saturating_add(1))
    }

    /// Returns the entries of the page and the token of the next one, which is empty if this is the last.
    ///
    /// `entries` must be in the order of their places, from `start` on; if there is one more than the page holds, there
    /// is a next page. A page is never longer than [`PAGE_BYTES_MAX`], unless its only entry is.
    pub fn fill<T: Message>(&self, entries: impl Iterator<Item = (u64, T)>) -> (Vec<T>, String) {
        let (taken, last) = self.take(entries);
        (taken, last.map_or_else(String::new, |last| self.token(last, Vec::new())))
    }

    /// Returns the entries of the page, and the place of the last one if more follow.
    pub fn take<T: Message>(&self, entries: impl Iterator<Item = (u64, T)>) -> (Vec<T>, Option<u64>) {
        let (mut taken, mut bytes, mut last) = (Vec::new(), 0, None);
        for (place, entry) in entries {
            let length = entry.encoded_len() + ENTRY_PREFIX_BYTES;
            if taken.len() == self.size || (bytes + length > PAGE_BYTES_MAX && !taken.is_empty()) {
                return (taken, last);
            }
            bytes += length;
            taken.push(entry);
            last = Some(place);
        }
        (taken, None)
    }

    /// The token of the page after this place.
    pub fn token(&self, last: u64, carried: Vec<u64>) -> String {
        PageToken { last, newest: self.newest, carried }.text(self.asked)
    }

    /// The sequence that an answer with this token depends on; 0 if it is the last page.
    pub fn depends_on(&self, next_page_token: &str) -> u64 {
        if next_page_token.is_empty() { 0 } else { self.newest.sequence }
    }
}

/// The content of a token: the place of the last entry, the newest event when it was issued, and what the next page needs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PageToken {
    last: u64,
    newest: EventPosition,
    carried: Vec<u64>,
}

const DIGITS: usize = 16;
/// Most numbers that a token carries for the next page.
const CARRIED_MAX: usize = 32;

impl PageToken {
    /// Numbers of 16 hexadecimal digits; the last one is the check value.
    fn text(&self, asked: u64) -> String {
        let EventPosition { writer_epoch, sequence } = self.newest;
        let numbers = || [self.last, writer_epoch, sequence].into_iter().chain(self.carried.iter().copied());
        let check = numbers().fold(StableHash::new(0).word(asked), StableHash::word).short();
        numbers().chain([check]).map(|number| format!("{number:016x}")).collect()
    }

    fn read(given: &str, asked: u64) -> Option<Self> {
        let number = |place: usize| {
            let digits = given.get(place * DIGITS..(place + 1) * DIGITS)?;
            u64::from_str_radix(digits, 16).ok()
        };
        let newest = EventPosition { writer_epoch: number(1)?, sequence: number(2)? };
        let carried = (given.len() / DIGITS).checked_sub(4).filter(|count| *count <= CARRIED_MAX)?;
        let carried = (3..3 + carried).map(number).collect::<Option<_>>()?;
        let token = PageToken { last: number(0)?, newest, carried };
        // Every token has exactly one spelling.
        (token.text(asked) == given).then_some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::positions::EventEpochs;

    fn list_query() -> ListQuery {
        ListQuery::new(ListKind::Reservations).text("order-1").flag(false)
    }

    /// A page request to a ledger whose writers 1 and 5 wrote up to 10 and up to `sequence`.
    fn page_of(
        list_query: ListQuery,
        tag: u64,
        sequence: u64,
        size: i32,
        token: &str,
    ) -> Result<PageRequest, Vec<(String, String)>> {
        let mut epochs = EventEpochs::default();
        epochs.push(EventPosition { writer_epoch: 1, sequence: 10 });
        let epochs = epochs.claimed(5);
        let newest = epochs.newest(sequence);
        let view = View { now_ms: 0, durable_sequence: sequence, tag, epochs: &epochs, newest };
        let mut found = Violations::default();
        let page = PageRequest::new(list_query, size, token, view, &mut found);
        found.finish().map(|()| page).map_err(|refusal| refusal.violations)
    }

    fn page(size: i32, token: &str) -> Result<PageRequest, Vec<(String, String)>> {
        page_of(list_query(), 7, 12, size, token)
    }

    fn token(last: u64, writer_epoch: u64, sequence: u64) -> String {
        let asked = list_query().0.word(7).short();
        let newest = EventPosition { writer_epoch, sequence };
        PageToken { last, newest, carried: Vec::new() }.text(asked)
    }

    #[test]
    fn sizes_have_their_limits() {
        assert_eq!(page(0, "").map(|page| (page.size, page.start())), Ok((100, 0)));
        assert_eq!(page(1_000, &token(31, 5, 12)).map(|page| (page.size, page.start())), Ok((1_000, 32)));
        for size in [1_001, -1] {
            assert_eq!(page(size, "").unwrap_err()[0].0, "page_size", "{size}");
        }
    }

    #[test]
    fn a_token_that_was_cut_or_altered_anywhere_is_refused() {
        let whole = token(31, 5, 12);
        assert!(page(1, &whole).is_ok());
        let refused = |given: &str| {
            assert_eq!(page(1, given).unwrap_err(), [("page_token".into(), WRONG_TOKEN.into())], "{given}")
        };
        for end in 1..whole.len() {
            refused(&whole[..end]);
            refused(&whole[end..]);
        }
        for place in 0..whole.len() {
            for other in ["0", "1", "f", "F", "+", " ", "\u{e9}"] {
                let altered = format!("{}{other}{}", &whole[..place], &whole[place + 1..]);
                if altered != whole {
                    refused(&altered);
                }
            }
        }
        refused(&format!("{whole}0"));
        refused("?");
    }

    #[test]
    fn a_token_is_valid_for_its_own_query_only() {
        let given = token(31, 5, 12);
        let others = [
            ListQuery::new(ListKind::Levels).text("order-1").flag(false),
            ListQuery::new(ListKind::Reservations).text("order-2").flag(false),
            ListQuery::new(ListKind::Reservations).text("order-1").flag(true),
            ListQuery::new(ListKind::Reservations).text("order-").text("1").flag(false),
        ];
        for other in others {
            assert_eq!(page_of(other, 7, 12, 1, &given).unwrap_err()[0].1, WRONG_TOKEN);
        }
        assert_eq!(page_of(list_query(), 8, 12, 1, &given).unwrap_err()[0].1, WRONG_TOKEN, "another ledger");
    }

    #[test]
    fn a_token_survives_a_restart_and_is_refused_by_another_history() {
        for (writer_epoch, sequence, is_good) in
            [(5, 12, true), (1, 10, true), (1, 3, true), (1, 11, false), (5, 13, false), (4, 20, false), (9, 9, false)]
        {
            let found =
                page(1, &token(31, writer_epoch, sequence)).map(|page| page.start()).map_err(|bad| bad[0].1.clone());
            let expected = if is_good { Ok(32) } else { Err(OTHER_HISTORY.to_owned()) };
            assert_eq!(found, expected, "{writer_epoch} {sequence}");
        }
    }

    #[test]
    fn a_token_carries_what_the_next_page_needs() {
        let first = page(1, "").unwrap();
        for carried in [vec![], vec![7, u64::MAX, 0], vec![1; CARRIED_MAX]] {
            let next = page(1, &first.token(31, carried.clone())).unwrap();
            assert_eq!((next.last, next.carried), (Some(31), carried));
        }
        assert_eq!(page(1, &first.token(31, vec![1; CARRIED_MAX + 1])).unwrap_err()[0].1, WRONG_TOKEN);
    }

    #[test]
    fn a_page_with_a_next_one_depends_on_the_event_of_its_token() {
        let page = page(1, "").unwrap();
        let (_, next) = page.fill([(1, String::new()), (2, String::new())].into_iter());
        assert_eq!((page.depends_on(&next), page.depends_on("")), (12, 0));
    }

    #[test]
    fn pages_join_without_a_gap() {
        let all: Vec<(u64, String)> = (0..7).map(|place| (place * 3, place.to_string())).collect();
        let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = page(3, &token).unwrap();
            let (found, next) = page.fill(all.iter().filter(|(place, _)| *place >= page.start()).cloned());
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
            assert_eq!((found.len(), next), (fit, token(fit as u64 - 1, 5, 12)), "{length}");
        }
    }
}
