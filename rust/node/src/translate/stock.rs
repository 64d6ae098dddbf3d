//! Physical commands.

use invengine_ledger::command::{Body, MoveLine, QUANTITY_MAX, StockLine};
use invengine_ledger::event::StockKind;
use invengine_ledger::{Context, StockState};
use invengine_wire::v1;

use super::answer::Accepted;
use super::check::Violations;
use super::command::{CommandRequest, shared_fields};
use super::states::state_of;

impl CommandRequest for v1::ReceiveRequest {
    type Answer = v1::ReceiveResponse;

    shared_fields!();

    fn body<'a>(&'a self, _: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        Body::Stock { kind: StockKind::Received, lines: units(&self.lines, found) }
    }

    fn answer(accepted: &Accepted<'_>) -> v1::ReceiveResponse {
        v1::ReceiveResponse { receipt: accepted.receipt(), levels: accepted.levels() }
    }
}

impl CommandRequest for v1::ReturnRequest {
    type Answer = v1::ReturnResponse;

    shared_fields!();

    fn body<'a>(&'a self, _: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        Body::Stock { kind: StockKind::Returned, lines: units(&self.lines, found) }
    }

    fn answer(accepted: &Accepted<'_>) -> v1::ReturnResponse {
        v1::ReturnResponse { receipt: accepted.receipt(), levels: accepted.levels() }
    }
}

impl CommandRequest for v1::AdjustRequest {
    type Answer = v1::AdjustResponse;

    shared_fields!();

    fn body<'a>(&'a self, _: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        Body::Stock { kind: StockKind::Adjusted, lines: deltas(&self.lines, found) }
    }

    fn answer(accepted: &Accepted<'_>) -> v1::AdjustResponse {
        v1::AdjustResponse { receipt: accepted.receipt(), levels: accepted.levels() }
    }
}

impl CommandRequest for v1::SetQuantityRequest {
    type Answer = v1::SetQuantityResponse;

    shared_fields!();

    fn body<'a>(&'a self, _: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        Body::Stock { kind: StockKind::Set, lines: quantities(&self.lines, found) }
    }

    fn answer(accepted: &Accepted<'_>) -> v1::SetQuantityResponse {
        v1::SetQuantityResponse {
            receipt: accepted.receipt(),
            levels: accepted.levels(),
            claimed_lines: accepted.claimed_lines(),
        }
    }
}

impl CommandRequest for v1::CountRequest {
    type Answer = v1::CountResponse;

    shared_fields!();

    fn body<'a>(&'a self, _: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        Body::Stock { kind: StockKind::Counted, lines: quantities(&self.lines, found) }
    }

    fn answer(accepted: &Accepted<'_>) -> v1::CountResponse {
        v1::CountResponse {
            receipt: accepted.receipt(),
            levels: accepted.levels(),
            claimed_lines: accepted.claimed_lines(),
        }
    }
}

impl CommandRequest for v1::MoveQuantityRequest {
    type Answer = v1::MoveQuantityResponse;

    shared_fields!();

    fn body<'a>(&'a self, _: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        Body::MoveQuantity { lines: moves(&self.lines, found) }
    }

    fn answer(accepted: &Accepted<'_>) -> v1::MoveQuantityResponse {
        v1::MoveQuantityResponse { receipt: accepted.receipt(), levels: accepted.levels() }
    }
}

fn moves<'a>(given: &'a [v1::StateMove], found: &mut Violations) -> Vec<MoveLine<'a>> {
    collect(given, found, |number, line, found| {
        check_units(number, line.quantity, found);
        check_level(number, [&line.sku, &line.location], found);
        let from = known_state(number, "from_state", line.from_state, found);
        let to = known_state(number, "to_state", line.to_state, found);
        let moves = from.is_none() || from != to;
        found.require(moves, format_args!("lines[{number}].to_state"), "another state than from_state");
        let [from, to] = [from, to].map(|state| state.unwrap_or(StockState::OnHand));
        MoveLine { sku: &line.sku, location: &line.location, quantity: line.quantity, from, to }
    })
}

fn units<'a>(given: &'a [v1::StockLine], found: &mut Violations) -> Vec<StockLine<'a>> {
    collect(given, found, |number, line, found| {
        check_units(number, line.quantity, found);
        stock_line(number, [&line.sku, &line.location], line.quantity, line.state, found)
    })
}

fn deltas<'a>(given: &'a [v1::StockDelta], found: &mut Violations) -> Vec<StockLine<'a>> {
    collect(given, found, |number, line, found| {
        let good = line.delta != 0 && (-QUANTITY_MAX..=QUANTITY_MAX).contains(&line.delta);
        found.require(good, format_args!("lines[{number}].delta"), "not 0, and within 2^53 - 1 of it");
        stock_line(number, [&line.sku, &line.location], line.delta, line.state, found)
    })
}

fn quantities<'a>(given: &'a [v1::StockQuantity], found: &mut Violations) -> Vec<StockLine<'a>> {
    let before = found.len();
    let lines = collect(given, found, |number, line, found| {
        let counted = 0..=QUANTITY_MAX;
        let rule = "from 0 to 2^53 - 1";
        found.require(counted.contains(&line.quantity), format_args!("lines[{number}].quantity"), rule);
        let expected = line.expected_quantity.is_none_or(|expected| counted.contains(&expected));
        found.require(expected, format_args!("lines[{number}].expected_quantity"), rule);
        let read = stock_line(number, [&line.sku, &line.location], line.quantity, line.state, found);
        StockLine { expected: line.expected_quantity, ..read }
    });
    if found.len() == before {
        found.distinct(lines.iter().map(|line| (line.sku, line.location, line.state as u8)), "lines", "");
    }
    lines
}

pub(super) fn collect<'a, T, L>(
    given: &'a [T],
    found: &mut Violations,
    read: impl Fn(usize, &'a T, &mut Violations) -> L,
) -> Vec<L> {
    if !found.count(given.len(), "lines") {
        return Vec::new();
    }
    given.iter().enumerate().map(|(number, line)| read(number, line, found)).collect()
}

fn stock_line<'a>(
    number: usize,
    [sku, location]: [&'a str; 2],
    quantity: i64,
    state: i32,
    found: &mut Violations,
) -> StockLine<'a> {
    check_level(number, [sku, location], found);
    let state = known_state(number, "state", state, found).unwrap_or(StockState::OnHand);
    StockLine { sku, location, quantity, state, expected: None }
}

pub(super) fn check_units(number: usize, units: i64, found: &mut Violations) {
    let good = (1..=QUANTITY_MAX).contains(&units);
    found.require(good, format_args!("lines[{number}].quantity"), "from 1 to 2^53 - 1");
}

fn check_level(number: usize, [sku, location]: [&str; 2], found: &mut Violations) {
    found.name(sku, format_args!("lines[{number}].sku"));
    found.name(location, format_args!("lines[{number}].location"));
}

pub(super) fn known_state(number: usize, field: &str, name: i32, found: &mut Violations) -> Option<StockState> {
    let known = state_of(name);
    found.require(known.is_some(), format_args!("lines[{number}].{field}"), "one of the states of StockState");
    known
}
