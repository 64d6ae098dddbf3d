//! Rules of authority.

use invengine_ledger::authority::{AuthorityRuleDraft, Holder, Place, PlaceDraft, Right, SourceKind};
use invengine_ledger::command::Body;
use invengine_ledger::entity::LocationType;
use invengine_ledger::{Context, EntityDraft, EntityKind, EntityValue, Ledger, StockState};
use invengine_wire::v1;

use super::super::answer::Accepted;
use super::super::check::Violations;
use super::super::command::{CommandRequest, shared_fields};
use super::super::read::{ReadAnswer, ReadRequest, View};
use super::super::states::{state_name, state_of};
use super::source_profile::source_kind;
use super::{Draft, Entity, delete, entity_requests, get, list, name_of, upsert};
use crate::refusal::Refusal;

entity_requests! {
    METHODS of "PolicyService": AuthorityRule [versions];
    upsert UpsertAuthorityRulesRequest -> UpsertAuthorityRulesResponse;
    get GetAuthorityRuleRequest { rule } -> GetAuthorityRuleResponse { authority_rule } of ENTITY_BYTES_MAX;
    list ListAuthorityRulesRequest -> ListAuthorityRulesResponse { authority_rules };
    delete DeleteAuthorityRulesRequest { authority_rules } -> DeleteAuthorityRulesResponse;
}

impl Entity for v1::AuthorityRule {
    const KIND: EntityKind = EntityKind::AuthorityRules;

    fn name(&self) -> &str {
        &self.rule
    }

    fn expected_version(&self) -> Option<i64> {
        self.version
    }

    fn of(ledger: &Ledger, name: &str, version: u64, value: &EntityValue) -> Self {
        let EntityValue::AuthorityRule(rule) = value else { return Self::default() };
        let mut message = v1::AuthorityRule {
            rule: name.to_owned(),
            rights: rule.rights.iter().map(|right| *right as i32).collect(),
            states: rule.states.iter().map(|state| state_name(*state) as i32).collect(),
            version: Some(version as i64),
            ..Self::default()
        };
        match &rule.holder {
            Holder::Source(source) => message.source_id = source.to_string(),
            Holder::Kind(kind) => message.source_kind = *kind as i32,
            Holder::Operator => message.operator = true,
        }
        match &rule.place {
            Place::Everywhere => {}
            Place::Type(kind) => message.location_type = *kind as i32,
            Place::Location(location) => message.location = name_of(ledger, EntityKind::Locations)(location),
        }
        message
    }
}

impl Draft for v1::AuthorityRule {
    fn draft<'a>(&'a self, path: &str, found: &mut Violations) -> EntityDraft<'a> {
        let (rights, states) = (rights(self, path, found), states(self, path, found));
        let of_stock = rights.iter().any(|right| right.is_of_stock());
        let rule = "only with one of the rights SET, ADJUST and REPORT, which are about states";
        found.require(states.is_empty() || of_stock, format_args!("{path}.states"), rule);
        EntityDraft::AuthorityRule(AuthorityRuleDraft {
            holder: holder(self, path, found),
            rights,
            states,
            place: place(self, path, found),
        })
    }
}

fn holder(rule: &v1::AuthorityRule, path: &str, found: &mut Violations) -> Holder {
    let given = [!rule.source_id.is_empty(), rule.source_kind != 0, rule.operator];
    let one = given.into_iter().filter(|given| *given).count() == 1;
    let text = "exactly one of source_id, source_kind and operator: whose right is it?";
    found.require(one, format_args!("{path}"), text);
    found.text(&rule.source_id, format_args!("{path}.source_id"));
    let kind = source_kind(rule.source_kind);
    let good = rule.source_kind == 0 || kind.is_some();
    found.require(good, format_args!("{path}.source_kind"), "one of the kinds of SourceKind");
    match kind {
        _ if !rule.source_id.is_empty() => Holder::Source(rule.source_id.as_str().into()),
        Some(kind) => Holder::Kind(kind),
        None if rule.operator => Holder::Operator,
        None => Holder::Kind(SourceKind::Other),
    }
}

fn rights(rule: &v1::AuthorityRule, path: &str, found: &mut Violations) -> Vec<Right> {
    let list = format!("{path}.rights");
    let known = |number: &i32| Right::ALL.into_iter().find(|right| *right as i32 == *number);
    let count = (1..=Right::ALL.len()).contains(&rule.rights.len());
    if found.require(count, format_args!("{list}"), "1 to 5 of them") {
        for (number, right) in rule.rights.iter().enumerate() {
            let text = "one of the rights of AuthorityRight";
            found.require(known(right).is_some(), format_args!("{list}[{number}]"), text);
        }
        found.distinct(rule.rights.iter(), &list, "");
    }
    rule.rights.iter().filter_map(known).collect()
}

fn states(rule: &v1::AuthorityRule, path: &str, found: &mut Violations) -> Vec<StockState> {
    let list = format!("{path}.states");
    // Nothing is no state here: an entry that says nothing would mean on_hand by accident.
    let known = |number: &i32| state_of(*number).filter(|_| *number != 0);
    if found.require(rule.states.len() <= StockState::TABLE.len(), format_args!("{list}"), "each at most once") {
        for (number, state) in rule.states.iter().enumerate() {
            let text = "one of the states of StockState";
            found.require(known(state).is_some(), format_args!("{list}[{number}]"), text);
        }
        found.distinct(rule.states.iter(), &list, "");
    }
    rule.states.iter().filter_map(known).collect()
}

fn place<'a>(rule: &'a v1::AuthorityRule, path: &str, found: &mut Violations) -> PlaceDraft<'a> {
    found.text(&rule.location, format_args!("{path}.location"));
    let kind = LocationType::ALL.into_iter().find(|known| *known as i32 == rule.location_type);
    let good = rule.location_type == 0 || kind.is_some();
    found.require(good, format_args!("{path}.location_type"), "one of the types of LocationType");
    let one = rule.location.is_empty() || rule.location_type == 0;
    let text = "absent with a location: a rule is for one location, for those of a type, or for all";
    found.require(one, format_args!("{path}.location_type"), text);
    match kind {
        Some(kind) => PlaceDraft::Type(kind),
        None if rule.location.is_empty() => PlaceDraft::Everywhere,
        None => PlaceDraft::Location(&rule.location),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_right_of_the_contract_is_one_of_the_ledger() {
        assert!(Right::ALL.iter().all(|right| v1::AuthorityRight::try_from(*right as i32).is_ok()));
        let last = Right::ALL.len() as i32;
        assert!(v1::AuthorityRight::try_from(last).is_ok() && v1::AuthorityRight::try_from(last + 1).is_err());
    }
}
