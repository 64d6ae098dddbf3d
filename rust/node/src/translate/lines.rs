//! Lines of commands: checked, merged to one per level, sorted.

use std::collections::{HashMap, HashSet};

use invengine_ledger::command::{Line, QUANTITY_MAX, canonical_lines};
use invengine_wire::v1;

use super::check::Violations;

/// The lines of a Reserve.
pub(super) fn requested<'a>(given: &'a [v1::LineRequest], found: &mut Violations) -> Vec<Line<'a>> {
    if !found.count(given.len(), "lines") {
        return Vec::new();
    }
    let before = found.len();
    let mut lines = Vec::with_capacity(given.len());
    for (number, asked) in given.iter().enumerate() {
        let line = Line { sku: &asked.sku, location: &asked.location, quantity: asked.quantity };
        check_requested(&line, &asked.location_group, number, found);
        lines.push(line);
    }
    if found.len() == before && canonical_lines(&mut lines).is_err() {
        let given = given.iter().map(|line| (&*line.sku, &*line.location, line.quantity));
        report_sum(given, "lines", found);
    }
    lines
}

/// Checks one line of a Reserve, which has this number in the list.
#[inline]
pub(super) fn check_requested(line: &Line<'_>, location_group: &str, number: usize, found: &mut Violations) {
    found.name(line.sku, format_args!("lines[{number}].sku"));
    if location_group.is_empty() {
        found.name(line.location, format_args!("lines[{number}].location"));
    } else {
        let one = line.location.is_empty();
        found.require(one, format_args!("lines[{number}].location"), "a location or a location_group, not both");
        found.later("a reserve on a location_group");
    }
    let units = (1..=QUANTITY_MAX).contains(&line.quantity);
    found.require(units, format_args!("lines[{number}].quantity"), "from 1 to 2^53 - 1");
}

/// Selected lines of a hold, each with a quantity, or 0 for all of the line.
pub(super) fn selected<'a>(given: &'a [v1::LineSelection], found: &mut Violations) -> Vec<Line<'a>> {
    if given.is_empty() || !found.count(given.len(), "target.lines") {
        return Vec::new();
    }
    let before = found.len();
    let mut lines = named(given, "target.lines", found);
    if found.len() > before || lines.len() == 1 {
        return lines;
    }
    // All of a line includes every part of it.
    let whole: HashSet<_> =
        lines.iter().filter(|line| line.quantity == 0).map(|line| (line.sku, line.location)).collect();
    lines.retain(|line| line.quantity == 0 || !whole.contains(&(line.sku, line.location)));
    if canonical_lines(&mut lines).is_err() {
        let given = given.iter().map(|line| (&*line.sku, &*line.location, line.quantity));
        report_sum(given, "target.lines", found);
    }
    lines
}

/// New quantities of the lines of a hold, each at most once.
pub(super) fn amended<'a>(given: &'a [v1::LineSelection], found: &mut Violations) -> Vec<Line<'a>> {
    if !found.count(given.len(), "lines") {
        return Vec::new();
    }
    let before = found.len();
    let mut lines = named(given, "lines", found);
    if found.len() == before {
        found.distinct(given.iter().map(|line| (&line.sku, &line.location)), "lines", "");
        lines.sort_unstable_by(|a, b| (a.sku, a.location).cmp(&(b.sku, b.location)));
    }
    lines
}

fn named<'a>(given: &'a [v1::LineSelection], list: &str, found: &mut Violations) -> Vec<Line<'a>> {
    let mut lines = Vec::with_capacity(given.len());
    for (number, line) in given.iter().enumerate() {
        found.name(&line.sku, format_args!("{list}[{number}].sku"));
        found.name(&line.location, format_args!("{list}[{number}].location"));
        let units = (0..=QUANTITY_MAX).contains(&line.quantity);
        found.require(units, format_args!("{list}[{number}].quantity"), "from 0 to 2^53 - 1");
        lines.push(Line { sku: &line.sku, location: &line.location, quantity: line.quantity });
    }
    lines
}

/// Reports the first line at which the sum of units of a level is too large.
fn report_sum<'a>(given: impl Iterator<Item = (&'a str, &'a str, i64)>, list: &str, found: &mut Violations) {
    let mut sums: HashMap<(&str, &str), i64> = HashMap::new();
    for (number, (sku, location, units)) in given.enumerate() {
        let sum = sums.entry((sku, location)).or_default();
        *sum = sum.saturating_add(units);
        let rule = "lines of one level are added up; their sum is at most 2^53 - 1";
        if !found.require(*sum <= QUANTITY_MAX, format_args!("{list}[{number}].quantity"), rule) {
            return;
        }
    }
}
