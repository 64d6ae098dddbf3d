//! Entries of the catalogue and registrations of sources.

use invengine_ledger::Context;
use invengine_ledger::command::{Body, Catalogue, Upsert};
use invengine_wire::v1;

use super::answer::Accepted;
use super::check::Violations;
use super::command::{CommandRequest, shared_fields};

const GTIN_DIGITS: usize = 14;
const GLN_DIGITS: usize = 13;

impl CommandRequest for v1::UpsertItemsRequest {
    type Answer = v1::UpsertItemsResponse;

    shared_fields!();

    fn body<'a>(&'a self, _: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        let entry = |item: &'a v1::Item| Upsert { name: &item.sku, display_name: &item.display_name, gs1: &item.gtin };
        let entries = self.items.iter().map(entry).collect();
        upsert(Catalogue::Items, entries, "gtin", GTIN_DIGITS, found)
    }

    fn answer(accepted: &Accepted<'_>) -> v1::UpsertItemsResponse {
        v1::UpsertItemsResponse { receipt: accepted.receipt(), look_alikes: accepted.look_alikes() }
    }
}

impl CommandRequest for v1::UpsertLocationsRequest {
    type Answer = v1::UpsertLocationsResponse;

    shared_fields!();

    fn body<'a>(&'a self, _: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        let entry = |place: &'a v1::Location| Upsert {
            name: &place.location,
            display_name: &place.display_name,
            gs1: &place.gln,
        };
        let entries = self.locations.iter().map(entry).collect();
        upsert(Catalogue::Locations, entries, "gln", GLN_DIGITS, found)
    }

    fn answer(accepted: &Accepted<'_>) -> v1::UpsertLocationsResponse {
        v1::UpsertLocationsResponse { receipt: accepted.receipt(), look_alikes: accepted.look_alikes() }
    }
}

impl CommandRequest for v1::UpsertChannelsRequest {
    type Answer = v1::UpsertChannelsResponse;

    shared_fields!();

    fn body<'a>(&'a self, _: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        let entry =
            |channel: &'a v1::Channel| Upsert { name: &channel.channel, display_name: &channel.display_name, gs1: "" };
        let entries = self.channels.iter().map(entry).collect();
        upsert(Catalogue::Channels, entries, "", 0, found)
    }

    fn answer(accepted: &Accepted<'_>) -> v1::UpsertChannelsResponse {
        v1::UpsertChannelsResponse { receipt: accepted.receipt(), look_alikes: accepted.look_alikes() }
    }
}

impl CommandRequest for v1::RegisterSourceRequest {
    type Answer = v1::RegisterSourceResponse;

    shared_fields!();

    fn body<'a>(&'a self, context: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        let rule = "absent: a source is not registered by one of its messages";
        found.require(context.source.is_none(), format_args!("context.source"), rule);
        found.name(&self.source_id, format_args!("source_id"));
        Body::RegisterSource { source: &self.source_id }
    }

    fn answer(accepted: &Accepted<'_>) -> v1::RegisterSourceResponse {
        let [epoch, previous_epoch, previous_sequence] = accepted.registered().map(|number| number as i64);
        v1::RegisterSourceResponse {
            receipt: accepted.receipt(),
            epoch,
            previous_epoch,
            previous_sequence,
            look_alikes: accepted.look_alikes(),
        }
    }
}

fn upsert<'a>(
    catalogue: Catalogue,
    entries: Vec<Upsert<'a>>,
    gs1: &str,
    digits: usize,
    found: &mut Violations,
) -> Body<'a> {
    let [list, name] = catalogue.fields();
    if found.count(entries.len(), list) {
        for (number, entry) in entries.iter().enumerate() {
            found.name(entry.name, format_args!("{list}[{number}].{name}"));
            found.text(entry.display_name, format_args!("{list}[{number}].display_name"));
            let spelled = entry.gs1.len() == digits && entry.gs1.bytes().all(|byte| byte.is_ascii_digit());
            let rule = if digits == GTIN_DIGITS { "14 digits" } else { "13 digits" };
            found.require(entry.gs1.is_empty() || spelled, format_args!("{list}[{number}].{gs1}"), rule);
        }
        let named = entries.iter().enumerate().map(|(number, entry)| match entry.name {
            // Absent names have been reported already.
            "" => Err(number),
            name => Ok(name),
        });
        found.distinct(named, list, &format!(".{name}"));
    }
    Body::Upsert { catalogue, entries }
}
