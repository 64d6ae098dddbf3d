//! The states of stock in the contract: one table.

use invengine_ledger::StockState;
use invengine_wire::v1;

/// A state, its name in the contract, and the field of a level that holds its units.
pub(super) struct StateRow {
    pub state: StockState,
    pub name: v1::StockState,
    pub units: fn(&mut v1::InventoryLevel) -> &mut i64,
}

pub(super) const STATES: [StateRow; StockState::TABLE.len()] = [
    StateRow { state: StockState::OnHand, name: v1::StockState::OnHand, units: |level| &mut level.on_hand },
    StateRow { state: StockState::Damaged, name: v1::StockState::Damaged, units: |level| &mut level.damaged },
    StateRow { state: StockState::Returned, name: v1::StockState::Returned, units: |level| &mut level.returned },
    StateRow {
        state: StockState::QualityControl,
        name: v1::StockState::QualityControl,
        units: |level| &mut level.quality_control,
    },
];

/// The state that a request names; nothing means on_hand. `None` if there is no such state.
pub(super) fn state_of(name: i32) -> Option<StockState> {
    if name == v1::StockState::Unspecified as i32 {
        return Some(StockState::OnHand);
    }
    STATES.iter().find(|row| row.name as i32 == name).map(|row| row.state)
}

/// The name of a state.
pub(super) fn state_name(state: StockState) -> v1::StockState {
    STATES.iter().find(|row| row.state == state).map_or(v1::StockState::Unspecified, |row| row.name)
}

/// The units of a level in a state, as an answer tells them.
pub fn units_in(level: &v1::InventoryLevel, state: StockState) -> i64 {
    let mut level = level.clone();
    STATES.iter().find(|row| row.state == state).map_or(0, |row| *(row.units)(&mut level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_row_and_a_field_of_its_own() {
        let mut level = v1::InventoryLevel::default();
        for (units, state) in (1..).zip(StockState::all()) {
            let row = STATES.iter().find(|row| row.state == state).expect("a row for each state");
            assert_eq!(std::mem::replace((row.units)(&mut level), units), 0, "{state:?}");
            assert_eq!(state_of(state_name(state) as i32), Some(state));
            assert_eq!(units_in(&level, state), units);
        }
        assert_eq!((state_of(0), state_of(-1), state_of(99)), (Some(StockState::OnHand), None, None));
    }
}
