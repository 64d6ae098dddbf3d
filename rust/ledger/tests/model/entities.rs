//! Entities and sources.

use invengine_ledger::command::{EntityRef, Upsert};
use invengine_ledger::{EntityDraft, EntityKind, Reason};

use super::{Model, Source};
use crate::harness::answers::{Outcome, Refusal};

/// The value of an entity: its texts, or the names of its parts.
pub type Value = Vec<String>;

/// What a name stands for. `value` is `None` after its deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entity {
    pub version: u64,
    pub value: Option<Value>,
}

/// All entities that ever were, in the order of their first creation.
#[derive(Clone, Debug, Default)]
pub struct Entities(Vec<(EntityKind, String, Entity)>);

impl Entities {
    /// The entity of this name, if there is one.
    pub fn get(&self, kind: EntityKind, name: &str) -> Option<&Entity> {
        self.ever(kind).find(|(known, entity)| *known == name && entity.value.is_some()).map(|(_, entity)| entity)
    }

    /// Names and entities of a kind, those that were deleted included.
    pub fn ever(&self, kind: EntityKind) -> impl Iterator<Item = (&str, &Entity)> {
        self.0.iter().filter(move |(of, ..)| *of == kind).map(|(_, name, entity)| (&**name, entity))
    }

    fn version(&self, kind: EntityKind, name: &str) -> i64 {
        self.get(kind, name).map_or(0, |entity| entity.version as i64)
    }

    pub fn change(&mut self, kind: EntityKind, name: &str, value: Option<Value>) -> u64 {
        if self.ever(kind).all(|(known, _)| known != name) {
            self.0.push((kind, name.to_owned(), Entity::default()));
        }
        let (.., entity) =
            self.0.iter_mut().find(|(of, known, _)| *of == kind && known == name).expect("it is there by now");
        let counts = value.is_none() || entity.value.is_none() || has_versions(kind);
        entity.version += u64::from(counts);
        entity.value = value;
        entity.version
    }
}

/// Whether each put of this kind leads to a new version.
fn has_versions(kind: EntityKind) -> bool {
    !matches!(kind, EntityKind::Items | EntityKind::Locations | EntityKind::Channels)
}

/// There is nothing of this name.
fn not_found(kind: EntityKind, name: &str) -> Refusal {
    match kind.unknown() {
        Reason::EntityNotFound => Refusal::new(Reason::EntityNotFound).fact("kind", kind.name()).fact("name", name),
        reason => Refusal::new(reason).fact(kind.fields()[1], name),
    }
}

impl Model {
    pub fn upsert(&mut self, kind: EntityKind, entries: &[Upsert<'_>]) -> Result<Outcome, Refusal> {
        let mut versions = Vec::new();
        let values = entries.iter().map(|entry| self.value(&entry.value)).collect::<Result<Vec<_>, _>>()?;
        for entry in entries {
            self.expect_version(kind, entry.name, entry.expected_version)?;
        }
        self.check_owners(entries)?;
        for (entry, value) in entries.iter().zip(values) {
            versions.push(self.entities.change(kind, entry.name, Some(value)));
            self.keep(entry);
            self.sequence += 1;
        }
        Ok(if has_versions(kind) { Outcome::Put(versions) } else { Outcome::Done })
    }

    fn value(&self, draft: &EntityDraft<'_>) -> Result<Value, Refusal> {
        match draft {
            EntityDraft::Labels(labels) => {
                let attributes = format!("{:?}", labels.attributes);
                Ok(vec![labels.display_name.to_owned(), labels.gs1.to_string(), attributes])
            }
            EntityDraft::LocationGroup(group) => {
                let unknown = |name: &&&str| self.entities.get(EntityKind::Locations, name).is_none();
                match group.locations.iter().find(unknown) {
                    Some(name) => Err(Refusal::new(Reason::UnknownLocation).fact("location", name)),
                    None => Ok(group.locations.iter().map(|name| (*name).to_owned()).collect()),
                }
            }
            EntityDraft::Consumer(at) => {
                Ok(vec![at.ledger.to_owned(), at.writer_epoch.to_string(), at.sequence.to_string()])
            }
            EntityDraft::SourceProfile(profile) => self.profile_value(profile),
            EntityDraft::AuthorityRule(rule) => self.rule_value(rule),
        }
    }

    pub fn delete(&mut self, kind: EntityKind, entries: &[EntityRef<'_>]) -> Result<Outcome, Refusal> {
        if let Some(entry) = entries.iter().find(|entry| self.entities.get(kind, entry.name).is_none()) {
            return Err(not_found(kind, entry.name));
        }
        for entry in entries {
            self.expect_version(kind, entry.name, entry.expected_version)?;
        }
        for entry in entries {
            if let Some(user) = self.user_of(kind, entry.name) {
                let refusal = Refusal::new(Reason::EntityInUse).fact("kind", kind.name()).fact("name", entry.name);
                return Err(refusal.fact("used_by", user));
            }
        }
        for entry in entries {
            self.entities.change(kind, entry.name, None);
            self.drop_kept(kind, entry.name);
            self.sequence += 1;
        }
        Ok(Outcome::Done)
    }

    fn user_of(&self, kind: EntityKind, name: &str) -> Option<String> {
        let has_level = self.stock.iter().any(|((sku, location), _)| match kind {
            EntityKind::Items => sku == name,
            EntityKind::Locations => location == name,
            _ => false,
        });
        if kind == EntityKind::StockTransfers {
            return self.transfers[name].is_open().then(|| "units in transit".to_owned());
        }
        if has_level || kind == EntityKind::Channels {
            return Some(if has_level { "level" } else { "key" }.to_owned());
        }
        let has = |entity: &Entity| entity.value.as_ref().is_some_and(|parts| parts.iter().any(|part| part == name));
        let mut groups = self.entities.ever(EntityKind::LocationGroups).filter(|(_, entity)| has(entity));
        let group = groups.next().filter(|_| kind == EntityKind::Locations);
        let group = group.map(|(group, _)| format!("location_group {group}"));
        group.or_else(|| self.user_of_location(name).filter(|_| kind == EntityKind::Locations))
    }

    pub fn expect_version(&self, kind: EntityKind, name: &str, expected: Option<u64>) -> Result<(), Refusal> {
        let actual = self.entities.version(kind, name);
        match expected {
            Some(expected) if expected as i64 != actual => Err(Refusal::new(Reason::StaleVersion)
                .fact("kind", kind.name())
                .fact("name", name)
                .fact("expected", expected)
                .fact("actual", actual)),
            _ => Ok(()),
        }
    }

    pub fn register(&mut self, name: &str) -> Outcome {
        self.sequence += 1;
        let source = self.sources.entry(name.to_owned()).or_default();
        let (previous_epoch, previous_sequence) = (source.epoch, source.last);
        let epoch = self.starts.max(previous_epoch + 1);
        *source = Source { epoch, ..Source::default() };
        Outcome::Registered { epoch, previous_epoch, previous_sequence }
    }
}
