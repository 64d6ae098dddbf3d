//! Pages of lists. A token names the last entry of its page, so that going on neither repeats nor leaves out what stayed,
//! whatever happened in between.
//!
//! Places are those of one history: after a restore the same place may be another entry's. So a token also carries the position
//! of the newest event that its page was read at, and is refused where that is no event of this history; its page leaves once
//! that event is durable, so that no crash makes it one. A check value binds all of it to the ledger and to the question.

use invengine_ledger::Mix;
use prost::Message;

use super::check::Violations;
use super::read::View;
use crate::methods::PAGE_BYTES_MAX;
use crate::positions::{EventPosition, Known};

const SIZE_DEFAULT: usize = 100;
const SIZE_MAX: usize = 1_000;
/// More than an entry takes beside its own bytes.
const ENTRY_PREFIX_BYTES: usize = 8;
const WRONG_TOKEN: &str =
    "the whole next_page_token of the page before, with the same filters, or empty to begin again";
const OTHER_HISTORY: &str =
    "belongs to a page read before a restore, a loss of events or several restarts: begin again without one";

/// The list that a caller asks for: its method and filters.
pub(super) struct Question(Mix);

impl Question {
    /// The list of a method; numbers and filters are never given another meaning.
    pub fn new(list: List) -> Self {
        Question(Mix::new(list as u64))
    }

    /// With a filter.
    pub fn text(self, filter: &str) -> Self {
        Question(self.0.bytes(filter.as_bytes()))
    }

    /// With a filter.
    pub fn flag(self, filter: bool) -> Self {
        Question(self.0.word(u64::from(filter)))
    }
}

/// Which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of what is listed")]
pub(super) enum List {
    Reservations = 1,
    Levels = 2,
    Items = 3,
    Locations = 4,
    Channels = 5,
}

/// The page of a list that a caller asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    /// Hash of ledger and question.
    asked: u64,
    /// The newest event of the state that it is read from.
    newest: EventPosition,
    /// Most entries.
    pub size: usize,
    /// The place of the first entry that it may have.
    pub start: u64,
}

impl Page {
    /// Reads `page_size` and `page_token`.
    pub fn new(question: Question, size: i32, token: &str, view: View<'_>, found: &mut Violations) -> Self {
        let asked = question.0.word(view.tag).short();
        let wanted = usize::try_from(size).ok().filter(|size| *size <= SIZE_MAX);
        found.require(wanted.is_some(), format_args!("page_size"), "from 0 (which means 100) to 1,000");
        let mut start = 0;
        if !token.is_empty() {
            let read = Token::read(token, asked);
            found.require(read.is_some(), format_args!("page_token"), WRONG_TOKEN);
            if let Some(token) = read {
                let is_here = view.epochs.judge(token.newest, view.newest) == Known::Here;
                found.require(is_here, format_args!("page_token"), OTHER_HISTORY);
                start = token.last.saturating_add(1);
            }
        }
        Page { asked, newest: view.newest, size: wanted.filter(|size| *size > 0).unwrap_or(SIZE_DEFAULT), start }
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
                return (taken, Token { last, newest: self.newest }.text(self.asked));
            }
            bytes += length;
            taken.push(entry);
            last = place;
        }
        (taken, String::new())
    }

    /// What an answer with this token rests on: nothing if it is the last page.
    pub fn rests_on(&self, next_page_token: &str) -> u64 {
        if next_page_token.is_empty() { 0 } else { self.newest.sequence }
    }
}

/// What a token says: place of the last entry, and the newest event when it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token {
    last: u64,
    newest: EventPosition,
}

const DIGITS: usize = 16;

impl Token {
    /// Four numbers of 16 hexadecimal digits; the last one is the check value.
    fn text(&self, asked: u64) -> String {
        let EventPosition { writer_epoch, sequence } = self.newest;
        let check = Mix::new(0).word(asked).word(self.last).word(writer_epoch).word(sequence).short();
        format!("{:016x}{writer_epoch:016x}{sequence:016x}{check:016x}", self.last)
    }

    fn read(given: &str, asked: u64) -> Option<Self> {
        let number = |place: usize| {
            let digits = given.get(place * DIGITS..(place + 1) * DIGITS)?;
            u64::from_str_radix(digits, 16).ok()
        };
        let newest = EventPosition { writer_epoch: number(1)?, sequence: number(2)? };
        let token = Token { last: number(0)?, newest };
        // Every token has one spelling.
        (token.text(asked) == given).then_some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::positions::EventEpochs;

    fn question() -> Question {
        Question::new(List::Reservations).text("order-1").flag(false)
    }

    /// The page of a ledger of which writers 1 and 5 wrote up to 10 and `sequence`.
    fn page_of(
        question: Question,
        tag: u64,
        sequence: u64,
        size: i32,
        token: &str,
    ) -> Result<Page, Vec<(String, String)>> {
        let mut epochs = EventEpochs::default();
        epochs.push(EventPosition { writer_epoch: 1, sequence: 10 });
        let epochs = epochs.claimed(5);
        let newest = epochs.newest(sequence);
        let view = View { now_ms: 0, durable_sequence: sequence, tag, epochs: &epochs, newest };
        let mut found = Violations::default();
        let page = Page::new(question, size, token, view, &mut found);
        found.finish().map(|()| page).map_err(|refusal| refusal.violations)
    }

    fn page(size: i32, token: &str) -> Result<Page, Vec<(String, String)>> {
        page_of(question(), 7, 12, size, token)
    }

    fn token(last: u64, writer_epoch: u64, sequence: u64) -> String {
        let asked = question().0.word(7).short();
        Token { last, newest: EventPosition { writer_epoch, sequence } }.text(asked)
    }

    #[test]
    fn sizes_have_their_limits() {
        assert_eq!(page(0, "").map(|page| (page.size, page.start)), Ok((100, 0)));
        assert_eq!(page(1_000, &token(31, 5, 12)).map(|page| (page.size, page.start)), Ok((1_000, 32)));
        for size in [1_001, -1] {
            assert_eq!(page(size, "").unwrap_err()[0].0, "page_size", "{size}");
        }
    }

    #[test]
    fn a_token_that_was_cut_or_altered_is_refused_wherever_it_was() {
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
    fn a_token_is_of_use_for_its_own_question_only() {
        let given = token(31, 5, 12);
        let others = [
            Question::new(List::Levels).text("order-1").flag(false),
            Question::new(List::Reservations).text("order-2").flag(false),
            Question::new(List::Reservations).text("order-1").flag(true),
            Question::new(List::Reservations).text("order-").text("1").flag(false),
        ];
        for other in others {
            assert_eq!(page_of(other, 7, 12, 1, &given).unwrap_err()[0].1, WRONG_TOKEN);
        }
        assert_eq!(page_of(question(), 8, 12, 1, &given).unwrap_err()[0].1, WRONG_TOKEN, "another ledger");
    }

    #[test]
    fn a_token_survives_a_restart_and_no_other_history() {
        for (writer_epoch, sequence, is_good) in
            [(5, 12, true), (1, 10, true), (1, 3, true), (1, 11, false), (5, 13, false), (4, 20, false), (9, 9, false)]
        {
            let found =
                page(1, &token(31, writer_epoch, sequence)).map(|page| page.start).map_err(|bad| bad[0].1.clone());
            let expected = if is_good { Ok(32) } else { Err(OTHER_HISTORY.to_owned()) };
            assert_eq!(found, expected, "{writer_epoch} {sequence}");
        }
    }

    #[test]
    fn a_page_with_a_next_one_waits_for_what_its_token_rests_on() {
        let page = page(1, "").unwrap();
        let (_, next) = page.fill([(1, String::new()), (2, String::new())].into_iter());
        assert_eq!((page.rests_on(&next), page.rests_on("")), (12, 0));
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
            assert_eq!((found.len(), next), (fit, token(fit as u64 - 1, 5, 12)), "{length}");
        }
    }
}
