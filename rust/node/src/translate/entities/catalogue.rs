//! Items, locations and channels.

use invengine_ledger::command::Body;
use invengine_ledger::entity::LabelsDraft;
use invengine_ledger::{Context, EntityDraft, EntityKind, EntityValue, Ledger};
use invengine_wire::v1;

use super::super::answer::Accepted;
use super::super::check::Violations;
use super::super::command::{CommandRequest, shared_fields};
use super::super::read::{ReadAnswer, ReadRequest, View};
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

/// Implements an entity that has a name for people and perhaps a GS1 key of so many digits.
macro_rules! labelled {
    ($message:ident $kind:ident $name:ident $($gs1:ident $digits:literal)?) => {
        impl Entity for v1::$message {
            const KIND: EntityKind = EntityKind::$kind;

            fn name(&self) -> &str {
                &self.$name
            }

            fn of(_: &Ledger, name: &str, _: u64, value: &EntityValue) -> Self {
                let EntityValue::Labels(labels) = value else { return Self::default() };
                v1::$message {
                    $name: name.to_owned(),
                    display_name: labels.display_name.to_string(),
                    $($gs1: labels.gs1.to_string(),)?
                }
            }
        }

        impl Draft for v1::$message {
            fn draft<'a>(&'a self, path: &str, found: &mut Violations) -> EntityDraft<'a> {
                found.text(&self.display_name, format_args!("{path}.display_name"));
                #[allow(unused_mut, unused_assignments, reason = "a kind may have no GS1 key")]
                let mut gs1 = "";
                $(
                    gs1 = &self.$gs1;
                    let spelled = gs1.len() == $digits && gs1.bytes().all(|byte| byte.is_ascii_digit());
                    let field = stringify!($gs1);
                    let rule = concat!(stringify!($digits), " digits");
                    found.require(gs1.is_empty() || spelled, format_args!("{path}.{field}"), rule);
                )?
                EntityDraft::Labels(LabelsDraft { display_name: &self.display_name, gs1 })
            }
        }
    };
}

labelled!(Item Items sku gtin 14);
labelled!(Location Locations location gln 13);
labelled!(Channel Channels channel);
