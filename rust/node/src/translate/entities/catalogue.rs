//! Items, locations and channels.

use invengine_ledger::command::Body;
use invengine_ledger::entity::{Attributes, Labels, LabelsDraft, LocationType, Money};
use invengine_ledger::{Context, EntityDraft, EntityKind, EntityValue, Ledger};
use invengine_wire::v1;

use super::super::answer::Accepted;
use super::super::check::Violations;
use super::super::command::{CommandRequest, shared_fields};
use super::super::read::{ReadAnswer, ReadRequest, View};
use super::gs1;
use super::{Draft, Entity, delete, entity_requests, get, list, upsert};
use crate::refusal::Refusal;

entity_requests! {
    ITEMS of "CatalogService": Item [];
    upsert UpsertItemsRequest -> UpsertItemsResponse;
    get GetItemRequest { sku } -> GetItemResponse { item } of SMALL_ANSWER_BYTES_MAX;
    list ListItemsRequest -> ListItemsResponse { items };
    delete DeleteItemsRequest { skus } -> DeleteItemsResponse;
}

entity_requests! {
    LOCATIONS of "CatalogService": Location [];
    upsert UpsertLocationsRequest -> UpsertLocationsResponse;
    get GetLocationRequest { location } -> GetLocationResponse { location } of SMALL_ANSWER_BYTES_MAX;
    list ListLocationsRequest -> ListLocationsResponse { locations };
    delete DeleteLocationsRequest { locations } -> DeleteLocationsResponse;
}

entity_requests! {
    CHANNELS of "CatalogService": Channel [];
    upsert UpsertChannelsRequest -> UpsertChannelsResponse;
    get GetChannelRequest { channel } -> GetChannelResponse { channel } of SMALL_ANSWER_BYTES_MAX;
    list ListChannelsRequest -> ListChannelsResponse { channels };
}

/// Implements an entity that has a name for people; the rest of it is written beside.
macro_rules! labelled {
    ($message:ident $kind:ident $name:ident) => {
        impl Entity for v1::$message {
            const KIND: EntityKind = EntityKind::$kind;

            fn name(&self) -> &str {
                &self.$name
            }

            fn of(_: &Ledger, name: &str, _: u64, value: &EntityValue) -> Self {
                let EntityValue::Labels(labels) = value else { return Self::default() };
                let mut entry = Self::of_labels(labels);
                (entry.$name, entry.display_name) = (name.to_owned(), labels.display_name.to_string());
                entry
            }
        }

        impl Draft for v1::$message {
            fn draft<'a>(&'a self, path: &str, found: &mut Violations) -> EntityDraft<'a> {
                found.text(&self.display_name, format_args!("{path}.display_name"));
                EntityDraft::Labels(LabelsDraft { display_name: &self.display_name, ..self.labels(path, found) })
            }
        }
    };
}

labelled!(Item Items sku);
labelled!(Location Locations location);
labelled!(Channel Channels channel);

/// What an entry of the catalogue has besides its names.
trait Labelled: Sized {
    /// As a put says it. `path` is the path of the entry in the request.
    fn labels(&self, path: &str, found: &mut Violations) -> LabelsDraft<'_>;

    /// As it is stored.
    fn of_labels(labels: &Labels) -> Self;
}

impl Labelled for v1::Item {
    fn labels(&self, path: &str, found: &mut Violations) -> LabelsDraft<'_> {
        let gtin = gs1::gtin_14(&self.gtin);
        found.require(gtin.is_some(), format_args!("{path}.gtin"), gs1::GTIN_RULE);
        found.text(&self.item_class, format_args!("{path}.item_class"));
        let unit_value = self.unit_value.as_ref().and_then(|value| money(value, &format!("{path}.unit_value"), found));
        let attributes = if self.item_class.is_empty() && self.unit_value.is_none() {
            Attributes::None
        } else {
            Attributes::Item { class: self.item_class.as_str().into(), unit_value }
        };
        LabelsDraft { gs1: gtin.unwrap_or_default(), attributes, ..LabelsDraft::default() }
    }

    fn of_labels(labels: &Labels) -> Self {
        let (item_class, unit_value) = item_attributes(&labels.attributes);
        v1::Item { gtin: labels.gs1.to_string(), item_class, unit_value, ..Self::default() }
    }
}

impl Labelled for v1::Location {
    fn labels(&self, path: &str, found: &mut Violations) -> LabelsDraft<'_> {
        found.require(gs1::is_gln(&self.gln), format_args!("{path}.gln"), gs1::GLN_RULE);
        let kind = v1::LocationType::try_from(self.r#type);
        found.require(kind.is_ok(), format_args!("{path}.type"), "one of the types of LocationType");
        let known = LocationType::ALL.into_iter().find(|known| *known as i32 == self.r#type);
        let attributes = known.map_or(Attributes::None, Attributes::Location);
        LabelsDraft { gs1: self.gln.as_str().into(), attributes, ..LabelsDraft::default() }
    }

    fn of_labels(labels: &Labels) -> Self {
        let r#type = location_type(&labels.attributes) as i32;
        v1::Location { gln: labels.gs1.to_string(), r#type, ..Self::default() }
    }
}

impl Labelled for v1::Channel {
    fn labels(&self, _: &str, _: &mut Violations) -> LabelsDraft<'_> {
        LabelsDraft::default()
    }

    fn of_labels(_: &Labels) -> Self {
        Self::default()
    }
}

/// Class and value of an item, as messages have them.
pub(in super::super) fn item_attributes(attributes: &Attributes) -> (String, Option<v1::Money>) {
    let Attributes::Item { class, unit_value } = attributes else { return Default::default() };
    let money = |value: Money| v1::Money {
        currency_code: String::from_utf8_lossy(&value.currency).into_owned(),
        units: value.units,
        nanos: value.nanos as i32,
    };
    (class.to_string(), unit_value.map(money))
}

/// The type of a location, as messages have it.
pub(in super::super) fn location_type(attributes: &Attributes) -> v1::LocationType {
    let known = match attributes {
        Attributes::Location(kind) => v1::LocationType::try_from(*kind as i32).ok(),
        _ => None,
    };
    known.unwrap_or_default()
}

fn money(value: &v1::Money, path: &str, found: &mut Violations) -> Option<Money> {
    let currency = <[u8; 3]>::try_from(value.currency_code.as_bytes()).ok();
    let currency = currency.filter(|code| code.iter().all(u8::is_ascii_uppercase));
    let rule = "three capital letters of ISO 4217, such as EUR";
    found.require(currency.is_some(), format_args!("{path}.currency_code"), rule);
    found.require(value.units >= 0, format_args!("{path}.units"), "0 or more");
    let nanos = u32::try_from(value.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    found.require(nanos.is_some(), format_args!("{path}.nanos"), "from 0 to 999,999,999");
    Some(Money { currency: currency?, units: value.units, nanos: nanos? })
}
