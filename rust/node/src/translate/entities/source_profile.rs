//! Profiles of sources.

use invengine_ledger::authority::SourceKind;
use invengine_ledger::command::Body;
use invengine_ledger::entity::SourceProfileDraft;
use invengine_ledger::{Context, EntityDraft, EntityKind, EntityValue, Ledger};
use invengine_wire::v1;

use super::super::answer::Accepted;
use super::super::check::Violations;
use super::super::command::{CommandRequest, shared_fields};
use super::super::read::{ReadAnswer, ReadRequest, View};
use super::{Draft, Entity, delete, entity_requests, get, list, name_of, names, upsert};
use crate::refusal::Refusal;

entity_requests! {
    METHODS of "SourceService": SourceProfile [versions];
    upsert UpsertSourceProfilesRequest -> UpsertSourceProfilesResponse;
    get GetSourceProfileRequest { source_id } -> GetSourceProfileResponse { source_profile } of ENTITY_BYTES_MAX;
    list ListSourceProfilesRequest -> ListSourceProfilesResponse { source_profiles };
    delete DeleteSourceProfilesRequest { source_profiles } -> DeleteSourceProfilesResponse;
}

impl Entity for v1::SourceProfile {
    const KIND: EntityKind = EntityKind::SourceProfiles;

    fn name(&self) -> &str {
        &self.source_id
    }

    fn expected_version(&self) -> Option<i64> {
        self.version
    }

    fn of(ledger: &Ledger, name: &str, version: u64, value: &EntityValue) -> Self {
        let EntityValue::SourceProfile(profile) = value else { return Self::default() };
        v1::SourceProfile {
            source_id: name.to_owned(),
            kind: profile.kind as i32,
            channels: profile.channels.iter().map(name_of(ledger, EntityKind::Channels)).collect(),
            locations: profile.locations.iter().map(name_of(ledger, EntityKind::Locations)).collect(),
            version: Some(version as i64),
        }
    }
}

impl Draft for v1::SourceProfile {
    fn draft<'a>(&'a self, path: &str, found: &mut Violations) -> EntityDraft<'a> {
        let kind = source_kind(self.kind);
        found.require(kind.is_some(), format_args!("{path}.kind"), "one of the kinds of SourceKind");
        EntityDraft::SourceProfile(SourceProfileDraft {
            kind: kind.unwrap_or(SourceKind::Other),
            channels: names(&self.channels, &format!("{path}.channels"), found),
            locations: names(&self.locations, &format!("{path}.locations"), found),
        })
    }
}

/// The kind of this number.
pub(super) fn source_kind(number: i32) -> Option<SourceKind> {
    SourceKind::ALL.into_iter().find(|known| *known as i32 == number)
}

/// The profile of a source, if it has one.
pub(in super::super) fn of_source(ledger: &Ledger, source: &str) -> Option<v1::SourceProfile> {
    get(ledger, source).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_contract_is_one_of_the_ledger() {
        assert!(SourceKind::ALL.iter().all(|kind| v1::SourceKind::try_from(*kind as i32).is_ok()));
        let last = SourceKind::ALL.len() as i32;
        assert!(v1::SourceKind::try_from(last).is_ok() && v1::SourceKind::try_from(last + 1).is_err());
        assert_eq!((source_kind(0), source_kind(-1), source_kind(2)), (None, None, Some(SourceKind::Wms)));
    }
}
