//! Rules of authority, profiles of sources and claims: commands, and what there is, with names.

use invengine_ledger::authority::{AuthorityRuleDraft, Holder, Place, PlaceDraft, Right, SourceKind};
use invengine_ledger::command::{Body, SourcePosition, Upsert};
use invengine_ledger::entity::SourceProfileDraft;
use invengine_ledger::{ClaimReason, Command, Context, EntityDraft, EntityKind, EntityValue, Ledger, StockState};

/// A claim with names: writer (`operator` without a source), item, location, state, units, reason, position, event time.
pub type NamedClaim = (Option<String>, String, String, StockState, i64, ClaimReason, u64, Option<i64>);

/// All claims, sorted by name.
pub fn claims(ledger: &Ledger) -> Vec<NamedClaim> {
    let named = |(key, claim): (&invengine_ledger::ClaimKey, &invengine_ledger::Claim)| {
        let (sku, location) = ledger.level_names(key.level);
        let source = key.source.map(|source| ledger.sources()[source as usize].name.to_string());
        let (sku, location) = (sku.to_owned(), location.to_owned());
        (source, sku, location, key.state, claim.quantity, claim.reason, claim.sequence, claim.event_time_ms)
    };
    let mut all: Vec<NamedClaim> = ledger.claims_after(None).map(named).collect();
    all.sort_by_key(|claim| claim.6);
    all
}

/// A rule or a profile as text; `None` for other values.
pub fn described(ledger: &Ledger, value: &EntityValue) -> Option<Vec<String>> {
    let location = |handle: &u32| ledger.locations().name(*handle).to_owned();
    let channel = |handle: &u32| ledger.channels().name(*handle).to_owned();
    match value {
        EntityValue::SourceProfile(profile) => {
            let channels = profile.channels.iter().map(channel).collect::<Vec<_>>();
            let locations = profile.locations.iter().map(location).collect::<Vec<_>>();
            Some(vec![format!("{:?}", profile.kind), channels.join(","), locations.join(",")])
        }
        EntityValue::AuthorityRule(rule) => {
            let place = match &rule.place {
                Place::Everywhere => "everywhere".to_owned(),
                Place::Type(kind) => format!("type {kind:?}"),
                Place::Location(handle) => format!("location {}", location(handle)),
            };
            let lists = [format!("{:?}", rule.rights.to_vec()), format!("{:?}", rule.states.to_vec())];
            Some([format!("{:?}", rule.holder)].into_iter().chain(lists).chain([place]).collect())
        }
        _ => None,
    }
}

/// One source by its name.
pub fn source(name: &str) -> Holder {
    Holder::Source(name.into())
}

/// A rule for all states.
pub fn rule<'a>(holder: Holder, rights: &[Right], place: PlaceDraft<'a>) -> AuthorityRuleDraft<'a> {
    AuthorityRuleDraft { holder, rights: rights.to_vec(), states: Vec::new(), place }
}

/// Puts rules, whatever their versions.
pub fn put_rules<'a>(key: &'a str, rules: Vec<(&'a str, AuthorityRuleDraft<'a>)>) -> Command<'a> {
    let entry = |(name, rule)| Upsert { name, expected_version: None, value: EntityDraft::AuthorityRule(rule) };
    let body = Body::Upsert { kind: EntityKind::AuthorityRules, entries: rules.into_iter().map(entry).collect() };
    Command { context: Context { key, ..Context::default() }, body }
}

/// Puts a profile, whatever its version.
pub fn put_profile<'a>(
    key: &'a str,
    name: &'a str,
    kind: SourceKind,
    [channels, locations]: [&[&'a str]; 2],
) -> Command<'a> {
    let draft = SourceProfileDraft { kind, channels: channels.to_vec(), locations: locations.to_vec() };
    let value = EntityDraft::SourceProfile(draft);
    let entries = vec![Upsert { name, expected_version: None, value }];
    let body = Body::Upsert { kind: EntityKind::SourceProfiles, entries };
    Command { context: Context { key, ..Context::default() }, body }
}

/// The command as a message of a source in its first epoch.
pub fn from<'a>(id: &'a str, sequence: u64, mut command: Command<'a>) -> Command<'a> {
    command.context.source = Some(SourcePosition { id, epoch: 1, sequence });
    command
}

/// The command with the time of what it reports.
pub fn as_of(event_time_ms: i64, mut command: Command<'_>) -> Command<'_> {
    command.context.event_time_ms = Some(event_time_ms);
    command
}

/// The command, which passes on a message of another source.
pub fn passes_on<'a>((id, epoch, sequence): (&'a str, u64, u64), mut command: Command<'a>) -> Command<'a> {
    command.context.origin = Some(SourcePosition { id, epoch, sequence });
    command
}
