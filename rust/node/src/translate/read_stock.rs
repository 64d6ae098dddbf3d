//! Reads of stock.

use invengine_ledger::{Handle, Ledger, LevelIndex};
use invengine_wire::v1;
use prost::Message;

use super::check::Violations;
use super::page::{ListKind, ListQuery, PageRequest};
use super::read::{ReadAnswer, ReadRequest, View, channel, checked, item, location};
use super::shape;
use crate::refusal::Refusal;
use crate::sizes::ANSWER_BYTES_MAX;

/// Most entries of one answer about availability; a query without a location gives one entry per level of the item.
const AVAILABILITIES_MAX: usize = 20_000;
/// An upper bound of what an entry takes besides its own bytes.
const ENTRY_PREFIX_BYTES: usize = 8;
/// An upper bound of what the position of the answer takes.
const POSITION_BYTES: usize = 64;

impl ReadRequest for v1::GetAvailabilityRequest {
    fn read(&self, ledger: &Ledger, view: View<'_>) -> Result<ReadAnswer, Refusal> {
        checked(|found| check_queries(self, found))?;
        if !self.channel.is_empty() {
            channel(ledger, &self.channel)?;
        }
        let mut found = Availabilities { entries: Vec::with_capacity(self.queries.len()), bytes: POSITION_BYTES };
        for query in &self.queries {
            found.answer(query, self.allow_unknown, ledger, view.now_ms)?;
        }
        Ok(ReadAnswer::at_once(&v1::GetAvailabilityResponse {
            availabilities: found.entries,
            sequence: ledger.sequence() as i64,
            durable_sequence: view.durable_sequence as i64,
        }))
    }
}

fn check_queries(asked: &v1::GetAvailabilityRequest, found: &mut Violations) {
    found.text(&asked.channel, format_args!("channel"));
    if !found.count(asked.queries.len(), "queries") {
        return;
    }
    for (number, query) in asked.queries.iter().enumerate() {
        found.name(&query.sku, format_args!("queries[{number}].sku"));
        found.text(&query.location, format_args!("queries[{number}].location"));
        if !query.location_group.is_empty() {
            let one = query.location.is_empty();
            found.require(one, format_args!("queries[{number}].location"), "a location or a location_group, not both");
            found.later("availability of a location_group");
        }
    }
}

/// The entries of an answer about availability.
struct Availabilities {
    entries: Vec<v1::Availability>,
    bytes: usize,
}

impl Availabilities {
    fn answer(
        &mut self,
        query: &v1::AvailabilityQuery,
        allow_unknown: bool,
        ledger: &Ledger,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        let sku = match item(ledger, &query.sku) {
            Err(_) if allow_unknown => None,
            found => Some(found?),
        };
        if !query.location.is_empty() {
            let place = match location(ledger, &query.location) {
                Err(_) if allow_unknown => None,
                found => Some(found?),
            };
            let level = sku.zip(place).and_then(|(sku, place)| ledger.find_level(sku, place));
            return self.push(v1::Availability {
                sku: query.sku.clone(),
                location: query.location.clone(),
                available: level.map_or(0, |level| ledger.figures(level, now_ms).available()),
                unknown_sku: sku.is_none(),
                unknown_location: place.is_none(),
            });
        }
        let Some(sku) = sku else {
            let sku = query.sku.clone();
            return self.push(v1::Availability { sku, unknown_sku: true, ..v1::Availability::default() });
        };
        let first = self.entries.len();
        for level in ledger.levels_of_item(sku) {
            self.push(v1::Availability {
                sku: query.sku.clone(),
                location: ledger.level_names(*level).1.to_owned(),
                available: ledger.figures(*level, now_ms).available(),
                ..v1::Availability::default()
            })?;
        }
        self.entries[first..].sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok(())
    }

    /// Refuses as soon as the answer would be too long.
    fn push(&mut self, entry: v1::Availability) -> Result<(), Refusal> {
        self.bytes += entry.encoded_len() + ENTRY_PREFIX_BYTES;
        self.entries.push(entry);
        if self.entries.len() <= AVAILABILITIES_MAX && self.bytes <= ANSWER_BYTES_MAX {
            return Ok(());
        }
        let rule =
            "the answer would have more than 20,000 entries or 4 MiB; name locations, or ask for fewer items at once";
        Err(Refusal::invalid(vec![("queries".into(), rule.into())]))
    }
}

impl ReadRequest for v1::GetInventoryLevelRequest {
    fn read(&self, ledger: &Ledger, view: View<'_>) -> Result<ReadAnswer, Refusal> {
        checked(|found| {
            found.name(&self.sku, format_args!("sku"));
            found.name(&self.location, format_args!("location"));
        })?;
        let level = level_at(ledger, &self.sku, &self.location, view.now_ms)?;
        Ok(ReadAnswer::at_once(&v1::GetInventoryLevelResponse {
            level: Some(level),
            sequence: ledger.sequence() as i64,
            durable_sequence: view.durable_sequence as i64,
        }))
    }
}

impl ReadRequest for v1::ListInventoryLevelsRequest {
    fn read(&self, ledger: &Ledger, view: View<'_>) -> Result<ReadAnswer, Refusal> {
        let page = checked(|found| {
            found.text(&self.sku, format_args!("sku"));
            found.text(&self.location, format_args!("location"));
            let list_query = ListQuery::new(ListKind::Levels).text(&self.sku).text(&self.location);
            PageRequest::new(list_query, self.page_size, &self.page_token, view, found)
        })?;
        let (levels, next_page_token) = level_page(ledger, (&self.sku, &self.location), &page, view.now_ms)?;
        let depends_on = page.depends_on(&next_page_token);
        Ok(ReadAnswer::dependent_on(
            depends_on,
            &v1::ListInventoryLevelsResponse {
                levels,
                next_page_token,
                sequence: ledger.sequence() as i64,
                durable_sequence: view.durable_sequence as i64,
            },
        ))
    }
}

/// One level at a time; without quantities if nothing was ever recorded there.
pub(super) fn level_at(
    ledger: &Ledger,
    sku: &str,
    location_name: &str,
    now_ms: i64,
) -> Result<v1::InventoryLevel, Refusal> {
    let level = ledger.find_level(item(ledger, sku)?, location(ledger, location_name)?);
    let nothing = || v1::InventoryLevel {
        sku: sku.to_owned(),
        location: location_name.to_owned(),
        ..v1::InventoryLevel::default()
    };
    Ok(level.map_or_else(nothing, |level| shape::level(ledger, &ledger.figures(level, now_ms))))
}

/// A page of levels at a time, of an item, at a location, or of all; and the token of the next page.
pub(super) fn level_page(
    ledger: &Ledger,
    (sku, place): (&str, &str),
    page: &PageRequest,
    now_ms: i64,
) -> Result<(Vec<v1::InventoryLevel>, String), Refusal> {
    let sku = if sku.is_empty() { None } else { Some(item(ledger, sku)?) };
    let place = if place.is_empty() { None } else { Some(location(ledger, place)?) };
    let shaped = |level: LevelIndex| (u64::from(level), shape::level(ledger, &ledger.figures(level, now_ms)));
    Ok(page.fill(chosen(ledger, sku, place, page.start()).map(shaped)))
}

/// Levels in the order in which they were first recorded, which is that of their indices.
fn chosen(
    ledger: &Ledger,
    sku: Option<Handle>,
    place: Option<Handle>,
    start: u64,
) -> Box<dyn Iterator<Item = LevelIndex> + '_> {
    let here = move |level: &LevelIndex| {
        place.is_none_or(|place| ledger.level(*level).is_some_and(|found| found.location == place))
    };
    let first = LevelIndex::try_from(start).unwrap_or(LevelIndex::MAX);
    match sku {
        Some(sku) => {
            Box::new(ledger.levels_of_item(sku).iter().copied().filter(move |level| *level >= first).filter(here))
        }
        None => Box::new((first..ledger.level_count() as LevelIndex).filter(here)),
    }
}
