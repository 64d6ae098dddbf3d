//! Entities and sources.

use hashbrown::HashSet;

use crate::command::{EntityRef, Upsert};
use crate::entity::{Attributes, EntityKind, EntityValue, VersionedEntity};
use crate::event::Event;
use crate::ids::Handle;
use crate::ledger::Ledger;
use crate::name_rules::name_fault;
use crate::one_or_many::OneOrMany;
use crate::planted;
use crate::rejection::{Reason, Rejection};

impl Ledger {
    pub(crate) fn decide_upsert(
        &self,
        kind: EntityKind,
        entries: &[Upsert<'_>],
    ) -> Result<OneOrMany<Event>, Rejection> {
        let [list, field] = kind.fields();
        let entities = self.entities(kind);
        let is_new = |name: &str| entities.names().find_ever(name).is_none();
        let new = entries.iter().map(|entry| entry.name).enumerate().filter(|(_, name)| is_new(name));
        check_new_names(new, |number| format!("{list}[{number}].{field}"))?;
        if !kind.is_catalogue() {
            check_distinct(kind, entries.iter().map(|entry| entry.name))?;
        }
        let values =
            entries.iter().map(|entry| entry.value.resolve(self)).collect::<Result<Vec<EntityValue>, Rejection>>()?;
        for entry in entries {
            self.check_version(kind, entry.name, entry.expected_version)?;
        }
        if kind == EntityKind::AuthorityRules {
            let names: Vec<&str> = entries.iter().map(|entry| entry.name).collect();
            self.check_one_owner(&names, &values)?;
        }
        let put = |(entry, value): (&Upsert<'_>, EntityValue)| match value {
            EntityValue::Labels(labels) if labels.attributes != Attributes::None => {
                Event::UpsertedWithAttributes { kind, name: entry.name.into(), labels }
            }
            EntityValue::Labels(labels) if kind.is_catalogue() => {
                Event::Upserted { kind, name: entry.name.into(), display_name: labels.display_name, gs1: labels.gs1 }
            }
            value => {
                let version = entities.next_version(entry.name);
                Event::EntityPut { entity: VersionedEntity { kind, name: entry.name.into(), version, value } }
            }
        };
        Ok(entries.iter().zip(values).map(put).collect())
    }

    pub(crate) fn decide_delete(
        &self,
        kind: EntityKind,
        entries: &[EntityRef<'_>],
    ) -> Result<OneOrMany<Event>, Rejection> {
        let entities = self.entities(kind);
        let handle = |name: &str| entities.names().find(name).ok_or_else(|| kind.not_found(name));
        let handles =
            entries.iter().map(|entry| handle(entry.name)).collect::<Result<OneOrMany<Handle>, Rejection>>()?;
        check_distinct(kind, entries.iter().map(|entry| entry.name))?;
        for entry in entries {
            self.check_version(kind, entry.name, entry.expected_version)?;
        }
        if !planted::is("entity_in_use_removed") {
            self.check_unused(kind, &handles)?;
        }
        let version = |entry: &EntityRef<'_>| entities.next_version(entry.name);
        Ok(entries
            .iter()
            .zip(handles)
            .map(|(entry, handle)| Event::EntityRemoved { kind, handle, version: version(entry) })
            .collect())
    }

    /// Refuses a name that is new and may not be created, naming its field.
    pub(crate) fn check_new_name(&self, kind: EntityKind, name: &str, field: &str) -> Result<(), Rejection> {
        let is_new = self.entities(kind).names().find_ever(name).is_none();
        check_new_names(is_new.then_some((0, name)).into_iter(), |_| field.into())
    }

    /// Refuses unless the entity has the version that a command expects. One that does not exist has 0.
    pub(crate) fn check_version(&self, kind: EntityKind, name: &str, expected: Option<u64>) -> Result<(), Rejection> {
        let entities = self.entities(kind);
        let actual = if entities.names().find(name).is_some() { entities.version(name) } else { 0 };
        match expected {
            Some(expected) if expected != actual && !planted::is("entity_version_not_checked") => {
                Err(Rejection::new(Reason::StaleVersion)
                    .text("kind", kind.name())
                    .text("name", name)
                    .number("expected", expected as i64)
                    .number("actual", actual as i64))
            }
            _ => Ok(()),
        }
    }

    /// Refuses if something refers to one of these entities.
    fn check_unused(&self, kind: EntityKind, handles: &[Handle]) -> Result<(), Rejection> {
        let names = |kind| self.entities(kind).names();
        let in_use = |handle: Handle, used_by: &str| {
            let refused = Rejection::new(Reason::EntityInUse).text("kind", kind.name());
            Err(refused.text("name", names(kind).name(handle)).text("used_by", used_by))
        };
        for handle in handles {
            match kind {
                EntityKind::Items if !self.levels.of_item(*handle).is_empty() => return in_use(*handle, "level"),
                EntityKind::Locations if self.levels.count_at(*handle) > 0 => return in_use(*handle, "level"),
                // Keys and holds name it for as long as they are known, and are not searched for it.
                EntityKind::Channels => return in_use(*handle, "key"),
                EntityKind::StockTransfers if self.is_open_transfer(*handle) => {
                    return in_use(*handle, "units in transit");
                }
                _ => {}
            }
        }
        let removed: HashSet<Handle> = handles.iter().copied().collect();
        // Only the values of the other kinds refer to anything; what a stock transfer refers to has levels.
        let refers = |other: &EntityKind| !other.is_catalogue() && *other != EntityKind::StockTransfers;
        for other in EntityKind::ALL.into_iter().filter(refers) {
            for (user, value) in self.entities(other).from(0) {
                let mut used = None;
                value.for_each_reference(&mut |of_kind, handle| {
                    if of_kind == kind && removed.contains(&handle) {
                        used = Some(handle);
                    }
                });
                if let Some(handle) = used {
                    return in_use(handle, &format!("{} {}", other.name(), names(other).name(user)));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn decide_register(&self, source: &str) -> Result<OneOrMany<Event>, Rejection> {
        if self.sources.find(source).is_none() {
            check_new_names(std::iter::once((0, source)), |_| "source_id".into())?;
        }
        let last = self.sources.find(source).and_then(|handle| self.sources.get(handle)).map_or(0, |found| found.epoch);
        // Not below the writer epoch: a restored ledger has lost registrations, and must not issue their epochs again.
        let epoch = (last + 1).max(u64::from(self.epoch));
        Ok(OneOrMany::One(Event::SourceRegistered { source: source.into(), epoch }))
    }
}

/// Refuses names that may not be created, naming the field of each.
fn check_new_names<'n>(
    names: impl Iterator<Item = (usize, &'n str)>,
    field_of: impl Fn(usize) -> String,
) -> Result<(), Rejection> {
    let mut faults =
        names.filter_map(|(number, name)| name_fault(name).map(|fault| (field_of(number), fault))).peekable();
    if faults.peek().is_none() {
        return Ok(());
    }
    let refusal = Rejection::new(Reason::InvalidField);
    Err(faults.fold(refusal, |refusal, (field, fault)| refusal.text("field", &field).text("description", &fault)))
}

/// Refuses a name that comes twice: its second version would not follow from the state.
fn check_distinct<'n>(kind: EntityKind, names: impl Iterator<Item = &'n str>) -> Result<(), Rejection> {
    let [list, field] = kind.fields();
    let mut seen = HashSet::new();
    match names.enumerate().find(|(_, name)| !seen.insert(*name)) {
        Some((number, _)) => Err(Rejection::new(Reason::InvalidField)
            .text("field", &format!("{list}[{number}].{field}"))
            .text("description", "each name at most once")),
        None => Ok(()),
    }
}
