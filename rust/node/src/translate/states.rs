//! The states of stock in the contract: one table.

use invengine_ledger::StockState;
use invengine_wire::v1;

/// A state, the name by which commands refer to it, if they may, and the field of a level that holds its units.
pub(super) struct StateRow {
    pub state: StockState,
    pub name: Option<v1::StockState>,
    pub units: fn(&mut v1::InventoryLevel) -> &mut i64,
}

pub(super) const STATES: [StateRow; StockState::TABLE.len()] = [
    named(StockState::OnHand, v1::StockState::OnHand, |level| &mut level.on_hand),
    named(StockState::Damaged, v1::StockState::Damaged, |level| &mut level.damaged),
    named(StockState::Returned, v1::StockState::Returned, |level| &mut level.returned),
    named(StockState::QualityControl, v1::StockState::QualityControl, |level| &mut level.quality_control),
    StateRow { state: StockState::InTransit, name: None, units: |level| &mut level.in_transit },
];

const fn named(state: StockState, name: v1::StockState, units: fn(&mut v1::InventoryLevel) -> &mut i64) -> StateRow {
    StateRow { state, name: Some(name), units }
}

/// The state that a request names; nothing means on_hand. `None` if there is no such state.
pub(super) fn state_of(name: i32) -> Option<StockState> {
    if name == v1::StockState::Unspecified as i32 {
        return Some(StockState::OnHand);
    }
    STATES.iter().find(|row| row.name.is_some_and(|known| known as i32 == name)).map(|row| row.state)
}

/// The name of a state that commands may name.
pub(super) fn state_name(state: StockState) -> v1::StockState {
    STATES.iter().find(|row| row.state == state).and_then(|row| row.name).unwrap_or(v1::StockState::Unspecified)
}

/// The units of a level in a state, as an answer tells them.
pub fn units_in(level: &v1::InventoryLevel, state: StockState) -> i64 {
    let mut level = level.clone();
    STATES.iter().find(|row| row.state == state).map_or(0, |row| *(row.units)(&mut level))
}

#[cfg(test)]
mod tests {
    use invengine_ledger::CountsAs;

    use super::*;

    #[test]
    fn every_state_has_a_row_and_a_field_of_its_own() {
        let mut level = v1::InventoryLevel::default();
        for (units, state) in (1..).zip(StockState::all()) {
            let row = STATES.iter().find(|row| row.state == state).expect("a row for each state");
            assert_eq!(std::mem::replace((row.units)(&mut level), units), 0, "{state:?}");
            let outside = state.counts_as() == CountsAs::Outside;
            assert_eq!(row.name.is_none(), outside, "{state:?}: commands name what is there");
            assert!(outside || state_of(state_name(state) as i32) == Some(state));
            assert_eq!(units_in(&level, state), units);
        }
        assert_eq!((state_of(0), state_of(-1), state_of(99)), (Some(StockState::OnHand), None, None));
    }
}
