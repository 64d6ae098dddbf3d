//! Questions about the past: the state at a moment, and what changed a level.

use invengine_ledger::{Handle, Ledger, LevelFigures, LevelIndex, Quantities, RecordReader};
use invengine_wire::v1;
use invengine_wire::v1::get_state_at_request::{At, Wanted};

use super::check::Violations;
use super::context::time_ms;
use super::event_filter::EventFilter;
use super::events::events;
use super::page::{ListKind, ListQuery, PageRequest};
use super::read::{View, checked, item, location};
use super::read_stock::{level_at, level_page};
use super::shape;
use crate::positions::EventPosition;
use crate::refusal::Refusal;

/// A moment of the past, as a caller names it.
#[derive(Clone, Debug)]
pub(crate) enum Moment {
    /// After the command that wrote this event.
    Sequence(u64),
    /// The same, if the event is in this history.
    Position(v1::JournalPosition),
    /// After the last event up to this time, ms.
    Time(i64),
}

/// A question about the state at a moment.
#[derive(Debug)]
pub(crate) struct StateQuestion {
    /// The moment.
    pub at: Moment,
    wanted: WantedLevels,
}

#[derive(Debug)]
enum WantedLevels {
    One(v1::LevelName),
    Page(v1::LevelPage, PageRequest),
}

impl StateQuestion {
    /// Checks a request.
    ///
    /// # Errors
    /// A field is invalid.
    pub fn of(request: v1::GetStateAtRequest, view: View<'_>) -> Result<Self, Refusal> {
        checked(|found| {
            let at = moment(request.at, found);
            let (query, level) =
                (ListQuery::new(ListKind::PastLevels), "a level or levels: what of that state is wanted");
            let wanted = match request.wanted {
                Some(Wanted::Level(level)) => {
                    check_level(&level.sku, &level.location, "level.", found);
                    WantedLevels::One(level)
                }
                Some(Wanted::Levels(levels)) => {
                    found.text(&levels.sku, format_args!("levels.sku"));
                    found.text(&levels.location, format_args!("levels.location"));
                    let query = of_moment(query, &at).text(&levels.sku).text(&levels.location);
                    let page = PageRequest::new(query, levels.page_size, &levels.page_token, view, found);
                    WantedLevels::Page(levels, page)
                }
                None => {
                    found.require(false, format_args!("wanted"), level);
                    WantedLevels::One(v1::LevelName::default())
                }
            };
            StateQuestion { at, wanted }
        })
    }

    /// The answer from the state at its moment, whose time is `time_ms`.
    ///
    /// # Errors
    /// A name was unknown then.
    pub fn answer(&self, ledger: &Ledger, time_ms: Option<i64>) -> Result<v1::GetStateAtResponse, Refusal> {
        // Without a time there is no event yet, and so no hold.
        let now_ms = time_ms.unwrap_or(i64::MIN);
        let (levels, next_page_token) = match &self.wanted {
            WantedLevels::One(level) => (vec![level_at(ledger, &level.sku, &level.location, now_ms)?], String::new()),
            WantedLevels::Page(levels, page) => level_page(ledger, (&levels.sku, &levels.location), page, now_ms)?,
        };
        let position = Some(v1::JournalPosition {
            ledger: ledger.name().to_owned(),
            writer_epoch: if ledger.sequence() == 0 { 0 } else { ledger.epoch() as i64 },
            sequence: ledger.sequence() as i64,
        });
        Ok(v1::GetStateAtResponse { position, time: time_ms.map(shape::timestamp), levels, next_page_token })
    }
}

fn moment(at: Option<At>, found: &mut Violations) -> Moment {
    match at {
        Some(At::Sequence(sequence)) => {
            let good = found.require(sequence >= 0, format_args!("sequence"), "must be 0 or more");
            Moment::Sequence(if good { sequence as u64 } else { 0 })
        }
        Some(At::Position(position)) => Moment::Position(position),
        Some(At::Time(time)) => Moment::Time(time_ms(time, format_args!("time"), found).unwrap_or(0)),
        None => {
            found.require(false, format_args!("at"), "a sequence, a position or a time: the moment to look at");
            Moment::Sequence(0)
        }
    }
}

/// The query with its moment: a page token is valid for one state only.
fn of_moment(query: ListQuery, at: &Moment) -> ListQuery {
    match at {
        Moment::Sequence(sequence) => query.number(1).number(*sequence),
        Moment::Position(position) => {
            query.number(2).number(position.writer_epoch as u64).number(position.sequence as u64)
        }
        Moment::Time(ms) => query.number(3).number(*ms as u64),
    }
}

fn check_level(sku: &str, location: &str, prefix: &str, found: &mut Violations) {
    found.name(sku, format_args!("{prefix}sku"));
    found.name(location, format_args!("{prefix}location"));
}

/// A question about what changed a level.
pub(crate) struct HistoryQuestion {
    sku: String,
    location: String,
    page: PageRequest,
}

/// Where the page before ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HistoryPlace {
    /// The events before this one are still to be listed.
    pub before: u64,
    /// The quantities before that event, by events alone; `None` if they are unknown.
    pub figures: Option<LevelFigures>,
}

/// One change of a level, as it was found in the journal.
pub(crate) struct FoundChange {
    /// The event's position.
    pub at: EventPosition,
    /// Time of its record.
    pub time_ms: i64,
    /// The record with nothing but this event and its lines of this level, as the payload of a frame of this time.
    pub payload: Vec<u8>,
    /// The quantities before and after it, where they are known.
    pub before: Option<LevelFigures>,
    /// As `before`.
    pub after: Option<LevelFigures>,
}

impl HistoryQuestion {
    /// Checks a request.
    ///
    /// # Errors
    /// A field is invalid.
    pub fn of(request: v1::ListInventoryHistoryRequest, view: View<'_>) -> Result<Self, Refusal> {
        checked(|found| {
            check_level(&request.sku, &request.location, "", found);
            let query = ListQuery::new(ListKind::LevelHistory).text(&request.sku).text(&request.location);
            let page = PageRequest::new(query, request.page_size, &request.page_token, view, found);
            HistoryQuestion { sku: request.sku, location: request.location, page }
        })
    }

    /// The level; `None` if nothing was ever recorded there.
    ///
    /// # Errors
    /// A name is unknown.
    pub fn level(&self, ledger: &Ledger) -> Result<Option<LevelIndex>, Refusal> {
        let (sku, place): (Handle, Handle) = (item(ledger, &self.sku)?, location(ledger, &self.location)?);
        Ok(ledger.find_level(sku, place))
    }

    /// Most lines of the page.
    pub fn size(&self) -> usize {
        self.page.size
    }

    /// Where the page before ended; `None` for the first page.
    pub fn place(&self, level: LevelIndex) -> Option<HistoryPlace> {
        let before = self.page.last?;
        Some(HistoryPlace { before, figures: figures_of(level, &self.page.carried) })
    }

    /// The answer: the lines that fit, and the token that continues after them, or else at `next`.
    pub fn answer(
        &self,
        lines: Vec<(FoundChange, v1::InventoryHistoryLine)>,
        next: Option<HistoryPlace>,
        (ledger, first_sequence): (&str, u64),
    ) -> v1::ListInventoryHistoryResponse {
        let places: Vec<_> =
            lines.iter().map(|(found, _)| HistoryPlace { before: found.at.sequence, figures: found.before }).collect();
        let (lines, cut) = self.page.take(lines.into_iter().map(|(found, line)| (found.at.sequence, line)));
        let next = if cut.is_some() { places.get(lines.len() - 1).copied() } else { next };
        let next_page_token =
            next.map_or_else(String::new, |place| self.page.token(place.before, carried(place.figures.as_ref())));
        let first_sequence = if next.is_some() { 0 } else { first_sequence as i64 };
        v1::ListInventoryHistoryResponse { lines, next_page_token, first_sequence, ledger: ledger.to_owned() }
    }
}

impl FoundChange {
    /// The line, with the names of the ledger. `None` if the event cannot be read again, which is a bug.
    pub fn shaped(&self, ledger: &Ledger) -> Option<v1::InventoryHistoryLine> {
        let record = RecordReader::new(&self.payload, self.time_ms).ok()?.next().ok()??;
        let EventPosition { writer_epoch, sequence } = self.at;
        let event = events(ledger, &record, &EventFilter::default(), sequence, sequence, writer_epoch).next();
        let level = |figures: &Option<LevelFigures>| figures.as_ref().map(|figures| shape::level(ledger, figures));
        Some(v1::InventoryHistoryLine { event, before: level(&self.before), after: level(&self.after) })
    }
}

/// The quantities as numbers of a token.
fn carried(figures: Option<&LevelFigures>) -> Vec<u64> {
    let Some(figures) = figures else { return Vec::new() };
    [figures.reserved, figures.allocated]
        .into_iter()
        .chain(figures.stock.all_alone())
        .map(|units| units as u64)
        .collect()
}

fn figures_of(level: LevelIndex, carried: &[u64]) -> Option<LevelFigures> {
    let units: Vec<i64> = carried.iter().map(|units| *units as i64).collect();
    let (&[reserved, allocated], stock) = units.split_first_chunk()?;
    Some(LevelFigures { level, stock: Quantities::of_alone(stock)?, reserved, allocated })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_survive_a_token() {
        let stock = Quantities::of_alone(&[5, 1, 0, -2, 4]).expect("five states");
        let figures = LevelFigures { level: 7, stock, reserved: 3, allocated: i64::MAX };
        assert_eq!(figures_of(7, &carried(Some(&figures))), Some(figures));
        assert_eq!(figures_of(7, &carried(None)), None, "unknown");
    }
}
