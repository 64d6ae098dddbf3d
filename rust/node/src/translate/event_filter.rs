//! Which events a reader wants. Conditions are checked on events as the journal has them, so that one that nobody wants is
//! never translated.

use std::collections::HashSet;

use invengine_ledger::stock_transfer::Route;
use invengine_ledger::{EntityKind, Event, Ledger, Origin, Record};
use invengine_wire::v1;
use prost::Message;

use super::check::Violations;
use crate::refusal::Refusal;

/// Most entries of each list.
const ENTRIES_MAX: usize = 100;
/// The names of facts that the contract does not take from the event.
const ITEM_UPSERTED: &str = "item_upserted";
const LOCATION_UPSERTED: &str = "location_upserted";
const CHANNEL_UPSERTED: &str = "channel_upserted";

/// Events whose facts have other names.
const RENAMED: [&str; 3] = ["reacquired", "upserted", "upserted_with_attributes"];

/// The conditions of a reader. The default has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    types: OneOf,
    skus: OneOf,
    locations: OneOf,
    channels: OneOf,
    source_ids: OneOf,
    order_refs: OneOf,
    keys: OneOf,
    not_caused_by: Option<Senders>,
    without_consumers: bool,
}

/// A list of a filter: one of these, or anything if it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OneOf(HashSet<String>);

/// Senders of commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Senders {
    channels: OneOf,
    source_ids: OneOf,
    actors: OneOf,
}

impl OneOf {
    fn new(entries: Vec<String>, field: &str, found: &mut Violations) -> Self {
        if found.require(entries.len() <= ENTRIES_MAX, format_args!("{field}"), "at most 100 entries") {
            for (number, entry) in entries.iter().enumerate() {
                let path = format_args!("{field}[{number}]");
                if found.require(!entry.is_empty(), path, "1 to 128 printable characters") {
                    found.text(entry, format_args!("{field}[{number}]"));
                }
            }
        }
        OneOf(entries.into_iter().collect())
    }

    fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    fn has(&self, text: &str) -> bool {
        !text.is_empty() && self.0.contains(text)
    }

    /// True if the list is open or has this text; what does not say it (`""`) is only in an open list.
    fn admits(&self, text: &str) -> bool {
        self.is_open() || self.has(text)
    }
}

impl EventFilter {
    /// The filter that a reader asks for.
    ///
    /// # Errors
    /// A type is unknown, or an entry or the number of entries is out of bounds.
    pub fn new(asked: Option<v1::EventFilter>) -> Result<Self, Refusal> {
        let Some(asked) = asked else { return Ok(Self::default()) };
        let mut found = Violations::default();
        for (number, name) in asked.types.iter().enumerate().take(ENTRIES_MAX) {
            let rule = "the name of a fact of Event, such as reserved or stock_changed";
            found.require(is_fact(name), format_args!("filter.types[{number}]"), rule);
        }
        let mut list = |entries, field| OneOf::new(entries, field, &mut found);
        let filter = EventFilter {
            // Each name was checked already.
            types: OneOf(asked.types.iter().take(ENTRIES_MAX).cloned().collect()),
            skus: list(asked.skus, "filter.skus"),
            locations: list(asked.locations, "filter.locations"),
            channels: list(asked.channels, "filter.channels"),
            source_ids: list(asked.source_ids, "filter.source_ids"),
            order_refs: list(asked.order_refs, "filter.order_refs"),
            keys: list(asked.idempotency_keys, "filter.idempotency_keys"),
            not_caused_by: asked.not_caused_by.map(|senders| Senders {
                channels: list(senders.channels, "filter.not_caused_by.channels"),
                source_ids: list(senders.source_ids, "filter.not_caused_by.source_ids"),
                actors: list(senders.actors, "filter.not_caused_by.actors"),
            }),
            without_consumers: asked.without_consumers,
        };
        found.require(asked.types.len() <= ENTRIES_MAX, format_args!("filter.types"), "at most 100 entries");
        found.finish()?;
        Ok(filter)
    }

    /// The same from the bytes of the message; none are no conditions.
    ///
    /// # Errors
    /// As [`EventFilter::new`], or the bytes are no such message.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        Self::new(Some(v1::EventFilter::decode(bytes).map_err(|_| Refusal::malformed())?))
    }

    /// False if certainly no event of the record matches, as far as that can be said without the ledger.
    pub fn may_want(&self, record: &Record<'_>) -> bool {
        let command = record.origin.as_ref();
        let has_order = self.order_refs.admits(command.map_or("", |origin| origin.order_ref));
        let has_key = self.keys.admits(command.map_or("", |origin| origin.key));
        let has_type = self.types.is_open() || record.events.iter().any(|event| self.types.has(fact_name(event)));
        has_order && has_key && has_type
    }

    /// Says which events of a record match.
    pub fn of_record<'f>(&'f self, ledger: &'f Ledger, record: &Record<'_>) -> impl Fn(&Event) -> bool + use<'f> {
        let origin = record.origin.unwrap_or_default();
        let (channel, source) = (channel_name(ledger, &origin), source_name(ledger, &origin));
        let fits = self.channels.admits(channel)
            && self.source_ids.admits(source)
            && self.order_refs.admits(origin.order_ref)
            && self.keys.admits(origin.key);
        let is_echo = self.not_caused_by.as_ref().is_some_and(|senders| {
            senders.channels.has(channel) || senders.source_ids.has(source) || senders.actors.has(origin.actor)
        });
        move |event| {
            fits && self.types.admits(fact_name(event))
                && (!is_echo || matches!(event, Event::Expired { .. }))
                && !(self.without_consumers && is_of_consumer(event))
                && self.has_place(ledger, event)
        }
    }

    /// True if the event is about one of the items at one of the locations, or does not say what it is about.
    fn has_place(&self, ledger: &Ledger, event: &Event) -> bool {
        if self.skus.is_open() && self.locations.is_open() {
            return true;
        }
        let item = |handle| ledger.items().name(handle);
        let place = |handle| ledger.locations().name(handle);
        let is_wanted = |sku, location| self.skus.admits(sku) && self.locations.admits(location);
        let is_at_an_end = |sku, route: &Route| {
            [route.origin, route.destination].into_iter().any(|location| is_wanted(item(sku), place(location)))
        };
        match event {
            Event::Extended { .. } => true,
            Event::StockChanged { item: sku, location, .. }
            | Event::StockMoved { item: sku, location, .. }
            | Event::ClaimMade { item: sku, location, .. } => is_wanted(item(*sku), place(*location)),
            Event::TransferShipped { route, lines, .. } | Event::TransferClosed { route, lines, .. } => {
                lines.iter().any(|line| is_at_an_end(line.item, route))
            }
            Event::TransferReceived { route, lines, .. } => lines.iter().any(|line| is_at_an_end(line.item, route)),
            Event::Upserted { kind, name, .. } | Event::UpsertedWithAttributes { kind, name, .. } => match kind {
                EntityKind::Items => is_wanted(name, ""),
                EntityKind::Locations => is_wanted("", name),
                _ => false,
            },
            Event::EntityRemoved { kind: EntityKind::Items, handle, .. } => is_wanted(item(*handle), ""),
            Event::EntityRemoved { kind: EntityKind::Locations, handle, .. } => is_wanted("", place(*handle)),
            Event::EntityPut { .. } | Event::EntityRemoved { .. } => !is_of_consumer(event),
            _ => event.lines().units().any(|line| {
                let (sku, location) = ledger.level_names(line.level);
                let is_target = |to| is_wanted(sku, place(to));
                is_wanted(sku, location)
                    || matches!(event, Event::Transferred { to_location, .. } if is_target(*to_location))
            }),
        }
    }
}

/// The name of the channel that sent a command; empty if there is none.
pub(super) fn channel_name<'a>(ledger: &'a Ledger, origin: &Origin<'a>) -> &'a str {
    origin.channel.map_or(origin.unknown_channel, |channel| ledger.channels().name(channel))
}

/// The name of the source that sent a command; empty if there is none.
pub(super) fn source_name<'a>(ledger: &'a Ledger, origin: &Origin<'_>) -> &'a str {
    origin.source.map_or("", |position| ledger.source_name(position.source))
}

fn is_of_consumer(event: &Event) -> bool {
    match event {
        Event::EntityPut { entity } => entity.kind == EntityKind::Consumers,
        Event::EntityRemoved { kind, .. } => *kind == EntityKind::Consumers,
        _ => false,
    }
}

/// The name of the fact that readers see: the field of the contract's `Event`.
fn fact_name(event: &Event) -> &'static str {
    match event {
        Event::Reacquired { .. } => "allocated",
        Event::Upserted { kind, .. } | Event::UpsertedWithAttributes { kind, .. } => match kind {
            EntityKind::Items => ITEM_UPSERTED,
            EntityKind::Locations => LOCATION_UPSERTED,
            _ => CHANNEL_UPSERTED,
        },
        other => other.name(),
    }
}

fn is_fact(name: &str) -> bool {
    Event::NAMES.contains(&name) && !RENAMED.contains(&name)
        || [ITEM_UPSERTED, LOCATION_UPSERTED, CHANNEL_UPSERTED].contains(&name)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn fields_of(asked: v1::EventFilter) -> Vec<String> {
        let refusal = EventFilter::new(Some(asked)).expect_err("a bad filter");
        assert_eq!(refusal.reason, "INVALID_FIELD");
        refusal.violations.into_iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn every_fact_of_the_contract_has_a_name_and_nothing_else_has() {
        let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protos/invengine/v1/journal_service.proto");
        let text = fs::read_to_string(proto).unwrap();
        let facts = text.split("oneof fact {").nth(1).unwrap().split("\n  }").next().unwrap();
        let lines = facts.lines().filter_map(|line| line.trim().split(" = ").next()?.split_once(' '));
        let declared: Vec<&str> = lines.filter(|(kind, _)| *kind != "//").map(|(_, name)| name).collect();
        assert_eq!(declared.len(), Event::NAMES.len() - RENAMED.len() + 3);
        assert!(declared.iter().all(|name| is_fact(name)), "{declared:?}");
        assert!(["", "reacquired", "upserted", "Reserved", "expire"].iter().all(|name| !is_fact(name)));
    }

    #[test]
    fn entries_and_their_number_are_bounded() {
        let many: Vec<String> = (0..=ENTRIES_MAX).map(|number| format!("n{number}")).collect();
        let text = |text: &str| vec![text.to_owned()];
        let senders = v1::CommandOrigins { actors: text(""), channels: many.clone(), ..Default::default() };
        assert_eq!(
            fields_of(v1::EventFilter {
                types: text("sold"),
                skus: many.clone(),
                locations: text("a\n"),
                order_refs: text(&"x".repeat(129)),
                not_caused_by: Some(senders),
                ..Default::default()
            }),
            [
                "filter.types[0]",
                "filter.skus",
                "filter.locations[0]",
                "filter.order_refs[0]",
                "filter.not_caused_by.channels",
                "filter.not_caused_by.actors[0]"
            ]
        );
        let types = vec!["reserved".to_owned(); ENTRIES_MAX + 1];
        assert_eq!(fields_of(v1::EventFilter { types, ..Default::default() }), ["filter.types"]);
        let full = v1::EventFilter { skus: many[1..].to_vec(), ..Default::default() };
        assert!(EventFilter::new(Some(full)).is_ok());
        assert_eq!(EventFilter::new(Some(v1::EventFilter::default())), Ok(EventFilter::default()));
    }
}
