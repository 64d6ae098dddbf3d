//! Entities of the contract: upsert, get, list and delete, written once for all kinds. A kind says how its message and its
//! value correspond; the requests of all kinds have one shape. Here is the list of the kinds.

mod authority_rule;
mod catalogue;
mod consumer;
mod gs1;
mod location_group;
mod source_profile;
mod stock_transfer;

use invengine_ledger::command::{Body, EntityRef, LINES_MAX, Upsert};
use invengine_ledger::{EntityDraft, EntityKind, EntityValue, Handle, Ledger, VersionedEntity};
use invengine_wire::v1;
use prost::Message;

use super::check::Violations;
use super::page::{ListQuery, PageRequest};
use super::read::{View, checked};
use crate::methods::Method;
use crate::refusal::Refusal;

/// The methods of each kind.
pub(crate) const METHODS: &[&[Method]] = &[
    catalogue::ITEMS,
    catalogue::LOCATIONS,
    catalogue::CHANNELS,
    location_group::METHODS,
    stock_transfer::METHODS,
    consumer::METHODS,
    source_profile::METHODS,
    authority_rule::METHODS,
];

pub(super) use catalogue::{item_attributes, location_type};
pub(super) use source_profile::of_source as source_profile;
pub(super) use stock_transfer::message as stock_transfer;

/// What an event says of the entity that it puts.
pub(super) fn entity_put(ledger: &Ledger, entity: &VersionedEntity) -> v1::EntityPut {
    use v1::entity_put::Entity as Put;
    let VersionedEntity { kind, name, version, value } = entity;
    let entity = match kind {
        // They have events of their own.
        EntityKind::Items | EntityKind::Locations | EntityKind::Channels | EntityKind::StockTransfers => None,
        EntityKind::LocationGroups => Some(Put::LocationGroup(Entity::of(ledger, name, *version, value))),
        EntityKind::Consumers => Some(Put::Consumer(Entity::of(ledger, name, *version, value))),
        EntityKind::SourceProfiles => Some(Put::SourceProfile(Entity::of(ledger, name, *version, value))),
        EntityKind::AuthorityRules => Some(Put::AuthorityRule(Entity::of(ledger, name, *version, value))),
    };
    v1::EntityPut { entity }
}

/// An entity as the contract has it.
pub(super) trait Entity: Message + Default {
    /// Its kind.
    const KIND: EntityKind;

    /// Its name.
    fn name(&self) -> &str;

    /// The version that a put expects, in the kinds that have versions.
    fn expected_version(&self) -> Option<i64> {
        None
    }

    /// The message of an entity with this version.
    fn of(ledger: &Ledger, name: &str, version: u64, value: &EntityValue) -> Self;
}

/// An entity that is put as a whole.
pub(super) trait Draft: Entity {
    /// What a put asks for. `path` is the path of the entity in the request.
    fn draft<'a>(&'a self, path: &str, found: &mut Violations) -> EntityDraft<'a>;
}

/// How a deletion names an entity.
pub(super) trait Reference {
    /// The field of its name, behind the path of the reference.
    const NAME: &'static str;

    /// Name and expected version.
    fn parts(&self) -> (&str, Option<i64>);
}

impl Reference for String {
    const NAME: &'static str = "";

    fn parts(&self) -> (&str, Option<i64>) {
        (self, None)
    }
}

impl Reference for v1::EntityReference {
    const NAME: &'static str = ".name";

    fn parts(&self) -> (&str, Option<i64>) {
        (&self.name, self.version)
    }
}

/// The body of an upsert.
fn upsert<'a, E: Draft>(entities: &'a [E], found: &mut Violations) -> Body<'a> {
    let [list, name] = E::KIND.fields();
    let mut entries = Vec::new();
    if found.count(entities.len(), list) {
        for (number, entity) in entities.iter().enumerate() {
            let path = format!("{list}[{number}]");
            found.name(entity.name(), format_args!("{path}.{name}"));
            let expected_version = version(entity.expected_version(), &path, found);
            entries.push(Upsert { name: entity.name(), expected_version, value: entity.draft(&path, found) });
        }
        distinct(entries.iter().map(|entry| entry.name), list, &format!(".{name}"), found);
    }
    Body::Upsert { kind: E::KIND, entries }
}

/// The body of a deletion. `list` is the field of the references.
fn delete<'a, R: Reference>(kind: EntityKind, list: &str, references: &'a [R], found: &mut Violations) -> Body<'a> {
    let mut entries = Vec::new();
    if found.count(references.len(), list) {
        for (number, reference) in references.iter().enumerate() {
            let path = format!("{list}[{number}]");
            let (name, expected) = reference.parts();
            found.name(name, format_args!("{path}{}", R::NAME));
            entries.push(EntityRef { name, expected_version: version(expected, &path, found) });
        }
        distinct(entries.iter().map(|entry| entry.name), list, R::NAME, found);
    }
    Body::Delete { kind, entries }
}

fn version(expected: Option<i64>, path: &str, found: &mut Violations) -> Option<u64> {
    checked_version(expected, format_args!("{path}.version"), found)
}

/// The version that a command expects of the one entity that it is about.
fn expected_version(expected: Option<i64>, found: &mut Violations) -> Option<u64> {
    checked_version(expected, format_args!("expected_version"), found)
}

fn checked_version(expected: Option<i64>, field: std::fmt::Arguments<'_>, found: &mut Violations) -> Option<u64> {
    let good = expected.is_none_or(|version| version >= 0);
    found.require(good, field, "0 or more: 0 means that there must be none; absent if any will do");
    expected.map(|version| version as u64)
}

/// Names that come twice; absent ones have been reported already.
fn distinct<'a>(names: impl ExactSizeIterator<Item = &'a str>, list: &str, field: &str, found: &mut Violations) {
    let named = names.enumerate().map(|(number, name)| if name.is_empty() { Err(number) } else { Ok(name) });
    found.distinct(named, list, field);
}

/// Names that come at most once, in an order of no meaning or of their own; their number has a bound, and may be 0.
fn names<'a>(given: &'a [String], list: &str, found: &mut Violations) -> Vec<&'a str> {
    if found.require(given.len() <= LINES_MAX, format_args!("{list}"), "at most 1,000 of them") {
        for (number, name) in given.iter().enumerate() {
            found.name(name, format_args!("{list}[{number}]"));
        }
        distinct(given.iter().map(String::as_str), list, "", found);
    }
    given.iter().map(String::as_str).collect()
}

/// The name of a handle of a kind.
fn name_of(ledger: &Ledger, kind: EntityKind) -> impl Fn(&Handle) -> String {
    move |handle| ledger.entities(kind).names().name(*handle).to_owned()
}

/// One entity, by name.
fn get<E: Entity>(ledger: &Ledger, name: &str) -> Result<E, Refusal> {
    let [_, field] = E::KIND.fields();
    checked(|found| found.name(name, format_args!("{field}")))?;
    let entities = ledger.entities(E::KIND);
    let found = entities.names().find(name).and_then(|handle| Some(of_handle(ledger, handle, entities.value(handle)?)));
    found.ok_or_else(|| Refusal::from(&E::KIND.not_found(name)))
}

/// A page of entities in the order of their first creation, and the token of the next one.
fn list<E: Entity>(
    ledger: &Ledger,
    (size, token): (i32, &str),
    view: View<'_>,
) -> Result<(PageRequest, Vec<E>, String), Refusal> {
    let page = checked(|found| PageRequest::new(ListQuery::entities(E::KIND), size, token, view, found))?;
    let first = Handle::try_from(page.start()).unwrap_or(Handle::MAX);
    let entities = ledger.entities(E::KIND).from(first);
    let (entries, next) =
        page.fill(entities.map(|(handle, value)| (u64::from(handle), of_handle(ledger, handle, value))));
    Ok((page, entries, next))
}

/// The message of a stored entity.
fn of_handle<E: Entity>(ledger: &Ledger, handle: Handle, value: &EntityValue) -> E {
    let names = ledger.entities(E::KIND).names();
    E::of(ledger, names.name(handle), names.version(handle), value)
}

/// Declares the requests of a kind, and the methods that they belong to: the service, the message, the requests with
/// their fields, the answers, and how long the answer to a get may be. A kind without an upsert has commands of its own.
/// `[versions]` for the kinds that have them: an answer that shows a version depends on the event that led to it, because a version that was read and lost would be given to another value.
macro_rules! entity_requests {
    ($methods:ident of $service:literal: $entity:ident $versions:tt;
        $(upsert $upsert:ident -> $upserted:ident;)?
        get $get:ident { $name:ident } -> $got:ident { $one:ident } of $one_bytes:ident;
        list $page:ident -> $listed:ident { $list:ident };
        $(delete $delete:ident { $references:ident } -> $deleted:ident;)?
    ) => {
        pub(super) const $methods: &[$crate::methods::Method] = {
            use $crate::methods::{Method, request_path};
            use $crate::sizes;
            &[
                $(Method::command::<v1::$upsert>(request_path!($service, $upsert))
                    .with_sizes(sizes::SUBMIT_BYTES_MAX, sizes::COMMAND_ANSWER_BYTES_MAX),)?
                Method::read::<v1::$get>(request_path!($service, $get), sizes::$one_bytes),
                Method::read::<v1::$page>(request_path!($service, $page), sizes::COMMAND_ANSWER_BYTES_MAX),
                $(Method::command::<v1::$delete>(request_path!($service, $delete))
                    .with_sizes(sizes::COMMAND_BYTES_MAX, sizes::SMALL_ANSWER_BYTES_MAX),)?
            ]
        };

        $(entity_requests!(@upsert $upsert -> $upserted { $list } $versions);)?

        impl ReadRequest for v1::$get {
            fn read(&self, ledger: &Ledger, _: View<'_>) -> Result<ReadAnswer, Refusal> {
                let answer = v1::$got { $one: Some(get(ledger, &self.$name)?) };
                let depends_on = if entity_requests!(@shown $versions) { ledger.sequence() } else { 0 };
                Ok(ReadAnswer::dependent_on(depends_on, &answer))
            }
        }

        impl ReadRequest for v1::$page {
            fn read(&self, ledger: &Ledger, view: View<'_>) -> Result<ReadAnswer, Refusal> {
                let (page, $list, next_page_token) = list(ledger, (self.page_size, &self.page_token), view)?;
                let shown = if entity_requests!(@shown $versions) { ledger.sequence() } else { 0 };
                let depends_on = page.depends_on(&next_page_token).max(shown);
                Ok(ReadAnswer::dependent_on(depends_on, &v1::$listed { $list, next_page_token }))
            }
        }

        $(impl CommandRequest for v1::$delete {
            type Answer = v1::$deleted;

            shared_fields!();

            fn body<'a>(&'a self, _: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
                delete(<v1::$entity as Entity>::KIND, stringify!($references), &self.$references, found)
            }

            fn answer(accepted: &Accepted<'_>) -> v1::$deleted {
                v1::$deleted { receipt: accepted.receipt() }
            }
        })?
    };
    (@upsert $upsert:ident -> $upserted:ident { $list:ident } [$($versions:ident)?]) => {
        impl CommandRequest for v1::$upsert {
            type Answer = v1::$upserted;

            shared_fields!();

            fn body<'a>(&'a self, _: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
                upsert(&self.$list, found)
            }

            fn answer(accepted: &Accepted<'_>) -> v1::$upserted {
                v1::$upserted {
                    receipt: accepted.receipt(),
                    look_alikes: accepted.look_alikes(),
                    $($versions: accepted.versions(),)?
                }
            }
        }
    };
    (@shown []) => {
        false
    };
    (@shown [$versions:ident]) => {
        true
    };
}

use entity_requests;
