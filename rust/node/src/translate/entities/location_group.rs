//! Location groups.

use invengine_ledger::command::Body;
use invengine_ledger::entity::LocationGroupDraft;
use invengine_ledger::{Context, EntityDraft, EntityKind, EntityValue, Handle, Ledger};
use invengine_wire::v1;

use super::super::answer::Accepted;
use super::super::check::Violations;
use super::super::command::{CommandRequest, shared_fields};
use super::super::read::{ReadAnswer, ReadRequest, View};
use super::{Draft, Entity, delete, distinct, entity_requests, get, list, upsert};
use crate::refusal::Refusal;

entity_requests! {
    METHODS of "PolicyService": LocationGroup [versions];
    upsert UpsertLocationGroupsRequest -> UpsertLocationGroupsResponse;
    get GetLocationGroupRequest { group } -> GetLocationGroupResponse { location_group } of ENTITY_BYTES_MAX;
    list ListLocationGroupsRequest -> ListLocationGroupsResponse { location_groups };
    delete DeleteLocationGroupsRequest { location_groups } -> DeleteLocationGroupsResponse;
}

impl Entity for v1::LocationGroup {
    const KIND: EntityKind = EntityKind::LocationGroups;

    fn name(&self) -> &str {
        &self.group
    }

    fn expected_version(&self) -> Option<i64> {
        self.version
    }

    fn of(ledger: &Ledger, name: &str, version: u64, value: &EntityValue) -> Self {
        let EntityValue::LocationGroup(group) = value else { return Self::default() };
        let location = |handle: &Handle| ledger.locations().name(*handle).to_owned();
        v1::LocationGroup {
            group: name.to_owned(),
            locations: group.locations.iter().map(location).collect(),
            version: Some(version as i64),
        }
    }
}

impl Draft for v1::LocationGroup {
    fn draft<'a>(&'a self, path: &str, found: &mut Violations) -> EntityDraft<'a> {
        let list = format!("{path}.locations");
        if found.count(self.locations.len(), &list) {
            for (number, name) in self.locations.iter().enumerate() {
                found.name(name, format_args!("{list}[{number}]"));
            }
            distinct(self.locations.iter().map(String::as_str), &list, "", found);
        }
        EntityDraft::LocationGroup(LocationGroupDraft {
            locations: self.locations.iter().map(String::as_str).collect(),
        })
    }
}
