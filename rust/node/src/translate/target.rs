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
    let by = named_by(by, allowed, tag, found);
    let version = given.expected_version;
    let (good, rule) = match by {
        TargetBy::Order(_) => (version == 0, "no version: an order has none"),
        _ => (version >= 0, "0 for any, or the version"),
    };
    found.require(good, format_args!("target.expected_version"), rule);
    Target { by, lines, expected_version: version as u64 }
}

fn named_by<'a>(by: &'a By, allowed: TargetRules, tag: u64, found: &mut Violations) -> TargetBy<'a> {
    match by {
        By::ReservationId(token) => {
            found.name(token, format_args!("target.reservation_id"));
            ReservationId::parse(token, tag).map_or(TargetBy::UnknownToken(token), TargetBy::Id)
        }
        By::ReservationKey(key) => {
            found.key(key, format_args!("target.reservation_key"));
            TargetBy::Key(key)
        }
        By::OrderRef(order) if allowed.order => {
            found.name(order, format_args!("target.order_ref"));
            TargetBy::Order(order)
        }
        By::OrderRef(order) => {
            found.require(false, format_args!("target.order_ref"), "one hold, by reservation_id or reservation_key");
            TargetBy::Order(order)
        }
    }
}
