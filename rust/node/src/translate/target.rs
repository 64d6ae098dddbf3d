//! How a command identifies holds.

use invengine_ledger::ReservationId;
use invengine_ledger::command::{Target, TargetBy};
use invengine_wire::v1;
use invengine_wire::v1::hold_target::By;

use super::check::Violations;
use super::lines::selected;

/// What the target of a command may contain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TargetRules {
    /// An order, which means all its holds.
    pub order: bool,
    /// A selection of lines.
    pub lines: bool,
}

/// Reads a target. `tag` is the tag of the ledger; only tokens with this tag are accepted.
pub(super) fn target<'a>(
    given: Option<&'a v1::HoldTarget>,
    allowed: TargetRules,
    tag: u64,
    found: &mut Violations,
) -> Target<'a> {
    let nothing = Target { by: TargetBy::UnknownToken(""), lines: Vec::new(), expected_version: 0 };
    let Some((given, by)) = given.and_then(|given| Some((given, given.by.as_ref()?))) else {
        found.require(false, format_args!("target"), "a reservation_id, a reservation_key or an order_ref");
        return nothing;
    };
    let whole = "no lines: the command acts on the whole";
    let lines = if allowed.lines && !matches!(by, By::OrderRef(_)) {
        selected(&given.lines, found)
    } else {
        found.require(given.lines.is_empty(), format_args!("target.lines"), whole);
        Vec::new()
    };
    let name = match by {
        By::ReservationId(token) => HoldName::Token(token),
        By::ReservationKey(key) => HoldName::Key(key),
        By::OrderRef(order) => HoldName::Order(order),
    };
    let by = named_by(name, allowed, tag, found);
    Target { by, lines, expected_version: expected_version(given.expected_version, by, found) }
}

/// How a message names holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum HoldName<'a> {
    Token(&'a str),
    Key(&'a str),
    Order(&'a str),
}

/// The holds behind a name.
pub(super) fn named_by<'a>(name: HoldName<'a>, allowed: TargetRules, tag: u64, found: &mut Violations) -> TargetBy<'a> {
    match name {
        HoldName::Token(token) => {
            found.name(token, format_args!("target.reservation_id"));
            ReservationId::parse(token, tag).map_or(TargetBy::UnknownToken(token), TargetBy::Id)
        }
        HoldName::Key(key) => {
            found.key(key, format_args!("target.reservation_key"));
            TargetBy::Key(key)
        }
        HoldName::Order(order) if allowed.order => {
            found.name(order, format_args!("target.order_ref"));
            TargetBy::Order(order)
        }
        HoldName::Order(order) => {
            found.require(false, format_args!("target.order_ref"), "one hold, by reservation_id or reservation_key");
            TargetBy::Order(order)
        }
    }
}

/// The version that a hold named like this must have.
pub(super) fn expected_version(version: i64, by: TargetBy<'_>, found: &mut Violations) -> u64 {
    let (good, rule) = match by {
        TargetBy::Order(_) => (version == 0, "no version: an order has none"),
        _ => (version >= 0, "0 for any, or the version"),
    };
    found.require(good, format_args!("target.expected_version"), rule);
    version as u64
}
